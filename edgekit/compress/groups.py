"""Channel groups of a model: channels that are cut together, and by how many at a time."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from edgekit.compress.cut import CannotCutError, new_calls
from edgekit.compress.rules import rule_for
from edgekit.compress.trace import Slot, Trace
from edgekit.core.trial import Refusal
from edgekit.errors import ModelError
from edgekit.models.model import Model
from edgekit.models.plain import at_least_two, plain_module


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of one or more layers that can be cut; `name` is the first layer that makes them.

    `width` is how many that layer makes, and widths below it are multiples of `step`: what is cut as a whole (a head,
    the channels at one place of all groups of a grouped convolution). `writers` make the channels, `readers` take them.
    """

    name: str
    width: int
    step: int
    writers: tuple[str, ...]
    readers: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Analysis:
    """A trace, its groups, the units of each (the number that stands for channels cut as one) and what is left out."""

    trace: Trace
    groups: tuple[ChannelGroup, ...]
    units: dict[str, Tensor]
    left_out: tuple[Refusal, ...]

    def members(self, group: ChannelGroup) -> tuple[Slot, ...]:
        """Where channels of the group are stored."""
        units = self.units[group.name]
        roots = self.trace.channels.roots
        return tuple(s for s in self.trace.slots.values() if bool(torch.isin(roots(s.channels), units).any()))


def channel_groups(model: Model) -> tuple[ChannelGroup, ...]:
    """The groups of `model`, in order of execution; the model's outputs and inputs are in none.

    A model whose program holds for one batch size has none.
    """
    return analyse(model).groups


def left_out(model: Model) -> tuple[Refusal, ...]:
    """The layers whose channels cannot be cut, and why."""
    return analyse(model).left_out


@lru_cache(maxsize=2)
def analyse(model: Model) -> Analysis:
    """The groups of `model` with all that cutting needs. Kept for the last two models."""
    try:
        module = plain_module(model)
    except ModelError as error:
        return Analysis(_nothing(), (), {}, (Refusal(what=model.spec.name, reason=str(error)),))
    trace = Trace(module, at_least_two(model), rule_for)
    groups, units, refused = _groups(trace)
    return Analysis(trace, tuple(groups), units, (*_kept_layers(trace), *refused))


def _nothing() -> Trace:
    graph = torch.fx.Graph()
    graph.output(())
    return Trace(torch.fx.GraphModule(torch.nn.Module(), graph), (), rule_for)


def _groups(trace: Trace) -> tuple[list[ChannelGroup], dict[str, Tensor], list[Refusal]]:
    """Units stored at the same places, as often, are one group."""
    stored: dict[int, dict[int, int]] = {}
    slots = list(trace.slots.values())
    for index, slot in enumerate(slots):
        roots, counts = torch.unique(trace.channels.roots(slot.channels), return_counts=True)
        for root, count in zip(roots.tolist(), counts.tolist(), strict=True):
            if root and trace.channels.kept(root) is None:
                stored.setdefault(root, {})[index] = count
    alike: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for root, places in stored.items():
        alike.setdefault(tuple(places.items()), []).append(root)
    groups, units, refused = [], {}, []  # type: ignore[var-annotated]
    for held, roots in alike.items():
        used = [(slots[index], count) for index, count in held]
        group = _group(used, len(roots), {g.name for g in groups})
        if group is None:
            continue
        if (reason := _refusal(trace, torch.tensor(roots))) is not None:
            refused.append(Refusal(what=group.name, reason=reason))
            continue
        groups.append(group)
        units[group.name] = torch.tensor(roots)
    return groups, units, refused


def _group(used: list[tuple[Slot, int]], count: int, names: set[str]) -> ChannelGroup | None:
    writers = tuple(dict.fromkeys(s.layer for s, _ in used if s.role == "writes" and s.layer))
    readers = tuple(dict.fromkeys(s.layer for s, _ in used if s.role == "reads" and s.layer))
    if not writers:
        return None
    step = next(n for s, n in used if s.role == "writes" and s.layer == writers[0])
    name, again = writers[0], 2
    while name in names:
        name, again = f"{writers[0]}#{again}", again + 1
    return ChannelGroup(name, step * count, step, writers, readers)


def _refusal(trace: Trace, units: Tensor) -> str | None:
    """Why the group cannot be cut, tried with every other unit gone; None if it can."""
    if len(units) < 2:
        return "all its channels depend on one another"
    keep = keep_all(trace)
    keep[units[1::2]] = False
    try:
        new_calls(trace, keep)
    except CannotCutError as error:
        return str(error)
    return None


def keep_all(trace: Trace) -> Tensor:
    """A mask by channel number that keeps every one."""
    return torch.ones(trace.channels.count, dtype=torch.bool)


def _kept_layers(trace: Trace) -> list[Refusal]:
    """The layers none of whose channels may be cut."""
    found = []
    for slot in trace.slots.values():
        if slot.role == "writes" and slot.layer:
            reasons = [trace.channels.kept(r) for r in torch.unique(trace.channels.roots(slot.channels)).tolist()]
            if reasons and all(reasons):
                found.append(Refusal(what=slot.layer, reason=f"its channels {reasons[0]}"))
    return found
