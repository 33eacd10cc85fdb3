"""Measuring engines on one device through trtexec: a process per form and round, each call's time from its file.

trtexec tells the time of each call, copies to and from the GPU in it; no processor time, no memory, no first call.
"""

import math
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from edgekit.bench.engines import PROCESS_S, Engine, Engines
from edgekit.bench.runners.trtexec import WARM_MS, Trtexec, load_seconds
from edgekit.bench.runners.trtexec_files import Call, op_times, parse_layers, parse_outputs, parse_profile, parse_times
from edgekit.bench.runners.trtexec_options import numbers
from edgekit.bench.runners.trtexec_words import output_words, profile_words, time_words
from edgekit.bench.session import Bench, Form, Plan
from edgekit.bench.sustained import sustained_of
from edgekit.core.device import Device, Facts
from edgekit.core.measurement import Comparison, Conditions, OpTime, Options, Reading, Round, Sustained, Window
from edgekit.core.target import Target
from edgekit.devices import parsers
from edgekit.devices.facts import ask_all
from edgekit.devices.questions import QUESTIONS, Question
from edgekit.devices.transport import Transport
from edgekit.errors import MeasureError
from edgekit.formats.child import run_model
from edgekit.formats.tensorrt import ends
from edgekit.store.scratch import scratch

TIMES_BYTES = 256 << 20
PROFILE_S = 3
TRIED = 3
"""Batches that an engine is tried with."""
_STATE = ("governors", "temperatures", "throttling", "vcgencmd")
_UNSTABLE = re.compile(r"GPU compute time is unstable")
_VARIES = re.compile(r", with coefficient of variance = [-+.\dinfae]{1,40}%")
"""What is another figure in each run of one warning."""


