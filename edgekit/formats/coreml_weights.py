"""Writes weights of ML programs in the smallest form that changes no value (constexpr_… ops). In a child process.

`coremltools.optimize` looks for steps, palettes and zeros of its own; here those that the program has are written.
"""

from typing import Any

import numpy as np

from edgekit.core.target import Deployment
from edgekit.formats.mil.deployment import BLOCKS, held_forms, level_of
from edgekit.formats.mil.grid import Grid
from edgekit.formats.mil.storing import Held, Stored, grids_along, smallest

STORE = "edgekit::store_weights"
_WEIGHTS = {
    "conv": ("weight", 0), "conv_transpose": ("weight", 1), "linear": ("weight", 0), "matmul": ("y", 1),
    "gather": ("x", 0),
}  # fmt: skip
"""By the op, the argument that is its weight, and the axis of the output channels."""


def on_grid(grid: Grid, name: str, deployment: Deployment) -> Any:
    """The weight on `grid` as coremltools' value called `name`, its steps as they are."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    if level_of(deployment) < BLOCKS:
        known = {"scale": grid.scale.reshape(-1), "zero_point": np.zeros(grid.scale.size, np.int8)}
        return mb.constexpr_affine_dequantize(quantized_data=grid.steps, axis=np.int32(0), name=name, **known)
    held = held_forms(deployment)._replace(joint=False)
    stored = smallest(grid.steps, held, [grid.scale.shape], bits=grid.bits)
    if stored.table is not None:
        table = mb.constexpr_blockwise_shift_scale(data=stored.table[..., None], scale=grid.scale[..., None, None])
        return mb.constexpr_lut_to_dense(indices=narrow(stored.codes, stored.bits), lut=table, name=name)
    data = narrow(stored.values, grid.bits) if grid.bits < 8 else stored.values
    if stored.mask is None:
        return mb.constexpr_blockwise_shift_scale(data=data, scale=grid.scale, name=name)
    mask, values = mb.constexpr_sparse_blockwise_shift_scale(
        data_mask=narrow(stored.mask, 1), nonzero_data=data, scale=grid.scale
    )
    return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask, name=name)


def register_pass_(deployment: Deployment) -> None:
    """Makes a pass of coremltools', STORE: float weights of few values or many zeros are written so."""
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.helper import block_context_manager
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY, register_pass

    held = held_forms(deployment)

    class StoreWeights(AbstractGraphPass):  # type: ignore[misc]
        def apply(self, prog: Any) -> None:
            for function in prog.functions.values():
                self._store_(function)

        @staticmethod
        @block_context_manager
        def _store_(block: Any) -> None:
            for op in list(block.operations):
                axis = _axis_of_weight(op)
                if axis is not None:
                    _store_const_(block, op, axis, held)

    StoreWeights.__name__ = STORE.partition("::")[2]
    register_pass(namespace=STORE.partition("::")[0], override=STORE in PASS_REGISTRY.passes)(StoreWeights)


def _axis_of_weight(op: Any) -> int | None:
    """The axis of the output channels of a constant that is nothing but a weight; None of all else."""
    if op.op_type != "const" or op.outputs[0].rank < 2 or op.outputs[0].val.dtype.kind != "f":
        return None
    takers = [(taker, *_WEIGHTS.get(taker.op_type, ("", 0))) for taker in op.outputs[0].child_ops]
    axes = {axis for taker, argument, axis in takers if argument and taker.inputs.get(argument) is op.outputs[0]}
    whole = all(argument and taker.inputs.get(argument) is op.outputs[0] for taker, argument, _ in takers)
    return axes.pop() if whole and len(axes) == 1 else None


def _store_const_(block: Any, op: Any, axis: int, held: Held) -> None:
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    values = op.outputs[0].val
    stored = smallest(values, held, grids_along(values.shape, axis, held), bits=8 * values.itemsize)
    if stored.table is None and stored.mask is None:
        return
    how = {"before_op": op, "name": f"{op.name}_stored"}
    new = _in_blocks(mb, stored, how) if held.blocks else _packed(mb, stored, values.shape, how)
    old = op.outputs[0]
    block.replace_uses_of_var_after_op(
        anchor_op=op, old_var=old, new_var=new, no_check_var_types=True, force_replace=True
    )
    block.remove_ops([op])


def _in_blocks(mb: Any, stored: Stored, how: dict[str, Any]) -> Any:
    """As ML programs from iOS 18 on hold it."""
    table = None if stored.table is None else stored.table[..., None]
    if stored.mask is None:
        return mb.constexpr_lut_to_dense(indices=narrow(stored.codes, stored.bits), lut=table, **how)
    mask, values = narrow(stored.mask, 1), stored.values
    if table is not None:
        codes = narrow(stored.codes, stored.bits)
        before = {"before_op": how["before_op"]}
        mask, values = mb.constexpr_lut_to_sparse(indices_mask=mask, indices_nonzero_data=codes, lut=table, **before)
    return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask, **how)


def _packed(mb: Any, stored: Stored, shape: tuple[int, ...], how: dict[str, Any]) -> Any:
    """As ML programs before iOS 18 hold it."""
    how |= {"shape": np.array(shape, np.uint32)}
    if stored.table is not None:
        return mb.constexpr_lut_to_dense(indices=packed(stored.codes, stored.bits), lut=stored.table.reshape(-1), **how)
    return mb.constexpr_sparse_to_dense(nonzero_data=stored.values, mask=packed(stored.mask, 1), **how)


def packed(codes: Any, bits: int) -> np.ndarray:
    """Numbers of `bits` bits one after the other, from the lowest bit of each byte on.

    >>> packed(np.array([0, 3, 2, 1, 3]), 2).tolist()
    [108, 3]
    """
    spread = codes.reshape(-1, 1).astype(np.uint8) >> np.arange(bits, dtype=np.uint8) & 1
    return np.packbits(spread.reshape(-1), bitorder="little")


def narrow(values: Any, bits: int) -> np.ndarray:
    """`values` as coremltools marks integers of few bits: signed ones where they are int8."""
    from coremltools.converters.mil.mil import types

    word = f"{'int' if values.dtype == np.int8 else 'uint'}{bits}"
    return values.astype(types.nptype_from_builtin(getattr(types, word)))
