"""A project opened: the model, the data and the metric that a tuning works with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edgekit.core.measurement import Quality
from edgekit.core.noun import digest
from edgekit.core.project import Project, parse_drop, project_from_toml
from edgekit.errors import ProjectError
from edgekit.models.data import Samples, load_samples
from edgekit.models.evaluate import Split, score
from edgekit.models.load import load_model
from edgekit.models.model import Model
from edgekit.models.predict import check_deterministic, predict

ROLES = ("calibration", "training", "validation", "test", "vectors")


@dataclass(frozen=True)
class Job:
    """What is to be tuned: a captured float model, samples by role, the project's words, paths relative to `root`."""

    project: Project
    root: Path
    model: Model
    data: Mapping[str, Samples]

    @property
    def max_drop(self) -> float:
        """The drop allowed, as a share."""
        return parse_drop(self.project.metric.max_drop, "max_drop")

    @property
    def digest(self) -> str:
        """Digest of all that decides a result on the host: project, model and every split."""
        data = tuple(sorted((role, samples.digest) for role, samples in self.data.items()))
        return digest("job", self.project, self.model.spec.digest, data)

    def data_digests(self) -> tuple[tuple[str, str], ...]:
        """(role, digest) of the samples that made or chose the model; the test split is not among them."""
        return tuple((role, self.data[role].digest) for role in ROLES if role in self.data and role != "test")

    def float_outputs(self, split: Split) -> np.ndarray:
        """The float model's first output for every sample of `split`, in torch.

        Raises: ModelError if the model does not take the samples; MetricError if two runs differ.
        """
        check_deterministic(self.model, self.data[split])
        return predict(self.model, self.data[split])

    def quality(self, split: Split, outputs: np.ndarray, reference: np.ndarray) -> tuple[Quality, ...]:
        """The project's metric of `outputs` on `split`, beside the float model's outputs `reference`.

        Raises: MetricError if a figure is not a number.
        """
        labels = self.data[split].labels
        return score(self.project.metric, split, outputs, reference, labels, root=self.root)


def open_job(path: Path, *, max_drop: str | float | None = None) -> Job:
    """The job that the project file at `path` names; `max_drop` wins over the file's.

    Raises: ProjectError, ModelError: what is missing or wrong, and where.
    """
    if not path.is_file():
        raise ProjectError(f"{path}: no such project file; `edgekit init` writes one")
    project = project_from_toml(path.read_text(encoding="utf-8"), str(path))
    return make_job(project, path.resolve().parent, max_drop=max_drop)


def make_job(project: Project, root: Path, *, max_drop: str | float | None = None) -> Job:
    """As `open_job`, of a project that is already read; its paths are relative to `root`."""
    if max_drop is not None:
        parse_drop(max_drop, "--max-drop")
        metric = msgspec.structs.replace(project.metric, max_drop=max_drop)
        project = msgspec.structs.replace(project, metric=metric)
    model = load_model(project.model, root, project.name)
    sources = {role: getattr(project.data, role) for role in ROLES}
    data = {role: load_samples(where, role, root) for role, where in sources.items() if where is not None}
    for role, samples in data.items():
        _check_fit(model, samples, f"data.{role} ({sources[role]})")
    return Job(project, root, model, data)


def _check_fit(model: Model, samples: Samples, where: str) -> None:
    """Returns if the model takes these samples: all splits are checked before the first minute is spent.

    Raises: ProjectError.
    """
    wanted = [spec.shape[1:] for spec in model.spec.inputs]
    got = [array.shape[1:] for array in samples.inputs]
    if wanted != got:
        raise ProjectError(f"{where}: want samples of shape {wanted}, as the model takes them, got {got}")
