"""A float ONNX file as a torch module: its weights are parameters, so that it can be cut, trained and quantized."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from edgekit.errors import ModelError
from edgekit.models.onnx_call import Call, tensor
from edgekit.models.onnx_ops import OPERATORS

PARAMETERS = {
    "Conv": ("weight", "bias"), "ConvTranspose": ("weight", "bias"), "Linear": ("weight", "bias"), "PRelu": ("weight",),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"), "LayerNormalization": ("weight", "bias"),
}  # fmt: skip
"""Operators that become a module of their own, and the names of its parameters: the inputs after the first."""
QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")


class OnnxModule(nn.Module):
    """Runs the nodes of an ONNX graph in torch; forward takes its inputs and gives its outputs, in their order."""

    def __init__(self, inputs: list[str], outputs: list[str], steps: list[tuple[Call, list[Any], list[str]]]) -> None:
        super().__init__()
        self._inputs, self._outputs, self._steps = inputs, outputs, steps

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The graph's outputs: one tensor, or a tuple where there are several."""
        values: dict[str, Any] = dict(zip(self._inputs, inputs, strict=True))
        for call, taken, made in self._steps:
            args = [
                self._stored(v) if isinstance(v, _Stored) else values[v] if isinstance(v, str) else v for v in taken
            ]
            result = OPERATORS[call.op](call, *args)
            values.update(zip(made, result if isinstance(result, tuple) else (result,), strict=False))
        results = tuple(tensor(values[name]) for name in self._outputs)
        return results[0] if len(results) == 1 else results

    def _stored(self, where: "_Stored") -> Tensor:
        holder = self.get_submodule(where.owner)
        found: Tensor = getattr(holder, where.name)
        return found


class _Stored:
    """A tensor that the module holds, by the module that owns it and its name there."""

    def __init__(self, owner: str, name: str) -> None:
        self.owner, self.name = owner, name


def module_from_onnx(path: Path) -> tuple[OnnxModule, tuple[Tensor, ...] | None]:
    """The module, and seeded noise of its input shapes as an example, if all but the batch is known.

    Raises: ModelError if the file is damaged, quantized, or has an operator or attribute that edgekit does not read.
    """
    try:
        model = onnx.load(str(path))
        model = onnx.shape_inference.infer_shapes(model)
        onnx.checker.check_model(model)
    except Exception as error:  # noqa: BLE001  a damaged file raises whatever its reader meets
        raise ModelError(f"{path} is not a readable ONNX file: {type(error).__name__}: {_line(error)}") from None
    return _Reader(model, path).module(), _example(model)


