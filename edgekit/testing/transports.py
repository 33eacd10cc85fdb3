"""The promises of `edgekit.devices.transport.Transport` as tests, for whoever writes one.

    class TestMyTransport(TransportContract):
        @pytest.fixture
        def lab(self, tmp_path): ...       # gives a Lab

A Lab's `folder` is a folder of the device, empty and writable, that this process sees at the same path.
"""

# ruff: noqa: D102  the names of tests are sentences

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgekit.devices.transport import LIMIT_BYTES, Transport
from edgekit.errors import DeadlineError, DeviceError, StorageError, UnreachableError, UsageError

WAIT_S = 20.0
"""A deadline that is never meant to be reached."""

CLEAR = Path("/proc/self/clear_refs")
SPARE_BYTES = 64 << 20
"""What a device that sends without end may cost the host."""

HARD_WORDS = (
    "two words",
    "",
    "it's",
    'say "no"',
    "line\nline",
    "; exit 3",
    "$(exit 3)",
    "`exit 3`",
    "$HOME",
    "-n",
    "--",
    "*",
    "~",
    "back\\slash",
    "trailing\\",
    "tab\there",
    "!!",
    "#no comment",
    "&& exit 3",
    "| exit 3",
    "> out",
    "größe ☃",
    "\udcff not unicode",
    "\x1b[31m",
)


@dataclass
class Lab:
    """A device to test a transport on. `cause` brings about a fault by name; `heal` ends it."""

    connect: Callable[[], AbstractContextManager[Transport]]
    folder: Path
    cause: dict[str, Callable[[], None]] = field(default_factory=dict)
    heal: Callable[[], None] = lambda: None


def open_files() -> int:
    """Files, sockets and pipes that this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def peak_bytes() -> int:
    """The most memory that this process has had since `CLEAR` was written to."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


