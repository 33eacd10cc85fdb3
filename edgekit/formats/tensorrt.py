"""TensorRT: the ONNX file of which trtexec builds an engine, on the device that will run it. Never run here.

Its int8 is symmetric: the parser of every version refuses another zero point. On the host onnxruntime runs the same
file, which proves what it computes, and nothing of TensorRT's kernels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.target import Target
from edgekit.errors import ConvertError
from edgekit.formats.onnx import OnnxFormat
from edgekit.formats.tensorrt_ops import lacks
from edgekit.models.extras import require

if TYPE_CHECKING:
    from edgekit.models.program import Program


class TensorRtFormat(OnnxFormat):
    """See `edgekit.formats.base.Format`."""

    name = "tensorrt"

    def lower(self, program: "Program", target: Target, folder: Path) -> Path:
        """As `Format.lower`; ConvertError names an op that the target's TensorRT does not have."""
        return self._checked(super().lower(program, target, folder), program, target)

    def mixes(
        self, program: "Program", int8_sets: Sequence[frozenset[str]], target: Target, folder: Path
    ) -> tuple[Path, ...]:
        """As `Format.mixes`, each checked as by `lower`."""
        return tuple(self._checked(path, program, target) for path in super().mixes(program, int8_sets, target, folder))

    def _checked(self, path: Path, program: "Program", target: Target) -> Path:
        version = dict(target.requires)["tensorrt"]
        for node in require("onnx_ir", extra=self.extra).load(path).graph:
            if (why := lacks(node.op_type, version)) is not None:
                raise ConvertError(
                    f"model {program.spec.name}, node {node.name}: {why}: write it with other torch calls"
                )
        return path


FORMAT = TensorRtFormat()
