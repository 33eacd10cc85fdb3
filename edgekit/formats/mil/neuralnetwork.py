"""A `neuralnetwork` model of Core ML (what older systems take), read as the ML program that computes the same.

Each layer becomes ops of `edgekit.formats.mil.ops`. Models whose arrays have the ranks that they are declared with are
read (what coremltools has written since version 4); of those with five fixed axes it is said that they are not.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgekit.errors import ArtifactError
from edgekit.formats.mil.arguments import Value
from edgekit.formats.mil.forms import Form, form_of_network
from edgekit.formats.mil.program import MilProgram, Op, Variable
from edgekit.formats.mil.values import Type
from edgekit.formats.mil.weight_params import read_weights

_EXACT, _WEIGHT = 1, "weight"
_TYPES = {65568: "FLOAT32", 65600: "FLOAT64", 65552: "FLOAT16", 131104: "INT32"}
_UNARY = {0: "sqrt", 1: "rsqrt", 2: "inverse", 3: "pow", 4: "exp", 5: "log", 6: "abs", 7: "threshold"}
_RENAMED = {
    "addBroadcastable": "add", "subtractBroadcastable": "sub", "multiplyBroadcastable": "mul",
    "divideBroadcastable": "real_div", "floorDivBroadcastable": "floor_div", "powBroadcastable": "pow",
    "modBroadcastable": "mod", "maxBroadcastable": "maximum", "minBroadcastable": "minimum", "max": "maximum",
    "min": "minimum", "logicalAnd": "logical_and", "logicalOr": "logical_or", "logicalXor": "logical_xor",
}  # fmt: skip
_SAME_NAME = (
    "ceil", "floor", "sign", "round", "exp2", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
    "atanh", "erf",
)  # fmt: skip
_POOLS = {0: "max_pool", 1: "avg_pool", 2: "l2_pool"}
_REDUCES = {
    "reduceMean": "reduce_mean", "reduceSum": "reduce_sum", "reduceMax": "reduce_max", "reduceMin": "reduce_min",
    "reduceProd": "reduce_prod", "reduceL1": "reduce_l1_norm", "reduceL2": "reduce_l2_norm",
    "reduceLogSum": "reduce_log_sum", "reduceSumSquare": "reduce_sum_square", "reduceLogSumExp": "reduce_log_sum_exp",
}  # fmt: skip
_COMPARISONS = {
    "equal": "equal", "notEqual": "not_equal", "lessThan": "less", "lessEqual": "less_equal", "greaterThan": "greater",
    "greaterEqual": "greater_equal",
}  # fmt: skip
_GELUS = {0: "EXACT", 1: "TANH_APPROXIMATION", 2: "SIGMOID_APPROXIMATION"}
_Step = tuple[str, dict[str, Any]]
"""An op and its arguments: values, or "@0", "@1", … for the layer's inputs, "@" for what the step before made."""


def read_network(spec: Any) -> MilProgram:
    """The program that computes what the model's layers do, in float32.

    Raises: ArtifactError: a layer that is not covered, by name and kind; weights that are of another size.
    """
    network = getattr(spec, spec.WhichOneof("Type"))
    if network.arrayInputShapeMapping != _EXACT:
        raise ArtifactError("its arrays have five fixed axes, as before iOS 13: convert it again for iOS 13 or later")
    inputs = tuple(_input(feature) for feature in spec.description.input)
    constants: dict[str, Value] = {}
    ops: list[Op] = []
    compressed: dict[str, Form] = {}
    for index, layer in enumerate(network.layers):
        made_of = _ops(layer, f"\0{index}", constants)
        compressed |= _forms(layer, made_of, constants)
        ops += made_of
    made = {variable.name for op in ops for variable in op.gives}
    outputs = tuple(feature.name for feature in spec.description.output)
    if missing := [name for name in outputs if name not in made]:
        raise ArtifactError(f"none of its layers makes its output {missing[0]}")
    return MilProgram(inputs, outputs, tuple(ops), constants, compressed)


def _input(feature: Any) -> Variable:
    kind = feature.type.WhichOneof("Type")
    if kind != "multiArrayType":
        raise ArtifactError(f"its input {feature.name} is of type {kind}: edgekit's evaluator knows arrays")
    array = feature.type.multiArrayType
    return Variable(feature.name, Type(_TYPES.get(array.dataType, "FLOAT32"), tuple(int(size) for size in array.shape)))


