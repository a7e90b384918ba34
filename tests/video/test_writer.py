"""Written videos have every frame at its time and the sound; files are complete or absent."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from lightmark.errors import VideoError, WriteError
from lightmark.image import Picture
from lightmark.video import writer as video_writer
from lightmark.video.frames import VideoReader
from lightmark.video.writer import require_complete, writing_video

FilmOf = Callable[..., Path]


def grey(level: int, size: tuple[int, int] = (64, 48)) -> Picture:
    """A flat frame of width, height `size`: codecs keep its level."""
    return np.full((size[1], size[0], 3), level, np.uint8)


def write_film(path: Path, levels: Sequence[int], times: Sequence[float] | None = None) -> Path:
    """A film of flat frames, 25 per second unless `times` are set."""
    with writing_video(path) as writer:
        for index, level in enumerate(levels):
            writer.write(grey(level), index / 25 if times is None else times[index])
    return path


@pytest.mark.parametrize("name", ["film.mp4", "film.m4v", "film.mov", "film.mkv", "FILM.MP4"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    """Frames and times come back in every format, and nothing else lies in the folder."""
    levels = list(range(20, 220, 10))
    with VideoReader(write_film(tmp_path / name, levels)) as reader:
        frames = list(reader)
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(20) / 25, atol=6e-4)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], levels, atol=4)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_channels_are_red_green_blue(tmp_path: Path) -> None:
    """Red goes in and red comes out."""
    red = grey(0)
    red[:, :, 0] = 230
    with writing_video(tmp_path / "red.mp4") as writer:
        writer.write(red, 0.0)
    with VideoReader(tmp_path / "red.mp4") as reader:
        (frame,) = reader
    assert frame.image[:, :, 0].mean() > 200
    assert frame.image[:, :, 1:].mean() < 30


@pytest.mark.parametrize("size", [(65, 49), (65, 48), (1, 1), (3, 200)])
def test_odd_sizes_stay_as_they_are(tmp_path: Path, size: tuple[int, int]) -> None:
    """No row and no column is lost."""
    with writing_video(tmp_path / "odd.mp4") as writer:
        writer.write(grey(90, size), 0.0)
    with VideoReader(tmp_path / "odd.mp4") as reader:
        (frame,) = reader
    assert frame.image.shape == (size[1], size[0], 3)
    np.testing.assert_allclose(frame.image, 90, atol=6)


@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "film.mkv"])
def test_every_frame_of_an_uneven_film_is_there_at_its_time(tmp_path: Path, name: str) -> None:
    """Frames 5 ms apart, a first one at 1.25 s, a pause of 20 minutes and one of two hours."""
    times = [1.25, 1.29, 1.295, 1.3, 2.0, 1_200.0, 1_200.033, 8_400.0]
    levels = [20, 50, 80, 110, 140, 170, 200, 230]
    with VideoReader(write_film(tmp_path / name, levels, times)) as reader:
        frames = list(reader)
    np.testing.assert_allclose([frame.seconds for frame in frames], times, atol=6e-4)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], levels, atol=4)


def test_frames_of_one_moment_are_all_there(tmp_path: Path) -> None:
    """As from a clock that is coarse: none takes the place of another."""
    with VideoReader(write_film(tmp_path / "film.mp4", [50, 100, 150], [0.5, 0.5 + 1e-9, 0.5 + 2e-9])) as reader:
        np.testing.assert_allclose([frame.image.mean() for frame in reader], [50, 100, 150], atol=4)


@pytest.mark.parametrize("start", [93_600.0, -0.2])
def test_a_clock_that_was_never_set_to_zero_begins_there(tmp_path: Path, start: float) -> None:
    """A broadcast recorded 26 hours after its clock began is no film of 26 hours."""
    with VideoReader(write_film(tmp_path / "film.mp4", [50, 100], [start, start + 0.04])) as reader:
        np.testing.assert_allclose([frame.seconds for frame in reader], [0.0, 0.04], atol=1e-4)


def packets(path: Path, kind: str) -> list[tuple[float, bytes]]:
    """Seconds and bytes of the packets of the first stream of that kind."""
    with av.open(str(path)) as container:
        found = container.demux(**{kind: 0})
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in found if packet.size]


@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "film.mkv"])
@pytest.mark.parametrize(("source", "codec"), [("loud.mp4", "aac"), ("loud.mov", "pcm_s16le"), ("loud.mkv", "aac")])
def test_the_sound_is_kept_as_it_is(film_of: FilmOf, tmp_path: Path, source: str, codec: str, name: str) -> None:
    """The same packets at the same times from the film's beginning on, also after the last picture."""
    times = [0.25, 0.3, 0.4]
    loud = film_of(tmp_path / source, [grey(90)] * 3, times, sound=codec)
    with VideoReader(loud) as reader, writing_video(tmp_path / name, reader.sound) as writer:
        for frame in reader:
            writer.write(frame.image, frame.seconds)
        writer.write_rest_of_sound()
    assert writer.sound_left_out == ()
    before, after = [one for one in packets(loud, "audio") if one[0] >= 0], packets(tmp_path / name, "audio")
    assert len(after) > 40
    assert [content for _, content in after] == [content for _, content in before]
    np.testing.assert_allclose([seconds for seconds, _ in after], [seconds for seconds, _ in before], atol=2e-3)
    np.testing.assert_allclose([seconds for seconds, _ in packets(tmp_path / name, "video")], times, atol=6e-4)


