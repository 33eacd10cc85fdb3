"""TFLite, run by LiteRT with XNNPACK. Written by litert-torch in a child process; inputs and outputs stay float."""

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core.layer import LayerSpec
from edgekit.core.model import TensorSpec
from edgekit.core.noun import digest
from edgekit.core.target import Target
from edgekit.errors import ArtifactError, ConvertError, TargetError
from edgekit.formats.base import Inside, Probe, fixed, in_batches, opened
from edgekit.formats.edgetpu.compiler import source_of, summary
from edgekit.formats.tflite_ops import layer_ops
from edgekit.models.extras import require

if TYPE_CHECKING:
    from edgekit.models.program import Program

STATIC_TYPES = {"int8": ("INT8", "INT8"), "int16": ("INT16", "INT8")}
"""What an op takes of a layer of static precision: its input, its weight."""
STATIC = frozenset(STATIC_TYPES)
SLOW = "int16 layers have no kernels in XNNPACK: LiteRT's own were 6 to 130 times as slow as int8"


class TfliteFormat:
    """See `edgekit.formats.base.Format`."""

    name = "tflite"
    extra = "tflite"
    proof = "verified on this computer"

    def lower(self, program: "Program", target: Target, folder: Path) -> Path:
        """As `Format.lower`."""
        return _convert(program, target, ((program.mixable, folder / "model.tflite"),))[0]

    def mixes(
        self, program: "Program", int8_sets: Sequence[frozenset[str]], target: Target, folder: Path
    ) -> tuple[Path, ...]:
        """As `Format.mixes`: all in one child, about a second each after its start."""
        jobs = tuple((mix, folder / digest(sorted(mix))[:16] / "model.tflite") for mix in int8_sets)
        return _convert(program, target, jobs)

    def inputs(self, path: Path) -> tuple[TensorSpec, ...]:
        """As `Format.inputs`, by LiteRT."""
        return tuple(
            fixed(d["name"], [int(size) for size in d["shape_signature"]], np.dtype(d["dtype"]).name, path)
            for d in self._interpreter(source_of(path), 1).get_input_details()
        )

    def run(
        self, path: Path, inputs: tuple[np.ndarray, ...], *, threads: int = 1, rows: Sequence[int] = ()
    ) -> tuple[np.ndarray, ...]:
        """As `Format.run`. Integers are cast to the width that the file has: 64-bit ones are 32-bit there."""
        interpreter = self._interpreter(source_of(path), threads)
        takes, gives = interpreter.get_input_details(), interpreter.get_output_details()

        def call(batch: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            for detail, array in zip(takes, batch, strict=True):
                interpreter.set_tensor(detail["index"], array.astype(detail["dtype"], copy=False))
            interpreter.invoke()
            return tuple(interpreter.get_tensor(detail["index"]) for detail in gives)

        return in_batches(call, inputs, [int(detail["shape"][0]) for detail in takes])

    def probe(self, path: Path, layers: Sequence[LayerSpec], folder: Path) -> Probe:
        """As `Probes.probe`."""
        from edgekit.formats.tflite_values import probe_tflite

        return probe_tflite(source_of(path), layers, folder)

    def inside(
        self, path: Path, layers: Sequence[LayerSpec], inputs: tuple[np.ndarray, ...], folder: Path,
        *, rows: Sequence[int] = (),
    ) -> Inside:  # fmt: skip
        """As `ShowsLayers.inside`."""
        probe = self.probe(path, layers, folder)
        return opened(probe, self.run(probe.path, inputs))

    def near(self, program: "Program") -> "Program | None":
        """As `edgekit.formats.base.ComputesNear`."""
        from edgekit.formats.tflite_near import near

        return near(program)

    def remarks(self, path: Path) -> tuple[str, ...]:
        """As `edgekit.formats.base.Remarks`: what an accelerator's compiler made of a file; what int16 costs."""
        if source_of(path) == path:
            return (SLOW,) if _has_int16(path) else ()
        log = path.with_suffix(".log")
        return (summary(log.read_text(errors="replace") if log.is_file() else ""),)

    def _interpreter(self, path: Path, threads: int) -> Any:
        """Raises: ArtifactError if LiteRT refuses the file."""
        runtime = require("ai_edge_litert.interpreter", extra=self.extra)
        try:
            interpreter = runtime.Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(f"{path.name}: LiteRT refuses it: {error}") from error
        return interpreter


def _convert(program: "Program", target: Target, jobs: Sequence[tuple[frozenset[str], Path]]) -> tuple[Path, ...]:
    """Writes each mix of `program` at its path, or none of them; the paths.

    Raises: ConvertError, TargetError.
    """
    from edgekit.formats.crossing import convert_mixes

    words = set(program.precisions.values())
    if "bf16" in words:
        raise TargetError(f"target {target.name}: TFLite holds no bf16: take fp16")
    if words & STATIC and target.numerics.activations != "int8-affine":
        raise TargetError(
            f"target {target.name}: TFLite holds int8-affine activations, not {target.numerics.activations}"
        )
    convert_mixes(program, tuple(dict.fromkeys(jobs)), "edgekit.formats.tflite:convert", "TFLite")
    paths = tuple(path for _, path in jobs)
    if target.accelerator == "edgetpu":
        from edgekit.formats.edgetpu.fit import fit

        fit(program.spec.name, target, paths)
    return paths


def convert(job: dict[str, Any], _: dict[str, np.ndarray]) -> tuple[None, dict[str, np.ndarray]]:
    """In the child: writes each mix of a program as one file, and looks whether its int8 layers are int8 there.

    Raises: ConvertError with the op and the line of the model's source that cannot be converted; MissingExtraError.
    """
    require("litert_torch", extra="tflite")
    from edgekit.formats.crossing import mixes_in

    for part, path in mixes_in(job):
        _write(part, path)
        check_file(part, path)
    return None, {}


def _write(program: "Program", path: Path) -> None:
    """Writes `program` at `path`, in the child."""
    import litert_torch
    from litert_torch.quantize.quant_config import QuantConfig

    from edgekit.compress.bare import bare
    from edgekit.formats.recurrent import unrolled
    from edgekit.formats.tflite_joins import keep_floats_, without_holds
    from edgekit.formats.tflite_readers import keep_readers_
    from edgekit.formats.tflite_store import with_stored
    from edgekit.formats.tflite_wide import with_wide_biases

    keep_float_edges_()
    config = QuantConfig(pt2e_quantizer=_Static()) if STATIC & set(program.precisions.values()) else None
    module, stored = bare(replace(program, exported=unrolled(program.exported)))
    try:
        converted = litert_torch.convert(
            keep_readers_(keep_floats_(module)), program.exported.example_inputs[0], quant_config=config
        )
        converted.export(str(path))
    except Exception as error:
        raise ConvertError(f"model {program.spec.name} cannot be written as TFLite: {_reason(error)}") from error
    content = with_wide_biases(without_holds(path.read_bytes()))
    path.write_bytes(with_stored(content, stored, f"model {program.spec.name} as TFLite"))


class _Static:
    """All that litert-torch reads of a quantizer: whether scales are found at run time. Ours are in the program."""

    class global_config:  # noqa: N801  the converter's name
        """As litert-torch's own."""

        is_dynamic = False


def keep_float_edges_() -> None:
    """Makes litert-torch, in this process, keep the quantize at a model's inputs and the dequantize at its outputs.

    It has no setting for that: without it a file takes and gives int8, and every caller must know the scales.
    """
    from litert_converter.mlir._mlir_libs import converter_api_ext as api

    plain = api.ConvertToTFLConfig
    if getattr(plain, "strict", False):
        return

    def strict() -> Any:
        config = plain()
        config.strict_qdq_mode = True
        return config

    strict.strict = True  # type: ignore[attr-defined]
    api.ConvertToTFLConfig = strict


def check_file(program: "Program", path: Path) -> None:
    """Return if the file at `path` loads, has the program's inputs and outputs, and an op for each static layer.

    Raises: ConvertError.
    """
    from edgekit.compress.relax import parameter_of, quantized_layers

    where = f"model {program.spec.name} as TFLite"
    runtime = require("ai_edge_litert.interpreter", extra="tflite")
    try:
        interpreter = runtime.Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ConvertError(f"{where}: LiteRT refuses what the converter wrote: {_reason(error)}") from error
    for details, specs in (
        (interpreter.get_input_details(), program.spec.inputs),
        (interpreter.get_output_details(), program.spec.outputs),
    ):
        found = [(tuple(map(int, d["shape"])), np.dtype(d["dtype"]).kind) for d in details]
        wanted = [(s.shape, np.dtype(s.dtype).kind) for s in specs]
        if found != wanted:
            raise ConvertError(f"{where}: want inputs and outputs {wanted}, the converter made {found}")
    of, ops = parameter_of(program.exported), layer_ops(path.read_bytes())
    for precision, types in STATIC_TYPES.items():
        names = frozenset(layer for layer, word in program.precisions.items() if word == precision)
        wanted_layers = len(quantized_layers(program.exported.graph, of, names))
        found_layers = sum(1 for op in ops if op.takes[:2] == types)
        if found_layers < wanted_layers:
            raise ConvertError(f"{where}: {wanted_layers} layers are {precision}, and only {found_layers} would run so")


def _has_int16(path: Path) -> bool:
    """Whether a layer of a file takes int16; no file that a runtime has loaded is refused here."""
    try:
        return any(op.takes[:1] == ("INT16",) for op in layer_ops(path.read_bytes()))
    except (ValueError, IndexError, KeyError, TypeError, struct.error):
        return False


def _reason(error: BaseException) -> str:
    """What a converter says in its first line, with the op and the source line where it names them."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    source = next((i for i, line in enumerate(lines) if line.startswith("File ")), None)
    where = " ".join(lines[source : source + 2]) if source is not None else ""
    return f"{lines[0][:300]}{f' at {where[:300]}' if where else ''}"


FORMAT = TfliteFormat()
