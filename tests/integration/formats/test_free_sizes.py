"""Sizes that stay free, from one program to the file: it computes the same at every size within its bounds."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from sequences import Attends, tokens

from edgekit.catalog import get_target, targets
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import reference_outputs
from edgekit.core.model import FreeAxis
from edgekit.core.project import Dynamic
from edgekit.core.recipe import Quantize
from edgekit.core.target import check_free
from edgekit.errors import ArtifactError, TargetError
from edgekit.formats.base import get_format
from edgekit.formats.child import run_model
from edgekit.formats.pack import package
from edgekit.formats.verify import verify
from edgekit.models.free import axes_of_project
from edgekit.models.model import Model, capture
from edgekit.models.program import Program, export
from edgekit.store.artifacts import read_artifact

SIZES = ((1, 1), (1, 32), (5, 7), (8, 32))
DYNAMIC = (
    Dynamic(name="batch", axes=("in_0.0", "in_1.0"), most=8),
    Dynamic(name="sequence", axes=("in_0.1", "in_1.1"), most=32),
)
TARGETS = ("onnx-x86_64", "tensorrt-jetson-orin", pytest.param("coreml-apple-silicon", marks=pytest.mark.slow))


def attends() -> Model:
    torch.manual_seed(0)
    given = tuple(torch.from_numpy(array) for array in tokens(1, 12).inputs)
    return capture(Attends(), given, "attends", axes_of_project(DYNAMIC, given))


def program_of(recipe: str, target: str) -> Program:
    model = attends()
    return export(model) if recipe == "float" else quantize(
        model, Quantize(), get_target(target).numerics, tokens(32, 12)
    )  # fmt: skip


@pytest.mark.parametrize("recipe", ["float", "int8"])
@pytest.mark.parametrize("name", TARGETS)
def test_a_file_computes_what_its_program_does_at_every_size(name: str, recipe: str, tmp_path: Path) -> None:
    target, program = get_target(name), program_of(recipe, name)
    path = get_format(target.format).lower(program, target, tmp_path / "lowered")
    for rows, length in SIZES:
        inputs = tokens(rows, length, seed=rows).inputs
        got = run_model(target.format, path, inputs, rows=(rows, rows))
        for g, w in zip(got, reference_outputs(program, inputs, (rows, rows)), strict=True):
            assert g.shape == w.shape
            assert np.abs(g - w).max() < 1e-4 * np.abs(w).max()
    package(program, target, path, folder=tmp_path / "a", key="k", name="attends")
    verdict = verify(artifact := read_artifact(tmp_path / "a"), tmp_path / "a")
    assert verdict.remarks[0] == "free sizes: batch 1 (1 to 8), sequence 12 (1 to 32); verified at 3 of them"
    assert artifact.more_vectors == ("vectors_1.npz", "vectors_2.npz")
    assert [tensor.free[1].most for tensor in artifact.inputs] == [32, 32]


def test_an_onnx_file_names_its_sizes_as_the_model_does(tmp_path: Path) -> None:
    path = get_format("onnx").lower(program_of("int8", "onnx-x86_64"), get_target("onnx-x86_64"), tmp_path)
    graph = onnx.load(path).graph
    shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (
        *graph.input, *graph.output)}  # fmt: skip
    both = ["batch", "sequence"]
    assert shapes == {"in_0": both, "in_1": both, "out_0": ["batch", 4], "out_1": [*both, 4]}


@pytest.mark.slow
def test_a_core_ml_package_says_the_bounds(tmp_path: Path) -> None:
    from edgekit.formats.mil.mlpackage import read_package

    target = get_target("coreml-apple-silicon")
    spec = read_package(get_format("coreml").lower(program_of("float", target.name), target, tmp_path)).spec
    for feature in spec.description.input:
        ranges = feature.type.multiArrayType.shapeRange.sizeRanges
        assert [(r.lowerBound, r.upperBound) for r in ranges] == [(1, 8), (1, 32)]


def test_a_file_that_is_wrong_at_another_size_alone_is_refused_and_the_size_is_told(tmp_path: Path) -> None:
    """A file whose sequence was fixed behind the program's back is right for the example, and for nothing else."""
    target, program = get_target("onnx-x86_64"), program_of("float", "onnx-x86_64")
    path = get_format("onnx").lower(program, target, tmp_path / "lowered")
    fixed = msgspec.structs.replace
    spec = fixed(program.spec, inputs=tuple(fixed(t, free=t.free[:1]) for t in program.spec.inputs))
    other = Program(export(Model(attends().module, attends().example, spec)).exported, spec)
    wrong = get_format("onnx").lower(other, target, tmp_path / "wrong")
    package(program, target, path, folder=tmp_path / "a", key="k", name="attends")
    package(program, target, wrong, folder=tmp_path / "b", key="k", name="attends")
    verify(read_artifact(tmp_path / "a"), tmp_path / "a")
    with pytest.raises(ArtifactError, match=r"onnxruntime refuses it") as caught:
        verify(read_artifact(tmp_path / "b"), tmp_path / "b")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [t.name for t in targets() if not t.limits.dynamic])
def test_a_target_with_fixed_sizes_says_which_axis_is_free_and_what_to_do(name: str) -> None:
    with pytest.raises(TargetError, match=r"batch \(axis 0 of in_0\) is free: fix it: .* it is 1, the example's"):
        check_free(get_target(name), attends().spec.inputs)


def test_targets_that_take_free_sizes_take_them() -> None:
    free = [target for target in targets() if target.limits.dynamic]
    assert {target.format for target in free} == {"onnx", "tensorrt", "coreml"}
    for target in free:
        check_free(target, attends().spec.inputs)
    assert FreeAxis(axis=0, name="batch", most=8) in attends().spec.inputs[0].free
