"""JSON and XML documents of label files, read within limits: an untrusted file must not expand or fill the memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from lightmark.errors import DataError, NoLabelsError, foreign_errors_as

# Of one file. COCO's own keypoints of 118,287 pictures take 238 MB; parsed, JSON takes some ten times its size.
MAX_BYTES = 2**29


def read_bytes(path: Path) -> bytes:
    """Bytes of a label file; raises `DataError` above `MAX_BYTES` and where it cannot be read."""
    with foreign_errors_as(DataError, f"{path}: cannot be read"):
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size:,} bytes, more than {MAX_BYTES:,}; export the labels in several files")
        return path.read_bytes()


def read_json(path: Path) -> Any:
    """JSON value of a file in UTF-8, -16 or -32, with or without byte order mark; raises `DataError`."""
    content = read_bytes(path)
    with foreign_errors_as(DataError, f"{path}: cannot be read as JSON"):
        return json.loads(content)


def read_xml(path: Path) -> Element:
    """Root element of an XML file; raises `DataError` if it is broken or declares entities, which may expand."""
    content = read_bytes(path)
    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> NoReturn:
        raise DataError(f"{path}: declares XML entities, which no labelling tool writes; export it again")

    parser.EntityDeclHandler = refuse
    with foreign_errors_as(NoLabelsError, f"{path}: cannot be read as XML"):
        parser.Parse(content, True)
        return builder.close()
