"""Shared options and parameter types of commands, and `Command` with overwrite protection.

The input and output types record each path in click's context; `Command` checks the outputs against the inputs before
it runs. Commands with several output files call `require_outputs` themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from lightmark.errors import MissingExtraError
from lightmark.outputs import require_free

if TYPE_CHECKING:
    from lightmark.schema import Schema

INPUTS, OUTPUTS = "lightmark.inputs", "lightmark.outputs"  # keys of click's `context.meta`


class Command(click.Command):
    """click command that never overwrites its inputs, and other files only with --force."""

    def invoke(self, context: click.Context) -> Any:
        """Check the outputs, then run the command."""
        with context.scope():
            require_outputs(context.meta.get(OUTPUTS, ()))
        return super().invoke(context)


def require_outputs(targets: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """`require_free` for outputs of the running command, with its --force, its recorded inputs and `inputs`."""
    force = bool(click.get_current_context().params.get("force"))
    require_free(targets, [*noted_inputs(), *inputs], force)


def noted_inputs() -> list[Path]:
    """Input files and folders of the running command."""
    noted: list[Path] = click.get_current_context().meta.get(INPUTS, [])
    return noted


def note(context: click.Context | None, key: str, path: Any) -> None:
    """Record `path` under `INPUTS` or `OUTPUTS` of the running command."""
    if context is not None:
        context.meta.setdefault(key, []).append(Path(path))


def refuse_url(value: Any) -> None:
    """Raise click's `BadParameter` for a URL in place of a file."""
    if "://" in str(value) and not Path(value).exists():
        raise click.BadParameter(f"{value!r} is a URL, and nothing is fetched here: download it, and give the file")


class InputPath(click.Path):
    """Parameter type of an existing input file or folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, exists=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Path, recorded as an input."""
        refuse_url(value)
        path = super().convert(value, param, ctx)
        note(ctx, INPUTS, path)
        return path


class InputWord(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    """Parameter type of a name or input file, such as a model, a video or `face:PATH`."""

    name = "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself; the path in it is recorded as an input."""
        for path in (str(value), str(value).partition(":")[2]):
            if path:
                note(ctx, INPUTS, path)
        return str(value)


class OutputFile(click.Path):
    """Parameter type of an output file; `whole` False for a file or folder that the command checks itself.

    With `dash`, "-" means standard output, to which the command writes line by line.
    """

    def __init__(self, whole: bool = True, dash: bool = False) -> None:
        super().__init__(path_type=Path, readable=False)
        self.whole, self.dash = whole, dash

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Path, recorded as an output."""
        if str(value) == "-" and self.dash:
            return Path("-")
        if str(value) == "-":
            self.fail("'-' names no file; standard output is /dev/stdout", param, ctx)
        path = super().convert(value, param, ctx)
        if self.whole:
            note(ctx, OUTPUTS, path)
        return path


class OutputFolder(click.Path):
    """Parameter type of an output folder; its command checks the files in it."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False, readable=False)


FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
EXISTING = InputPath()
WORD = InputWord()
OUT_FILE = OutputFile()
OUT_LINES = OutputFile(dash=True)
OUT_PLACE = OutputFile(whole=False)
OUT_FOLDER = OutputFolder()
MIN_FACE = click.option(
    "--min-face", type=click.FloatRange(0, min_open=True),
    help="Smallest face to detect: pixels, or below 1 a share of the longer side. "
    "Without it about 1/19, less beside small faces or none.",
)  # fmt: skip
STYLES = ("box", "filled", "mesh", "lines", "points", "axes", "eyes")  # of lightmark.overlay, which would load OpenCV


def style_list(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """Callback of an option that takes drawing styles with commas between; None without it."""
    if text is None:
        return None
    styles = tuple(dict.fromkeys(text.split(",")))
    if not set(styles) <= set(STYLES):
        raise click.BadParameter(f"{text!r}: give some of {', '.join(STYLES)} with commas between, such as mesh,points")
    return styles


STYLE = click.option(
    "--style", "styles", callback=style_list,
    help=f"How faces are drawn: {', '.join(STYLES)}, or several with commas between; box,lines,points by default.",
)  # fmt: skip
ANONYMISE = click.option(
    "--anonymise", type=click.Choice(["faces", "eyes"]),
    help="Blur the heads or the eyes of the faces found beyond recovery; drawn only what --style names.",
)  # fmt: skip
MEASURES = click.option(
    "--measures", is_flag=True,
    help="Also write openness of eyes and mouth, head pose, five points, and which points are in the picture.",
)  # fmt: skip
FORCE = click.option("--force", is_flag=True, help="Overwrite existing files; inputs are never overwritten.")


class _SchemaType(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    """A built-in schema's name, or the path of a JSON file that describes one."""

    name = "SCHEMA"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Schema:
        """Schema of the text the user gave."""
        from lightmark.schema import SCHEMAS, get_schema, read_schema

        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # click hands a default through
        note(ctx, INPUTS, value)
        return get_schema(value) if value in SCHEMAS or not Path(value).exists() else read_schema(value)


class _ModelType(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    """A shipped model's name, with `detectors` also a shipped detector's, or the path of a model file."""

    name = "MODEL"

    def __init__(self, detectors: bool = False) -> None:
        self._detectors = detectors

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Path of the file that the user named."""
        from lightmark.runtime.shipped import DETECTORS, REGISTRY, model_path, shipped_models

        refuse_url(value)
        detector = self._detectors and value in shipped_models(registry=DETECTORS)
        path = model_path(value, registry=DETECTORS if detector else REGISTRY)
        note(ctx, INPUTS, path)
        return path

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Shipped names, then files."""
        from lightmark.runtime.shipped import DETECTORS, shipped_models

        names = [*shipped_models(), *(shipped_models(registry=DETECTORS) if self._detectors else ())]
        return [*complete_names(names, incomplete), CompletionItem(incomplete, type="file")]


def complete_names(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Completions of `incomplete` in the shell: the `names` that begin with it."""
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


MODEL = _ModelType()
MODEL_OR_DETECTOR = _ModelType(detectors=True)
SCHEMA = click.option(
    "--schema", type=_SchemaType(), help="ibug68, wflw98, cofw29 or a JSON file; for .pts, CSV and COCO data."
)


def needs_torch(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator that requires torch with an install hint, and sets torch's number of `threads`."""

    @wraps(command)
    def checked(**options: Any) -> None:
        require_torch("training")
        import torch

        if options.get("threads"):
            torch.set_num_threads(options["threads"])
        command(**options)

    return checked


def require_torch(what: str) -> None:
    """Raise `MissingExtraError` with the install command if torch, needed by `what`, is missing."""
    try:
        import safetensors  # noqa: F401  # only to check that it is installed
        import torch  # noqa: F401  # the same
    except ImportError as error:
        raise MissingExtraError(f'{what} needs {error.name}: pip install "lightmark[train]"') from error


def number_list(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    """Callback of an option that takes whole numbers from 1 on, with commas between."""
    try:
        numbers = tuple(dict.fromkeys(int(number) for number in text.split(",")))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise click.BadParameter(f"{text!r}: give whole numbers from 1 on with commas between, such as 1,32")
    return numbers
