"""The engine of an artifact, where its target has the device build one: built and tried there before it is active."""

from collections.abc import Callable

from edgekit.bench.tool_session import ToolBench
from edgekit.bench.trtexec_program import TrtexecProgram
from edgekit.catalog import targets
from edgekit.core.artifact import Artifact
from edgekit.core.device import Device, Facts
from edgekit.core.measurement import Options
from edgekit.core.noun import Noun
from edgekit.devices.parcel import parcel
from edgekit.devices.send import Sent, bring
from edgekit.devices.transport import OnBytes, Transport
from edgekit.formats.vectors import read_vectors
from edgekit.formats.verify import Verdict, verify_outputs, worst_of
from edgekit.pipeline.alone import bench_on, form_of
from edgekit.pipeline.events import Event, Listener
from edgekit.store.artifacts import ArtifactStore

OnSent = Callable[[Sent], None]


class OnDevice(Noun, frozen=True, kw_only=True):
    """An engine on a device, below its root, and how far its outputs for the test vectors are from the host's.

    It was built in `seconds`, None where that was not told, or `was_there`; `warnings` are the builder's.
    """

    path: str
    size_bytes: int
    tensorrt: str
    was_there: bool
    verdict: Verdict
    seconds: float | None = None
    warnings: tuple[str, ...] = ()


def engine_of(
    transport: Transport, device: Device, facts: Facts, artifact: Artifact, store: ArtifactStore, *,
    listen: Listener, on_sent: OnSent = lambda sent: None, on_bytes: OnBytes | None = None,
) -> OnDevice | None:  # fmt: skip
    """The engine of an artifact on a device, built there if it is not; None where the artifact is loaded as it is.

    The artifact is in the device's bench/ afterwards. `on_sent` hears what bringing it there took.

    Raises: ConvertError naming op and reason; ArtifactError if it computes something else than the host's program;
    DeviceError, StorageError; as `Transport.run`.
    """
    target = next((t for t in targets() if t.name == artifact.target), None)
    if target is None or target.build != "device" or artifact.vectors is None:
        return None
    bench = bench_on(transport, device, facts, Options(runtime=target.runtime), listen=listen)
    if not isinstance(bench, ToolBench) or not isinstance(program := bench.program, TrtexecProgram):
        return None
    folder = store.folder(artifact)
    files = parcel({entry.path: folder / entry.path for entry in artifact.files})
    sent = bring(transport, device, files, "bench", find_file=store.file_finder(), on_bytes=on_bytes)
    on_sent(sent)
    form = form_of(bench, sent.folder, artifact, folder)
    engine = program.engine(form)
    listen(Event(stage="install", text=f"trying the engine on {device.name} with the test vectors"))
    what = f"{device.name}: the engine of {artifact.name}"
    tried = [(folder / artifact.vectors, bench.outputs(form))]
    tried += [(path, bench.outputs(form, given=path)) for path in (folder / name for name in artifact.more_vectors)]
    verdicts = [verify_outputs(what, read_vectors(p), got, float_error=program.float_error) for p, got in tried]
    return OnDevice(
        path=engine.path.removeprefix(f"{device.root}/"), size_bytes=engine.size_bytes, tensorrt=program.version,
        seconds=engine.built.seconds if engine.built else None, warnings=engine.built.warnings if engine.built else (),
        was_there=engine.built is None,
        verdict=worst_of(verdicts),
    )  # fmt: skip
