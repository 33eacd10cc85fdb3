# ruff: noqa: E501  a table reads best with one row a case
"""ONNX files read back into torch: equal to onnxruntime, attribute by attribute, and refused in words otherwise."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from cuttable import CUTTABLE, module
from nets import AFFINE, net, noise
from onnx import TensorProto, helper, numpy_helper

from edgekit.compress.groups import channel_groups, left_out
from edgekit.compress.prune import prune
from edgekit.compress.quantize import quantize
from edgekit.core.project import ModelSource
from edgekit.core.recipe import Prune, Quantize
from edgekit.errors import ModelError
from edgekit.models.from_onnx import module_from_onnx
from edgekit.models.load import load_model
from edgekit.models.predict import predict

GENERATOR = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return GENERATOR.standard_normal(shape).astype(np.float32)


def save(
    path: Path, nodes: list[Any], feeds: dict[str, np.ndarray], weights: dict[str, np.ndarray], opset: int
) -> None:
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in feeds.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=min(10, 4 + opset // 3))
    onnx.save(onnx.shape_inference.infer_shapes(model), str(path))


def runtime(path: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: v for i, v in zip(session.get_inputs(), feeds.values(), strict=True)})[0]


def check(path: Path, feeds: dict[str, np.ndarray]) -> None:
    """Our reading gives what onnxruntime gives, before and after torch.export."""
    read, _ = module_from_onnx(path)
    inputs = tuple(torch.from_numpy(v) for v in feeds.values())
    wanted = runtime(path, feeds)
    with torch.no_grad():
        got = read(*inputs).numpy()
        exported = torch.export.export(read, inputs).module()(*inputs).numpy()
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(exported, got)


IMAGE = (2, 4, 9, 10)
ONE: list[tuple[str, dict[str, Any], tuple[int, ...], list[Any], int]] = [
    ("Conv", {"strides": [2, 1], "pads": [1, 1, 1, 1], "group": 2, "kernel_shape": [3, 3]}, IMAGE, [floats(6, 2, 3, 3)], 20),
    ("Conv", {"pads": [0, 1, 2, 3], "dilations": [2, 1]}, IMAGE, [floats(6, 4, 3, 3), floats(6)], 20),
    ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, IMAGE, [floats(6, 4, 3, 3), floats(6)], 20),
    ("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 3]}, IMAGE, [floats(6, 4, 2, 4)], 20),
    ("Conv", {"auto_pad": "VALID"}, (2, 4, 9), [floats(6, 4, 3)], 20),
    ("ConvTranspose", {"strides": [2, 2], "pads": [1, 0, 1, 0], "output_padding": [1, 0]}, IMAGE, [floats(4, 6, 3, 3)], 20),
    ("ConvTranspose", {"group": 2, "dilations": [2, 1]}, IMAGE, [floats(4, 3, 3, 3), floats(6)], 20),
    ("Gemm", {"transB": 1, "alpha": 0.5, "beta": 2.0}, (3, 4), [floats(5, 4), floats(5)], 20),
    ("Gemm", {"transA": 1}, (4, 3), [floats(4, 5), floats(1)], 20),
    ("Gemm", {}, (3, 4), [floats(4, 5), floats(3, 5)], 20),
    ("MatMul", {}, (2, 3, 4), [floats(4, 5)], 20),
    ("MatMul", {}, (2, 3, 4), [floats(2, 4, 5)], 20),
    ("BatchNormalization", {"epsilon": 1e-3}, IMAGE, [floats(4), floats(4), floats(4), np.abs(floats(4)) + 0.5], 15),
    ("LayerNormalization", {"axis": -2, "epsilon": 1e-3}, (2, 3, 4), [floats(3, 4), floats(3, 4)], 20),
    ("LayerNormalization", {}, (2, 3, 4), [floats(4)], 20),
    ("Relu", {}, IMAGE, [], 20), ("LeakyRelu", {"alpha": 0.3}, IMAGE, [], 20), ("LeakyRelu", {}, IMAGE, [], 20),
    ("PRelu", {}, IMAGE, [floats(4, 1, 1)], 20), ("PRelu", {}, IMAGE, [floats(1)], 20), ("PRelu", {}, IMAGE, [floats(9, 10)], 20),
    ("Elu", {"alpha": 0.7}, IMAGE, [], 20), ("Selu", {}, IMAGE, [], 20), ("Softplus", {}, IMAGE, [], 20),
    ("Clip", {}, IMAGE, [np.float32(0), np.float32(0.5)], 20), ("Clip", {"max": 0.5}, IMAGE, [], 6),
    ("Clip", {}, IMAGE, [np.float32(-0.5)], 20), ("Clip", {}, IMAGE, [], 20),
    ("Sigmoid", {}, IMAGE, [], 20), ("Tanh", {}, IMAGE, [], 20), ("Erf", {}, IMAGE, [], 20), ("Mish", {}, IMAGE, [], 20),
    ("HardSigmoid", {}, IMAGE, [], 20), ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, IMAGE, [], 20),
    ("HardSwish", {}, IMAGE, [], 20), ("Gelu", {}, IMAGE, [], 20), ("Gelu", {"approximate": "tanh"}, IMAGE, [], 20),
    ("Softmax", {"axis": 1}, IMAGE, [], 20), ("Softmax", {}, IMAGE, [], 20), ("Softmax", {"axis": 1}, IMAGE, [], 11),
    ("Softmax", {}, (3, 5), [], 11), ("LogSoftmax", {"axis": -1}, (3, 5), [], 20),
    ("Exp", {}, IMAGE, [], 20), ("Neg", {}, IMAGE, [], 20), ("Abs", {}, IMAGE, [], 20), ("Floor", {}, IMAGE, [], 20),
    ("Add", {}, IMAGE, [floats(4, 1, 1)], 20), ("Sub", {}, IMAGE, [np.float32(2)], 20), ("Mul", {}, IMAGE, [floats(10)], 20),
    ("Div", {}, IMAGE, [np.float32(3)], 20), ("Pow", {}, IMAGE, [np.float32(2)], 20), ("Max", {}, IMAGE, [floats(10), floats(1)], 20),
    ("Min", {}, IMAGE, [floats(10)], 20), ("Sum", {}, IMAGE, [floats(10), floats(10)], 20),
    ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 0]}, IMAGE, [], 20),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "dilations": [2, 1]}, IMAGE, [], 20),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, IMAGE, [], 20),
    ("MaxPool", {"kernel_shape": [3, 3], "pads": [0, 0, 1, 2]}, IMAGE, [], 20),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}, IMAGE, [], 18),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, IMAGE, [], 18),
    ("AveragePool", {"kernel_shape": [2], "strides": [2]}, (2, 4, 9), [], 18),
    ("GlobalAveragePool", {}, IMAGE, [], 20), ("GlobalMaxPool", {}, IMAGE, [], 20),
    ("Reshape", {}, IMAGE, [np.array([0, -1, 5])], 20), ("Reshape", {}, IMAGE, [np.array([8, 90])], 20),
    ("Flatten", {}, IMAGE, [], 20), ("Flatten", {"axis": 2}, IMAGE, [], 20), ("Flatten", {"axis": 0}, IMAGE, [], 20),
    ("Transpose", {"perm": [0, 2, 3, 1]}, IMAGE, [], 20), ("Transpose", {}, IMAGE, [], 20),
    ("Slice", {}, IMAGE, [np.array([1, 0]), np.array([-1, 4]), np.array([2, -1]), np.array([1, 2])], 20),
    ("Slice", {}, IMAGE, [np.array([-1]), np.array([-(2**31)]), np.array([3]), np.array([-1])], 20),
    ("Slice", {"starts": [1], "ends": [9999], "axes": [2]}, IMAGE, [], 9),
    ("Squeeze", {}, (1, 3, 1), [np.array([2])], 20), ("Squeeze", {"axes": [0]}, (1, 3, 1), [], 11),
    ("Unsqueeze", {}, (2, 3), [np.array([1, -1])], 20), ("Unsqueeze", {"axes": [0]}, (2, 3), [], 11),
    ("Gather", {"axis": 1}, IMAGE, [np.array([[0, -1], [2, 1]])], 20), ("Gather", {"axis": -1}, IMAGE, [np.array(3)], 20),
    ("ReduceMean", {"keepdims": 0}, IMAGE, [np.array([-1, 2])], 20), ("ReduceMean", {"axes": [1]}, IMAGE, [], 13),
    ("ReduceSum", {}, IMAGE, [], 20), ("ReduceSum", {"noop_with_empty_axes": 1}, IMAGE, [], 20),
    ("ReduceMax", {}, IMAGE, [np.array([1])], 20), ("ReduceMin", {"axes": [3], "keepdims": 0}, IMAGE, [], 13),
    ("Pad", {}, IMAGE, [np.array([0, 1, 2, 0, 0, 0, 1, 3]), np.float32(0.5)], 20),
    ("Pad", {"mode": "reflect"}, IMAGE, [np.array([0, 0, 2, 1, 0, 0, 1, 3])], 20),
    ("Pad", {"mode": "edge"}, IMAGE, [np.array([0, 0, 2, 1, 0, 0, 1, 3])], 20),
    ("Pad", {}, IMAGE, [np.array([1, 2, 3, 4]), np.float32(0), np.array([-1, 1])], 20),
    ("Pad", {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": 2.0}, IMAGE, [], 9),
    ("Resize", {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, IMAGE, [None, np.array([1, 1, 2, 1.5], np.float32)], 20),
    ("Resize", {"mode": "nearest"}, IMAGE, [None, np.array([1, 1, 3, 2], np.float32)], 20),
    ("Resize", {"mode": "linear"}, IMAGE, [None, np.array([1, 1, 2, 2], np.float32)], 20),
    ("Resize", {"mode": "linear", "coordinate_transformation_mode": "align_corners"}, IMAGE, [None, None, np.array([2, 4, 15, 7])], 20),
    ("Resize", {"mode": "cubic", "coordinate_transformation_mode": "pytorch_half_pixel"}, IMAGE, [None, None, np.array([2, 4, 18, 20])], 20),
    ("Upsample", {"mode": "nearest"}, IMAGE, [np.array([1, 1, 2, 3], np.float32)], 9),
    ("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, IMAGE, [], 20),
    ("Dropout", {}, IMAGE, [], 20), ("Identity", {}, IMAGE, [], 20), ("Cast", {"to": 1}, IMAGE, [], 20),
    ("Expand", {}, (3, 1), [np.array([2, 1, 4])], 20), ("Concat", {"axis": -1}, (2, 3), [floats(2, 2)], 20),
    ("Sqrt", {}, (0,), [], 20), ("Reciprocal", {}, IMAGE, [], 20),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "attributes", "shape", "weights", "opset"), ONE, ids=lambda v: v if isinstance(v, str) else ""
)
def test_an_operator_gives_what_onnxruntime_gives_for_it(
    tmp_path: Path, op: str, attributes: dict[str, Any], shape: tuple[int, ...], weights: list[Any], opset: int
) -> None:
    names = ["x", *("" if w is None else f"w{i}" for i, w in enumerate(weights))]
    stored = {f"w{i}": np.asarray(w) for i, w in enumerate(weights) if w is not None}
    feeds = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    save(tmp_path / "m.onnx", [helper.make_node(op, names, ["y"], **attributes)], feeds, stored, opset)
    check(tmp_path / "m.onnx", feeds)


@pytest.mark.parametrize("sizes", [None, np.array([1, 2, 1])])
def test_split_gives_its_parts(tmp_path: Path, sizes: np.ndarray | None) -> None:
    names, stored = (["x"], {}) if sizes is None else (["x", "s"], {"s": sizes})
    extra = {"num_outputs": 3} if sizes is None else {}
    nodes = [
        helper.make_node("Split", names, ["a", "b", "c"], axis=1, **extra),
        helper.make_node("Concat", ["c", "a", "b"], ["y"], axis=1),
    ]
    feeds = {"x": floats(*IMAGE) if sizes is not None else floats(2, 6, 3)}
    save(tmp_path / "m.onnx", nodes, feeds, stored, 20)
    check(tmp_path / "m.onnx", feeds)


def test_shapes_computed_in_the_graph_are_known_numbers(tmp_path: Path) -> None:
    """What older exporters write for x.view(x.shape[0], -1) * x.shape[1] / 2."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "minus"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["flat"]),
        helper.make_node("Gather", ["s", "one"], ["c"], axis=0),
        helper.make_node("Cast", ["c"], ["cf"], to=1),
        helper.make_node("Div", ["cf", "two"], ["half"]),
        helper.make_node("Mul", ["flat", "half"], ["y"]),
    ]
    stored = {
        "zero": np.array(0),
        "one": np.array(1),
        "axes": np.array([0]),
        "minus": np.array([-1]),
        "two": np.float32(2),
    }
    feeds = {"x": floats(*IMAGE)}
    save(tmp_path / "m.onnx", nodes, feeds, {k: np.asarray(v) for k, v in stored.items()}, 20)
    check(tmp_path / "m.onnx", feeds)
    read, _ = module_from_onnx(tmp_path / "m.onnx")
    assert read(torch.randn(5, *IMAGE[1:])).shape == (5, 360)


