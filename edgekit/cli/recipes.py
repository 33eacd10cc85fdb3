"""Recipes as the command line has them: a word or a file."""

from pathlib import Path
from typing import Annotated

import typer

from edgekit.core.recipe import NAMED, Recipe, recipe_from_toml
from edgekit.errors import UsageError

RecipeName = Annotated[
    str, typer.Option("--recipe", metavar="WHAT", help="A word, or a recipe.toml. The words: " + ", ".join(NAMED) + ".")
]


def read_recipe(text: str) -> Recipe:
    """The recipe that a word or a file names.

    Raises: UsageError.
    """
    if text in NAMED:
        return NAMED[text]
    try:
        return recipe_from_toml(Path(text).read_text("utf-8"), text)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text"
        raise UsageError(f"--recipe {text!r}: want a recipe's file ({reason}) or one of {', '.join(NAMED)}") from None
