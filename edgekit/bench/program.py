"""A vendor's program on one device: how it is started there, what a process of it says of a form, and how it fails."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from edgekit.bench.runners.timing import Computes, Job, Profiles, Runner, Timing, Weighs, complaints, raw_outputs
from edgekit.bench.session import Form, Plan
from edgekit.core.device import Device, Facts
from edgekit.core.measurement import OpTime, Options, Window
from edgekit.core.model import TensorSpec
from edgekit.core.target import Target
from edgekit.devices.push import stage
from edgekit.devices.runtimes import TOOLS
from edgekit.devices.said import complaint
from edgekit.devices.transport import Transport
from edgekit.errors import ArtifactError, DeadlineError, DeviceError, MeasureError, StorageError, UnreachableError
from edgekit.formats.base import get_format
from edgekit.formats.child import call_in_child
from edgekit.store.scratch import scratch

SAID_BYTES = 8 << 20
OUTPUT_BYTES = 256 << 20
START_S = 300.0
"""Seconds that a process may take besides those it is told to call a model for."""
PROFILE_S = 3.0
_SIGNALS = {
    "4": "it has an instruction that this processor lacks: get it for that one", "6": "it gave up", "11": "it crashed",
    "9": "perhaps for want of memory",
}  # fmt: skip
_NAMES = {"ILL": "4", "ABRT": "6", "KILL": "9", "SEGV": "11"}
_KILLED = range(129, 193)
_BY_SIGNAL = re.compile(r"was killed there(?: \((?:signal )?(\w{1,10})\)|: it left no exit status)")


Edge = tuple[tuple[int, ...], str]
"""The shape and the type of an output of one call."""


class IncomparableError(MeasureError):
    """A program runs a model and does not tell what it computes: nothing is wrong, and nothing was proved."""


class Sent(NamedTuple):
    """A form's files on the host, and what they are for; `takes` are its inputs, where sizes of some are free."""

    model: Path
    inputs: Path
    target: Target
    takes: tuple[TensorSpec, ...] = ()


