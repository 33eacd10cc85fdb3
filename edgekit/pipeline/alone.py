"""The stages by themselves: build one recipe for one target, compare two artifacts on one device."""

from collections.abc import Callable

from edgekit import __version__
from edgekit.bench.session import Bench, Form, Plan
from edgekit.catalog import get_target
from edgekit.core.artifact import Artifact
from edgekit.core.device import Device
from edgekit.core.measurement import Comparison, Measurement, Options, Round
from edgekit.core.noun import Noun
from edgekit.devices.agent import agent_command
from edgekit.devices.facts import gather
from edgekit.devices.prepare import check_measures, runtime_environment
from edgekit.devices.push import collecting, stage
from edgekit.devices.transport import Transport
from edgekit.errors import ArtifactError, UsageError
from edgekit.pipeline.events import Listener, silent
from edgekit.pipeline.held import held
from edgekit.store.artifacts import ArtifactStore


class Compared(Noun, frozen=True, kw_only=True):
    """Two artifacts on one device: what the rounds say of the second against the first, and of each alone."""

    comparison: Comparison
    baseline: Measurement
    candidate: Measurement


def compare(
    baseline: Artifact, candidate: Artifact, device: Device, store: ArtifactStore, *,
    threads: int = 1, plan: Plan | None = None, on_round: Callable[[Round], None] = lambda r: None,
    wait_s: float = 0.0, listen: Listener = silent,
) -> Compared:  # fmt: skip
    """Measures two artifacts of the store on a device, in interleaved rounds, each loaded fresh and alone.

    The device is this comparison's alone meanwhile; `wait_s` is how long to wait until it is. What was sent for it is
    removed afterwards.

    Raises: UsageError if the two are one artifact or of two formats; LeaseError, DeviceError, MeasureError.
    """
    if baseline.id == candidate.id:
        raise UsageError(f"{baseline.id[:12]} and {candidate.id[:12]} are one artifact: name two")
    if baseline.format != candidate.format:
        raise UsageError(
            f"one artifact is {baseline.format}, the other {candidate.format}: a comparison takes one runtime"
        )
    runtime = get_target(baseline.target).runtime
    reason = f"bench {baseline.name} {candidate.name}"
    with held(device, reason, wait_s=wait_s, listen=listen) as transport, collecting(transport, device):
        check_measures(transport, device, gather(transport, device), runtime)
        forms = tuple(_form(transport, device, a, store) for a in (baseline, candidate))
        bench = bench_on(transport, device, Options(threads=threads, runtime=runtime))
        _, conditions = bench.version()
        rounds = bench.rounds(forms, baseline.id, plan or Plan(), on_round=on_round)
        one, other = (
            bench.measurement(
                rounds, form, device=device.name, conditions=conditions,
                peak_memory_bytes=bench.peak_memory_bytes(form), size_bytes=artifact.size_bytes,
            )
            for form, artifact in zip(forms, (baseline, candidate), strict=True)
        )  # fmt: skip
        comparison = bench.comparison(rounds, device.name, baseline.id, candidate.id)
        return Compared(comparison=comparison, baseline=one, candidate=other)


def bench_on(transport: Transport, device: Device, options: Options) -> Bench:
    """What measures on a device, its agent installed there. Raises: DeviceError, UnreachableError."""
    return Bench(transport, agent_command(transport, device, runtime_environment(transport, device)), options)


def _form(transport: Transport, device: Device, artifact: Artifact, store: ArtifactStore) -> Form:
    """The artifact's files on the device, in its bench/."""
    if artifact.vectors is None:
        raise ArtifactError(f"{artifact.name}: carries no test vectors to run it with")
    place = stage(transport, device, {entry.path: store.folder(artifact) / entry.path for entry in artifact.files})
    batch = artifact.inputs[0].shape[0] if artifact.inputs else 1
    return Form(
        id=artifact.id, path=f"{place}/{artifact.model_file}", inputs=f"{place}/{artifact.vectors}", batch=batch
    )


def tools() -> tuple[tuple[str, str], ...]:
    """(package, version) of what decides the content of an artifact."""
    from importlib.metadata import version

    names = ("torch", "torchao", "onnx", "onnxscript", "onnxruntime")
    return (("edgekit", __version__), *((name, version(name)) for name in names))
