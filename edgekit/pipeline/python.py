"""edgekit in Python: the commands as functions, with models, data and metrics as objects. Loads no torch by itself."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.catalog import get_target
from edgekit.core.artifact import Artifact
from edgekit.core.device import Device
from edgekit.core.measurement import Profile, Round
from edgekit.core.project import Compress, Project
from edgekit.core.recipe import NAMED, Recipe, Word
from edgekit.core.trial import Studies, Study
from edgekit.devices.inventory import get_device
from edgekit.errors import UsageError
from edgekit.formats.names import extra_of
from edgekit.models.extras import require
from edgekit.pipeline.events import Listener, silent
from edgekit.pipeline.fitting import fitting_target
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.files import write_whole
from edgekit.store.home import artifacts_folder, ledger_url, weights_folder
from edgekit.store.ledger import Ledger

if TYPE_CHECKING:
    import torch

    from edgekit.models.evaluate import Metric
    from edgekit.pipeline.alone import Compared
    from edgekit.pipeline.build import Built
    from edgekit.pipeline.push import Pushed


def tune(
    model: "torch.nn.Module | torch.export.ExportedProgram | Project | PathLike[str] | str",
    example_inputs: Any = None,
    *,
    dynamic_shapes: Any = None,
    calibration: Any = None,
    validation: Any = None,
    test: Any = None,
    training: Any = None,
    vectors: Any = None,
    evaluate: "Metric | str | None" = None,
    max_drop: str | float | Mapping[str, str | float] | None = None,
    devices: str | Device | Sequence[str | Device] = "local",
    target: str | None = None,
    minimise: Literal["latency", "size", "memory"] | None = None,
    pushes: int | None = None,
    minutes: float | None = None,
    epochs: float | None = None,
    tunings: int | None = None,
    shapes: int | None = None,
    threads: int | None = None,
    compress: Compress | None = None,
    seed: int | None = None,
    name: str | None = None,
    install: bool = True,
    wait_s: float = 0.0,
    listen: Listener = silent,
) -> Studies:
    """The fastest form of a model on each of `devices` that keeps its accuracy, measured there and installed there.

    `model` is a module with `example_inputs` (a tensor or a tuple of them, batch first), an ExportedProgram, the name
    of a .pt2 or .onnx file, or a project (its file, or the noun), which names its own model and data.

    `dynamic_shapes`, in torch.export's own form with a Dim(name, min=…, max=…) for each, are the sizes that stay free
    in the file, where the target allows it; it is measured at the example's.

    Data are (inputs, labels), inputs alone, an iterable of such batches, or a data set of samples: arrays or tensors.
    `validation` is what the search sees, `test` is read once, at the end; where they are not given, they are split off
    `calibration`, so that no sample is in two of them. `vectors` are samples that may be shipped inside artifacts.

    `evaluate` is "accuracy" (the default), "agreement" (with the float model; no labels) or a function of (outputs,
    labels) that gives a figure, or several by name; larger is better. `max_drop` (default 1 %) is the drop allowed, or
    one for each figure that is bounded. All else is as in a project file, which has the same words and defaults.

    A device is this program's alone while it is measured; `wait_s` is how long to wait until it is.

    Stopped at any point, the same call goes on where it was: every answered question is in the ledger.

    Raises: EdgekitError: what was wrong, where, and what to do; see errors.py.
    """
    goal = get_target(target) if target else None
    machines = tuple(dict.fromkeys(_device(d) for d in ((devices,) if isinstance(devices, str | Device) else devices)))
    if not machines:
        raise UsageError("devices: want at least one, got none")
    require("torch", extra=extra_of(goal.format) if goal else "onnx")
    from edgekit.pipeline.given import given_job
    from edgekit.pipeline.tune import tune as tune_on
    from edgekit.store.weights import WeightStore

    job = given_job(
        model, example_inputs, evaluate=evaluate, max_drop=max_drop, name=name, listen=listen,
        dynamic_shapes=dynamic_shapes,
        data={
            "calibration": calibration, "training": training, "validation": validation, "test": test,
            "vectors": vectors,
        },
        words={
            "minimise": minimise, "pushes": pushes, "minutes": minutes, "epochs": epochs, "tunings": tunings,
            "shapes": shapes, "threads": threads, "compress": compress, "seed": seed,
        },
    )  # fmt: skip
    goals = [goal or fitting_target(machine) for machine in machines]  # all are reached before the first is measured
    store, weights = ArtifactStore(artifacts_folder()), WeightStore(weights_folder())
    with Ledger(ledger_url()) as ledger:
        return Studies(
            studies=tuple(
                tune_on(job, machine, its, store, weights, ledger, listen=listen, install_choice=install, wait_s=wait_s)
                for machine, its in zip(machines, goals, strict=True)
            )
        )


def convert(
    model: "torch.nn.Module | torch.export.ExportedProgram | Project | PathLike[str] | str",
    example_inputs: Any = None,
    *,
    target: str,
    dynamic_shapes: Any = None,
    recipe: Recipe | Word = "int8",
    calibration: Any = None,
    validation: Any = None,
    training: Any = None,
    vectors: Any = None,
    evaluate: "Metric | str | None" = None,
    seed: int | None = None,
    name: str | None = None,
    listen: Listener = silent,
) -> "Built":
    """The artifact that a recipe makes of a model for a target, verified here, and its quality on `validation`.

    All arguments are as in `tune`; the artifact is kept in the store, and `artifact_folder` says where its files are.

    Raises: EdgekitError.
    """
    goal = get_target(target)
    require("torch", extra=extra_of(goal.format))
    from edgekit.pipeline.build import build
    from edgekit.pipeline.given import given_job
    from edgekit.store.weights import WeightStore

    job = given_job(
        model, example_inputs, evaluate=evaluate, name=name, words={"seed": seed}, listen=listen,
        dynamic_shapes=dynamic_shapes,
        data={"calibration": calibration, "training": training, "validation": validation, "vectors": vectors},
        splits=("validation",),
    )  # fmt: skip
    store, weights = ArtifactStore(artifacts_folder()), WeightStore(weights_folder())
    return build(job, _recipe(recipe), goal, store, weights, listen=listen)


def apply_recipe(
    recipe: Recipe | Word,
    model: "torch.nn.Module | torch.export.ExportedProgram | PathLike[str] | str",
    example_inputs: Any = None,
    *,
    dynamic_shapes: Any = None,
    calibration: Any,
    training: Any = None,
    target: str,
) -> "torch.export.ExportedProgram":
    """The program that every format of `target`'s numerics would lower: to be run and looked at in torch.

    Raises: EdgekitError.
    """
    goal = get_target(target)
    require("torch", extra="compress")
    from edgekit.compress.apply import compress
    from edgekit.pipeline.given import given_job

    data = {"calibration": calibration, "training": training}
    job = given_job(model, example_inputs, data=data, splits=(), dynamic_shapes=dynamic_shapes)
    return compress(job.model, _recipe(recipe), goal.numerics, job.data).exported


def compare(
    baseline: Artifact | str,
    candidate: Artifact | str,
    *,
    device: str | Device = "local",
    threads: int = 1,
    wait_s: float = 0.0,
    on_round: Callable[[Round], None] = lambda r: None,
    listen: Listener = silent,
) -> "Compared":
    """Two artifacts on one device, in interleaved rounds: the ratio of their times with its interval, and each alone.

    An artifact is named by its id, a unique beginning of it, name@beginning, its folder, or a model file, which
    edgekit need not have made.

    Raises: EdgekitError.
    """
    from edgekit.pipeline.alone import compare as compare_on
    from edgekit.pipeline.named import artifact_named

    store, machine = ArtifactStore(artifacts_folder()), _device(device)
    one, other = (artifact_named(_text(a), machine, store) for a in (baseline, candidate))
    return compare_on(one, other, machine, store, threads=threads, on_round=on_round, wait_s=wait_s, listen=listen)


def profile(
    artifact: Artifact | str, *, device: str | Device = "local", threads: int = 1, sustain_s: float = 60.0,
    wait_s: float = 0.0, listen: Listener = silent,
) -> Profile:  # fmt: skip
    """One artifact on a device by itself: cold, steady and sustained times, memory, and where the time goes.

    It is named as in `compare`; `sustain_s` seconds of calls without a pause, none if 0.

    Raises: EdgekitError.
    """
    from edgekit.pipeline.alone import profile as profile_on
    from edgekit.pipeline.named import artifact_named

    store, machine = ArtifactStore(artifacts_folder()), _device(device)
    found = artifact_named(_text(artifact), machine, store)
    return profile_on(found, machine, store, threads=threads, sustain_s=sustain_s, wait_s=wait_s, listen=listen)


def push(
    artifact: Artifact | str,
    *,
    device: str | Device,
    name: str | None = None,
    wait_s: float = 0.0,
    listen: Listener = silent,
) -> "Pushed":
    """Makes an artifact the active version of the model `name` (default: its own) on a device; it is verified before.

    It is named as in `compare`.

    Raises: EdgekitError.
    """
    from edgekit.pipeline.named import artifact_named
    from edgekit.pipeline.push import push as push_to

    store, machine = ArtifactStore(artifacts_folder()), _device(device)
    found = artifact_named(_text(artifact), machine, store)
    with Ledger(ledger_url()) as ledger:
        return push_to(found, machine, store, ledger, name=name, listen=listen, wait_s=wait_s)


def artifact_folder(artifact: Artifact | str) -> Path:
    """Where an artifact's files are: artifact.json, the model, test vectors. To be read, not written.

    Raises: UsageError if there is none of that name; ArtifactError if it is damaged.
    """
    store = ArtifactStore(artifacts_folder())
    return store.folder(store.find(_text(artifact)))


def write_report(study: Study, path: "PathLike[str] | str" = "report.html") -> None:
    """Writes the page of a study: one file that needs no network.

    Raises: StoreError.
    """
    from edgekit.report.page import render

    write_whole(Path(path), render(study).encode())


def _device(device: str | Device) -> Device:
    return get_device(device) if isinstance(device, str) else device


def _text(artifact: Artifact | str) -> str:
    return artifact.id if isinstance(artifact, Artifact) else artifact


def _recipe(recipe: Recipe | str) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in NAMED:
        raise UsageError(f"recipe: want a Recipe or one of {', '.join(NAMED)}, got {recipe!r}")
    return NAMED[recipe]
