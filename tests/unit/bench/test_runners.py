"""Vendors' programs: what they are told and say is as their format has it, and what is no figure is refused."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bench.runners.benchmark_model import BenchmarkModel
from edgekit.bench.runners.table import RUNNERS, tells
from edgekit.bench.runners.timing import Computes, Job, Profiles, Runner, Timing, Weighs, raw_outputs, reading_of
from edgekit.bench.runners.trtexec import Trtexec
from edgekit.bench.runners.xdputil import Edge, from_dpu, parse_dumped, parse_edges, to_dpu
from edgekit.bench.tool_session import PROGRAMS
from edgekit.devices.runtimes import TOOLS
from edgekit.errors import MeasureError, TargetError

GOLDEN = sorted((Path(__file__).parents[2] / "golden" / "runners").glob("*.toml"))
KINDS: dict[str, Runner] = {
    "trtexec": Trtexec("10.3"), **{kind.name: kind() for name, kind in RUNNERS.items() if name != "trtexec"}
}  # fmt: skip


def read(path: Path) -> tuple[Runner, str, dict[str, Any]]:
    table = tomllib.loads(path.read_text())
    assert table["source"]
    expect = table["expect"]
    return KINDS[expect.pop("kind")], table["said"], expect


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_what_a_program_says_is_read_as_its_format_has_it(path: Path) -> None:
    runner, said, expect = read(path)
    if "error" in expect:
        with pytest.raises(MeasureError, match=expect["error"]):
            runner.parse(said, "board")
        return
    warning = expect.pop("warning", None)
    timing = runner.parse(said, "board")
    assert {name: getattr(timing, name) for name in expect} == {n: pytest.approx(v) for n, v in expect.items()}
    assert warning is None or warning in timing.warnings


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_what_was_cut_anywhere_is_an_error_or_a_figure_and_never_a_crash(path: Path) -> None:
    runner, said, _ = read(path)
    for end in range(0, len(said), 37):
        try:
            assert runner.parse(said[:end], "board").typical_s > 0
        except MeasureError:
            continue


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_program_tells_what_the_table_says_of_it_and_no_more(path: Path) -> None:
    runner, said, expect = read(path)
    if "error" in expect:
        return
    timing = runner.parse(said, "board")
    more = runner.tells.more
    told = {"load": timing.load_s, "first call": timing.first_call_s, "memory": timing.peak_memory_bytes}
    assert [figure for figure, value in told.items() if value is not None and figure not in more] == []
    if runner.tells.times == "calls":
        return
    reading = reading_of(timing, "a", calls_most=9)
    assert (len(reading.wall_s), reading.cpu_s, reading.calls) == (1, (), timing.calls)
    assert reading.told in (runner.tells.times, "mean")
    assert reading.p95_s is None or "p95" in more


def test_each_program_is_in_every_table_by_one_name() -> None:
    assert set(RUNNERS) == set(TOOLS) == set(PROGRAMS)
    for name, kind in RUNNERS.items():
        assert ("outputs" in kind.tells.more) == (issubclass(kind, Computes) or name in ("trtexec", "xdputil"))
        assert ("ops" in kind.tells.more) == (issubclass(kind, Profiles) or name == "trtexec")
        assert issubclass(kind, Weighs) <= ("memory" in kind.tells.more)
        assert tells(name) is kind.tells


@pytest.mark.parametrize(
    "said", ["", "\0\x1b[2J" * 50, "count=" * 9000, "FPS= 1", '@coreml {"calls_ms": [NaN]}', "@coreml " + "[" * 9000]
)
@pytest.mark.parametrize("kind", KINDS)
def test_garbage_is_refused_in_a_line_that_is_fit_for_a_terminal(kind: str, said: str) -> None:
    with pytest.raises(MeasureError) as failure:
        KINDS[kind].parse(said, "board")
    assert str(failure.value).isprintable()
    assert len(str(failure.value)) < 500


def test_calls_are_kept_evenly_where_every_one_is_told() -> None:
    timing = Timing(calls=1000, calls_s=tuple(1.0 + i for i in range(1000)), p50_s=500.0)
    reading = reading_of(timing, "a", calls_most=5)
    assert reading.wall_s == (1.0, 251.0, 501.0, 750.0, 1000.0)
    assert (reading.told, reading.calls) == ("calls", None)


def test_benchmark_model_is_given_a_model_s_own_inputs_and_a_path_that_it_cannot_take_is_refused() -> None:
    job = Job(model="m.tflite", inputs=(("b:1/in_0.bin", (1, 3, 8, 8)), ("b:1/in_1.bin", (1, 4))))
    words = BenchmarkModel().command(job, ("taskset", "f0", "bm"))
    assert words[:3] == ("taskset", "f0", "bm")
    assert words[-3:] == (
        "--input_layer=in_0,in_1", "--input_layer_shape=1,3,8,8:1,4",
        "--input_layer_value_files=in_0:b::1/in_0.bin,in_1:b::1/in_1.bin",
    )  # fmt: skip
    with pytest.raises(TargetError, match="takes no comma"):
        BenchmarkModel().command(Job(model="m", inputs=(("a,b/in_0.bin", (1,)),)), ("bm",))


HEADS = ("[node type]", "[start]", "[first]", "[avg ms]", "[%]", "[cdf%]", "[mem KB]", "[times called]", "[Name]")
ROWS = (
    ("CONV_2D", "0.000", "4.269", "3.000", "75.000%", "75.000%", "0.000", "1", "[conv]:0"),
    ("SOFTMAX", "4.270", "2.150", "1.000", "25.000%", "100.000%", "0.000", "1", "[out]:1"),
)


def profiled(left_out: int | None) -> str:
    """The tables of README.md of tflite/tools/benchmark; newer builds have no column [start]."""

    def table(title: str, *rows: tuple[str, ...]) -> list[str]:
        lines = [[cell.rjust(9) for i, cell in enumerate(row) if i != left_out] for row in (HEADS, *rows)]
        return [f"{'=' * 30} {title} {'=' * 30}", *("\t" + "\t".join(line) for line in lines), ""]

    init = ("AllocateTensors", "0.000", "9.000", "9.000", "100.000%", "100.000%", "0.000", "1", "AllocateTensors/0")
    lines = ["Profiling Info for Benchmark Initialization:", *table("Run Order", init)]
    lines += ["Operator-wise Profiling Info for Regular Benchmark Runs:", *table("Run Order", *ROWS)]
    return "\n".join([*lines, *table("Top by Computation Time", ROWS[0])])


TIMED = """count=50 first=4 curr=4 min=4 max=4 avg=4 std=0
Inference timings in us: Init: 1, First inference: 4, Warmup (avg): 4, Inference (avg): 4
"""


def test_the_ops_of_a_profile_are_those_of_the_runs_with_the_columns_of_each_build() -> None:
    for left_out in (None, 1):
        found = BenchmarkModel().parse_ops(TIMED + profiled(left_out), "phone")
        assert [(op.op, op.name, op.seconds, op.share) for op in found] == [
            ("CONV_2D", "[conv]:0", 0.003, 0.75), ("SOFTMAX", "[out]:1", 0.001, 0.25)
        ]  # fmt: skip
    assert BenchmarkModel().parse_ops(TIMED, "phone") == ()


LISTED = """I1124 xrt loaded
{"subgraphs": [{"index": 0, "name": "in", "device": "USER"},
{"index": 1, "device": "DPU", "fingerprint": "0x101000056010407",
"input_tensor": [{"index": 0, "name": "x_fix", "shape": [1, 4, 5, 3], "fixpos": 6}],
"output_tensor": [{"index": 0, "name": "y_fix", "shape": [1, 10], "fixpos": 3}], "reg info": []}]}
"""


def test_a_dpu_takes_and_gives_int8_with_the_channels_last() -> None:
    """The shape of `xdputil xmodel -l` is that of xdputil_component/xmodel.py in the Vitis AI repository."""
    edges = parse_edges(LISTED, "kv260")
    x = np.random.default_rng(0).normal(size=(1, 3, 4, 5)).astype(np.float32)
    given = to_dpu(x, edges.inputs[0])
    assert (given.shape, given.dtype) == ((1, 4, 5, 3), np.int8)
    back = from_dpu(given.tobytes(), edges.inputs[0], x.shape)
    inside = np.abs(x) < 1.9
    assert np.abs(back - x)[inside].max() <= 0.5 / 64
    with pytest.raises(ValueError, match="the DPU gives"):
        from_dpu(bytes(10), edges.outputs[0], (1, 12))
    with pytest.raises(MeasureError, match="0 parts for the DPU"):
        parse_edges('{"subgraphs": []}', "kv260")
    with pytest.raises(MeasureError, match="lists no parts"):
        parse_edges("{ what", "kv260")
    assert parse_dumped("fillin x\ndump output to  0.y_fix.bin\n", "kv260") == ("0.y_fix.bin",)
    assert Edge(name="y_fix", shape=(1, 10), fixpos=3) == edges.outputs[0]


def test_raw_outputs_of_another_size_are_refused() -> None:
    with pytest.raises(MeasureError, match="wrote 3 bytes"):
        raw_outputs(b"abc", [((1, 4), "float32")], "phone")
