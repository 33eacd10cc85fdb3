"""What wires the stages together: each stage alone. Only this package and rollout write the ledger."""

from importlib import import_module
from typing import Any

_HOME = {
    "Event": "edgekit.pipeline.events",
    "build": "edgekit.pipeline.build",
    "compare": "edgekit.pipeline.alone",
    "open_job": "edgekit.pipeline.job",
}

__all__ = ["Event", "build", "compare", "open_job"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edgekit.pipeline' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
