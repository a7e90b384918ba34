"""Cameras give pictures until they are unplugged."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from lightmark.errors import VideoError
from lightmark.image import Picture
from lightmark.video import camera
from lightmark.video.frames import VideoReader, is_camera


def blue(level: int) -> Picture:
    """A flat frame as OpenCV gives it, BGR, with blue of that level alone."""
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :, 0] = level
    return frame


class Stub:
    """Stands in for OpenCV's capture: `frames` BGR, then nothing; or an error, as some drivers raise."""

    def __init__(self, frames: Sequence[Picture], fps: float = 0.0, raises: bool = False):
        self.frames, self.fps, self.raises, self.released = list(frames), fps, raises, False

    def read(self) -> tuple[bool, Picture | None]:
        """The next frame."""
        if not self.frames and self.raises:
            raise cv2.error("device is gone")
        return (True, self.frames.pop(0)) if self.frames else (False, None)

    def get(self, prop: int) -> float:
        """The frame rate, the only property that is read."""
        assert prop == cv2.CAP_PROP_FPS
        return self.fps

    def release(self) -> None:
        """Let go."""
        self.released = True


def use(monkeypatch: pytest.MonkeyPatch, capture: Stub) -> Stub:
    """Open `capture` whatever the camera."""
    monkeypatch.setattr(camera, "open_capture", lambda device: capture)
    return capture


@pytest.mark.parametrize("raises", [False, True])
def test_an_unplugged_camera_ends_the_frames(monkeypatch: pytest.MonkeyPatch, raises: bool) -> None:
    """Whether the driver gives nothing or raises; times are those of the clock, from the first frame on."""
    capture = use(monkeypatch, Stub([blue(level) for level in (10, 20, 30)], raises=raises))
    ticks = iter([100.0, 100.03, 100.09])
    with VideoReader(0, clock=lambda: next(ticks)) as reader:
        frames = list(reader)
        assert (reader.live, reader.total, reader.sound, reader.fps) == (True, None, None, 30.0)
    np.testing.assert_allclose([frame.seconds for frame in frames], [0.0, 0.03, 0.09])
    assert [frame.image[0, 0].tolist() for frame in frames] == [[0, 0, 10], [0, 0, 20], [0, 0, 30]]
    assert capture.released


def test_a_camera_that_gives_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that opens and gives nothing is not an empty film."""
    use(monkeypatch, Stub([]))
    with pytest.raises(VideoError, match="0: gives not a single frame"):
        list(VideoReader(0))


def test_a_camera_that_is_not_there_is_refused() -> None:
    """The error lists possible causes."""
    with pytest.raises(VideoError, match="camera 97: cannot be opened; is it plugged in"):
        VideoReader(97)


def test_a_device_is_a_camera() -> None:
    """/dev/video0 is one as 0 is; /dev/null stands in for it."""
    assert is_camera("/dev/null")
    with pytest.raises(VideoError, match="camera /dev/null: cannot be opened"):
        VideoReader("/dev/null")
