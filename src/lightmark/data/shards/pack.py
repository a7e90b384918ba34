"""Packing of labelled faces into shards: tar files for sequential reading, with original pictures or face crops."""

from __future__ import annotations

import hashlib
import io
import json
import os
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
from lightmark.data.shards.tar import Member
from lightmark.errors import ConfigError, DataError, LightmarkError
from lightmark.files import replacing, sha256_of
from lightmark.geometry import Array, require_box, transform
from lightmark.image import Picture, reduce_by_area
from lightmark.outputs import require_folder
from lightmark.source import to_picture

Form = Literal["whole", "crops"]
Track: TypeAlias = Callable[[Sequence[Path]], Iterable[Path]]

# Side of a packed crop relative to the face's longer side L. A random crop has a side of at most
# crop_scale · (1 + scale) · (1 + 2 · box) · L (see Augmentation); rotated by t ≤ 45° it reaches (cos t + sin t) / 2 of
# that from its centre, which is at most (box + shift · crop_scale) · L from the face's. The recipes reach 2.37 · L; the
# rest is for the neighbouring pixels that a warp interpolates.
CONTEXT = 2.4
BORDER = 2  # additional pixels on each side, for small faces, where that rest is less than a pixel
# Longest side of a face in a packed crop: twice its side in a crop of the largest recipe, 2 · 256 px / 1.25. Larger
# faces are reduced by an integer factor, as `warp` does before it samples.
FACE_PIXELS = 410
JPEG_QUALITY = 95  # of crops, without chroma subsampling


