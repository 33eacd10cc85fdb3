"""What Coral's Edge TPU can run, as data and pure functions: an op beyond it runs on the processor instead.

The ops, the runtime that each needs and their limits are those of table 1 and of "Model requirements" of
https://coral.ai/docs/edgetpu/models-intro/. That fully connected weights have one scale is of LiteRT's 8-bit
quantization specification as it was when the last compiler came out (TensorFlow 2.5): a compiler of that age reads the
first scale of several, and says nothing.
"""

import math
from collections.abc import Callable, Iterator

from edgekit.core.noun import Noun
from edgekit.formats.violation import Violation

MOST_SOFTMAX = 16_000
INNER = 3
"""How many of a tensor's last sizes may be above 1."""
Z_MULTIPLE = 4
"""What the last size must be a multiple of where a mean is taken over it."""
TYPES = ("INT8", "UINT8")


class TpuTensor(Noun, frozen=True, kw_only=True):
    """A tensor that an op takes or gives; `scales` counts those it is quantized with."""

    dtype: str = "INT8"
    shape: tuple[int, ...] = ()
    is_constant: bool = False
    is_zero: bool = False
    scales: int = 1


class TpuOp(Noun, frozen=True, kw_only=True):
    """An op of a .tflite file. `axes` are those it works along, counted from the first; an input left out is None."""

    layer: str
    kind: str
    takes: tuple[TpuTensor | None, ...] = ()
    gives: tuple[TpuTensor, ...] = ()
    activation: str = "NONE"
    dilation: tuple[int, int] = (1, 1)
    axes: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    are_masks_plain: bool = True
    are_weights_plain: bool = True


_Broken = Iterator[tuple[str, str, str, str]]
_Rule = Callable[[TpuOp], _Broken]


def violations(op: TpuOp, runtime: int) -> tuple[Violation, ...]:
    """The rules that `op` breaks for an Edge TPU whose runtime has this version; none if it runs there.

    >>> x = TpuTensor(shape=(1, 8, 8, 3))
    >>> [str(v) for v in violations(TpuOp(layer="act", kind="LEAKY_RELU", takes=(x,), gives=(x,)), 14)]
    ['act: op LEAKY_RELU, the Edge TPU has no such op: use ReLU, ReLU6 or PReLU']
    """
    return tuple(
        Violation(layer=op.layer, rule=rule, value=value, limit=limit, rewrite=rewrite, accelerator="the Edge TPU")
        for rule, value, limit, rewrite in _broken(op, runtime)
    )


def _broken(op: TpuOp, runtime: int) -> _Broken:
    if op.kind not in OPS:
        yield (
            "op",
            op.kind,
            "no such op",
            REWRITES.get(op.kind, "use an op of Coral's table, or put it behind the last layer"),
        )
        return
    first, rules = OPS[op.kind]
    if runtime < first:
        yield (
            "op",
            op.kind,
            f"it from runtime {first} on, the target says {runtime}",
            "take a target of a newer runtime",
        )
    for rule in (_is_int8, _is_small, *rules):
        yield from rule(op)


def _is_int8(op: TpuOp) -> _Broken:
    values = [t for t in (*op.takes, *op.gives) if t is not None and not t.is_constant]
    if others := sorted({t.dtype for t in values} - set(TYPES)):
        yield f"type of {op.kind}", others[0], "int8 only", "quantize this layer too, or leave float what is behind it"


def _is_small(op: TpuOp) -> _Broken:
    for tensor in (*op.takes, *op.gives):
        if tensor is None or tensor.is_constant:
            continue
        if any(size < 1 for size in tensor.shape):
            yield f"shape of {op.kind}", _by(tensor.shape), "sizes that are known", "export the model with fixed sizes"
            return
        if any(size > 1 for size in tensor.shape[:-INNER]):
            limit = f"sizes above 1 in the last {INNER} places only"
            yield (
                f"shape of {op.kind}",
                _by(tensor.shape),
                limit,
                "build the model for a batch of 1, with fewer dimensions",
            )
            return


def _without_activation(op: TpuOp) -> _Broken:
    if op.activation != "NONE":
        yield f"{op.activation} in one op with", op.kind, "them apart", "put the activation behind the next convolution"


def _evenly_dilated(op: TpuOp) -> _Broken:
    if op.dilation[0] != op.dilation[1]:
        yield "dilation", _by(op.dilation), "the same one in height and width", "dilate both, or neither"


def _constant(*places: int) -> _Rule:
    def rule(op: TpuOp) -> _Broken:
        given = [op.takes[i] for i in places if i < len(op.takes)]
        if any(tensor is not None and not tensor.is_constant for tensor in given):
            yield f"parameters of {op.kind}", "computed", "constant ones", "compute them before the model is exported"

    return rule


def _plain_weights(op: TpuOp) -> _Broken:
    if not op.are_weights_plain:
        yield "weights", "shuffled", "the default layout", "write the file without shuffled weights"
    weight = op.takes[1] if len(op.takes) > 1 else None
    if weight is not None and weight.scales > 1:
        limit = "one scale for all of them"
        yield (
            f"weights of {op.kind}",
            f"with {weight.scales} scales",
            limit,
            'take a target with weights = "int8-per-channel-convs"',
        )


def _gives_a_vector(op: TpuOp) -> _Broken:
    shape = op.gives[0].shape
    if math.prod(shape[:-1]) > 1:
        yield f"output of {op.kind}", _by(shape), "one dimension", "write the layer as a 1x1 convolution"


