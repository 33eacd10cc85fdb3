"""edgekit's evaluator of ML programs against torch, for what coremltools makes of torch's ops, and for its weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.catalog.targets import get_target
from edgekit.errors import ArtifactError
from edgekit.formats.coreml import FORMAT, read
from edgekit.formats.mil.ops import KERNELS
from edgekit.formats.mil.program import evaluate
from edgekit.models.model import capture
from edgekit.models.program import export

UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu, "relu6": F.relu6, "leaky": lambda x: F.leaky_relu(x, 0.2), "elu": lambda x: F.elu(x, 0.7),
    "silu": F.silu, "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "softplus": F.softplus,
    "hardsigmoid": F.hardsigmoid, "hardswish": F.hardswish, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "softsign": F.softsign, "softmax": lambda x: F.softmax(x, 1), "log_softmax": lambda x: F.log_softmax(x, -1),
    "exp": torch.exp, "log": lambda x: torch.log(x.abs() + 1), "sqrt": lambda x: torch.sqrt(x.abs()),
    "rsqrt": lambda x: torch.rsqrt(x.abs() + 1), "abs": torch.abs, "sin": torch.sin, "cos": torch.cos,
    "floor": torch.floor, "round": torch.round, "sign": torch.sign, "erf": torch.erf, "clamp": lambda x: x.clamp(-1, 2),
    "pow": lambda x: x.abs() ** 1.5, "square": lambda x: x**2, "maximum": lambda x: torch.maximum(x, x.flip(0)),
    "where": lambda x: torch.where(x > 0, x, -2 * x), "remainder": lambda x: torch.remainder(x, 0.7),
    "floor_div": lambda x: torch.floor_divide(x, 0.7), "mean": lambda x: x.mean((2, 3)), "sum": lambda x: x.sum(1),
    "amax": lambda x: x.amax((1, 2)), "amin": lambda x: x.amin(-1, keepdim=True),
    "norm": lambda x: x.norm(dim=1), "argmax": lambda x: x.argmax(1), "cumsum": lambda x: x.cumsum(2),
    "logsumexp": lambda x: x.logsumexp(1), "flip": lambda x: x.flip(2), "tile": lambda x: x.repeat(1, 2, 1, 1),
    "stack": lambda x: torch.stack([x, 2 * x], 1), "chunk": lambda x: x.chunk(2, 1)[1],
    "split": lambda x: x.split([1, 3], 1)[1],
    "slice": lambda x: x[:, 1:, ::2, 1:-1], "select": lambda x: x[:, 2], "flatten": lambda x: x.flatten(1),
    "permute": lambda x: x.permute(0, 2, 3, 1), "pad": lambda x: F.pad(x, (1, 2, 0, 3), value=0.5),
    "reflect": lambda x: F.pad(x, (1, 2, 3, 1), mode="reflect"),
    "replicate": lambda x: F.pad(x, (1, 2, 2, 0), mode="replicate"),
    "shuffle": lambda x: F.pixel_shuffle(x, 2), "unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "nearest": lambda x: F.interpolate(x, scale_factor=2), "max_pool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max_pool_ceil": lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), "avg_pool": lambda x: F.avg_pool2d(x, 2),
    "avg_pool_pad": lambda x: F.avg_pool2d(x, 3, 2, 1), "adaptive": lambda x: F.adaptive_avg_pool2d(x, 1),
    "avg_pool_bare": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
    "bilinear_corners": lambda x: F.interpolate(x, (13, 5), mode="bilinear", align_corners=True),
    "layer_norm": lambda x: F.layer_norm(x, (8,)),
    "einsum": lambda x: torch.einsum("nchw,nwhu->nchu", x, x.transpose(1, 3)),
    "attention": lambda x: F.scaled_dot_product_attention(x, x * 0.5, x + 1), "topk": lambda x: x.topk(3, 1).values,
    "gather": lambda x: x.gather(1, torch.tensor([0, 2]).reshape(1, 2, 1, 1).expand(2, 2, 8, 8)),
    "index": lambda x: x[:, [2, 0, 1]], "tril": lambda x: x.tril(1), "expand": lambda x: x[:, :1].expand(2, 5, 8, 8),
}  # fmt: skip


class Everything(nn.Module):
    """All of UNARY, and layers that have weights, as one model."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(
            {
                "conv": nn.Conv2d(4, 6, 3, 2, 1), "dilated": nn.Conv2d(4, 6, 3, dilation=2, padding=2),
                "grouped": nn.Conv2d(4, 8, 3, groups=4, padding="same"), "odd": nn.Conv2d(4, 6, (1, 4), (2, 3)),
                "even": nn.Conv2d(4, 6, 4, padding="same"), "up": nn.ConvTranspose2d(4, 6, 3, 2, 1, 1),
                "up_grouped": nn.ConvTranspose2d(4, 6, 2, 2, groups=2), "linear": nn.Linear(8, 5),
                "batch": nn.BatchNorm2d(4), "instance": nn.InstanceNorm2d(4, affine=True), "group": nn.GroupNorm(2, 4),
                "prelu": nn.PReLU(4),
            }
        )  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        layers = (part(x) for part in self.parts.values())
        return (
            *(function(x) for function in UNARY.values()),
            *layers,
            F.conv1d(x[:, :, 0], self.parts["conv"].weight[:, :, 0]),
        )


