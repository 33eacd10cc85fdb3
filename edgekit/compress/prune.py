"""Structured pruning: whole channels leave the model, group by group, the least important ones first."""

from collections.abc import Iterable
from math import ceil, lcm

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgekit.compress.cut import cut
from edgekit.compress.groups import Analysis, ChannelGroup, analyse, keep_all
from edgekit.core.recipe import Importance, Prune
from edgekit.errors import ModelError, UsageError
from edgekit.models.data import Samples
from edgekit.models.model import Model, capture

TAYLOR_SAMPLES = 256


def prune(model: Model, step: Prune, calibration: Samples | None = None) -> Model:
    """`model` with fewer channels in the groups that `step` names: a new module whose parameters are smaller.

    It computes what `model` would if no layer read the channels that are gone. Accuracy is won back by `recover`.

    Raises: UsageError for a group or width that the model has not; ModelError if nothing can be cut, or if importance
    by Taylor expansion has no samples.
    """
    analysis = analyse(model)
    widths = widths_of(analysis.groups, step, model.spec.name)
    if not any(widths[g.name] < g.width for g in analysis.groups):
        if step.ratio or step.widths:
            _explain_nothing(analysis, model.spec.name, step)
        return model
    gradients = _gradients(analysis, model.spec.name, calibration) if step.importance == "taylor" else None
    keep = keep_all(analysis.trace)
    for group in analysis.groups:
        gone = len(analysis.units[group.name]) - widths[group.name] // group.step
        if gone:
            scores = importance(analysis, group, step.importance, gradients)
            order = torch.argsort(scores, stable=True)
            keep[analysis.units[group.name][order[:gone]]] = False
    return capture(cut(analysis.trace, keep), model.example, model.spec.name, model.spec.free)


def widths_of(groups: Iterable[ChannelGroup], step: Prune, name: str) -> dict[str, int]:
    """The channels that each group keeps: a named width as it is, else the ratio's, rounded up, never 0 and never more.

    Raises: UsageError.
    """
    groups, named = tuple(groups), dict(step.widths)
    if unknown := sorted(set(named) - {g.name for g in groups}):
        known = ", ".join(g.name for g in groups) or "none"
        raise UsageError(f"prune: model {name} has no channel group {unknown[0]!r} that can be cut; it has {known}")
    kept = {}
    for group in groups:
        width = named.get(group.name)
        if width is not None and (width > group.width or width % group.step):
            raise UsageError(
                f"prune: group {group.name}: want a multiple of {group.step} up to {group.width} channels, got {width}"
            )
        multiple = lcm(group.step, step.round_to)
        rounded = ceil(round(group.width * (1 - step.ratio), 6) / multiple) * multiple
        kept[group.name] = width if width is not None else min(group.width, max(rounded, group.step))
    return kept


def importance(
    analysis: Analysis, group: ChannelGroup, kind: Importance, gradients: dict[str, Tensor] | None = None
) -> Tensor:
    """(units,) how much each unit of a group matters: the mean over all places that store it, each scaled to mean 1.

    l1 and l2 are norms of the weights, over everything coupled (the group norm of DepGraph, CVPR 2023); taylor is the
    squared first-order change of the loss without them (P. Molchanov et al., "Importance Estimation for Neural Network
    Pruning", CVPR 2019).
    """
    units = analysis.units[group.name]
    total = torch.zeros(len(units), dtype=torch.float64)
    for slot in analysis.members(group):
        value = analysis.trace.tensor(slot.path).detach()
        if slot.path.rpartition(".")[2] in ("running_mean", "running_var", "bias"):
            continue
        if kind == "taylor" and (gradients is None or slot.path not in gradients):
            continue
        rows = value.movedim(slot.dim, 0).reshape(value.shape[slot.dim], -1).double()
        if kind == "taylor" and gradients is not None:
            each = (rows * gradients[slot.path].movedim(slot.dim, 0).reshape(value.shape[slot.dim], -1).double()).sum(1)
        else:
            each = rows.abs().sum(1) if kind == "l1" else rows.square().sum(1)
        scores = torch.zeros(analysis.trace.channels.count, dtype=torch.float64)
        scores.index_add_(0, analysis.trace.channels.roots(slot.channels), each)
        chosen = scores[units].square() if kind == "taylor" else scores[units]
        chosen = chosen.sqrt() if kind == "l2" else chosen
        total += chosen / chosen.mean().clamp_min(1e-30)
    return total


def _gradients(analysis: Analysis, name: str, calibration: Samples | None) -> dict[str, Tensor]:
    """The gradient of the loss for each parameter: against labels, or where there are none the model's own answers."""
    if calibration is None:
        raise ModelError(f"model {name}: importance taylor needs calibration samples")
    module = analysis.trace.module
    parameters = dict(module.named_parameters())
    some = calibration.take(slice(0, TAYLOR_SAMPLES))
    total = {path: torch.zeros_like(p) for path, p in parameters.items()}
    for part in some.batches(32):
        outputs = module(*(torch.from_numpy(np.ascontiguousarray(a)) for a in part.inputs))
        outputs = outputs if isinstance(outputs, Tensor) else outputs[0]
        own = outputs.argmax(1)
        labelled = part.labels is not None and part.labels.ndim == 1 and part.labels.dtype.kind in "iu"
        labels = torch.from_numpy(part.labels).long() if labelled and part.labels is not None else own.detach()
        loss = functional.cross_entropy(outputs, labels, reduction="sum")
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for path, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                total[path] += gradient
    return total


def _explain_nothing(analysis: Analysis, name: str, step: Prune) -> None:
    """Says why a step that asks for fewer channels finds none to cut; a ratio that rounds to all is no error.

    Raises: ModelError.
    """
    if not analysis.groups:
        why = "; ".join(f"{r.what}: {r.reason}" for r in analysis.left_out[:3]) or "it has no layers"
        raise ModelError(f"model {name}: no channels can be cut ({why})")
