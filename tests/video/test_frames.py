"""Videos: what a user's word means, and what an open one cannot do."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightmark.errors import VideoError
from lightmark.video.frames import VideoReader, is_live, parse_source, sane_fps


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf"), 90000.0])
def test_a_rate_that_is_none_becomes_thirty(fps: float) -> None:
    """Containers give zeros and clock ticks."""
    assert sane_fps(fps) == 30.0
    assert sane_fps(23.976) == 23.976


def test_a_number_is_a_camera_unless_a_file_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words and URLs stay as they are."""
    monkeypatch.chdir(tmp_path)
    assert [parse_source(text) for text in ("0", "film.mp4", "rtsp://host/1")] == [0, "film.mp4", "rtsp://host/1"]
    (tmp_path / "0").touch()
    assert parse_source("0") == "0"


def test_cameras_and_addresses_are_live() -> None:
    """Files are not, whatever they are called."""
    assert [is_live(source) for source in (0, "rtsp://host/1", "film.mp4", Path("film.mp4"), "a\0b")] == [
        True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("use", [pickle.dumps, copy.copy, copy.deepcopy])
def test_an_open_video_is_neither_pickled_nor_copied(
    film_of: Callable[..., Path], tmp_path: Path, use: Callable[[VideoReader], object]
) -> None:
    """The error says what to do instead: the workers of a loader each open their own."""
    path = film_of(tmp_path / "film.mp4", [np.zeros((48, 64, 3), np.uint8)], [0.0])
    with VideoReader(path) as reader, pytest.raises(VideoError, match=r"film\.mp4: an open video can be neither"):
        use(reader)
