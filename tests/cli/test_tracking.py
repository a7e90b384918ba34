"""`lightmark track`: a video in, an overlay and records out; files are complete however it ends."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from click.testing import CliRunner

from lightmark.cli import main
from lightmark.data.synthetic import synthetic_samples
from lightmark.face import Face, table_columns
from lightmark.image import Picture
from lightmark.landmarker import Landmarker
from lightmark.schema import IBUG68
from lightmark.source import to_picture
from lightmark.video import track as footage
from lightmark.video.frames import Frame, VideoReader
from lightmark.video.track import draw_tracked, id_colour, stop_signals, track_video
from lightmark.video.tracker import TrackedFace, Tracking
from lightmark.video.writer import writing_video

FRAMES = 6
FilmOf = Callable[..., Path]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of a painted face that the cascade finds."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    image = np.asarray(synthetic_samples(5, 0)[4].image)
    with writing_video(path) as writer:
        for index in range(FRAMES):
            writer.write(image, index / 25)
    return path


def track(*arguments: object) -> tuple[int, str]:
    """Exit status and output."""
    result = CliRunner().invoke(main, ["track", *map(str, arguments), "--threads", "1"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_overlay_and_json_lines(film: Path, tmp_path: Path) -> None:
    """As many frames as there were, points drawn, a row a face and frame."""
    out, records = tmp_path / "out.mp4", tmp_path / "new" / "rows.jsonl"
    status, printed = track(film, "--out", out, "--records", records)
    assert status == 0
    assert f"{FRAMES} frames, 0.2 s, faces followed: 1" in printed
    assert printed.endswith(f"{out}\n{records}\n")
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    assert [(row["frame"], row["id"]) for row in rows] == [(index, 0) for index in range(FRAMES)]
    np.testing.assert_allclose([row["seconds"] for row in rows], np.arange(FRAMES) / 25, atol=1e-3)
    assert set(rows[0]) >= {"schema", "box", "points", "expected_error", "confidence"}
    assert np.shape(rows[0]["points"]) == (68, 2)
    with VideoReader(film) as before, VideoReader(out) as after:
        pairs = list(zip(before, after, strict=True))
    assert len(pairs) == FRAMES
    assert all(np.abs(a.image.astype(float) - b.image).max() > 80 for a, b in pairs)


def test_csv_has_a_column_a_number(film: Path, tmp_path: Path) -> None:
    """The header names them; points are those of the JSON lines."""
    track(film, "--records", tmp_path / "rows.csv")
    track(film, "--records", tmp_path / "rows.jsonl")
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    known = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == FRAMES
    assert list(rows[0]) == ["frame", "seconds", "id", *table_columns(68)]
    for row, other in zip(rows, known, strict=True):
        assert (int(row["frame"]), int(row["id"])) == (other["frame"], other["id"])
        assert [float(row["x67"]), float(row["y67"])] == other["points"][67]
        assert [float(row[f"box_{name}"]) for name in ("x0", "y0", "x1", "y1")] == other["box"]
        assert float(row["expected_error0"]) == other["expected_error"][0]
        assert float(row["confidence"]) == other["confidence"]


def test_measures_are_columns_on_request(film: Path, tmp_path: Path) -> None:
    """Of the records, without which there is no place for them."""
    track(film, "--records", tmp_path / "rows.csv", "--measures")
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["frame", "seconds", "id", *table_columns(68, measures=True)]
    assert all(0 <= float(row["eye_openness_left"]) <= 1 for row in rows)
    status, said = track(film, "--out", tmp_path / "out.mp4", "--measures")
    assert status == 2
    assert "--measures: are numbers; name the file for them with --records" in said


def test_raw_points_are_those_of_the_model(film: Path, tmp_path: Path) -> None:
    """`--raw` differs from the default after the first frame, and a huge cutoff from it by nothing that counts."""
    options = {"raw": ["--raw"], "smooth": [], "quick": ["--min-cutoff", "1e6"]}
    points = {}
    for name, extra in options.items():
        track(film, "--records", tmp_path / f"{name}.jsonl", *extra)
        lines = (tmp_path / f"{name}.jsonl").read_text().splitlines()
        points[name] = np.array([json.loads(line)["points"] for line in lines])
    np.testing.assert_array_equal(points["raw"][0], points["smooth"][0])
    assert np.abs(points["raw"] - points["smooth"]).max() > 0.01
    np.testing.assert_allclose(points["quick"], points["raw"], atol=0.005)


def test_what_is_there_stays_without_force(film: Path, tmp_path: Path) -> None:
    """Refused before anything is opened; with --force it is replaced."""
    records = tmp_path / "rows.csv"
    records.write_text("mine")
    status, printed = track(film, "--records", records)
    assert (status, records.read_text()) == (2, "mine")
    assert "rows.csv: is there already; give another name, or --force" in printed
    assert track(film, "--records", records, "--force")[0] == 0
    assert records.read_text().startswith("frame,seconds,id")


def test_the_video_itself_is_never_replaced(film: Path) -> None:
    """The video itself is never replaced, even with --force."""
    before = film.read_bytes()
    status, printed = track(film, "--out", film, "--force")
    assert status == 2
    assert "is one of the inputs" in printed
    assert film.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "nothing to write: give --out"),
        (("--out", "film.gif"), "video is written as .mp4"),
        (("--records", "rows.xml"), "records are written as .jsonl, .csv"),
        (("--events", "events.xml"), "events are written as .csv, .jsonl"),
        (("--plot", "plot.jpg"), "the plot is a PNG"),
        (("--records", "rows.csv", "--redetect", "0"), "redetect 0: needs"),
        (("--records", "rows.csv", "--beta", "-1"), "beta -1.0: needs"),
        (("--records", "rows.csv", "--detector", "nobody"), "no detector called 'nobody'"),
    ],
)
def test_wrong_options_are_one_line_and_write_nothing(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str], text: str
) -> None:
    """The failure gives status 2 and the reason, and no file."""
    monkeypatch.chdir(tmp_path)
    status, printed = track(film, *arguments)
    assert status == 2
    assert text in printed
    assert not list(tmp_path.iterdir())


def test_what_is_no_video_is_one_line(tmp_path: Path) -> None:
    """A missing file, and one that is something else."""
    (tmp_path / "text.mp4").write_text("hello")
    for name, text in (("none.mp4", "no such file"), ("text.mp4", "no video that FFmpeg can read")):
        status, printed = track(tmp_path / name, "--records", tmp_path / "rows.csv")
        assert status == 2
        assert printed.startswith(f"lightmark: {tmp_path / name}: {text}")
    assert not (tmp_path / "rows.csv").exists()


def portrait() -> Picture:
    """A painted face that the cascade and our own detector find."""
    return np.asarray(synthetic_samples(5, 0)[4].image)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_cut_file_is_reported_and_kept(film_of: FilmOf, tmp_path: Path) -> None:
    """Status 0, the frames that it held, and a word."""
    whole = film_of(tmp_path / "whole.avi", [portrait()] * 6, [index / 25 for index in range(6)], codec="mjpeg")
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    status, printed = track(cut, "--records", tmp_path / "rows.csv")
    assert status == 0
    assert "the file claims 6 frames; is it cut?" in printed
    assert 2 <= len((tmp_path / "rows.csv").read_text().splitlines()) < 6 + 1


@pytest.mark.parametrize("matrix", [(1, 0, 0, -1), (-1, 0, 0, -1), (0, 1, 1, 0), (0, -1, 1, 0)])
def test_a_face_is_found_in_films_that_lie_turned_or_mirrored_in_their_file(
    film_of: FilmOf, tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    """Upside down, by half a turn, by a quarter, by a quarter and mirrored: points as in the upright picture."""
    a, b, c, d = matrix
    image = portrait()
    stored = {
        (1, 0, 0, -1): image[::-1],
        (-1, 0, 0, -1): image[::-1, ::-1],
        (0, 1, 1, 0): image.transpose(1, 0, 2),
        (0, -1, 1, 0): image[::-1].transpose(1, 0, 2),
    }[matrix]
    header = [a * 65_536, b * 65_536, 0, c * 65_536, d * 65_536, 0, 0, 0, 1 << 30]
    film_of(tmp_path / "plain.mp4", [image], [0.0])
    film_of(tmp_path / "turned.mp4", [np.ascontiguousarray(stored)], [0.0], matrix=header)
    points = []
    for name in ("plain", "turned"):
        assert track(tmp_path / f"{name}.mp4", "--records", tmp_path / f"{name}.jsonl")[0] == 0
        (row,) = rows_of(tmp_path / f"{name}.jsonl")
        points.append(np.array(row["points"]))
    np.testing.assert_allclose(points[1], points[0], atol=1.0)


def test_overlay_and_records_keep_times_and_sound(film_of: FilmOf, tmp_path: Path) -> None:
    """A film that begins at 0.5 s, uneven, odd in size: every frame at its time in both, the sound in the overlay."""
    image, times = portrait()[:-1, :-1], [0.5, 0.52, 0.6, 0.605, 1.0]
    loud = film_of(tmp_path / "loud.mp4", [np.ascontiguousarray(image)] * 5, times, sound="aac")
    out, records = tmp_path / "out.mp4", tmp_path / "rows.jsonl"
    assert track(loud, "--out", out, "--records", records)[0] == 0
    np.testing.assert_allclose([row["seconds"] for row in rows_of(records)], times, atol=6e-4)
    with VideoReader(out) as reader:
        frames = list(reader)
        assert reader.sound == str(out)
    np.testing.assert_allclose([frame.seconds for frame in frames], times, atol=6e-4)
    assert frames[0].image.shape == image.shape


def test_sound_that_the_overlay_cannot_hold_is_reported(film_of: FilmOf, tmp_path: Path) -> None:
    """With its codec and a format that can."""
    loud = film_of(tmp_path / "loud.mkv", [portrait()], [0.0], sound="libopus")
    status, printed = track(loud, "--out", tmp_path / "out.mov")
    assert status == 0
    assert "the overlay is without sound (opus), which its format cannot hold; .mkv holds most" in printed


FULL_DISK = textwrap.dedent("""
    import resource, signal, sys

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing beyond the limit fails, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
    from lightmark.cli import main
    main()
