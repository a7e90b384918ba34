"""Films are read as players show them, and what is none is called by its real fault."""

from __future__ import annotations

import functools
import http.server
import math
import struct
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from lightmark.errors import VideoError
from lightmark.image import Picture
from lightmark.video import film
from lightmark.video.frames import Frame, VideoReader

FilmOf = Callable[..., Path]
ONE = 65_536  # of a display matrix's fixed point


def grey(level: int, size: tuple[int, int] = (64, 48)) -> Picture:
    """A flat frame of width, height `size`: codecs keep its level."""
    return np.full((size[1], size[0], 3), level, np.uint8)


def frames_of(path: Path) -> list[Frame]:
    """All frames of a film."""
    with VideoReader(path) as reader:
        return list(reader)


def quartered() -> Picture:
    """A picture 64 wide and 48 high with a colour a quarter: red, green below; blue, white right."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32], image[24:, :32], image[:24, 32:], image[24:, 32:] = (230, 0, 0), (0, 200, 0), (0, 0, 230), 240
    return image


@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "film.mkv"])
@pytest.mark.parametrize("matrix", [(a, b, c, d) for a, b, c, d in (
    (1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1), (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, 1, 0),
    (0, -1, -1, 0),
)])  # fmt: skip
def test_the_eight_orientations_of_a_header_are_shown(
    film_of: FilmOf, tmp_path: Path, name: str, matrix: tuple[int, int, int, int]
) -> None:
    """Each quarter of the picture lies where the display matrix of the container puts it."""
    if name.endswith("mkv") and matrix[0] * matrix[3] - matrix[1] * matrix[2] < 0:
        pytest.skip("Matroska keeps turns, no mirrors")
    a, b, c, d = matrix
    header = [a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30]
    image = quartered()
    (frame,) = frames_of(film_of(tmp_path / name, [image], [0.0], matrix=header))
    assert frame.image.shape == ((48, 64, 3) if a else (64, 48, 3))
    height, width = frame.image.shape[:2]
    for x, y in ((-16, -12), (16, -12), (-16, 12), (16, 12)):
        shown = frame.image[(b * x + d * y) + height // 2, (a * x + c * y) + width // 2]
        np.testing.assert_allclose(shown.astype(int), image[y + 24, x + 32], atol=12)


def test_a_film_turned_by_any_angle_keeps_its_size(film_of: FilmOf, tmp_path: Path) -> None:
    """As FFmpeg shows it: about the centre, corners black."""
    cos, sin = round(math.cos(math.radians(30)) * ONE), round(math.sin(math.radians(30)) * ONE)
    header = [cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30]
    (frame,) = frames_of(film_of(tmp_path / "film.mp4", [grey(200)], [0.0], matrix=header))
    assert frame.image.shape == (48, 64, 3)
    assert frame.image[24, 32].min() > 180
    assert frame.image[0, 0].max() < 40


@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "film.mkv", "film.ts"])
def test_times_are_the_files_own(film_of: FilmOf, tmp_path: Path, name: str) -> None:
    """A first frame at 1.5 s, uneven distances, a gap of half a minute in what is no broadcast format."""
    times = [1.5, 1.54, 1.74, 1.75, 31.0 if name != "film.ts" else 3.0, 31.04 if name != "film.ts" else 3.04]
    frames = frames_of(film_of(tmp_path / name, [grey(90)] * 6, times))
    np.testing.assert_allclose([frame.seconds for frame in frames], times, atol=6e-4)
    assert [frame.index for frame in frames] == list(range(6))


def test_frames_that_leave_the_decoder_last_have_their_times(film_of: FilmOf, tmp_path: Path) -> None:
    """Decoders on several threads keep some frames back until the file has ended."""
    times = [index / 10 for index in range(40)]
    frames = frames_of(film_of(tmp_path / "film.mkv", [grey(10 + 5 * index) for index in range(40)], times))
    np.testing.assert_allclose([frame.seconds for frame in frames], times, atol=6e-4)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], range(10, 210, 5), atol=3)


@pytest.mark.parametrize(("name", "codec"), [("odd.mp4", "mpeg4"), ("odd.avi", "mjpeg"), ("odd.mkv", "mpeg4")])
def test_odd_sizes_keep_their_last_row_and_column(film_of: FilmOf, tmp_path: Path, name: str, codec: str) -> None:
    """A bright frame around a dark picture of 65×49 is there on all four sides."""
    image = grey(220, (65, 49))
    image[8:-8, 8:-8] = 30
    (frame,) = frames_of(film_of(tmp_path / name, [image], [0.0], codec=codec))
    assert frame.image.shape == (49, 65, 3)
    for edge in (frame.image[0], frame.image[-1], frame.image[:, 0], frame.image[:, -1]):
        assert edge.min() > 190


@pytest.mark.parametrize(("aspect", "shape"), [(Fraction(4, 3), (48, 85)), (Fraction(1, 2), (96, 64))])
def test_pixels_that_are_not_square_are_made_so(
    film_of: FilmOf, tmp_path: Path, aspect: Fraction, shape: tuple[int, int]
) -> None:
    """A face in anamorphic film is not squeezed; the header's aspect counts before its turn."""
    path = film_of(tmp_path / "film.mp4", [quartered()], [0.0], aspect=aspect)
    (frame,) = frames_of(path)
    assert frame.image.shape[:2] == shape
    assert frame.image[-4, -4].min() > 200
    turned = film_of(tmp_path / "turned.mp4", [quartered()], [0.0], aspect=aspect,
                     matrix=[0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30])  # fmt: skip
    (frame,) = frames_of(turned)
    assert frame.image.shape[:2] == shape[::-1]


