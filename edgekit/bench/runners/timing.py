"""What one run of a vendor's program says of one model."""

from typing import Protocol

from edgekit.core.noun import Noun


class Timing(Noun, frozen=True, kw_only=True):
    """Seconds of a call over `calls` calls of one process; None is "not told".

    `warnings` are the program's own, about the figures.
    """

    calls: int
    mean_s: float | None = None
    p50_s: float | None = None
    p90_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    least_s: float | None = None
    load_s: float | None = None
    first_call_s: float | None = None
    peak_memory_bytes: int | None = None
    version: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def typical_s(self) -> float:
        """The median, or the mean where the program gives no median."""
        return float(self.p50_s if self.p50_s is not None else self.mean_s or 0.0)


class Runner(Protocol):
    """A program that times one model in a process of its own."""

    name: str

    def command(self, model: str, *, threads: int, program: str | None = None) -> tuple[str, ...]:
        """The words that time the model at that path of the device; `program` where it is not the usual one."""

    def parse(self, said: str, device: str) -> Timing:
        """What it said. Raises: MeasureError in its own words where it failed or said no figure."""