""")


def run(*arguments: object, stdout: int | IO[bytes]) -> subprocess.CompletedProcess[bytes]:
    """`lightmark track` in a process of its own, as shells start it."""
    command = [sys.executable, "-m", "lightmark", "track", *map(str, arguments), "--threads", "1"]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False)


def test_a_dash_writes_lines_to_standard_output(film: Path, tmp_path: Path) -> None:
    """Standard output has the rows only; messages go to the error stream."""
    done = run(film, "--records", "-", "--out", tmp_path / "out.mp4", stdout=subprocess.PIPE)
    assert done.returncode == 0
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["frame"], row["id"]) for row in rows] == [(index, 0) for index in range(FRAMES)]
    assert str(tmp_path / "out.mp4") in done.stderr.decode()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_standard_output_is_one_line_and_status_2(film: Path, tmp_path: Path) -> None:
    """The overlay is removed, too: an error leaves no files."""
    with Path("/dev/full").open("wb") as full:
        done = run(film, "--records", "-", "--out", tmp_path / "out.mp4", stdout=full)
    assert done.returncode == 2
    assert done.stderr.decode().startswith("lightmark: standard output cannot be written: No space left on device")
    assert done.stderr.count(b"\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_reader_that_has_gone_ends_it_quietly(film: Path) -> None:
    """As `| head` does: 128 + SIGPIPE, and not a word."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = run(film, "--records", "-", stdout=closed)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("option", [["--out", "out.mp4"], ["--out", "out.mkv"], ["--records", "rows.jsonl"]])
