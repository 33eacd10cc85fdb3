"""The stages by themselves: build one recipe for one target, compare two artifacts on one device."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from edgekit import __version__
from edgekit.bench.mixed_session import MixedBench
from edgekit.bench.session import Bench, Form, Plan
from edgekit.bench.tool_session import ToolBench
from edgekit.catalog import get_target
from edgekit.core.artifact import Artifact
from edgekit.core.device import Device, Facts
from edgekit.core.measurement import Comparison, Measurement, Options, Profile, Round, Window
from edgekit.core.model import measured_at
from edgekit.core.noun import Noun
from edgekit.devices.agent import agent_command
from edgekit.devices.facts import gather
from edgekit.devices.prepare import check_measures, runtime_environment
from edgekit.devices.push import collecting, stage
from edgekit.devices.runtimes import TOOLS
from edgekit.devices.transport import Transport
from edgekit.errors import ArtifactError, UsageError
from edgekit.pipeline.events import Event, Listener, silent
from edgekit.pipeline.held import held
from edgekit.store.artifacts import ArtifactStore

LOADS = 10


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

    Two of unlike formats are run by a runtime each, in the same rounds: the float model on a board's processor beside
    an int8 one on its accelerator.

    Raises: UsageError if the two are one artifact; LeaseError, DeviceError, MeasureError.
    """
    if baseline.id == candidate.id:
        raise UsageError(f"{baseline.id[:12]} and {candidate.id[:12]} are one artifact: name two")
    reason = f"bench {baseline.name} {candidate.name}"
    with held(device, reason, wait_s=wait_s, listen=listen) as transport, collecting(transport, device):
        facts = gather(transport, device)
        both = (baseline, candidate)
        runtimes = {artifact.id: get_target(artifact.target).runtime for artifact in both}
        for runtime in dict.fromkeys(runtimes.values()):
            check_measures(transport, device, facts, runtime)
        by_runtime = {
            runtime: bench_on(transport, device, facts, Options(threads=threads, runtime=runtime), listen=listen)
            for runtime in dict.fromkeys(runtimes.values())
        }
        sessions = {artifact.id: by_runtime[runtimes[artifact.id]] for artifact in both}
        bench = sessions[baseline.id] if len(by_runtime) == 1 else MixedBench(sessions)
        forms = tuple(staged(sessions[a.id], transport, device, a, store.folder(a)) for a in both)
        conditions = {runtime: session.version()[1] for runtime, session in by_runtime.items()}
        rounds = bench.rounds(forms, baseline.id, plan or Plan(), on_round=on_round)
        one, other = (
            sessions[artifact.id].measurement(
                rounds, form, device=device.name, conditions=conditions[runtimes[artifact.id]],
                peak_memory_bytes=sessions[artifact.id].peak_memory_bytes(form), size_bytes=artifact.size_bytes,
            )
            for form, artifact in zip(forms, both, strict=True)
        )  # fmt: skip
        comparison = bench.comparison(rounds, device.name, baseline.id, candidate.id)
        said = dict.fromkeys((*measured_at(baseline.inputs), *measured_at(candidate.inputs)))
        comparison = msgspec.structs.replace(comparison, remarks=(*comparison.remarks, *said))
        return Compared(comparison=comparison, baseline=one, candidate=other)


def profile(
    artifact: Artifact, device: Device, store: ArtifactStore, *,
    threads: int = 1, sustain_s: float = 0.0, wait_s: float = 0.0, listen: Listener = silent,
) -> Profile:  # fmt: skip
    """One artifact of the store on a device by itself; called without a pause for `sustain_s` at the end, if not 0.

    The device is this profile's alone meanwhile; `wait_s` is how long to wait until it is. What was sent for it is
    removed afterwards.

    Raises: LeaseError, DeviceError, MeasureError, UnreachableError.
    """
    runtime = get_target(artifact.target).runtime
    reason = f"profile {artifact.name}"
    with held(device, reason, wait_s=wait_s, listen=listen) as transport, collecting(transport, device):
        check_measures(transport, device, facts := gather(transport, device), runtime)
        bench = bench_on(transport, device, facts, Options(threads=threads, runtime=runtime), listen=listen)
        form = staged(bench, transport, device, artifact, store.folder(artifact))
        _, conditions = bench.version()
        listen(Event(stage="measure", text=f"{artifact.id[:12]} in fresh loads"))
        rounds = bench.rounds((form,), artifact.id, Plan(most=LOADS, least=LOADS))
        measured = bench.measurement(
            rounds, form, device=device.name, conditions=conditions,
            peak_memory_bytes=bench.peak_memory_bytes(form), size_bytes=artifact.size_bytes,
        )  # fmt: skip
        listen(Event(stage="profile", text="where the time goes"))
        ops = bench.op_times(form)
        sustained = None
        if sustain_s > 0:

            def tell(window: Window) -> None:
                listen(Event(stage="measure", text="without a pause", done=int(window.at_s), total=int(sustain_s)))

            sustained = bench.sustained(form, sustain_s, on_window=tell)
    return Profile(measurement=measured, sustained=sustained, ops=ops, remarks=measured_at(artifact.inputs))


def bench_on(
    transport: Transport, device: Device, facts: Facts, options: Options, *, listen: Listener = silent
) -> Bench:
    """What measures on a device: its agent, installed there, or a vendor's program. Raises: DeviceError."""
    if options.runtime in TOOLS:
        return ToolBench(transport, device, facts, options, say=lambda text: listen(Event(stage="compile", text=text)))
    return Bench(transport, agent_command(transport, device, runtime_environment(transport, device)), options)


def form_of(bench: Bench, place: str, artifact: Artifact, folder: Path) -> Form:
    """The artifact in the folder `place` of the device, whose files are those in `folder` here."""
    if artifact.vectors is None:
        raise ArtifactError(f"{artifact.name}: carries no test vectors to run it with")
    batch = artifact.inputs[0].shape[0] if artifact.inputs else 1
    form = Form(
        id=artifact.id, path=f"{place}/{artifact.model_file}", inputs=f"{place}/{artifact.vectors}", batch=batch
    )
    model, vectors = folder / artifact.model_file, folder / artifact.vectors
    bench.sent(form, get_target(artifact.target), model, vectors, artifact.inputs)
    return form


def staged(bench: Bench, transport: Transport, device: Device, artifact: Artifact, folder: Path) -> Form:
    """The artifact's files, from `folder`, on the device, in its bench/."""
    place = stage(transport, device, {entry.path: folder / entry.path for entry in artifact.files})
    return form_of(bench, place, artifact, folder)


def tools() -> tuple[tuple[str, str], ...]:
    """(package, version) of what decides the content of an artifact."""
    from importlib.metadata import version

    names = ("torch", "torchao", "onnx", "onnxscript", "onnxruntime")
    return (("edgekit", __version__), *((name, version(name)) for name in names))
