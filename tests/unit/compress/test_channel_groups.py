"""Channel groups: what is cut together, what is never cut, and that a cut model computes what it should."""

import pytest
import torch
from cuttable import CUTTABLE, analyse, cut, cuttable, some_units_gone, unread
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.compress.groups import channel_groups, left_out
from edgekit.compress.layers import edges, layers
from edgekit.models.model import Model, capture


def captured(module: nn.Module, *shape: int) -> Model:
    torch.manual_seed(0)
    return capture(module, (torch.randn(1, *shape),), "net")


def groups_of(name: str) -> dict[str, tuple[int, int]]:
    return {g.name: (g.width, g.step) for g in channel_groups(cuttable(name))}


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), shares=st.lists(st.floats(0.0, 0.95), min_size=1, max_size=5))
@pytest.mark.parametrize("name", CUTTABLE)
def test_a_cut_model_computes_what_the_whole_one_does_when_nobody_reads_the_channels_that_are_gone(
    name: str, seed: int, shares: list[float]
) -> None:
    analysis = analyse(cuttable(name))
    keep = some_units_gone(analysis, seed, shares)
    small, whole = cut(analysis.trace, keep), unread(analysis, keep)
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        got, wanted = small(x), whole(x)
    assert torch.allclose(got, wanted, atol=1e-4, rtol=1e-4)
    fewer = sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in whole.parameters())
    assert fewer == (not bool(keep.all()))


@pytest.mark.parametrize("name", CUTTABLE)
def test_every_channel_of_every_layer_is_in_one_group_or_in_none_for_a_reason(name: str) -> None:
    analysis = analyse(cuttable(name))
    units = torch.cat([analysis.units[g.name] for g in analysis.groups])
    assert len(units) == len(torch.unique(units))
    refused = {r.what: r.reason for r in analysis.left_out}
    for slot in analysis.trace.slots.values():
        if slot.role == "writes":
            roots = analysis.trace.channels.roots(slot.channels)
            grouped = torch.isin(roots, units)
            kept = torch.tensor([analysis.trace.channels.kept(int(r)) is not None for r in roots])
            assert not bool((grouped & kept).any())
            assert bool((grouped | kept).all()) or slot.layer in refused
    for group in analysis.groups:
        assert group.width == group.step * len(analysis.units[group.name])


@pytest.mark.parametrize("name", CUTTABLE)
def test_outputs_are_never_cut(name: str) -> None:
    model = cuttable(name)
    analysis = analyse(model)
    keep = some_units_gone(analysis, 0, [0.9])
    assert cut(analysis.trace, keep)(torch.randn(2, 3, 16, 16)).shape == (2, 10)
    assert any("outputs of the model" in r.reason for r in left_out(model))


def test_residual_branches_share_one_group_and_inner_layers_have_their_own() -> None:
    groups = {g.name: g for g in channel_groups(cuttable("resnet"))}
    assert groups["stem"].writers == ("stem", "blocks.0.second.0")
    assert groups["blocks.1.second.0"].writers == ("blocks.1.second.0", "blocks.1.branch.0", "blocks.2.second.0")
    assert groups["blocks.1.second.0"].readers == ("blocks.2.first.0", "head")
    assert groups["blocks.0.first.0"].readers == ("blocks.0.second.0",)


def test_a_depthwise_convolution_and_its_gate_follow_the_layer_that_makes_the_channels() -> None:
    groups = {g.name: g for g in channel_groups(cuttable("mobile"))}
    assert groups["blocks.0.expand.0"].writers == ("blocks.0.expand.0", "blocks.0.gate.3")
    assert groups["blocks.0.expand.0"].readers == ("blocks.0.gate.1", "blocks.0.project.0")
    assert "blocks.0.depth.0" not in groups


def test_what_is_concatenated_keeps_a_group_for_each_part() -> None:
    assert groups_of("squeeze") == {"stem": (16, 1), "squeeze": (8, 1), "one": (16, 1), "three": (12, 1)}


