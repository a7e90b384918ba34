"""Tests of bulk landmarks: one row a picture whatever happens, the same from every source and engine."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as PilImage

from lightmark import extras
from lightmark.annotate import chunk as chunk_module
from lightmark.annotate.chunk import Settings, annotate_chunk
from lightmark.annotate.engines import run_local, run_ray
from lightmark.annotate.job import MANIFEST, open_job, summarise
from lightmark.annotate.listing import key_of, list_pictures
from lightmark.annotate.part import part_path
from lightmark.annotate.reading import decode, read_chunk
from lightmark.cli import main
from lightmark.data.synthetic import synthetic_samples
from lightmark.errors import CheckpointError, ConfigError, DataError, ImageError, MissingExtraError
from lightmark.landmarker import Landmarker
from lightmark.runtime.shipped import DEFAULT_MODEL
from lightmark.source import to_picture

pa = pytest.importorskip("pyarrow", reason='pyarrow is not installed: pip install "lightmark[annotate]"')
parquet = pytest.importorskip("pyarrow.parquet")


def jpeg(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    PilImage.fromarray(picture).save(stream, format="JPEG", quality=90)
    return stream.getvalue()


FACES = [jpeg(face.image) for face in synthetic_samples(4, seed=0, size=160)]
NO_FACE = jpeg(np.full((40, 60, 3), 90, np.uint8))


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_loose(folder: Path, count: int) -> Path:
    """A folder of `count` pictures that repeat the four faces."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:03}.jpg").write_bytes(FACES[number % 4])
    return folder


def run(source: Path, out: Path, per_part: int = 2, **settings) -> list[dict]:
    """Annotate in this process, and give all rows."""
    job = open_job(source, out, Settings(**settings), per_part)
    for _ in run_local(job):
        pass
    summarise(job)
    return rows(out)


def rows(out: Path) -> list[dict]:
    return [row for path in sorted(out.glob("part-*.parquet")) for row in parquet.read_table(path).to_pylist()]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Pictures of every kind: loose in folders, in a tar, in Parquet as struct; two are bad, one has no face."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.jpg").write_bytes(FACES[0])
    (folder / "cut.jpg").write_bytes(FACES[0][:1500])
    (folder / "plain.jpg").write_bytes(NO_FACE)
    (folder / "notes.txt").write_text("no picture")
    write_tar(folder / "b.tar", {"x/0.jpg": FACES[1], "x/0.json": b"{}", "x/._0.jpg": b"", "x/1.jpg": FACES[2]})
    cells = [{"bytes": FACES[3], "path": "a.jpg"}, None, {"bytes": FACES[0], "path": None}]
    parquet.write_table(pa.table({"id": [1, 2, 3], "image": cells}), folder / "c.parquet", row_group_size=2)
    return folder


def test_every_picture_of_every_source_has_one_row(source, tmp_path):
    """Folders, tars and Parquet: one row per picture, with its place as the key."""
    found = {row["key"]: row for row in run(source, tmp_path / "out")}
    assert sorted(found) == [
        *("b.tar/x/0.jpg", "b.tar/x/1.jpg", "c.parquet#0", "c.parquet#1", "c.parquet#2"),
        *("cut.jpg", "plain.jpg", "sub/a.jpg"),
    ]
    assert len(rows(tmp_path / "out")) == 8


def test_bad_pictures_have_a_reason_and_faceless_ones_are_no_error(source, tmp_path):
    """A bad picture has no list of faces and a reason without its name; one without faces has an empty list."""
    found = {row["key"]: row for row in run(source, tmp_path / "out")}
    assert found["cut.jpg"]["faces"] is None
    assert found["cut.jpg"]["width"] is None
    assert found["cut.jpg"]["error"].startswith("cannot be read as a picture: image file is truncated")
    assert found["c.parquet#1"]["error"] == "no bytes in this row"
    plain = found["plain.jpg"]
    assert (plain["width"], plain["height"], plain["faces"], plain["error"]) == (60, 40, [], None)


def test_a_stray_file_is_named_and_skipped(source, tmp_path):
    """A Parquet file of something else does not keep the pictures beside it from being done."""
    parquet.write_table(pa.table({"sales": [1, 2]}), source / "stray.parquet")
    job = open_job(source, tmp_path / "out", Settings())
    (fault,) = job.listing.faults
    assert fault.startswith(f"{source / 'stray.parquet'}: no column 'image'")
    assert job.listing.pictures == 8


