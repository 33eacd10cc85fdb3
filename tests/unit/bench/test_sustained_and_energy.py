"""What a minute without a pause says, and what the device's own sensors say of energy, on a made-up /sys."""

from pathlib import Path

import pytest

from edgekit.bench.sustained import sustained_of
from edgekit.core.measurement import Window
from edgekit.errors import MeasureError
from edgekit.ondevice.agent.energy import Meter


def windows(times: list[float], throttled: list[bool | None]) -> list[Window]:
    return [
        Window(at_s=i + 1.0, p50_s=time, p99_s=time, calls=10, throttled=slowed)
        for i, (time, slowed) in enumerate(zip(times, throttled, strict=True))
    ]


def test_what_is_slower_at_the_end_is_told_by_its_share() -> None:
    found = sustained_of(windows([1.0] * 10 + [1.1] * 40 + [1.25] * 10, [None] * 60), joules=1200.0, sensor="rapl")
    assert (found.begun_s, found.held_s) == (1.0, 1.25)
    assert found.slowdown == pytest.approx(0.25)
    assert found.joules_per_call == pytest.approx(2.0)
    assert found.throttled is None


def test_one_throttled_second_is_enough_and_not_knowing_is_not_no() -> None:
    assert sustained_of(windows([1.0] * 3, [False, True, None])).throttled is True
    assert sustained_of(windows([1.0] * 3, [False, None, False])).throttled is False


def test_no_window_is_an_error() -> None:
    with pytest.raises(MeasureError):
        sustained_of([])


def write(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def test_without_a_sensor_nothing_is_said(tmp_path: Path) -> None:
    assert Meter(str(tmp_path)).sensor is None


def test_the_counters_of_both_packages_add_up_also_when_one_goes_round(tmp_path: Path) -> None:
    for number, (name, now) in enumerate((("package-0", 900), ("package-1", 100), ("dram", 0))):
        folder = tmp_path / "class/powercap" / f"intel-rapl:{number}"
        write(folder / "name", name)
        write(folder / "energy_uj", now * 1_000_000)
        write(folder / "max_energy_range_uj", 1000 * 1_000_000)
    meter = Meter(str(tmp_path))
    write(tmp_path / "class/powercap/intel-rapl:0/energy_uj", 50 * 1_000_000)
    write(tmp_path / "class/powercap/intel-rapl:1/energy_uj", 130 * 1_000_000)
    meter.sample(1.0)
    assert meter.sensor == "rapl"
    assert meter.joules == pytest.approx(150 + 30)


def test_of_a_jetsons_rails_the_whole_boards_counts(tmp_path: Path) -> None:
    folder = tmp_path / "class/hwmon/hwmon3"
    write(folder / "name", "ina3221")
    for channel, (label, volts, amperes) in enumerate((("VDD_IN", 5000, 2000), ("VDD_CPU_GPU_CV", 5000, 800)), 1):
        write(folder / f"in{channel}_label", label)
        write(folder / f"in{channel}_input", volts)
        write(folder / f"curr{channel}_input", amperes)
    meter = Meter(str(tmp_path))
    meter.sample(2.0)
    assert meter.sensor == "hwmon"
    assert meter.joules == pytest.approx(10.0 * 2.0)


def test_a_sensor_that_fails_midway_gives_no_figure(tmp_path: Path) -> None:
    write(tmp_path / "class/hwmon/hwmon0/power1_input", 3_000_000)
    meter = Meter(str(tmp_path))
    meter.sample(1.0)
    assert meter.joules == pytest.approx(3.0)
    write(tmp_path / "class/hwmon/hwmon0/power1_input", "")
    meter.sample(1.0)
    assert meter.sensor is None
