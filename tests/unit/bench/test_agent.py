"""The program that runs on devices: its own arithmetic, and what it promises about itself."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.bench.lines import AGENT_SCHEMA
from edgekit.devices.agent import agent_files, agent_folder, starting
from edgekit.ondevice.agent import compiled, kernel, main, warmup


@pytest.mark.parametrize("name", agent_files())
def test_it_is_python_3_8_and_needs_the_standard_library_alone_to_start(name: str) -> None:
    tree = ast.parse(agent_files()[name].read_text(), feature_version=(3, 8))
    names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    origins = {node.module for node in tree.body if isinstance(node, ast.ImportFrom) and not node.level}
    assert names <= sys.stdlib_module_names
    assert origins <= ({"agent.main"} if name == "__main__.py" else set())


@pytest.mark.parametrize("name", ["patch.py", "probe.py"])
def test_what_else_runs_on_a_device_is_python_3_8_too(name: str) -> None:
    tree = ast.parse((agent_folder() / name).read_text(), feature_version=(3, 8))
    names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert names <= sys.stdlib_module_names


def test_all_of_it_is_shipped() -> None:
    code = "import sys; sys.argv = ['x']; import agent.main; print(*sorted(m for m in sys.modules if 'agent' in m))"
    env = {"PYTHONPATH": str(agent_folder()), "PYTHONDONTWRITEBYTECODE": "1"}
    loaded = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    files = [name.removesuffix(".py").replace("/", ".") for name in agent_files() if name.startswith("agent/")]
    assert loaded.split() == sorted(name.removesuffix(".__init__") for name in files)


def test_the_host_and_the_agent_speak_one_protocol() -> None:
    assert main.SCHEMA == AGENT_SCHEMA


@pytest.mark.parametrize("job", [{"schema": 2, "job": "version"}, {"schema": 1, "job": "format disk"}, [], "{"])
def test_a_job_that_it_does_not_know_is_refused_in_one_line(job: object) -> None:
    text = job if isinstance(job, str) else json.dumps(job)
    done = subprocess.run(
        starting(sys.executable, agent_folder()), input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert set(json.loads(done.stdout)) == {"error"}
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("there", "version"),
    [
        ({"ai_edge_litert": "2.3.0", "tflite_runtime": "2.14.0"}, "2.3.0"),
        ({"tflite_runtime": "2.14.0"}, "tflite-runtime 2.14.0"),
        ({"ai_edge_litert": None, "tflite_runtime": "2.14.0"}, "tflite-runtime 2.14.0"),
    ],
)
def test_litert_is_its_predecessor_where_that_is_all_that_starts(
    there: dict[str, str | None], version: str, tmp_path: Path
) -> None:
    """A package without a version is one that is there and cannot be imported."""
    for package, number in there.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f"__version__ = {number!r}")
        (tmp_path / package / "interpreter.py").write_text("" if number else "raise ImportError('needs a newer libc')")
    job = {"schema": 1, "job": "version", "runtime": "litert", "threads": 1}
    command = (sys.executable, "-S", str(agent_folder()))
    done = subprocess.run(
        command, input=json.dumps(job), env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[0])["version"] == version


def noisy(seed: int, levels: list[tuple[int, float]], noise: float = 0.01) -> list[float]:
    draw = np.random.default_rng(seed)
    return [float(level * np.exp(noise * draw.standard_normal())) for count, level in levels for _ in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_warm_up_ends_where_the_times_change(seed: int) -> None:
    found = warmup.last_change(noisy(seed, [(15, 1.5), (40, 1.0)]))
    assert 14 <= found <= 25


def test_a_series_that_is_level_is_warm_from_its_first_call() -> None:
    starts = [warmup.last_change(noisy(seed, [(40, 1.0)])) for seed in range(100)]
    assert sum(start > 3 for start in starts) <= 5


def test_two_slow_calls_at_the_start_are_passed_by() -> None:
    assert warmup.last_change([3.0, 1.5, *noisy(1, [(20, 1.0)])]) >= 2


def test_a_slow_machine_from_the_middle_on_is_a_change_too() -> None:
    assert 18 <= warmup.last_change(noisy(3, [(20, 1.0), (20, 1.3)])) <= 22


@given(st.lists(st.floats(1e-6, 10), max_size=60))
def test_some_calls_always_remain(times: list[float]) -> None:
    start = warmup.last_change(times)
    assert 0 <= start <= max(len(times) - 1, 0)


def system(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return str(root)


BOARD = {
    "class/thermal/thermal_zone0/temp": "48312",
    "class/thermal/thermal_zone1/temp": "51000",
    "class/thermal/cooling_device0/type": "cpufreq-cpu0",
    "class/thermal/cooling_device0/cur_state": "2",
    "devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1800000",
    "devices/system/cpu/cpu4/cpufreq/cpuinfo_max_freq": "2400000",
    "devices/system/cpu/cpu4/cpufreq/scaling_cur_freq": "2208000",
    "devices/system/cpu/cpu4/cpufreq/scaling_governor": "schedutil",
}


def test_the_state_is_that_of_the_cores_that_measure(tmp_path: Path) -> None:
    found = kernel.state({"system": system(tmp_path, BOARD)})
    assert found["temperature_c"] == 51.0
    assert found["frequency_khz"] == 2208000
    assert found["governor"] == "schedutil"
    assert found["throttled"] is True


def test_what_cannot_be_read_is_not_guessed(tmp_path: Path) -> None:
    found = kernel.state({"system": str(tmp_path)})
    assert found["temperature_c"] is None
    assert found["frequency_khz"] is None
    assert found["throttled"] is None


def test_temperatures_are_read_where_the_job_says(tmp_path: Path) -> None:
    folder = system(tmp_path / "elsewhere", {"thermal_zone0/temp": "30500"})
    assert kernel.state({"system": str(tmp_path), "thermal": folder})["temperature_c"] == 30.5


def test_a_device_with_two_kinds_of_cores_measures_on_the_fast_ones(tmp_path: Path) -> None:
    assert kernel.fast_cores(system(tmp_path / "unlike", BOARD)) == [4]
    alike = {f"devices/system/cpu/cpu{i}/cpufreq/cpuinfo_max_freq": "1800000" for i in range(4)}
    assert kernel.fast_cores(system(tmp_path / "alike", alike)) is None


def test_a_profile_is_read_node_by_node_without_its_first_calls() -> None:
    args = {"op_name": "Conv", "output_type_shape": [{"float": [1, 8]}]}
    calls = [[{"cat": "Node", "name": "c_kernel_time", "dur": dur, "args": args}] for dur in (900, 7, 9)]
    events = [e for call in calls for e in (*call, {"cat": "Session", "name": "model_run"})]
    assert compiled.nodes_of(events, 1) == {"c": {"args": args, "us": [7, 9]}}


def test_the_mean_of_the_middle_half_ignores_what_other_programs_did() -> None:
    assert compiled.within([4, 5, 4, 5, 4, 5, 1000, 4]) == pytest.approx(4.5)
    assert compiled.within([3]) == 3
