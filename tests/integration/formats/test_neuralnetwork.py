"""Core ML's older `neuralnetwork` models, as coremltools writes them of torch modules, against torch."""

from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.models.neural_network.quantization_utils import quantize_weights
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.errors import ArtifactError
from edgekit.formats.child import run_model
from edgekit.formats.coreml import FORMAT, read


class Net(nn.Module):
    """Of each kind of layer that small nets have, one or more."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(4, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.depth, self.up = nn.Conv2d(8, 8, 3, padding=(1, 2), groups=8), nn.ConvTranspose2d(8, 6, 2, 2)
        self.act, self.inner = nn.PReLU(8), nn.InstanceNorm2d(8, affine=True)
        self.head, self.layer, self.tail = nn.Linear(16, 12), nn.LayerNorm(12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        a = self.act(self.norm(self.stem(x)))
        b = F.relu6(self.depth(a))[..., 1:-1]
        c = torch.cat([F.hardswish(a + b), F.leaky_relu(a * b, 0.1)], 1)
        d = self.up(self.inner(F.max_pool2d(F.pad(a, (1, 0, 0, 1)), 2, ceil_mode=True)))
        e = self.layer(F.gelu(self.head(F.adaptive_avg_pool2d(c, 1).flatten(1))))
        f = F.softmax(e.reshape(2, 3, 4).transpose(1, 2) @ e.reshape(2, 3, 4), -1)
        g = F.interpolate(F.elu(a), scale_factor=2, mode="bilinear", align_corners=False)
        h = torch.sqrt(x.abs() + 1) / (1 + torch.exp(x)) - x.mean(1, keepdim=True) ** 2
        i = torch.stack(h.split(2, 1), 1).amax(1) + F.avg_pool2d(x, 3, 1, 1)[:, :2]
        return (
            self.tail(e),
            f,
            g,
            i,
            F.interpolate(d, scale_factor=2),
            torch.tanh(d).clamp(-0.5, 0.5),
            F.softplus(f).sum(1),
        )


@pytest.fixture(scope="module")
def net() -> tuple[Net, Tensor]:
    torch.manual_seed(0)
    return Net().eval(), torch.randn(2, 4, 8, 8)


@pytest.fixture(scope="module")
def model(net: tuple[Net, Tensor]) -> ct.models.MLModel:
    module, x = net
    kind = ct.TensorType(name="x", shape=x.shape)
    return ct.convert(torch.jit.trace(module, x), inputs=[kind], convert_to="neuralnetwork")


def test_each_layer_computes_what_torch_does(net: tuple[Net, Tensor], model: ct.models.MLModel, tmp_path: Path) -> None:
    model.save(str(tmp_path / "net.mlmodel"))
    [takes] = FORMAT.inputs(tmp_path / "net.mlmodel")
    assert (takes.name, takes.shape, takes.dtype) == ("x", (2, 4, 8, 8), "float32")
    found = run_model("coreml", tmp_path / "net.mlmodel", (net[1].numpy(),))
    with torch.no_grad():
        wanted = net[0](net[1])
    assert [a.shape for a in found] == [tuple(t.shape) for t in wanted]
    for got, want in zip(found, wanted, strict=True):
        assert np.allclose(got, want.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("bits", "mode"), [(8, "linear"), (5, "linear"), (8, "linear_lut"), (3, "linear_lut")])
def test_weights_in_few_bits_are_within_half_a_step_of_those_in_float(
    model: ct.models.MLModel, bits: int, mode: str, tmp_path: Path
) -> None:
    small = quantize_weights(model, bits, quantization_mode=mode)
    model.save(str(tmp_path / "net.mlmodel"))
    (tmp_path / "small.mlmodel").write_bytes(
        (small.get_spec() if isinstance(small, ct.models.MLModel) else small).SerializeToString()
    )
    plain, found = read(tmp_path / "net.mlmodel"), read(tmp_path / "small.mlmodel")
    kinds = []
    for op in plain.ops:
        if op.kind in {"conv", "conv_transpose", "linear"}:
            wanted, got = (made.constants[op.takes["weight"][0]] for made in (plain, found))
            channel = 1 if op.kind == "conv_transpose" else 0
            rest = tuple(a for a in range(wanted.ndim) if mode == "linear_lut" or a != channel)
            step = (wanted.amax(rest, keepdim=True) - wanted.amin(rest, keepdim=True)) / (2**bits - 1)
            assert bool(((got - wanted).abs() <= 0.51 * step).all())
            assert not torch.equal(got, wanted)
            kinds.append(op.kind)
    assert sorted(kinds) == ["conv", "conv", "conv_transpose", "linear", "linear"]


def test_weights_in_16_bits_are_those_in_float_rounded(model: ct.models.MLModel, tmp_path: Path) -> None:
    small = quantize_weights(model, 16)
    model.save(str(tmp_path / "net.mlmodel"))
    (tmp_path / "small.mlmodel").write_bytes(
        (small.get_spec() if isinstance(small, ct.models.MLModel) else small).SerializeToString()
    )
    plain, found = read(tmp_path / "net.mlmodel"), read(tmp_path / "small.mlmodel")
    for op in plain.ops:
        if op.kind in {"conv", "conv_transpose", "linear"}:
            wanted, got = (made.constants[op.takes["weight"][0]] for made in (plain, found))
            assert torch.equal(got, wanted.half().float())


def test_a_layer_that_is_not_known_is_named(tmp_path: Path) -> None:
    class Draw(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.rand_like(x)

    x = torch.ones(2, 3)
    made = ct.convert(
        torch.jit.trace(Draw(), x, check_trace=False), inputs=[ct.TensorType(shape=x.shape)], convert_to="neuralnetwork"
    )
    made.save(str(tmp_path / "net.mlmodel"))
    with pytest.raises(ArtifactError, match=r"net\.mlmodel: it has the layer .* of kind random\w+, which .* not know"):
        read(tmp_path / "net.mlmodel")


def test_arrays_of_five_fixed_axes_are_refused_in_words(model: ct.models.MLModel, tmp_path: Path) -> None:
    spec = model.get_spec()
    spec.neuralNetwork.arrayInputShapeMapping = 0
    (tmp_path / "old.mlmodel").write_bytes(spec.SerializeToString())
    with pytest.raises(ArtifactError, match=r"old\.mlmodel: its arrays have five fixed axes.*convert it again"):
        read(tmp_path / "old.mlmodel")