def test_bad_pictures_are_named_by_their_first(source, tmp_path):
    """How many for which reason, and where to look."""
    job = open_job(source, tmp_path / "out", Settings())
    for _ in run_local(job):
        pass
    summary = summarise(job)
    assert summary.errors["no bytes in this row"] == 1
    assert summary.first["no bytes in this row"] == "c.parquet#1"


def test_rows_hold_what_detect_finds(source, tmp_path):
    """Box, confidence, points, expected_error and pose are those of `Landmarker.detect`, in float32."""
    found = {row["key"]: row for row in run(source, tmp_path / "out")}
    expected = Landmarker(threads=1).detect(FACES[0])
    for key in ("sub/a.jpg", "c.parquet#2"):
        assert len(found[key]["faces"]) == len(expected) > 0
        for stored, face in zip(found[key]["faces"], expected, strict=True):
            assert np.allclose(stored["box"], face.box, atol=1e-3)
            assert np.allclose(stored["points"], face.points, atol=1e-3)
            assert np.allclose(stored["expected_error"], face.expected_error, atol=1e-3)
            assert stored["confidence"] == pytest.approx(face.confidence, abs=1e-4)
            assert stored["pose"]["yaw"] == pytest.approx(face.pose.yaw, abs=1e-2)


def test_measures_are_stored_on_request(tmp_path):
    """In columns of their own; the same folder is not continued without them."""
    folder = write_loose(tmp_path / "in", 1)
    (row,) = run(folder, tmp_path / "out", measures=True)
    face, *others = Landmarker(threads=1).detect(FACES[0])
    stored, *rest = row["faces"]
    assert len(rest) == len(others)
    assert stored["eye_openness"] == pytest.approx(face.eye_openness._asdict(), abs=1e-3)
    assert stored["mouth_openness"] == pytest.approx(face.mouth_openness, abs=1e-3)
    assert stored["eyes_closed"] == face.eyes_closed._asdict()
    assert stored["inside"] == face.inside(160, 160).tolist()
    assert np.shape(stored["transform"]) == (4, 4)
    assert np.allclose(stored["five_points"], face.five_points, atol=1e-3)
    with pytest.raises(ConfigError, match="measures True, now None"):
        run(folder, tmp_path / "out")


def test_parts_have_their_provenance(source, tmp_path):
    """Model, its hash, schema and version lie in each part's metadata."""
    run(source, tmp_path / "out")
    schema = parquet.read_schema(part_path(tmp_path / "out", 0))
    made = json.loads(schema.metadata[b"lightmark"])
    assert (made["model"], made["schema"], made["min_confidence"]) == (f"{DEFAULT_MODEL}.onnx", "ibug68", None)
    assert len(made["model_sha256"]) == 64


def test_a_folder_of_parts_is_one_table(source, tmp_path):
    """Readers of Parquet take the folder as it is: the manifest's name hides it."""
    run(source, tmp_path / "out")
    assert len(parquet.read_table(tmp_path / "out")) == 8


@pytest.mark.parametrize("per_part", [1, 2, 3, 100])
def test_chunks_are_the_same_pictures_however_they_are_cut(source, per_part):
    """Starting in the middle of a tar or of row groups gives what reading through would."""
    listing = list_pictures(source, per_part, "image")
    assert listing.pictures == 8
    assert max(chunk.count for chunk in listing.chunks) <= per_part
    assert [chunk.number for chunk in listing.chunks] == list(range(len(listing.chunks)))
    pictures = {}
    for chunk in listing.chunks:
        read = list(read_chunk(chunk, "image"))
        assert len(read) == chunk.count
        for key, encoded in read:
            with suppress(ImageError):
                pictures[key] = decode(encoded, key, 10**6)
    assert np.array_equal(pictures["b.tar/x/1.jpg"], to_picture(FACES[2]))
    assert np.array_equal(pictures["c.parquet#2"], to_picture(FACES[0]))
    assert len(pictures) == 6
    assert list_pictures(source, per_part, "image") == listing


def test_pictures_are_read_when_it_is_their_turn(tmp_path):
    """Reading a picture opens no later one."""
    folder = write_loose(tmp_path / "in", 3)
    (chunk,) = list_pictures(folder, 100, "image").chunks
    (folder / "002.jpg").unlink()
    reader = read_chunk(chunk, "image")
    assert [next(reader)[0] for _ in range(2)] == ["000.jpg", "001.jpg"]


