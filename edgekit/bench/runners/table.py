"""The vendors' programs that edgekit measures with, by a target's word for its runtime: words, parser, what is told."""

from edgekit.bench.runners.benchmark_litert_model import BenchmarkLitertModel
from edgekit.bench.runners.benchmark_model import BenchmarkModel
from edgekit.bench.runners.coreml import CoreMl
from edgekit.bench.runners.timing import Runner, Tells
from edgekit.bench.runners.trtexec import Trtexec
from edgekit.bench.runners.xdputil import Xdputil

RUNNERS: dict[str, type[Runner]] = {
    "trtexec": Trtexec,
    "benchmark_model": BenchmarkModel,
    "benchmark_litert_model": BenchmarkLitertModel,
    "coremltools": CoreMl,
    "xdputil": Xdputil,
}


def tells(runtime: str) -> Tells | None:
    """What a vendor's program tells; None of a runtime that edgekit's own agent drives, which tells all.

    >>> tells("xdputil").times, tells("onnxruntime") is None
    ('mean', True)
    """
    runner = RUNNERS.get(runtime)
    return None if runner is None else runner.tells
