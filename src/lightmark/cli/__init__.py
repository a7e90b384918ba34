"""The `lightmark` command: parses, calls one function, prints; an error of ours is one line and exit status 2."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

from lightmark import __version__
from lightmark.cli.annotating import annotate
from lightmark.cli.benching import bench
from lightmark.cli.datasets import data
from lightmark.cli.detecting import detect
from lightmark.cli.evaluating import compare, evaluate, info, models
from lightmark.cli.exporting import export
from lightmark.cli.serving import serve
from lightmark.cli.signals import INTERRUPTED
from lightmark.cli.streams import READER_GONE, standard_streams
from lightmark.cli.tracking import track
from lightmark.cli.training import confidence, demo, distill, recipes, train, train_detector
from lightmark.errors import LightmarkError


class _Lightmark(click.Group):
    """Group that turns our errors into one line and exit status 2, Ctrl-C into 130, a reader that is gone into 141."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by what one wants to do, a whole line each."""
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(command.name or "", command.get_short_help_str(LINE)) for command in commands])

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """Run the command on guarded standard streams."""
        try:
            with standard_streams():
                return super().main(*arguments, **settings)
        except LightmarkError as error:  # of standard output, as it is flushed at the end
            _fail(error)

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(context)
        except LightmarkError as error:
            _fail(error)
        except KeyboardInterrupt:
            click.echo("lightmark: interrupted", err=True)
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            sys.exit(READER_GONE)


def _fail(error: LightmarkError) -> NoReturn:
    click.echo(f"lightmark: {error}", err=True)
    sys.exit(2)


@click.group(cls=_Lightmark, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lightmark")
def main() -> None:
    """Find facial landmarks; train, distil, measure and export what finds them."""


LINE = 62  # characters of a command's line: with the longest name, 80 columns
GROUPS = {
    "Use": (detect, track, annotate, serve, models, info),
    "Measure": (evaluate, compare, bench),
    "Train and export": (data, distill, train, confidence, train_detector, recipes, export, demo),
}
for commands in GROUPS.values():
    for command in commands:
        main.add_command(command)
