"""The host's side of measuring, against an agent whose lines are written down here."""

import json
from collections.abc import Iterator, Sequence

import pytest

from edgekit.bench.session import Bench, Form, Plan
from edgekit.core.measurement import Options, Round
from edgekit.errors import DeviceError, MeasureError

FORMS = [Form(id=name, path=f"/d/{name}.onnx", inputs="/d/v.npz") for name in ("float", "int8")]


def answer_rounds(job: dict, times: dict[str, float]) -> list[dict]:
    lines = []
    for index, order in job["orders"]:
        readings = [
            {
                "artifact": job["forms"][i]["id"], "wall_s": [times[job["forms"][i]["id"]] * (1 + 0.01 * index)] * 5,
                "cpu_s": [times[job["forms"][i]["id"]]] * 5, "load_s": 0.1, "first_call_s": 0.2, "warmup_calls": 1,
                "steady": True,
            }
            for i in order
        ]  # fmt: skip
        lines.append({"round": {"index": index, "readings": readings, "temperature_c": 40.0}})
    return [*lines, {"done": True}]


class Scripted:
    """A way to a device whose agent answers each job with what `answer` gives for it."""

    name = "pi5"
    faults: frozenset[str] = frozenset()

    def __init__(self, answer) -> None:
        self.answer, self.jobs = answer, []

    def stream(self, words: Sequence[str], *, timeout_s: float, idle_s: float, stdin=None, limit_bytes=0) -> Iterator:
        job = json.loads(stdin)
        self.jobs.append(job)
        for line in self.answer(job):
            if isinstance(line, Exception):
                raise line
            yield json.dumps(line).encode()


def bench(answer, clock=lambda: 0.0) -> tuple[Bench, Scripted]:
    way = Scripted(answer)
    return Bench(way, ("python3", "agent.py"), Options(threads=1, runtime="onnxruntime"), clock=clock), way  # type: ignore[arg-type]


def times(job: dict) -> list[dict]:
    return answer_rounds(job, {"float": 0.010, "int8": 0.005})


def test_rounds_end_once_the_ratio_is_known_and_each_is_heard_of_as_it_ends() -> None:
    one, way = bench(times)
    heard: list[Round] = []
    found = one.rounds(FORMS, "float", Plan(least=5, most=30, per_process=3), on_round=heard.append)
    assert tuple(heard) == found
    assert [r.index for r in found] == list(range(6))
    assert len(way.jobs) == 2, "a new process every three rounds"
    assert one.comparison(found, "pi5", "float", "int8").ratio.value == pytest.approx(0.5)


def test_an_interrupt_while_the_agent_is_left_is_not_lost() -> None:
    """A generator that is closed where garbage is collected swallows whatever is raised in it."""

    class Interrupted(Scripted):
        def stream(self, words: Sequence[str], **bounds) -> Iterator:
            try:
                yield from super().stream(words, **bounds)
            except GeneratorExit:
                raise KeyboardInterrupt from None

    one = Bench(Interrupted(times), ("python3", "agent"), Options(threads=1, runtime="onnxruntime"))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        one.rounds(FORMS, "float", Plan(least=5, most=30))


def test_the_order_of_forms_is_random_and_the_seed_decides_it() -> None:
    def orders(seed: int) -> list:
        one, way = bench(times)
        one.rounds(FORMS, "float", Plan(least=30, most=30, seed=seed))
        return [order for job in way.jobs for _, order in job["orders"]]

    assert orders(1) == orders(1)
    assert orders(1) != orders(2)
    assert {tuple(order) for order in orders(1)} == {(0, 1), (1, 0)}


def test_what_an_earlier_run_finished_is_not_run_again() -> None:
    one, _ = bench(times)
    first = one.rounds(FORMS, "float", Plan(least=4, most=4))
    again, way = bench(times)
    found = again.rounds(FORMS, "float", Plan(least=6, most=6), done=first)
    assert found[:4] == first
    assert [index for job in way.jobs for index, _ in job["orders"]] == [4, 5]


