"""Which of several processes this is, told without torch."""

from __future__ import annotations

import os
from typing import NamedTuple


class World(NamedTuple):
    """Which of how many processes this is, over all machines, counted from 0; `local` counts on this machine."""

    rank: int = 0
    size: int = 1
    local: int = 0


def world() -> World:
    """This process's place as torchrun's environment variables tell it; a world of one without them."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        return World()
    return World(*(int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