def test_the_sound_of_a_film_broken_off_ends_with_its_pictures(film_of: FilmOf, tmp_path: Path) -> None:
    """Other streams are ignored."""
    loud = film_of(tmp_path / "loud.mp4", [grey(90)] * 3, [0.0, 0.2, 0.4], sound="aac")
    with VideoReader(loud) as reader, writing_video(tmp_path / "film.mp4", reader.sound) as writer:
        for frame in reader:
            writer.write(frame.image, frame.seconds)
    assert 0.3 < packets(tmp_path / "film.mp4", "audio")[-1][0] < 0.4


def test_the_sound_moves_with_a_clock_that_is_set_to_zero(film_of: FilmOf, tmp_path: Path) -> None:
    """Pictures and sound stay together."""
    loud = film_of(tmp_path / "loud.mkv", [grey(90)] * 3, [0.0, 0.2, 0.4], sound="aac")
    with writing_video(tmp_path / "film.mkv", str(loud)) as writer:
        for seconds in (-0.25, 0.0, 0.2):
            writer.write(grey(90), seconds)
        writer.write_rest_of_sound()
    before, after = packets(loud, "audio"), packets(tmp_path / "film.mkv", "audio")
    np.testing.assert_allclose(after[-1][0] - before[-1][0], 0.25, atol=2e-3)


def test_sound_that_the_format_cannot_hold_is_reported(film_of: FilmOf, tmp_path: Path) -> None:
    """QuickTime has no place for Opus; the pictures are there all the same."""
    loud = film_of(tmp_path / "loud.mkv", [grey(90)] * 2, [0.0, 0.2], sound="libopus")
    with writing_video(tmp_path / "film.mov", str(loud)) as writer:
        writer.write(grey(90), 0.0)
    assert writer.sound_left_out == ("opus",)
    assert len(packets(tmp_path / "film.mov", "video")) == 1


def write_frames(path: Path, frames: Sequence[Picture]) -> None:
    with writing_video(path) as writer:
        for index, frame in enumerate(frames):
            writer.write(frame, index / 25)


def write_and_fail(path: Path) -> None:
    with writing_video(path) as writer:
        writer.write(grey(90), 0.0)
        raise VideoError("half way")


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    """Neither half a film nor a temporary file, and a film of that name from before stays."""
    path = write_film(tmp_path / "film.mp4", [10, 20])
    before = path.read_bytes()
    with pytest.raises(VideoError, match="half way"):
        write_and_fail(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("name", "why"), [("film.gif", ""), ("film.avi", "; AVI has no time stamp per frame")])
def test_a_suffix_without_format_is_refused_at_once(tmp_path: Path, name: str, why: str) -> None:
    """The error lists those that there are."""
    with pytest.raises(VideoError, match=rf"{name}: video is written as \.mp4, \.m4v, \.mov, \.mkv{why}; give"):
        write_film(tmp_path / name, [10])
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"film\.mp4: cannot be written"):
        write_film(tmp_path / "file" / "film.mp4", [10])


def test_no_frame_is_no_film(tmp_path: Path) -> None:
    """An empty block is an error, not an empty file."""
    with pytest.raises(VideoError, match=r"film\.mp4: cannot be written: there is no frame"):
        write_film(tmp_path / "film.mp4", [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [(9_000, 16), (65, 48)])
def test_sizes_that_do_not_fit_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    """Larger than MPEG-4 can be, and other than the first frame."""
    frames = [grey(90, size)] if size[0] > 8_191 else [grey(90), grey(90, size)]
    with pytest.raises(VideoError, match=rf"film\.mp4: .*{size[0]}×{size[1]}"):
        write_frames(tmp_path / "film.mp4", frames)
    assert not list(tmp_path.iterdir())


def test_a_film_that_lacks_frames_is_not_whole(tmp_path: Path) -> None:
    """The number of written frames must equal that read back: a film cut by a full disk lacks its end."""
    path = write_film(tmp_path / "film.mkv", [10, 20, 30])
    require_complete(path, 3, "film.mkv")
    with pytest.raises(WriteError, match=r"out\.mkv: of 4 frames only 3 can be read back; is the disk full\?"):
        require_complete(path, 4, "out.mkv")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WriteError, match=r"out\.mkv: the written video cannot be read back; is the disk full\?"):
        require_complete(path, 3, "out.mkv")


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_a_silently_full_disk_is_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The film is cut under the writer's hands, as by OpenCV on a full disk: it does not get its name."""
    close = video_writer.VideoWriter.close

    def cut(writer: video_writer.VideoWriter) -> None:
        close(writer)
        (part,) = tmp_path.iterdir()
        part.write_bytes(part.read_bytes()[: part.stat().st_size * 2 // 3])

    monkeypatch.setattr(video_writer.VideoWriter, "close", cut)
    with pytest.raises(WriteError, match=rf"{name}: .*read back; is the disk full\?"):
        write_film(tmp_path / name, range(0, 250, 5))
    assert not list(tmp_path.iterdir())


FULL_DISK = textwrap.dedent("""
    import resource, signal, sys
    import numpy as np
    from lightmark.errors import LightmarkError
    from lightmark.video.writer import writing_video

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing beyond the limit fails, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    noise = np.random.default_rng(0).integers(0, 256, (100, 48, 64, 3), dtype=np.uint8)
    try:
        with writing_video(sys.argv[1]) as writer:
            for index, image in enumerate(noise):
                writer.write(image, index / 25)
    except LightmarkError as error:
        sys.exit(f"{error}")
""")


@pytest.mark.parametrize("room", [0, 100, 100_000])
@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "film.mkv"])
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, name: str, room: int) -> None:
    """Whether it is full at once, in the header or in the frames; the message has the film's own name."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / name), str(room)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path / name}: cannot be written: File too large")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
