"""The progress bar of a run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lightmark.train.progress import progress_bar


def test_a_bar_begins_where_the_run_does() -> None:
    """Steps done in an earlier life count; there is room for a note."""
    bar = progress_bar("tiny", steps=8, done=3, quiet=False)
    (task,) = bar.tasks
    assert (task.description, task.total, task.completed, task.fields) == ("tiny", 8, 3, {"note": ""})


def test_a_bar_is_drawn_at_most_twice_a_second() -> None:
    """A long run over a slow connection sends little."""
    assert progress_bar("tiny", steps=8, done=0, quiet=False).live.refresh_per_second == 2


@pytest.mark.parametrize("quiet", [False, True])
def test_a_bar_shows_name_steps_and_note_unless_quiet(quiet: bool) -> None:
    """With the time that is left."""
    bar = progress_bar("tiny", steps=8, done=3, quiet=quiet)
    assert bar.disable is quiet
    bar.update(bar.task_ids[0], note="validation NME 3.00 %")
    console = Console(file=io.StringIO(), width=120)
    console.print(bar.get_renderable())
    shown = console.file.getvalue()
    assert "3/8" in shown
    assert shown.split()[0] == "tiny"
    assert shown.split()[-4:] == ["validation", "NME", "3.00", "%"]
    assert "left" in shown.split()
    assert shown.index("0:00:00") < shown.index("left") < shown.index("-:--:--") < shown.index("validation")
