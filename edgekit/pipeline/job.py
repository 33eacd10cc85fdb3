"""A project opened: the model, the data and the metric that a tuning works with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np

from edgekit.core.measurement import Quality
from edgekit.core.model import sizes_words
from edgekit.core.noun import digest
from edgekit.core.project import Project, parse_drop, project_from_toml
from edgekit.errors import MetricError, ProjectError
from edgekit.models.data import Samples, fit, load_samples
from edgekit.models.evaluate import Metric, Split, load_metric, score
from edgekit.models.fingerprint import function_digest
from edgekit.models.load import load_model
from edgekit.models.model import Model
from edgekit.models.plain import takes_any_batch
from edgekit.models.predict import check_deterministic, predict
from edgekit.pipeline.events import Event, Listener, silent

BATCH = 32
"""Samples that the float model is given at a time, where it takes any number."""
ROLES = ("calibration", "training", "validation", "test", "vectors")


@dataclass(frozen=True)
class Job:
    """What is to be tuned: a captured float model, samples by role, the project's words, paths relative to `root`."""

    project: Project
    root: Path
    model: Model
    data: Mapping[str, Samples]
    metric: Metric | None = None
    """The user's own function, where the metric is one."""
    _float_outputs: dict[Split, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def max_drop(self) -> float:
        """The drop allowed, as a share."""
        return parse_drop(self.project.metric.max_drop, "max_drop")

    @cached_property
    def digest(self) -> str:
        """Digest of all that decides a result on the host: project, model, every split and what the metric computes."""
        data = tuple(sorted((role, samples.digest) for role, samples in self.data.items()))
        metric = None if self.metric is None else function_digest(self.metric)
        return digest("job", self.project, self.model.spec.digest, data, metric)

    def data_digests(self) -> tuple[tuple[str, str], ...]:
        """(role, digest) of the samples that made or chose the model; the test split is not among them."""
        return tuple((role, self.data[role].digest) for role in ROLES if role in self.data and role != "test")

    def float_outputs(self, split: Split) -> np.ndarray:
        """The float model's first output for every sample of `split`, in torch; run once, then remembered.

        Raises: ModelError if the model does not take the samples; MetricError if two runs differ or give NaN.
        """
        if split not in self._float_outputs:
            check_deterministic(self.model, self.data[split])
            batch = BATCH if takes_any_batch(self.model) else None
            outputs = predict(self.model, self.data[split], batch)
            if wrong := np.flatnonzero(~np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)).tolist():
                raise MetricError(
                    f"model {self.model.spec.name}: NaN or infinite outputs for {len(wrong)} of {len(outputs)} samples "
                    f"of data.{split}, the first is sample {wrong[0]}"
                )
            self._float_outputs[split] = outputs
        return self._float_outputs[split]

    def score_float(self, listen: Listener) -> None:
        """Returns if the float model gives outputs and the metric a figure for them: nothing is built before.

        Raises: MetricError: no figure, NaN, or another figure on each run; as `float_outputs`.
        """
        listen(Event(stage="evaluate", text=f"scoring the float model on {len(self.data['validation'])} samples"))
        floats = self.float_outputs("validation")
        self.quality("validation", floats, floats)

    def quality(self, split: Split, outputs: np.ndarray, reference: np.ndarray) -> tuple[Quality, ...]:
        """The project's metric of `outputs` on `split`, beside the float model's outputs `reference`.

        Raises: MetricError if a figure is not a number.
        """
        labels = self.data[split].labels
        return score(self.project.metric, split, outputs, reference, labels, self.metric)


def open_job(path: Path, *, max_drop: str | float | None = None, listen: Listener = silent) -> Job:
    """The job that the project file at `path` names; `max_drop` wins over the file's.

    Raises: ProjectError, ModelError: what is missing or wrong, and where.
    """
    return make_job(read_project(path), path.resolve().parent, max_drop=max_drop, listen=listen)


def read_project(path: Path) -> Project:
    """The project in the file at `path`.

    Raises: ProjectError.
    """
    if not path.is_file():
        raise ProjectError(f"{path}: no such project file; `edgekit init` writes one")
    return project_from_toml(path.read_text(encoding="utf-8"), str(path))


def make_job(
    project: Project, root: Path, *,
    max_drop: str | float | None = None, metric: Metric | None = None, listen: Listener = silent,
) -> Job:  # fmt: skip
    """As `open_job`, of a project that is already read; its paths are relative to `root`.

    `metric` is a function in place of the one that the project names.
    """
    if max_drop is not None:
        parse_drop(max_drop, "--max-drop")
        source = msgspec.structs.replace(project.metric, max_drop=max_drop)
        project = msgspec.structs.replace(project, metric=source)
    listen(Event(stage="load", text=f"model {project.model.source}"))
    model = load_model(project.model, root, project.name)
    rank = len(model.spec.inputs[0].shape)
    data: dict[str, Samples] = {}
    for role in ROLES:
        if (where := getattr(project.data, role)) is not None:
            listen(Event(stage="load", text=f"{role} samples of {where}"))
            data[role] = load_samples(where, role, root, rank)
    return checked(Job(project, root, model, data, metric or load_metric(project.metric, root)))


def checked(job: Job) -> Job:
    """`job`, if the model takes its samples and the metric has labels: all is checked before the first minute is spent.

    Raises: ProjectError.
    """
    specs = job.model.spec.inputs
    for role, samples in job.data.items():
        where = f"data.{role} ({getattr(job.project.data, role)})"
        if not fit(specs, samples):
            wanted, got = [spec.shape[1:] for spec in specs], [array.shape[1:] for array in samples.inputs]
            free = f" ({sizes_words(specs)})" if sizes_words(specs) else ""
            raise ProjectError(f"{where}: want samples of shape {wanted}{free}, as the model takes them, got {got}")
        needs_labels = job.metric is None and job.project.metric.name == "accuracy" and role in ("validation", "test")
        if needs_labels and samples.labels is None:
            raise ProjectError(f"{where} has no labels, and metric accuracy needs them; without labels use agreement")
    return job
