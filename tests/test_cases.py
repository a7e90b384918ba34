"""Broken and hostile files: the command gives a result or one line with an error, within time and memory limits.

The files lie in the folder LIGHTMARK_CASES, or ../shared/cases beside the repository. Each command runs in a process of
its own, with at most 5 s of a processor and 1 GB of addresses.
"""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS, BYTES = 5, 10**9
_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "cases"
FOLDER = Path(os.environ.get("LIGHTMARK_CASES", _BESIDE))
CHECK, ANNOTATE = ("data", "check", "{file}"), ("annotate", "{file}", "--engine", "local", "--out", "{out}")
DETECT = ("detect", "{picture}", "--detector")
COMMANDS = {
    ".mat": [CHECK],
    ".json": [CHECK],
    ".tar": [CHECK, ANNOTATE],
    ".parquet": [ANNOTATE],
    ".onnx": [("info", "{file}"), (*DETECT, "face:{file}"), (*DETECT, "yunet:{file}")],
    ".py": [("detect", "{file}")],
}
CASES = sorted(file for file in FOLDER.glob("*") if file.suffix in COMMANDS)


def limit() -> None:
    """Bound the process that is about to become the command."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with `words` inside the bounds."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_IO_THREADS"), "1")
    return subprocess.run(
        [sys.executable, *words], check=False, cwd=folder, capture_output=True, text=True, timeout=300,
        preexec_fn=limit, env=os.environ | one_thread,
    )  # fmt: skip


def given(case: Path, folder: Path) -> Path:
    """The file that is read: of a script, what it makes."""
    if case.suffix != ".py":
        return case
    before = set(folder.iterdir())
    here = Path.cwd()
    os.chdir(folder)
    try:
        runpy.run_path(str(case))
    finally:
        os.chdir(here)
    (made,) = set(folder.iterdir()) - before
    return made


@pytest.mark.skipif(not CASES, reason=f"no files in {FOLDER}; set LIGHTMARK_CASES to a folder of broken files")
@pytest.mark.skipif(sys.platform == "win32", reason="bounds of a process are POSIX's")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_broken_file_gives_a_result_or_one_line(case, tmp_path):
    """No traceback, no crash, no endless work, whatever the file holds."""
    file = given(case, tmp_path)
    places = {"file": str(file), "out": str(tmp_path / "out"), "picture": str(tmp_path / "a.pgm")}
    (tmp_path / "a.pgm").write_bytes(b"P5 64 64 255\n" + bytes(64 * 64))
    for words in COMMANDS[case.suffix]:
        process = run(["-m", "lightmark", *(word.format(**places) for word in words)], tmp_path)
        errors = process.stderr.strip().splitlines()
        print(process.args, process.returncode, *errors, sep="\n")
        assert process.returncode in (0, 1, 2), f"ended by signal or status {process.returncode}"
        if process.returncode == 2:
            assert len(errors) == 1
            assert errors[0].startswith("lightmark: ")
        assert "Traceback" not in process.stderr
