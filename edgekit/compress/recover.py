"""Accuracy won back after pruning: BatchNorm re-estimated, then fine-tuning on the float model's outputs or labels."""

import copy
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from edgekit.core.recipe import Recover
from edgekit.errors import ModelError, ProjectError
from edgekit.models.data import Samples
from edgekit.models.model import Model, capture
from edgekit.models.plain import plain_module, takes_any_batch
from edgekit.models.predict import check_shapes, predict

BATCH = 64
TEMPERATURE = 2.0
MOMENTUM, DECAY, MOST_GRADIENT = 0.9, 1e-4, 5.0
WARM_UP = 0.05
"""The share of all steps in which the learning rate rises to its peak."""
Progress = Callable[[int, int], None]
"""Told (steps done, steps in all)."""


def recover(
    model: Model, step: Recover, training: Samples, teacher: Model | None = None, seed: int = 0,
    on_progress: Progress = lambda done, total: None,
) -> Model:  # fmt: skip
    """`model`, fine-tuned for `step.epochs` of `training`, with BatchNorm statistics of what it now computes.

    Fine-tuning is SGD with momentum and a cosine rate, in bfloat16 where the CPU has it, with float32 weights. Its goal
    is the teacher's output (G. Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; squared error for
    outputs that are no scores of classes), or the labels. The same arguments give the same weights on one machine.
    `model` itself is not changed.

    Raises: ModelError if the samples do not fit, or training diverges; ProjectError if labels or a teacher are missing.
    """
    check_shapes(model, training)
    module = copy.deepcopy(plain_module(model))
    batches = _batches(len(training), step.epochs, seed)
    if batches:
        _fine_tune_(module, step, training, _targets(step, training, teacher, batches), batches, on_progress)
    if step.batch_norm_batches:
        estimate_batch_norm_(module, training, step.batch_norm_batches, seed)
    return capture(module.eval(), model.example, model.spec.name, model.spec.free)


def estimate_batch_norm_(module: nn.Module, samples: Samples, batches: int, seed: int = 0) -> None:
    """Sets every BatchNorm's mean and variance to their average over up to `batches` batches of the samples."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # None is torch's word for the plain average over all batches
        norm.train()
    with torch.no_grad():
        for which in _batches(len(samples), 1.0, seed)[:batches]:
            module(*_tensors(samples.take(which)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _batches(count: int, epochs: float, seed: int) -> list[np.ndarray]:
    """Indices of each batch, every sample once an epoch in random order; a fraction of an epoch is its first part."""
    generator, size = np.random.default_rng(seed), min(BATCH, count)
    each = max(1, count // size)
    total = math.ceil(epochs * each)
    chosen: list[np.ndarray] = []
    while len(chosen) < total:
        order = generator.permutation(count)
        chosen += [order[i * size : (i + 1) * size] for i in range(each)]
    return chosen[:total]


def _targets(step: Recover, training: Samples, teacher: Model | None, batches: list[np.ndarray]) -> Iterator[Tensor]:
    """What each batch's outputs should be; the teacher runs once for each sample that is used."""
    if step.teacher == "labels":
        labels = training.labels
        if labels is None or labels.dtype.kind not in "iu":
            raise ProjectError("recover: teacher labels needs class numbers in data.training, and it has none")
        return (torch.from_numpy(labels[which]).long() for which in batches)
    if teacher is None:
        raise ProjectError("recover: teacher float needs the float model")
    used = np.unique(np.concatenate(batches))
    known = torch.from_numpy(predict(teacher, training.take(used), BATCH if takes_any_batch(teacher) else None))
    return (known[torch.from_numpy(np.searchsorted(used, which))] for which in batches)


def _fine_tune_(
    module: GraphModule, step: Recover, training: Samples, targets: Iterator[Tensor], batches: list[np.ndarray],
    on_progress: Progress,
) -> None:  # fmt: skip
    layout = _layout(module, training.take(batches[0][:2]))
    module.train().to(memory_format=layout)
    parameters = [p for p in module.parameters() if p.is_floating_point()]
    optimizer = torch.optim.SGD(
        [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": DECAY},
         {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0}],
        lr=step.learning_rate, momentum=MOMENTUM, nesterov=True,
    )  # fmt: skip
    for done, (which, target) in enumerate(zip(batches, targets, strict=True)):
        for group in optimizer.param_groups:
            group["lr"] = step.learning_rate * _rate(done, len(batches))
        inputs = _laid_out(training.take(which), layout)
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.ops.mkldnn._is_mkldnn_bf16_supported()):
            outputs = module(*inputs)
        loss = _loss((outputs if isinstance(outputs, Tensor) else outputs[0]).float(), target)
        if not torch.isfinite(loss):
            raise ModelError(
                f"recover: training diverged at step {done} of {len(batches)}: lower learning_rate, "
                f"it is {step.learning_rate}"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, MOST_GRADIENT)
        optimizer.step()
        on_progress(done + 1, len(batches))
    module.to(memory_format=torch.contiguous_format)


def _layout(module: nn.Module, some: Samples) -> torch.memory_format:
    """Channels last, which trains images about a fifth faster, unless the graph has a view that needs the other."""
    try:
        with torch.no_grad():
            copy.deepcopy(module).to(memory_format=torch.channels_last)(*_laid_out(some, torch.channels_last))
    except RuntimeError:
        return torch.contiguous_format
    return torch.channels_last


def _laid_out(samples: Samples, layout: torch.memory_format) -> tuple[Tensor, ...]:
    return tuple(t.contiguous(memory_format=layout) if t.dim() == 4 else t for t in _tensors(samples))


def _rate(done: int, total: int) -> float:
    """The share of the peak rate: up in a short line, down in half a cosine."""
    warm = max(1, int(WARM_UP * total))
    if done < warm:
        return (done + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (done - warm) / max(1, total - warm)))


def _loss(outputs: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy against labels; against a teacher Kullback-Leibler for scores of classes, else squared error."""
    if not target.is_floating_point():
        return functional.cross_entropy(outputs, target)
    if outputs.dim() != 2 or outputs.shape[1] < 2:
        return functional.mse_loss(outputs, target) / target.var().clamp_min(1e-6)
    if bool((target >= 0).all()) and bool(((target.sum(1) - 1).abs() < 1e-3).all()):  # probabilities already
        return functional.kl_div(outputs.clamp_min(1e-12).log(), target, reduction="batchmean")
    ours, theirs = functional.log_softmax(outputs / TEMPERATURE, 1), functional.log_softmax(target / TEMPERATURE, 1)
    return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True) * TEMPERATURE**2


def _tensors(samples: Samples) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in samples.inputs)