class _Reader:
    def __init__(self, model: onnx.ModelProto, path: Path) -> None:
        self.graph, self.path = model.graph, path
        self.opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
        self.constants = {t.name: _array(t) for t in self.graph.initializer}
        self.uses = Counter(name for node in self.graph.node for name in node.input)
        self.uses.update(o.name for o in self.graph.output)
        self.shapes = {v.name: _shape(v) for v in (*self.graph.input, *self.graph.value_info)}
        self.holders = nn.Module()
        self.stored: dict[tuple[str, str, str], _Stored] = {}

    def module(self) -> OnnxModule:
        """The module with everything that its nodes need."""
        self._refuse_unknown()
        steps = []
        for node in self._fused(list(self.graph.node)):
            call, taken, made = node
            if call.op == "Constant":
                self.constants[made[0]] = _constant(call)
                continue
            if call.op == "Reshape" and self._keeps_batch(taken):
                call = replace(call, attributes={**call.attributes, "keeps_batch": True})
            steps.append((call, self._arguments(call, taken), made))
        inputs = [i.name for i in self.graph.input if i.name not in self.constants]
        module = OnnxModule(inputs, [o.name for o in self.graph.output], steps)
        for name, child in self.holders.named_children():
            module.add_module(name, child)
        return module.eval()

    def _refuse_unknown(self) -> None:
        for node in self.graph.node:
            if node.op_type in QUANTIZED:
                raise ModelError(
                    f"{self.path}: node {node.name!r} is {node.op_type}: this model is quantized, give the float one"
                )
            if node.domain not in ("", "ai.onnx") or node.op_type not in (*OPERATORS, "Constant"):
                kind = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
                raise ModelError(
                    f"{self.path}: node {node.name!r} is {kind}, an operator that edgekit does not read: give the "
                    'model as an nn.Module in "file.py:function", or as a .pt2 saved with torch.export.save'
                )

    def _fused(self, nodes: list[onnx.NodeProto]) -> list[tuple[Call, list[str], list[str]]]:
        """Nodes as calls; a product with constant weights is a linear layer, an add behind it that layer's bias."""
        made: list[tuple[Call, list[str], list[str]]] = []
        layers: dict[str, int] = {}
        for index, node in enumerate(nodes):
            attributes = {a.name: _attribute(a) for a in node.attribute}
            name = node.name or f"{node.op_type}_{index}"
            call = Call(node.op_type, name, attributes, self.opset, len([o for o in node.output if o]))
            taken, outputs = list(node.input), list(node.output)
            if self._is_linear(call, taken):
                call, taken = self._linear(call, taken)
                layers[outputs[0]] = len(made)
            elif call.op == "Add" and (at := self._biased(taken, layers)) is not None:
                layer, before, values = made[at]
                bias = next(t for t in taken if t != values[0])
                made[at] = (layer, [*before, bias], outputs)
                continue
            made.append((call, taken, outputs))
        return made

    def _is_linear(self, call: Call, taken: list[str]) -> bool:
        if call.op not in ("MatMul", "Gemm") or taken[1] not in self.constants or taken[0] in self.constants:
            return False
        bias = self.constants.get(taken[2]) if len(taken) > 2 and taken[2] else None
        known = len(taken) < 3 or not taken[2] or (bias is not None and bias.ndim <= 1)
        return self.constants[taken[1]].ndim == 2 and known

    def _linear(self, call: Call, taken: list[str]) -> tuple[Call, list[str]]:
        """Weights as (out, in), with alpha and beta multiplied in."""
        weight = self.constants[taken[1]] * np.float32(call.get("alpha", 1.0))
        weight = weight if call.get("transB", 0) else weight.T
        name = _renamed(taken[1], call, "weight")
        self.constants[name] = np.ascontiguousarray(weight)
        made = [taken[0], name]
        if len(taken) > 2 and taken[2]:
            bias = self.constants[taken[2]] * np.float32(call.get("beta", 1.0))
            made.append(_renamed(taken[2], call, "bias"))
            self.constants[made[-1]] = np.broadcast_to(bias, (len(weight),)).copy()
        return replace(call, op="Linear"), made

    def _biased(self, taken: list[str], layers: dict[str, int]) -> int | None:
        """The index of the linear layer whose bias this add is."""
        for value, bias in (taken, taken[::-1]):
            if value in layers and self.uses[value] == 1 and bias in self.constants:
                layer = layers.pop(value)
                if self.constants[bias].ndim == 1 and self.constants[bias].size > 1:
                    return layer
        return None

    def _keeps_batch(self, taken: list[str]) -> bool:
        """Whether a reshape's first size is that of its input, so that any other batch may take its place."""
        shape = self.constants.get(taken[1])
        before = self.shapes.get(taken[0])
        inputs = [self.shapes.get(i.name) for i in self.graph.input]
        if shape is None or shape.size < 2 or not before or not inputs or not inputs[0]:
            return False
        return bool(shape[0] == before[0] == inputs[0][0] and before[0] is not None)

    def _arguments(self, call: Call, taken: list[str]) -> list[Any]:
        names = PARAMETERS.get(call.op, ())
        return [
            self._argument(call, name, names[i - 1] if 0 < i <= len(names) else None) for i, name in enumerate(taken)
        ]

    def _argument(self, call: Call, name: str, role: str | None) -> Any:
        if not name:
            return None
        value = self.constants.get(name)
        if value is None:
            return name
        if value.dtype.kind != "f" or (call.op in ("Resize", "Upsample") and value.ndim == 1):
            return value
        if role is None and value.size == 1 and value.ndim <= 1:
            return float(value.reshape(-1)[0])
        return self._keep(name, value, _owner(name, call, role), role or _last(name))

    def _keep(self, name: str, value: np.ndarray, owner: str, role: str) -> _Stored:
        """Stores a tensor in the module that owns it, once."""
        key = (name, owner, role)
        if key not in self.stored:
            holder = self.holders
            for part in owner.split("."):
                if part not in dict(holder.named_children()):
                    holder.add_module(part, nn.Module())
                holder = holder.get_submodule(part)
            content = torch.from_numpy(np.array(value, dtype=np.float32))
            if role.startswith("running_"):
                holder.register_buffer(role, content)
            else:
                holder.register_parameter(role, nn.Parameter(content))
            self.stored[key] = _Stored(owner, role)
        return self.stored[key]


def _owner(name: str, call: Call, role: str | None) -> str:
    """The module of a tensor: what stands before its role in its own name, else the node's name."""
    known = role is not None and name.endswith(f".{role}") and name.count(".")
    text = name.removesuffix(f".{role}") if known else (call.name if role is not None else f"constants.{name}")
    parts = [re.sub(r"\W", "_", part) for part in re.split(r"[./]", text) if part]
    return ".".join(f"_{p}" if p in ("forward", "training", "eval", "train") else p for p in parts) or "layer"


def _last(name: str) -> str:
    return "value_" + re.sub(r"\W", "_", name.rpartition(".")[2])


def _renamed(name: str, call: Call, role: str) -> str:
    """A name of its own for weights that the reader has changed; that of the layer is kept."""
    owner = name.removesuffix(f".{role}") if name.endswith(f".{role}") else call.name.strip("/")
    return f"{owner}.{role}"


def _array(proto: onnx.TensorProto) -> np.ndarray:
    array = numpy_helper.to_array(proto)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _constant(call: Call) -> np.ndarray:
    for key in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if (value := call.get(key)) is not None:
            array = np.asarray(value)
            return array.astype(np.float32) if array.dtype.kind == "f" else array
    raise call.refuse("a constant that is neither floats nor integers")


def _attribute(proto: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode()
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _shape(info: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    dims = info.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)


def _example(model: onnx.ModelProto) -> tuple[Tensor, ...] | None:
    known = {t.name for t in model.graph.initializer}
    generator = torch.Generator().manual_seed(0)
    made = []
    for info in model.graph.input:
        shape = _shape(info)
        if info.name in known:
            continue
        if not shape or None in shape[1:] or info.type.tensor_type.elem_type not in (1, 10):
            return None
        made.append(torch.randn([shape[0] or 1, *(s or 1 for s in shape[1:])], generator=generator))
    return tuple(made) or None


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:300]
