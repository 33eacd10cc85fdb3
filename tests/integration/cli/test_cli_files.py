"""An artifact named by its folder, and model files that edgekit did not make."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.store.artifacts import ArtifactStore
from edgekit.store.home import artifacts_folder


def write(path: Path, layers: int, shape: tuple[int | str, ...] = ("N", 64)) -> str:
    """A chain of square matrix products."""
    weight = numpy_helper.from_array(np.full((64, 64), 0.01, np.float32), "w")
    names = ["x", *(f"h{i}" for i in range(1, layers)), "y"]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in itertools.pairwise(names)]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    model = helper.make_model(
        helper.make_graph(nodes, "chain", [x], [y], [weight]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(model, path)
    return path.name


def test_two_model_files_of_others_are_measured_against_each_other(project: Path, said) -> None:
    long, short = write(Path("long.onnx"), 200), write(Path("short.onnx"), 2)
    found = json.loads(said("bench", long, short, "--json"))
    assert found["comparison"]["verdict"] == "faster"
    assert found["comparison"]["ratio"]["high"] < 0.5
    assert {a.name for a in ArtifactStore(artifacts_folder()).artifacts()} == {"long", "short"}


def test_one_model_file_is_profiled_by_itself(project: Path, said) -> None:
    chain = write(Path("chain.onnx"), 20)
    found = json.loads(said("profile", chain, "--sustain", "1.5", "--json"))
    assert found["measurement"]["wall"]["p50_s"] <= found["measurement"]["wall"]["p99_s"]
    assert found["measurement"]["peak_memory_bytes"] > 0
    assert found["sustained"]["windows"]
    assert sum(op["share"] for op in found["ops"]) == pytest.approx(1.0)
    told = said("profile", chain, "--sustain", "0")
    assert all(word in told for word in ("cold", "steady", "memory", "MatMul"))
    assert "sustained" not in told


@pytest.mark.parametrize("rounds", ["0", "4", "many", "-1", "1001"])
def test_a_number_of_rounds_that_cannot_be_is_refused(project: Path, refused, rounds: str) -> None:
    one, other = write(Path("one.onnx"), 2), write(Path("other.onnx"), 3)
    assert "--rounds" in refused("bench", one, other, "--rounds", rounds, code=2)


def test_a_folder_of_an_artifact_is_pushed_as_what_it_holds(project: Path, said, tmp_path: Path) -> None:
    write(Path("chain.onnx"), 2)
    first = json.loads(said("push", "chain.onnx", "--device", "local", "--json"))["deployment"]
    store = ArtifactStore(artifacts_folder())
    shutil.copytree(store.folder(first["artifact"]), tmp_path / "given")
    shutil.rmtree(artifacts_folder())
    again = json.loads(said("push", str(tmp_path / "given"), "--device", "local", "--json"))
    assert again["was_there"]
    assert again["deployment"]["artifact"] == first["artifact"]


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("nothing.onnx", 2, "nothing.onnx: no such file or folder"),
        ("no/thing", 2, "no/thing: no such file or folder"),
        ("model.py", 2, "model.py: want a model file that ends in .mlpackage.zip, .mlmodel, .onnx, .tflite"),
        ("noise.onnx", 10, "noise.onnx: onnxruntime refuses it"),
        ("noise.tflite", 10, "noise.tflite: LiteRT refuses it"),
        ("free.onnx", 10, "free.onnx: input x has free sizes ['N', 'M']"),
        ("outside.onnx", 10, "onnxruntime refuses it"),
        (".", 10, "artifact.json"),
    ],
)
def test_a_file_that_is_no_model_is_refused(project: Path, refused, name: str, code: int, words: str) -> None:
    Path("noise.onnx").write_bytes(bytes(range(256)))
    Path("noise.tflite").write_bytes(bytes(range(256)))
    write(Path("free.onnx"), 2, ("N", "M"))
    whole = onnx.load(write(Path("whole.onnx"), 2))
    onnx.save(whole, "outside.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert words in refused("push", name, "--device", "local", code=code)
