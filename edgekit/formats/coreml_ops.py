"""How coremltools is made to translate ops of torch that it knows otherwise or not. In a child process."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edgekit.formats.mil.grid import Grid

_QUANTIZE, _DEQUANTIZE = (f"quantized_decomposed.{word}_per_channel" for word in ("quantize", "dequantize"))
_RESHAPES = frozenset(("aten.reshape.default", "aten.view.default", "aten._unsafe_view.default"))
Keep = Callable[[Grid, str], Any]
"""What becomes of a weight on its grid: a value of coremltools', called by a name."""


def keep_weights_(keep: Keep) -> None:
    """Makes coremltools, in this process, hand a weight that is quantized to `keep`, with the steps that torch takes.

    The format's own quantize has no narrower range than its type, so weights are quantized here.
    """
    from coremltools.converters.mil import Builder as mb  # noqa: N813  what all call it
    from coremltools.converters.mil import register_torch_op
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs

    def quantize(context: Any, node: Any) -> None:
        weight, scale, zero, axis, low, high = (v.val for v in _get_inputs(context, node)[:6])
        rows = weight.reshape(scale.size, -1) if axis == 0 else weight
        along = [-1 if i == axis else 1 for i in range(rows.ndim)]
        steps = np.rint(rows * (np.float32(1) / scale.astype(np.float32)).reshape(along)) + zero.reshape(along)
        steps = np.clip(steps, low, high).astype(np.int8).reshape(weight.shape)
        context.add(mb.const(val=steps, name=node.name))

    def dequantize(context: Any, node: Any) -> None:
        steps, scale, zero, axis, _, high = (v.val for v in _get_inputs(context, node)[:6])
        context.add(keep(Grid.of_rows(steps, scale, zero, int(axis), int(high)), node.name))

    for name, function in ((_QUANTIZE, quantize), (_DEQUANTIZE, dequantize)):
        function.__name__ = f"edgekit_{function.__name__}_per_channel"
        register_torch_op(torch_alias=[name, name.replace(".", "::")], override=True)(function)


def keep_kind_of_zeros_() -> None:
    """Makes coremltools, in this process, see of which type zeros are: 9.0 takes that of what they are like."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil import register_torch_op
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs, _get_kwinputs
    from coremltools.converters.mil.frontend.torch.utils import NUM_TO_NUMPY_DTYPE
    from coremltools.converters.mil.mil.types import nptype_from_builtin

    def zeros_like(context: Any, node: Any) -> None:
        like = _get_inputs(context, node)[0]
        told = _get_kwinputs(context, node, "dtype", default=[None])[0]
        kind = np.dtype(nptype_from_builtin(like.dtype) if told is None else NUM_TO_NUMPY_DTYPE[told.val]).kind
        zero: float | int | bool = {"f": 0.0, "b": False}.get(kind, 0)
        context.add(mb.fill_like(ref_tensor=like, value=zero, name=node.name))

    register_torch_op(override=True)(zeros_like)


def name_as_before_(graph: Any) -> None:
    """Gives ops the names that they had before decomposition, by which layers are found: free sizes change them.

    Outputs have names of their own, which the program's signature knows.
    """
    outputs = {value for node in graph.nodes if node.op == "output" for value in node.all_input_nodes}
    inside = [node for node in graph.nodes if node.op == "call_function" and node not in outputs]
    last = {node.meta["from_node"][0].name: node for node in inside if node.meta.get("from_node")}
    kept = {node.name for node in graph.nodes} - {node.name for node in inside}
    for node in inside:
        node.name = f"edgekit_{node.name}"
    for name, node in last.items():
        node.name = node.name if name in kept else name


def join_rows_(graph: Any) -> None:
    """Takes the reshapes out that put what shares a scale into rows and back: a scale says itself whose it is."""
    for node in list(graph.nodes):
        if str(node.target) != f"{_DEQUANTIZE}.default":
            continue
        quantize = node.args[0]
        before, after = quantize.args[0], next(iter(node.users), None)
        if str(before.target) in _RESHAPES and after is not None and str(after.target) in _RESHAPES:
            quantize.update_arg(0, before.args[0])
            for user in list(node.users):
                user.replace_all_uses_with(node)
            for changed in (quantize, node):
                changed.meta["val"] = changed.meta["val"].reshape(before.args[0].meta["val"].shape)
    graph.eliminate_dead_code()


def keep_halves_(graph: Any) -> None:
    """Casts what is made of halves and a number to half again: coremltools makes float32 of it."""
    import torch

    aten = torch.ops.aten
    for node in list(graph.nodes):
        value = node.meta.get("val")
        if getattr(value, "dtype", None) is not torch.float16:
            continue
        numbers = any(isinstance(argument, int | float) for argument in node.args[:2])
        if node.target in (aten.pad.default, aten.constant_pad_nd.default) or (
            node.target in (aten.add.Tensor, aten.mul.Tensor) and numbers
        ):
            with graph.inserting_after(node):
                cast = graph.call_function(aten._to_copy.default, (node,), {"dtype": torch.float16})
            cast.meta = dict(node.meta)
            node.replace_all_uses_with(cast, delete_user_cb=lambda user, cast=cast: user is not cast)


def keep_gelus_form_() -> None:
    """Makes coremltools, in this process, see which GELU is meant: 9.0 takes every one of a program to be exact."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil import register_torch_op
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs

    def gelu(context: Any, node: Any) -> None:
        form = (node.kwinputs or {}).get("approximate", ("none",))[0]
        mode = "TANH_APPROXIMATION" if form == "tanh" else "EXACT"
        context.add(mb.gelu(x=_get_inputs(context, node)[0], mode=mode, name=node.name))

    register_torch_op(override=True)(gelu)


def keep_bounds_narrow_() -> None:
    """Makes coremltools, in this process, clip halves by halves: 9.0 refuses float32 bounds, or clips in float32."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil import register_torch_op
    from coremltools.converters.mil.frontend.torch import ops
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY
    from coremltools.converters.mil.mil import types

    def narrow(name: str) -> None:
        plain = _TORCH_OPS_REGISTRY.get_func(name)

        def clip(context: Any, node: Any) -> None:
            x, *bounds = ops._get_inputs(context, node)
            values = [None if bound is None else bound.val for bound in bounds] + [None]
            if x.dtype != types.fp16 or all(value is None for value in values):
                plain(context, node)
                return
            most = float(np.finfo(np.float16).max)
            low, high = (default if v is None else v for v, default in zip(values, (-most, most), strict=False))
            context.add(mb.clip(x=x, alpha=np.float16(low), beta=np.float16(high), name=node.name))

        clip.__name__ = f"edgekit_{name}"
        register_torch_op(torch_alias=[name], override=True)(clip)

    for name in ("hardtanh", "clamp", "clamp_min"):
        narrow(name)
