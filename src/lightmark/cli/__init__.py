"""The `lightmark` command: parses, calls one function, prints; an error of ours is one line and exit status 2."""

from __future__ import annotations

import importlib
import sys
from typing import Any, NoReturn

import click

from lightmark import __version__
from lightmark.cli.signals import INTERRUPTED
from lightmark.cli.streams import EXIT_AFTER_SIGPIPE, standard_streams
from lightmark.errors import LightmarkError

# Module below lightmark.cli of each command, by what one wants to do.
GROUPS = {
    "Use": {
        "detect": "detecting",
        "track": "tracking",
        "annotate": "annotating",
        "serve": "serving",
        "models": "evaluating",
        "info": "evaluating",
    },
    "Measure": {"evaluate": "evaluating", "compare": "evaluating", "bench": "benching"},
    "Train and export": {
        "data": "datasets",
        "init": "own_points",
        "finetune": "training",
        "distill": "training",
        "train": "training",
        "confidence": "auxiliary_training",
        "train-detector": "auxiliary_training",
        "recipes": "training",
        "export": "exporting",
        "demo": "auxiliary_training",
    },
}
MODULES = {name: module for commands in GROUPS.values() for name, module in commands.items()}
LINE = 62  # characters of a command's line: with the longest name, 80 columns


class _Lightmark(click.Group):
    """Group that turns our errors into one line and exit status 2, Ctrl-C into 130, a reader that is gone into 141.

    A command's module is imported when the command is used, so that no command waits for the others' imports.
    """

    def list_commands(self, context: click.Context) -> list[str]:
        """Names of the commands."""
        return list(MODULES)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command `name`, None where there is none."""
        if name not in MODULES:
            return None
        command = getattr(importlib.import_module(f"lightmark.cli.{MODULES[name]}"), name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by purpose, one line each."""
        for title, names in GROUPS.items():
            with formatter.section(title):
                commands = [(name, self.get_command(context, name)) for name in names]
                formatter.write_dl([(name, command.get_short_help_str(LINE)) for name, command in commands if command])

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
            sys.exit(EXIT_AFTER_SIGPIPE)


def _fail(error: LightmarkError) -> NoReturn:
    click.echo(f"lightmark: {error}", err=True)
    sys.exit(2)


@click.group(cls=_Lightmark, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lightmark")
def main() -> None:
    """Find facial landmarks; train, distil, measure and export what finds them."""