def test_channels_are_red_green_blue(film_of: FilmOf, tmp_path: Path) -> None:
    """Red goes in and red comes out."""
    red = grey(0)
    red[:, :, 0] = 230
    (frame,) = frames_of(film_of(tmp_path / "red.mp4", [red], [0.0]))
    assert frame.image[:, :, 0].mean() > 200
    assert frame.image[:, :, 1:].mean() < 30


def test_a_size_that_changes_is_scaled_to_the_first(film_of: FilmOf, tmp_path: Path) -> None:
    """Motion JPEG of 64×48, then of 32×24, in one stream, as recorders write it when the network is slow."""
    parts = [film_of(tmp_path / f"{width}.mjpeg", [grey(90, (width, width * 3 // 4))] * 3, [0, 0.04, 0.08],
                     codec="mjpeg").read_bytes() for width in (64, 32)]  # fmt: skip
    (tmp_path / "film.mjpeg").write_bytes(b"".join(parts))
    assert [frame.image.shape for frame in frames_of(tmp_path / "film.mjpeg")] == [(48, 64, 3)] * 6


def test_sound_and_frame_count_are_read(film_of: FilmOf, tmp_path: Path) -> None:
    """`sound` names the file where it has some; `total` and `fps` are what the file claims."""
    times = [index / 25 for index in range(10)]
    silent = film_of(tmp_path / "silent.mp4", [grey(9)] * 10, times)
    loud = film_of(tmp_path / "loud.mp4", [grey(9)] * 10, times, sound="aac")
    with VideoReader(silent) as first, VideoReader(loud) as second:
        assert (first.sound, second.sound) == (None, str(loud))
        assert (first.total, first.live) == (10, False)
        assert first.fps == pytest.approx(25, rel=0.01)
        assert len(list(second)) == 10


def test_a_film_cut_in_its_course_ends_where_it_was_cut(film_of: FilmOf, tmp_path: Path) -> None:
    """Two thirds of an AVI and of a Matroska file give some two thirds of their frames, and no error."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)
    for name in ("whole.avi", "whole.mkv"):
        whole = film_of(tmp_path / name, list(noise), [index / 25 for index in range(60)], codec="mjpeg")
        cut = tmp_path / f"cut{whole.suffix}"
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
        frames = frames_of(cut)
        assert 30 <= len(frames) <= 41
        np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(len(frames)) / 25, atol=6e-4)


def test_a_damaged_stretch_is_left_out(film_of: FilmOf, tmp_path: Path) -> None:
    """Frames before and behind it are there, with their own times."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), dtype=np.uint8)
    path = film_of(tmp_path / "film.avi", list(noise), [index / 25 for index in range(30)], codec="mjpeg")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for packet in packets[10:12]:
        data[packet.pos + 8 : packet.pos + 8 + packet.size // 2] = bytes(packet.size // 2)
    path.write_bytes(data)
    frames = frames_of(path)
    assert 28 <= len(frames) <= 30
    np.testing.assert_allclose([frame.seconds for frame in frames[-18:]], np.arange(12, 30) / 25, atol=1e-3)


def faults(film_of: FilmOf, folder: Path) -> Iterator[tuple[Path, str]]:
    """Things that are no films, with what is wrong with each."""
    film = film_of(folder / "film.mp4", [grey(90)] * 20, [index / 25 for index in range(20)])
    yield folder / "none.mp4", r"none\.mp4: no such file; a camera is named by its number"
    yield folder / "film.mp4" / "x.mp4", r"x\.mp4: cannot be read: Not a directory"
    yield folder / ("x" * 300 + ".mp4"), r"x\.mp4: cannot be read: File name too long"
    yield folder / "nul\0.mp4", r"cannot be read: embedded null"
    yield folder, r": is a folder; name one video file in it"
    yield made(folder / "empty.mp4", b""), r"empty\.mp4: is empty \(0 bytes\)"
    yield made(folder / "text.mp4", b"hello " * 100), r"text\.mp4: no video that FFmpeg can read"
    cut = film.read_bytes()[: film.stat().st_size * 2 // 3]
    yield made(folder / "cut.mp4", cut), r"cut\.mp4: begins as MP4 or QuickTime, but is cut or damaged"
    Image.fromarray(quartered()).save(folder / "a.png")
    Image.fromarray(quartered()).save(folder / "a.jpg")
    Image.fromarray(quartered()).save(folder / "a.webp")
    Image.fromarray(quartered()).save(folder / "a.avif")
    for name in ("a.png", "a.jpg", "a.webp", "a.avif"):
        yield folder / name, rf"{name}: is a picture, not a video; `lightmark detect` finds the faces of pictures"


def made(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_what_is_no_film_is_called_by_its_fault(film_of: FilmOf, tmp_path: Path) -> None:
    """Missing, a folder, empty, text, cut before its index, a picture of any format."""
    for path, fault in faults(film_of, tmp_path):
        with pytest.raises(VideoError, match=fault):
            frames_of(path)


def test_sound_alone_is_no_video(film_of: FilmOf, tmp_path: Path) -> None:
    """Nor is a picture of the cover beside it."""
    loud = film_of(tmp_path / "loud.mp4", [grey(9)], [0.0], sound="aac")
    with av.open(str(loud)) as source, av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as song:
        track = song.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = track
                song.mux(packet)
    with pytest.raises(VideoError, match=r"song\.m4a: holds no video \(streams: audio\)"):
        VideoReader(tmp_path / "song.m4a")


def test_a_cover_picture_is_no_video(film_of: FilmOf, tmp_path: Path) -> None:
    """A song with the picture of its cover, which FFmpeg gives as a video stream of one frame."""
    loud = film_of(tmp_path / "loud.mp4", [grey(9)], [0.0], codec="mjpeg", sound="aac")
    with av.open(str(loud)) as source, av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as song:
        tracks = {stream: song.add_stream_from_template(stream) for stream in source.streams}
        tracks[source.streams.video[0]].disposition = Disposition.attached_pic
        for packet in source.demux():
            if packet.size:
                packet.stream = tracks[packet.stream]
                song.mux(packet)
    with pytest.raises(VideoError, match=r"song\.m4a: holds no video \(streams: audio, video\)"):
        VideoReader(tmp_path / "song.m4a")


def test_no_frame_at_all_is_an_error(film_of: FilmOf, tmp_path: Path) -> None:
    """A film whose index is empty, and one that cannot be decoded, with FFmpeg's reason."""
    path = film_of(tmp_path / "film.avi", [grey(90)] * 3, [0.0, 0.04, 0.08], codec="mjpeg")
    data = path.read_bytes()
    start = data.index(b"movi") + 4
    (tmp_path / "none.avi").write_bytes(data[:start])
    with pytest.raises(VideoError, match=r"none\.avi: "):
        frames_of(tmp_path / "none.avi")
    broken = bytearray(data)
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                broken[packet.pos + 8 : packet.pos + 8 + packet.size] = bytes(packet.size)
    (tmp_path / "broken.avi").write_bytes(broken)
    with pytest.raises(VideoError, match=r"broken\.avi: not a single frame can be decoded: "):
        frames_of(tmp_path / "broken.avi")


def test_a_header_of_huge_frames_is_refused(film_of: FilmOf, tmp_path: Path) -> None:
    """Before anything of that size is decoded."""
    path = film_of(tmp_path / "film.avi", [grey(90)] * 3, [0.0, 0.04, 0.08], codec="mjpeg")
    huge = path.read_bytes().replace(struct.pack("<II", 64, 48), struct.pack("<II", 60_000, 50_000))
    start = huge.index(b"\xff\xc0")  # and in each JPEG
    huge = huge.replace(huge[start + 5 : start + 9], struct.pack(">HH", 50_000, 60_000))
    (tmp_path / "huge.avi").write_bytes(huge)
    with pytest.raises(VideoError, match=r"huge\.avi: (60000×50000 are 3,000,000,000 pixels|not a single frame)"):
        frames_of(tmp_path / "huge.avi")


def test_frames_beyond_the_limit_are_not_decoded(
    film_of: FilmOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder itself keeps the limit, whatever the container's header says."""
    parts = [film_of(tmp_path / f"{width}.mjpeg", [grey(90, (width, width * 3 // 4))] * 3, [0, 0.04, 0.08],
                     codec="mjpeg").read_bytes() for width in (64, 640)]  # fmt: skip
    (tmp_path / "film.mjpeg").write_bytes(b"".join(parts))
    monkeypatch.setattr(film, "MAX_PIXELS", 100_000)
    assert [frame.image.shape for frame in frames_of(tmp_path / "film.mjpeg")] == [(48, 64, 3)] * 3


def test_a_colon_in_a_name_is_no_protocol(film_of: FilmOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorders name files by the time of day; relative names, too."""
    monkeypatch.chdir(tmp_path)
    film_of(tmp_path / "plain.mp4", [grey(90)], [0.0]).rename("http:10:30 Ω.mp4")
    assert len(frames_of(Path("http:10:30 Ω.mp4"))) == 1


def test_a_playlist_leads_nowhere(tmp_path: Path) -> None:
    """A file that names an address on the network opens nothing there."""
    with http_server(tmp_path) as (address, asked):
        (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{address}/film.ts\n#EXT-X-ENDLIST\n")
        with pytest.raises(VideoError):
            frames_of(tmp_path / "list.m3u8")
    assert asked == []


def test_a_stream_is_read_by_its_address(film_of: FilmOf, tmp_path: Path) -> None:
    """Its times are the clock's; the header's turn counts there, too; an end is an end."""
    film_of(tmp_path / "film.mp4", [quartered()] * 5, [0, 1, 2, 3, 4], matrix=[0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30])
    ticks = iter([10.0, 10.5, 11.0, 11.5, 12.0])
    with http_server(tmp_path) as (address, _asked):
        with VideoReader(f"{address}/film.mp4", clock=lambda: next(ticks)) as reader:
            frames = list(reader)
            assert (reader.live, reader.total, reader.sound) == (True, None, None)
        with pytest.raises(VideoError, match=r"none\.mp4: the stream cannot be opened; is the address right"):
            VideoReader(f"{address}/none.mp4")
    assert [frame.seconds for frame in frames] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert frames[0].image.shape == (64, 48, 3)


class http_server:  # noqa: N801  # used as a function
    """Serves `folder` on this machine alone; gives its address, and the list of what was asked for."""

    def __init__(self, folder: Path) -> None:
        asked: list[str] = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, _form: str, *_values: object) -> None:
                asked.append(self.path)

        handler = functools.partial(Handler, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._asked = asked

    def __enter__(self) -> tuple[str, list[str]]:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}", self._asked

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
