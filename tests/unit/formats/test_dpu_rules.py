"""Each limit of a DPU holds at its last value and is broken at the next; what breaks it is named."""

import pytest

from edgekit.core.dpu import DpuArch, read_fingerprint, write_fingerprint
from edgekit.formats.dpu.rules import DpuOp, average_factor, violations


def arch(size: str) -> DpuArch:
    found = read_fingerprint(write_fingerprint(size))
    assert found is not None
    return found


B4096, B3136, B512 = arch("B4096"), arch("B3136"), arch("B512")
CONV = {"name": "c", "op": "Conv", "kind": "conv"}
DEPTHWISE = {"name": "d", "op": "Conv", "kind": "depthwise"}
POOL = {"name": "p", "op": "MaxPool", "kind": "pool"}
ADD = {"name": "a", "op": "Add", "kind": "add"}
MUL = {"name": "m", "op": "Mul", "kind": "mul"}
EDGES = [
    (CONV, "kernel", {"kernel": (16, 16)}, {"kernel": (17, 1)}, B4096),
    (CONV, "stride", {"stride": (8, 8)}, {"stride": (1, 9)}, B4096),
    (CONV, "pads", {"kernel": (3, 3), "pads": (2, 2, 2, 2)}, {"kernel": (3, 3), "pads": (3, 0, 0, 0)}, B4096),
    (CONV, "pads", {"kernel": (3, 3), "dilation": (2, 2), "pads": (4, 4, 4, 4)},
     {"kernel": (3, 3), "dilation": (1, 2), "pads": (4, 4, 4, 4)}, B4096),
    (CONV, "input channels", {"takes": 4096}, {"takes": 4097}, B4096),
    (CONV, "input channels", {"takes": 3584}, {"takes": 3585}, B3136),
    (CONV, "output channels", {"gives": 2048}, {"gives": 2049}, B512),
    (CONV, "dilation x input channels", {"takes": 2048, "dilation": (2, 2)},
     {"takes": 2049, "dilation": (2, 2)}, B4096),
    (CONV, "kernel area", {"kernel": (3, 3), "takes": 227 * 16}, {"kernel": (3, 3), "takes": 228 * 16}, B4096),
    (CONV, "kernel area", {"kernel": (5, 5), "takes": 81 * 14}, {"kernel": (5, 5), "takes": 82 * 14}, B3136),
    (CONV, "groups", {"groups": 1}, {"groups": 2}, B4096),
    (CONV, "activation", {"activation": "HardSwish"}, {"activation": "Clip"}, B4096),
    (CONV, "shift from sums", {"cut": 16}, {"cut": 17}, B4096),
    (CONV, "shift from sums", {"cut": 0}, {"cut": -1}, B4096),
    (CONV, "shift of the bias", {"bias": 15}, {"bias": 16}, B4096),
    (DEPTHWISE, "kernel", {"kernel": (256, 1)}, {"kernel": (257, 1)}, B4096),
    (DEPTHWISE, "activation", {"activation": "Relu6"}, {"activation": "LeakyRelu"}, B4096),
    (DEPTHWISE, "pads", {"kernel": (31, 31), "pads": (15, 15, 255, 255)},
     {"kernel": (33, 33), "pads": (16, 0, 0, 0)}, B4096),
    (POOL, "kernel", {"kernel": (256, 256)}, {"kernel": (1, 257)}, B4096),
    (POOL, "stride", {"stride": (256, 1)}, {"stride": (257, 1)}, B4096),
    (POOL, "pads", {"pads": (0, 15, 0, 0)}, {"pads": (0, 16, 0, 0)}, B4096),
    (ADD, "shift between inputs", {"read": 7}, {"read": 8}, B4096),
    (ADD, "shift to the output", {"write": -7}, {"write": -8}, B4096),
    (ADD, "activation", {"activation": "Relu"}, {"activation": "Relu6"}, B4096),
    (MUL, "shift to the output", {"write": 32}, {"write": -1}, B4096),
]  # fmt: skip


@pytest.mark.parametrize(("op", "rule", "holds", "breaks", "size"), EDGES)
def test_a_rule_holds_at_its_limit_and_is_broken_beyond_it(
    op: dict[str, object], rule: str, holds: dict[str, object], breaks: dict[str, object], size: DpuArch
) -> None:
    assert violations(DpuOp(**(op | holds)), size) == ()  # type: ignore[arg-type]
    [broken] = violations(DpuOp(**(op | breaks)), size)  # type: ignore[arg-type]
    assert broken.rule.startswith(rule)
    assert broken.layer == op["name"]
    assert broken.value in str(broken)
    assert broken.limit in str(broken)
    assert broken.rewrite in str(broken)


def test_an_op_that_breaks_two_rules_is_told_both() -> None:
    found = violations(DpuOp(name="c", op="Conv", kind="conv", kernel=(20, 20), stride=(9, 9)), B4096)
    assert [broken.rule for broken in found] == ["kernel", "stride"]


def test_an_op_without_an_engine_is_named() -> None:
    [broken] = violations(DpuOp(name="n", op="LayerNormalization", kind="other"), B4096)
    assert str(broken).startswith("n: op LayerNormalization, a DPU has no engine for it")


@pytest.mark.parametrize("area", [1, 2, 4, 9, 12, 16, 25, 36, 49, 64, 100, 196, 255 * 255])
def test_an_average_is_off_by_less_than_a_fortieth(area: int) -> None:
    factor, shift = average_factor(area)
    exact = area & (area - 1) == 0
    assert abs(factor * area / 2**shift - 1) <= (0 if exact else 0.0235)
