"""Trains the ResNet and writes weights.safetensors: `python train.py [--epochs 15] [--threads N]`, about ten minutes.

After each epoch the state is kept in .cache/checkpoint.pt, so a run that was stopped goes on where it was.
"""

import argparse
import time
from pathlib import Path

import data
import torch
from model import net
from safetensors.torch import save_file
from torch import Tensor, nn

HERE = Path(__file__).parent
WEIGHTS = HERE / "weights.safetensors"
CHECKPOINT = HERE / ".cache" / "checkpoint.pt"
BATCH, PEAK_RATE, DECAY = 128, 0.2, 5e-4


def train(epochs: int) -> nn.Module:
    """The trained net: SGD, one-cycle rate, flips and shifts, bfloat16 where the CPU has it."""
    torch.manual_seed(0)
    model = net().to(memory_format=torch.channels_last)
    images, labels = (torch.from_numpy(array) for array in data.training())
    optimizer = torch.optim.SGD(model.parameters(), PEAK_RATE, momentum=0.9, weight_decay=DECAY, nesterov=True)
    steps = epochs * (len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=0.25)
    for epoch in range(_resume(model, optimizer, schedule), epochs):
        began = time.monotonic()
        loss = _epoch(model, optimizer, schedule, images, labels, torch.Generator().manual_seed(epoch))
        _keep(epoch + 1, model, optimizer, schedule)
        seen = f"validation {accuracy(model, *data.validation()):.2%}, {time.monotonic() - began:.0f} s"
        print(f"epoch {epoch + 1}/{epochs}: loss {loss:.4f}, {seen}", flush=True)
    return model.eval().to(memory_format=torch.contiguous_format)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the images mirrored, the batch moved by up to two pixels in each direction."""
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    images = torch.where(mirrored, images.flip(3), images)
    across, down = torch.randint(-2, 3, (2,), generator=generator).tolist()
    padded = nn.functional.pad(images, (2, 2, 2, 2), value=-data.MEAN / data.DEVIATION)
    return padded[:, :, 2 + down : 30 + down, 2 + across : 30 + across].contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def accuracy(model: nn.Module, images: object, labels: object) -> float:
    """The share of images whose largest score is their label's, in float32."""
    model.eval()
    batches = torch.as_tensor(images).split(500)
    found = torch.cat([model(batch.contiguous(memory_format=torch.channels_last)).argmax(1) for batch in batches])
    return float((found == torch.as_tensor(labels)).float().mean())


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
) -> float:
    """One pass over the images in random order; the mean loss."""
    model.train()
    total, order = 0.0, torch.randperm(len(labels), generator=generator)
    batches = order[: len(order) // BATCH * BATCH].split(BATCH)
    for chosen in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.ops.mkldnn._is_mkldnn_bf16_supported()):
            scores = model(augment(images[chosen], generator))
        loss = nn.functional.cross_entropy(scores.float(), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item()
    return total / len(batches)


def _keep(epoch: int, *parts: object) -> None:
    """Write the state after `epoch` epochs, whole or not at all."""
    CHECKPOINT.parent.mkdir(exist_ok=True)
    torch.save((epoch, [part.state_dict() for part in parts]), CHECKPOINT.with_suffix(".new"))  # type: ignore[attr-defined]
    CHECKPOINT.with_suffix(".new").replace(CHECKPOINT)


def _resume(*parts: object) -> int:
    """The number of epochs that a checkpoint already holds; its state is loaded."""
    if not CHECKPOINT.exists():
        return 0
    epoch, states = torch.load(CHECKPOINT, weights_only=True)
    for part, state in zip(parts, states, strict=True):
        part.load_state_dict(state)  # type: ignore[attr-defined]
    print(f"going on after epoch {epoch}")
    return int(epoch)


def main() -> None:
    """Train, save, test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = train(given.epochs)
    save_file(model.state_dict(), WEIGHTS)
    CHECKPOINT.unlink()
    print(f"test {accuracy(model, *data.test()):.2%}; wrote {WEIGHTS}")


if __name__ == "__main__":
    main()
