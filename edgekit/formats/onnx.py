"""ONNX, run by onnxruntime: QDQ form, int8 weights stored as int8, activations labelled as the target wants them."""

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from edgekit.core.layer import LayerSpec
from edgekit.core.model import TensorSpec
from edgekit.core.noun import digest
from edgekit.core.target import Target
from edgekit.errors import ArtifactError, ConvertError
from edgekit.formats.base import Inside, Probe, fixed, in_batches, opened
from edgekit.models.extras import require

if TYPE_CHECKING:
    import onnx_ir

    from edgekit.models.program import Program

NEWEST_OPSET = 20
LEAST_EXPORT = 18
"""torch writes these opsets; a target below gets the file rewritten."""
EXACT = "session.x64quantprecision"
"""On an x86 CPU whose 8-bit products saturate in 16 bits (one without VNNI): "1" computes them exactly."""
IN_FLOAT32 = "session.qdq_matmulnbits_accuracy_level"
"""At "1", a linear layer with 4-bit weights behind a dequantize computes in float32, not with int8 activations."""
RELABELLED = "replace the existing tensor"
"""In what onnxruntime says where two layers share a weight or a zero point that EXACT relabels."""
_DTYPES = {
    f"tensor({word})": dtype
    for word, dtype in {
        "float": "float32", "float16": "float16", "double": "float64", "bool": "bool", "int8": "int8", "uint8": "uint8",
        "int16": "int16", "int32": "int32", "int64": "int64",
    }.items()
}  # fmt: skip
_OP = re.compile(r"OpOverload\(op='([\w.]+)'")


class OnnxFormat:
    """See `edgekit.formats.base.Format`."""

    name = "onnx"
    extra = "onnx"
    proof = "verified on this computer"

    def __init__(self) -> None:
        self._exports: WeakKeyDictionary[Any, dict[int, onnx_ir.Model]] = WeakKeyDictionary()

    def lower(self, program: "Program", target: Target, folder: Path) -> Path:
        """As `Format.lower`; TargetError if an op is newer than the target's opset."""
        return self._write(self._exported(program, target).clone(), program, program.int8, target, folder)

    def mixes(
        self, program: "Program", int8_sets: Sequence[frozenset[str]], target: Target, folder: Path
    ) -> tuple[Path, ...]:
        """As `Format.mixes`: one export for all mixes of a program, in this call and later ones, then milliseconds."""
        from edgekit.compress.relax import bypassed_in, float_parameters

        full = self._exported(program, target)
        from edgekit.graph.mix import mix

        return tuple(
            self._write(
                mix(full, bypassed_in(program, int8), float_parameters(program, int8)),
                program, int8, target, folder / digest(sorted(int8))[:16],
            )
            for int8 in int8_sets
        )  # fmt: skip

    def check(self, model: "onnx_ir.Model", program: "Program", int8: frozenset[str], target: Target) -> None:
        """Returns if the target's runtime has every op of the file: onnxruntime has all of its opset.

        The file is the mix of `program` with these layers in int8.
        """

    def _write(
        self, model: "onnx_ir.Model", program: "Program", int8: frozenset[str], target: Target, folder: Path
    ) -> Path:
        from edgekit.compress.weights import stored_weights
        from edgekit.graph.finish import finish_
        from edgekit.graph.sizes import name_sizes_
        from edgekit.graph.written import forget_places_

        inputs, outputs = (tuple(t.name for t in tensors) for tensors in (program.spec.inputs, program.spec.outputs))
        name_sizes_(model, program.spec.inputs)
        finish_(model, target, inputs, outputs, stored_weights(program))
        self.check(model, program, int8, target)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "model.onnx"
        require("onnx_ir", extra=self.extra).save(forget_places_(model), path)
        return path

    def _exported(self, program: "Program", target: Target) -> "onnx_ir.Model":
        """`program` as torch writes it, settled; kept as long as the program lives, because an export takes seconds."""
        opset = min(max(target.limits.opset or NEWEST_OPSET, LEAST_EXPORT), NEWEST_OPSET)
        kept = self._exports.setdefault(program.exported, {})
        if opset not in kept:
            kept[opset] = _export(program, opset)
        return kept[opset]

    def inputs(self, path: Path) -> tuple[TensorSpec, ...]:
        """As `Format.inputs`, by onnxruntime."""
        try:
            return tuple(fixed(i.name, i.shape, _DTYPES[i.type], path) for i in self._session(path, 1).get_inputs())
        except KeyError as error:
            raise ArtifactError(f"{path.name}: an input is a {error.args[0]}: want tensors of numbers") from None

    def run(
        self, path: Path, inputs: tuple[np.ndarray, ...], *, threads: int = 1, rows: Sequence[int] = ()
    ) -> tuple[np.ndarray, ...]:
        """As `Format.run`, by onnxruntime with all its optimizations.

        Raises: ArtifactError if onnxruntime refuses the file or the inputs.
        """
        session = self._session(path, threads)
        names = [i.name for i in session.get_inputs()]
        free = rows or (1,) * len(names)
        given = zip(session.get_inputs(), free, strict=True)
        batches = [i.shape[0] if isinstance(i.shape[0], int) else own for i, own in given]
        try:
            return in_batches(lambda feed: session.run(None, dict(zip(names, feed, strict=True))), inputs, batches)
        except Exception as error:
            raise ArtifactError(f"{path.name}: onnxruntime refuses it: {_first_line(error)}") from error

    def probe(self, path: Path, layers: Sequence[LayerSpec], folder: Path) -> Probe:
        """As `Probes.probe`."""
        from edgekit.formats.onnx_values import probe_onnx

        return probe_onnx(path, layers, folder)

    def inside(
        self, path: Path, layers: Sequence[LayerSpec], inputs: tuple[np.ndarray, ...], folder: Path,
        *, rows: Sequence[int] = (),
    ) -> Inside:  # fmt: skip
        """As `ShowsLayers.inside`."""
        probe = self.probe(path, layers, folder)
        return opened(probe, self.run(probe.path, inputs, rows=rows))

    def readable(self, path: Path) -> Path | bytes:
        """What onnxruntime is given of the file at `path`."""
        return path

    def _session(self, path: Path, threads: int) -> Any:
        """Raises: ArtifactError if onnxruntime refuses the file."""
        ort = require("onnxruntime", extra=self.extra)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry(EXACT, "1")
        options.add_session_config_entry(IN_FLOAT32, "1")
        providers = ["CPUExecutionProvider"]
        try:
            source = self.readable(path)
            try:
                return ort.InferenceSession(source, options, providers=providers)
            except ort.capi.onnxruntime_pybind11_state.Fail as error:
                if RELABELLED not in str(error):
                    raise
                return ort.InferenceSession(_parted(source), options, providers=providers)
        except Exception as error:
            raise ArtifactError(f"{path.name}: onnxruntime refuses it: {_first_line(error)}") from error