class EngineBench(Bench):
    """As `Bench`, of ONNX files whose engines the device builds. It is told of every form by `sent`."""

    def __init__(
        self, transport: Transport, device: Device, facts: Facts, options: Options, *,
        say: Callable[[str], None] = lambda text: None, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        super().__init__(transport, (), options, clock=clock)
        self.engines = Engines(transport, device, facts, say=say)
        self._facts, self._incoming = facts, f"{device.root}/incoming"
        self._sent: dict[str, tuple[Path, Path]] = {}
        self._targets: dict[str, Target] = {}
        self._built: dict[str, Engine] = {}
        self._warnings: dict[str, None] = {}

    def sent(self, form: Form, target: Target, model: Path, inputs: Path) -> None:
        """As `Bench.sent`."""
        self._sent[form.path] = (model, inputs)
        self._targets[form.path] = target

    def engine(self, form: Form) -> Engine:
        """The engine of a form, built if it is not there. Raises: as `Engines.build`."""
        if form.path not in self._built:
            self.ready(form)
        return self._built[form.path]

    def ready(self, form: Form) -> None:
        """As `Bench.ready`: there is an engine, and it is among those that were used last."""
        model, _ = self._sent[form.path]
        found = self.engines.build(model, form.path, self._targets[form.path].dla_core)
        kept = self._built.get(form.path)
        self._built[form.path] = found if kept is None or found.built is not None else kept

    def version(self) -> tuple[str, Conditions]:
        """As `Bench.version`."""
        now = self._state(0)
        version = self.engines.version
        return version, Conditions(
            runtime=self.options.runtime, runtime_version=version, threads=self.options.threads,
            governor=now.governor, power_mode=self._facts.power_mode, temperature_start_c=now.temperature_c,
            load_average=now.load_average,
        )  # fmt: skip

    def _rounds(self, forms: Sequence[Form], plan: Plan, indices: Sequence[int]) -> Iterator[Round]:
        for form in forms:
            self.ready(form)  # what heats the device comes before the first round
        for index in indices:
            began = self._state(index)
            order = random.Random(f"{plan.seed} {index}").sample(list(forms), len(forms))
            readings = tuple(self._reading(form, plan) for form in order)
            yield Round(
                index=index, readings=readings, at_s=began.at_s, temperature_c=began.temperature_c,
                load_average=began.load_average, throttled=began.throttled, governor=began.governor,
            )  # fmt: skip

    def _reading(self, form: Form, plan: Plan) -> Reading:
        calls, said = self._calls(form, max(1, math.ceil(plan.seconds)))
        kept = np.linspace(0, len(calls) - 1, min(len(calls), plan.calls_most)).round().astype(int)
        seconds = tuple(calls[i].latencyMs * 1e-3 for i in kept)
        return Reading(
            artifact=form.id, wall_s=seconds, cpu_s=seconds, load_s=load_seconds(said) or 0.0, first_call_s=0.0,
            warmup_calls=0, steady=not _UNSTABLE.search(said),
        )  # fmt: skip

    def _calls(self, form: Form, run_s: int) -> tuple[tuple[Call, ...], str]:
        """Every call of a fresh process after its warm-up, and what trtexec said."""
        path, version = f"{self._incoming}/times.json", self.engines.version
        words = time_words(version, self.engine(form).path, path, warm_ms=WARM_MS, run_s=run_s)
        said = self.engines.run(words, timeout_s=run_s + PROCESS_S, clear=path)
        self._warnings |= dict.fromkeys(Trtexec(version).parse(said, self.transport.name).warnings)
        return parse_times(self._fetch(path), version, self.transport.name, warm_ms=WARM_MS), said

    def peak_memory_bytes(self, form: Form) -> int | None:
        """None: trtexec does not tell."""
        return None

    def comparison(self, rounds: Sequence[Round], device: str, baseline: str, candidate: str) -> Comparison:
        """As `Bench.comparison`; trtexec's own warnings are among the remarks."""
        found = super().comparison(rounds, device, baseline, candidate)
        said = tuple(f"trtexec: {_VARIES.sub('', warning)}" for warning in self._warnings)
        return msgspec.structs.replace(found, remarks=(*found.remarks, *dict.fromkeys(said)))

    def outputs(self, form: Form, *, most: int = TRIED) -> tuple[np.ndarray, ...]:
        """What the engine gives for the first of the form's inputs, the sample first, in the file's order of outputs.

        Each batch is a process; there are `most`.

        Raises: MeasureError if an output is missing or of another size; as `Engines.run`.
        """
        model, inputs = self._sent[form.path]
        with np.load(inputs, allow_pickle=False) as archive:
            arrays = [archive[f"in_{i}"] for i in range(sum(name.startswith("in_") for name in archive.files))]
        names, gives = ends(model)
        parts = [
            self._call(form, dict(zip(names, (a[start : start + form.batch] for a in arrays), strict=True)))
            for start in range(0, min(len(arrays[0]) - form.batch, (most - 1) * form.batch) + 1, form.batch)
        ]
        if missing := [name for name in gives if any(name not in part for part in parts)]:
            raise MeasureError(f"{self.transport.name}: the engine gives no output {missing[0]}")
        return tuple(np.concatenate([part[name] for part in parts]) for name in gives)

    def vectors(self, form: Form) -> tuple[float, ...]:
        """As `Bench.vectors`: the host's own runtime of the same file is what it is held against."""
        with np.load(self._sent[form.path][1], allow_pickle=False) as archive:
            inputs = tuple(archive[f"in_{i}"] for i in range(sum(name.startswith("in_") for name in archive.files)))
        got = self.outputs(form)
        wanted = run_model("tensorrt", self._sent[form.path][0], tuple(a[: len(got[0])] for a in inputs))
        return tuple(float(np.abs(g - w).max(initial=0.0)) for g, w in zip(got, wanted, strict=True))

    def sustained(
        self, form: Form, for_s: float, *, on_window: Callable[[Window], None] = lambda window: None
    ) -> Sustained:
        """As `Bench.sustained`; the device's heat is not read meanwhile, nor its energy."""
        calls, _ = self._calls(form, max(1, round(for_s)))
        seconds: dict[int, list[float]] = defaultdict(list)
        for call in calls:
            seconds[int((call.startComputeMs - calls[0].startComputeMs) // 1000)].append(call.latencyMs * 1e-3)
        windows = [
            Window(
                at_s=float(at_s), p50_s=float(np.quantile(some, 0.5)), p99_s=float(np.quantile(some, 0.99)),
                calls=len(some),
            )
            for at_s, some in sorted(seconds.items())
        ]  # fmt: skip
        for window in windows:
            on_window(window)
        return sustained_of(windows)

    @property
    def shows_ops(self) -> bool:
        """Not as ops of the file: an engine's layers are what TensorRT fused of them."""
        return False

    def op_times(self, form: Form) -> tuple[OpTime, ...]:
        """As `Bench.op_times`, of the engine's layers, each with its precision where the engine tells it."""
        profile, layers = (f"{self._incoming}/{name}.json" for name in ("profile", "layers"))
        version, name = self.engines.version, self.transport.name
        words = profile_words(version, self.engine(form).path, profile, layers, run_s=PROFILE_S)
        Trtexec(version).parse(self.engines.run(words, clear=profile), name)
        return op_times(parse_profile(self._fetch(profile), name), parse_layers(self._fetch(layers), name))

    def _call(self, form: Form, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        version, path = self.engines.version, f"{self._incoming}/outputs.json"
        given = {name: f"{self._incoming}/in_{i}.bin" for i, name in enumerate(inputs)}
        words = output_words(version, self.engine(form).path, given, path)
        with scratch() as folder:
            for array, there in zip(inputs.values(), given.values(), strict=True):
                file = folder / Path(there).name
                file.write_bytes(_raw(array, version))
                self.transport.put(file, there, timeout_s=60 + array.nbytes / (32 << 10))
        said = self.engines.run(words, clear=path)
        if "&&&& PASSED" not in said:
            Trtexec(version).parse(said, self.transport.name)
        return parse_outputs(self._fetch(path), self.transport.name)

    def _fetch(self, path: str) -> bytes:
        with scratch() as folder:
            self.transport.get(path, folder / "file", timeout_s=300, limit_bytes=TIMES_BYTES)
            return (folder / "file").read_bytes()

    def _state(self, index: int) -> Round:
        """The state of the device now, as a round without readings."""
        wanted = [q for q in QUESTIONS if q.name in _STATE]
        more = (Question(name=name, words=("cat", f"/proc/{name}")) for name in ("uptime", "loadavg"))
        told = ask_all(self.transport, (*wanted, *more))
        zones = [celsius for _, celsius in parsers.parse_temperatures(told.get("temperatures", ""))]
        slowed = parsers.parse_throttled(
            told.get("vcgencmd", ""), told.get("throttling", ""), told.get("temperatures", "")
        )
        governors = parsers.parse_governors(told.get("governors", ""))
        return Round(
            index=index, readings=(), at_s=_first(told.get("uptime", "")), temperature_c=max(zones, default=None),
            load_average=_first(told.get("loadavg", "")), governor=" ".join(governors) or None,
            throttled=None if slowed is None else any(not word.endswith(" before") for word in slowed),
        )  # fmt: skip


def _raw(array: np.ndarray, version: str) -> bytes:
    """The numbers of an input as the engine takes them: before 10 TensorRT has no 64-bit integers."""
    narrow = array.dtype == np.int64 and numbers(version) < (10, 0)
    return np.ascontiguousarray(array.astype(np.int32) if narrow else array).tobytes()


def _first(text: str) -> float | None:
    found = re.match(r"\s*(\d{1,12}(?:\.\d{1,6})?)\b", text)
    return float(found[1]) if found else None
