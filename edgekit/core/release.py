"""What is on a device: one artifact, deployed."""

from edgekit.core.noun import Noun


class Deployment(Noun, frozen=True, kw_only=True):
    """One artifact on one device; `name` is the slot (a model's name), `version` the folder below versions/."""

    device: str
    name: str
    artifact: str
    version: str
    active: bool
    previous: str | None = None