def _ops(layer: Any, mark: str, constants: dict[str, Value]) -> list[Op]:
    """The ops of a layer; their values go into `constants`, what lies between them has names beginning with `mark`."""
    kind = layer.WhichOneof("layer")
    translate = _LAYERS.get(kind or "")
    if translate is None:
        raise ArtifactError(f"it has the layer {layer.name} of kind {kind}, which edgekit's evaluator does not know")
    try:
        steps = translate(getattr(layer, kind), layer)
    except (ValueError, IndexError) as error:
        raise ArtifactError(f"its layer {layer.name} of kind {kind} cannot be read: {error}") from None
    found, passed = [], layer.input[0] if layer.input else ""
    for number, (op, arguments) in enumerate(steps):
        takes = {}
        for name, value in arguments.items():
            if isinstance(value, str) and value.startswith("@"):
                takes[name] = (passed,) if value == "@" else (layer.input[int(value[1:])],)
            elif isinstance(value, list) and value == ["@"]:
                takes[name] = tuple(layer.input)
            else:
                takes[name] = (f"{mark} {number} {name}",)
                constants[takes[name][0]] = value if isinstance(value, str | Tensor) else torch.as_tensor(value)
        is_last = number == len(steps) - 1
        gives = tuple(layer.output) if is_last else (f"{mark} {number}",)
        found.append(Op(op, takes, tuple(Variable(name, Type("FLOAT32", None)) for name in gives)))
        passed = gives[0]
    return found


def _forms(layer: Any, ops: list[Op], constants: dict[str, Value]) -> dict[str, Form]:
    """The form of a layer's weight by the name that it has, if it is compressed."""
    params = getattr(getattr(layer, layer.WhichOneof("layer")), "weights", None)
    name = next((op.takes[_WEIGHT][0] for op in ops if _WEIGHT in op.takes), "")
    weight = constants.get(name)
    form = form_of_network(params, weight.numel()) if params is not None and isinstance(weight, Tensor) else None
    return {} if form is None else {name: form}


def _optional(params: Any, has: bool, size: int, name: str = "bias") -> dict[str, Any]:  # noqa: FBT001
    return {name: read_weights(params, [size])} if has else {}


def _pads(params: Any) -> dict[str, Any]:
    if params.WhichOneof(params.DESCRIPTOR.oneofs[0].name) == "same":
        return {"pad_type": "same_lower" if params.same.asymmetryMode else "same"}
    amounts = params.valid.paddingAmounts.borderAmounts
    pads = [size for amount in amounts for size in (amount.startEdgeSize, amount.endEdgeSize)]
    return {"pad_type": "custom", "pad": pads} if any(pads) else {"pad_type": "valid"}


