"""ondevice/lease.sh by itself, in three userlands, with a clock and processes of the test's own."""

import os
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgekit.devices.scripts import answers, script_text

ANN, BOB = "ann@laptop", "bob@desk"
TTL = 60
USERLANDS = ("coreutils", "busybox", "toybox")
STEPS = ("cut", "date", "ln", "ls", "mkdir", "readlink", "rm", "sync")
SHIM = """#!/bin/sh
set -C
n=1
until true > "$SHIM_CALLS/$n"; do n=$((n + 1)); done 2>/dev/null
[ "$n" != "$SHIM_FATAL" ] || kill -9 0
PATH=$SHIM_PATH exec {program} "$@"
"""


@dataclass
class Board:
    """A root folder, a /proc of its own, and the shell and the programs that work there."""

    folder: Path
    shell: tuple[str, ...] = ("dash",)
    path: str = os.environ["PATH"]
    more: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.boots("one")
        self.clock(1000)

    @property
    def root(self) -> str:
        return str(self.folder / "edge root; it's")

    def clock(self, now: int) -> None:
        """Seconds since it started."""
        (self.folder / "proc" / "uptime").write_text(f"{now}.37 5.00\n")

    def boots(self, name: str) -> None:
        (self.folder / "proc" / "sys" / "kernel" / "random").mkdir(parents=True, exist_ok=True)
        (self.folder / "proc" / "sys" / "kernel" / "random" / "boot_id").write_text(name + "\n")

    def process(self, pid: int, start: int, state: str = "S") -> None:
        """A process runs there; its name makes trouble."""
        (self.folder / "proc" / str(pid)).mkdir(exist_ok=True)
        rest = " ".join(["0"] * 18)
        (self.folder / "proc" / str(pid) / "stat").write_text(f"{pid} (a) S (b c) {state} {rest} {start} 7 8\n")

    def ends(self, pid: int) -> None:
        shutil.rmtree(self.folder / "proc" / str(pid))

    def call(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        text = script_text("lease").replace("proc=/proc", f'proc="{self.folder}/proc"')
        environment = {"PATH": self.path, "HOME": str(self.folder)} | self.more
        return subprocess.run(
            [*self.shell, "-c", text, "lease.sh", self.root, *words],
            check=False, capture_output=True, env=environment, cwd=self.folder, start_new_session=True, timeout=120,
        )  # fmt: skip

    def ask(self, *words: str) -> dict[str, str]:
        done = self.call(*words)
        assert (done.returncode, done.stderr) == (0, b""), done
        return answers(done.stdout)

    def take(self, name: str, who: str = ANN, ttl: int = TTL, dead: str = "-") -> str:
        return self.ask("take", name, who, "99", "tune%20net", str(ttl), dead)["state"]

    def lock(self, name: str, who: str, span: int = 1800) -> str:
        return self.ask("lock", name, who, "98", "flash", str(span))["state"]

    def token(self) -> int:
        """The token of who uses it, or else of who locked it."""
        found = self.ask("unlock", "nobody@nowhere", "-")
        return int(next(found[key] for key in ("use", "lock") if found[key] != "-").split(",")[0])


def userland(kind: str, folder: Path) -> tuple[tuple[str, ...], str]:
    """The shell and the PATH of a board on which that is all there is."""
    if kind == "coreutils":
        return ("dash",), os.environ["PATH"]
    program = shutil.which(kind)
    if program is None:
        pytest.skip(f"{kind} is not installed")
    folder.mkdir()
    names = subprocess.run([program, *(["--list"] if kind == "busybox" else [])], capture_output=True, check=True)
    for name in names.stdout.decode().split():
        (folder / name).symlink_to(program)
    # toybox's own shell is not finished, and Android's is not here.
    return ((program, "sh") if kind == "busybox" else (shutil.which("dash") or "dash",)), str(folder)


@pytest.fixture(params=USERLANDS)
def board(request: pytest.FixtureRequest, tmp_path: Path) -> Board:
    return Board(tmp_path / "board", *userland(request.param, tmp_path / "bin"))


@pytest.fixture
def plain(tmp_path: Path) -> Board:
    """A board in one userland, where the userland does not matter."""
    return Board(tmp_path / "board")


def test_of_many_who_ask_at_once_exactly_one_gets_it(board: Board) -> None:
    with ThreadPoolExecutor(24) as pool:
        for turn in range(3):
            names = [f"r{turn}n{i}" for i in range(24)]
            got = list(pool.map(board.take, names))
            assert sorted(got) == ["held"] * 23 + ["taken"]
            winner = names[got.index("taken")]
            assert board.ask("renew", winner)["state"] == "taken"
            board.ask("release", winner)


def test_those_who_wait_in_turn_are_never_two_at_once_and_each_has_a_larger_token(board: Board) -> None:
    inside, tokens, failures = board.folder / "inside", list[int](), list[BaseException]()

    def turn(name: str) -> None:
        while (found := board.ask("take", name, ANN, "99", "x", str(TTL), "-"))["state"] != "taken":
            assert found["by"] == "use"
            if failures:
                return
        inside.mkdir()  # fails where somebody else is inside
        tokens.append(int(found["use"].split(",")[0]))
        assert board.ask("renew", name)["state"] == "taken"
        inside.rmdir()
        board.ask("release", name)

    def work(worker: int) -> None:
        try:
            for number in range(3):
                turn(f"w{worker}t{number}")
        except BaseException as error:  # noqa: BLE001  the others would wait for this one
            failures.append(error)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert not failures
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 18


def test_it_is_over_when_its_time_is_by_the_clock_of_the_device(board: Board) -> None:
    assert board.take("a") == "taken"
    board.clock(1000 + TTL)
    assert board.take("b", BOB) == "held"
    board.clock(1001 + TTL)
    assert board.take("b", BOB) == "taken"
    assert board.ask("renew", "a")["state"] == "lost"


def test_renewed_in_time_it_goes_on_and_renewed_late_too_where_nobody_came(plain: Board) -> None:
    plain.take("a")
    for now in (1050, 1100, 1500):
        plain.clock(now)
        assert plain.ask("renew", "a")["state"] == "taken"
    plain.clock(1500 + TTL)
    assert plain.take("b") == "held"


def test_the_token_only_grows_over_release_expiry_force_and_a_restart(board: Board) -> None:
    seen = []

    def takes(name: str) -> None:
        assert board.take(name) == "taken"
        seen.append(board.token())

    takes("a")
    board.ask("release", "a")
    takes("b")
    board.clock(9000)
    takes("c")
    assert board.ask("unlock", BOB, "force")["state"] == "freed"
    takes("d")
    board.boots("two")
    board.clock(5)
    takes("e")
    assert seen == sorted(set(seen))


def test_a_restart_of_the_device_frees_it_and_who_had_it_before_has_lost_it(board: Board) -> None:
    board.lock("l", ANN)
    board.take("a")
    board.boots("two")
    board.clock(1001)
    assert board.call("cover", "a", "7", "10").returncode == 93
    assert board.take("b", BOB) == "taken"


def test_a_command_that_runs_holds_it_however_long_and_when_it_is_gone_half_a_ttl_is_left(board: Board) -> None:
    board.take("a")
    board.process(123, 5555)
    assert board.call("cover", "a", "123", "7200").returncode == 0
    board.clock(7000)
    assert board.take("b", BOB) == "held"
    board.ends(123)
    assert board.take("b", BOB) == "held"
    board.clock(7000 + TTL // 2)
    assert board.take("b", BOB) == "held"
    board.clock(7001 + TTL // 2)
    assert board.take("b", BOB) == "taken"


@pytest.mark.parametrize("how", ["another process of that number", "a zombie"])
def test_only_the_very_process_holds_it(plain: Board, how: str) -> None:
    plain.take("a")
    plain.process(123, 5555)
    plain.call("cover", "a", "123", "7200")
    plain.process(123, 9999) if how.startswith("another") else plain.process(123, 5555, state="Z")
    assert plain.take("b", BOB) == "held"
    plain.clock(1001 + TTL // 2)
    assert plain.take("b", BOB) == "taken"


def test_a_holder_whose_command_ended_goes_on_with_the_next_one(plain: Board) -> None:
    plain.take("a")
    plain.process(1, 1)
    plain.call("cover", "a", "1", "600")
    plain.ends(1)
    assert plain.take("b", BOB) == "held"  # seen to be gone
    plain.process(2, 2)
    assert plain.call("cover", "a", "2", "600").returncode == 0
    plain.clock(1600)
    assert plain.take("b", BOB) == "held"


def test_what_a_dead_holder_had_is_taken_over_once_its_command_is_gone(board: Board) -> None:
    board.take("a")
    board.process(123, 5555)
    board.call("cover", "a", "123", "600")
    assert board.take("b", dead="a") == "held"
    board.ends(123)
    assert board.take("b", dead="other") == "held"
    assert board.take("b", dead="a") == "taken"


def test_a_lock_keeps_others_out_and_lets_its_owner_work_one_at_a_time(board: Board) -> None:
    assert board.lock("l", ANN) == "taken"
    assert board.lock("m", BOB) == "held"
    assert board.ask("take", "b", BOB, "1", "x", "60", "-")["by"] == "lock"
    assert board.take("a", ANN) == "taken"
    assert board.take("c", ANN) == "held"
    assert board.lock("n", ANN, 60) == "taken"
    assert board.call("cover", "a", "7", "10").returncode == 0
    board.ask("release", "a")
    board.clock(1061)
    assert board.take("b", BOB) == "taken"
    assert board.lock("o", ANN) == "held"


def test_a_holder_loses_the_device_to_a_lock_that_came_when_his_time_was_over(plain: Board) -> None:
    plain.take("a")
    plain.clock(1001 + TTL)
    assert plain.lock("l", BOB) == "taken"
    assert plain.ask("renew", "a")["state"] == "lost"
    assert plain.call("cover", "a", "7", "10").returncode == 93


def test_unlocking_ends_ones_own_lock_and_with_force_whatever_there_is(board: Board) -> None:
    assert board.ask("unlock", ANN, "-")["state"] == "free"
    assert not (Path(board.root) / "lease").exists()
    board.lock("l", ANN)
    assert board.ask("unlock", BOB, "-")["state"] == "held"
    assert board.ask("unlock", ANN, "-")["state"] == "freed"
    board.take("a")
    assert board.ask("unlock", ANN, "-")["state"] == "held"
    assert board.ask("unlock", BOB, "force")["state"] == "freed"
    assert board.call("cover", "a", "7", "10").returncode == 93


def test_what_is_not_ones_own_is_not_released(plain: Board) -> None:
    plain.take("a")
    plain.ask("release", "b")
    assert plain.take("b") == "held"
    shutil.rmtree(Path(plain.root) / "lease")
    plain.ask("release", "a")
    assert not (Path(plain.root) / "lease").exists()


def test_the_state_does_not_grow(plain: Board) -> None:
    plain.take("a")
    for _ in range(20):
        plain.ask("renew", "a")
    assert len(list((Path(plain.root) / "lease").iterdir())) <= 5


def test_a_state_from_long_ago_that_turns_up_again_is_not_the_state(plain: Board) -> None:
    plain.take("a")
    for _ in range(9):
        plain.ask("renew", "a")
    (Path(plain.root) / "lease" / "3").symlink_to("1 one - -")
    assert plain.take("b") == "held"
    assert not (Path(plain.root) / "lease" / "3").is_symlink() or plain.ask("renew", "a")["state"] == "taken"


@pytest.fixture
def without_proc(tmp_path: Path) -> Board:
    """A board without /proc, whose `date` says what is in a file."""
    (bin_ := tmp_path / "bin").mkdir()
    (bin_ / "date").write_text(f"#!/bin/sh\ncat {tmp_path}/date\n")
    (bin_ / "date").chmod(0o755)
    board = Board(tmp_path / "board", path=f"{bin_}:{os.environ['PATH']}")
    shutil.rmtree(board.folder / "proc")
    (tmp_path / "date").write_text("1700000000\n")
    return board


def test_without_proc_the_date_is_the_clock(without_proc: Board, tmp_path: Path) -> None:
    assert without_proc.take("a") == "taken"
    (tmp_path / "date").write_text(f"{1700000000 + TTL}\n")
    assert without_proc.take("b") == "held"
    (tmp_path / "date").write_text(f"{1700000001 + TTL}\n")
    assert without_proc.take("b") == "taken"


def test_a_date_that_goes_back_ends_it_rather_than_make_it_endless(without_proc: Board, tmp_path: Path) -> None:
    without_proc.take("a")
    (tmp_path / "date").write_text("1600000000\n")
    assert without_proc.take("b") == "taken"
    assert without_proc.ask("renew", "a")["state"] == "lost"


def test_without_proc_a_command_that_runs_still_holds_it(without_proc: Board, tmp_path: Path) -> None:
    without_proc.take("a")
    with subprocess.Popen(["sleep", "600"]) as command:
        without_proc.call("cover", "a", str(command.pid), "7200")
        (tmp_path / "date").write_text("1700005000\n")
        assert without_proc.take("b") == "held"
        command.kill()
        command.wait()
        assert without_proc.take("b") == "held"
        (tmp_path / "date").write_text(f"{1700005001 + TTL // 2}\n")
        assert without_proc.take("b") == "taken"


def deadly(board: Board, folder: Path, fatal: int) -> None:
    """Makes the n-th program that a script calls from now on fatal to the script; none with 0."""
    if not (folder / "shims").exists():
        (folder / "shims").mkdir()
        for name in STEPS:
            (folder / "shims" / name).write_text(SHIM.format(program=shutil.which(name)))
            (folder / "shims" / name).chmod(0o755)
    shutil.rmtree(folder / "calls", ignore_errors=True)
    (folder / "calls").mkdir()
    board.path = f"{folder / 'shims'}:{os.environ['PATH']}"
    board.more = {"SHIM_PATH": os.environ["PATH"], "SHIM_CALLS": str(folder / "calls"), "SHIM_FATAL": str(fatal)}


@pytest.mark.parametrize(
    "words",
    [
        ("take", "b", ANN, "1", "x", str(TTL), "a"),
        ("lock", "b", ANN, "1", "x", str(TTL)),
        ("renew", "a"),
        ("cover", "a", "7", "30"),
        ("release", "a"),
        ("unlock", ANN, "force"),
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("fresh", [False, True], ids=["held before", "a new board"])
def test_killed_at_any_step_nothing_is_left_that_does_not_end_by_itself(
    words: tuple[str, ...], fresh: bool, tmp_path: Path
) -> None:
    killed = 0
    for fatal in range(1, 100):
        board = Board(tmp_path / f"board{fatal}")
        if not fresh:
            board.take("a")
        deadly(board, tmp_path, fatal)
        ended = board.call(*words).returncode
        killed += ended == -signal.SIGKILL
        deadly(board, tmp_path, 0)
        board.clock(1000 + 2 * TTL)
        assert board.take("c", BOB) == "taken"
        if ended != -signal.SIGKILL:
            break
    assert killed or (fresh and words[0] not in ("take", "lock"))