def test_columns_of_bare_bytes_and_other_names_are_read(tmp_path):
    """Bytes without a struct, in a column that the user names."""
    parquet.write_table(pa.table({"jpg": [FACES[0], FACES[1]]}), tmp_path / "a.parquet")
    found = run(tmp_path / "a.parquet", tmp_path / "out", column="jpg")
    assert [row["key"] for row in found] == ["a.parquet#0", "a.parquet#1"]
    assert all(row["faces"] for row in found)


def test_a_column_without_pictures_lists_those_that_are_there(tmp_path):
    """Neither a missing column nor one of numbers is guessed at."""
    parquet.write_table(pa.table({"id": [1], "jpg": [FACES[0]]}), tmp_path / "a.parquet")
    for column in ("image", "id"):
        with pytest.raises(DataError, match=rf"no column '{column}' of bytes.*there are id \(int64\), jpg \(binary\)"):
            list_pictures(tmp_path / "a.parquet", 10, column)


def test_a_parquet_file_that_breaks_costs_its_rows_only(tmp_path):
    """Rows whose pages cannot be read are bad pictures; there is still one row for each."""
    folder = tmp_path / "in"
    folder.mkdir()
    parquet.write_table(pa.table({"image": FACES}), folder / "a.parquet", row_group_size=2, compression="zstd")
    content = bytearray((folder / "a.parquet").read_bytes())
    middle = content.index(FACES[2][1000:1100]) if FACES[2][1000:1100] in content else len(content) // 2
    content[middle - 200 : middle + 4000] = bytes(4200)
    (folder / "a.parquet").write_bytes(content)
    found = run(folder, tmp_path / "out", per_part=10)
    assert [row["key"] for row in found] == [f"a.parquet#{i}" for i in range(4)]
    assert any(row["error"] for row in found)


def test_a_cut_tar_is_reported_and_its_last_picture_is_bad(tmp_path):
    """Complete pictures are annotated; the cut one has its reason."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_tar(folder / "a.tar", {"0.jpg": FACES[0], "1.jpg": FACES[1]})
    (folder / "a.tar").write_bytes((folder / "a.tar").read_bytes()[: 2048 + len(FACES[0])])
    job = open_job(folder, tmp_path / "out", Settings(), 1)
    assert "a.tar: cut, broken or no uncompressed tar" in job.listing.faults[0]
    for _ in run_local(job):
        pass
    first, second = rows(tmp_path / "out")
    assert first["faces"]
    assert second["error"].startswith("cut: ")


def test_files_that_are_no_archives_are_reported(tmp_path):
    """A broken tar or Parquet file does not stop the others, and is in the manifest."""
    folder = write_loose(tmp_path / "in", 1)
    (folder / "a.tar").write_bytes(b"hello" * 500)
    (folder / "b.parquet").write_bytes(b"hello" * 500)
    job = open_job(folder, tmp_path / "out", Settings())
    assert [fault.partition(": ")[0][-9:] for fault in job.listing.faults] == ["/in/a.tar", "b.parquet"]
    assert len(json.loads((tmp_path / "out" / MANIFEST).read_text())["faults"]) == 2


def test_a_tar_that_changes_meanwhile_is_named(tmp_path):
    """Fewer pictures than were listed are not passed over."""
    write_tar(tmp_path / "a.tar", {"0.jpg": FACES[0], "1.jpg": FACES[1]})
    (chunk,) = list_pictures(tmp_path / "a.tar", 10, "image").chunks
    write_tar(tmp_path / "a.tar", {"0.jpg": FACES[0]})
    with pytest.raises(DataError, match=r"a\.tar: 1 pictures from byte 0 on, 2 when it was listed; it was changed"):
        annotate_chunk(chunk, Settings(), tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only there are names any bytes")
def test_names_that_are_no_text_have_keys(tmp_path):
    """Bytes that are not UTF-8 are written out."""
    folder = write_loose(tmp_path / "in", 1)
    (folder / "000.jpg").rename(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg"))
    (row,) = run(folder, tmp_path / "out")
    assert row["key"] == key_of(os.fsdecode(b"\xff.jpg")) == "\\xff.jpg"
    assert row["faces"]


def test_finished_parts_are_not_done_again(tmp_path):
    """Started again, a job makes the parts that are missing and leaves the others as they are."""
    folder = write_loose(tmp_path / "in", 6)
    before = run(folder, tmp_path / "out")
    marks = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    part_path(tmp_path / "out", 1).unlink()
    job = open_job(folder, tmp_path / "out", Settings(), 2)
    assert [done.number for done in run_local(job)] == [1]
    assert rows(tmp_path / "out") == before
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert {name for name in marks if marks[name] != again[name]} == {"part-000001.parquet"}


KILLED_WRITING = """
import os, signal, sys
from pyarrow import parquet
from lightmark.annotate.chunk import Settings
from lightmark.annotate.engines import run_local
from lightmark.annotate.job import open_job

