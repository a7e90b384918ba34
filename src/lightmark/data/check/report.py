"""Report of a data set's check: text, and a contact sheet of labelled faces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np

from lightmark.data.check.check import CheckReport, Finding
from lightmark.data.sample import Sample, load_image
from lightmark.draw import contact_sheet, face_tile, write_png
from lightmark.errors import DataError, ImageError
from lightmark.geometry import labelled
from lightmark.image import Picture

POINTS_SHOWN = 10  # missing points that the text names; the report holds all
_TILE = 160  # pixels
_NO_PICTURE: tuple[int, int, int] = (128, 128, 128)


def format_report(report: CheckReport, shown: int = 5) -> str:
    """Text of a report: counts, then the first `shown` findings of each kind."""
    lines = [
        f"{report.faces} faces of {report.photographs} photographs",
        f"schemas  {_counts(report.schemas)}",
        f"subsets  {_counts(report.subsets)}",
    ]
    lines += [_missing_line(schema, counts, report) for schema, counts in report.missing.items()]
    for kind, findings in _by_kind(report.findings).items():
        lines += ["", f"{kind}: {len(findings)}"]
        lines += [f"  {_place(finding)}{finding.detail}" for finding in findings[:shown]]
        lines += [f"  and {len(findings) - shown} more"] if len(findings) > shown else []
    return "\n".join([*lines, "", "nothing to look at" if report.clean else f"{len(report.findings)} to look at"])


def _by_kind(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    groups: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.kind].append(finding)
    return groups


def _place(finding: Finding) -> str:
    """Names of a finding's faces; empty for an unreadable label, whose message names the file."""
    return f"{' | '.join(finding.names)}: " if finding.names else ""


def _missing_line(schema: str, counts: Mapping[int, int], report: CheckReport) -> str:
    """Line about the missing points of one schema, most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{index} in {count}" for index, count in ordered[:POINTS_SHOWN])
    more = f" and {len(counts) - POINTS_SHOWN} more" if len(counts) > POINTS_SHOWN else ""
    faces = report.schemas[schema]
    total = sum(counts.values())
    return f"missing  {total} points of {faces} faces of {schema}; point (faces without it) {shown}{more}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def write_contact_sheet(
    samples: Sequence[Sample], report: CheckReport, path: str | Path, rng: np.random.Generator, count: int = 64
) -> None:
    """Write a PNG of up to `count` labelled faces: at most half from the findings, the rest sampled at random.

    Raises `DataError` without samples, `WriteError` if `path` cannot be written.
    """
    if not samples:
        raise DataError(f"{path}: no samples for a contact sheet")
    by_name = {sample.name: sample for sample in samples}
    captions: dict[str, str] = {}
    for finding in _round_robin(report.findings):
        for name in finding.names:
            if len(captions) < count // 2:
                captions.setdefault(name, f"{finding.kind}\n{_short(by_name[name])}")
    others = [name for name in by_name if name not in captions]
    sampled = rng.permutation(len(others))[: count - len(captions)]
    captions |= {others[i]: _short(by_name[others[i]]) for i in sorted(sampled.tolist())}
    tiles = [_tile(by_name[name]) for name in captions]
    write_png(contact_sheet(tiles, list(captions.values())), path)


def _round_robin(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings alternating between their kinds, so that many of one kind do not displace the others."""
    rounds = zip_longest(*_by_kind(findings).values())
    return (finding for of_kinds in rounds for finding in of_kinds if finding is not None)


def _short(sample: Sample) -> str:
    return "/".join(sample.name.split("/")[-2:])


def _tile(sample: Sample) -> Picture:
    try:
        picture = load_image(sample)
    except ImageError:
        return np.full((_TILE, _TILE, 3), _NO_PICTURE, dtype=np.uint8)
    finite = np.where(np.isfinite(sample.points).all(axis=1, keepdims=True), sample.points, np.nan)
    if not labelled(finite).any():
        return np.asarray(cv2.resize(picture, (_TILE, _TILE), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return face_tile(picture, finite, sample.schema, _TILE)
