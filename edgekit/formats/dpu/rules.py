"""What a DPUCZDX8G can run, as numbers and pure functions: an op beyond them runs on the board's processor instead.

The limits are those of AMD's tables: "Currently Supported Operators" of UG1414 (Vitis AI 3.5), the product guide PG338,
and the target files of Vitis AI's target_factory. Those of shifts are the compiler's, as AMD Quark 0.13 keeps them.
"""

import math
from collections.abc import Iterator
from typing import Literal

from edgekit.core.dpu import BANK_DEPTH, DpuArch
from edgekit.core.noun import Noun
from edgekit.formats.violation import Violation

Kind = Literal["conv", "depthwise", "transposed", "linear", "add", "mul", "pool", "move", "other"]
ACTIVATIONS: dict[Kind, tuple[str, ...]] = {
    "conv": ("Relu", "LeakyRelu", "Relu6", "HardSwish", "HardSigmoid"),
    "linear": ("Relu", "LeakyRelu", "Relu6", "HardSwish", "HardSigmoid"),
    "transposed": ("Relu", "LeakyRelu", "Relu6", "HardSwish", "HardSigmoid"),
    "depthwise": ("Relu", "Relu6"),
    "add": ("Relu",),
    "mul": ("Relu",),
}
"""What is computed together with an op; anything else is an op by itself, and no engine has it."""
MOST_KERNEL, MOST_STRIDE = 16, 8
MOST_ALU, MOST_FIRST_PAD, MOST_LAST_PAD = 256, 15, 255
"""The engine of pooling and of depthwise convolutions: kernels and strides, pads left and top, right and bottom."""
MOST_GROUPS_OF_CHANNELS = 256
"""Channels of an op, in groups of those that a DPU takes at a time."""
SHIFT_CUT, SHIFT_BIAS, SHIFT_READ, SHIFT_ADD, SHIFT_MUL = (0, 16), (0, 15), (0, 7), (-7, 25), (0, 32)


class DpuOp(Noun, frozen=True, kw_only=True):
    """An op of a file: kernel and stride as (rows, columns), pads as (top, left, bottom, right).

    `cut`, `bias`, `read` and `write` are the shifts between its scales, None where it has none.
    """

    name: str
    op: str
    kind: Kind
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    takes: int = 1
    gives: int = 1
    groups: int = 1
    activation: str | None = None
    cut: int | None = None
    bias: int | None = None
    read: int | None = None
    write: int | None = None


def violations(op: DpuOp, arch: DpuArch) -> tuple[Violation, ...]:
    """The rules that `op` breaks on a DPU of this size; none if it runs there.

    >>> from edgekit.core.dpu import read_fingerprint
    >>> big = DpuOp(name="stem", op="Conv", kind="conv", kernel=(17, 3))
    >>> [str(v) for v in violations(big, read_fingerprint("0x101000056010407"))]
    ['stem: kernel 17x3, a DPU has at most 16x16: use smaller kernels one after the other']
    """
    return tuple(
        Violation(layer=op.name, rule=rule, value=value, limit=limit, rewrite=rewrite, accelerator="a DPU")
        for rule, value, limit, rewrite in _broken(op, arch)
    )


_Broken = Iterator[tuple[str, str, str, str]]


def _broken(op: DpuOp, arch: DpuArch) -> _Broken:
    if op.kind == "other":
        rewrite = "use convolutions of two dimensions, ReLU, additions and poolings, or cut the model there"
        yield "op", op.op, "no engine for it", rewrite
        return
    if op.activation is not None and op.activation not in ACTIVATIONS.get(op.kind, ()):
        has = ", ".join(ACTIVATIONS.get(op.kind, ())) or "none behind such an op"
        yield "activation", op.activation, has, "use one of these"
    if op.kind in ("depthwise", "pool"):
        yield from _on_alu(op)
    if op.kind in ("conv", "transposed", "linear"):
        yield from _on_products(op)
    if op.kind in ("conv", "transposed", "linear", "depthwise"):
        yield from _in_memory(op, arch)
    yield from _shifted(op)


