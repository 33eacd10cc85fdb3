"""One recipe for one target: compress, lower, package, verify, compile where a target wants it, score."""

from pathlib import Path

from edgekit.core.artifact import Artifact, Provenance
from edgekit.core.measurement import Quality
from edgekit.core.noun import Noun, digest
from edgekit.core.recipe import Recipe, words_of
from edgekit.core.target import Target, check_free, check_precisions
from edgekit.formats.base import get_format
from edgekit.formats.child import run_model
from edgekit.formats.compilers import compiler_of
from edgekit.formats.pack import extend, package
from edgekit.formats.verify import Verdict, verify
from edgekit.models.batches import batch_of
from edgekit.models.evaluate import Split
from edgekit.pipeline.alone import tools
from edgekit.pipeline.events import Event, Listener, silent
from edgekit.pipeline.job import Job
from edgekit.pipeline.programs import program_of
from edgekit.store.artifacts import ArtifactStore, read_artifact
from edgekit.store.files import sha256_of
from edgekit.store.scratch import scratch
from edgekit.store.weights import WeightStore


class Built(Noun, frozen=True, kw_only=True):
    """An artifact in the store, what verifying it said, and its quality beside the float model's."""

    artifact: Artifact
    verdict: Verdict
    quality: tuple[Quality, ...] = ()


def build(
    job: Job, recipe: Recipe, target: Target, store: ArtifactStore, weights: WeightStore, *,
    split: Split = "validation", features: tuple[str, ...] | None = None, beside: tuple[Path, ...] = (),
    listen: Listener = silent,
) -> Built:  # fmt: skip
    """The form of the job's model that `recipe` makes, for `target`, verified on the host and scored on `split`.

    The same recipe, model, data and tools give the artifact that the store has already. `beside` are files that go with
    the model as they are: an FPGA's overlay.

    Raises: UsageError for steps in an order that cannot be; TargetError if there is no back end for it; ModelError,
    ConvertError, ArtifactError, MetricError.
    """
    check_free(target, job.model.spec.inputs)
    model, used = job.model.spec.digest, tools()
    hashes = [(path.name, sha256_of(path)) for path in beside]
    key = digest("artifact", model, recipe, target, job.data_digests(), used, features, *([hashes] if hashes else []))
    artifact = store.made(key)
    if artifact is None:
        check_precisions(words_of(recipe), target.numerics)
        back_end = get_format(target.format)
        theirs = compiler_of(target)
        compiler = theirs.need() if theirs else None
        job.score_float(listen)
        listen(Event(stage="compile", text=f"building {job.project.name} for {target.name}"))
        program = program_of(job, recipe, target, weights, features=features, listen=listen)
        provenance = Provenance(recipe=recipe, model=model, data=job.data_digests(), tools=used)
        with scratch() as folder:
            path = back_end.lower(program, target, folder / "lowered")
            made = package(
                program, target, path, folder=folder / "artifact", key=key, name=job.project.name,
                provenance=provenance, samples=job.data.get("vectors"), seed=job.project.seed,
            )  # fmt: skip
            verify(read_artifact(folder / "artifact"), folder / "artifact")
            if theirs is not None:
                listen(Event(stage="compile", text=f"compiling {job.project.name} by {compiler}"))
                files = theirs.compile(path, target, compiler, folder / "compiled")
                made = extend(made, folder / "artifact", files, files[0].name)
            extend(made, folder / "artifact", beside)
            artifact = store.add(folder / "artifact")
    listen(Event(stage="evaluate", text=f"verifying and scoring {artifact.id[:12]}"))
    verdict = verify(artifact, store.folder(artifact))
    return Built(artifact=artifact, verdict=verdict, quality=quality_of(job, artifact, store, split))


def quality_of(job: Job, artifact: Artifact, store: ArtifactStore, split: Split) -> tuple[Quality, ...]:
    """The metric of an artifact on a split, computed by its own runtime on the host, beside the float model's."""
    inputs = job.data[split].inputs
    outputs = run_model(artifact.format, store.model_path(artifact), inputs, rows=batch_of(job.model.spec))[0]
    return job.quality(split, outputs, job.float_outputs(split))
