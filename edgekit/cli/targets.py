"""`edgekit targets`: what edgekit builds for."""

from typing import Annotated

import typer

from edgekit.catalog import get_target
from edgekit.catalog import targets as all_targets
from edgekit.cli.options import Debug, Json, new_app
from edgekit.cli.output import say, show_json, show_table
from edgekit.core.noun import to_builtins
from edgekit.core.target import Target
from edgekit.pipeline.usable import lacking, usable_words

app = new_app()


@app.command("list")
def list_(*, json: Json = False, debug: Debug = False) -> None:
    """List the targets: format, runtime, machine, numerics."""
    found = all_targets()
    if json:
        show_json([to_builtins(target) | {"lacking": lacking(target)} for target in found])
        return
    rows = [
        (t.name, t.runtime, " ".join(t.numerics.precisions), t.numerics.activations, usable_words(t), t.title)
        for t in found
    ]
    show_table(("target", "runtime", "precisions", "activations", "usable", "title"), rows, "no targets")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A target's name.")], *, json: Json = False, debug: Debug = False
) -> None:
    """Show one target whole."""
    target = get_target(name)
    if json:
        show_json(target)
    else:
        say("\n".join(_lines(target)))


def _lines(target: Target) -> list[str]:
    requires = ", ".join(f"{key} {value}" for key, value in target.requires) or "nothing"
    reduced = " or ".join(target.numerics.reduce_range_without)
    accelerator = f" compiled for {target.accelerator}" if target.accelerator else ""
    scales = "" if target.numerics.scales == "any" else f", {target.numerics.scales} scales"
    return [
        f"{target.name}: {target.title}",
        f"usable       {usable_words(target)}",
        f"format       {target.format}{accelerator}, run by {target.runtime}, built on the {target.build}",
        f"precisions   {', '.join(target.numerics.precisions)}",
        f"activations  {target.numerics.activations}; weights {target.numerics.weights}{scales}"
        + (f", 7-bit where there is no {reduced}" if reduced else ""),
        f"limits       channels in {target.limits.channel_multiple}s, opset {target.limits.opset or 'any'}, "
        f"IR {target.limits.ir_version or 'any'}"
        + (f", loads from {target.limits.deployment} on" if target.limits.deployment else ""),
        f"requires     {requires}",
        *(f"lacks        {precision}: {why}" for precision, why in target.numerics.lacks),
    ]
