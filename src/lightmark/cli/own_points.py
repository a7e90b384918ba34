"""Commands `init` and `finetune`: points of your own, from label files to a student."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from lightmark.cli.options import EXISTING, FORCE, OUT_PLACE, SCHEMA, Command, require_outputs
from lightmark.errors import ConfigError
from lightmark.schema import Schema

FEW = 10  # faces; the mean shape of fewer is often too crooked to find all mirror pairs


@click.command(cls=Command, short_help="Write the schema of your own points from their labels")
@click.argument("name", type=OUT_PLACE)
@click.option(
    "--from", "sources", type=EXISTING, multiple=True, required=True, help="Labels of any format; may be repeated."
)
@SCHEMA
@FORCE
def init(name: Path, sources: Sequence[Path], schema: Schema | None, force: bool) -> None:
    """Guess a schema from labelled faces, and write NAME.json, a picture of the guess and a recipe.

    Names come from the labels; mirror pairs from names with left and right in them, or from the symmetry of the mean
    shape; the normaliser is the pair of points whose distance varies least. Look at NAME.png: each number must be on
    the same place of both faces. Correct NAME.json where one is not.
    """
    import json

    from lightmark.data.read import read_samples
    from lightmark.data.schema_guess import guess_schema, guess_sheet
    from lightmark.draw import write_png
    from lightmark.files import replacing
    from lightmark.schema import schema_to_dict

    stem = name.with_suffix("") if name.suffix == ".json" else name
    schema_file, picture, recipe = (stem.with_name(stem.name + suffix) for suffix in (".json", ".png", ".py"))
    require_outputs([schema_file, picture, recipe])
    left_out: list[str] = []
    samples = [sample for source in sources for sample in read_samples(source, schema, left_out=left_out)]
    counts = {sample.schema.size for sample in samples}
    if len(counts) != 1:
        found = ", ".join(map(str, sorted(counts)))
        raise ConfigError(f"{stem}: faces of {found} points; give labels of one kind, or a --schema with their names")
    guess = guess_schema(samples, stem.name)
    with replacing(schema_file) as temporary:
        temporary.write_text(json.dumps(schema_to_dict(guess.schema), indent=1), encoding="utf-8")
    write_png(guess_sheet(samples, guess), picture)
    data = " ".join(f"--data {source}" for source in sources)
    program = RECIPE.format(name=stem.name, schema=str(schema_file), data=list(map(str, sources)))
    with replacing(recipe) as temporary:
        temporary.write_text(program, encoding="utf-8")
    pairs = sum(i < j for i, j in enumerate(guess.schema.mirror))
    click.echo(f"{schema_file}: {guess.schema.size} points of {len(samples)} faces, {pairs} mirror pairs, errors by")
    click.echo(f"  {guess.schema.normaliser_name}, {len(guess.schema.edges)} edges; look at {picture}")
    if guess.unpaired:
        shown = ", ".join(map(str, guess.unpaired[:9]))
        click.echo(
            f"points without a partner: {shown}{' …' if len(guess.unpaired) > 9 else ''}; crops will not be mirrored "
            f"until {schema_file} names all pairs in its `mirror`"
        )
    elif len(samples) < FEW and guess.schema.size > 1:
        click.echo(f"the guess is of {len(samples)} faces only: check every pair in the picture")
    for sentence in left_out:
        click.echo(f"left out: {sentence}", err=True)
    click.echo("next:")
    for line in (
        f"lightmark data check {sources[0]} --schema {schema_file} --sheet faces.png",
        f"lightmark finetune standard --schema {schema_file} {data} --out runs/{stem.name}",
        f"lightmark export runs/{stem.name}/model.safetensors --to onnx --out device",
    ):
        click.echo(f"  {line}")


RECIPE = '''"""Fine-tune a shipped student to {name}: python {name}.py. Change the settings in `main`."""

from dataclasses import replace
from pathlib import Path

from lightmark.data.read import read_samples
from lightmark.schema import read_schema
from lightmark.train.finetune import finetune, finetune_recipe


def main() -> None:
    schema = read_schema({schema!r})
    samples = [sample for path in {data!r} for sample in read_samples(path, schema)]
    recipe = replace(finetune_recipe("standard", len(samples)), steps=1000, learning_rate=5e-4)
    finetune("standard", samples, Path("runs/{name}"), recipe)


if __name__ == "__main__":
    main()
'''
