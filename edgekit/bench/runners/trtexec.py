"""What NVIDIA's trtexec, 8.2 to 11, says when it builds an engine or times one. Pure; never run on a Jetson here.

The text is that of samples/common (sampleReporting.cpp, sampleEngines.cpp, logger) and of parsers/onnx in NVIDIA's
TensorRT repository, tags 8.2.1 to v11.1, and of users' threads that quote the builder.
"""

import math
import re
from collections.abc import Iterator

from edgekit.bench.runners.timing import Job, Tells, Timing
from edgekit.bench.runners.trtexec_words import time_words
from edgekit.core.noun import Noun
from edgekit.devices.said import complaint, readable
from edgekit.errors import ConvertError, MeasureError, StorageError

WARM_MS = 200
_NUMBER = r"([-+.\dinfae]{1,40})"
"""Every repetition here is bounded: a device may write megabytes without a newline."""
_PREFIX = re.compile(r"^\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] \[[IWEV]\] (?:\[TRT\] )?")
_ERROR = re.compile(r"^\[[^]]*\] \[E\] ")
_BANNER = re.compile(r"&&&& (RUNNING|PASSED|FAILED|WAIVED) TensorRT\.trtexec \[TensorRT v(\d{4,6})\]")
_PARSING = re.compile(r"While parsing node number \d{1,9} \[(\w{1,80})")
_NAMED = re.compile(r'^name: "(.{0,400})"', re.MULTILINE)
_IN_FUNCTION = re.compile(r"In function \w{1,200}:\s{1,9}\[\d{1,9}\] (.{1,400})")
_ASSERTED = re.compile(r"(?:Assertion failed: |Invalid Node - )(.{1,400})")
_BUILDER = re.compile(r"Error Code \d{1,9}: [\w ]{1,80}?\((.{1,2000})\)[ \r]{0,9}$", re.MULTILINE)
_NO_KERNEL = re.compile(r"Could not find any implementation for node (.+?)(?: due to insufficient workspace.*)?\.?$")
_NO_MEMORY = re.compile(r"OutOfMemory|out of memory|insufficient memory on requested size", re.IGNORECASE)


class Built(Noun, frozen=True, kw_only=True):
    """What building an engine took, by trtexec's own word; None is "not told". `warnings` are the library's."""

    version: str
    seconds: float | None = None
    size_bytes: int | None = None
    warnings: tuple[str, ...] = ()


class Trtexec:
    """The latency of a query from the host's side, transfers in it, no CUDA graph: alike in every version."""

    name = "trtexec"
    tells = Tells(times="calls", more=("load", "outputs", "ops"), least_s=1.0)

    def __init__(self, version: str) -> None:
        self.version = version

    def command(self, job: Job, program: tuple[str, ...]) -> tuple[str, ...]:
        """As `Runner.command`, of an engine. Every call's times go to a file beside it."""
        return time_words(
            self.version, job.model, times_beside(job.model), warm_ms=WARM_MS, run_s=max(1, math.ceil(job.run_s)),
            program=program[0],
        )  # fmt: skip

    def parse(self, said: str, device: str) -> Timing:
        """As `Runner.parse`."""
        lines = [_PREFIX.sub("", line) for line in said.splitlines()]
        version = _passed(said, lines, device)
        summary = _fields(lines, "Latency")
        calls = next((int(m[1]) for line in lines if (m := re.match(r"Timing trace has (\d{1,12}) queries", line))), 0)
        if not summary or calls < 1:
            raise MeasureError(f"{device}: trtexec passed and gave no latency: {readable(said[-300:])}")
        return Timing(
            calls=calls, mean_s=summary.get("mean"), p50_s=summary.get("median"), least_s=summary.get("min"),
            p90_s=summary.get("percentile(90%)"), p95_s=summary.get("percentile(95%)"),
            p99_s=summary.get("percentile(99%)"), load_s=load_seconds(said),
            version=version, warnings=tuple(_warnings(lines)),
        )  # fmt: skip


def times_beside(engine: str) -> str:
    """Where the times of an engine's calls are written."""
    return f"{engine}.times.json"


