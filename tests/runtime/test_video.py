"""Videos are read with their own times and end cleanly wherever they end; what is written is whole or not there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightmark.errors import VideoError
from lightmark.image import Picture
from lightmark.runtime import video
from lightmark.runtime.video import VideoReader, clock_times, file_times, parse_source, sane_fps, writing_video

SIZE = (64, 48)


def grey(level: int) -> Picture:
    """A flat frame: codecs keep its level."""
    return np.full((SIZE[1], SIZE[0], 3), level, np.uint8)


def write_film(path: Path, levels: Sequence[int], fps: float = 25.0) -> Path:
    """A film of flat frames."""
    with writing_video(path, fps) as writer:
        for index, level in enumerate(levels):
            writer.write(grey(level), index / fps)
    return path


class Stub:
    """Stands in for OpenCV's capture: `frames` BGR, then nothing; or an error, as some drivers raise."""

    def __init__(self, frames: Sequence[Picture], properties: dict[int, float] | None = None, raises: bool = False):
        self.frames, self.properties, self.raises = list(frames), properties or {}, raises
        self.released = False

    def read(self) -> tuple[bool, Picture | None]:
        """The next frame."""
        if not self.frames and self.raises:
            raise cv2.error("device is gone")
        return (True, self.frames.pop(0)) if self.frames else (False, None)

    def get(self, prop: int) -> float:
        """A property, 0 where it is not known."""
        return self.properties.get(prop, 0.0)

    def release(self) -> None:
        """Let go."""
        self.released = True


def use(monkeypatch: pytest.MonkeyPatch, capture: Stub) -> Stub:
    """Open `capture` whatever the source."""
    monkeypatch.setattr(video, "open_capture", lambda source: capture)
    return capture


@pytest.mark.parametrize("name", ["film.mp4", "film.m4v", "film.mov", "film.avi", "FILM.AVI"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    """Frames, times, rate and count come back in every format."""
    levels = list(range(20, 220, 10))
    with VideoReader(write_film(tmp_path / name, levels)) as reader:
        frames = list(reader)
        assert (reader.fps, reader.total, reader.live) == (25.0, 20, False)
    assert [frame.index for frame in frames] == list(range(20))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(20) / 25, atol=1e-3)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], levels, atol=5)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_channels_are_red_green_blue(tmp_path: Path) -> None:
    """Red goes in and red comes out."""
    red = grey(0)
    red[:, :, 0] = 230
    with writing_video(tmp_path / "red.avi", 25.0) as writer:
        writer.write(red, 0.0)
    with VideoReader(tmp_path / "red.avi") as reader:
        (frame,) = reader
    assert frame.image[:, :, 0].mean() > 200
    assert frame.image[:, :, 1:].mean() < 30


@pytest.mark.parametrize("name", ["odd.mp4", "odd.avi"])
def test_odd_sizes_are_written(tmp_path: Path, name: str) -> None:
    """Codecs that halve their colours lose at most the last row and column."""
    with writing_video(tmp_path / name, 25.0) as writer:
        writer.write(np.full((49, 65, 3), 90, np.uint8), 0.0)
    with VideoReader(tmp_path / name) as reader:
        (frame,) = reader
    assert frame.image.shape[0] in (48, 49)
    assert frame.image.shape[1] in (64, 65)


def test_uneven_frames_are_shown_as_long_as_they_lasted(tmp_path: Path) -> None:
    """A frame that stays for 0.2 s fills five of 25 a second; of two within a slot the second waits for the next."""
    with writing_video(tmp_path / "uneven.avi", 25.0) as writer:
        for level, seconds in ((50, 3.0), (100, 3.04), (150, 3.24), (160, 3.245), (200, 3.32)):
            writer.write(grey(level), seconds)
    with VideoReader(tmp_path / "uneven.avi") as reader:
        shown = [frame.image.mean() for frame in reader]
    np.testing.assert_allclose(shown, [50, 100, 100, 100, 100, 100, 150, 160, 200], atol=3)


def test_a_cut_file_ends_where_it_was_cut(tmp_path: Path) -> None:
    """Two thirds of an AVI give some two thirds of its frames, and no error."""
    path = write_film(tmp_path / "whole.avi", [20, 90, 200] * 20)
    (tmp_path / "cut.avi").write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with VideoReader(tmp_path / "cut.avi") as reader:
        frames = list(reader)
    assert 20 <= len(frames) <= 45
    assert frames[1].image.mean() == pytest.approx(90, abs=3)


