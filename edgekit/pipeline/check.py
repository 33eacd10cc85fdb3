"""A check of whatever a user's word names: an artifact with its layers, or a bare file by what can be said of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edgekit.bench.check import Checked, check_on_host, noted
from edgekit.bench.check_device import layers_on, outputs_on, probe_file, times_on
from edgekit.bench.program import IncomparableError
from edgekit.bench.session import Form
from edgekit.bench.tool_session import ToolBench
from edgekit.catalog import get_target, targets
from edgekit.core.artifact import Artifact
from edgekit.core.device import Device
from edgekit.core.measurement import Options
from edgekit.core.target import Target
from edgekit.devices.facts import gather
from edgekit.devices.prepare import check_measures
from edgekit.devices.push import collecting, stage
from edgekit.errors import ArtifactError, UsageError
from edgekit.formats.layers import kept_layers
from edgekit.formats.names import file_endings, format_of
from edgekit.formats.pack import wrap
from edgekit.formats.vectors import Vectors, read_vectors
from edgekit.formats.verify import verify_outputs
from edgekit.pipeline.alone import bench_on, staged
from edgekit.pipeline.events import Event, Listener, silent
from edgekit.pipeline.fitting import fitting_target
from edgekit.pipeline.held import held
from edgekit.pipeline.usable import usable_targets
from edgekit.store.artifacts import DESCRIPTION, ArtifactStore, read_artifact
from edgekit.store.scratch import scratch

BARE = "edgekit did not make this file: it is compared with what it gives on this computer, and has no layer table"


def check(
    text: str, store: ArtifactStore, device: Device | None = None, *, wait_s: float = 0.0, listen: Listener = silent
) -> Checked:
    """The check of an artifact: an id, a unique beginning of one, name@beginning, a folder, or a file in its folder.

    With a `device`, by its runtime too; it is this check's alone meanwhile, and what was sent there is removed.

    Raises: UsageError if there is none; ArtifactError if it is damaged, or its runtime refuses it; LeaseError,
    DeviceError, MeasureError, UnreachableError.
    """
    with placed(text, store, device) as (artifact, folder):
        listen(Event(stage="evaluate", text=f"running {artifact.id[:12]} on this computer"))
        found = check_on_host(artifact, folder)
        if artifact.provenance is None and artifact.layers is None:
            found = msgspec.structs.replace(found, reference="file", notes=(BARE,))
        return found if device is None else _on_device(artifact, folder, device, found, wait_s, listen)


def _on_device(
    artifact: Artifact, folder: Path, device: Device, found: Checked, wait_s: float, listen: Listener
) -> Checked:
    target = get_target(artifact.target)
    runtime = target.runtime
    vectors, layers = read_vectors(folder / str(artifact.vectors)), kept_layers(artifact, folder)
    with scratch() as made:
        shown = probe_file(artifact, folder, made) if found.rows else None
        with (
            held(device, f"check {artifact.name}", wait_s=wait_s, listen=listen) as transport,
            collecting(transport, device),
        ):
            facts = gather(transport, device)
            check_measures(transport, device, facts, runtime)
            listen(Event(stage="measure", text=f"running {artifact.id[:12]} on {device.name}"))
            bench = bench_on(transport, device, facts, Options(threads=1, runtime=runtime), listen=listen)
            form = staged(bench, transport, device, artifact, folder)
            if isinstance(bench, ToolBench):
                return _by_tool(bench, form, vectors, found)
            found = _with_saturation(outputs_on(bench, form, vectors, found), target, facts.features)
            if shown is None or layers is None:
                return found
            copy, taps = shown
            place = stage(transport, device, {"shown" + copy.suffix: copy})
            probe = msgspec.structs.replace(form, path=f"{place}/shown{copy.suffix}")
            found = layers_on(bench, probe, taps, layers, len(vectors.inputs[0]) // form.batch, found)
            return times_on(bench, form, layers, found)


def _by_tool(bench: ToolBench, form: Form, vectors: Vectors, found: Checked) -> Checked:
    """`found` with what a vendor's program gives for the first of the test vectors."""
    name, wrong, program = bench.transport.name, found.wrong, bench.program
    try:
        verify_outputs(f"{found.name} on {name}", vectors, bench.outputs(form), float_error=program.float_error)
    except IncomparableError as error:
        return noted(found, str(error))
    except ArtifactError as error:
        wrong = (*wrong, str(error))
    found = msgspec.structs.replace(found, device=name, wrong=wrong)
    return noted(found, f"{bench.options.runtime} {program.hides}")


def _with_saturation(found: Checked, target: Target, features: tuple[str, ...]) -> Checked:
    """`found` with the reason where the device's own int8 products may be what is wrong."""
    needed = target.numerics.reduce_range_without
    if found.is_right or not needed or set(needed) & set(features):
        return found
    words = " or ".join(needed)
    return noted(
        found, f"{found.device} has no {words}, so 8-bit products may saturate there: `edgekit tune` allows for it"
    )


def _any_target(kind: str) -> Target:
    """A target of a format, one that can be measured where there is one: on this computer a file runs without it."""
    return next(target for target in (*usable_targets(), *targets()) if target.format == kind)


@contextmanager
def placed(text: str, store: ArtifactStore, device: Device | None = None) -> Iterator[tuple[Artifact, Path]]:
    """The artifact that `text` names, and where its files are; of a bare file one made for the while.

    Raises: as `check`.
    """
    path = Path(text)
    kind = format_of(path.name)
    folder = path.parent if path.is_file() and (path.parent / DESCRIPTION).is_file() else path
    if folder.is_dir():
        artifact = read_artifact(folder)
        if path is not folder and path.name not in {entry.path for entry in artifact.files}:
            raise UsageError(f"{text}: the artifact in its folder has no such file: name the folder")
        yield artifact, folder
    elif path.is_file():
        if kind is None:
            raise UsageError(f"{text}: want a model file that ends in .{', .'.join(file_endings())}, or a folder")
        target = fitting_target(device, kind) if device else _any_target(kind)
        with scratch() as made:
            yield wrap(path, target, made / "artifact"), made / "artifact"
    elif kind is not None or os.sep in text:
        raise UsageError(f"{text}: no such file or folder")
    else:
        artifact = store.find(text)
        yield artifact, store.folder(artifact)
