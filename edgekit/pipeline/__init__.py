"""What wires the stages together: `tune`, and each stage alone. Only this package and rollout write the ledger."""

from importlib import import_module
from typing import Any

_HOME = {
    "Event": "edgekit.pipeline.events",
    "bench": "edgekit.pipeline.alone",
    "compress": "edgekit.pipeline.alone",
    "convert": "edgekit.pipeline.alone",
    "open_job": "edgekit.pipeline.job",
    "push": "edgekit.pipeline.alone",
    "tune": "edgekit.pipeline.tune",
}

__all__ = ["Event", "bench", "compress", "convert", "open_job", "push", "tune"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edgekit.pipeline' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
