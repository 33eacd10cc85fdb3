"""The files that trtexec writes: times of calls, times of layers, outputs, what each layer is. Pure.

Their shapes are those of sampleReporting.cpp and of IEngineInspector, tags 8.2.1 to v11.1. Names in some of them are
written as they are, quotes and all, so that they are no JSON. Fields that are not known are passed over.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from edgekit.bench.runners.trtexec_options import numbers
from edgekit.core.measurement import OpTime
from edgekit.core.noun import Noun
from edgekit.devices.said import readable
from edgekit.errors import MeasureError

MOST_VALUES = 1 << 26
# Every repetition is bounded, or ends where the next object begins: a device may write anything.
_LAYER = re.compile(r'\{ ?"name" : "(.{0,2000}?)", "timeMs" : ([^,{}]{1,40}), "averageMs" : ([^,{}]{1,40})[^{}]*\}')
_OUTPUT = re.compile(r'\{ ?"name" : "(.{0,2000}?)", "dimensions" : "([\dx]{0,200})", "values" : \[([^\]{}]*)\] ?\}')
_PRECISIONS = {"fp32": "fp32", "float": "fp32", "fp16": "fp16", "half": "fp16", "bf16": "bf16", "int8": "int8"}


class Call(msgspec.Struct, frozen=True):
    """A call's times as trtexec writes them, in ms; the last is what a caller waits, transfers in it."""

    startComputeMs: float  # noqa: N815
    latencyMs: float  # noqa: N815


class EngineLayer(Noun, frozen=True, kw_only=True):
    """A layer of an engine; `precision` is that of its first output, None where the inspector does not say."""

    name: str
    kind: str = ""
    precision: str | None = None


def parse_times(raw: bytes, version: str, device: str, *, warm_ms: int) -> tuple[Call, ...]:
    """The calls after the warm-up, in order. Up to 8.4 the file has those of the warm-up too.

    Raises: MeasureError if the file is none, or a time is no time.
    """
    try:
        calls = msgspec.json.decode(raw, type=tuple[Call, ...])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise MeasureError(f"{device}: trtexec's times are no list of calls: {readable(raw[:200])}") from None
    if numbers(version) < (8, 5):
        calls = tuple(call for call in calls if call.startComputeMs >= warm_ms)
    if not calls:
        raise MeasureError(f"{device}: trtexec's times hold no call after the warm-up")
    if any(not 0 < call.latencyMs < math.inf for call in calls):
        raise MeasureError(f"{device}: trtexec's times hold a call that took no time")
    return calls


def parse_profile(raw: bytes, device: str) -> dict[str, float]:
    """Seconds of a call by the layer's name. Raises: MeasureError if the file names none, or a time is no time."""
    found: dict[str, float] = {}
    for name, _, average in _LAYER.findall(raw.decode(errors="replace")):
        try:
            seconds = float(average) * 1e-3
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            raise MeasureError(f"{device}: trtexec's profile gives layer {readable(name, 80)} no time")
        found[name] = found.get(name, 0.0) + seconds
    if not found:
        raise MeasureError(f"{device}: trtexec's profile has no layer: {readable(raw[:200])}")
    return found


def parse_outputs(raw: bytes, device: str) -> dict[str, np.ndarray]:
    """The outputs of a call by name; their numbers were written with six digits.

    Raises: MeasureError if the file has none, or another count of numbers than its shape says.
    """
    found: dict[str, np.ndarray] = {}
    for name, dimensions, values in _OUTPUT.findall(raw.decode(errors="replace")):
        shape = tuple(int(size) for size in dimensions.split("x") if size)
        try:
            array = np.array([float(value) for value in values.split(",") if value.strip()], np.float64)
        except ValueError:
            raise MeasureError(f"{device}: trtexec's output {readable(name, 80)} is not of numbers") from None
        if math.prod(shape) > MOST_VALUES or array.size != math.prod(shape):
            raise MeasureError(
                f"{device}: trtexec's output {readable(name, 80)} has {array.size} numbers for shape {shape}"
            )
        found[name] = array.reshape(shape)
    if not found:
        raise MeasureError(f"{device}: trtexec wrote no outputs: {readable(raw[:200])}")
    return found


def parse_layers(raw: bytes, device: str) -> tuple[EngineLayer, ...]:
    """The layers of an engine; names alone where it was built to tell no more.

    Raises: MeasureError if the file is not the inspector's.
    """
    try:
        layers = msgspec.json.decode(raw)["Layers"]
        return tuple(_layer(entry) for entry in layers)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise MeasureError(f"{device}: trtexec's layer list is not the inspector's: {readable(raw[:200])}") from None


def op_times(seconds: Mapping[str, float], layers: tuple[EngineLayer, ...]) -> tuple[OpTime, ...]:
    """The layers of an engine as ops, the longest first; what a layer is comes with its precision."""
    known = {layer.name: layer for layer in layers}
    whole = sum(seconds.values()) or 1.0
    found = [
        OpTime(name=readable(name, 200), op=_what(known.get(name)), seconds=took, share=took / whole)
        for name, took in seconds.items()
    ]
    return tuple(sorted(found, key=lambda op: -op.seconds))


def _what(layer: EngineLayer | None) -> str:
    words = (layer.kind or "layer", layer.precision) if layer else ("layer", None)
    return readable(" ".join(word for word in words if word), 60)


def _layer(entry: Any) -> EngineLayer:
    if isinstance(entry, str):
        return EngineLayer(name=entry)
    outputs = entry.get("Outputs") or [{}]
    kind = entry.get("ParameterType") or entry.get("LayerType") or ""
    return EngineLayer(name=str(entry["Name"]), kind=str(kind), precision=_precision(outputs[0]))


def _precision(output: dict[str, Any]) -> str | None:
    """Of "Thirty-two wide channel vectorized row major Int8 format", or of "Half": it has a field of its own in 11."""
    said = str(output.get("DataType") or output.get("Datatype") or output.get("Format/Datatype") or "").lower()
    return next((_PRECISIONS[word] for word in re.findall(r"\w+", said) if word in _PRECISIONS), None)