def test_attention_is_cut_by_whole_heads_packed_or_not_and_layer_norm_keeps_what_it_normalises() -> None:
    groups = groups_of("vit")
    assert groups["blocks.0.attention.qkv"] == (96, 24)
    assert groups["blocks.1.attention.q"] == (32, 8)
    assert groups["blocks.0.up"] == (64, 1)
    reasons = {r.what: r.reason for r in left_out(cuttable("vit"))}
    assert "normalised together by layer_norm in blocks.0.norm1" in reasons["patch"]


def test_a_grouped_convolution_is_cut_at_one_place_of_all_its_groups() -> None:
    groups = groups_of("odds")
    assert groups["stem"] == (16, 4)
    assert groups["wide"] == (20, 2)
    assert groups["spread"] == (24, 4)
    reasons = {r.what: r.reason for r in left_out(cuttable("odds"))}
    assert "act on all channels at once" in reasons["gate"]


class Mixed(nn.Module):
    """Channels added to the input, channels that meet an op no rule knows, and channels picked by number."""

    def __init__(self) -> None:
        super().__init__()
        self.added, self.sorted, self.picked, self.free = (nn.Conv2d(4, n, 1) for n in (4, 8, 8, 8))
        self.last = nn.ModuleList(nn.Conv2d(n, 5, 1) for n in (4, 8, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        made = (x + self.added(x), self.sorted(x).sort(1)[0], self.picked(x)[:, 3:4:2], self.free(x))
        return sum(last(m) for last, m in zip(self.last, made, strict=True))


def test_channels_that_cannot_be_cut_safely_are_left_out_with_the_reason() -> None:
    model = captured(Mixed(), 4, 6, 6)
    assert [g.name for g in channel_groups(model)] == ["free"]
    reasons = {r.what: r.reason for r in left_out(model)}
    assert "meet values without channels" in reasons["added"]
    assert "go into sort" in reasons["sorted"] and "cannot be cut" in reasons["sorted"]
    assert "picked by position" in reasons["picked"]


class Tied(nn.Module):
    """One layer called twice in a row, and one whose weight is also read by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.read, self.last, self.end = (nn.Linear(8, 8) for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        made = self.twice(F.relu(self.twice(F.relu(self.first(x)))))
        return self.last(made) + self.end(F.relu(self.read(x)) * self.read.weight.sum(1))


def test_a_layer_called_twice_is_one_group_and_a_weight_read_element_by_element_is_kept() -> None:
    model = captured(Tied(), 8)
    groups = {g.name: g for g in channel_groups(model)}
    assert groups["first"].writers == ("first", "twice") and groups["first"].readers == ("twice", "last")
    assert "read" not in groups


class OneBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8 * 36, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).view(1, -1))


def test_a_program_for_one_batch_has_no_groups_and_says_why() -> None:
    model = captured(OneBatch(), 3, 8, 8)
    assert channel_groups(model) == ()
    assert "holds for a batch of 1 only" in left_out(model)[0].reason
    assert [(x.name, x.writes) for x in layers(model)] == [("conv", None), ("head", None)]


def test_layers_say_what_they_read_and_write_and_what_they_cost() -> None:
    found = {layer.name: layer for layer in layers(cuttable("mobile"))}
    depth = found["blocks.1.depth.0"]
    assert (depth.kind, depth.reads, depth.writes) == ("depthwise", "blocks.1.expand.0", "blocks.1.expand.0")
    assert depth.macs == 32 * 4 * 4 * 9
    assert found["head.1"] == type(depth)("head.1", "linear", "blocks.1.project.0", None, 160)
    assert found["stem"].reads is None and found["stem"].writes == "stem"


def test_edges_run_from_each_layer_to_those_that_take_its_values() -> None:
    pairs = edges(cuttable("resnet"))
    assert ("stem", "blocks.0.first.0") in pairs and ("stem", "blocks.1.branch.0") in pairs
    assert ("blocks.1.branch.0", "head") in pairs and ("blocks.0.first.0", "head") not in pairs
    assert len(pairs) == len(set(pairs))
