"""A peer quantizes a float ONNX file, in its own environment: `PYTHON _ptq_peer.py PEER SETTING IN CALIBRATION OUT`.

Imports nothing of edgekit. CALIBRATION is an .npz with `x`, samples first; files take one sample at a time.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Feed = dict[str, np.ndarray]


class Reader:
    """As onnxruntime's CalibrationDataReader, which the other tools that want one take too."""

    def __init__(self, name: str, samples: np.ndarray) -> None:
        self.name, self.samples = name, samples
        self.rewind()

    def get_next(self) -> Feed | None:
        return next(self._left, None)

    def rewind(self) -> None:
        self._left: Iterator[Feed] = iter([{self.name: x[None]} for x in self.samples])


def onnxruntime(setting: str, source: str, name: str, samples: np.ndarray, target: str) -> None:
    """Default: int8 activations, weights per tensor. Best: as its documents advise for x86, uint8 and per channel."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    CalibrationDataReader.register(Reader)
    if setting == "default":
        quantize_static(source, target, Reader(name, samples))
        return
    prepared = target + ".pre.onnx"
    quant_pre_process(source, prepared)
    quantize_static(
        prepared, target, Reader(name, samples), activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        per_channel=True, calibrate_method=CalibrationMethod.MinMax,
    )  # fmt: skip


def nncf(setting: str, source: str, name: str, samples: np.ndarray, target: str) -> None:
    """Default: its performance preset. Best: its preset for accuracy, and all samples."""
    import nncf as tool
    import onnx

    data = tool.Dataset([{name: x[None]} for x in samples])
    extra: dict[str, Any] = {}
    if setting == "best":
        extra = {"preset": tool.QuantizationPreset.MIXED, "subset_size": len(samples)}
    onnx.save(tool.quantize(onnx.load(source), data, **extra), target)


def aimet(setting: str, source: str, name: str, samples: np.ndarray, target: str) -> None:
    """Default: its simulation's int8. Best: after cross-layer equalisation, ranges by minimal error."""
    import onnx
    from aimet_onnx import QuantizationSimModel, int8
    from aimet_onnx.common.defs import QuantScheme

    model = onnx.load(source)
    scheme = QuantScheme.min_max
    if setting == "best":
        from aimet_onnx.cross_layer_equalization import equalize_model

        equalize_model(model)
        scheme = QuantScheme.post_training_tf_enhanced
    simulated = QuantizationSimModel(model, param_type=int8, activation_type=int8, quant_scheme=scheme)
    simulated.compute_encodings([{name: x[None]} for x in samples])
    onnx.save(simulated.to_onnx_qdq(), target)


def neural_compressor(setting: str, source: str, name: str, samples: np.ndarray, target: str) -> None:
    """2.x. Default: its static quantization. Best: QDQ with uint8 activations, weights per channel."""
    from neural_compressor import PostTrainingQuantConfig, quantization

    class Loader:
        batch_size = 1

        def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
            for x in samples:
                yield x[None], 0

    extra: dict[str, Any] = {"quant_format": "QDQ", "quant_level": 1} if setting == "best" else {}
    config = PostTrainingQuantConfig(approach="static", calibration_sampling_size=[len(samples)], **extra)
    found = quantization.fit(source, config, calib_dataloader=Loader())
    if found is None:
        raise SystemExit("neural-compressor gave no model")
    found.save(target)


def onnx_neural_compressor(setting: str, source: str, name: str, samples: np.ndarray, target: str) -> None:
    """Default: its static configuration. Best: QDQ, uint8 activations, weights per channel."""
    from onnx_neural_compressor.quantization import QuantFormat, QuantType, config, quantize

    extra: dict[str, Any] = {}
    if setting == "best":
        extra = {
            "quant_format": QuantFormat.QDQ, "activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8,
            "per_channel": True,
        }  # fmt: skip
    quantize(source, target, config.StaticQuantConfig(Reader(name, samples), **extra))


PEERS = {
    "onnxruntime": onnxruntime, "nncf": nncf, "aimet": aimet, "neural-compressor": neural_compressor,
    "onnx-neural-compressor": onnx_neural_compressor,
}  # fmt: skip


def main() -> None:
    peer, setting, source, calibration, target = sys.argv[1:]
    with np.load(calibration) as archive:
        samples = archive["x"]
    import onnx

    name = onnx.load(source, load_external_data=False).graph.input[0].name
    PEERS[peer](setting, source, name, samples, target)
    if not Path(target).is_file():
        raise SystemExit(f"{peer} wrote nothing")


if __name__ == "__main__":
    main()