def test_a_file_cut_before_its_index_is_refused(tmp_path: Path) -> None:
    """An MP4 without its end cannot be opened; the error says what may be wrong."""
    path = write_film(tmp_path / "whole.mp4", [20, 90, 200] * 20)
    (tmp_path / "cut.mp4").write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(VideoError, match=r"cut\.mp4: cannot be opened as a video; cut before its index"):
        VideoReader(tmp_path / "cut.mp4")


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    """Text, and a name that is not there."""
    (tmp_path / "text.mp4").write_text("hello " * 100)
    with pytest.raises(VideoError, match=r"text\.mp4: cannot be opened as a video"):
        VideoReader(tmp_path / "text.mp4")
    with pytest.raises(VideoError, match=r"none\.mp4: no such video file; a camera is said by its number"):
        VideoReader(tmp_path / "none.mp4")


def test_a_camera_that_is_not_there_is_refused() -> None:
    """The error asks what may be wrong."""
    with pytest.raises(VideoError, match="camera 97: cannot be opened; is it plugged in"):
        VideoReader(97)


@pytest.mark.parametrize("raises", [False, True])
def test_an_unplugged_camera_ends_the_frames(monkeypatch: pytest.MonkeyPatch, raises: bool) -> None:
    """Whether the driver gives nothing or raises; times are those of the clock, from the first frame on."""
    capture = use(monkeypatch, Stub([grey(level) for level in (10, 20, 30)], raises=raises))
    ticks = iter([100.0, 100.03, 100.09])
    with VideoReader(0, clock=lambda: next(ticks)) as reader:
        frames = list(reader)
        assert reader.live
        assert reader.total is None
        assert reader.fps == 30.0
    np.testing.assert_allclose([frame.seconds for frame in frames], [0.0, 0.03, 0.09])
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [10, 20, 30]
    assert capture.released


def test_no_frame_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that opens and gives nothing is not an empty film."""
    use(monkeypatch, Stub([]))
    with pytest.raises(VideoError, match="0: gives not a single frame"):
        list(VideoReader(0))


def test_a_files_own_times_are_kept() -> None:
    """Uneven ones too; what does not rise, jumps by hours or is no number goes on by one frame."""
    said = iter([40.0, 50.0, 150.0, 150.0, 120.0, float("nan"), 9e9, 300.0])
    capture = Stub([])
    capture.get = lambda prop: next(said)  # type: ignore[method-assign]  # a film of times
    found = list(islice(file_times(capture, 20.0), 8))  # type: ignore[arg-type]  # stands in
    np.testing.assert_allclose(found, [0.04, 0.05, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4])


def test_a_file_without_times_counts_by_its_rate() -> None:
    """A position that stays 0 gives frame / rate."""
    found = list(islice(file_times(Stub([]), 20.0), 4))  # type: ignore[arg-type]  # stands in
    np.testing.assert_allclose(found, [0.0, 0.05, 0.1, 0.15])


def test_a_coarse_clock_still_rises() -> None:
    """Frames within one tick get times that differ, as the tracker needs."""
    found = list(islice(clock_times(lambda: 5.0), 3))
    assert found[0] < found[1] < found[2] < 1e-6


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


def write_and_fail(path: Path) -> None:
    with writing_video(path, 25.0) as writer:
        writer.write(grey(90), 0.0)
        raise VideoError("half way")


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    """Neither half a film nor a temporary file, and a film of that name from before stays."""
    path = write_film(tmp_path / "film.avi", [10, 20])
    before = path.read_bytes()
    with pytest.raises(VideoError, match="half way"):
        write_and_fail(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_suffix_without_codec_is_refused_at_once(tmp_path: Path) -> None:
    """The error lists those that there are."""
    with pytest.raises(VideoError, match=r"film\.gif: video is written as \.mp4, \.m4v, \.mov, \.avi"):
        write_film(tmp_path / "film.gif", [10])
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "file").touch()
    with pytest.raises(VideoError, match=r"film\.avi: cannot be written"):
        write_film(tmp_path / "file" / "film.avi", [10])
