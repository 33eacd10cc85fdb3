"""AMD's xdputil on a Vitis AI board: frames a second of an .xmodel on its DPU, no single calls. Never run on one here.

The text is that of performance_test.hpp, and of usefultools/python/xdputil_component, in the Vitis AI repository.
"""

import re

import msgspec
import numpy as np

from edgekit.bench.runners.timing import Job, Tells, Timing, number
from edgekit.core.noun import Noun
from edgekit.devices.said import readable
from edgekit.errors import MeasureError

_NUMBER = r"([-+.\deE]{1,40}|[-+]?nan|[-+]?inf)"
_FRAMES = re.compile(rf"FPS= ?{_NUMBER} number_of_frames= ?{_NUMBER} time= ?{_NUMBER} seconds")
"""Both are floats of six digits: from a million frames on with an exponent."""
_UNMATCHED = re.compile(r"model_fingerprint (0x[\da-fA-F]+) is un-?matched with actual dpu_fingerprint (0x[\da-fA-F]+)")
_COMPLAINT = re.compile(
    r"^(?:F\d{4} .{1,400}|\w{1,40}(?:Error|Exception): .{1,400}|Test Failed.{0,100}|.{1,200} does not exist)$",
    re.MULTILINE,
)
_DUMPED = re.compile(r"^dump output to {1,9}(\d{1,6}\.\S.{0,400}\.bin)$", re.MULTILINE)


class Edge(Noun, frozen=True, kw_only=True):
    """An input or an output of what runs on the DPU: int8 numbers of 2 ** -fixpos each, channels last."""

    name: str
    shape: tuple[int, ...]
    fixpos: int


class Edges(Noun, frozen=True, kw_only=True):
    """The inputs and the outputs of the one part of an .xmodel that runs on the DPU."""

    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]


class Xdputil:
    """The mean time of a frame; with several threads the frames overlap, and it is the inverse of their rate."""

    name = "xdputil"
    tells = Tells(times="mean", more=("outputs",), least_s=2.0)

    def command(self, job: Job, program: tuple[str, ...]) -> tuple[str, ...]:
        """As `Runner.command`: for how long is said by its environment, a minute if it is not.

        >>> Xdputil().command(Job(model="m.xmodel", run_s=2), ("xdputil",))
        ('env', 'SLEEP_MS=2000', 'xdputil', 'benchmark', 'm.xmodel', '1')
        """
        words = (f"SLEEP_MS={round(job.run_s * 1000)}", *program, "benchmark", job.model, str(job.threads))
        return ("env", *words)

    def parse(self, said: str, device: str) -> Timing:
        """As `Runner.parse`."""
        _check_fingerprint(said, device)
        told = [tuple(number(text) for text in found) for found in _FRAMES.findall(said)]
        if not told or "Test Failed" in said:
            why = "; ".join(_COMPLAINT.findall(said)) or said[-400:]
            raise MeasureError(f"{device}: xdputil gave no rate: {readable(why) or 'it said nothing'}")
        fps, frames, seconds = told[-1]
        if fps is None or frames is None or seconds is None:
            raise MeasureError(
                f"{device}: xdputil gave a rate that is none: {readable(str(_FRAMES.findall(said)[-1]))}"
            )
        return Timing(calls=round(frames), mean_s=seconds / frames)


def parse_edges(said: str, device: str) -> Edges:
    """What runs on the DPU, of `xdputil xmodel FILE -l`.

    Raises: MeasureError if that lists no part, or several, or no JSON.
    """
    _check_fingerprint(said, device)
    start = said.find("{")
    try:
        listed = msgspec.json.decode(said[start : said.rfind("}") + 1] if start >= 0 else "", type=_Listed)
    except (msgspec.DecodeError, RecursionError):
        raise MeasureError(f"{device}: xdputil lists no parts of the model: {readable(said[-400:])}") from None
    found = [part for part in listed.subgraphs if part.device == "DPU"]
    if len(found) != 1:
        raise MeasureError(f"{device}: the model has {len(found)} parts for the DPU, want 1")
    return Edges(inputs=tuple(map(_edge, found[0].input_tensor)), outputs=tuple(map(_edge, found[0].output_tensor)))


def parse_dumped(said: str, device: str) -> tuple[str, ...]:
    """The files that `xdputil run` wrote its outputs to, in its words. Raises: MeasureError if it wrote none."""
    _check_fingerprint(said, device)
    found = tuple(_DUMPED.findall(said))
    if not found:
        why = "; ".join(_COMPLAINT.findall(said)) or said[-400:]
        raise MeasureError(f"{device}: xdputil wrote no outputs: {readable(why) or 'it said nothing'}")
    return found


def to_dpu(array: np.ndarray, edge: Edge) -> np.ndarray:
    """Numbers as the DPU takes them, channels last.

    >>> edge = Edge(name="x", shape=(1, 1, 2, 3), fixpos=2)
    >>> to_dpu(np.arange(6.0).reshape(1, 3, 1, 2), edge).tolist()
    [[[[0, 8, 16], [4, 12, 20]]]]
    """
    last = array.transpose(0, *range(2, array.ndim), 1) if array.ndim > 2 else array
    return np.ascontiguousarray(np.clip(np.rint(last * 2.0**edge.fixpos), -128, 127).astype(np.int8))


def from_dpu(raw: bytes, edge: Edge, shape: tuple[int, ...]) -> np.ndarray:
    """What the DPU gave, as numbers in torch's layout, of the shape that the model's output has.

    Raises: ValueError if it is of another shape.
    """
    last = (shape[0], *shape[2:], shape[1]) if len(shape) > 2 else shape
    found = np.frombuffer(raw, np.int8)
    squeezed = tuple(size for size in edge.shape if size > 1)
    if squeezed != tuple(size for size in last if size > 1) or found.size != int(np.prod(last)):
        raise ValueError(f"the DPU gives {edge.shape} ({found.size} numbers), the model {shape}")
    values = found.reshape(last).astype(np.float32) * np.float32(2.0**-edge.fixpos)
    return values.transpose(0, values.ndim - 1, *range(1, values.ndim - 1)) if values.ndim > 2 else values


def _check_fingerprint(said: str, device: str) -> None:
    if found := _UNMATCHED.search(said):
        raise MeasureError(
            f"{device}: the model is compiled for DPU {found[1]}, the device has {found[2]}: compile it for that"
        )


def _edge(tensor: "_Tensor") -> Edge:
    return Edge(name=tensor.name, shape=tensor.shape, fixpos=tensor.fixpos)


class _Tensor(msgspec.Struct):
    name: str
    shape: tuple[int, ...]
    fixpos: int


class _Part(msgspec.Struct):
    device: str = ""
    input_tensor: tuple[_Tensor, ...] = ()
    output_tensor: tuple[_Tensor, ...] = ()


class _Listed(msgspec.Struct):
    subgraphs: tuple[_Part, ...]
