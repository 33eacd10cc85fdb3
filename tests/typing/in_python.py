"""What a strict type checker says of a program that uses edgekit; `make lint` reads it, nothing runs it.

A mistake that mypy no longer finds leaves its `type: ignore` unused, and that fails.
"""

from typing import assert_type

import numpy as np

import edgekit as ek


def accuracy(outputs: np.ndarray, labels: np.ndarray) -> float:
    return float((outputs.argmax(1) == labels).mean())


def several(outputs: np.ndarray, labels: np.ndarray) -> dict[str, np.floating]:
    right = outputs.argmax(1) == labels
    return {"all": np.mean(right), "worst": min(np.mean(right[labels == c]) for c in np.unique(labels))}


def hear(event: ek.Event) -> None:
    assert_type(event.done, int | None)


study = ek.tune("net.pt2", calibration=[], evaluate=accuracy, devices=["pi5"], max_drop=0.005, listen=hear)
assert_type(study, ek.Studies)
assert_type(study.choice("pi5").artifact, str)
ek.tune("net.pt2", calibration=[], evaluate=several, devices="pi5", max_drop={"worst": "2%"}, minimise="size")
built = ek.convert("net.pt2", calibration=[], target="onnx-x86_64", recipe=ek.Recipe(step=(ek.Quantize(),)))
assert_type(built.artifact, ek.Artifact)
assert_type(ek.compare(built.artifact, "1234", device="pi5").comparison.ratio.value, float)

ek.tune("net.pt2", calibration=[], devcies=["pi5"])  # type: ignore[call-arg]
ek.tune("net.pt2", calibration=[], minimise="joy")  # type: ignore[arg-type]
ek.tune("net.pt2", calibration=[], evaluate=lambda outputs: 1.0)  # type: ignore[misc, arg-type]
ek.tuen("net.pt2")  # type: ignore[attr-defined]
