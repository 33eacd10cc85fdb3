"""How a program goes to another process: the exported program as .pt2, the rest as .npz and JSON."""

from pathlib import Path

import msgspec
import numpy as np
import torch

import edgekit.compress.relax  # noqa: F401  registers the quantize ops, without which a .pt2 cannot be read
from edgekit.core.model import ModelSpec
from edgekit.models.program import Program


class _Rest(msgspec.Struct):
    spec: ModelSpec
    layers: tuple[str, ...]
    int8: tuple[str, ...]
    floats: tuple[str, ...]


def write_program(program: Program, folder: Path) -> None:
    """Writes `program` into `folder`, which is this computer's scratch: examples of inputs are in it."""
    names = tuple(program.floats)
    rest = _Rest(program.spec, program.layers, tuple(sorted(program.int8)), names)
    torch.export.save(program.exported, folder / "program.pt2")
    (folder / "program.json").write_bytes(msgspec.json.encode(rest))
    np.savez(folder / "floats.npz", **{f"f_{i}": program.floats[name] for i, name in enumerate(names)})  # type: ignore[arg-type]


def read_program(folder: Path) -> Program:
    """The program that `write_program` wrote."""
    rest = msgspec.json.decode((folder / "program.json").read_bytes(), type=_Rest)
    with np.load(folder / "floats.npz", allow_pickle=False) as archive:
        floats = {name: archive[f"f_{i}"] for i, name in enumerate(rest.floats)}
    exported = torch.export.load(folder / "program.pt2")
    return Program(exported, rest.spec, rest.layers, frozenset(rest.int8), floats)
