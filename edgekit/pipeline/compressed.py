"""One recipe applied in torch, before any format: the program as a file, and its quality."""

import os
from pathlib import Path

import torch

from edgekit.compress import apply
from edgekit.core.measurement import Quality
from edgekit.core.noun import Noun
from edgekit.core.recipe import Precision, Recipe
from edgekit.core.target import Target
from edgekit.errors import StoreError, UsageError
from edgekit.models.evaluate import Split
from edgekit.models.predict import predict
from edgekit.models.program import Program
from edgekit.pipeline.events import Event, Listener, silent
from edgekit.pipeline.job import Job


class Compressed(Noun, frozen=True, kw_only=True):
    """A program in a file, the layers that can be quantized, and its quality beside the float's.

    `precisions` are those of the layers that are not fp32, in order; `int8` the layers with calibrated int8.
    """

    file: str
    layers: tuple[str, ...]
    int8: tuple[str, ...]
    precisions: tuple[tuple[str, Precision], ...]
    quality: tuple[Quality, ...]


def compress(
    job: Job, recipe: Recipe, target: Target, out: Path, *, split: Split = "validation", listen: Listener = silent
) -> Compressed:
    """Applies `recipe` within the target's numerics, scores the program in torch, and writes it to `out`, a .pt2.

    Raises: UsageError if `out` exists or is no .pt2; as `compress.apply.compress`; ModelError, MetricError, StoreError.
    """
    if out.suffix != ".pt2" or not out.parent.is_dir():
        raise UsageError(f"{out}: want a .pt2 in a folder that exists")
    if out.exists():
        raise UsageError(f"{out}: exists; remove it, or name another file")
    job.score_float(listen)
    listen(Event(stage="compile", text=f"applying {len(recipe.step)} steps to {job.project.name}"))
    program = apply.compress(job.model, recipe, target.numerics, job.data)
    listen(Event(stage="evaluate", text=f"scoring on {split}"))
    quality = job.quality(split, predict(program, job.data[split]), job.float_outputs(split))
    _save(program, out)
    layers = program.layers
    return Compressed(
        file=str(out), layers=layers, int8=tuple(n for n in layers if n in program.int8),
        precisions=tuple((n, program.precisions[n]) for n in layers if n in program.precisions), quality=quality,
    )  # fmt: skip


def _save(program: Program, out: Path) -> None:
    partial = out.with_name(f".{out.stem}.{os.getpid()}.pt2")
    try:
        torch.export.save(program.exported, partial)
        partial.replace(out)
    except (OSError, RuntimeError) as error:
        raise StoreError(f"{out}: cannot be written ({str(error).splitlines()[0]})") from None
    finally:
        partial.unlink(missing_ok=True)