def _on_products(op: DpuOp) -> _Broken:
    most = MOST_KERNEL if op.kind == "transposed" else MOST_STRIDE
    if max(op.kernel) > MOST_KERNEL:
        yield (
            "kernel",
            _by(op.kernel),
            f"at most {MOST_KERNEL}x{MOST_KERNEL}",
            "use smaller kernels one after the other",
        )
    if max(op.stride) > most:
        yield "stride", _by(op.stride), f"at most {most}x{most}", "divide the stride over two convolutions"
    if op.groups != 1:
        rewrite = "use one group, or as many as channels with as many outputs"
        yield "groups", str(op.groups), "1, or as many as channels", rewrite
    if op.kind == "conv":
        yield from _within_kernel(op)


def _within_kernel(op: DpuOp) -> _Broken:
    most = tuple((k - 1) * d for k, d in zip(op.kernel, op.dilation, strict=True))
    if any(pad > most[i % 2] for i, pad in enumerate(op.pads)):
        yield "pads", _by(op.pads), f"at most {_by(most)}: what the kernel reaches", "pad less"


def _on_alu(op: DpuOp) -> _Broken:
    if max(op.kernel) > MOST_ALU:
        yield "kernel", _by(op.kernel), f"at most {MOST_ALU}x{MOST_ALU}", "use smaller ones one after the other"
    if max(op.stride) > MOST_ALU:
        yield "stride", _by(op.stride), f"at most {MOST_ALU}x{MOST_ALU}", "divide the stride over two ops"
    if max(op.pads[:2]) > MOST_FIRST_PAD or max(op.pads[2:]) > MOST_LAST_PAD:
        limit = f"at most {MOST_FIRST_PAD} above and left, {MOST_LAST_PAD} below and right"
        yield "pads", _by(op.pads), limit, "pad less"


def _in_memory(op: DpuOp, arch: DpuArch) -> _Broken:
    most = MOST_GROUPS_OF_CHANNELS * arch.channels
    dilated = max(op.dilation) * op.takes
    if dilated > most:
        rule = "input channels" if max(op.dilation) == 1 else "dilation x input channels"
        yield rule, str(dilated), f"at most {most}", "take fewer channels, or split them in two layers that are added"
    if op.gives > most:
        yield "output channels", str(op.gives), f"at most {most}", "split them in two layers"
    words = op.kernel[0] * op.kernel[1] * math.ceil(op.takes / arch.channels)
    if op.kind != "depthwise" and words > BANK_DEPTH:
        rule = f"kernel area x ceil(input channels / {arch.channels})"
        yield rule, str(words), f"at most {BANK_DEPTH}", "take fewer channels or a smaller kernel"


def _shifted(op: DpuOp) -> _Broken:
    """The scales of an op must be so near that a shift goes from one to the other."""
    write = SHIFT_ADD if op.kind == "add" else SHIFT_MUL
    for rule, value, (least, most) in (
        ("shift from sums to outputs", op.cut, SHIFT_CUT), ("shift of the bias", op.bias, SHIFT_BIAS),
        ("shift between inputs", op.read, SHIFT_READ), ("shift to the output", op.write, write),
    ):  # fmt: skip
        if value is not None and not least <= value <= most:
            yield rule, str(value), f"{least} to {most}", "leave out layers whose weights are near zero"


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


def average_factor(area: int) -> tuple[int, int]:
    """(factor, shift) by which a DPU divides by an area: a sum times factor, shifted down.

    Some squares have factors of their own; all else gets the nearest of those with at most 7 bits more than the area.

    >>> average_factor(49), average_factor(16), average_factor(12)
    ((21, 10), (1, 4), (85, 10))
    """
    own = {9: (7, 6), 25: (10, 8), 36: (7, 8), 49: (21, 10), 196: (21, 12)}
    if area in own:
        return own[area]
    shifts = range(7 + math.ceil(math.log2(area)))
    return min(((round(2**n / area), n) for n in shifts), key=lambda pair: abs(pair[0] / 2 ** pair[1] - 1 / area))
