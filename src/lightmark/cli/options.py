"""Options and arguments that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmark.errors import MissingExtraError

if TYPE_CHECKING:
    from lightmark.schema import Schema

FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING = click.Path(path_type=Path, exists=True)
ANY_PATH = click.Path(path_type=Path)


class _SchemaType(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    """A built-in schema's name, or the path of a JSON file that describes one."""

    name = "SCHEMA"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Schema:
        """Schema of the text the user gave."""
        from lightmark.schema import SCHEMAS, get_schema, read_schema

        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # click hands a default through
        return get_schema(value) if value in SCHEMAS or not Path(value).exists() else read_schema(value)


class _ModelType(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    """A shipped model's name, or the path of a model file."""

    name = "MODEL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Path of the file that the user named."""
        from lightmark.runtime.shipped import model_path

        return model_path(value)


MODEL = _ModelType()
SCHEMA = click.option(
    "--schema", type=_SchemaType(), help="ibug68, wflw98, cofw29 or a JSON file; for .pts, CSV and COCO data."
)


def needs_torch(command: Callable[..., None]) -> Callable[..., None]:
    """`command`, but first a word on the extra to install where torch is missing, and torch's `threads` set."""

    @wraps(command)
    def checked(**options: Any) -> None:
        require_torch("training")
        import torch

        if options.get("threads"):
            torch.set_num_threads(options["threads"])
        command(**options)

    return checked


def require_torch(what: str) -> None:
    """Raise `MissingExtraError` with the extra to install where torch, which `what` needs, is missing."""
    try:
        import safetensors  # noqa: F401  # only asked whether it is there
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
