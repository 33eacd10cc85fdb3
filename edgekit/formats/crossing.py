"""How a program goes to another process: the exported program as .pt2, the rest as .npz and JSON."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from edgekit.compress.relax import mixed
from edgekit.core.model import ModelSpec
from edgekit.core.recipe import Precision
from edgekit.formats.child import call_in_child
from edgekit.models.program import Program
from edgekit.store.scratch import scratch

CONVERT_DEADLINE_S = 900.0
CONVERT_MEMORY_BYTES = 16 << 30
"""Address space, of which the converters' libraries take a part that they never touch."""


class _Rest(msgspec.Struct):
    spec: ModelSpec
    layers: tuple[str, ...]
    precisions: dict[str, Precision]
    floats: tuple[str, ...]


def write_program(program: Program, folder: Path) -> None:
    """Writes `program` into `folder`, which is this computer's scratch: examples of inputs are in it."""
    names = tuple(program.floats)
    rest = _Rest(program.spec, program.layers, dict(program.precisions), names)
    torch.export.save(program.exported, folder / "program.pt2")
    (folder / "program.json").write_bytes(msgspec.json.encode(rest))
    np.savez(folder / "floats.npz", **{f"f_{i}": program.floats[name] for i, name in enumerate(names)})  # type: ignore[arg-type]


def read_program(folder: Path) -> Program:
    """The program that `write_program` wrote."""
    rest = msgspec.json.decode((folder / "program.json").read_bytes(), type=_Rest)
    with np.load(folder / "floats.npz", allow_pickle=False) as archive:
        floats = {name: archive[f"f_{i}"] for i, name in enumerate(rest.floats)}
    exported = torch.export.load(folder / "program.pt2")
    return Program(exported, rest.spec, rest.layers, rest.precisions, floats)


def convert_mixes(
    program: Program, jobs: Sequence[tuple[frozenset[str], Path]], function: str, what: str, **more: str
) -> None:
    """Each mix of `program` at its path, or none of them, written by `function` ("module:name") in one child.

    `more` is in the job that the function gets.

    Raises: ConvertError, MissingExtraError.
    """
    with scratch() as folder:
        write_program(program, folder)
        made = [(mix, path, folder / f"{i}-{path.name}") for i, (mix, path) in enumerate(jobs)]
        call_in_child(
            function, {"program": str(folder), "files": [(sorted(mix), str(file)) for mix, _, file in made]} | more,
            what=f"model {program.spec.name} as {what}",
            deadline_s=CONVERT_DEADLINE_S, memory_bytes=CONVERT_MEMORY_BYTES,
        )  # fmt: skip
        for _, path, file in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read_bytes())


def mixes_in(job: Mapping[str, Any]) -> Iterator[tuple[Program, Path]]:
    """In the child of `convert_mixes`: each mix that is asked for, and where to write it."""
    program = read_program(Path(job["program"]))
    for layers, name in job["files"]:
        int8 = frozenset(layers)
        yield program if int8 == program.mixable else mixed(program, int8), Path(name)