def _convolution(p: Any, _: Any) -> list[_Step]:
    kernel, groups = list(p.kernelSize) or [3, 3], int(p.nGroups) or 1
    out, inner = int(p.outputChannels), int(p.kernelChannels)
    shape = [inner, out // groups, *kernel] if p.isDeconvolution else [out, inner, *kernel]
    how = {
        "x": "@", "weight": read_weights(p.weights, shape, int(p.isDeconvolution)),
        "strides": list(p.stride) or [1, 1], "groups": groups,
        "dilations": list(p.dilationFactor) or [1, 1], **_pads(p), **_optional(p.bias, p.hasBias, out),
    }  # fmt: skip
    if not p.isDeconvolution:
        return [("conv", how)]
    return [("conv_transpose", how | ({"output_shape": list(p.outputShape)} if p.outputShape else {}))]


def _pooling(p: Any, _: Any) -> list[_Step]:
    if p.globalPooling:
        return [({0: "reduce_max", 1: "reduce_mean", 2: "reduce_l2_norm"}[p.type], _over(["@"], [-2, -1]))]
    how = {"x": "@", "kernel_sizes": list(p.kernelSize) or [3, 3], "strides": list(p.stride) or [1, 1]}
    if p.WhichOneof("PoolingPaddingType") == "includeLastPixel":
        h, w = list(p.includeLastPixel.paddingAmounts) or [0, 0]
        pads: dict[str, Any] = {"pad_type": "custom", "pad": [h, h, w, w], "ceil_mode": True}
    else:
        pads = _pads(p)
    return [(_POOLS[p.type], how | pads | {"exclude_padding_from_average": p.avgPoolExcludePadding})]


def _over(_: Any, axes: list[int]) -> dict[str, Any]:
    return {"x": "@", "axes": axes, "keep_dims": True}


def _activation(p: Any, _: Any) -> list[_Step]:
    kind = p.WhichOneof("NonlinearityType")
    a = getattr(p, kind)
    plain = {"ReLU": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "softsign": "softsign", "softplus": "softplus"}
    both = {"linear": "linear_activation", "scaledTanh": "scaled_tanh", "sigmoidHard": "sigmoid_hard"}
    alone = {"leakyReLU": "leaky_relu", "thresholdedReLU": "thresholded_relu", "ELU": "elu"}
    if kind in plain:
        return [(plain[kind], {"x": "@"})]
    if kind in both:
        return [(both[kind], {"x": "@", "alpha": a.alpha, "beta": a.beta})]
    if kind in alone:
        return [(alone[kind], {"x": "@", "alpha": a.alpha})]
    if kind == "PReLU":
        return [("prelu", {"x": "@", "alpha": read_weights(a.alpha, [len(a.alpha.floatValue)])})]
    raise ValueError(f"the activation {kind} is not covered")


def _inner_product(p: Any, _: Any) -> list[_Step]:
    out, inner = int(p.outputChannels), int(p.inputChannels)
    weight = read_weights(p.weights, [out, inner])
    return [("linear", {"x": "@", "weight": weight, **_optional(p.bias, p.hasBias, out)})]


def _batchnorm(p: Any, _: Any) -> list[_Step]:
    c = [int(p.channels)]
    known = {"gamma": read_weights(p.gamma, c), "beta": read_weights(p.beta, c), "epsilon": p.epsilon, "x": "@"}
    if p.computeMeanVar:
        return [("instance_norm", known)]
    return [("batch_norm", known | {"mean": read_weights(p.mean, c), "variance": read_weights(p.variance, c)})]


def _unary(p: Any, _: Any) -> list[_Step]:
    """The function of scale · x + shift."""
    op = _UNARY[p.type]
    extra: dict[str, Any] = {"pow": {"y": p.alpha}, "threshold": {"alpha": p.alpha}}.get(op, {})
    if op in {"rsqrt", "inverse", "log"}:
        extra = {"epsilon": p.epsilon}
    return [("linear_activation", {"x": "@", "alpha": p.scale, "beta": p.shift}), (op, {"x": "@", **extra})]


def _with_alpha(op: str) -> Callable[[Any, Any], list[_Step]]:
    """Of all inputs, or of the one and a number."""

    def translate(p: Any, layer: Any) -> list[_Step]:
        if len(layer.input) == 1:
            return [(op, {"x": "@", "y": p.alpha})]
        return [(op, {"x": "@", "y": f"@{i}"}) for i in range(1, len(layer.input))]

    return translate


def _two(op: str) -> Callable[[Any, Any], list[_Step]]:
    return lambda _, layer: [(op, {"x": "@", "y": f"@{i}"}) for i in range(1, len(layer.input))]


def _one(op: str) -> Callable[[Any, Any], list[_Step]]:
    return lambda _, __: [(op, {"x": "@"})]


def _reduce(op: str) -> Callable[[Any, Any], list[_Step]]:
    def translate(p: Any, _: Any) -> list[_Step]:
        axes = {} if p.reduceAll else {"axes": list(p.axes)}
        return [(op, {"x": "@", "keep_dims": p.keepDims, **axes})]

    return translate


def _matmul(p: Any, layer: Any) -> list[_Step]:
    if len(layer.input) == 2:
        return [("matmul", {"x": "@", "y": "@1", "transpose_x": p.transposeA, "transpose_y": p.transposeB})]
    rows, columns = int(p.weightMatrixFirstDimension), int(p.weightMatrixSecondDimension)
    weight = read_weights(p.weights, [columns, rows])  # rows × columns, in column-major order
    return [("linear", {"x": "@", "weight": weight, **_optional(p.bias, p.hasBias, columns)})]


def _padding(p: Any, _: Any) -> list[_Step]:
    kind = p.WhichOneof("PaddingType")
    amounts = p.paddingAmounts.borderAmounts
    pads = [size for amount in amounts for size in (amount.startEdgeSize, amount.endEdgeSize)]
    mode = {"constant": "constant", "reflection": "reflect", "replication": "replicate"}[kind]
    return [("pad", {"x": "@", "pad": pads, "mode": mode, "constant_val": p.constant.value})]


def _constant_pad(p: Any, layer: Any) -> list[_Step]:
    if p.padToGivenOutputSizeMode or len(layer.input) > 1:
        raise ValueError("padding to a size is not covered")
    return [("pad", {"x": "@", "pad": list(p.padAmounts), "mode": "constant", "constant_val": p.value})]


def _upsample(p: Any, _: Any) -> list[_Step]:
    h, w = list(p.fractionalScalingFactor) or list(p.scalingFactor)
    how = {"x": "@", "scale_factor_height": h, "scale_factor_width": w}
    if p.mode == 0:
        return [("upsample_nearest_neighbor", how)]
    if p.linearUpsampleMode == 0:
        raise ValueError("this mode of upsampling is not covered")
    return [("upsample_bilinear", how | {"align_corners": p.linearUpsampleMode == 1})]


def _slice(p: Any, _: Any) -> list[_Step]:
    how = {"begin": p.beginIds, "end": p.endIds, "stride": p.strides, "begin_mask": p.beginMasks}
    how |= {"end_mask": p.endMasks, "squeeze_mask": p.squeezeMasks}
    return [("slice_by_index", {"x": "@", **{name: list(values) for name, values in how.items() if len(values)}})]


def _slice_axis(p: Any, _: Any) -> list[_Step]:
    how = {"begin": p.startIndex, "end": p.endIndex, "stride": p.stride, "axis": p.axis - 3}
    return [("slice_axis", {"x": "@", **how})]


def _split(p: Any, layer: Any) -> list[_Step]:
    sizes = {"split_sizes": list(p.splitSizes)} if p.splitSizes else {"num_splits": int(p.numSplits)}
    return [("split", {"x": "@", "axis": p.axis, **sizes})]


def _layer_norm(p: Any, _: Any) -> list[_Step]:
    shape = list(p.normalizedShape)
    known = {"gamma": read_weights(p.gamma, shape), "beta": read_weights(p.beta, shape), "epsilon": p.eps}
    return [("layer_norm", {"x": "@", "axes": list(range(-len(shape), 0)), **known})]


def _mvn(p: Any, _: Any) -> list[_Step]:
    if not p.normalizeVariance:
        raise ValueError("subtracting the mean alone is not covered")
    axes = [-3, -2, -1] if p.acrossChannels else [-2, -1]
    return [("layer_norm", {"x": "@", "axes": axes, "epsilon": p.epsilon})]


def _per_channel(params: Any, shape: Any) -> Tensor:
    """Numbers for each channel, the third axis from the end; or of three axes as they are."""
    sizes = [int(size) for size in shape]
    return read_weights(params, sizes).reshape([*sizes, 1, 1] if len(sizes) == 1 else sizes)


def _scale(p: Any, _: Any) -> list[_Step]:
    scaled: list[_Step] = [("mul", {"x": "@", "y": _per_channel(p.scale, p.shapeScale)})]
    return [*scaled, ("add", {"x": "@", "y": _per_channel(p.bias, p.shapeBias)})] if p.hasBias else scaled


def _bias(p: Any, _: Any) -> list[_Step]:
    return [("add", {"x": "@", "y": _per_channel(p.bias, p.shape)})]


def _crop(p: Any, layer: Any) -> list[_Step]:
    if len(layer.input) > 1:
        raise ValueError("cropping to another value's size is not covered")
    height, width = ([int(a.startEdgeSize), int(a.endEdgeSize)] for a in p.cropAmounts.borderAmounts)
    return [("crop", {"x": "@", "crop_height": height, "crop_width": width})]


def _tile(p: Any, layer: Any) -> list[_Step]:
    if len(layer.input) > 1:
        raise ValueError("a tile of free size is not covered")
    return [("tile", {"x": "@", "reps": list(p.reps)})]


def _top(p: Any, layer: Any) -> list[_Step]:
    if len(layer.input) > 1:
        raise ValueError("how many are taken is free, which is not covered")
    return [("topk", {"x": "@", "k": int(p.K), "axis": p.axis, "ascending": p.useBottomK})]


def _cumsum(p: Any, _: Any) -> list[_Step]:
    return [("cumsum", {"x": "@", "axis": p.axis, "exclusive": p.excludeFinalSum, "reverse": p.reverse})]


def _one_hot(p: Any, _: Any) -> list[_Step]:
    how = {"axis": p.axis, "on_value": p.onValue, "off_value": p.offValue}
    return [("one_hot", {"indices": "@", "one_hot_vector_size": int(p.oneHotVectorSize), **how})]


def _constant(p: Any, _: Any) -> list[_Step]:
    return [("identity", {"x": read_weights(p.data, [int(size) for size in p.shape])})]


def _embedding(p: Any, _: Any) -> list[_Step]:
    """A row of the table for each index, which is the last axis, of size 1."""
    table = read_weights(p.weights, [int(p.embeddingSize), int(p.vocabSize)]).T.contiguous()
    steps: list[_Step] = [
        ("squeeze", {"x": "@", "axes": [-1]}),
        ("cast", {"x": "@", "dtype": "int32"}),
        ("gather", {"x": table, "indices": "@"}),
    ]
    return [*steps, ("add", {"x": "@", "y": read_weights(p.bias, [int(p.embeddingSize)])})] if p.hasBias else steps


_LAYERS: dict[str, Callable[[Any, Any], list[_Step]]] = {
    **{kind: _two(op) for kind, op in _RENAMED.items()}, **{kind: _one(kind) for kind in _SAME_NAME},
    **{kind: _reduce(op) for kind, op in _REDUCES.items()},
    **{kind: _with_alpha(op) for kind, op in _COMPARISONS.items()},
    "copy": _one("identity"), "logicalNot": _one("logical_not"),
    "add": _with_alpha("add"), "multiply": _with_alpha("mul"), "convolution": _convolution,
    "pooling": _pooling, "activation": _activation, "innerProduct": _inner_product, "batchnorm": _batchnorm,
    "unary": _unary, "batchedMatmul": _matmul, "padding": _padding, "constantPad": _constant_pad, "upsample": _upsample,
    "slice": _slice_axis, "sliceStatic": _slice, "splitND": _split, "layerNormalization": _layer_norm,
    "mvn": _mvn, "scale": _scale, "bias": _bias, "loadConstantND": _constant,
    "embeddingND": _embedding,
    "clip": lambda p, _: [("clip", {"x": "@", "alpha": p.minVal, "beta": p.maxVal})],
    "gelu": lambda p, _: [("gelu", {"x": "@", "mode": _GELUS[p.mode]})],
    "softmax": lambda _, __: [("softmax", {"x": "@", "axis": -3})],
    "softmaxND": lambda p, _: [("softmax", {"x": "@", "axis": p.axis})],
    "concat": lambda _, __: [("concat", {"values": ["@"], "axis": -3})],
    "concatND": lambda p, _: [("concat", {"values": ["@"], "axis": p.axis, "interleave": p.interleave})],
    "stack": lambda p, _: [("stack", {"values": ["@"], "axis": p.axis})],
    "transpose": lambda p, _: [("transpose", {"x": "@", "perm": list(p.axes)})],
    "reshapeStatic": lambda p, _: [("reshape", {"x": "@", "shape": list(p.targetShape)})],
    "squeeze": lambda p, _: [("squeeze", {"x": "@", **({} if p.squeezeAll else {"axes": list(p.axes)})})],
    "expandDims": lambda p, _: [("expand_dims", {"x": "@", "axes": list(p.axes)})],
    "flattenTo2D": lambda p, _: [("flatten2d", {"x": "@", "axis": p.axis})],
    "crop": _crop, "tile": _tile, "topK": _top, "cumSum": _cumsum, "oneHot": _one_hot,
    "argMax": lambda p, _: [("reduce_argmax", {"x": "@", "axis": p.axis, "keep_dims": not p.removeDim})],
    "argMin": lambda p, _: [("reduce_argmin", {"x": "@", "axis": p.axis, "keep_dims": not p.removeDim})],
    "argSort": lambda p, _: [("argsort", {"x": "@", "axis": p.axis, "ascending": not p.descending})],
    "reverse": lambda p, _: [("reverse", {"x": "@", "axes": [i for i, turned in enumerate(p.reverseDim) if turned]})],
    "matrixBandPart": lambda p, _: [("band_part", {"x": "@", "lower": p.numLower, "upper": p.numUpper})],
    "whereBroadcastable": lambda _, __: [("select", {"cond": "@", "a": "@1", "b": "@2"})],
    "gatherAlongAxis": lambda p, _: [("gather_along_axis", {"x": "@", "indices": "@1", "axis": p.axis})],
    "clampedReLU": lambda p, _: [("clamped_relu", {"x": "@", "alpha": p.alpha, "beta": p.beta})],
    "gather": lambda p, _: [("gather", {"x": "@", "indices": "@1", "axis": p.axis})],
}  # fmt: skip
