"""Annotation job: output folder of parts, its manifest, and the remaining chunks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmark.annotate.chunk import Settings, described, open_landmarker, with_absolute_paths
from lightmark.annotate.listing import Chunk, Listing, list_pictures
from lightmark.annotate.part import Summary, add_part, part_path
from lightmark.errors import ConfigError, DataError
from lightmark.extras import require_extra
from lightmark.files import replacing

MANIFEST = "_manifest.json"  # readers of folders of Parquet files ignore names that begin with an underscore
PER_PART = 256  # pictures, about ten seconds of one thread, which is what a killed run loses


@dataclass(frozen=True)
class Job:
    """Annotation job: the chunks of `listing`, the folder `out` of their parts, and the settings."""

    out: Path
    listing: Listing
    settings: Settings

    def todo(self) -> list[Chunk]:
        """Chunks without a part file; parts are written atomically, so an existing one is complete."""
        existing = {path.name for path in self.out.iterdir()}
        return [chunk for chunk in self.listing.chunks if part_path(self.out, chunk.number).name not in existing]


def open_job(source: str | Path, out: str | Path, settings: Settings, per_part: int = PER_PART) -> Job:
    """Open the job of annotating `source` into the folder `out`: new, empty or unfinished with the same settings.

    The manifest is written first. Raises `ConfigError` if `out` has other content, is inside `source`, or is a job with
    other pictures or settings, naming the differences; `DataError` for a source without pictures or a broken manifest;
    `MissingExtraError` without pyarrow.
    """
    require_extra(("pyarrow",), "annotate", "writing Parquet")
    source, out, settings = Path(source), Path(out).resolve(), with_absolute_paths(settings)
    if out.is_relative_to(source.resolve()):
        raise ConfigError(f"{out}: lies in {source}, whose pictures are read: parts would be taken for some of them")
    open_landmarker(settings)  # invalid settings must fail before anything is written
    listing = list_pictures(source, per_part, settings.column)
    manifest = _manifest(source, listing, settings, per_part)
    if (out / MANIFEST).exists():
        _require_same(out, _read_manifest(out), manifest)
    else:
        _begin(out, manifest)
    return Job(out, listing, settings)


def summarise(job: Job) -> Summary:
    """Summary of all parts; raises `DataError` unless they have exactly one row per picture."""
    summary = Summary()
    for chunk in job.listing.chunks:
        add_part(summary, part_path(job.out, chunk.number))
    if summary.pictures != job.listing.pictures:
        raise DataError(
            f"{job.out}: {summary.pictures} rows for {job.listing.pictures} pictures; its parts are not of one job: "
            "begin anew with another --out"
        )
    _delete_temporary_files(job.out)
    return summary


def _manifest(source: Path, listing: Listing, settings: Settings, per_part: int) -> dict[str, Any]:
    return {
        "source": str(source),
        "pictures": listing.pictures,
        "parts": len(listing.chunks),
        "digest": listing.digest,
        "faults": list(listing.faults),
        "settings": {**described(settings), "pictures_per_part": per_part},
    }


def _begin(out: Path, manifest: dict[str, Any]) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: holds something, and no {MANIFEST} of an earlier run; give another --out")
    with replacing(out / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _read_manifest(out: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        manifest["settings"].items()
        return manifest | {"digest": manifest["digest"], "pictures": manifest["pictures"]}
    except Exception as error:  # of any type: another program may have written it
        raise DataError(f"{out / MANIFEST}: not a manifest of parts ({error!r}); give another --out") from error


def _require_same(out: Path, begun: dict[str, Any], now: dict[str, Any]) -> None:
    names = begun["settings"].keys() | now["settings"].keys()
    before, after = ({name: one["settings"].get(name) for name in sorted(names)} for one in (begun, now))
    changed = [f"{name} {before[name]!r}, now {after[name]!r}" for name in before if before[name] != after[name]]
    if changed:
        raise ConfigError(f"{out}: was begun with {'; '.join(changed)}; go on with the same, or give another --out")
    if begun["digest"] != now["digest"]:
        raise ConfigError(
            f"{out}: was begun with {begun['pictures']} pictures, now there are {now['pictures']}, not the same by "
            "name and size; restore them, or give another --out"
        )


def _delete_temporary_files(out: Path) -> None:
    """Delete the temporary files of killed runs, when all parts are finished."""
    for file in out.glob(".*-part-*.parquet"):
        file.unlink(missing_ok=True)
