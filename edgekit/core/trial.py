"""The search's record: what was tried, what was chosen and why. The report reads only these."""

from typing import Literal

from edgekit.core.measurement import Comparison, Measurement, Quality
from edgekit.core.noun import Noun
from edgekit.core.recipe import Recipe
from edgekit.errors import UsageError


class Trial(Noun, frozen=True, kw_only=True):
    """A recipe that was built for a target, with all that is known of it. Absent figures were not asked for."""

    name: str
    recipe: Recipe
    artifact: str | None = None
    uniform: bool = False
    """One choice for all layers and one for all groups: the forms that a choice must beat."""
    size_bytes: int | None = None
    predicted_s: float | None = None
    quality: tuple[Quality, ...] = ()
    comparison: Comparison | None = None
    measurement: Measurement | None = None


class LayerChoice(Noun, frozen=True, kw_only=True):
    """What was chosen for one layer, and what it is worth: seconds saved against float, loss it adds."""

    layer: str
    precision: str
    width: int | None = None
    full_width: int | None = None
    saved_s: float | None = None
    loss: float | None = None
    runner_up: str | None = None
    reason: str = ""


class Explanation(Noun, frozen=True, kw_only=True):
    """Why this choice: layer by layer, and in words."""

    layers: tuple[LayerChoice, ...] = ()
    words: tuple[str, ...] = ()


class Refusal(Noun, frozen=True, kw_only=True):
    """What was not taken, and why, with the figure that says so."""

    what: str
    reason: str


class Choice(Noun, frozen=True, kw_only=True):
    """The form to deploy on one device: a trial's name, or "float" when nothing beats it."""

    device: str
    target: str
    trial: str
    artifact: str
    kept_float: bool
    explanation: Explanation = Explanation()
    test: tuple[Quality, ...] = ()


class Study(Noun, frozen=True, kw_only=True):
    """One tuning of one model on one device, whole: enough for the report."""

    schema: int = 1
    id: str
    project: str
    model: str
    device: str
    target: str
    minimise: Literal["latency", "size", "memory"]
    max_drop: float
    trials: tuple[Trial, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    choice: Choice | None = None
    pushes: int = 0
    seconds: float = 0.0
    versions: tuple[tuple[str, str], ...] = ()
    """(what, version): edgekit, torch, the device's runtime, …"""


class Studies(Noun, frozen=True, kw_only=True):
    """One model tuned for several devices: a study each."""

    studies: tuple[Study, ...]

    def study(self, device: str | None = None) -> Study:
        """The study of that device; without a name, that of the only one.

        Raises: UsageError naming those there are.
        """
        found = [study for study in self.studies if device in (None, study.device)]
        if len(found) != 1:
            known = ", ".join(study.device for study in self.studies)
            raise UsageError(f"device {device!r}: want one of {known}" if device else f"want one device of {known}")
        return found[0]

    def choice(self, device: str | None = None) -> Choice:
        """What to deploy on that device; without a name, on the only one.

        Raises: UsageError naming the devices there are; or the study was stopped before anything was chosen.
        """
        study = self.study(device)
        if study.choice is None:
            raise UsageError(f"device {study.device!r}: nothing was chosen; the same call goes on where it was")
        return study.choice
