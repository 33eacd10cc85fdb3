"""Measuring on one device through a vendor's program: a process per form and round, in random order, float among them.

What a program tells is in `runners/table.py`; what it does not tell is "not told" in every figure.
"""

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from edgekit.bench.program import Program, read_batches
from edgekit.bench.programs import BenchmarkModelProgram, CoreMlProgram, LitertProgram, XdputilProgram
from edgekit.bench.runners.timing import Timing, reading_of
from edgekit.bench.session import Bench, Form, Plan
from edgekit.bench.state import state_of
from edgekit.bench.sustained import sustained_of
from edgekit.bench.trtexec_program import TrtexecProgram
from edgekit.core.device import Device, Facts
from edgekit.core.measurement import (
    Comparison,
    Conditions,
    Measurement,
    OpTime,
    Options,
    Reading,
    Round,
    Sustained,
    Window,
)
from edgekit.core.model import TensorSpec
from edgekit.core.target import Target
from edgekit.devices.transport import Transport
from edgekit.formats.child import run_model
from edgekit.formats.vectors import read_vectors

TRIED = 3
"""Batches that a form is tried with."""
WINDOW_S = 10.0
COARSE = 0.005
"""Share of a time from which on the step that a program counts in is worth a word."""
_VARIES = re.compile(r", with coefficient of variance = [-+.\dinfae]{1,40}%")
"""What is another figure in each run of one warning of trtexec's."""
PROGRAMS: Mapping[str, Callable[..., Program]] = {
    "trtexec": TrtexecProgram,
    "benchmark_model": BenchmarkModelProgram,
    "benchmark_litert_model": LitertProgram,
    "coremltools": CoreMlProgram,
    "xdputil": XdputilProgram,
}


