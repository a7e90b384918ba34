"""Source photograph and official subsets of a face, derived from its path."""

from __future__ import annotations

import re
from pathlib import Path

# Folders of the 300W tree, as (parent, folder) or (folder,), and the subsets the field reports them under.
_SUBSETS_300W: dict[tuple[str, ...], frozenset[str]] = {
    ("afw",): frozenset({"train"}),
    ("helen", "trainset"): frozenset({"train"}),
    ("lfpw", "trainset"): frozenset({"train"}),
    ("helen", "testset"): frozenset({"test", "common", "full", "helen"}),
    ("lfpw", "testset"): frozenset({"test", "common", "full", "lfpw"}),
    ("ibug",): frozenset({"test", "challenging", "full", "ibug"}),
}
# LFPW's training set holds three photographs of its own test set (0066, 0096 and 0007 there), found by
# `lightmark data check` and confirmed by eye. Training on them is training on test faces.
REPEATS_TEST = "repeats-test"
_LFPW_REPEATS = frozenset({"image_0215", "image_0828", "image_0862"})
_SUBSETS_PLAIN = {
    **dict.fromkeys(("train", "trainset", "training"), frozenset({"train"})),
    **dict.fromkeys(("test", "testset", "testing"), frozenset({"test"})),
}
# 300W-LP's names: the original set, the original name, and the number of the synthetically rotated copy.
_LP_NAME = re.compile(r"(?:(AFW|HELEN)_(\d+)_\d+|(IBUG)_(image_\d+)(?:_\d+)?|LFPW_image_(train|test)_(\d+))_\d+$")
# A photograph's number, then the number of the face in it.
_NUMBERED_FACE = re.compile(r"(\d+)_\d+")
_IBUG_FACE = re.compile(r"(image_\d+)")


def is_300w_lp(path: Path) -> bool:
    """Whether the file has a name as 300W-LP gives them, such as AFW_1051618982_1_10.jpg."""
    return _LP_NAME.match(path.stem) is not None


def photo_of(path: Path) -> str:
    """Key of the source photograph of the picture or label file at `path`, which should be absolute.

    Every face and every rotated copy of a photograph of 300W, 300W-LP or HELEN has the same key; elsewhere each file is
    a photograph of its own, called folder/stem.

    >>> photo_of(Path("/300w/afw/1051618982_1.jpg")), photo_of(Path("/300w_lp/afw/AFW_1051618982_1_10.jpg"))
    ('afw/1051618982', 'afw/1051618982')
    >>> photo_of(Path("/300w/lfpw/trainset/image_0001.png")), photo_of(Path("/300w/ibug/image_014_01.jpg"))
    ('lfpw/trainset/image_0001', 'ibug/image_014')
    """
    turned = _LP_NAME.match(path.stem)
    if turned:
        return _photo_of_turned(turned)
    parent, folder = _folders(path)
    if folder == "afw" or folder == "helen29" or (parent == "helen" and folder in _SUBSETS_PLAIN):
        face = _NUMBERED_FACE.match(path.stem)
        return f"{'afw' if folder == 'afw' else 'helen'}/{face[1] if face else path.stem}"
    if folder == "ibug":
        face = _IBUG_FACE.match(path.stem)
        return f"ibug/{face[1] if face else path.stem}"
    if parent == "lfpw" and folder in _SUBSETS_PLAIN:
        return f"lfpw/{folder}/{path.stem}"
    return f"{path.parent.name}/{path.stem}"


def _photo_of_turned(name: re.Match[str]) -> str:
    numbered_set, number, ibug, ibug_name, lfpw_part, lfpw_number = name.groups()
    if numbered_set:
        return f"{numbered_set.lower()}/{number}"
    return f"ibug/{ibug_name}" if ibug else f"lfpw/{lfpw_part}set/image_{lfpw_number}"


def subsets_of(path: Path) -> frozenset[str]:
    """Official subsets of the picture or label file at `path`, which should be absolute; empty where none is known.

    >>> sorted(subsets_of(Path("/data/300w/ibug/image_003_1.jpg")))
    ['challenging', 'full', 'ibug', 'test']
    >>> sorted(subsets_of(Path("/data/300w/lfpw/trainset/image_0215.jpg")))
    ['repeats-test', 'train']
    """
    if is_300w_lp(path):
        return frozenset({"train", "300w_lp"})
    parent, folder = _folders(path)
    if (parent, folder) == ("lfpw", "trainset") and path.stem in _LFPW_REPEATS:
        return frozenset({"train", REPEATS_TEST})
    official = _SUBSETS_300W.get((folder,)) or _SUBSETS_300W.get((parent, folder))
    return official or _SUBSETS_PLAIN.get(folder, frozenset())


def _folders(path: Path) -> tuple[str, str]:
    return path.parent.parent.name.lower(), path.parent.name.lower()