def parse_build(said: str, device: str) -> Built:
    """What trtexec said while it built an engine.

    Raises: ConvertError naming the op and the reason where there are some; StorageError if the disk is full.
    """
    lines = [_PREFIX.sub("", line) for line in said.splitlines()]
    banners = [found for line in lines if (found := _BANNER.match(line))]
    if not banners:
        raise ConvertError(f"{device}: trtexec built no engine: {readable(said[-400:]) or 'it said nothing'}")
    version = version_of(int(banners[0][2]))
    if banners[-1][1] not in ("PASSED", "WAIVED"):
        why = refusal_words(said)
        if isinstance(full := complaint(device, why), StorageError):
            raise full
        raise ConvertError(f"{device}: TensorRT {version} builds no engine: {why}")
    size = next((m for line in lines if (m := re.match(rf"Created engine with size: {_NUMBER} MiB", line))), None)
    seconds = next((m for line in lines if (m := re.match(rf"Engine built in {_NUMBER} sec", line))), None)
    mebibytes = _positive(size[1]) if size else None
    return Built(
        version=version, seconds=_positive(seconds[1]) if seconds else None,
        size_bytes=None if mebibytes is None else round(mebibytes * 2**20),
        warnings=tuple(dict.fromkeys(readable(_PREFIX.sub("", w), 160) for w in said.splitlines() if "] [W] " in w)),
    )  # fmt: skip


def refusal_words(said: str) -> str:
    """Why trtexec failed, in a line: the op and the parser's reason, or the layer and the builder's.

    >>> refusal_words('[E] [TRT] ModelImporter.cpp:771: While parsing node number 1 [Unique -> "y"]:\\n'
    ...     'ERROR: builtin_op_importers.cpp:5412 In function importFallbackPluginImporter:\\n[8] Plugin not found')
    'op Unique: Plugin not found'
    """
    if found := _PARSING.search(said):
        rest = said[found.end() :]
        named, why = _NAMED.search(rest), _IN_FUNCTION.search(rest) or _ASSERTED.search(rest)
        where = f" ({readable(named[1], 80)})" if named and named[1] else ""
        return f"op {found[1]}{where}: {readable(why[1], 200) if why else 'the parser gives no reason'}"
    reasons = [match[1] for match in _BUILDER.finditer(said)]
    kernel = next((found for why in reasons if (found := _NO_KERNEL.search(why))), None)
    if kernel:
        short = "too little memory for any kernel of" if _NO_MEMORY.search(said) else "no kernel for"
        return f"{short} layer {readable(kernel[1], 160)}"
    if _NO_MEMORY.search(said):
        return f"too little memory on the device: {readable(reasons[0] if reasons else said[-200:], 200)}"
    return readable("; ".join(reasons) or " ".join(_complaints(said)) or said[-500:])


def load_seconds(said: str) -> float | None:
    """How long it took to load the engine and make it ready; None if it was not told."""
    every = (_positive(number) for number in re.findall(rf"Engine (?:loaded|deserialized) in {_NUMBER} sec", said))
    return sum(seconds for seconds in every if seconds) or None


def version_of(number: int) -> str:
    """TensorRT's version from the number in a banner, whose digits changed their meaning with 10.

    >>> version_of(8502), version_of(100300), version_of(101600)
    ('8.5.2', '10.3.0', '10.16.0')
    """
    if number < 10_000:
        return f"{number // 1000}.{number // 100 % 10}.{number % 100}"
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"


def _passed(said: str, lines: list[str], device: str) -> str:
    """The version of a trtexec that passed. Raises: MeasureError in its own words."""
    banners = [found for line in lines if (found := _BANNER.match(line))]
    if not banners or banners[-1][1] not in ("PASSED", "WAIVED"):
        raise MeasureError(f"{device}: trtexec failed: {readable(' '.join(_complaints(said)) or said[-500:])}")
    return version_of(int(banners[0][2]))


def _fields(lines: list[str], name: str) -> dict[str, float]:
    """Seconds by name, of a line such as "Latency: min = 1.2 ms, max = …"; numbers that are none are left out."""
    line = next((line for line in lines if line.startswith(f"{name}: min = ")), "")
    found = {field: _positive(value) for field, value in re.findall(rf"([\w()%.]{{1,40}}) = {_NUMBER} ms", line)}
    return {field: ms / 1e3 for field, ms in found.items() if ms is not None}


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def _warnings(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith("* "):
            yield readable(line[2:], 160)


def _complaints(said: str) -> Iterator[str]:
    for line in said.splitlines():
        if _ERROR.match(line):
            yield _PREFIX.sub("", line)
