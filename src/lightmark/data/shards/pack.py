"""Packing labelled faces into shards, plain tar files that are read front to back: whole pictures, or tight crops."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from PIL import Image as PilImage

from lightmark.data.sample import LABELLED_SIZE, Sample, encoded_picture, encoded_suffix, label_box, load_image
from lightmark.data.shards.read import MANIFEST, MARK, UNFINISHED, VERSION, face_labels, read_manifest
from lightmark.errors import ConfigError, DataError, LightmarkError
from lightmark.files import replacing, sha256_of
from lightmark.geometry import Array, require_box, transform
from lightmark.image import Picture, reduce_by_area
from lightmark.outputs import require_folder
from lightmark.source import to_picture

Form = Literal["whole", "crops"]
Track: TypeAlias = Callable[[Sequence[Path]], Iterable[Path]]

# Side of a packed crop over the face's longer side: 2.37 is the furthest that the recipes' augmentation reaches, the
# rest is for the pixels that a warp mixes into its outermost ones.
CONTEXT = 2.4
BORDER = 2  # more pixels on each side, for faces so small that the rest of CONTEXT is less than one
# A face's longer side in a packed crop: twice what the largest recipe's 256 px leave of it, 2 · 256 / 1.25. Larger
# faces are reduced by a whole factor, as `warp` itself does before it samples.
FACE_PIXELS = 410
JPEG_QUALITY = 95  # of a crop, chroma not halved


@dataclass
class Packed:
    """What was packed: faces, pictures, the manifest's entry of each shard, and a sentence for each face left out."""

    form: Form
    webp: int | None = None
    faces: int = 0
    pictures: int = 0
    schemas: Counter[str] = field(default_factory=Counter)
    subsets: Counter[str] = field(default_factory=Counter)
    shards: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def pack(
    samples: Sequence[Sample],
    out: str | Path,
    form: Form = "whole",
    faces_per_shard: int = 1000,
    shuffle: int | None = None,
    track: Track = iter,
    webp: int | None = None,
    unreadable: Sequence[str] = (),
) -> Packed:
    """Write `samples` as shards of about `faces_per_shard` faces and a manifest into the folder `out`.

    The folder is new, empty, or was begun by the same call.

    "whole" keeps each picture's encoded bytes, once for all its faces; "crops" cuts a square of `CONTEXT` times the
    longer side of each face's box, enough for the augmentation of all recipes, and keeps it as JPEG of quality 95, or
    as WebP of the quality `webp` (1 to 100): points of one's own need `with_face_boxes` first. Shards hold
    equally many pictures, give or take one. They follow the samples' order, or a random one with the seed `shuffle`.
    Faces whose picture or labels are broken are left out, and said; the sentences on those `unreadable` before come
    first. The manifest is written after each shard, and is
    that of a whole folder after the last: until then nothing reads it, and the same call goes on. Raises `ConfigError`
    where `out` holds something else, `DataError` where nothing can be packed.
    """
    out = Path(out)
    if webp is not None and form != "crops":
        raise ConfigError(f"webp {webp}: is the quality of crops; whole pictures keep their bytes")
    job = _fingerprint(samples, (form, faces_per_shard, shuffle, webp), unreadable)
    packed = _begun(out, form, job, unreadable)
    packed.webp = webp
    units = by_picture(samples) if form == "whole" else [[sample] for sample in samples]
    if shuffle is not None:
        units = [units[i] for i in np.random.default_rng(shuffle).permutation(len(units))]
    count = -(-len(samples) // faces_per_shard)
    edges = [number * len(units) // max(1, count) for number in range(count + 1)]
    done = len(packed.shards)
    _write_manifest(out, packed, job)
    for number, shard in enumerate(track([out / f"faces-{number:06}.tar" for number in range(done, count)]), done):
        _write_shard(shard, units[edges[number] : edges[number + 1]], packed)
        _write_manifest(out, packed, job)
    if not packed.faces:
        first = f", {packed.left_out[0]} first" if packed.left_out else ""
        raise DataError(f"{out}: none of {len(samples)} faces could be packed{first}")
    _write_manifest(out, packed)
    return packed


def by_picture(samples: Sequence[Sample]) -> list[list[Sample]]:
    """`samples` in groups that share a picture, in the order of each picture's first face."""
    groups: dict[object, list[Sample]] = {}
    for number, sample in enumerate(samples):
        groups.setdefault(number if sample.image is not None else sample.path, []).append(sample)
    return list(groups.values())


def face_crop(sample: Sample, image: Picture) -> tuple[Picture, Array]:
    """The part of `image` around the sample's face that is packed, cut at the picture's edges, and its matrix (2, 3).

    Pixels are copied, or averaged over whole blocks where the face is larger than `FACE_PIXELS`. Raises `GeometryError`
    for a box that is empty or not finite.
    """
    x0, y0, x1, y1 = require_box(sample.box)
    longest = float(max(x1 - x0, y1 - y0))
    half = CONTEXT / 2 * longest + BORDER
    centre = np.array([x0 + x1, y0 + y1]) / 2
    left, top = np.floor(centre - half).astype(int).tolist()
    right, bottom = np.ceil(centre + half).astype(int).tolist()
    return reduce_by_area(image, max(1, int(longest // FACE_PIXELS)), (left, top, right + 1, bottom + 1))


def _begun(out: Path, form: Form, job: str, unreadable: Sequence[str]) -> Packed:
    """What a killed run of the same `job` has packed into `out`, nothing where there is nothing."""
    require_folder(out)
    manifest = read_manifest(out) if out.exists() else {}
    if UNFINISHED not in manifest:
        if out.exists() and any(not path.name.startswith(".lightmark-") for path in out.iterdir()):
            raise ConfigError(f"{out}: is there already, and not an empty folder; give another --out, or delete it")
        return Packed(form, left_out=list(unreadable))
    if manifest[UNFINISHED] != job:
        raise ConfigError(
            f"{out}: its packing was begun with other faces or options; go on with the same, or give another --out"
        )
    try:
        kept = {name: manifest[name] for name in ("faces", "pictures", "shards", "left_out")}
        packed = Packed(form, schemas=Counter(manifest["schemas"]), subsets=Counter(manifest["subsets"]), **kept)
        whole = all((out / shard["file"]).stat().st_size == shard["bytes"] for shard in packed.shards)
    except (OSError, KeyError, TypeError) as error:
        raise DataError(f"{out}: what was packed is not whole any more ({error!r}); delete it to begin anew") from error
    if not whole:
        raise DataError(f"{out}: a shard is not as it was packed; delete the folder to begin anew")
    return packed


def _fingerprint(
    samples: Sequence[Sample], options: tuple[Form, int, int | None, int | None], unreadable: Sequence[str]
) -> str:
    """Sixteen hex digits that change with the options, the labels, and the pictures by name and size."""
    whole = hashlib.sha256(repr(options).encode())
    for sample in samples:
        try:
            size = sample.path.stat().st_size if sample.member is None else sample.member.size
        except OSError:  # a picture that is missing, or inside another file
            size = -1
        whole.update(repr((sample.name, sample.schema.name, sorted(sample.subsets), size)).encode("utf-8", "replace"))
        whole.update(sample.points.tobytes())
    for sentence in unreadable:
        whole.update(sentence.encode("utf-8", "replace"))
    return whole.hexdigest()[:16]


def _write_manifest(out: Path, packed: Packed, unfinished: str | None = None) -> None:
    content = _manifest(packed) | ({} if unfinished is None else {UNFINISHED: unfinished})
    with replacing(out / MANIFEST) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _write_shard(path: Path, units: Sequence[Sequence[Sample]], packed: Packed) -> None:
    faces = pictures = 0
    with replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
        for unit in units:
            key = f"{packed.pictures:08}"
            try:
                content, suffix, kept = _packed_picture(unit, packed.form, packed.webp)
                labels = _labels(kept, content)
            except (LightmarkError, ValueError, TypeError) as error:
                packed.left_out += [f"{sample.name}: {error}" for sample in unit]
                continue
            _add(archive, f"{key}{suffix}", content)
            _add(archive, f"{key}.json", labels)
            faces, pictures = faces + len(kept), pictures + 1
            packed.pictures += 1
            packed.schemas.update(sample.schema.name for sample in kept)
            packed.subsets.update(name for sample in kept for name in sample.subsets)
    packed.faces += faces
    entry = {"file": path.name, "pictures": pictures, "faces": faces}
    packed.shards.append({**entry, "bytes": path.stat().st_size, "sha256": sha256_of(path)})


def _packed_picture(unit: Sequence[Sample], form: Form, webp: int | None) -> tuple[bytes, str, Sequence[Sample]]:
    """Encoded bytes, suffix, and the faces as they lie in that picture."""
    if form == "whole":
        content = encoded_picture(unit[0])
        to_picture(content, name=unit[0].path.as_posix())  # what cannot be decoded is not packed
        return content, encoded_suffix(unit[0]).lower(), unit
    crop, matrix = face_crop(unit[0], load_image(unit[0]))
    return _encoded(crop, webp), ".jpg" if webp is None else ".webp", [_moved(unit[0], matrix)]


def _moved(sample: Sample, matrix: Array) -> Sample:
    """`sample` in the pixels of the crop that `matrix` cuts; the box that came with the labels moves along."""
    points, attributes = transform(matrix, sample.points), dict(sample.attributes)
    attributes.pop(LABELLED_SIZE, None)  # the whole picture's
    if "rect" in attributes:
        corners = np.array(attributes["rect"], dtype=np.float64).reshape(2, 2)
        attributes["rect"] = tuple(transform(matrix, corners).ravel().tolist())
    box = transform(matrix, sample.box.reshape(2, 2)).ravel()
    return replace(sample, points=points, box=box, attributes=attributes)


def _labels(faces: Sequence[Sample], content: bytes) -> bytes:
    for face in faces:
        label_box(face.points, face.schema)
    labels = {
        MARK: VERSION,
        "origin": faces[0].path.as_posix(),
        "picture": {"crc32": zlib.crc32(content)},
        "faces": [face_labels(face) for face in faces],
    }
    return json.dumps(labels, allow_nan=False).encode()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a member without times and owners, so that the same faces give the same bytes."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _encoded(picture: Picture, webp: int | None) -> bytes:
    stream = io.BytesIO()
    if webp is None:
        PilImage.fromarray(picture).save(stream, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        PilImage.fromarray(picture).save(stream, format="WEBP", quality=webp)
    return stream.getvalue()


def _manifest(packed: Packed) -> dict[str, Any]:
    return {
        MARK: VERSION,
        "form": packed.form,
        **({"context": CONTEXT} if packed.form == "crops" else {}),
        "faces": packed.faces,
        "pictures": packed.pictures,
        "schemas": dict(packed.schemas),
        "subsets": dict(packed.subsets),
        "left_out": packed.left_out,
        "shards": packed.shards,
    }
