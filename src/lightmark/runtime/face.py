"""Face: what a landmark model found in one box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightmark.geometry import Array
from lightmark.schema import Schema


@dataclass(frozen=True, eq=False)
class Face:
    """Landmarks `points` (N, 2) of `schema` in image pixels, and the 68-point tight `box` (4,) they were sought in."""

    points: Array
    box: Array
    schema: Schema

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON: box, points and the schema's name."""
        return {"schema": self.schema.name, "box": self.box.tolist(), "points": self.points.tolist()}