write, calls = parquet.write_table, []

def write_and_die(table, path, **options):
    calls.append(path)
    write(table, path, **options)
    if len(calls) == 3:
        os.truncate(path, 100)
        os.kill(os.getpid(), signal.SIGKILL)

parquet.write_table = write_and_die
for done in run_local(open_job(sys.argv[1], sys.argv[2], Settings(), 2)):
    pass
"""

KILLED_WITH_RAY = """
import os, signal, sys
from lightmark.annotate.chunk import Settings
from lightmark.annotate.engines import run_ray
from lightmark.annotate.job import open_job

for number, done in enumerate(run_ray(open_job(sys.argv[1], sys.argv[2], Settings(), 2), workers=2)):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def kill(program: str, *words: object) -> None:
    """Run `program`, which ends itself by SIGKILL."""
    ended = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def test_killed_while_writing_a_part_it_goes_on(tmp_path):
    """Killed in its third part, a job keeps two, makes the rest, and every picture has one row."""
    folder, out = write_loose(tmp_path / "in", 12), tmp_path / "out"
    kill(KILLED_WRITING, folder, out)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}
    assert len(kept) == 2
    assert len(list(out.glob(".*.parquet"))) == 1
    found = run(folder, out)
    assert Counter(row["key"] for row in found) == Counter(path.name for path in folder.iterdir())
    assert all(path.stat().st_mtime_ns == mark for path, mark in kept.items())
    assert not list(out.glob(".*.parquet"))
    assert found == run(folder, tmp_path / "whole")


def test_ray_killed_and_resumed_gives_what_one_process_gives(tmp_path):
    """Two workers, killed by SIGKILL and started again: every picture once, the same rows, finished parts kept."""
    pytest.importorskip("ray", reason='ray is not installed: pip install "lightmark[ray]"')
    folder, out = write_loose(tmp_path / "in", 12), tmp_path / "out"
    kill(KILLED_WITH_RAY, folder, out)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}
    assert 2 <= len(kept) < 6
    job = open_job(folder, out, Settings(), 2)
    todo = {chunk.number for chunk in job.todo()}
    # The killed run's workers outlive it for moments, and may finish what they have at hand.
    assert {done.number for done in run_ray(job, workers=2)} <= todo
    assert summarise(job).pictures == 12
    assert all(path.stat().st_mtime_ns == mark for path, mark in kept.items())
    assert rows(out) == run(folder, tmp_path / "local")


class RayError(Exception):
    """Ray's error of its own."""


class RayTaskError(RayError):
    """Ray's error about a task's, which is its cause."""


def fake_ray(monkeypatch, fail: Exception | None = None) -> SimpleNamespace:
    """Ray's calls that `run_ray` makes, in one process; `most` tasks were in flight at once."""
    fake = SimpleNamespace(running=0, most=0)

    def start(function, *words):
        fake.running += 1
        fake.most = max(fake.most, fake.running)
        return lambda: function(*words)

    def get(task):
        fake.running -= 1
        if fail is not None:
            raise fail
        return task()

    fake.remote = lambda function: SimpleNamespace(
        options=lambda **_: SimpleNamespace(remote=lambda *words: start(function, *words))
    )
    fake.is_initialized = lambda: True
    fake.wait = lambda tasks, num_returns: (tasks[-num_returns:], tasks[:-num_returns])
    fake.get = get
    fake.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr("lightmark.annotate.engines.require_extra", lambda *_: None)
    return fake


def test_no_more_chunks_are_in_flight_than_workers(tmp_path, monkeypatch):
    """However many chunks there are, Ray holds as many as work at once."""
    fake = fake_ray(monkeypatch)
    job = open_job(write_loose(tmp_path / "in", 12), tmp_path / "out", Settings(), 2)
    assert sorted(done.number for done in run_ray(job, workers=2)) == list(range(6))
    assert fake.most == 2
    assert list(run_ray(job, workers=2)) == []


