"""Trains the net on 800 digits and keeps its weights in .cache/: `python train.py`, less than a minute on one core."""

import os
import time

import data
import torch
from model import WEIGHTS, Digits, text_digest
from safetensors.torch import save_file
from torch import Tensor, nn

EPOCHS, BATCH, PEAK_RATE = 16, 32, 0.01


def train() -> nn.Module:
    """The trained net: AdamW, one-cycle rate, digits shifted at random."""
    torch.manual_seed(0)
    model = Digits().to(memory_format=torch.channels_last)
    images, labels = (torch.from_numpy(array) for array in data.training())
    optimizer = torch.optim.AdamW(model.parameters(), PEAK_RATE, weight_decay=0.05)
    steps = EPOCHS * (len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(EPOCHS):
        model.train()
        for chosen in torch.randperm(len(labels), generator=generator).split(BATCH):
            loss = nn.functional.cross_entropy(model(shift(images[chosen], generator)), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval().to(memory_format=torch.contiguous_format)


def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """The batch moved by up to three pixels in each direction; what comes in is paper."""
    across, down = torch.randint(-3, 4, (2,), generator=generator).tolist()
    padded = nn.functional.pad(images, (3, 3, 3, 3), value=-1.0)
    return padded[:, :, 3 + down : 35 + down, 3 + across : 35 + across].contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def accuracy(model: nn.Module, images: object, labels: object) -> float:
    """The share of images whose largest score is their label's."""
    return float((model(torch.as_tensor(images)).argmax(1) == torch.as_tensor(labels)).float().mean())


def main() -> None:
    """Train, say how good it is, keep the weights."""
    began, text = time.monotonic(), text_digest()
    model = train()
    WEIGHTS.parent.mkdir(exist_ok=True)
    new = WEIGHTS.with_suffix(f".{os.getpid()}.new")
    save_file(model.state_dict(), new, {"text": text})
    new.replace(WEIGHTS)
    seen = f"validation {accuracy(model, *data.validation()):.1%}, test {accuracy(model, *data.test()):.1%}"
    print(f"trained in {time.monotonic() - began:.0f} s: {seen}")


if __name__ == "__main__":
    main()
