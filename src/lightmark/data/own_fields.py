"""Parser of the fields that only Lightmark's JSON has: photograph, subsets and attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OwnFields:
    """Fields of a face in Lightmark's COCO files and shards besides its points; None where absent."""

    photo: str | None
    subsets: frozenset[str] | None
    attributes: Mapping[str, Any]


def own_fields(value: Any) -> OwnFields:
    """Parse the JSON object `value`; raises `TypeError` where a field has another type."""
    if not isinstance(value, dict):
        raise TypeError(f"got {type(value).__name__} instead of an object with photo, subsets and attributes")
    photo, subsets, attributes = value.get("photo"), value.get("subsets"), value.get("attributes", {})
    if not (photo is None or isinstance(photo, str)):
        raise TypeError(f"photo is {type(photo).__name__}, expected text")
    if not (subsets is None or (isinstance(subsets, list) and all(isinstance(name, str) for name in subsets))):
        raise TypeError("subsets are no list of names")
    if not isinstance(attributes, dict):
        raise TypeError(f"attributes are {type(attributes).__name__}, expected an object")
    return OwnFields(photo, None if subsets is None else frozenset(subsets), attributes)