def test_what_a_chunk_raises_with_ray_is_what_it_raises_here(tmp_path, monkeypatch):
    """An error of ours comes through; a worker that keeps dying names its chunk."""
    job = open_job(write_loose(tmp_path / "in", 2), tmp_path / "out", Settings(), 2)
    failed = RayTaskError()
    failed.cause = DataError("a.tar: it was changed meanwhile")
    fake_ray(monkeypatch, failed)
    with pytest.raises(DataError, match=r"^a\.tar: it was changed meanwhile$"):
        list(run_ray(job, workers=2))
    fake_ray(monkeypatch, RayError())
    with pytest.raises(DataError, match="chunk 0: its worker died 4 times"):
        list(run_ray(job, workers=2))


@pytest.mark.parametrize(
    ("address", "message"), [(None, "Ray does not start: slow"), ("a:1", "no Ray cluster responds at a:1: slow")]
)
def test_ray_that_does_not_start_is_an_error(tmp_path, monkeypatch, address, message):
    """Whatever Ray raises while it starts is one sentence with a way out, and Ray is stopped."""
    job = open_job(write_loose(tmp_path / "in", 2), tmp_path / "out", Settings(), 2)
    fake, stopped = fake_ray(monkeypatch), []
    fake.is_initialized, fake.shutdown = lambda: False, lambda: stopped.append(True)

    def fail(*_words, **_options):
        raise Exception("slow")  # as bare as Ray's own

    fake.init = fail
    with pytest.raises(ConfigError, match=message):
        list(run_ray(job, 2, address))
    assert stopped


def test_other_pictures_are_refused(tmp_path):
    """A picture that came, went or changed its size since the job was begun is another job."""
    folder = write_loose(tmp_path / "in", 3)
    open_job(folder, tmp_path / "out", Settings())
    (folder / "003.jpg").write_bytes(FACES[0])
    with pytest.raises(ConfigError, match="was begun with 3 pictures, now there are 4, not the same by name and size"):
        open_job(folder, tmp_path / "out", Settings())
    (folder / "003.jpg").unlink()
    (folder / "002.jpg").write_bytes(NO_FACE)
    with pytest.raises(ConfigError, match="was begun with 3 pictures, now there are 3"):
        open_job(folder, tmp_path / "out", Settings())


def test_other_settings_are_refused_by_name(tmp_path):
    """What decides the rows may not change; how many threads find them may."""
    folder = write_loose(tmp_path / "in", 1)
    open_job(folder, tmp_path / "out", Settings())
    with pytest.raises(ConfigError, match=r"was begun with min_confidence None, now 0\.5; go on with the same"):
        open_job(folder, tmp_path / "out", Settings(min_confidence=0.5))
    with pytest.raises(ConfigError, match="was begun with pictures_per_part 256, now 7"):
        open_job(folder, tmp_path / "out", Settings(), 7)
    with pytest.raises(ConfigError, match=rf"model '{DEFAULT_MODEL}\.onnx', now 'fast-int8\.onnx'; model_sha256"):
        open_job(folder, tmp_path / "out", Settings("fast-int8"))
    open_job(folder, tmp_path / "out", Settings(threads=2))


def test_settings_that_cannot_be_used_leave_nothing(tmp_path):
    """An invalid setting raises an error before the folder is created, so that the corrected command can use it."""
    folder = write_loose(tmp_path / "in", 1)
    with pytest.raises(ConfigError, match="no detector called 'nobody'"):
        open_job(folder, tmp_path / "out", Settings(detector="nobody"))
    with pytest.raises(CheckpointError, match="nobody: no model file"):
        open_job(folder, tmp_path / "out", Settings("nobody"))
    assert not (tmp_path / "out").exists()


def test_folders_in_use_are_refused(tmp_path):
    """Neither a folder with something else in it nor one inside the source is written to."""
    folder = write_loose(tmp_path / "in", 1)
    with pytest.raises(ConfigError, match=r"out: lies in .*in, whose pictures are read"):
        open_job(folder, folder / "out", Settings())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(ConfigError, match=r"mine: holds something, and no _manifest\.json of an earlier run"):
        open_job(folder, tmp_path / "mine", Settings())
    (tmp_path / "mine" / MANIFEST).write_text("[]")
    with pytest.raises(DataError, match=r"_manifest\.json: not a manifest of parts"):
        open_job(folder, tmp_path / "mine", Settings())


