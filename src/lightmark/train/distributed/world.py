"""Rank and world size from torchrun's environment, without torch."""

from __future__ import annotations

import os
from typing import NamedTuple


class World(NamedTuple):
    """Rank and world size over all machines, and the local rank on this machine; ranks count from 0."""

    rank: int = 0
    size: int = 1
    local: int = 0


def world() -> World:
    """World from torchrun's environment variables; rank 0 of 1 without them."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        return World()
    return World(*(int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