def written(model: Any, path: Path) -> Path:
    model.save(str(path))
    return path


@pytest.fixture(scope="module")
def image() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 4, 8, 8)


def test_what_coremltools_makes_of_torchs_ops_computes_what_torch_does(image: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Everything().eval()
    made = read(FORMAT.lower(export(capture(module, (image,), "ops")), get_target("coreml-apple-silicon"), tmp_path))
    values = evaluate(made, (image.numpy(),))
    with torch.no_grad():
        wanted = module(image)
    wrong = []
    for name, output, want in zip([*UNARY, *module.parts, "conv1d"], made.outputs, wanted, strict=True):
        got = values[output]
        if got.shape != tuple(want.shape) or not np.allclose(got, want.numpy(), rtol=1e-4, atol=2e-5):
            wrong.append(name)
    assert wrong == []


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(4, 32, 3), nn.Linear(32, 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.conv(x)).mean((2, 3)))


FORMS: dict[str, Callable[[Any], Any]] = {
    "int8": lambda m: cto.linear_quantize_weights(m, _all(cto.OpLinearQuantizerConfig(mode="linear_symmetric"))),
    "int8-affine": lambda m: cto.linear_quantize_weights(m, _all(cto.OpLinearQuantizerConfig(mode="linear"))),
    "int4-block": lambda m: cto.linear_quantize_weights(
        m, _all(cto.OpLinearQuantizerConfig(dtype="int4", granularity="per_block", block_size=4))
    ),
    "uint4-block": lambda m: cto.linear_quantize_weights(
        m, _all(cto.OpLinearQuantizerConfig(mode="linear", dtype="uint4", granularity="per_block", block_size=4))
    ),
    "palette": lambda m: cto.palettize_weights(m, _all(cto.OpPalettizerConfig(mode="uniform", nbits=6))),
    "palette-grouped": lambda m: cto.palettize_weights(
        m,
        _all(cto.OpPalettizerConfig(mode="uniform", nbits=4, granularity="per_grouped_channel", group_size=8)),
    ),
    "palette-vector": lambda m: cto.palettize_weights(
        m, _all(cto.OpPalettizerConfig(mode="kmeans", nbits=4, cluster_dim=2))
    ),
    "sparse": lambda m: cto.prune_weights(m, _all(cto.OpMagnitudePrunerConfig(target_sparsity=0.75))),
    "sparse-palette": lambda m: cto.palettize_weights(
        FORMS["sparse"](m), _all(cto.OpPalettizerConfig(mode="uniform", nbits=4)), joint_compression=True
    ),
    "sparse-int8": lambda m: cto.linear_quantize_weights(
        FORMS["sparse"](m), _all(cto.OpLinearQuantizerConfig()), joint_compression=True
    ),
}  # fmt: skip
"""Compressed forms of weights, as coremltools writes them."""


@pytest.fixture(scope="module")
def plain(image: Tensor) -> dict[Any, Any]:
    torch.manual_seed(0)
    exported = torch.export.export(Plain().eval(), (image,)).run_decompositions({})
    return {
        target: ct.convert(
            exported, minimum_deployment_target=target, compute_precision=ct.precision.FLOAT32, skip_model_load=True
        )
        for target in (ct.target.iOS16, ct.target.iOS18)
    }


