"""NVIDIA's trtexec, 8.2 to 11: times an engine that was built on the device.

The text is that of samples/common/sampleReporting.cpp in NVIDIA's TensorRT repository, tags 8.2.1 to v11.1.
"""

import re
from collections.abc import Iterator

from edgekit.bench.runners.timing import Timing
from edgekit.devices.said import readable
from edgekit.errors import MeasureError

PROGRAM = "/usr/src/tensorrt/bin/trtexec"
RUN_S, WARM_MS = 3, 500
_NUMBER = r"([-+.\dinfae]+)"
_PREFIX = re.compile(r"^\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] \[[IWEV]\] (?:\[TRT\] )?")
_BANNER = re.compile(r"&&&& (RUNNING|PASSED|FAILED|WAIVED) TensorRT\.trtexec \[TensorRT v(\d+)\]")


class Trtexec:
    """The latency of a query from the host's side, transfers in it, spin-wait and CUDA graph off: in every version."""

    name = "trtexec"

    def command(
        self, model: str, *, threads: int, program: str | None = None, version: tuple[int, int] = (8, 6)
    ) -> tuple[str, ...]:
        """As `Runner.command`; `version` is TensorRT's, whose defaults changed with 11."""
        same = ("--includeDataTransfers", "--noCudaGraph", "--noSpinWait") if version >= (11, 0) else ()
        timing = (f"--duration={RUN_S}", f"--warmUp={WARM_MS}", "--iterations=10")
        return (program or PROGRAM, f"--loadEngine={model}", *timing, *same)

    def parse(self, said: str, device: str) -> Timing:
        """As `Runner.parse`."""
        lines = [_PREFIX.sub("", line) for line in said.splitlines()]
        banners = [found for line in lines if (found := _BANNER.match(line))]
        if not banners or banners[-1][1] not in ("PASSED", "WAIVED"):
            raise MeasureError(f"{device}: trtexec failed: {readable(' '.join(_complaints(said)) or said[-500:])}")
        summary = _fields(lines, "Latency")
        calls = next((int(m[1]) for line in lines if (m := re.match(r"Timing trace has (\d+) queries", line))), 0)
        if not summary or calls < 1:
            raise MeasureError(f"{device}: trtexec passed and gave no latency: {readable(said[-300:])}")
        loaded = next((m for line in lines if (m := re.match(rf"Engine loaded in {_NUMBER} sec", line))), None)
        return Timing(
            calls=calls, mean_s=summary.get("mean"), p50_s=summary.get("median"), least_s=summary.get("min"),
            p90_s=summary.get("percentile(90%)"), p95_s=summary.get("percentile(95%)"),
            p99_s=summary.get("percentile(99%)"), load_s=float(loaded[1]) if loaded else None,
            version=version_of(int(banners[0][2])), warnings=tuple(_warnings(lines)),
        )  # fmt: skip


def version_of(number: int) -> str:
    """TensorRT's version from the number in a banner, whose digits changed their meaning with 10.

    >>> version_of(8502), version_of(100300), version_of(101600)
    ('8.5.2', '10.3.0', '10.16.0')
    """
    if number < 10_000:
        return f"{number // 1000}.{number // 100 % 10}.{number % 100}"
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"


def _fields(lines: list[str], name: str) -> dict[str, float]:
    """Seconds by name, of a line such as "Latency: min = 1.2 ms, max = …"; numbers that are none are left out."""
    line = next((line for line in lines if line.startswith(f"{name}: min = ")), "")
    found = {}
    for field, value in re.findall(rf"([\w()%.]+) = {_NUMBER} ms", line):
        try:
            seconds = float(value) / 1e3
        except ValueError:
            continue
        if 0 < seconds < float("inf"):
            found[field] = seconds
    return found


def _warnings(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith("* "):
            yield readable(line[2:], 160)


def _complaints(said: str) -> Iterator[str]:
    for line in said.splitlines():
        if re.match(r"^\[[^]]*\] \[E\]", line):
            yield _PREFIX.sub("", line)
