"""Rounds by a vendor's program: in each, every form in a process of its own, in random order, the baseline too."""

import random
from collections.abc import Callable, Mapping, Sequence

from edgekit.bench.runners.timing import Runner, Timing
from edgekit.core.measurement import Reading, Round
from edgekit.devices.said import readable
from edgekit.devices.transport import Transport
from edgekit.errors import DeviceError, MeasureError

LIMIT_BYTES = 4 << 20
PROCESS_S = 300.0


def time_once(
    transport: Transport, runner: Runner, model: str, *, threads: int = 1, program: str | None = None
) -> Timing:
    """What the program says of one model on the device.

    Raises: MeasureError in its own words; DeviceError if it is not there; as `Transport.run`.
    """
    words = runner.command(model, threads=threads, program=program)
    done = transport.run(words, timeout_s=PROCESS_S, limit_bytes=LIMIT_BYTES)
    said = (done.stdout + b"\n" + done.stderr).decode(errors="replace")
    if done.status == 127:
        raise DeviceError(f"{transport.name}: there is no {runner.name} ({readable(said)}): name its path")
    if done.status != 0:
        runner.parse(said, transport.name)  # its own words, where it has some
        raise MeasureError(f"{transport.name}: {runner.name} ended with {done.status}: {readable(said[-400:])}")
    return runner.parse(said, transport.name)


def tool_rounds(
    transport: Transport, runner: Runner, models: Mapping[str, str], count: int, *,
    threads: int = 1, program: str | None = None, seed: int = 0,
    on_round: Callable[[Round], None] = lambda r: None,
) -> tuple[Round, ...]:  # fmt: skip
    """`count` rounds of the models, by id, at these paths of the device.

    A reading has one time, the program's median or else its mean, on both clocks: it tells no CPU time.

    Raises: as `time_once`.
    """
    found = []
    for index in range(count):
        order: Sequence[str] = random.Random(f"{seed} {index}").sample(sorted(models), len(models))
        readings = [
            _reading(name, time_once(transport, runner, models[name], threads=threads, program=program))
            for name in order
        ]
        found.append(Round(index=index, readings=tuple(readings)))
        on_round(found[-1])
    return tuple(found)


def _reading(name: str, timing: Timing) -> Reading:
    return Reading(
        artifact=name, wall_s=(timing.typical_s,), cpu_s=(timing.typical_s,), load_s=timing.load_s or 0.0,
        first_call_s=timing.first_call_s or 0.0, warmup_calls=0, peak_memory_bytes=timing.peak_memory_bytes,
    )  # fmt: skip
