"""What trtexec is told, for the TensorRT that a device has: to build an engine, to time one, to run one. Pure.

What is written here was never run on a Jetson: it follows trtexec's own sources, option by option.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from edgekit.bench.runners.trtexec_options import check_legal, numbers
from edgekit.core.model import TensorSpec, example_sizes, free_sizes
from edgekit.core.noun import Noun
from edgekit.errors import TargetError

WORKSPACE_MIB = 1024
"""Scratch memory that an engine may take; 8.2 would give it 16 MiB, later ones all that the GPU has."""
ITERATIONS = 10
DLA_LAST, DLA_AGAIN = "10.7", "11.4.1"
"""The last TensorRT with the DLA, and the one in which it came back, on AGX Orin."""
_NAME = re.compile(r"[\w./-]+")

Transfers = Literal["timed", "left out"]


class EngineBuild(Noun, frozen=True, kw_only=True):
    """An engine to be built: paths of the device, and the precisions beside fp32 that the ONNX file holds.

    `dla_core` is the DLA that runs it, with what that cannot hold left to the GPU; None: the GPU runs all. `inputs` are
    those of the file, where sizes of some are free: the engine takes all within their bounds, and is tuned for the
    example's.
    """

    onnx: str
    engine: str
    timing_cache: str
    precisions: tuple[str, ...] = ()
    workspace_mib: int = WORKSPACE_MIB
    dla_core: int | None = None
    inputs: tuple[TensorSpec, ...] = ()


def build_words(version: str, build: EngineBuild, program: str = "trtexec") -> tuple[str, ...]:
    """Builds and saves an engine, and ends without running it.

    From 10.0 on the types are those of the file: strong typing, the only one since 11.0 (weak typing is deprecated
    since 10.12). Before that, and for a DLA, flags say what may be used besides fp32.

    Raises: TargetError for a version that is not known, or that has no DLA where one is asked for.

    >>> build_words("8.2", EngineBuild(onnx="m.onnx", engine="m.engine", timing_cache="t", precisions=("int8",)))[4:]
    ('--profilingVerbosity=detailed', '--workspace=1024', '--buildOnly', '--int8')
    """
    at = numbers(version)
    memory = "--workspace=" if at < (8, 4) else "--memPoolSize=workspace:"
    words = (
        program, f"--onnx={build.onnx}", f"--saveEngine={build.engine}", f"--timingCacheFile={build.timing_cache}",
        "--profilingVerbosity=detailed", f"{memory}{build.workspace_mib}",
        "--buildOnly" if at < (8, 6) else "--skipInference",
        *_typing(version, build), *_dla(version, build.dla_core), *_bounds(build.inputs),
    )  # fmt: skip
    return check_legal(words, version)


def time_words(
    version: str, engine: str, times: str, *, warm_ms: int, run_s: int, transfers: Transfers = "timed",
    program: str = "trtexec", inputs: Sequence[TensorSpec] = (),
) -> tuple[str, ...]:  # fmt: skip
    """Loads an engine, calls it for `run_s` after `warm_ms`, and writes every call's times to `times`.

    In every version: the host spins while it waits, so that it does not go to sleep in between; no CUDA graph; and
    copying to and from the GPU counts, unless it is left out. The defaults of 11 are others than those before. Where
    sizes of `inputs` are free, they are the example's.
    """
    new = numbers(version) >= (11, 0)
    copies = ("--includeDataTransfers",) if transfers == "timed" else ()
    same = ("--noCudaGraph", *copies) if new else ("--useSpinWait", *(() if copies else ("--noDataTransfers",)))
    words = (
        program, f"--loadEngine={engine}", f"--exportTimes={times}", f"--warmUp={warm_ms}", f"--duration={run_s}",
        f"--iterations={ITERATIONS}", *same, *_sizes(inputs, example_sizes(inputs)),
    )  # fmt: skip
    return check_legal(words, version)


def profile_words(
    version: str, engine: str, profile: str, layers: str, *, run_s: int, program: str = "trtexec",
    inputs: Sequence[TensorSpec] = (),
) -> tuple[str, ...]:  # fmt: skip
    """Loads an engine and writes the time of each of its layers to `profile`, and what each is to `layers`."""
    apart = () if numbers(version) >= (11, 0) else ("--separateProfileRun",)
    words = (
        program, f"--loadEngine={engine}", f"--exportProfile={profile}", f"--exportLayerInfo={layers}",
        f"--duration={run_s}", f"--iterations={ITERATIONS}", *apart, *_sizes(inputs, example_sizes(inputs)),
    )  # fmt: skip
    return check_legal(words, version)


def output_words(
    version: str, engine: str, inputs: Mapping[str, str], outputs: str, *, program: str = "trtexec",
    shapes: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> tuple[str, ...]:  # fmt: skip
    """Loads an engine, calls it with the files of raw numbers in `inputs`, by name, and writes what it gives.

    `shapes` are those of the inputs of which some size is free.

    Raises: TargetError for an input whose name the option cannot hold.
    """
    if odd := [name for name in inputs if not _NAME.fullmatch(name)]:
        raise TargetError(f"input {odd[0]!r}: trtexec's --loadInputs takes letters, digits, '.', '_', '/' and '-'")
    if odd := [path for path in inputs.values() if "," in path]:
        raise TargetError(f"input file {odd[0]!r}: trtexec's --loadInputs takes no comma: give the device another root")
    given = ",".join(f"{name}:{path}" for name, path in inputs.items())
    words = (
        program, f"--loadEngine={engine}", f"--loadInputs={given}", f"--exportOutput={outputs}",
        "--warmUp=0", "--duration=0", "--iterations=1", *_shapes("--shapes", shapes),
    )  # fmt: skip
    return check_legal(words, version)


def has_dla(version: str) -> bool:
    """Whether a TensorRT runs anything on the DLA.

    >>> has_dla("8.6"), has_dla("10.13"), has_dla("11.4.1")
    (True, False, True)
    """
    at = numbers(version)
    return at[:2] <= numbers(DLA_LAST) or at >= numbers(DLA_AGAIN)


def _typing(version: str, build: EngineBuild) -> tuple[str, ...]:
    if numbers(version) >= (11, 0):
        return ()
    if numbers(version) >= (10, 0) and build.dla_core is None:
        return ("--stronglyTyped",)
    flags = tuple(f"--{precision}" for precision in build.precisions)
    return flags or (("--fp16",) if build.dla_core is not None else ())  # a DLA has no fp32


def _dla(version: str, core: int | None) -> tuple[str, ...]:
    if core is None:
        return ()
    if not has_dla(version):
        raise TargetError(f"TensorRT {version} has no DLA: {DLA_LAST} was the last before {DLA_AGAIN}")
    return (f"--useDLACore={core}", "--allowGPUFallback")


def _bounds(inputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """The least, the likeliest and the largest shapes that an engine takes; nothing where all are fixed."""
    axes = free_sizes(inputs).values()
    spans = {
        "--minShapes": {axis.name: axis.least for axis in axes}, "--optShapes": example_sizes(inputs),
        "--maxShapes": {axis.name: axis.most for axis in axes},
    }  # fmt: skip
    return tuple(word for option, sizes in spans.items() for word in _sizes(inputs, sizes, option))


def _sizes(inputs: Sequence[TensorSpec], sizes: Mapping[str, int], option: str = "--shapes") -> tuple[str, ...]:
    """The shapes of those inputs that have free sizes, at these."""
    return _shapes(option, {tensor.name: tensor.at(sizes) for tensor in inputs if tensor.free})


def _shapes(option: str, shapes: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
    """
    >>> _shapes("--shapes", {"in_0": (2, 16)})
    ('--shapes=in_0:2x16',)
    """
    said = ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())
    return (f"{option}={said}",) if said else ()
