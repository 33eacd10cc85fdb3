"""edgekit: the fastest form of a model on the device that will run it.

The public names are loaded when they are first used: `import edgekit` loads neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.core.artifact import Artifact
    from edgekit.core.device import Device
    from edgekit.core.measurement import Comparison, Measurement, Profile
    from edgekit.core.project import Compress, Project
    from edgekit.core.recipe import Prune, Quantize, Recipe, Recover
    from edgekit.core.target import Target
    from edgekit.core.trial import Choice, Studies, Study
    from edgekit.errors import EdgekitError
    from edgekit.pipeline.events import Event
    from edgekit.pipeline.python import (
        apply_recipe,
        artifact_folder,
        compare,
        convert,
        profile,
        push,
        tune,
        write_report,
    )

__version__ = "0.1.0"

_HOME = {
    "Artifact": "edgekit.core.artifact",
    "Choice": "edgekit.core.trial",
    "Comparison": "edgekit.core.measurement",
    "Compress": "edgekit.core.project",
    "Device": "edgekit.core.device",
    "EdgekitError": "edgekit.errors",
    "Event": "edgekit.pipeline.events",
    "Measurement": "edgekit.core.measurement",
    "Profile": "edgekit.core.measurement",
    "Project": "edgekit.core.project",
    "Prune": "edgekit.core.recipe",
    "Quantize": "edgekit.core.recipe",
    "Recipe": "edgekit.core.recipe",
    "Recover": "edgekit.core.recipe",
    "Studies": "edgekit.core.trial",
    "Study": "edgekit.core.trial",
    "Target": "edgekit.core.target",
    "apply_recipe": "edgekit.pipeline.python",
    "artifact_folder": "edgekit.pipeline.python",
    "compare": "edgekit.pipeline.python",
    "convert": "edgekit.pipeline.python",
    "profile": "edgekit.pipeline.python",
    "push": "edgekit.pipeline.python",
    "tune": "edgekit.pipeline.python",
    "write_report": "edgekit.pipeline.python",
}

__all__ = [
    "Artifact",
    "Choice",
    "Comparison",
    "Compress",
    "Device",
    "EdgekitError",
    "Event",
    "Measurement",
    "Profile",
    "Project",
    "Prune",
    "Quantize",
    "Recipe",
    "Recover",
    "Studies",
    "Study",
    "Target",
    "__version__",
    "apply_recipe",
    "artifact_folder",
    "compare",
    "convert",
    "profile",
    "push",
    "tune",
    "write_report",
]

if not TYPE_CHECKING:  # to a type checker, a name that is not above is a mistake

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
        return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
