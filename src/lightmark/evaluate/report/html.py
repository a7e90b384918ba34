"""A report as one HTML page that opens without a network: every picture lies inside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image as PilImage

from lightmark.data.sample import Sample, load_image
from lightmark.draw import GREEN, TARGET, Colour, face_tile
from lightmark.errors import ImageError
from lightmark.evaluate.report.plots import Plot, plots
from lightmark.evaluate.report.summary import ALL, Report
from lightmark.evaluate.report.text import Table, legend, origin_lines, percent, tables
from lightmark.geometry import Floats
from lightmark.image import Picture

TILE_PX = 300  # twice what a tile takes on a page, for screens of two dots a pixel
WORST_FACES = 24

_STYLE = """
:root { color-scheme: light dark; --ink: #1d232b; --soft: #5b6673; --paper: #ffffff; --card: #f4f6f8; --line: #dfe4e9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7eaee; --soft: #9aa5b1; --paper: #14181d; --card: #1d232a; --line: #313943; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1.2rem clamp(.8rem, 4vw, 2rem) 3rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: clamp(1.3rem, 5vw, 1.8rem); line-height: 1.2; margin: .4rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
p { color: var(--soft); max-width: 46rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .7rem; margin: 1.2rem 0; }
.card, figure.plot { background: var(--card); border: 1px solid var(--line); border-radius: .7rem; }
.card, figure.plot { padding: .8rem 1rem; }
.card b { display: block; font-size: 1.5rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: .85rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: .9rem; }
figure { margin: 0; }
figure.plot figcaption { font-weight: 600; margin-bottom: .3rem; }
figure.plot img { width: 100%; height: auto; display: block; border-radius: .4rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .7rem; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .75rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
thead th { color: var(--soft); font-weight: 600; }
tbody tr:last-child > * { border-bottom: 0; }
tbody th { font-weight: 600; }
.faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .7rem; }
.faces img, .none { width: 100%; aspect-ratio: 1; display: block; border-radius: .5rem; background: var(--card); }
.faces .none { display: grid; place-items: center; color: var(--soft); font-size: .8rem; }
.faces figcaption { font-size: .78rem; color: var(--soft); overflow-wrap: anywhere; line-height: 1.35; }
.faces figcaption { padding-top: .2rem; }
.faces figcaption b { color: var(--ink); font-variant-numeric: tabular-nums; }
.dot { display: inline-block; width: .75em; height: .75em; border-radius: 50%; border: 1px solid var(--soft); }
details { margin-top: 2rem; border-top: 1px solid var(--line); padding-top: .8rem; }
summary { cursor: pointer; font-weight: 600; }
dl { display: grid; grid-template-columns: minmax(6rem, auto) 1fr; gap: .25rem 1rem; font-size: .85rem; }
dt { color: var(--soft); overflow-wrap: anywhere; }
dd { margin: 0; overflow-wrap: anywhere; font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .8rem; }
"""


@dataclass(frozen=True)
class Tile:
    """A face for the sheet: its name, its error and its picture, None where that cannot be read."""

    name: str
    nme: float
    picture: Picture | None


def worst_tiles(report: Report, samples: Sequence[Sample], points: Floats, count: int = WORST_FACES) -> list[Tile]:
    """Tiles of the `count` faces with the largest errors, worst first; `samples` and `points` are those of the rows."""
    worst = np.argsort([-row.nme for row in report.rows], kind="stable")[:count]
    return [Tile(report.rows[i].name, report.rows[i].nme, _picture(samples[i], points[i])) for i in worst]


def render_html(report: Report, tiles: Sequence[Tile]) -> str:
    """The whole page; `tiles` are the faces of the sheet. Raises `MissingExtraError` without matplotlib."""
    notes = "".join(f"<p>{escape(note)}</p>" for note in report.notes)
    body = [
        f"<h1>{escape(report.title)}</h1>",
        f"<p>{escape(legend(report))}</p>{notes}",
        _cards(report),
        f'<div class="plots">{"".join(_figure(plot) for plot in plots(report))}</div>',
        *(_table(table) for table in tables(report)),
        _sheet(tiles),
        _origin(report),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _picture(sample: Sample, points: Floats) -> Picture | None:
    """Predictions can be judged without the pictures: a face whose picture is missing stays on the sheet, empty."""
    try:
        return face_tile(load_image(sample), points, sample.schema, TILE_PX, target=sample.points)
    except ImageError:
        return None


def _cards(report: Report) -> str:
    whole = report.summaries[ALL]
    span = f"{100 * whole.nme.low:.2f} to {100 * whole.nme.high:.2f}"
    facts = [
        (percent(whole.nme.value), f"NME, {report.normaliser}<br>95 %: {span}"),
        (percent(whole.nme_inner.value), "NME of the inner points"),
        (percent(whole.failure_rate.value, 1), f"of faces fail at {100 * report.threshold:g} %"),
        (f"{whole.auc.value:.3f}", f"AUC up to {100 * report.threshold:g} %"),
        (str(whole.faces), f"faces, {escape(report.schema)}"),
    ]
    cards = "".join(f'<div class="card"><b>{value}</b><span>{words}</span></div>' for value, words in facts)
    return f'<div class="cards">{cards}</div>'


def _figure(plot: Plot) -> str:
    return (
        f'<figure class="plot"><figcaption>{escape(plot.title)}</figcaption>'
        f'<img src="{_data_uri("image/svg+xml", plot.svg)}" alt="{escape(plot.description)}"></figure>'
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
    key = f"{_dot(GREEN)} predicted &nbsp; {_dot(TARGET)} labelled"
    return f'<h2>Worst faces</h2><p>{key}</p><div class="faces">{faces}</div>'


def _dot(colour: Colour) -> str:
    return f'<span class="dot" style="background: rgb{colour}"></span>'


def _tile(tile: Tile) -> str:
    shown = (
        '<div class="none">no picture</div>'
        if tile.picture is None
        else f'<img src="{_data_uri("image/jpeg", _jpeg(tile.picture))}" alt="{escape(tile.name)}" loading="lazy">'
    )
    return f"<figure>{shown}<figcaption><b>{percent(tile.nme, 1)}</b> {escape(tile.name)}</figcaption></figure>"


def _jpeg(picture: Picture) -> bytes:
    stream = io.BytesIO()
    # Full colour resolution: points are a pixel or two wide.
    PilImage.fromarray(picture).save(stream, format="JPEG", quality=85, subsampling=0)
    return stream.getvalue()


def _origin(report: Report) -> str:
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in origin_lines(report))
    return f"<details><summary>What made this</summary><dl>{lines}</dl></details>"


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