def _parted(source: Path | bytes) -> bytes:
    """A file, or what is in one, with no weight that two layers share, which EXACT fails on."""
    import onnx
    import onnx_ir as ir

    from edgekit.graph.relabel import part_weights_

    model = ir.load(source) if isinstance(source, Path) else ir.from_proto(onnx.load_from_string(source))
    content: bytes = ir.to_proto(part_weights_(model)).SerializeToString()
    return content


def _export(program: "Program", opset: int) -> "onnx_ir.Model":
    """`program` as torch writes it, settled: its q/dq have the names that its nodes have."""
    require("onnxscript", extra=FORMAT.extra)
    import torch

    from edgekit.formats.onnx_measures import translations
    from edgekit.graph.finish import settle_

    with _quiet():
        try:
            exported: Any = torch.onnx.export(
                program.exported, dynamo=True, external_data=False, verbose=False, optimize=False, opset_version=opset,
                custom_translation_table=translations(),
            )  # fmt: skip
        except Exception as error:
            raise ConvertError(
                f"model {program.spec.name} cannot be written as ONNX: {_why(error, program)}"
            ) from error
    return settle_(exported.model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's warnings are about what edgekit does not use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _why(error: BaseException, program: "Program") -> str:
    """The module, the op and the user's source line where the export stops, as far as they are known."""
    from edgekit.models.model import written_at

    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    for said in map(str, reversed(causes)):
        if (found := _OP.search(said)) is None:
            continue
        op = found.group(1)
        name = op.rpartition(".")[2]
        place = next((written_at(n) for n in program.exported.graph.nodes if name in str(n.target)), "")
        return f"{place}op {op} has no translation: write it with other torch calls"
    return _first_line(causes[-1])


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


FORMAT = OnnxFormat()
