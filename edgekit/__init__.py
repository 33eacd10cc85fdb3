"""edgekit: the fastest form of a model on the device that will run it.

The public names are loaded when they are first used: `import edgekit` loads neither torch nor numpy.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Artifact": "edgekit.core.artifact",
    "Choice": "edgekit.core.trial",
    "Comparison": "edgekit.core.measurement",
    "Device": "edgekit.core.device",
    "EdgekitError": "edgekit.errors",
    "Measurement": "edgekit.core.measurement",
    "Prune": "edgekit.core.recipe",
    "Quantize": "edgekit.core.recipe",
    "Recipe": "edgekit.core.recipe",
    "Recover": "edgekit.core.recipe",
    "Study": "edgekit.core.trial",
    "Target": "edgekit.core.target",
}

__all__ = [
    "Artifact",
    "Choice",
    "Comparison",
    "Device",
    "EdgekitError",
    "Measurement",
    "Prune",
    "Quantize",
    "Recipe",
    "Recover",
    "Study",
    "Target",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
