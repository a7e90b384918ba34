"""Progress bar of a training run."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress_bar(name: str, steps: int, done: int, quiet: bool) -> Progress:
    """Progress bar of `steps` steps, `done` of them before the run was resumed; hidden if `quiet`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    bar = Progress(*columns, refresh_per_second=2, disable=quiet)
    bar.add_task(name, total=steps, completed=done, note="")
    return bar
