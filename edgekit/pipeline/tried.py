"""An artifact tried on a device before it is active, where a vendor's program runs it, with the test vectors."""

from collections.abc import Callable

from edgekit.bench.program import IncomparableError
from edgekit.bench.session import Plan
from edgekit.bench.tool_session import ToolBench
from edgekit.catalog import targets
from edgekit.core.artifact import Artifact
from edgekit.core.device import Device, Facts
from edgekit.core.measurement import Options
from edgekit.core.noun import Noun
from edgekit.devices.parcel import parcel
from edgekit.devices.prepare import check_measures
from edgekit.devices.runtimes import TOOLS
from edgekit.devices.send import Sent, bring
from edgekit.devices.transport import OnBytes, Transport
from edgekit.errors import DeviceError, StorageError, UnreachableError
from edgekit.formats.vectors import read_vectors
from edgekit.formats.verify import Verdict, verify_outputs
from edgekit.pipeline.alone import bench_on, form_of
from edgekit.pipeline.events import Event, Listener
from edgekit.store.artifacts import ArtifactStore


class Tried(Noun, frozen=True, kw_only=True):
    """What a device's own program gave for an artifact's test vectors. `verdict` is None where `why` says why not."""

    runtime: str
    version: str | None = None
    verdict: Verdict | None = None
    why: str = ""


def tried_of(
    transport: Transport, device: Device, facts: Facts, artifact: Artifact, store: ArtifactStore, *,
    listen: Listener, on_sent: Callable[[Sent], None] = lambda sent: None, on_bytes: OnBytes | None = None,
) -> Tried | None:  # fmt: skip
    """How an artifact does on a device that has the program for it; None where edgekit's agent would run it.

    The artifact is in the device's bench/ afterwards, if it was tried. `on_sent` hears what bringing it there took.

    Raises: ArtifactError if it computes something else than the host's program; MeasureError if the program refuses it;
    StorageError; as `Transport.run`.
    """
    target = next((t for t in targets() if t.name == artifact.target), None)
    if target is None or target.build == "device" or target.runtime not in TOOLS or artifact.vectors is None:
        return None
    try:
        check_measures(transport, device, facts, target.runtime)
        bench = bench_on(transport, device, facts, Options(runtime=target.runtime), listen=listen)
    except (UnreachableError, StorageError):
        raise
    except DeviceError as error:
        return Tried(runtime=target.runtime, why=str(error))
    assert isinstance(bench, ToolBench)
    program, folder = bench.program, store.folder(artifact)
    sent = bring(
        transport, device, parcel({entry.path: folder / entry.path for entry in artifact.files}), "bench",
        find_file=store.file_finder(), on_bytes=on_bytes,
    )  # fmt: skip
    on_sent(sent)
    form = form_of(bench, sent.folder, artifact, folder)
    listen(Event(stage="install", text=f"trying {artifact.id[:12]} on {device.name} with {target.runtime}"))
    try:
        if not program.computes:
            raise IncomparableError(f"{device.name}: {target.runtime} does not tell what a model computes")
        verdict = verify_outputs(
            f"{device.name}: {artifact.name} by {target.runtime}", read_vectors(folder / artifact.vectors),
            bench.outputs(form), float_error=program.float_error,
        )  # fmt: skip
    except IncomparableError as error:
        program.time(form, Plan())  # at least it runs there
        return Tried(runtime=target.runtime, version=program.version, why=f"it runs; {error}")
    return Tried(runtime=target.runtime, version=program.version, verdict=verdict)