class ToolBench(Bench):
    """As `Bench`, of forms that a vendor's program runs. It is told of every form by `sent`."""

    def __init__(
        self, transport: Transport, device: Device, facts: Facts, options: Options, *,
        say: Callable[[str], None] = lambda text: None, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        super().__init__(transport, (), options, clock=clock)
        self.program = PROGRAMS[options.runtime](transport, device, facts, options, say=say)
        self._facts = facts
        self._sent: dict[str, tuple[Target, Path, Path]] = {}
        self._peaks: dict[str, int] = {}
        self._warnings: dict[str, None] = {}
        self._steps: dict[str, float] = {}

    def sent(self, form: Form, target: Target, model: Path, inputs: Path, takes: tuple[TensorSpec, ...] = ()) -> None:
        """As `Bench.sent`."""
        self._sent[form.path] = (target, model, inputs)
        self.program.sent(form, target, model, inputs, takes)

    def ready(self, form: Form) -> None:
        """As `Bench.ready`."""
        self.program.ready(form)

    def version(self) -> tuple[str, Conditions]:
        """As `Bench.version`."""
        now = state_of(self.transport, 0)
        version = self.program.version
        return version, Conditions(
            runtime=self.options.runtime, runtime_version=version, threads=self.options.threads,
            cores=self.program.cores, governor=now.governor, power_mode=self._facts.power_mode,
            frequency_khz=now.frequency_khz, temperature_start_c=now.temperature_c, load_average=now.load_average,
        )  # fmt: skip

    def _rounds(self, forms: Sequence[Form], plan: Plan, indices: Sequence[int]) -> Iterator[Round]:
        for form in forms:
            self.ready(form)  # what heats the device comes before the first round
        for index in indices:
            began = state_of(self.transport, index)
            order = random.Random(f"{plan.seed} {index}").sample(list(forms), len(forms))
            readings = tuple(self.reading(form, plan, index) for form in order)
            yield msgspec.structs.replace(began, readings=readings)

    def reading(self, form: Form, plan: Plan, index: int) -> Reading:
        """As `Bench.reading`."""
        timing = self.program.time(form, plan)
        self._note(form, timing)
        return reading_of(timing, form.id, calls_most=plan.calls_most)

    def peak_memory_bytes(self, form: Form) -> int | None:
        """As `Bench.peak_memory_bytes`; None where the program does not tell."""
        return self._peaks.get(form.id) or self.program.peak_memory_bytes(form)

    def measurement(
        self, rounds: Sequence[Round], form: Form, *, device: str, conditions: Conditions,
        peak_memory_bytes: int | None = None, size_bytes: int | None = None,
    ) -> Measurement:  # fmt: skip
        """As `Bench.measurement`, with what of the chip ran the form."""
        return super().measurement(
            rounds, form, device=device, peak_memory_bytes=peak_memory_bytes, size_bytes=size_bytes,
            conditions=msgspec.structs.replace(conditions, units=self.program.units(form)),
        )  # fmt: skip

    def comparison(self, rounds: Sequence[Round], device: str, baseline: str, candidate: str) -> Comparison:
        """As `Bench.comparison`; what the program says of its figures, and does not say, is among the remarks."""
        found = super().comparison(rounds, device, baseline, candidate)
        return msgspec.structs.replace(found, remarks=(*found.remarks, *self.said_of(rounds, (baseline, candidate))))

    def said_of(self, rounds: Sequence[Round], artifacts: Sequence[str]) -> tuple[str, ...]:
        """What the program says, and does not say, of its figures for these."""
        name = self.options.runtime
        lines = [f"{name} tells no CPU time, so whether other programs took part is not known"]
        seen = [r for q in rounds for r in q.readings if r.artifact in artifacts and r.artifact in self._steps]
        share = max((self._steps[r.artifact] / r.wall_s[0] for r in seen), default=0.0)
        if share > COARSE:
            step_s = max(self._steps.values())
            lines.append(f"{name} tells times in steps of {step_s * 1e6:g} µs, {share:.0%} of the shortest one here")
        return (*lines, *(f"{name}: {_VARIES.sub('', warning)}" for warning in self._warnings))

    def outputs(self, form: Form, *, most: int = TRIED, given: Path | None = None) -> tuple[np.ndarray, ...]:
        """What the device gives for the first of the form's inputs, the sample first, in the file's order of outputs.

        Each batch is a process; there are `most`. `given` are test vectors of other free sizes in place of the form's.

        Raises: MeasureError if the program does not tell, or an output is missing or of another size.
        """
        target, model, inputs = self._sent[form.path]
        parts = []
        batch = form.batch if given is None else read_vectors(given).rows[0]
        for ins, made in read_batches(given or inputs, batch)[:most]:
            wanted = made or run_model(target.format, model, ins, rows=[len(array) for array in ins])
            edges = [(array.shape, str(array.dtype)) for array in wanted]
            parts.append(self.program.call(form, ins, edges))
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))

    def vectors(self, form: Form) -> tuple[float, ...]:
        """As `Bench.vectors`: the host's own runtime of the same file is what it is held against."""
        target, model, inputs = self._sent[form.path]
        got = self.outputs(form)
        calls = read_batches(inputs, form.batch)[:TRIED]
        given = tuple(np.concatenate(arrays) for arrays in zip(*(ins for ins, _ in calls), strict=True))
        wanted = run_model(target.format, model, given, rows=[len(array) for array in calls[0][0]])
        return tuple(float(np.abs(g - w).max(initial=0.0)) for g, w in zip(got, wanted, strict=True))

    def sustained(
        self, form: Form, for_s: float, *, on_window: Callable[[Window], None] = lambda window: None
    ) -> Sustained:
        """As `Bench.sustained`; of a program that tells no moments each window is a process, without a warm-up."""
        if windows := self.program.windows(form, for_s):
            for window in windows:
                on_window(window)
            return sustained_of(windows)
        found: list[Window] = []
        began = self._clock()
        plan = Plan(seconds=min(WINDOW_S, for_s), warmup_s=0.0)
        while not found or self._clock() - began < for_s:
            timing, now = self.program.time(form, plan), state_of(self.transport, len(found))
            found.append(Window(
                at_s=self._clock() - began, p50_s=timing.typical_s, p99_s=timing.p99_s, calls=timing.calls,
                temperature_c=now.temperature_c, frequency_khz=now.frequency_khz, load_average=now.load_average,
                throttled=now.throttled,
            ))  # fmt: skip
            on_window(found[-1])
        return msgspec.structs.replace(sustained_of(found), between="the start of a process")

    @property
    def shows_ops(self) -> bool:
        """Not as ops of the file: what such a program lists is what its runtime made of them."""
        return False

    def op_times(self, form: Form) -> tuple[OpTime, ...]:
        """As `Bench.op_times`, where the program lists any."""
        return self.program.op_times(form)

    def _note(self, form: Form, timing: Timing) -> None:
        self._warnings |= dict.fromkeys(timing.warnings)
        if timing.peak_memory_bytes is not None:
            self._peaks[form.id] = max(timing.peak_memory_bytes, self._peaks.get(form.id, 0))
        if timing.step_s is not None:
            self._steps[form.id] = timing.step_s
