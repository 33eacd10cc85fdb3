"""What every benchmark says and how: its figures with target, interval and verdict, the machine, its progress."""

import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from edgekit.bench.session import Bench
from edgekit.core.device import Device
from edgekit.core.measurement import Options
from edgekit.devices.agent import agent_folder, starting
from edgekit.devices.connect import connect

KEPT = Path(__file__).resolve().parent.parent / ".bench"


@contextlib.contextmanager
def bench_here(runtime: str = "onnxruntime") -> Iterator[tuple[Bench, Path]]:
    """A bench on this computer over the local transport, one thread, and a folder for its files."""
    KEPT.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=KEPT) as folder,
        connect(Device(name="local", transport="local")) as transport,
    ):
        command = starting(sys.executable, agent_folder())
        yield Bench(transport, command, Options(threads=1, runtime=runtime)), Path(folder)


def say(text: str) -> None:
    """Progress, on stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def machine() -> str:
    """The machine that a figure is from."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


class Figures:
    """The figures of a benchmark, each with its target, interval and verdict; the exit status."""

    def __init__(self, name: str, about: str = "") -> None:
        self.name, self.about, self.rows, self.notes = name, about, list[dict[str, Any]](), list[str]()

    def add(
        self, figure: str, value: float, target: float | None, *, low: float | None = None, high: float | None = None,
        larger_is_better: bool = False, unit: str = "%", judged_by: Literal["value", "interval"] = "value",
    ) -> None:  # fmt: skip
        """One figure, said at once: a stopped run was not for nothing. Without a target it is only told.

        Judged by its interval, a figure is short only where all of that is, and "equal" where the target lies in it.
        """

        def reaches(end: float | None) -> bool:
            return end is not None and target is not None and (end >= target if larger_is_better else end <= target)

        best = (high if larger_is_better else low) if judged_by == "interval" else None
        verdict = "told" if target is None else "ok" if reaches(value) else "equal" if reaches(best) else "SHORT"
        self.rows.append(
            {"figure": figure, "value": value, "unit": unit, "target": target, "low": low, "high": high,
             "verdict": verdict, "sense": ">=" if larger_is_better else "<="}
        )  # fmt: skip
        say(_line(self.rows[-1]))

    def end(self, *, as_json: bool) -> int:
        """Print everything; 1 if a figure falls short."""
        short = any(row["verdict"] == "SHORT" for row in self.rows)
        if as_json:
            told = {"benchmark": self.name, "machine": machine(), "about": self.about}
            print(json.dumps(told | {"figures": self.rows, "notes": self.notes}))
            return int(short)
        print(f"{self.name} on {machine()}" + (f"; {self.about}" if self.about else ""))
        for row in self.rows:
            print(f"  {_line(row)}")
        for note in self.notes:
            print(f"  {note}")
        return int(short)


def _line(row: dict[str, Any]) -> str:
    target = "" if row["target"] is None else f"{row['sense']} {row['target']:g} {row['unit']}"
    span = "" if row["low"] is None else f"[{row['low']:.2f}, {row['high']:.2f}]"
    return f"{row['figure']:58s} {row['value']:8.3f} {row['unit']:2s} {span:18s} {target:12s} {row['verdict']}"