class Program:
    """A vendor's program on one device. `say` hears of what takes minutes."""

    float_error: ClassVar[float] = 1e-3
    """Share of its range that a float output may be off from what the host computes."""
    hides: ClassVar[str] = "shows no values of its layers"

    def __init__(
        self, runner: Runner, transport: Transport, device: Device, facts: Facts, options: Options, *,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:  # fmt: skip
        self.transport, self.device, self.facts, self.options = transport, device, facts, options
        self.runner, self._say = runner, say
        self.incoming = f"{device.root}/incoming"
        self.cores: tuple[int, ...] | None = None
        self.version = "not told"
        self.words: tuple[str, ...] = ()
        self._sent: dict[str, Sent] = {}
        self._inputs: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {}

    def sent(self, form: Form, target: Target, model: Path, inputs: Path, takes: tuple[TensorSpec, ...] = ()) -> None:
        """As `Bench.sent`."""
        self._sent[form.path] = Sent(model, inputs, target, takes if any(tensor.free for tensor in takes) else ())

    def ready(self, form: Form) -> None:
        """As `Bench.ready`."""

    def time(self, form: Form, plan: Plan) -> Timing:
        """What a fresh process says of a form.

        Raises: MeasureError in the program's own words; DeviceError if there is none that runs; StorageError; as
        `Transport.run`.
        """
        run_s = max(plan.seconds, self.runner.tells.least_s)
        job = self.job(form, warm_s=min(plan.warmup_s, 0.5), run_s=run_s, calls_least=plan.calls_least)
        words = self.runner.command(job, self.words)
        said = self.run(words, timeout_s=min(plan.deadline_s, run_s + START_S))
        return self.runner.parse(said, self.transport.name)

    def peak_memory_bytes(self, form: Form) -> int | None:
        """Peak bytes of a process of its own that loads the form and calls it; None where that is not told."""
        if not isinstance(self.runner, Weighs):
            return None
        said = self.run(self.runner.memory_words(self.job(form), self.words), timeout_s=START_S)
        return self.runner.parse(said, self.transport.name).peak_memory_bytes

    @property
    def computes(self) -> bool:
        """Whether it can be asked what a form gives for given inputs."""
        return isinstance(self.runner, Computes)

    def call(self, form: Form, inputs: Sequence[np.ndarray], wanted: Sequence[Edge]) -> tuple[np.ndarray, ...]:
        """What a form gives for one batch of inputs, by a process of its own: outputs `wanted`.

        Raises: IncomparableError if it does not tell; MeasureError if it gives another number of values; as `time`.
        """
        if not isinstance(self.runner, Computes):
            raise IncomparableError(f"{self.transport.name}: {self.runner.name} does not tell what a model computes")
        path = f"{self.incoming}/outputs.bin"
        given = self.brought(self._as_taken(form, inputs))
        job = Job(model=form.path, threads=self.options.threads, units=self._units(form), inputs=given)
        self.run(self.runner.output_words(job, self.words, path), timeout_s=START_S, clear=path)
        try:
            raw = self.fetch(path)
        except (UnreachableError, StorageError):
            raise
        except DeviceError:
            why = f"this {self.runner.name} writes no outputs: it is too old for that"
            raise IncomparableError(f"{self.transport.name}: {why}") from None
        return raw_outputs(raw, wanted, f"{self.transport.name}: {self.runner.name}")

    def op_times(self, form: Form) -> tuple[OpTime, ...]:
        """The ops of a form, the longest first; none where they are not told. Raises: as `time`."""
        if not isinstance(self.runner, Profiles):
            return ()
        said = self.run(self.runner.profile_words(self.job(form, run_s=PROFILE_S), self.words), timeout_s=START_S)
        return self.runner.parse_ops(said, self.transport.name)

    def units(self, form: Form) -> str | None:
        """What of the chip runs a form, in words; None where there is no choice."""
        return None

    def windows(self, form: Form, for_s: float) -> tuple[Window, ...]:
        """The seconds of one long process, where the program tells when each call began; none elsewhere."""
        return ()

    def job(self, form: Form, *, warm_s: float = 0.5, run_s: float = 1.0, calls_least: int = 7) -> Job:
        """A form as the program is told of it, with the first batch of its own inputs."""
        if form.path not in self._inputs:
            self._inputs[form.path] = self._first(form)
        return Job(
            model=form.path, threads=self.options.threads, warm_s=warm_s, run_s=run_s, calls_least=calls_least,
            units=self._units(form), inputs=self._inputs[form.path],
        )  # fmt: skip

    def brought(self, arrays: Sequence[np.ndarray]) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Files of the device with these numbers, and their shapes. Raises: as `stage`."""
        with scratch() as folder:
            for i, array in enumerate(arrays):
                (folder / f"in_{i}.bin").write_bytes(np.ascontiguousarray(array).tobytes())
            files = {f"in_{i}.bin": folder / f"in_{i}.bin" for i in range(len(arrays))}
            place = stage(self.transport, self.device, files)
        return tuple((f"{place}/in_{i}.bin", array.shape) for i, array in enumerate(arrays))

    def run(self, words: tuple[str, ...], *, timeout_s: float, clear: str = "", within: str = "") -> str:
        """All that a process said which ended well; `clear` is removed first, so that it is no old file.

        `within` is the folder that it runs in, by default where any command does.

        Raises: MeasureError in its own words if it failed; DeviceError if there is none that runs; StorageError;
        DeadlineError if it takes longer; as `Transport.run`.
        """
        script = 'mkdir -p "$1" && rm -f "$2" && { [ -z "$3" ] || cd "$3"; } || exit 125; shift 3; exec "$@"'
        name, program = self.transport.name, self.runner.name
        try:
            done = self.transport.run(
                ("sh", "-c", script, "sh", self.incoming, clear or f"{self.incoming}/none", within, *words),
                timeout_s=timeout_s, limit_bytes=SAID_BYTES,
            )  # fmt: skip
        except DeadlineError:
            raise DeadlineError(f"{name}: {program} gave no result within {timeout_s:g} s, so it was ended") from None
        except DeviceError as error:
            if type(error) is DeviceError and (found := _BY_SIGNAL.search(str(error))):
                raise MeasureError(f"{name}: {program} was ended {_signal_words(found[1])}") from None
            raise
        said = (done.stdout + b"\n" + done.stderr).decode(errors="replace")
        if done.status:
            raise self.failure(done.status, said)
        return said

    def failure(self, status: int, said: str) -> DeviceError:
        """The error for a process that ended with another status than 0, in its own words where it has some."""
        name, program = self.transport.name, self.runner.name
        last = complaints(said)
        full = complaint(f"{name}: {program}", last)
        if isinstance(full, StorageError):
            return full
        if status in (126, 127):
            get = TOOLS[self.options.runtime].get.format(name=self.device.name)
            return DeviceError(f"{name}: no {program} that runs ({last}): {get}")
        if status in _KILLED:
            return MeasureError(f"{name}: {program} was ended {_signal_words(str(status - 128))}")
        try:
            self.runner.parse(said, name)
        except DeviceError as error:
            return error
        return MeasureError(f"{name}: {program} ended with status {status}: {last}")

    def fetch(self, path: str) -> bytes:
        """A file of the device. Raises: as `Transport.get`."""
        with scratch() as folder:
            self.transport.get(path, folder / "file", timeout_s=300, limit_bytes=OUTPUT_BYTES)
            return (folder / "file").read_bytes()

    def _first(self, form: Form) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The first batch of a form's inputs on the device: with noise of its own a program may read past a table."""
        sent = self._sent.get(form.path)
        if sent is None:
            return ()
        given, _ = read_batches(sent.inputs, form.batch)[0]
        return self.brought(self._as_taken(form, given))

    def _as_taken(self, form: Form, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The inputs in the types that the file has: some formats make 64-bit integers 32-bit ones."""
        sent = self._sent[form.path]
        if not any(array.dtype == np.int64 for array in inputs):
            return tuple(inputs)
        job = {"format": sent.target.format, "path": str(sent.model)}
        types = call_in_child("edgekit.bench.program:types", job, what=sent.model.name, error=ArtifactError).value
        return tuple(array.astype(kind, copy=False) for array, kind in zip(inputs, types, strict=True))

    def _units(self, form: Form) -> str:
        sent = self._sent.get(form.path)
        return (sent.target.compute_units or "") if sent else ""


def _signal_words(signal: str | None) -> str:
    """How a process ended that told nothing, by the signal's number or name; not every way to a device tells it.

    >>> _signal_words("11"), _signal_words("SIGILL")[:20], _signal_words(None)
    ('by signal 11: it crashed', 'by signal SIGILL: it', 'by a signal: it crashed, or its memory was wanted')
    """
    if signal is None:
        return "by a signal: it crashed, or its memory was wanted"
    why = _SIGNALS.get(_NAMES.get(signal.removeprefix("SIG"), signal))
    return f"by signal {signal}{f': {why}' if why else ''}"


def types(job: dict[str, Any], _: dict[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray]]:
    """In a child: the types of a file's inputs."""
    return [spec.dtype for spec in get_format(job["format"]).inputs(Path(job["path"]))], {}


def read_batches(path: Path, batch: int) -> list[tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]]:
    """Test vectors call by call: inputs, and the outputs that are in the file too, perhaps none.

    `batch` is the first input's: an array with other rows than it has so many for each call.
    """
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    ins, outs = (
        [arrays[f"{stem}_{i}"] for i in range(len(arrays)) if f"{stem}_{i}" in arrays] for stem in ("in", "out")
    )
    calls = max(len(ins[0]) // batch, 1)

    def part(some: list[np.ndarray], index: int) -> tuple[np.ndarray, ...]:
        rows = [len(array) // calls for array in some]
        return tuple(array[index * count : (index + 1) * count] for array, count in zip(some, rows, strict=True))

    return [(part(ins, i), part(outs, i)) for i in range(calls)]