def test_nothing_to_annotate_is_an_error(tmp_path):
    """An empty folder, a foreign file and a missing one are errors that name the expected kinds."""
    (tmp_path / "in").mkdir()
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=r"in: no pictures; looked for \.tar, \.parquet, \.png"):
        list_pictures(tmp_path / "in", 10, "image")
    for name in ("a.txt", "nowhere"):
        with pytest.raises(DataError, match=f"{name}: no such folder, nor a file that ends in"):
            list_pictures(tmp_path / name, 10, "image")


def test_parts_that_are_not_right_are_named(tmp_path):
    """A part that is cut, or has another number of rows, does not pass for a finished job."""
    folder = write_loose(tmp_path / "in", 4)
    run(folder, tmp_path / "out")
    job = open_job(folder, tmp_path / "out", Settings(), 2)
    part = part_path(tmp_path / "out", 1)
    parquet.write_table(parquet.read_table(part).slice(0, 1), part)
    with pytest.raises(DataError, match="out: 3 rows for 4 pictures"):
        summarise(job)
    os.truncate(part, 50)
    with pytest.raises(DataError, match=r"part-000001\.parquet: cannot be read, delete it, .*: Arrow"):
        summarise(job)


def test_another_version_on_a_worker_is_refused(tmp_path):
    """Machines of a cluster must run the code that listed the pictures."""
    (chunk,) = list_pictures(write_loose(tmp_path / "in", 1), 10, "image").chunks
    with pytest.raises(ConfigError, match=r"works here, 0\.0\.0 listed the pictures; install one version on all"):
        annotate_chunk(chunk, Settings(version="0.0.0"), tmp_path)


def test_model_files_have_absolute_paths(monkeypatch, tmp_path):
    """Workers run in other folders; names of shipped models stay names."""
    monkeypatch.chdir(tmp_path)
    whole = chunk_module.with_absolute_paths(Settings("mine.onnx", "face:mine.onnx"))
    assert (whole.model, whole.detector) == (str(tmp_path / "mine.onnx"), f"face:{tmp_path / 'mine.onnx'}")
    assert chunk_module.with_absolute_paths(Settings()) == Settings()


def test_command_counts_and_goes_on(source, tmp_path):
    """Status 1 and the reasons where pictures were bad; a second run does nothing and prints the same."""
    words = ["annotate", str(source), "--out", str(tmp_path / "out"), "--engine", "local", "--pictures-per-part", "3"]
    first = CliRunner().invoke(main, words)
    assert first.exit_code == 1, first.output
    assert "8 pictures in" in first.output
    assert "2 could not be read" in first.output
    assert "1 cannot be read as a picture: image file is truncated (… bytes not processed)" in first.output
    assert "8 in this run" in first.output
    second = CliRunner().invoke(main, words)
    assert second.exit_code == 1
    assert "8 pictures in" in second.output
    assert "in this run" not in second.output


def test_command_succeeds_where_all_is_well(tmp_path):
    """Status 0 where every picture was read."""
    folder = write_loose(tmp_path / "in", 2)
    done = CliRunner().invoke(main, ["annotate", str(folder), "--out", str(tmp_path / "out"), "--engine", "local"])
    assert done.exit_code == 0, done.output


def test_command_refuses_what_one_process_cannot(tmp_path):
    """Workers are Ray's."""
    words = ["annotate", str(write_loose(tmp_path / "in", 1)), "--out", str(tmp_path / "out"), "--engine", "local"]
    refused = CliRunner().invoke(main, [*words, "--workers", "2"])
    assert refused.exit_code == 2
    assert "--workers and --address are for --engine ray" in refused.output


def test_missing_packages_are_named_with_their_extras(tmp_path, monkeypatch):
    """Without Ray the message has the install line and --engine local."""
    folder = write_loose(tmp_path / "in", 1)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["annotate", str(folder), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert 'annotate with Ray (--engine local does without it) needs ray: pip install "lightmark[ray]"' in result.output
    with pytest.raises(MissingExtraError, match=r'writing Parquet needs pyarrow: pip install "lightmark\[annotate\]"'):
        open_job(folder, tmp_path / "out", Settings())
