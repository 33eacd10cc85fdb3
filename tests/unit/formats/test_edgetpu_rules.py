"""Each limit of the Edge TPU holds at its last value and is broken at the next; what breaks it is named."""

from typing import Any

import pytest

from edgekit.formats.edgetpu.rules import OPS, TpuOp, TpuTensor, violations


def image(*shape: int, **more: Any) -> TpuTensor:
    return TpuTensor(shape=shape or (1, 8, 8, 4), **more)


X = image()
WEIGHT = image(4, 3, 3, 4, is_constant=True, scales=4)
MATRIX = image(10, 32, is_constant=True)


def op(kind: str, takes: tuple[TpuTensor | None, ...] = (X,), gives: TpuTensor = X, **more: Any) -> TpuOp:
    return TpuOp(layer="some.layer", kind=kind, takes=takes, gives=(gives,), **more)


EDGES = [
    ("type", op("ADD", (X, X)), op("ADD", (X, image(dtype="FLOAT32")))),
    ("type", op("CONV_2D", (image(dtype="UINT8"), WEIGHT)), op("CONV_2D", (image(dtype="INT16"), WEIGHT))),
    ("shape", op("RELU", (image(1, 8, 8, 4),)), op("RELU", (image(2, 8, 8, 4),))),
    ("shape", op("RELU", (image(8, 8, 4),)), op("RELU", (image(1, 2, 8, 8, 4),))),
    ("shape", op("RELU", (image(1, 8),)), op("RELU", (image(-1, 8),))),
    ("dilation", op("CONV_2D", (X, WEIGHT), dilation=(2, 2)), op("CONV_2D", (X, WEIGHT), dilation=(1, 2))),
    ("dilation", op("DEPTHWISE_CONV_2D", (X, WEIGHT)), op("DEPTHWISE_CONV_2D", (X, WEIGHT), dilation=(2, 1))),
    ("parameters", op("CONV_2D", (X, WEIGHT, None)), op("CONV_2D", (X, X, None))),
    ("parameters", op("TRANSPOSE_CONV", (MATRIX, WEIGHT, X)), op("TRANSPOSE_CONV", (MATRIX, X, X))),
    ("RELU6", op("MAX_POOL_2D"), op("MAX_POOL_2D", activation="RELU6")),
    ("RELU", op("AVERAGE_POOL_2D"), op("AVERAGE_POOL_2D", activation="RELU")),
    ("weights", op("FULLY_CONNECTED", (image(1, 32), MATRIX), image(1, 10)),
     op("FULLY_CONNECTED", (image(1, 32), image(10, 32, is_constant=True, scales=10)), image(1, 10))),
    ("weights", op("FULLY_CONNECTED", (image(1, 32), MATRIX), image(1, 10)),
     op("FULLY_CONNECTED", (image(1, 32), MATRIX), image(1, 10), are_weights_plain=False)),
    ("output", op("FULLY_CONNECTED", (image(1, 32), MATRIX), image(1, 1, 10)),
     op("FULLY_CONNECTED", (image(7, 32), MATRIX), image(7, 10))),
    ("softmax", op("SOFTMAX", (image(1, 16000),), image(1, 16000)), op("SOFTMAX", (image(1, 16001),), image(1, 16001))),
    ("softmax", op("SOFTMAX", (image(1, 1, 9),), image(1, 1, 9)), op("SOFTMAX", (image(1, 2, 9),), image(1, 2, 9))),
    ("axis", op("MEAN", axes=(1, 2)), op("MEAN", axes=(0,))),
    ("mean", op("MEAN", axes=(3,)), op("MEAN", (image(1, 8, 8, 7),), axes=(2, 3))),
    ("axis", op("PAD", axes=(1, 2, 3)), op("PAD", axes=(0, 1))),
    ("axis", op("SPLIT", axes=(3,)), op("SPLIT", axes=(0,))),
    ("concatenation", op("CONCATENATION", (X, image(is_constant=True, is_zero=True))),
     op("CONCATENATION", (X, image(is_constant=True)))),
    ("concatenation", op("CONCATENATION", (X, X, X)),
     op("CONCATENATION", (X, X, image(is_constant=True, is_zero=True)))),
    ("stride", op("STRIDED_SLICE", strides=(1, 1, 1, 1)), op("STRIDED_SLICE", strides=(1, 2, 1, 1))),
    ("slice", op("STRIDED_SLICE"), op("STRIDED_SLICE", are_masks_plain=False)),
    ("PReLU", op("PRELU", (X, image(1, 1, 4, is_constant=True))), op("PRELU", (X, image(8, 8, 4, is_constant=True)))),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "holds", "breaks"), EDGES)
def test_a_rule_holds_at_its_limit_and_is_broken_beyond_it(rule: str, holds: TpuOp, breaks: TpuOp) -> None:
    assert violations(holds, 14) == ()
    [broken] = violations(breaks, 14)
    assert broken.rule.startswith(rule)
    assert str(broken).startswith(f"some.layer: {rule}")
    assert "the Edge TPU has" in str(broken)
    assert broken.rewrite in str(broken)


@pytest.mark.parametrize("kind", ["GELU", "HARD_SWISH", "BATCH_MATMUL", "DIV", "CUSTOM"])
def test_an_op_that_the_table_has_not_is_named(kind: str) -> None:
    [broken] = violations(op(kind), 14)
    assert str(broken).startswith(f"some.layer: op {kind}, the Edge TPU has no such op: ")


@pytest.mark.parametrize(("kind", "first"), [("TRANSPOSE", 14), ("MEAN", 13), ("TRANSPOSE_CONV", 13), ("ADD", 10)])
def test_an_op_of_a_newer_runtime_than_the_targets_is_refused(kind: str, first: int) -> None:
    assert OPS[kind][0] == first
    assert not any(broken.rule == "op" for broken in violations(op(kind), first))
    assert violations(op(kind), first - 1)[0].rule == "op"
