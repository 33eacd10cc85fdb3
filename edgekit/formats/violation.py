"""A rule of an accelerator that a model breaks, in words."""

from edgekit.core.noun import Noun


class Violation(Noun, frozen=True, kw_only=True):
    """A rule that an op breaks: what it has, what the accelerator can, and how the model can be written instead."""

    layer: str
    rule: str
    value: str
    limit: str
    rewrite: str
    accelerator: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.rule} {self.value}, {self.accelerator} has {self.limit}: {self.rewrite}"
