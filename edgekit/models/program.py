"""A captured program, float or quantized: what every format lowers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from edgekit.core.model import ModelSpec
from edgekit.core.recipe import IN_FLOAT, Precision
from edgekit.models.model import Model, export_program

MIXABLE: tuple[Precision, ...] = ("int8", "int8-dynamic")


@dataclass(frozen=True)
class Program:
    """An ExportedProgram with its q/dq ops unfolded, and which layers they quantize.

    `layers` are the modules of all convolutions and linear layers that can be quantized, in order of execution;
    `precisions` has those that are not fp32; `floats` the weights and biases (by parameter name) that were put on the
    grids of integers, as they were before.
    """

    exported: torch.export.ExportedProgram
    spec: ModelSpec
    layers: tuple[str, ...] = ()
    precisions: Mapping[str, Precision] = field(default_factory=dict)
    floats: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def int8(self) -> frozenset[str]:
        """The layers whose weights and activations are int8 by calibration."""
        return frozenset(layer for layer, precision in self.precisions.items() if precision == "int8")

    @property
    def mixable(self) -> frozenset[str]:
        """The layers that a mix may leave in float: those in int8, whether by calibration or by the moment."""
        return frozenset(layer for layer, precision in self.precisions.items() if precision in MIXABLE)

    @property
    def quantized(self) -> bool:
        """Whether any layer computes in fewer bits than float32's: two right ways to sum may then end steps apart."""
        return bool(set(self.precisions.values()) - IN_FLOAT)


def export(model: Model) -> Program:
    """`model` as a float program."""
    exported = export_program(model.module, model.example, model.spec.name, model.spec.inputs)
    return Program(exported, model.spec)


def run(program: Program, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The outputs of `program` in torch, for inputs of exactly its shapes."""
    with torch.no_grad():
        result = program.exported.module()(*(torch.from_numpy(np.ascontiguousarray(a)) for a in inputs))
    outputs = (result,) if isinstance(result, torch.Tensor) else tuple(result)
    return tuple(t.detach().cpu().numpy() for t in outputs)