def test_time_is_over_but_never_before_five_rounds() -> None:
    ticks = iter(range(0, 100_000, 1000))
    one, _ = bench(lambda job: answer_rounds(job, {"float": 0.01, "int8": 0.01}), clock=lambda: float(next(ticks)))
    found = one.rounds(FORMS, "float", Plan(least=20, most=40, per_process=2, budget_s=1.0))
    assert len(found) == 6


def heats(every: int):
    """A device that slows down in one round of `every`, int8 less than float."""

    def answer(job: dict) -> list[dict]:
        found = []
        for line in times(job):
            if "round" in line and line["round"]["index"] % every == every - 1:
                line["round"]["throttled"] = True
                for reading in line["round"]["readings"]:
                    factor = 3 if reading["artifact"] == "float" else 2
                    reading |= {clock: [t * factor for t in reading[clock]] for clock in ("wall_s", "cpu_s")}
            found.append(line)
        return found

    return answer


def test_rounds_in_which_the_device_was_slowed_down_do_not_count() -> None:
    one, _ = bench(heats(3))
    found = one.rounds(FORMS, "float", Plan(least=6, most=30))
    compared = one.comparison(found, "pi5", "float", "int8")
    assert len(found) == 9, "until enough rounds of one state are there"
    assert (compared.ratio.value, compared.ratio.rounds, compared.verdict) == (pytest.approx(0.5), 6, "faster")
    assert "3 of 9 rounds" in compared.remarks[-1]


def test_where_no_state_lasts_there_is_no_verdict() -> None:
    one, _ = bench(heats(2))
    found = one.rounds(FORMS, "float", Plan(least=5, most=8))
    assert one.comparison(found, "pi5", "float", "int8").verdict == "unlike states"


def test_a_round_without_one_of_its_forms_is_refused() -> None:
    def answer(job: dict) -> list[dict]:
        lines = times(job)
        lines[0]["round"]["readings"].pop()
        return lines

    with pytest.raises(MeasureError, match="pi5: a round without all its forms"):
        bench(answer)[0].rounds(FORMS, "float", Plan())


@pytest.mark.parametrize("lines", [[], [{"vectors": [0.0]}]])
def test_an_agent_that_ends_early_is_said_to_have(lines: list[dict]) -> None:
    with pytest.raises(MeasureError, match="pi5: the agent ended before its job did"):
        bench(lambda job: lines)[0].compile(FORMS)


def test_an_agent_without_a_single_round_does_not_keep_the_host_asking() -> None:
    with pytest.raises(MeasureError, match="without a round"):
        bench(lambda job: [{"done": True}])[0].rounds(FORMS, "float", Plan())


def test_the_devices_own_reason_is_told() -> None:
    lines = [{"error": "Fail: [ONNXRuntimeError] Unsupported IR version"}, DeviceError("pi5: exit status 1")]
    with pytest.raises(DeviceError, match=r"pi5: Fail: \[ONNXRuntimeError\] Unsupported IR version"):
        bench(lambda job: lines)[0].peak_memory_bytes(FORMS[0])


def test_forms_that_were_not_asked_for_are_not_taken() -> None:
    lines = [{"compiled": {"id": "other", "graph": "", "nodes": []}}, {"done": True}]
    with pytest.raises(MeasureError, match="other forms"):
        bench(lambda job: lines)[0].compile(FORMS)


def test_a_runtime_that_does_not_show_what_it_compiled_has_no_ops_and_is_not_asked() -> None:
    way = Scripted(times)
    one = Bench(way, ("python3", "agent.py"), Options(threads=1, runtime="litert"))  # type: ignore[arg-type]
    assert [graph.nodes for graph in one.compile(FORMS)] == [(), ()]
    assert one.price_ops(FORMS, one.compile(FORMS)) == {}
    assert way.jobs == []