def exported(name: str, path: Path, *, new: bool) -> torch.nn.Module:
    made = module(name).eval()
    x = torch.randn(1, 3, 16, 16)
    with warnings.catch_warnings(action="ignore"):
        if new:
            torch.onnx.export(made, (x,), path, dynamo=True, external_data=False, verbose=False)
        else:
            torch.onnx.export(made, (x,), path, dynamo=False)
    return made


@pytest.mark.parametrize("new", [True, False], ids=["torch.export", "TorchScript"])
@pytest.mark.parametrize("name", CUTTABLE)
def test_a_net_exported_either_way_gives_what_onnxruntime_gives(name: str, new: bool, tmp_path: Path) -> None:
    exported(name, tmp_path / "m.onnx", new=new)
    check(tmp_path / "m.onnx", {"x": floats(1, 3, 16, 16)})


def test_a_read_net_is_cut_and_quantized_like_the_module_that_it_came_from(tmp_path: Path) -> None:
    made = exported("mobile", tmp_path / "m.onnx", new=True)
    model = load_model(ModelSource(source="m.onnx"), tmp_path, "mobile")
    names = [g.name for g in channel_groups(model)]
    assert {"stem", "blocks.0.expand.0", "blocks.1.project.0"} <= set(names)
    small = prune(model, Prune(ratio=0.5))
    assert sum(p.numel() for p in small.module.parameters()) < 0.5 * sum(p.numel() for p in made.parameters())
    samples = noise(8)
    inputs = type(samples)((np.repeat(samples.inputs[0], 3, axis=1),))
    program = quantize(small, Quantize(), AFFINE, inputs)
    assert {"stem", "head.1"} <= program.int8
    apart = np.abs(predict(program, inputs) - predict(small, inputs)).max()
    assert apart < 0.1 * np.abs(predict(small, inputs)).max()


