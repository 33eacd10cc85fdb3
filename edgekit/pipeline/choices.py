"""What the search may choose for a job's model: the space that the model, the project and the target leave."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from math import ceil, lcm

from msgspec import UNSET

from edgekit.compress.groups import ChannelGroup, channel_groups, left_out
from edgekit.compress.layers import edges, layers
from edgekit.core.recipe import Precision
from edgekit.core.target import Target
from edgekit.core.trial import Refusal
from edgekit.errors import ProjectError, TargetError
from edgekit.pipeline.job import Job
from edgekit.search.space import GroupSpace, LayerSpace, Space

MIXED: tuple[Precision, ...] = ("int8", "int8-dynamic")
"""The precisions below float that the search makes forms in, where the target holds them; a recipe may name others."""
QUARTERS = (1, 2, 3)
"""A group keeps so many quarters of its channels, rounded up to what the device takes, or all of them.

A layer's price depends on the channels that it reads and writes in steps that no formula gives (kernels take 4, 8 or 16
at a time): with eighths most pairs of widths were never compiled, and the search chose worse.
"""


def space_of(job: Job, target: Target) -> Space:
    """The layers, each with its precisions, the channel groups with their widths, and what follows what.

    Raises: ProjectError if the project freezes a layer that is not there; TargetError if nothing is left to choose.
    """
    found, wanted = layers(job.model), job.project.compress
    frozen = _frozen(wanted.frozen, [layer.name for layer in found])
    groups = [g for g in channel_groups(job.model) if not frozen & {*g.writers, *g.readers}] if wanted.width else []
    multiple = wanted.round_to or target.limits.channel_multiple
    spaces = {g.name: GroupSpace(name=g.name, widths=_widths(g, multiple), full=g.width) for g in groups}
    names = {name for name, group in spaces.items() if len(group.widths) > 1}
    below = tuple(p for p in MIXED if p in target.numerics.precisions) if wanted.precision else ()
    if not below and not names:
        raise TargetError(
            f"{target.name}: nothing to choose: it holds {', '.join(target.numerics.precisions)}, compress.precision "
            f"is {str(wanted.precision).lower()}, and no channels can be cut{_why(job, on=wanted.width)}"
        )
    return Space(
        layers=tuple(
            LayerSpace(
                name=layer.name, precisions=("fp32", *below) if layer.name not in frozen else ("fp32",),
                reads=layer.reads if layer.reads in names else None,
                writes=layer.writes if layer.writes in names else None, macs=layer.macs,
                sort=layer.kind if len(below) > 1 else UNSET,
            )
            for layer in found
        ),
        groups=tuple(group for name, group in spaces.items() if name in names),
        edges=edges(job.model),
    )  # fmt: skip


def cannot_be_cut(job: Job) -> tuple[Refusal, ...]:
    """The layers whose channels the search leaves as they are although it may cut channels, and why."""
    return left_out(job.model) if job.project.compress.width else ()


def _widths(group: ChannelGroup, multiple: int) -> tuple[int, ...]:
    step = lcm(group.step, multiple)
    kept = (ceil(group.width * quarters / 4 / step) * step for quarters in QUARTERS)
    return (*sorted({width for width in kept if width < group.width}), group.width)


def _frozen(patterns: Iterable[str], names: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        matched = {name for name in names if fnmatchcase(name, pattern)}
        if not matched:
            raise ProjectError(f"compress.frozen: no layer is called {pattern!r}; the layers: {', '.join(names)}")
        found |= matched
    return found


def _why(job: Job, *, on: bool) -> str:
    reasons = left_out(job.model) if on else ()
    return f" ({reasons[0].what}: {reasons[0].reason})" if reasons else ""
