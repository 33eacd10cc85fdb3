"""The vendors' programs that are a file or a package of the device: where each is, its version, and what is its own."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, ClassVar

import numpy as np

from edgekit.bench.program import START_S, Edge, IncomparableError, Program
from edgekit.bench.runners.benchmark_litert_model import MODULE, BenchmarkLitertModel
from edgekit.bench.runners.benchmark_model import BenchmarkModel
from edgekit.bench.runners.coreml import CoreMl, plan_words_of
from edgekit.bench.runners.xdputil import Xdputil, from_dpu, parse_dumped, parse_edges, to_dpu
from edgekit.bench.session import Form
from edgekit.devices.connect import python_of
from edgekit.devices.prepare import runtime_environment
from edgekit.devices.tools import cores_for, find_program, taskset_words
from edgekit.errors import MeasureError


class BenchmarkModelProgram(Program):
    """LiteRT's own tool, a file of the device: known by its content, since it tells no version."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(BenchmarkModel(), *given, **more)
        found = find_program(self.transport, self.device, self.facts, "benchmark_model", threads=self.options.threads)
        self.words, self.cores = (*taskset_words(found.cores), found.path), found.cores
        self.version = f"build {found.build}"


class LitertProgram(Program):
    """LiteRT's benchmark in its Python package."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(BenchmarkLitertModel(), *given, **more)
        self.cores = cores_for(self.transport, self.device, self.options.threads)
        self.words = (*taskset_words(self.cores), *_python_words(self), "-m", MODULE)
        self.version = dict(self.facts.runtimes).get("litert", "not told")


class CoreMlProgram(Program):
    """coremltools in the Python of a Mac."""

    float_error: ClassVar[float] = 0.02  # the neural engine and the GPU compute in float16

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(CoreMl(), *given, **more)
        self._placed: dict[str, str] = {}
        self.words = _python_words(self)
        told = dict(self.facts.runtimes).get("coremltools", "not told")
        self.version = f"{told}, {self.facts.os_id} {self.facts.os_version}".rstrip(", ")

    def units(self, form: Form) -> str | None:
        """As `Program.units`: what the target allows, and where Core ML puts the ops, from macOS 14.4 on."""
        allowed = self._units(form) or "all"
        if form.path not in self._placed:
            try:
                said = self.run(CoreMl().plan_words(self.job(form), self.words), timeout_s=START_S)
                self._placed[form.path] = plan_words_of(said, self.transport.name)
            except MeasureError:
                self._placed[form.path] = ""
        return ": ".join(words for words in (allowed, self._placed[form.path]) if words)


class XdputilProgram(Program):
    """AMD's tool on a board with a DPU."""

    hides: ClassVar[str] = "shows no values of its layers: they stay in the DPU"

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(Xdputil(), *given, **more)
        found = find_program(self.transport, self.device, self.facts, "xdputil", threads=self.options.threads)
        self.words = (found.path,)
        self.version = self.facts.vitis_ai or f"build {found.build}"

    def units(self, form: Form) -> str | None:
        """As `Program.units`: the DPU that is loaded."""
        return self.facts.dpu

    @property
    def computes(self) -> bool:
        """As `Program.computes`."""
        return True

    def call(self, form: Form, inputs: Sequence[np.ndarray], wanted: Sequence[Edge]) -> tuple[np.ndarray, ...]:
        """As `Program.call`: int8 in and out, by the scales that the .xmodel has for its edges.

        Raises: IncomparableError too if what runs on the DPU has other inputs or outputs than the model.
        """
        name = self.transport.name
        edges = parse_edges(self.run((*self.words, "xmodel", form.path, "-l"), timeout_s=START_S), name)
        if len(edges.inputs) != len(inputs) or len(edges.outputs) != 1 or len(wanted) != 1 or len(inputs) != 1:
            raise IncomparableError(f"{name}: only models of one input and one output are compared on a DPU")
        [(path, _)] = self.brought([to_dpu(inputs[0], edges.inputs[0])])
        home = self.transport.run(("pwd",), timeout_s=60).stdout.decode(errors="replace").strip()
        words = (*self.words, "run", *(str(PurePosixPath(home, each)) for each in (form.path, path)))
        [dumped] = parse_dumped(self.run(words, timeout_s=START_S, within=self.incoming), name)[:1]
        try:
            return (from_dpu(self.fetch(f"{self.incoming}/{dumped}"), edges.outputs[0], wanted[0][0]),)
        except ValueError as error:
            raise IncomparableError(f"{name}: its outputs cannot be compared: {error}") from None


def _python_words(program: Program) -> tuple[str, ...]:
    """The words that start the device's Python, which finds what was brought there."""
    environment = runtime_environment(program.transport, program.device)
    return ("env", *(f"{key}={value}" for key, value in environment), python_of(program.device))