def test_a_file_made_for_one_batch_that_keeps_it_in_a_reshape_takes_any(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "to"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    save(tmp_path / "m.onnx", nodes, {"x": floats(1, 2, 3)}, {"to": np.array([1, 6]), "w": floats(6, 4)}, 20)
    read, example = module_from_onnx(tmp_path / "m.onnx")
    assert example is not None and example[0].shape == (1, 2, 3)
    assert read(torch.randn(5, 2, 3)).shape == (5, 4)


def test_a_file_whose_batch_cannot_be_freed_has_no_groups_and_says_so(tmp_path: Path) -> None:
    exported("vit", tmp_path / "m.onnx", new=True)
    model = load_model(ModelSource(source="m.onnx"), tmp_path, "vit")
    assert channel_groups(model) == ()
    assert "holds for a batch of 1 only" in left_out(model)[0].reason


def node(op: str, **attributes: Any) -> Any:
    return helper.make_node(op, ["x"], ["y"], name="node_7", **attributes)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            node("Einsum", equation="nchw->nhwc"),
            "node 'node_7' is Einsum, an operator that edgekit does not read: give",
        ),
        (
            node("DepthToSpace", blocksize=2, mode="DCR"),
            r"node 'node_7' \(DepthToSpace\): DepthToSpace of mode DCR, which",
        ),
        (node("MaxPool", kernel_shape=[2, 2], storage_order=1), r"the indices of a max pooling"),
    ],
)
def test_what_is_not_read_is_told_with_node_operator_and_what_to_do(tmp_path: Path, made: Any, words: str) -> None:
    save(tmp_path / "m.onnx", [made], {"x": floats(1, 4, 2, 2)}, {}, 20)
    with pytest.raises(ModelError, match=words) as caught:
        load_model(ModelSource(source="m.onnx"), tmp_path, "net")
    assert "\n" not in str(caught.value) and "nn.Module" in str(caught.value)


def test_a_quantized_file_is_refused_as_such(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
    ]  # fmt: skip
    save(tmp_path / "m.onnx", nodes, {"x": floats(1, 4)}, {"s": np.asarray(np.float32(0.1))}, 20)
    with pytest.raises(ModelError, match="this model is quantized, give the float one"):
        module_from_onnx(tmp_path / "m.onnx")


def test_a_net_of_the_shared_zoo_keeps_its_layer_names(tmp_path: Path) -> None:
    model = net("residual")
    torch.onnx.export(model.module, model.example, tmp_path / "m.onnx", dynamo=True, external_data=False, verbose=False)
    read = load_model(ModelSource(source="m.onnx"), tmp_path, "residual")
    assert {"stem.0.weight", "d.0.weight", "head.weight"} <= set(read.module.state_dict())
    np.testing.assert_allclose(predict(read, noise(4)), predict(model, noise(4)), atol=1e-5)
