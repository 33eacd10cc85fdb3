"""trtexec: what it is told is legal for its version, and what it says and writes is read as its format has it."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bench.runners.trtexec import Trtexec, parse_build
from edgekit.bench.runners.trtexec_files import (
    EngineLayer,
    op_times,
    parse_layers,
    parse_outputs,
    parse_profile,
    parse_times,
)
from edgekit.bench.runners.trtexec_options import VERSIONS, check_legal, numbers, options_of
from edgekit.bench.runners.trtexec_words import (
    EngineBuild,
    build_words,
    has_dla,
    output_words,
    profile_words,
    time_words,
)
from edgekit.catalog import profiles, targets
from edgekit.core.model import FreeAxis, TensorSpec
from edgekit.errors import ConvertError, MeasureError, StorageError, TargetError

GOLDEN = Path(__file__).parents[2] / "golden" / "trtexec"
BUILDS = sorted(GOLDEN.glob("synthetic_build_*.toml"))
IN_USE = sorted(
    {v for profile in profiles() if (v := dict(profile.provides).get("tensorrt"))}
    | {v for target in targets() if (v := dict(target.requires).get("tensorrt"))},
    key=numbers,
)
"""The versions of every firmware profile that names one and of every target."""


def built(**more: Any) -> EngineBuild:
    return EngineBuild(onnx="m.onnx", engine="m.engine", timing_cache="t.cache", **more)


FREE = (
    TensorSpec(name="in_0", shape=(2, 12), free=(
        FreeAxis(axis=0, name="batch", most=8), FreeAxis(axis=1, name="sequence", least=4, most=32),
    )),
    TensorSpec(name="in_1", shape=(3,)),
)  # fmt: skip


def every_line(version: str) -> list[tuple[str, ...]]:
    builds = [
        built(), built(inputs=FREE), built(precisions=("int8",)), built(precisions=("fp16", "int8")),
        *([built(dla_core=0), built(dla_core=1, precisions=("int8",))] if has_dla(version) else []),
    ]  # fmt: skip
    return [
        *(build_words(version, build) for build in builds),
        time_words(version, "m.engine", "t.json", warm_ms=200, run_s=1),
        time_words(version, "m.engine", "t.json", warm_ms=200, run_s=1, transfers="left out"),
        profile_words(version, "m.engine", "p.json", "l.json", run_s=1),
        output_words(version, "m.engine", {"x": "x.bin", "y.0": "y.bin"}, "o.json"),
        time_words(version, "m.engine", "t.json", warm_ms=200, run_s=1, inputs=FREE),
        profile_words(version, "m.engine", "p.json", "l.json", run_s=1, inputs=FREE),
        output_words(version, "m.engine", {"x": "x.bin"}, "o.json", shapes={"x": (1, 3)}),
    ]


def test_an_engine_takes_all_sizes_within_the_bounds_and_is_timed_at_the_examples() -> None:
    said = build_words("10.3", built(inputs=FREE))
    assert said[-3:] == ("--minShapes=in_0:1x4", "--optShapes=in_0:2x12", "--maxShapes=in_0:8x32")
    assert time_words("10.3", "m", "t", warm_ms=1, run_s=1, inputs=FREE)[-1] == "--shapes=in_0:2x12"
    fixed = build_words("10.3", built(inputs=FREE[1:]))
    assert not [word for word in fixed if "Shapes" in word], "what has no free size needs no shape"


def test_the_versions_in_use_are_those_of_the_jetpacks_and_the_targets() -> None:
    assert {"8.5", "8.6", "10.3", "10.13", "10.16"} <= {".".join(v.split(".")[:2]) for v in IN_USE}


@pytest.mark.parametrize("version", sorted({*IN_USE, *VERSIONS}, key=numbers))
def test_every_line_that_is_written_is_legal_for_its_version(version: str) -> None:
    for words in every_line(version):
        assert check_legal(words, version) == words
        assert not [word for word in words[1:] if not word.startswith("--")]


def test_a_line_of_one_version_is_not_legal_for_all_others() -> None:
    """The table can refuse: what 8.5 is told is refused by 10.0, and what 10.0 is told by 8.6."""
    with pytest.raises(TargetError, match=r"TensorRT 10\.0 has no --buildOnly"):
        check_legal(build_words("8.5", built()), "10.0")
    with pytest.raises(TargetError, match=r"8\.6 has no --stronglyTyped"):
        check_legal(build_words("10.0", built()), "8.6")
    with pytest.raises(TargetError, match=r"10\.16 has no --includeDataTransfers, --noCudaGraph"):
        check_legal(time_words("11.0", "m", "t", warm_ms=1, run_s=1), "10.16")


def test_precisions_are_flags_before_10_and_the_files_own_types_after() -> None:
    flags = {"--int8", "--fp16", "--stronglyTyped"}
    wanted = built(precisions=("int8", "fp16"))
    assert {v: flags & set(build_words(v, wanted)) for v in ("8.6", "10.0", "10.13", "11.0")} == {
        "8.6": {"--int8", "--fp16"}, "10.0": {"--stronglyTyped"}, "10.13": {"--stronglyTyped"}, "11.0": set(),
    }  # fmt: skip


def test_a_dla_is_asked_for_where_the_version_has_one_and_refused_in_words_elsewhere() -> None:
    words = build_words("8.5.2", built(dla_core=1))
    assert {"--useDLACore=1", "--allowGPUFallback", "--fp16"} <= set(words)
    for version in ("10.13", "10.16", "11.0"):
        with pytest.raises(TargetError, match=rf"TensorRT {version} has no DLA"):
            build_words(version, built(dla_core=0))


def test_the_clock_counts_the_same_in_every_version() -> None:
    """The defaults of 11 are transfers left out, a spinning host and a CUDA graph; those before have none of these."""
    old, new = (set(time_words(v, "m", "t", warm_ms=1, run_s=1)) for v in ("10.16", "11.0"))
    assert old - new == {"--useSpinWait"}
    assert new - old == {"--noCudaGraph", "--includeDataTransfers"}
    bare = set(time_words("11.0", "m", "t", warm_ms=1, run_s=1, transfers="left out"))
    assert new - bare == {"--includeDataTransfers"}


def test_an_input_whose_name_the_option_cannot_hold_is_refused() -> None:
    with pytest.raises(TargetError, match="input 'a,b'"):
        output_words("8.6", "m", {"a,b": "x.bin"}, "o.json")
    with pytest.raises(TargetError, match="no comma"):
        output_words("8.6", "m", {"a": "x,y.bin"}, "o.json")


def test_a_version_older_than_the_table_is_refused() -> None:
    with pytest.raises(TargetError, match=r"TensorRT 8\.0\.1: .* from 8\.2 on"):
        options_of("8.0.1")
    assert options_of("10.9.0") == options_of("10.7")


@pytest.mark.parametrize("path", BUILDS, ids=lambda path: path.stem)
def test_what_it_says_of_a_build_is_read_as_its_format_has_it(path: Path) -> None:
    table = tomllib.loads(path.read_text())
    said, expect = table["said"], table["expect"]
    assert table["source"]
    if "error" in expect or "storage" in expect:
        error, match = (ConvertError, expect["error"]) if "error" in expect else (StorageError, expect["storage"])
        with pytest.raises(error) as failure:
            parse_build(said, "board")
        assert match.replace("\\", "") in str(failure.value)
        assert "\n" not in str(failure.value)
        return
    found = parse_build(said, "board")
    assert (found.version, found.seconds) == (expect["version"], expect["seconds"])
    assert found.size_bytes == expect.get("size_bytes")
    assert found.warnings == ((expect["warning"],) if "warning" in expect else ())


@pytest.mark.parametrize("path", BUILDS, ids=lambda path: path.stem)
def test_a_build_that_was_cut_anywhere_is_no_engine(path: Path) -> None:
    said = tomllib.loads(path.read_text())["said"].rstrip()
    for end in range(0, said.rindex("&&&&"), 41):
        with pytest.raises((ConvertError, StorageError)):
            parse_build(said[:end], "board")


def golden(name: str) -> bytes:
    return (GOLDEN / f"synthetic_{name}.json").read_bytes()


def test_calls_of_the_warm_up_are_left_out_where_the_file_has_them() -> None:
    old, older = (parse_times(golden(f"times_{v}"), v.replace("_", "."), "b", warm_ms=200) for v in ("8_4", "8_2"))
    new = parse_times(golden("times_8_5"), "8.5.2", "b", warm_ms=200)
    assert [len(calls) for calls in (older, old, new)] == [4, 4, 6]
    assert new[1].latencyMs == 3.58


def test_layers_are_timed_by_names_that_are_no_json() -> None:
    assert parse_profile(golden("profile_8_2"), "b") == {"stem + relu": 2e-3, "head": 3e-3}
    assert parse_profile(golden("profile_10_3"), "b") == {
        'stem "a" + PWN(b\\c)': 2e-3, "head, last {1}": 2.5e-3, "reformat": 5e-4,
    }  # fmt: skip


def test_outputs_are_read_with_their_shapes() -> None:
    found = parse_outputs(golden("output_8_5"), "b")
    assert found["y"].tolist() == [[0.5, -1.2e-05, 3, 0]]
    assert found['say "z"'].shape == (2, 1)
    assert np.isnan(found['say "z"'][0, 0])


def test_a_layer_is_told_with_its_precision_in_the_words_of_each_version() -> None:
    kinds = {"stem + relu": ("Convolution", "int8"), "head": ("Unknown", "fp32")}
    assert {x.name: (x.kind, x.precision) for x in parse_layers(golden("layers_8_6"), "b")} == kinds
    assert [x.precision for x in parse_layers(golden("layers_11_0"), "b")] == ["int8", "fp16"]
    assert parse_layers(golden("layers_8_2_names"), "b") == (EngineLayer(name="stem + relu"), EngineLayer(name="head"))
    ops = op_times(parse_profile(golden("profile_8_2"), "b"), parse_layers(golden("layers_8_6"), "b"))
    assert [(op.name, op.op, op.share) for op in ops] == [
        ("head", "Unknown fp32", 0.6), ("stem + relu", "Convolution int8", 0.4),
    ]  # fmt: skip


NONSENSE = (b"", b"[]", b"{}", b"null", b"\xff\xfe", b"[1, 2]", b'{"Layers": 3}', b'{"Layers": [{"Nam": 1}]}')


@pytest.mark.parametrize("raw", NONSENSE)
def test_nonsense_in_a_file_is_refused_in_words(raw: bytes) -> None:
    for read in (
        lambda: parse_times(raw, "8.6", "board", warm_ms=0),
        lambda: parse_profile(raw, "board"),
        lambda: parse_outputs(raw, "board"),
        lambda: parse_layers(raw, "board"),
    ):
        with pytest.raises(MeasureError, match=r"^board: trtexec"):
            read()


@pytest.mark.parametrize(
    "once",
    ['Error Code 1: a(', "While parsing node number 1 [A", "In function f:", 'a(.)%', "v12345678901234567890] ", "   ",
     '{ "name" : "', '{ "name" : "a", "timeMs" : 1, "averageMs" : 1',
     '{ "name" : "a", "dimensions" : "1", "values" : [ 1'],
)  # fmt: skip
def test_a_long_text_without_an_end_is_refused_as_quickly_as_any(once: str) -> None:
    """An expression that goes back over what it read would take hours for this."""
    said = once * (200_000 // len(once))
    for text in (said, f"Latency: min = {said}", f"&&&& RUNNING TensorRT.trtexec [TensorRT v{said}"):
        with pytest.raises((ConvertError, MeasureError)):
            parse_build(text, "board")
        with pytest.raises(MeasureError):
            Trtexec("8.6").parse(text, "board")
    for read in (parse_profile, parse_outputs, parse_layers):
        with pytest.raises(MeasureError):
            read(said.encode(), "board")


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(MeasureError, match="took no time"):
        parse_times(b'[{"startComputeMs": 1, "latencyMs": 0}]', "8.6", "board", warm_ms=0)
    with pytest.raises(MeasureError, match="gives layer head no time"):
        parse_profile(golden("profile_8_2").replace(b'"averageMs" : 3', b'"averageMs" : inf'), "board")
    with pytest.raises(MeasureError, match=r"has 4 numbers for shape \(1, 5\)"):
        parse_outputs(golden("output_8_5").replace(b"1x4", b"1x5"), "board")