def _all(config: Any) -> Any:
    config.weight_threshold = 64
    return cto.OptimizationConfig(global_config=config)


@pytest.mark.parametrize(
    ("form", "target"),
    [
        *((form, ct.target.iOS18) for form in FORMS),
        *((form, ct.target.iOS16) for form in ("int8", "int8-affine", "palette", "sparse")),
    ],
)
def test_compressed_weights_are_expanded_as_coremltools_itself_expands_them(
    form: str, target: Any, plain: dict[Any, Any], tmp_path: Path
) -> None:
    made = read(written(FORMS[form](plain[target]), tmp_path / "small.mlpackage"))
    weights = made.constants[next(op for op in made.ops if op.kind == "conv").takes["weight"][0]]
    small = ct.models.MLModel(str(tmp_path / "small.mlpackage"), skip_model_load=True)
    opened = read(written(cto.decompress_weights(small), tmp_path / "opened.mlpackage"))
    wanted = opened.constants[next(op for op in opened.ops if op.kind == "conv").takes["weight"][0]]
    assert len(made.compressed) >= 2
    assert not opened.compressed
    assert torch.equal(weights, wanted)  # type: ignore[arg-type]


def test_float16_values_are_rounded_after_every_op_and_overflow_as_they_would(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec(shape=(4,))], opset_version=ct.target.iOS17)
    def steps(x: Any) -> Any:
        x = mb.cast(x=x, dtype="fp16")
        return mb.cast(x=mb.mul(x=mb.add(x=x, y=np.float16(0.1)), y=np.float16(3)), dtype="fp32")

    model = ct.convert(steps, minimum_deployment_target=ct.target.iOS17, skip_model_load=True)
    made = read(written(model, tmp_path / "m.mlpackage"))
    x = np.array([1 / 3, 1000.3, 30000, -7e-8], np.float32)
    with np.errstate(over="ignore"):
        wanted = ((x.astype(np.float16) + np.float16(0.1)) * np.float16(3)).astype(np.float32)
    assert np.isinf(wanted[2])
    assert np.array_equal(evaluate(made, (x,))[made.outputs[0]], wanted)


def test_quantize_divides_by_the_scale_and_keeps_within_the_whole_type(tmp_path: Path) -> None:
    scale = np.array([0.1, 0.3], np.float32)

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 2, 256))], opset_version=ct.target.iOS17)
    def steps(x: Any) -> Any:
        q = mb.quantize(input=x, scale=scale, zero_point=np.array([-5, 7], np.int8), axis=1, output_dtype="int8")
        return mb.dequantize(input=mb.identity(x=q), scale=scale, zero_point=np.array([-5, 7], np.int8), axis=1)

    model = ct.convert(
        steps, minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision.FLOAT32, skip_model_load=True
    )
    made = read(written(model, tmp_path / "m.mlpackage"))
    x = np.linspace(-60, 60, 512, dtype=np.float32).reshape(1, 2, 256)
    [quantized] = [op.gives[0].name for op in made.ops if op.kind == "quantize"]
    values = evaluate(made, (x,), [quantized, made.outputs[0]])
    wanted = np.clip(np.rint(x / scale[:, None]) + np.array([[-5], [7]]), -128, 127)
    assert values[quantized].dtype == np.int8
    assert np.array_equal(values[quantized], wanted)
    assert {-128, 127} <= set(values[quantized].ravel().tolist())
    assert np.allclose(values[made.outputs[0]], (wanted - [[-5], [7]]) * scale[:, None], rtol=1e-6)


def test_an_op_that_is_not_known_is_named(image: Tensor, tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 4))], opset_version=ct.target.iOS17)
    def steps(x: Any) -> Any:
        return mb.random_normal(shape=mb.shape(x=x), mean=0.0, stddev=1.0, name="drawn")

    model = ct.convert(steps, minimum_deployment_target=ct.target.iOS17, skip_model_load=True)
    with pytest.raises(ArtifactError, match=r"m\.mlpackage: it has the op random_normal \(it makes drawn.*not know"):
        read(written(model, tmp_path / "m.mlpackage"))
    assert "random_normal" not in KERNELS
