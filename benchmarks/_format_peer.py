"""A plain tool writes a net in its format, in its own environment: `PYTHON _format_peer.py PEER SETTING IN DATA OUT`.

Imports nothing of edgekit. IN is the net as torch.export saves it (.pt2), or the file that the peer made of it at its
setting "float"; DATA an .npz with in_0, in_1, …, samples first. Files take one sample at a time.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Feed = tuple[np.ndarray, ...]
VNNI = ("avx512_vnni", "avx_vnni", "amx_int8")
"""Where a processor has none of these, onnxruntime's documents advise 7 bits for weights."""


def feeds(data: str) -> list[Feed]:
    """One feed a sample."""
    with np.load(data) as archive:
        arrays = [archive[f"in_{i}"] for i in range(len(archive.files))]
    return [tuple(array[i : i + 1] for array in arrays) for i in range(len(arrays[0]))]


class Reader:
    """As onnxruntime's CalibrationDataReader."""

    def __init__(self, names: list[str], samples: list[Feed]) -> None:
        self.feeds = [dict(zip(names, feed, strict=True)) for feed in samples]
        self.rewind()

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)

    def rewind(self) -> None:
        self._left: Iterator[dict[str, np.ndarray]] = iter(self.feeds)


def torch_onnx(setting: str, source: str, samples: list[Feed], target: str) -> None:
    """Default: quantize_static as it is. Best: as its documents advise for x86; dynamic: and for transformers."""
    if setting == "float":
        import torch

        torch.onnx.export(
            torch.export.load(source), dynamo=True, external_data=False, verbose=False, optimize=True
        ).save(target)
        return
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    CalibrationDataReader.register(Reader)
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    narrow = not any(word in flags for word in VNNI)
    names = [value.name for value in onnx.load(source, load_external_data=False).graph.input]
    if setting == "default":
        quantize_static(source, target, Reader(names, samples))
        return
    prepared = target + ".pre.onnx"
    quant_pre_process(source, prepared)
    if setting == "dynamic":
        quantize_dynamic(prepared, target, per_channel=True, reduce_range=narrow, weight_type=QuantType.QInt8)
        return
    quantize_static(
        prepared, target, Reader(names, samples), activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        per_channel=True, reduce_range=narrow,
    )  # fmt: skip


def litert(setting: str, source: str, samples: list[Feed], target: str) -> None:
    """litert-torch writes the float file, ai-edge-quantizer the others: static, dynamic, weights alone."""
    if setting == "float":
        import litert_torch
        import torch

        program = torch.export.load(source)
        litert_torch.convert(program.module(), program.example_inputs[0]).export(target)
        return
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    static = setting == "static"
    recipes = {
        "static": recipe.static_wi8_ai8, "dynamic": recipe.dynamic_wi8_afp32, "weights": recipe.weight_only_wi8_afp32,
    }  # fmt: skip
    job = quantizer.Quantizer(source, recipes[setting]())
    runner = Interpreter(model_path=source)
    runner.allocate_tensors()
    kinds = [detail["dtype"] for detail in runner.get_input_details()]
    [(name, signature)] = runner.get_signature_list().items()
    names = signature["inputs"]
    given = [{n: array.astype(kind) for n, array, kind in zip(names, feed, kinds, strict=True)} for feed in samples]
    found = job.calibrate({name: given}, num_threads=1) if static else None
    job.quantize(found).export_model(target, overwrite=True)


def coremltools(setting: str, source: str, _: list[Feed], target: str) -> None:
    """Float, and weights as int8 by coremltools.optimize: int8 activations it calibrates on a Mac alone."""
    import coremltools as ct

    if setting == "float":
        import torch

        model = ct.convert(
            torch.export.load(source).run_decompositions({}), minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32, skip_model_load=True,
        )  # fmt: skip
    else:
        import coremltools.optimize.coreml as cto

        config = cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8", weight_threshold=512)
        model = cto.linear_quantize_weights(
            ct.models.MLModel(source, skip_model_load=True), cto.OptimizationConfig(global_config=config)
        )
    model.save(target)


def onnx2tf(setting: str, source: str, samples: list[Feed], target: str) -> None:
    """Its direct back end, from torch's ONNX file: float, static and dynamic int8 by its own options."""
    import onnx
    import onnx2tf as tool

    names = [value.name for value in onnx.load(source, load_external_data=False).graph.input]
    folder, extra = Path(target).with_suffix(""), dict[str, Any]()
    if setting == "static":
        extra["custom_input_op_name_np_data_path"] = []
        for i, name in enumerate(names):
            path = folder.with_name(f"{folder.name}-{i}.npy")
            np.save(path, np.concatenate([feed[i] for feed in samples]))
            extra["custom_input_op_name_np_data_path"].append([name, str(path), 0.0, 1.0])
    tool.convert(
        input_onnx_file_path=source, output_folder_path=str(folder), keep_shape_absolutely_input_names=names,
        output_integer_quantized_tflite=setting == "static", output_dynamic_range_quantized_tflite=setting == "dynamic",
        non_verbose=True, **extra,
    )  # fmt: skip
    ending = {"float": "_float32", "static": "_integer_quant", "dynamic": "_dynamic_range_quant"}[setting]
    [made] = folder.glob(f"*{ending}.tflite")
    shutil.copyfile(made, target)


PEERS: dict[str, Callable[[str, str, list[Feed], str], None]] = {
    "torch.onnx": torch_onnx, "litert-torch": litert, "coremltools": coremltools, "onnx2tf": onnx2tf,
}  # fmt: skip


def main() -> None:
    peer, setting, source, data, target = sys.argv[1:]
    PEERS[peer](setting, source, feeds(data), target)
    if not Path(target).exists():
        raise SystemExit(f"{peer} wrote nothing")


if __name__ == "__main__":
    main()