def test_a_full_disk_is_one_line_and_status_2(film: Path, tmp_path: Path, option: list[str]) -> None:
    """Nothing is left that would not open."""
    out = tmp_path / option[1]
    command = [sys.executable, "-c", FULL_DISK, "track", str(film), option[0], str(out), "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"lightmark: {out}: cannot be written: ")
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_file_keeps_what_was_done(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    """After a signal in the third frame both files hold three complete frames."""
    raise_in_frame(monkeypatch, 2, number)
    out, records = tmp_path / "out.mp4", tmp_path / "rows.jsonl"
    found, printed = track(film, "--out", out, "--records", records)
    assert found == status
    assert f"stopped by {signal.Signals(number).name}; what was done so far is kept" in printed
    assert len(records.read_text().splitlines()) == 3
    with VideoReader(out) as reader:
        assert len(list(reader)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "rows.jsonl"]


def raise_in_frame(monkeypatch: pytest.MonkeyPatch, index: int, number: int) -> None:
    """Have this process receive the signal `number` while frame `index` is drawn."""
    draw, calls = footage.draw_tracked, []

    def interrupted(image: Picture, *arguments: Any) -> Picture:
        if len(calls) == index:
            signal.raise_signal(number)
        calls.append(index)
        return draw(image, *arguments)

    monkeypatch.setattr(footage, "draw_tracked", interrupted)


class Camera:
    """Stands in for a reader of a camera that is unplugged after two frames."""

    fps, live, total, sound = 30.0, True, None, None

    def __iter__(self) -> Iterator[Frame]:
        for index in range(2):
            yield Frame(index, index / 20, np.full((48, 64, 3), 90, np.uint8))


class Marks:
    """Stands in for a tracker: one face in every frame, or an error in the second one."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken

    def update(self, image: Picture, seconds: float) -> list[TrackedFace]:
        """The face."""
        if self.broken and seconds > 0:
            raise ZeroDivisionError
        return [tracked(3)]


def tracked(number: int, shift: float = 0.0) -> TrackedFace:
    """A face of 30 px at (20, 12), moved right by `shift`."""
    points = np.random.default_rng(0).uniform(0, 30, (68, 2)) + np.array([20 + shift, 12])
    return TrackedFace(number, Face(points, np.array([20.0, 12.0, 50.0, 42.0]), IBUG68), points, 0.0)


def test_an_unplugged_camera_leaves_whole_files(tmp_path: Path) -> None:
    """What was done so far is closed and in place; a model without confidence leaves its columns empty."""
    done = track_video(Camera(), Marks(), tmp_path / "out.mp4", tmp_path / "rows.csv")  # type: ignore[arg-type]  # stubs
    assert (done.frames, done.ids, done.stopped_by, done.cut_short) == (2, frozenset({3}), None, False)
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert [frame.seconds for frame in reader] == pytest.approx([0.0, 0.05], abs=1e-4)
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [(row["frame"], row["id"], row["confidence"], row["expected_error67"]) for row in rows]
    assert found == [("0", "3", "", ""), ("1", "3", "", "")]


def test_an_error_leaves_neither_file(tmp_path: Path) -> None:
    """Partial output is kept after an interruption, not after an error."""
    with pytest.raises(ZeroDivisionError):
        track_video(Camera(), Marks(broken=True), tmp_path / "out.mp4", tmp_path / "rows.csv")  # type: ignore[arg-type]  # stubs
    assert not list(tmp_path.iterdir())


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests are a shell's background job, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_second_signal_acts_as_before() -> None:
    """The first Ctrl-C is noted, the second interrupts; afterwards the handlers are the old ones."""
    before = signal.getsignal(signal.SIGINT)
    with stop_signals() as came:
        signal.raise_signal(signal.SIGINT)
        assert came == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_first_ids_have_colours_far_apart() -> None:
    """Of the first eight no two are within 50 levels of each other; an id always has the same."""
    colours = np.array([id_colour(number) for number in range(8)], dtype=float)
    apart = np.abs(colours[:, None] - colours[None]).max(axis=2)
    assert apart[~np.eye(8, dtype=bool)].min() > 50
    assert id_colour(5) == id_colour(5)


def test_faces_are_drawn_in_their_colour_and_the_picture_stays() -> None:
    """Also where a face reaches over the picture's edge; the label is then inside."""
    image = np.full((60, 80, 3), 50, np.uint8)
    drawn = draw_tracked(image, [tracked(0), tracked(1, shift=-40.0)])
    assert (image == 50).all()
    for number in (0, 1):
        assert (np.abs(drawn.astype(int) - id_colour(number)).max(axis=2) < 30).any()


def test_the_overlay_is_drawn_in_the_styles_that_are_named(film: Path, tmp_path: Path) -> None:
    """Points alone change less than the default; without an overlay there is nothing to draw."""
    change = []
    for name, options in (("points", ["--style", "points"]), ("default", []), ("axes", ["--style", "axes"])):
        assert track(film, "--out", tmp_path / f"{name}.mp4", *options)[0] == 0
        with VideoReader(film) as before, VideoReader(tmp_path / f"{name}.mp4") as after:
            change.append(
                np.mean([np.abs(a.image.astype(int) - b.image).mean() for a, b in zip(before, after, strict=True)])
            )
    assert 0 < change[0] < change[1]
    status, said = track(film, "--records", tmp_path / "rows.csv", "--style", "points")
    assert (status, "--style and --anonymise are for a drawn video" in said) == (2, True)


def test_every_frame_of_an_anonymised_video_is_blurred(film: Path, tmp_path: Path) -> None:
    """From the first frame on, heads are of smooth colour, and neither points nor ids are drawn."""
    assert track(film, "--out", tmp_path / "out.mp4", "--anonymise", "faces")[0] == 0
    landmarker = Landmarker("fast", threads=1)
    with VideoReader(tmp_path / "out.mp4") as reader:
        frames = [frame.image for frame in reader]
    assert len(frames) == FRAMES
    for image in frames:
        assert landmarker.detect(image) == []


def test_a_new_face_is_sought_in_every_frame_that_is_anonymised(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless --redetect is set; without --anonymise in every tenth."""
    asked = []

    def noted(**options: Any) -> Tracking:
        asked.append(options["redetect"])
        return Tracking(**options)

    monkeypatch.setattr("lightmark.video.tracker.Tracking", noted)
    for number, options in enumerate((["--anonymise", "faces"], [], ["--anonymise", "eyes", "--redetect", "5"])):
        assert track(film, "--out", tmp_path / f"{number}.mp4", *options)[0] == 0
    assert asked == [1, 10, 5]


class Striped(Camera):
    """A camera before stripes, which a blur takes away."""

    def __iter__(self) -> Iterator[Frame]:
        for frame in super().__iter__():
            yield Frame(frame.index, frame.seconds, np.tile(np.uint8([[[40]], [[200]]]), (24, 64, 3)))


class Blinded(Marks):
    """Has just lost the one face that it followed."""

    def update(self, image: Picture, seconds: float) -> list[TrackedFace]:
        """No face is in sight."""
        return []

    def hidden_faces(self) -> list[Face]:
        """The face that was lost."""
        return [tracked(0).face]


def test_a_face_just_lost_stays_blurred(tmp_path: Path) -> None:
    """A frame in which the model is not sure must not show what all others hide."""
    out = tmp_path / "out.mp4"
    track_video(Striped(), Blinded(), out, anonymise="faces")  # type: ignore[arg-type]  # stubs
    plain = tmp_path / "plain.mp4"
    track_video(Striped(), Blinded(), plain)  # type: ignore[arg-type]  # stubs
    with VideoReader(out) as hidden, VideoReader(plain) as shown:
        for a, b in zip(hidden, shown, strict=True):
            assert a.image[18:36, 26:44].std() < 5 < 40 < b.image[18:36, 26:44].std()


def test_events_and_plot_are_files_of_their_own(film: Path, tmp_path: Path) -> None:
    """Beside no other output, and named at the end."""
    pytest.importorskip("matplotlib")
    events, plot = tmp_path / "events.csv", tmp_path / "plot.png"
    status, said = track(film, "--events", events, "--plot", plot)
    assert status == 0
    assert said.endswith(f"{events}\n{plot}\n")
    assert events.read_text().startswith("id,event,start,end,seconds,depth")
    assert to_picture(plot).shape == (650, 900, 3)


def test_a_low_frame_rate_warns_of_missed_blinks(film_of: FilmOf, tmp_path: Path) -> None:
    """The warning names the rate; it is printed only with --events or --plot."""
    slow = film_of(tmp_path / "slow.mp4", [portrait()] * 5, [index / 8 for index in range(5)])
    status, said = track(slow, "--events", tmp_path / "events.jsonl")
    assert status == 0
    assert "8.0 frames a second are too few to see every blink: none is listed" in said
    assert "too few" not in track(slow, "--records", tmp_path / "rows.csv")[1]
