"""Capture: what a model is seen to be, and one line that says where it fails."""

from collections.abc import Callable

import pytest
import torch
from nets import net
from torch import Tensor, nn

from edgekit.errors import ModelError
from edgekit.models.model import as_tensors, capture


class Inner(nn.Module):
    def __init__(self, does: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.does = does

    def forward(self, x: Tensor) -> object:
        return self.does(x)


class Outer(nn.Module):
    def __init__(self, does: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Identity(), Inner(does))

    def forward(self, x: Tensor) -> object:
        return self.blocks(x)


def branches(x: Tensor) -> Tensor:
    if x.sum() > 0:
        return x
    return -x


def leaves_torch(x: Tensor) -> Tensor:
    return torch.from_numpy(x.numpy() + 1)


@pytest.mark.parametrize(
    ("does", "line", "words"),
    [
        (branches, "`if x.sum() > 0:`", "must not depend on values"),
        (leaves_torch, "`return torch.from_numpy(x.numpy() + 1)`", "numpy"),
    ],
)
def test_a_model_that_cannot_be_exported_is_told_with_module_line_and_reason(
    does: Callable[[Tensor], Tensor], line: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError) as caught:
        capture(Outer(does), (torch.randn(4, 4),), "net")
    said = str(caught.value)
    assert said.startswith("model net cannot be exported: blocks.1 (Inner), test_capture.py:")
    assert line in said and words in said and "\n" not in said
    assert capfd.readouterr() == ("", "")


def test_an_input_of_the_wrong_shape_is_told_with_the_shape_and_the_line() -> None:
    with pytest.raises(ModelError, match=r"does not run on an input of shape \(1, 3, 16, 16\)"):
        capture(net("mobile").module, (torch.randn(1, 3, 16, 16),), "net")
    with pytest.raises(ModelError, match=r"blocks.1 \(Inner\), test_capture.py:\d+ in <lambda>: .*invalid for input"):
        capture(Outer(lambda x: x.view(7, -1)), (torch.randn(4, 4),), "net")


@pytest.mark.parametrize(
    ("does", "words"),
    [
        (lambda x: x / 0 * 0, "NaN or infinite outputs"),
        (lambda x: {"scores": x}, "must give a tensor or a tuple of tensors, got dict"),
        (lambda x: None, "got NoneType"),
    ],
)
def test_outputs_that_are_no_numbers_are_told(does: Callable[[Tensor], object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        capture(Outer(does), (torch.randn(4, 4),), "net")


def test_the_spec_says_what_goes_in_and_comes_out() -> None:
    spec = capture(Outer(lambda x: (x.sum(1), x.long())), (torch.randn(4, 3),), "net").spec
    assert [(t.name, t.shape, t.dtype) for t in spec.inputs] == [("in_0", (4, 3), "float32")]
    assert [(t.name, t.shape, t.dtype) for t in spec.outputs] == [
        ("out_0", (4,), "float32"), ("out_1", (4, 3), "int64"),
    ]  # fmt: skip


def test_the_digest_covers_weights_and_program() -> None:
    one, same, other = net("mobile"), net("mobile"), net("mobile", seed=1)
    assert one.spec.digest == same.spec.digest != other.spec.digest
    doubled = capture(Outer(lambda x: x * 2), (torch.ones(2, 2),), "net").spec.digest
    assert doubled != capture(Outer(lambda x: x * 3), (torch.ones(2, 2),), "net").spec.digest


def test_dropout_does_nothing_in_a_captured_model() -> None:
    model = capture(nn.Sequential(nn.Dropout(0.5)), (torch.ones(1, 100),), "net")
    assert torch.equal(model.module(torch.ones(1, 100)), torch.ones(1, 100))


def test_examples_may_be_tensors_arrays_or_numbers_and_nothing_else() -> None:
    assert [tuple(t.shape) for t in as_tensors((torch.ones(2), [1.0, 2.0, 3.0]), "model.example")] == [(2,), (3,)]
    with pytest.raises(ModelError, match=r"model.example: want a tensor or a tuple of tensors, got str"):
        as_tensors("words", "model.example")
