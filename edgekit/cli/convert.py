"""`edgekit convert`: builds an artifact for a target."""

from pathlib import Path
from typing import Annotated

import typer

from edgekit.catalog import get_target
from edgekit.cli.options import Debug, Json, ProjectFile
from edgekit.cli.output import say_lines, show_json, size
from edgekit.cli.progress import shown
from edgekit.cli.recipes import RecipeName, read_recipe
from edgekit.cli.words import drop_words
from edgekit.core.recipe import words_of
from edgekit.core.target import check_precisions
from edgekit.errors import UsageError
from edgekit.formats.names import extra_of
from edgekit.models.extras import require

Target = Annotated[str, typer.Option("--target", metavar="NAME", help="A target of `edgekit targets list`.")]

Overlay = Annotated[
    list[Path] | None,
    typer.Option(
        "--overlay", metavar="FILE", help="A file that goes with the model: bit.bin, dtbo, xclbin. Repeatable."
    ),
]


def command(
    project: ProjectFile, *,
    target: Target, recipe: RecipeName = "int8", overlay: Overlay = None, json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """It is verified on this computer, scored on the validation split, and kept in the store."""
    steps, goal = read_recipe(recipe), get_target(target)
    check_precisions(words_of(steps), goal.numerics)
    require("torch", extra=extra_of(goal.format))
    beside = tuple(overlay or ())
    if missing := [path for path in beside if not path.is_file()]:
        raise UsageError(f"--overlay: {missing[0]}: no such file")
    from edgekit.formats.base import get_format
    from edgekit.formats.compilers import PROOF, compiler_of
    from edgekit.pipeline.build import build
    from edgekit.pipeline.job import open_job
    from edgekit.store.artifacts import ArtifactStore
    from edgekit.store.home import artifacts_folder, weights_folder
    from edgekit.store.weights import WeightStore

    with shown() as listener:
        store, weights = ArtifactStore(artifacts_folder()), WeightStore(weights_folder())
        job = open_job(project, listen=listener)
        built = build(job, steps, goal, store, weights, beside=beside, listen=listener)
    if json:
        show_json(built)
        return
    artifact = built.artifact
    proof = PROOF if compiler_of(goal) else get_format(goal.format).proof
    head = f"{artifact.id[:12]}  {artifact.name}  {goal.name}  {size(artifact.size_bytes)}, {proof}"
    say_lines((head, *built.verdict.remarks, *map(drop_words, built.quality)))
