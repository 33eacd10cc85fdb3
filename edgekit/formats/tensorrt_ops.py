"""The ONNX operators of each TensorRT version, as onnx-tensorrt's operator tables have them (8.2-GA to 10.1-GA).

None was taken away again up to 10.1, where the public tables end: later versions are taken to have what 10.1 has.
"""

_FROM = {
    "8.2": """
        Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip
        Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout
        Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gemm GlobalAveragePool
        GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GRU HardSigmoid Identity If ImageScaler
        InstanceNormalization IsNaN LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization LpPool LRN LSTM
        MatMul Max MaxPool Mean Min Mul Neg NonMaxSuppression Not Or Pad ParametricSoftplus Pow PRelu QuantizeLinear
        RandomUniform RandomUniformLike Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
        ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RNN Round ScaledTanh Scan
        Scatter ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign
        SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Unsqueeze Upsample Where
    """,
    "8.4": "HardSwish RandomNormal RandomNormalLike Reciprocal Shrink Xor",
    "8.5": "GridSample MeanVarianceNormalization Mod NonZero OneHot RoiAlign Trilu",
    "8.6": "GroupNormalization IsInf LayerNormalization",
    "10.0": "CastLike Gelu Hardmax Mish",
    "10.1": "DeformConv",
}

FIRST_VERSION = {op: version for version, ops in _FROM.items() for op in ops.split()}
"""The version from which on there is an operator."""


def lacks(op: str, version: str) -> str | None:
    """Why TensorRT `version` cannot run an operator, in words; None if it can.

    >>> lacks("Conv", "8.5"), lacks("Gelu", "8.6"), lacks("Unique", "10.16")
    (None, 'TensorRT 8.6 has no Gelu: 10.0 is the first that has', 'no TensorRT has Unique')
    """
    first = FIRST_VERSION.get(op)
    if first is None:
        return f"no TensorRT has {op}"
    if _numbers(version) < _numbers(first):
        return f"TensorRT {version} has no {op}: {first} is the first that has"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