def _softens_a_vector(op: TpuOp) -> _Broken:
    shape = op.gives[0].shape
    if math.prod(shape[:-1]) > 1:
        yield "softmax of", _by(shape), "one dimension", "leave it out, and compute it behind the model"
    elif shape and shape[-1] > MOST_SOFTMAX:
        yield (
            "softmax of",
            str(shape[-1]),
            f"at most {MOST_SOFTMAX} elements",
            "leave it out, and compute it behind the model",
        )


def _not_over_batch(op: TpuOp) -> _Broken:
    for axis in op.axes:
        rank = len(op.takes[0].shape) if op.takes and op.takes[0] is not None else 0
        if axis < rank - INNER:
            yield f"axis of {op.kind}", str(axis), f"the last {INNER} only", "leave the batch alone"


def _mean_of_fours(op: TpuOp) -> _Broken:
    shape = op.takes[0].shape if op.takes[0] is not None else ()
    if len(shape) - 1 in op.axes and shape[-1] % Z_MULTIPLE and shape[-1] > 1:
        limit = f"it over multiples of {Z_MULTIPLE} only"
        yield (
            "mean over",
            f"{shape[-1]} in the last place",
            limit,
            "average over height and width while channels are last",
        )


def _pads_with_zeros(op: TpuOp) -> _Broken:
    constants = [t for t in op.takes if t is not None and t.is_constant]
    if constants and (len(op.takes) != 2 or not all(t.is_zero for t in constants)):
        yield (
            "concatenation with",
            "constants",
            "one input beside a constant of zeros",
            "add the constant as a bias instead",
        )


def _unstrided(op: TpuOp) -> _Broken:
    if any(stride != 1 for stride in op.strides):
        yield "stride of a slice", _by(op.strides), "1 only", "use a strided convolution, or a pooling"
    if not op.are_masks_plain:
        yield "slice", "with an ellipsis or a new axis", "plain ones", "slice first, reshape afterwards"


def _prelu_by_channel(op: TpuOp) -> _Broken:
    alpha = op.takes[1] if len(op.takes) > 1 else None
    if alpha is not None and math.prod(alpha.shape[:-1]) > 1:
        yield "PReLU's alpha", _by(alpha.shape), "one value a channel", "share it over height and width"


OPS: dict[str, tuple[int, tuple[_Rule, ...]]] = {
    "ADD": (10, ()),
    "AVERAGE_POOL_2D": (10, (_without_activation,)),
    "CONCATENATION": (10, (_without_activation, _pads_with_zeros)),
    "CONV_2D": (10, (_constant(1, 2), _evenly_dilated)),
    "DEPTHWISE_CONV_2D": (10, (_constant(1, 2), _evenly_dilated)),
    "EXPAND_DIMS": (13, ()),
    "FULLY_CONNECTED": (10, (_constant(1, 2), _plain_weights, _gives_a_vector)),
    "L2_NORMALIZATION": (10, ()),
    "LOGISTIC": (10, ()),
    "LSTM": (14, ()),
    "MAXIMUM": (10, ()),
    "MAX_POOL_2D": (10, (_without_activation,)),
    "MEAN": (13, (_not_over_batch, _mean_of_fours)),
    "MINIMUM": (10, ()),
    "MUL": (10, ()),
    "PACK": (13, (_not_over_batch,)),
    "PAD": (13, (_not_over_batch,)),
    "PRELU": (13, (_prelu_by_channel,)),
    "QUANTIZE": (13, ()),
    "REDUCE_MAX": (14, (_not_over_batch,)),
    "REDUCE_MIN": (14, (_not_over_batch,)),
    "RELU": (10, ()),
    "RELU6": (10, ()),
    "RELU_N1_TO_1": (10, ()),
    "RESHAPE": (10, ()),
    "RESIZE_BILINEAR": (10, ()),
    "RESIZE_NEAREST_NEIGHBOR": (10, ()),
    "RSQRT": (14, ()),
    "SLICE": (10, ()),
    "SOFTMAX": (10, (_softens_a_vector,)),
    "SPACE_TO_DEPTH": (10, ()),
    "SPLIT": (10, (_not_over_batch,)),
    "SQUARED_DIFFERENCE": (14, ()),
    "SQUEEZE": (13, ()),
    "STRIDED_SLICE": (10, (_unstrided,)),
    "SUB": (10, ()),
    "SUM": (13, (_not_over_batch,)),
    "TANH": (10, ()),
    "TRANSPOSE": (14, ()),
    "TRANSPOSE_CONV": (13, (_constant(0, 1, 3),)),
}
"""Of each op, the first runtime that has it within these limits (10 is the oldest that a compiler serves), and limits.

What the table leaves open, that some large reshapes and resizings are not mapped, only the compiler knows.
"""

REWRITES = {
    "LEAKY_RELU": "use ReLU, ReLU6 or PReLU",
    "HARD_SWISH": "use ReLU or ReLU6",
    "GELU": "use ReLU or ReLU6",
    "ELU": "use ReLU or ReLU6",
    "DIV": "multiply by the inverse",
    "SQRT": "fold it into the weights",
    "BATCH_MATMUL": "use a convolution, or put the products of two values behind the last layer",
    "GATHER": "look it up before the model",
}


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
