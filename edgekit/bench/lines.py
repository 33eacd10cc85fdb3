"""What the agent says, line by line. The device is not trusted to write lines that fit: each is checked."""

import base64
import binascii
import zlib
from typing import Annotated, Literal

import msgspec

from edgekit.core.noun import Noun
from edgekit.devices.said import readable
from edgekit.errors import MeasureError

AGENT_SCHEMA = 1
GRAPH_LIMIT_BYTES = 64 << 20

Seconds = Annotated[float, msgspec.Meta(ge=0.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]


class State(Noun, frozen=True, kw_only=True):
    """The state of a device at a moment."""

    temperature_c: float | None = None
    frequency_khz: int | None = None
    load_average: float | None = None
    throttled: bool | None = None
    governor: str | None = None
    cores: tuple[int, ...] | None = None


class ReadingLine(Noun, frozen=True, kw_only=True):
    """As `core.measurement.Reading`."""

    artifact: str
    wall_s: Annotated[tuple[Positive, ...], msgspec.Meta(min_length=1)]
    cpu_s: Annotated[tuple[Seconds, ...], msgspec.Meta(min_length=1)]
    load_s: Seconds
    first_call_s: Seconds
    warmup_calls: int
    steady: bool


class RoundLine(Noun, frozen=True, kw_only=True):
    """As `core.measurement.Round`."""

    index: int
    readings: tuple[ReadingLine, ...]
    at_s: float | None = None
    temperature_c: float | None = None
    frequency_khz: int | None = None
    load_average: float | None = None
    throttled: bool | None = None
    governor: str | None = None


class NodeLine(Noun, frozen=True, kw_only=True):
    """A node of a compiled graph in a profile: microseconds of a call, and {dtype: shape} of each output."""

    name: str
    op: str | None = None
    us: Seconds
    outputs: tuple[dict[str, tuple[int, ...]], ...] = ()


class CompiledLine(Noun, frozen=True, kw_only=True):
    """A form that the runtime compiled: its graph (zlib, base64) and its nodes in a profile.

    `whole_us` is a call without profiling; None if only the graph was asked for.
    """

    id: str
    graph: str
    nodes: tuple[NodeLine, ...]
    whole_us: Seconds | None = None


class FarmedLine(Noun, frozen=True, kw_only=True):
    """An op of a farm: seconds of its two files round by round, or why there are none.

    `index` counts within the form's farm.
    """

    id: str
    index: int
    once: tuple[Seconds, ...] = ()
    often: tuple[Seconds, ...] = ()
    error: str | None = None


class WindowLine(Noun, frozen=True, kw_only=True):
    """As `core.measurement.Window`."""

    at_s: Positive
    p50_s: Positive
    p99_s: Positive
    calls: Annotated[int, msgspec.Meta(ge=1)]
    temperature_c: float | None = None
    frequency_khz: int | None = None
    load_average: float | None = None
    throttled: bool | None = None


class EnergyLine(Noun, frozen=True, kw_only=True):
    """Joules of all `calls` by the device's own `sensor`; None where it has none."""

    joules: Seconds | None
    sensor: str | None
    calls: int


class InsideLine(Noun, frozen=True, kw_only=True):
    """What a form has at one tap: (places, units), zlib, base64."""

    index: int
    dtype: Literal["int8", "uint8", "int16", "uint16", "int32", "int64", "bool", "float16", "float32", "float64"]
    shape: tuple[Annotated[int, msgspec.Meta(ge=0)], Annotated[int, msgspec.Meta(ge=0)]]
    data: str


class Line(Noun, frozen=True, kw_only=True):
    """Any line of the agent."""

    version: str | None = None
    python: str | None = None
    state: State | None = None
    round: RoundLine | None = None
    memory: int | None = None
    compiled: CompiledLine | None = None
    farmed: FarmedLine | None = None
    vectors: tuple[float, ...] | None = None
    inside: InsideLine | None = None
    window: WindowLine | None = None
    energy: EnergyLine | None = None
    done: bool | None = None
    error: str | None = None


def decode(raw: bytes, device: str) -> Line:
    """The line that `raw` is.

    Raises: MeasureError with what the device said instead.
    """
    try:
        return msgspec.json.decode(raw, type=Line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        said = readable(raw[:200].decode(errors="replace"))
        raise MeasureError(f"{device}: the agent said {said!r}, which is no line of its own: {error}") from None


def packed(data: bytes) -> str:
    """Bytes as text for a line."""
    return base64.b64encode(zlib.compress(data)).decode()


def unpacked(text: str, device: str) -> bytes:
    """The bytes that `packed`, here or on a device, made `text` of; bounded.

    Raises: MeasureError.

    >>> unpacked(packed(b"graph"), "pi5")
    b'graph'
    """
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.b64decode(text, validate=True), GRAPH_LIMIT_BYTES)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise MeasureError(f"{device}: the agent sent what cannot be unpacked: {error}") from None
    if not inflate.eof:
        raise MeasureError(f"{device}: the agent sent what is cut short or above {GRAPH_LIMIT_BYTES} bytes")
    return data
