"""Engines through trtexec on one device: built before the first round, each call's time from the file that it writes.

trtexec tells the time of each call, copies to and from the GPU in it; no processor time, no memory, no first call.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from edgekit.bench.engines import PROCESS_S, Engine, Engines
from edgekit.bench.program import Edge, Program
from edgekit.bench.runners.timing import Timing
from edgekit.bench.runners.trtexec import WARM_MS, Trtexec, load_seconds
from edgekit.bench.runners.trtexec_files import Call, op_times, parse_layers, parse_outputs, parse_profile, parse_times
from edgekit.bench.runners.trtexec_options import numbers
from edgekit.bench.runners.trtexec_words import output_words, profile_words, time_words
from edgekit.bench.session import Form, Plan
from edgekit.core.device import Device, Facts
from edgekit.core.measurement import OpTime, Options, Window
from edgekit.devices.transport import Transport
from edgekit.errors import MeasureError
from edgekit.formats.tensorrt import ends
from edgekit.store.scratch import scratch

PROFILE_S = 3
_UNSTABLE = re.compile(r"GPU compute time is unstable")


class TrtexecProgram(Program):
    """As `Program`, of ONNX files whose engines the device builds."""

    float_error: ClassVar[float] = 0.02  # TensorRT rounds to TF32 (11 bits) where the GPU has it
    hides: ClassVar[str] = "shows no values of its layers: TensorRT fuses them"

    def __init__(
        self, transport: Transport, device: Device, facts: Facts, options: Options, *,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:  # fmt: skip
        self.engines = Engines(transport, device, facts, say=say)
        super().__init__(Trtexec(self.engines.version), transport, device, facts, options, say=say)
        self.version = self.engines.version
        self._built: dict[str, Engine] = {}

    def engine(self, form: Form) -> Engine:
        """The engine of a form, built if it is not there. Raises: as `Engines.build`."""
        if form.path not in self._built:
            self.ready(form)
        return self._built[form.path]

    def ready(self, form: Form) -> None:
        """As `Bench.ready`: there is an engine, and it is among those that were used last."""
        sent = self._sent[form.path]
        found = self.engines.build(sent.model, form.path, sent.target.dla_core, sent.takes)
        kept = self._built.get(form.path)
        self._built[form.path] = found if kept is None or found.built is not None else kept

    def time(self, form: Form, plan: Plan) -> Timing:
        """As `Program.time`."""
        calls, said = self._calls(form, max(1, math.ceil(plan.seconds)))
        warnings = Trtexec(self.version).parse(said, self.transport.name).warnings
        return Timing(
            calls=len(calls), calls_s=tuple(call.latencyMs * 1e-3 for call in calls), load_s=load_seconds(said),
            warnings=warnings, steady=not _UNSTABLE.search(said),
        )  # fmt: skip

    def _calls(self, form: Form, run_s: int) -> tuple[tuple[Call, ...], str]:
        """Every call of a fresh process after its warm-up, and what trtexec said."""
        path, program = f"{self.incoming}/times.json", self.engines.program
        words = time_words(
            self.version, self.engine(form).path, path, warm_ms=WARM_MS, run_s=run_s, program=program,
            inputs=self._sent[form.path].takes,
        )  # fmt: skip
        said = self.engines.run(words, timeout_s=run_s + PROCESS_S, clear=path)
        Trtexec(self.version).parse(said, self.transport.name)
        return parse_times(self.fetch(path), self.version, self.transport.name, warm_ms=WARM_MS), said

    def windows(self, form: Form, for_s: float) -> tuple[Window, ...]:
        """As `Program.windows`; the device's heat is not read meanwhile, nor its energy."""
        calls, _ = self._calls(form, max(1, round(for_s)))
        seconds: dict[int, list[float]] = defaultdict(list)
        for call in calls:
            seconds[int((call.startComputeMs - calls[0].startComputeMs) // 1000)].append(call.latencyMs * 1e-3)
        return tuple(
            Window(
                at_s=float(at_s), p50_s=float(np.quantile(some, 0.5)), p99_s=float(np.quantile(some, 0.99)),
                calls=len(some),
            )
            for at_s, some in sorted(seconds.items())
        )  # fmt: skip

    def op_times(self, form: Form) -> tuple[OpTime, ...]:
        """As `Program.op_times`, of the engine's layers, each with its precision where the engine tells it."""
        profile, layers = (f"{self.incoming}/{name}.json" for name in ("profile", "layers"))
        words = profile_words(
            self.version, self.engine(form).path, profile, layers, run_s=PROFILE_S, program=self.engines.program,
            inputs=self._sent[form.path].takes,
        )  # fmt: skip
        Trtexec(self.version).parse(self.engines.run(words, clear=profile), self.transport.name)
        name = self.transport.name
        return op_times(parse_profile(self.fetch(profile), name), parse_layers(self.fetch(layers), name))

    @property
    def computes(self) -> bool:
        """As `Program.computes`."""
        return True

    def call(self, form: Form, inputs: Sequence[np.ndarray], wanted: Sequence[Edge]) -> tuple[np.ndarray, ...]:
        """As `Program.call`, by the names that the file has for its ends."""
        names, gives = ends(self._sent[form.path].model)
        path = f"{self.incoming}/outputs.json"
        given = {name: f"{self.incoming}/in_{i}.bin" for i, name in enumerate(names)}
        free = {tensor.name for tensor in self._sent[form.path].takes if tensor.free}
        words = output_words(
            self.version, self.engine(form).path, given, path, program=self.engines.program,
            shapes={name: array.shape for name, array in zip(names, inputs, strict=True) if name in free},
        )  # fmt: skip
        with scratch() as folder:
            for array, there in zip(inputs, given.values(), strict=True):
                file = folder / Path(there).name
                file.write_bytes(_raw(array, self.version))
                self.transport.put(file, there, timeout_s=60 + array.nbytes / (32 << 10))
        said = self.engines.run(words, clear=path)
        if "&&&& PASSED" not in said:
            Trtexec(self.version).parse(said, self.transport.name)
        made = parse_outputs(self.fetch(path), self.transport.name)
        if missing := [name for name in gives if name not in made]:
            raise MeasureError(f"{self.transport.name}: the engine gives no output {missing[0]}")
        return tuple(made[name] for name in gives)


def _raw(array: np.ndarray, version: str) -> bytes:
    """The numbers of an input as the engine takes them: before 10 TensorRT has no 64-bit integers."""
    narrow = array.dtype == np.int64 and numbers(version) < (10, 0)
    return np.ascontiguousarray(array.astype(np.int32) if narrow else array).tobytes()
