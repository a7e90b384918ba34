"""HTML page of a report, in one file with all its pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from lightmark.data.sample import Sample, load_image
from lightmark.draw import GREEN, TARGET, Colour, face_tile
from lightmark.errors import ImageError
from lightmark.evaluate.report.plots import Plot, plots, svg
from lightmark.evaluate.report.summary import ALL, Report
from lightmark.evaluate.report.text import Table, legend, origin_lines, percent, tables
from lightmark.geometry import Floats
from lightmark.image import Picture

TILE_PX = 300  # twice the size of a tile on the page, for screens with two dots a pixel
WORST_FACES = 24

STYLE = Path(__file__).parent / "report.css"


@dataclass(frozen=True)
class Tile:
    """Tile of a face: name, NME and drawn picture (None if the picture cannot be read)."""

    name: str
    nme: float
    picture: Picture | None


def worst_tiles(report: Report, samples: Sequence[Sample], points: Floats, count: int = WORST_FACES) -> list[Tile]:
    """Tiles of the `count` faces with the largest NME, worst first; `samples` and `points` are those of the rows."""
    worst = np.argsort([-row.nme for row in report.rows], kind="stable")[:count]
    return [Tile(report.rows[i].name, report.rows[i].nme, _picture(samples[i], points[i])) for i in worst]


def render_html(report: Report, tiles: Sequence[Tile]) -> str:
    """HTML text of a report and the `tiles` of its worst faces; raises `MissingExtraError` without matplotlib."""
    notes = "".join(f"<p>{escape(note)}</p>" for note in report.notes)
    body = [
        f"<h1>{escape(report.title)}</h1>",
        f"<p>{escape(legend(report))}</p>{notes}",
        _cards(report),
        f'<div class="plots">{"".join(_figure(plot, report) for plot in plots(report))}</div>',
        *(_table(table) for table in tables(report)),
        _sheet(tiles),
        _origin(report),
    ]
    return html_page(report.title, "\n".join(body))


def html_page(title: str, body: str, style: str = "") -> str:
    """HTML page with the style of reports, and `style` after it."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE.read_text(encoding='utf-8')}{style}</style>\n</head>\n<body>\n"
        f"{body}\n</body>\n</html>\n"
    )


def _picture(sample: Sample, points: Floats) -> Picture | None:
    """Picture of a tile; None if it cannot be read, since predictions can be evaluated without pictures."""
    try:
        return face_tile(load_image(sample), points, sample.schema, TILE_PX, target=sample.points)
    except ImageError:
        return None


def _cards(report: Report) -> str:
    summary = report.summaries[ALL]
    span = f"{100 * summary.nme.low:.2f} to {100 * summary.nme.high:.2f}"
    facts = [
        (percent(summary.nme.value), f"NME, {report.normaliser}<br>95 %: {span}"),
        (percent(summary.nme_inner.value), "NME of the inner points"),
        (percent(summary.failure_rate.value, 1), f"of faces fail at {100 * report.threshold:g} %"),
        (f"{summary.auc.value:.3f}", f"AUC up to {100 * report.threshold:g} %"),
        (str(summary.faces), f"faces, {escape(report.schema)}"),
    ]
    cards = "".join(f'<div class="card"><b>{value}</b><span>{label}</span></div>' for value, label in facts)
    return f'<div class="cards">{cards}</div>'


def _figure(plot: Plot, report: Report) -> str:
    return (
        f'<figure class="plot"><figcaption>{escape(plot.title)}</figcaption>'
        f'<img src="{data_uri("image/svg+xml", svg(plot, report))}" alt="{escape(plot.description)}"></figure>'
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in table.cells
    )
    return (
        f'<h2>{escape(table.heading)}</h2><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _sheet(tiles: Sequence[Tile]) -> str:
    faces = "".join(_tile(tile) for tile in tiles)
    key = f"{dot(GREEN)} predicted &nbsp; {dot(TARGET)} labelled"
    return f'<h2>Worst faces</h2><p>{key}</p><div class="faces">{faces}</div>'


def dot(colour: Colour) -> str:
    """Dot of a legend."""
    return f'<span class="dot" style="background: rgb{colour}"></span>'


def _tile(tile: Tile) -> str:
    shown = (
        '<div class="none">no picture</div>'
        if tile.picture is None
        else f'<img src="{data_uri("image/jpeg", jpeg(tile.picture))}" alt="{escape(tile.name)}" loading="lazy">'
    )
    return f"<figure>{shown}<figcaption><b>{percent(tile.nme, 1)}</b> {escape(tile.name)}</figcaption></figure>"


def jpeg(picture: Picture) -> bytes:
    """JPEG of a picture with drawn points."""
    stream = io.BytesIO()
    # No chroma subsampling: points are one or two pixels wide.
    PilImage.fromarray(picture).save(stream, format="JPEG", quality=85, subsampling=0)
    return stream.getvalue()


def _origin(report: Report) -> str:
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in origin_lines(report))
    return f"<details><summary>Provenance</summary><dl>{lines}</dl></details>"


def data_uri(kind: str, data: bytes) -> str:
    """URI that holds `data` of the MIME type `kind` itself."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
