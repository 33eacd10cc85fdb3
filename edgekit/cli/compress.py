"""`edgekit compress`: a recipe applied, before any format."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.catalog import get_target
from edgekit.cli.options import Debug, Json, ProjectFile
from edgekit.cli.output import say_lines, show_json
from edgekit.cli.progress import shown
from edgekit.cli.recipes import RecipeName, read_recipe
from edgekit.cli.words import drop_words
from edgekit.core.recipe import words_of
from edgekit.core.target import check_precisions
from edgekit.models.extras import require

if TYPE_CHECKING:
    from edgekit.pipeline.compressed import Compressed

Numerics = Annotated[
    str, typer.Option("--target", metavar="NAME", help="Whose numerics hold: a target of `edgekit targets list`.")
]
Out = Annotated[Path, typer.Option("--out", metavar="FILE.pt2", help="Where to write the program.")]


def command(
    project: ProjectFile,
    *,
    out: Out,
    recipe: RecipeName = "int8",
    target: Numerics = "onnx-x86_64",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Writes the program that every format would lower, and its quality in torch on the validation split."""
    steps, goal = read_recipe(recipe), get_target(target)
    check_precisions(words_of(steps), goal.numerics)
    require("torch", extra="compress")
    from edgekit.pipeline.compressed import compress
    from edgekit.pipeline.job import open_job

    with shown() as listener:
        made = compress(open_job(project, listen=listener), steps, goal, out, listen=listener)
    if json:
        show_json(made)
        return
    say_lines((f"wrote {made.file}: {_kept(made)}", *map(drop_words, made.quality)))


def _kept(made: "Compressed") -> str:
    counts = Counter(precision for _, precision in made.precisions)
    if not counts:
        return "float"
    return f"of {len(made.layers)} layers {', '.join(f'{n} {precision}' for precision, n in counts.items())}"
