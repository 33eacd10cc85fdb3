"""Two runtimes on one device, side by side: each form by its own, in the same rounds, in random order."""

import random
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from edgekit.bench.session import Bench, Form, Plan
from edgekit.bench.state import state_of
from edgekit.bench.tool_session import ToolBench
from edgekit.core.measurement import Comparison, Reading, Round


class MixedBench(Bench):
    """As `Bench`, of forms that have a session each, by their id: rounds, and what these say of two."""

    def __init__(self, sessions: Mapping[str, Bench]) -> None:
        first = next(iter(sessions.values()))
        super().__init__(first.transport, (), first.options)
        self._sessions = sessions

    def ready(self, form: Form) -> None:
        """As `Bench.ready`."""
        self._sessions[form.id].ready(form)

    def reading(self, form: Form, plan: Plan, index: int) -> Reading:
        """As `Bench.reading`."""
        return self._sessions[form.id].reading(form, plan, index)

    def _rounds(self, forms: Sequence[Form], plan: Plan, indices: Sequence[int]) -> Iterator[Round]:
        for form in forms:
            self.ready(form)
        for index in indices:
            began = state_of(self.transport, index)
            order = random.Random(f"{plan.seed} {index}").sample(list(forms), len(forms))
            yield msgspec.structs.replace(began, readings=tuple(self.reading(form, plan, index) for form in order))

    def comparison(self, rounds: Sequence[Round], device: str, baseline: str, candidate: str) -> Comparison:
        """As `Bench.comparison`; that these are two runtimes is among the remarks."""
        found = super().comparison(rounds, device, baseline, candidate)
        a, b = (self._sessions[artifact] for artifact in (baseline, candidate))
        said = [f"two runtimes: the baseline by {a.options.runtime}, the candidate by {b.options.runtime}"]
        for artifact, session in ((baseline, a), (candidate, b)):
            if isinstance(session, ToolBench):
                said += session.said_of(rounds, (artifact,))
        return msgspec.structs.replace(found, remarks=(*found.remarks, *said))
