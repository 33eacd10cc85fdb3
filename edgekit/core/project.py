"""A project: what `edgekit tune` is asked to do. The same words in project.toml and in Python."""

import re
from typing import Annotated, Literal

import msgspec

from edgekit.core.noun import Noun, check_schema, from_toml
from edgekit.core.recipe import Granularity, Ranges, Rounding
from edgekit.errors import ProjectError, UsageError


class Dynamic(Noun, frozen=True, kw_only=True):
    """A size of the model's inputs that stays free, from `least` to `most`; `axes` are where it is: "in_0.1", …"""

    name: str
    axes: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    most: Annotated[int, msgspec.Meta(ge=2)]
    least: Annotated[int, msgspec.Meta(ge=1)] = 1


class ModelSource(Noun, frozen=True, kw_only=True):
    """Where the model is: `source` is "file.py:function" (gives an nn.Module), a `.pt2` or an `.onnx`.

    `weights` is a `.safetensors` or a `.pt` (read with weights_only); `example` is "file.py:function" (gives a tensor
    or a tuple of tensors) or an `.npz`; `shape` is the short form for one float32 input, batch first. `dynamic` are the
    sizes that stay free in the file, where the target allows it; all others are the example's.
    """

    source: str
    weights: str | None = None
    example: str | None = None
    shape: tuple[int, ...] | None = None
    dynamic: tuple[Dynamic, ...] = ()


class DataSource(Noun, frozen=True, kw_only=True):
    """Where data is, each "file.py:function" or an `.npz` (keys in_0, …, and label where there are labels).

    `calibration` sets ranges, `training` is for fine-tuning (calibration's inputs if absent), `validation` is what the
    search sees, `test` is read once, at the end. `vectors` names samples that may be shipped inside artifacts; without
    it, artifacts carry seeded synthetic inputs and no data of the user's.
    """

    calibration: str
    validation: str
    test: str
    training: str | None = None
    vectors: str | None = None


class Bound(Noun, frozen=True, kw_only=True):
    """The drop allowed for one figure of a user's metric."""

    figure: str
    max_drop: str | float


class MetricSource(Noun, frozen=True, kw_only=True):
    """`name` is accuracy, agreement (with the float model, no labels needed) or "file.py:function".

    A user's function gets (outputs, labels), arrays with the sample first, and gives one figure or a dict of figures;
    larger is better.
    """

    name: str = "accuracy"
    max_drop: str | float = 0.01
    bound: tuple[Bound, ...] = ()


class Budget(Noun, frozen=True, kw_only=True):
    """What the search may spend.

    `pushes`: forms measured on the device; `minutes` in all; `epochs` to fine-tune one width vector; `tunings`: width
    vectors that are fine-tuned; `shapes`: width vectors that are built without training, to be priced or ranked.
    """

    pushes: Annotated[int, msgspec.Meta(ge=4)] = 15
    minutes: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    epochs: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    tunings: Annotated[int, msgspec.Meta(ge=0)] = 8
    shapes: Annotated[int, msgspec.Meta(ge=0)] = 48


class Compress(Noun, frozen=True, kw_only=True):
    """What the search may do to the model."""

    precision: bool = True
    width: bool = True
    ranges: Ranges = "minmax"
    rounding: Rounding = "nearest"
    granularity: Granularity = "channel"
    round_to: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Channels are kept in multiples of this; None takes the target's."""
    frozen: tuple[str, ...] = ()
    """Layers (names, `*` allowed) that stay as they are."""


class Project(Noun, frozen=True, kw_only=True):
    """One file project.toml; paths in it are relative to its folder."""

    schema: int = 1
    name: str
    model: ModelSource
    data: DataSource
    metric: MetricSource = MetricSource()
    minimise: Literal["latency", "size", "memory"] = "latency"
    budget: Budget = Budget()
    compress: Compress = Compress()
    threads: Annotated[int, msgspec.Meta(ge=1)] = 1
    seed: int = 0


def project_from_toml(text: str, where: str) -> Project:
    """The project in `text`.

    Raises: ProjectError naming `where` and the key that is wrong.
    """
    try:
        project = from_toml(text, Project, where)
        check_schema(project.schema, 1, where)
    except UsageError as error:
        raise ProjectError(str(error)) from None
    return check_project(project, where)


def check_project(project: Project, where: str) -> Project:
    """`project`, if its words make sense together.

    Raises: ProjectError naming `where` and the key that is wrong.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", project.name):
        raise ProjectError(f"{where}: name must be letters, digits, '.', '_' or '-' (64 at most), got {project.name!r}")
    if project.model.example is None and project.model.shape is None and not _has_example(project.model.source):
        raise ProjectError(f"{where}: model needs `example` or `shape`, the input it is captured with")
    parse_drop(project.metric.max_drop, f"{where}: metric.max_drop")
    for bound in project.metric.bound:
        parse_drop(bound.max_drop, f"{where}: metric.bound {bound.figure}")
    return project


def _has_example(source: str) -> bool:
    """Whether a model file of this kind says what its inputs look like."""
    return source.endswith((".pt2", ".onnx"))


def parse_drop(value: str | float, where: str) -> float:
    """The drop allowed as a share: "0.5%" and 0.005 are the same.

    Raises: ProjectError.

    >>> parse_drop("0.5%", "max_drop")
    0.005
    """
    try:
        drop = float(value[:-1]) / 100 if isinstance(value, str) and value.endswith("%") else float(value)
    except ValueError:
        raise ProjectError(f"{where}: want a share like 0.005 or 0.5%, got {value!r}") from None
    if not 0 <= drop < 1:
        raise ProjectError(f"{where}: want 0 to 1 (or 0% to 100%), got {value!r}")
    return drop
