"""Vitis AI: the QDQ ONNX file of which AMD's compiler makes an .xmodel. Never run on a DPU here.

All scales are powers of two and all zero points 0, biases int8 as weights are: what a DPU computes by shifting. On the
host onnxruntime runs the same file, for an .xmodel too: the file that it was compiled of lies beside it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.core.dpu import DpuArch, read_fingerprint
from edgekit.core.model import TensorSpec
from edgekit.core.target import Target
from edgekit.errors import ArtifactError, ConvertError, TargetError
from edgekit.formats.onnx import OnnxFormat

if TYPE_CHECKING:
    import onnx_ir

    from edgekit.models.program import Program


class VitisAiFormat(OnnxFormat):
    """See `edgekit.formats.base.Format`."""

    name = "vitis_ai"
    extra = "vitis"
    proof = "verified on this computer, not run on a DPU"

    def check(self, model: "onnx_ir.Model", program: "Program", int8: frozenset[str], target: Target) -> None:
        """Raises: ConvertError naming what the target's DPU cannot run; TargetError if it names none."""
        from edgekit.formats.dpu.ops import broken_rules

        left = frozenset(program.layers) - int8
        broken = broken_rules(model, arch_of(target), left) if int8 else ()
        if broken:
            more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
            raise ConvertError(f"model {program.spec.name}, {broken[0]}, or leave it in fp32, on the processor{more}")

    def inputs(self, path: Path) -> tuple[TensorSpec, ...]:
        """As `Format.inputs`, of the ONNX file."""
        return super().inputs(_onnx_of(path))

    def run(
        self, path: Path, inputs: tuple[np.ndarray, ...], *, threads: int = 1, rows: Sequence[int] = ()
    ) -> tuple[np.ndarray, ...]:
        """As `Format.run`, of the ONNX file, by onnxruntime."""
        return super().run(_onnx_of(path), inputs, threads=threads, rows=rows)

    def remarks(self, path: Path) -> tuple[str, ...]:
        """As `edgekit.formats.base.Remarks`: that no DPU ran the .xmodel."""
        return (
            (f"{path.name} was not run: the ONNX file that it was compiled of was",) if _onnx_of(path) != path else ()
        )


def _onnx_of(path: Path) -> Path:
    """The file that runs on the host.

    Raises: ArtifactError if an .xmodel has none beside it.
    """
    if path.suffix != ".xmodel":
        return path
    source = path.with_suffix(".onnx")
    if not source.is_file():
        raise ArtifactError(
            f"{path.name}: {source.name}, of which it was compiled, is not beside it: nothing runs it here"
        )
    return source


def arch_of(target: Target) -> DpuArch:
    """The DPU that a target is for.

    Raises: TargetError if it names none.
    """
    told = dict(target.requires).get("dpu_fingerprint", "")
    arch = read_fingerprint(told)
    if arch is None:
        raise TargetError(
            f"target {target.name}: [requires] wants dpu_fingerprint, that of a DPUCZDX8G as `xdputil query` tells it, "
            f"got {told or 'none'}"
        )
    return arch


FORMAT = VitisAiFormat()
