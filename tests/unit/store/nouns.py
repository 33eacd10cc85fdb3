"""Small true nouns for the tests of the store."""

import hashlib
from pathlib import Path

from edgekit.core.artifact import Artifact, FileEntry, content_id
from edgekit.core.measurement import Conditions, Latency, Measurement, Reading, Round
from edgekit.core.noun import to_json
from edgekit.core.price import OpPrice, OpSignature
from edgekit.core.recipe import FLOAT
from edgekit.core.trial import Choice, Study, Trial


def make_artifact(folder: Path, content: bytes = b"weights", key: str = "k1", name: str = "net") -> Artifact:
    """An artifact folder as a packer writes it."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    files = (FileEntry(path="model.onnx", sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content)),)
    artifact = Artifact(
        id=content_id(files), key=key, name=name, format="onnx", target="onnx-x86_64", files=files,
        model_file="model.onnx",
    )  # fmt: skip
    (folder / "artifact.json").write_bytes(to_json(artifact))
    return artifact


def measurement(artifact: str = "a", device: str = "local", p50_s: float = 0.001) -> Measurement:
    latency = Latency(
        p50_s=p50_s, p90_s=p50_s, p99_s=p50_s, least_s=p50_s, low_s=p50_s, high_s=p50_s, calls=10, loads=3
    )
    return Measurement(
        artifact=artifact, device=device, wall=latency, cpu=latency, load_s=0.1, first_call_s=0.2,
        conditions=Conditions(runtime="onnxruntime", runtime_version="1.32.0", threads=1),
    )  # fmt: skip


def a_round(index: int = 0) -> Round:
    reading = Reading(artifact="a", wall_s=(0.001,), cpu_s=(0.001,), load_s=0.1, first_call_s=0.2, warmup_calls=3)
    return Round(index=index, readings=(reading,))


def price(kind: str = "Conv", seconds: float = 0.001) -> OpPrice:
    signature = OpSignature(kind=kind, inputs=(("float32", (1, 3, 8, 8)),))
    return OpPrice(signature=signature, seconds=seconds, low_s=seconds, high_s=seconds, source="farm")


def study(name: str = "s1", artifact: str = "f" * 64, project: str = "digits") -> Study:
    return Study(
        id=name, project=project, model="m", device="local", target="onnx-x86_64", minimise="latency", max_drop=0.01,
        trials=(Trial(name="float", recipe=FLOAT, artifact=artifact),),
        choice=Choice(device="local", target="onnx-x86_64", trial="float", artifact=artifact, kept_float=True),
    )  # fmt: skip