class TransportContract:
    """Every transport passes these."""

    @pytest.fixture
    def lab(self, tmp_path: Path) -> Lab:
        """The device to test on."""
        raise NotImplementedError("a contract's subclass gives its own lab")

    @pytest.fixture
    def way(self, lab: Lab) -> Iterator[Transport]:
        """An open transport to it."""
        with lab.connect() as transport:
            yield transport

    @pytest.mark.parametrize("word", HARD_WORDS)
    def test_a_word_arrives_as_it_was_sent(self, way: Transport, word: str) -> None:
        done = way.run(("printf", "%s|", "-", word, "end"), timeout_s=WAIT_S)
        assert done.stdout == f"-|{word}|end|".encode("utf-8", "surrogateescape")
        assert (done.status, done.stderr) == (0, b"")

    @pytest.mark.parametrize("word", [word for word in HARD_WORDS if word])
    def test_a_file_of_any_name_comes_back_as_it_was_put(self, way: Transport, lab: Lab, word: str) -> None:
        content = os.urandom(100_000)
        (source := lab.folder / "source").write_bytes(content)
        there = lab.folder / "there"
        there.mkdir()
        way.put(source, str(there / word), timeout_s=WAIT_S)
        assert [os.fsencode(p.name) for p in there.iterdir()] == [os.fsencode(word)]
        way.get(str(there / word), back := lab.folder / "back", timeout_s=WAIT_S)
        assert back.read_bytes() == content

    @pytest.mark.parametrize("words", [(), ("",), "ls", ("echo", "a\0b")])
    def test_what_is_no_command_is_refused_before_it_is_sent(self, way: Transport, words: Any) -> None:
        with pytest.raises(UsageError):
            way.run(words, timeout_s=WAIT_S)

    @pytest.mark.parametrize("status", [0, 1, 2, 100, 255])
    def test_an_exit_status_is_given_as_it_is(self, way: Transport, status: int) -> None:
        assert way.run(("sh", "-c", f"exit {status}"), timeout_s=WAIT_S).status == status

    def test_a_program_that_is_not_there_gives_127_and_a_word_about_it(self, way: Transport) -> None:
        done = way.run(("no-such-program-at-all",), timeout_s=WAIT_S)
        assert done.status == 127
        assert b"no-such-program-at-all" in done.stderr

    def test_a_killed_command_is_an_error_and_never_a_status(self, way: Transport) -> None:
        with pytest.raises(DeviceError, match="killed"):
            way.run(("sh", "-c", "kill -9 $$"), timeout_s=WAIT_S)
        assert way.run(("true",), timeout_s=WAIT_S).status == 0

    def test_stdout_and_stderr_are_told_apart(self, way: Transport) -> None:
        done = way.run(("sh", "-c", "echo out; echo err >&2; echo out"), timeout_s=WAIT_S)
        assert (done.stdout, done.stderr) == (b"out\nout\n", b"err\n")

    def test_no_byte_of_a_large_output_is_lost(self, way: Transport) -> None:
        line = "i=0; while [ $i -lt 40000 ]; do echo $i; echo e$i >&2; i=$((i+1)); done"
        done = way.run(("sh", "-c", line), timeout_s=60)
        assert done.stdout == b"".join(b"%d\n" % i for i in range(40000))
        assert done.stderr == b"".join(b"e%d\n" % i for i in range(40000))

    def test_a_command_starts_in_the_home_folder(self, way: Transport) -> None:
        done = way.run(("sh", "-c", 'cd; home=$(pwd); cd "$OLDPWD"; [ "$home" = "$(pwd)" ]'), timeout_s=WAIT_S)
        assert done.status == 0

    @pytest.mark.parametrize("size", [0, 1, 3_000_000])
    def test_input_arrives_whole_while_output_is_read(self, way: Transport, size: int) -> None:
        content = os.urandom(size)
        assert way.run(("cat",), stdin=content, timeout_s=60).stdout == content
        assert way.run(("cat",), stdin=io.BytesIO(content), timeout_s=60).stdout == content

    def test_without_input_a_command_reads_an_end(self, way: Transport) -> None:
        assert way.run(("cat",), timeout_s=WAIT_S).stdout == b""

    def test_a_file_is_sent_from_where_it_was_read_to(self, way: Transport, lab: Lab) -> None:
        (path := lab.folder / "file").write_bytes(b"0123456789")
        with path.open("rb") as file:
            file.read(4)
            assert way.run(("cat",), stdin=file, timeout_s=WAIT_S).stdout == b"456789"

    def test_a_command_that_reads_none_of_its_input_still_gives_its_status(self, way: Transport) -> None:
        assert way.run(("sh", "-c", "exit 7"), stdin=bytes(8 << 20), timeout_s=WAIT_S).status == 7

    def test_progress_adds_up_to_what_was_sent(self, way: Transport, lab: Lab) -> None:
        (source := lab.folder / "source").write_bytes(bytes(1_000_000))
        sent: list[int] = []
        way.put(source, str(lab.folder / "target"), timeout_s=WAIT_S, on_bytes=sent.append)
        assert sum(sent) == 1_000_000

    @pytest.mark.parametrize("where", ["", " >&2"])
    def test_endless_output_is_cut_off_with_an_error(self, way: Transport, where: str) -> None:
        with pytest.raises(DeviceError, match="more than 100000 bytes"):
            way.run(("sh", "-c", f"yes{where}"), timeout_s=WAIT_S, limit_bytes=100_000)
        assert way.run(("true",), timeout_s=WAIT_S).status == 0

    @pytest.mark.skipif(not CLEAR.exists(), reason="only Linux tells a process's peak of memory anew")
    def test_endless_output_costs_the_host_little_memory(self, way: Transport) -> None:
        CLEAR.write_text("5")  # the peak is from now on
        before = peak_bytes()
        with pytest.raises(DeviceError, match=f"more than {LIMIT_BYTES} bytes"):
            way.run(("yes",), timeout_s=WAIT_S)
        assert peak_bytes() - before <= SPARE_BYTES

    def test_a_stream_gives_lines_as_they_come(self, way: Transport, lab: Lab) -> None:
        script = 'echo one; while [ ! -e "$0" ]; do sleep 0.02; done; printf "two\\n\\nthree"'
        lines = way.stream(("sh", "-c", script, str(lab.folder / "go")), timeout_s=WAIT_S, idle_s=WAIT_S)
        assert next(lines) == b"one"
        (lab.folder / "go").touch()
        assert list(lines) == [b"two", b"", b"three"]

    def test_a_stream_that_fails_says_the_last_of_its_stderr(self, way: Transport) -> None:
        seen = []
        with pytest.raises(DeviceError, match=r"exit status 3.*the reason"):
            for line in way.stream(
                ("sh", "-c", "echo a; echo the reason >&2; exit 3"), timeout_s=WAIT_S, idle_s=WAIT_S
            ):
                seen.append(line)
        assert seen == [b"a"]

    def test_a_stream_that_falls_silent_is_a_deadline(self, way: Transport) -> None:
        lines = way.stream(("sh", "-c", "echo a; sleep 60"), timeout_s=60, idle_s=0.5)
        assert next(lines) == b"a"
        with pytest.raises(DeadlineError):
            next(lines)

    def test_an_endless_stream_is_cut_off_with_an_error(self, way: Transport) -> None:
        with pytest.raises(DeviceError, match="more than"):
            for _ in way.stream(("yes",), timeout_s=WAIT_S, idle_s=WAIT_S, limit_bytes=100_000):
                pass

    def test_a_stream_may_be_left_early(self, way: Transport) -> None:
        lines = way.stream(("sh", "-c", "while :; do echo a; sleep 0.01; done"), timeout_s=WAIT_S, idle_s=WAIT_S)
        assert next(lines) == b"a"
        lines.close()  # type: ignore[attr-defined]
        assert way.run(("echo", "on"), timeout_s=WAIT_S).stdout == b"on\n"

    def test_a_put_that_fails_says_why_in_the_devices_words(self, way: Transport, lab: Lab) -> None:
        (source := lab.folder / "source").write_bytes(b"x")
        with pytest.raises(DeviceError, match="nowhere"):
            way.put(source, str(lab.folder / "nowhere" / "file"), timeout_s=WAIT_S)

    def test_a_full_disk_is_a_storage_error(self, way: Transport, lab: Lab) -> None:
        (source := lab.folder / "source").write_bytes(bytes(100_000))
        with pytest.raises(StorageError, match=r"[Nn]o space"):
            way.put(source, "/dev/full", timeout_s=WAIT_S)

    def test_a_file_that_is_not_there_leaves_none_here(self, way: Transport, lab: Lab) -> None:
        with pytest.raises(DeviceError, match="missing"):
            way.get(str(lab.folder / "missing"), lab.folder / "here", timeout_s=WAIT_S)
        assert list(lab.folder.iterdir()) == []

    def test_a_file_larger_than_asked_for_leaves_the_old_one(self, way: Transport, lab: Lab) -> None:
        (lab.folder / "here").write_bytes(b"old")
        with pytest.raises(DeviceError, match="larger than 1000 bytes"):
            way.get("/dev/zero", lab.folder / "here", timeout_s=WAIT_S, limit_bytes=1000)
        assert {p.name: p.read_bytes() for p in lab.folder.iterdir()} == {"here": b"old"}

    def test_a_command_past_its_deadline_ends_in_time(self, way: Transport) -> None:
        with pytest.raises(DeadlineError, match=r"within 0\.5 s"):
            way.run(("sleep", "600"), timeout_s=0.5)

    def test_a_command_past_its_deadline_ends_on_the_device_too(self, way: Transport, lab: Lab) -> None:
        (beat := lab.folder / "beat").touch()
        with pytest.raises(DeadlineError):
            way.run(("sh", "-c", 'while :; do echo >> "$0"; sleep 0.05; done', str(beat)), timeout_s=0.5)
        end, size = time.monotonic() + WAIT_S, -1
        while (found := beat.stat().st_size) != size and time.monotonic() < end:
            size = found
            time.sleep(1.0)
        assert found == size > 0

    def test_after_a_deadline_a_call_answers_or_says_that_the_way_is_closed(self, way: Transport) -> None:
        with pytest.raises(DeadlineError):
            way.run(("sleep", "60"), timeout_s=0.2)
        try:
            assert way.run(("true",), timeout_s=WAIT_S).status == 0
        except UnreachableError:
            assert way.faults

    def test_neither_threads_nor_files_are_left_open(self, lab: Lab) -> None:
        def one() -> None:
            with lab.connect() as transport:
                transport.run(("cat",), stdin=b"x", timeout_s=WAIT_S)
                with pytest.raises(DeviceError):
                    transport.run(("yes",), timeout_s=WAIT_S, limit_bytes=1000)
                with pytest.raises(DeadlineError):
                    transport.run(("sleep", "60"), timeout_s=0.1)

        one()  # what is opened once and kept, by a library, is open now
        before = threading.active_count(), open_files()
        for _ in range(3):
            one()
        assert (threading.active_count(), open_files()) == before

    def test_closing_twice_is_allowed(self, lab: Lab) -> None:
        with lab.connect() as transport:
            transport.close()
            transport.close()

    @pytest.mark.parametrize("fault", ["cut", "stall"])
    @pytest.mark.parametrize("doing", ["waiting", "streaming", "sending", "starting"])
    def test_a_way_that_breaks_is_an_error_in_time(self, lab: Lab, fault: str, doing: str) -> None:
        before = threading.active_count()
        with lab.connect() as way:
            if fault not in way.faults:
                assert fault not in lab.cause
                return
            (source := lab.folder / "source").touch()
            os.truncate(source, 1 << 34)
            way.run(("true",), timeout_s=WAIT_S)
            act: dict[str, Callable[[], object]] = {
                "waiting": lambda: way.run(("sleep", "60"), timeout_s=2),
                "streaming": lambda: list(way.stream(("sh", "-c", "echo a; sleep 60"), timeout_s=60, idle_s=2)),
                "sending": lambda: way.put(source, "/dev/null", timeout_s=600),
                "starting": lambda: [way.run(("sleep", "0.2"), timeout_s=2) for _ in range(9)],
            }
            timer = threading.Timer(0.3, lab.cause[fault])
            timer.start()
            try:
                with pytest.raises(UnreachableError):
                    act[doing]()
                with pytest.raises(UnreachableError):
                    way.run(("true",), timeout_s=2)
            finally:
                timer.join()
                lab.heal()
        assert threading.active_count() == before
