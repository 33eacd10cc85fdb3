"""ONNX, run by onnxruntime: QDQ form, int8 weights stored as int8, activations labelled as the target wants them."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.core.noun import digest
from edgekit.core.target import Target
from edgekit.errors import ConvertError
from edgekit.models.extras import require
from edgekit.models.program import Program

OPSET = 20


class OnnxFormat:
    """See `edgekit.formats.base.Format`."""

    name = "onnx"
    extra = "onnx"

    def lower(self, program: Program, target: Target, folder: Path) -> Path:
        """As `Format.lower`."""
        require("onnxscript", extra=self.extra)
        from edgekit.graph import passes

        ir = require("onnx_ir", extra=self.extra)
        model = _export(program, target.limits.opset or OPSET)
        passes.fold_weights_(model)
        if target.numerics.activations == "uint8-affine":
            passes.relabel_uint8_(model)
        elif target.numerics.activations == "int8-symmetric":
            passes.clip_behind_quantize_(model)
        passes.keep_ceiling_(model, opset=target.limits.opset, ir_version=target.limits.ir_version)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "model.onnx"
        ir.save(model, path)
        return path

    def mixes(
        self, program: Program, int8_sets: Sequence[frozenset[str]], target: Target, folder: Path
    ) -> tuple[Path, ...]:
        """As `Format.mixes`."""
        from edgekit.compress.relax import mixed

        paths = []
        for int8 in int8_sets:
            part = program if int8 == program.int8 else mixed(program, int8)
            paths.append(self.lower(part, target, folder / digest(sorted(int8))[:16]))
        return tuple(paths)

    def run(self, path: Path, inputs: tuple[np.ndarray, ...], *, threads: int = 1) -> tuple[np.ndarray, ...]:
        """As `Format.run`."""
        ort = require("onnxruntime", extra=self.extra)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [i.name for i in session.get_inputs()]
        batch = session.get_inputs()[0].shape[0]
        parts = []
        for start in range(0, len(inputs[0]) - batch + 1, batch):
            feed = {n: a[start : start + batch] for n, a in zip(names, inputs, strict=True)}
            parts.append(session.run(None, feed))
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _export(program: Program, opset: int):  # type: ignore[no-untyped-def]  # an onnx_ir.Model
    import torch

    spec = program.spec
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger = logging.getLogger("torch.onnx")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            exported = torch.onnx.export(
                program.exported, dynamo=True, external_data=False, verbose=False, opset_version=opset,
                input_names=[i.name for i in spec.inputs], output_names=[o.name for o in spec.outputs],
            )  # fmt: skip
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            said = next((line for line in lines if "op" in line.lower()), lines[0] if lines else "")
            raise ConvertError(f"model {spec.name} cannot be written as ONNX opset {opset}: {said}") from error
        finally:
            logger.setLevel(level)
    return exported.model


FORMAT = OnnxFormat()
