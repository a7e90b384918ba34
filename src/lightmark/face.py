"""Face: what a landmark model found in one box."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from lightmark.errors import GeometryError
from lightmark.geometry import Array
from lightmark.pose import Pose, head_pose
from lightmark.schema import Schema


@dataclass(frozen=True, eq=False)
class Face:
    """Landmarks `points` (N, 2) of `schema` in image pixels, and the 68-point tight `box` (4,) they were sought in.

    `uncertainty` (N,) is how far off, in image pixels, each point is to be expected; `score`, from 0 to 1, is the
    probability that the box frames a face. Both are None for a model without confidence.
    """

    points: Array
    box: Array
    schema: Schema
    uncertainty: Array | None = None
    score: float | None = None

    def __repr__(self) -> str:
        x0, y0, x1, y1 = (round(value) for value in self.box.tolist())
        parts = [f"{len(self.points)} points of {self.schema.name}", f"box {x0}, {y0} to {x1}, {y1}"]
        if self.score is not None:
            parts.append(f"score {self.score:.2f}")
        if self.uncertainty is not None:
            parts.append(f"expected error {float(self.uncertainty.mean()):.1f} px")
        if self.pose is not None:
            parts.append(f"yaw {self.pose.yaw:.0f}°, pitch {self.pose.pitch:.0f}°, roll {self.pose.roll:.0f}°")
        return f"Face({', '.join(parts)})"

    @cached_property
    def pose(self) -> Pose | None:
        """How the head is turned, told from the points when first asked for; None where they cannot tell.

        They can for the 68 and for WFLW's 98 points (`lightmark.pose.head_pose`), unless they lie on one line.
        """
        try:
            return head_pose(self.points, self.schema)
        except GeometryError:
            return None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON: schema's name, box, points and, where there are, uncertainty, score and pose."""
        known: dict[str, Any] = {"schema": self.schema.name, "box": self.box.tolist(), "points": self.points.tolist()}
        if self.uncertainty is not None:
            known["uncertainty"] = self.uncertainty.tolist()
        if self.score is not None:
            known["score"] = self.score
        if self.pose is not None:
            known["pose"] = asdict(self.pose)
        return known
