"""A job from what a Python program has in its hands: a module, arrays, a function; the same words as a project file."""

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from edgekit.core.noun import to_builtins
from edgekit.core.project import Bound, DataSource, ModelSource, Project, check_project
from edgekit.errors import UsageError
from edgekit.models.data import Samples, take_samples
from edgekit.models.evaluate import Metric, load_metric
from edgekit.models.free import axes_of_torch
from edgekit.models.load import load_module, module_of
from edgekit.models.model import Model, as_tensors, capture
from edgekit.pipeline.events import Event, Listener, silent
from edgekit.pipeline.job import Job, checked, make_job, read_project

N = TypeVar("N", bound=msgspec.Struct)
IN_PYTHON = "given in Python"
MOST_CALIBRATION = 512
"""Samples that ranges are taken from, where they are split off from others."""


def given_job(
    model: Any, example_inputs: Any, *, data: Mapping[str, Any], evaluate: str | Metric | None = None,
    dynamic_shapes: Any = None,
    max_drop: str | float | Mapping[str, str | float] | None = None, name: str | None = None,
    words: Mapping[str, Any] = MappingProxyType({}), splits: Sequence[str] = ("validation", "test"),
    listen: Listener = silent,
) -> Job:  # fmt: skip
    """The job of a module, a program, a model's file, a project or a project's file, with data and metric as objects.

    `dynamic_shapes` is torch.export's: which sizes of inputs stay free. `words` are those of a project, where they are
    not None. A project says itself where its model and its data are. Of `splits`, those that are not given are split
    off others.

    Raises: UsageError, ProjectError, ModelError: what is missing or wrong.
    """
    given = {role: value for role, value in data.items() if value is not None}
    if isinstance(model, Project) or (isinstance(model, str | os.PathLike) and Path(model).suffix == ".toml"):
        objects = {"example_inputs": example_inputs, "dynamic_shapes": dynamic_shapes}
        if taken := [*given, *(word for word, value in objects.items() if value is not None)]:
            raise UsageError(
                f"{taken[0]}: a project names its own: leave it out, or give a model in place of a project"
            )
        project, root = _opened(model)
        own = evaluate if callable(evaluate) else None
        return make_job(_worded(project, evaluate, max_drop, name, words), root, metric=own, listen=listen)
    if "calibration" not in given:
        raise UsageError("calibration: want samples to take ranges from: arrays, (inputs, labels), or batches of them")
    roles = dict.fromkeys(("calibration", "validation", "test", *given), IN_PYTHON)
    bare = Project(name="model", model=ModelSource(source=IN_PYTHON, example=IN_PYTHON), data=DataSource(**roles))
    project = _worded(bare, evaluate, max_drop, name or _name_of(model), words)
    captured = _captured(model, example_inputs, project.name, dynamic_shapes)
    rank = len(captured.spec.inputs[0].shape)
    samples = {role: take_samples(value, role, IN_PYTHON, rank) for role, value in given.items()}
    metric = evaluate if callable(evaluate) else load_metric(project.metric, Path())
    return checked(Job(project, Path().absolute(), captured, _split(samples, splits, project.seed, listen), metric))


def _opened(model: Any) -> tuple[Project, Path]:
    if isinstance(model, Project):
        return check_project(model, "project"), Path().absolute()
    return read_project(Path(model)), Path(model).resolve().parent


def _worded(
    project: Project, evaluate: str | Metric | None, max_drop: str | float | Mapping[str, str | float] | None,
    name: str | None, words: Mapping[str, Any],
) -> Project:  # fmt: skip
    """`project` with the words that were given in place of its own, checked as those of a file are."""
    bounds = tuple(Bound(figure=k, max_drop=v) for k, v in max_drop.items()) if isinstance(max_drop, Mapping) else None
    called = getattr(evaluate, "__name__", type(evaluate).__name__) if callable(evaluate) else evaluate
    metric = _replaced(project.metric, name=called, max_drop=None if bounds else max_drop, bound=bounds)
    budget = _replaced(
        project.budget, **{key: words.get(key) for key in ("pushes", "minutes", "epochs", "tunings", "shapes")}
    )
    rest = {key: words.get(key) for key in ("minimise", "threads", "seed", "compress")}
    made = _replaced(project, metric=metric, budget=budget, name=name, **rest)
    try:
        return check_project(msgspec.convert(to_builtins(made), Project), "arguments")
    except msgspec.ValidationError as error:
        raise UsageError(f"arguments: {error}") from None


def _replaced(noun: N, **changes: Any) -> N:
    return msgspec.structs.replace(noun, **{key: value for key, value in changes.items() if value is not None})


def _name_of(model: Any) -> str:
    """A name for what has none: the file's, or that of the module's class."""
    said = Path(model.partition(":")[0]).stem if isinstance(model, str) else getattr(model, "stem", None)
    letters = (said or type(model).__name__).encode("ascii", "replace").decode()
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in letters).strip("-._")[:64] or "model"


def _captured(model: Any, example_inputs: Any, name: str, dynamic_shapes: Any) -> Model:
    """The model on the CPU, in eval mode; the caller's own stays as it is."""
    example: tuple[Tensor, ...] | None = None
    match model:
        case nn.Module():
            module = copy.deepcopy(model).cpu()
        case torch.export.ExportedProgram():
            module, example = module_of(model)
        case str() | os.PathLike():
            module, example = load_module(ModelSource(source=os.fspath(model)), Path())
        case _:
            raise UsageError(
                f"model: want an nn.Module, an ExportedProgram, a project or a file's name, got {type(model).__name__}"
            )
    if example_inputs is not None:
        tensors = as_tensors(example_inputs, "example_inputs")
        example = tuple((t.float() if t.dtype == torch.float64 else t).detach().cpu() for t in tensors)
    if example is None:
        raise UsageError("example_inputs: want the tensor, or tuple of tensors, that the model is captured with")
    free = () if dynamic_shapes is None else axes_of_torch(dynamic_shapes, module, example)
    return capture(module, example, name, free)


def _split(given: dict[str, Samples], splits: Sequence[str], seed: int, listen: Listener) -> dict[str, Samples]:
    """`given`, with the splits that are not there taken from others, so that no sample is in two of them.

    Validation is split off calibration, which keeps a quarter (at most MOST_CALIBRATION samples); test is half of it.
    """
    made = dict(given)
    for role, of, share in (("validation", "calibration", _to_calibrate), ("test", "validation", _half)):
        if role in made or role not in splits:
            continue
        whole = made[of]
        order = np.random.default_rng(seed).permutation(len(whole))
        keep = share(len(whole))
        if not 0 < keep < len(whole):
            raise UsageError(f"{role}: not given, and the {len(whole)} samples of {of} are too few to split some off")
        made[of], made[role] = whole.take(np.sort(order[:keep])), whole.take(np.sort(order[keep:]))
        text = f"no {role} samples given: {len(made[role])} of the {len(whole)} of {of} are kept for it"
        listen(Event(stage="load", text=text))
    return made


def _to_calibrate(count: int) -> int:
    return min(max(count // 4, 1), MOST_CALIBRATION)


def _half(count: int) -> int:
    return count // 2
