"""How files stand to each other in time: rounds on this computer that all of them take part in."""

from collections.abc import Callable, Mapping
from pathlib import Path

from _figures import say

from edgekit.bench.session import Bench, Form, Plan
from edgekit.bench.statistics import medians, ratio_over_rounds
from edgekit.core.measurement import Ratio


def measure(bench: Bench, files: Mapping[str, tuple[Path, Path]], count: int) -> Callable[[str, str], Ratio]:
    """The time of one file by another's, in CPU seconds of the process; each file has an .npz of its inputs, in_0, …"""
    forms = [Form(id=key, path=str(path), inputs=str(feed)) for key, (path, feed) in files.items()]
    say(f"{len(forms)} files in {count} rounds: {', '.join(files)}")
    plan = Plan(half_width=1e-9, least=count, most=count, seconds=0.1, warmup_s=0.5, budget_s=1e9, deadline_s=7200.0)
    taken = list(bench.rounds(forms, forms[0].id, plan))
    times = {key: medians(taken, key, "cpu") for key in files}
    return lambda one, other: ratio_over_rounds(times[one], times[other])