@dataclass
class Packed:
    """Content of a folder of shards: counts, the manifest's entry of each shard, a message for each face left out."""

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

    The folder must be new, empty or the unfinished result of the same call, which is then continued. "whole" stores the
    encoded bytes of each picture, once for all its faces. "crops" stores a square of `CONTEXT` times the longer side of
    each face's box, enough for the augmentations of all recipes, as JPEG of quality 95 or as WebP of quality `webp` (1
    to 100); samples of your own points need `with_face_boxes` first. Shards have the same number of pictures, up to
    one. They are in the order of the samples, or shuffled with the seed `shuffle`. Faces with broken pictures or labels
    are left out with a message in `Packed.left_out`, after the messages `unreadable` of faces that could not be read.
    The manifest is written after each shard and marked as unfinished until the last; unfinished folders cannot be read.
    Raises `ConfigError` if `out` holds anything else, `DataError` if no face can be packed.
    """
    out = Path(out)
    if webp is not None and form != "crops":
        raise ConfigError(f"webp {webp}: is the quality of crops; complete pictures keep their bytes")
    job = _fingerprint(samples, (form, faces_per_shard, shuffle, webp), unreadable)
    packed = _resume(out, form, job, unreadable)
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
    """`samples` grouped by picture, in the order of each picture's first face.

    A picture is one file, whatever the path to it: data sets that label the same pictures name them each in its way.
    """
    groups: dict[object, list[Sample]] = {}
    for number, sample in enumerate(samples):
        groups.setdefault(number if sample.image is not None else os.path.realpath(sample.path), []).append(sample)
    return list(groups.values())


def face_crop(sample: Sample, image: Picture) -> tuple[Picture, Array]:
    """Crop of `image` around the sample's face for a shard, clipped to the image, and its matrix (2, 3).

    Pixels are copied, or averaged over blocks if the face is larger than `FACE_PIXELS`. Raises `GeometryError` for a
    box that is empty or not finite.
    """
    x0, y0, x1, y1 = require_box(sample.box)
    longest = float(max(x1 - x0, y1 - y0))
    half = CONTEXT / 2 * longest + BORDER
    centre = np.array([x0 + x1, y0 + y1]) / 2
    left, top = np.floor(centre - half).astype(int).tolist()
    right, bottom = np.ceil(centre + half).astype(int).tolist()
    return reduce_by_area(image, max(1, int(longest // FACE_PIXELS)), (left, top, right + 1, bottom + 1))


def _resume(out: Path, form: Form, job: str, unreadable: Sequence[str]) -> Packed:
    """Content of `out` from a killed run with the same fingerprint `job`; empty for a new folder."""
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
        fields = {name: manifest[name] for name in ("faces", "pictures", "shards", "left_out")}
        packed = Packed(form, schemas=Counter(manifest["schemas"]), subsets=Counter(manifest["subsets"]), **fields)
        unchanged = all((out / shard["file"]).stat().st_size == shard["bytes"] for shard in packed.shards)
    except (OSError, KeyError, TypeError) as error:
        raise DataError(f"{out}: its packed files have changed ({error!r}); delete it to begin anew") from error
    if not unchanged:
        raise DataError(f"{out}: a shard is not as it was packed; delete the folder to begin anew")
    return packed


def _fingerprint(
    samples: Sequence[Sample], options: tuple[Form, int, int | None, int | None], unreadable: Sequence[str]
) -> str:
    """Fingerprint of a packing, 16 hex digits: options, labels, and names and sizes of the pictures."""
    digest = hashlib.sha256(repr(options).encode())
    for sample in samples:
        try:
            size = sample.member.size if isinstance(sample.member, Member) else sample.path.stat().st_size
        except OSError:  # a missing picture, or one inside another file
            size = -1
        digest.update(repr((sample.name, sample.schema.name, sorted(sample.subsets), size)).encode("utf-8", "replace"))
        digest.update(sample.points.tobytes())
    for message in unreadable:
        digest.update(message.encode("utf-8", "replace"))
    return digest.hexdigest()[:16]


def _write_manifest(out: Path, packed: Packed, unfinished: str | None = None) -> None:
    content = _manifest(packed) | ({} if unfinished is None else {UNFINISHED: unfinished})
    with replacing(out / MANIFEST) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _write_shard(path: Path, units: Sequence[Sequence[Sample]], packed: Packed) -> None:
    """Write one shard with a picture for each of `units` and add it to `packed`."""
    faces = pictures = 0
    with replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
        for unit in units:
            key = f"{packed.pictures:08}"
            try:
                content, suffix, samples = _packed_picture(unit, packed.form, packed.webp)
                labels = _labels(samples, content)
            except (LightmarkError, ValueError, TypeError) as error:
                packed.left_out += [f"{sample.name}: {error}" for sample in unit]
                continue
            _add(archive, f"{key}{suffix}", content)
            _add(archive, f"{key}.json", labels)
            faces, pictures = faces + len(samples), pictures + 1
            packed.pictures += 1
            packed.schemas.update(sample.schema.name for sample in samples)
            packed.subsets.update(name for sample in samples for name in sample.subsets)
    packed.faces += faces
    entry = {"file": path.name, "pictures": pictures, "faces": faces}
    packed.shards.append({**entry, "bytes": path.stat().st_size, "sha256": sha256_of(path)})


def _packed_picture(unit: Sequence[Sample], form: Form, webp: int | None) -> tuple[bytes, str, Sequence[Sample]]:
    """Encoded bytes and suffix of a picture, and its faces in its coordinates."""
    if form == "whole":
        content = encoded_picture(unit[0])
        to_picture(content, name=unit[0].path.as_posix())  # raises if it cannot be decoded
        return content, encoded_suffix(unit[0]).lower(), unit
    crop, matrix = face_crop(unit[0], load_image(unit[0]))
    return _encoded(crop, webp), ".jpg" if webp is None else ".webp", [_transformed(unit[0], matrix)]


def _transformed(sample: Sample, matrix: Array) -> Sample:
    """`sample` with points, box and the attribute "rect" transformed by `matrix` (2, 3), which has no rotation."""
    points, attributes = transform(matrix, sample.points), dict(sample.attributes)
    attributes.pop(LABELLED_SIZE, None)  # the size of the original picture
    if "rect" in attributes:
        corners = np.array(attributes["rect"], dtype=np.float64).reshape(2, 2)
        attributes["rect"] = tuple(transform(matrix, corners).ravel().tolist())
    box = transform(matrix, sample.box.reshape(2, 2)).ravel()
    return replace(sample, points=points, box=box, attributes=attributes)


def _labels(faces: Sequence[Sample], content: bytes) -> bytes:
    """The .json of a picture with the encoded bytes `content`; raises `GeometryError` for labels that span no box."""
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
    """Add a member without times and owners, so that shards are reproducible bit for bit."""
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
