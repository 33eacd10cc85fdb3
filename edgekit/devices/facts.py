"""What a device is: each fact one command and one parser; all commands go in one round trip."""

import secrets
from collections.abc import Sequence

from edgekit.core.device import Device, Facts
from edgekit.core.noun import Noun
from edgekit.devices import parsers
from edgekit.devices.connect import python_of
from edgekit.devices.prepare import runtime_environment
from edgekit.devices.scripts import on_device
from edgekit.devices.transport import Transport
from edgekit.devices.words import command_line
from edgekit.errors import DeviceError

GATHER_S = 60.0
FACT_BYTES = 64 << 10


class Question(Noun, frozen=True, kw_only=True):
    """A command and the name that its output goes by."""

    name: str
    words: tuple[str, ...]


QUESTIONS = (
    Question(name="uname", words=("uname", "-rm")),
    Question(name="long_bit", words=("getconf", "LONG_BIT")),
    Question(name="os_release", words=("cat", "/etc/os-release")),
    Question(
        name="libc",
        words=("sh", "-c", "getconf GNU_LIBC_VERSION || { ldd --version 2>&1; ls /lib/ld-musl-*; }"),
    ),
    Question(name="cpuinfo", words=("cat", "/proc/cpuinfo")),
    Question(name="cores", words=("sh", "-c", "nproc || getconf _NPROCESSORS_ONLN")),
    Question(name="meminfo", words=("cat", "/proc/meminfo")),
    Question(name="board", words=("cat", "/proc/device-tree/model")),
    Question(
        name="governors",
        words=("sh", "-c", "cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"),
    ),
    Question(
        name="temperatures",
        words=("sh", "-c", "cd /sys/class/thermal && grep -s . /dev/null thermal_zone*/type thermal_zone*/temp"),
    ),
)  # fmt: skip


def gather(transport: Transport, device: Device) -> Facts:
    """The facts of a device; what it does not tell is None or empty, never a guess.

    Raises: DeviceError if it is not a machine that edgekit knows how to ask; as `Transport.run`.
    """
    return facts_of(ask_all(transport, (*QUESTIONS, *_questions_of(transport, device))), transport.name)


def _questions_of(transport: Transport, device: Device) -> tuple[Question, ...]:
    """The questions that depend on the device's words: its disk, and its Python with the runtime brought there."""
    environment = tuple(f"{key}={value}" for key, value in runtime_environment(transport, device))
    near = 'd=$1; while [ ! -d "$d" ]; do d=$(dirname "$d"); done; df -Pk "$d" | tail -n 1'
    return (
        Question(name="df", words=("sh", "-c", near, "sh", device.root)),
        Question(name="python", words=("env", *environment, python_of(device), "-c", on_device("probe.py").decode())),
    )


def ask_all(transport: Transport, questions: Sequence[Question]) -> dict[str, str]:
    """What each command writes to stdout, at most 64 KiB of it, in one round trip. Raises: as `Transport.run`."""
    mark = secrets.token_hex(16)
    lines = (
        f"echo; echo {mark} {q.name}; ({command_line(q.words)}) 2>/dev/null </dev/null | head -c {FACT_BYTES}"
        for q in questions
    )
    script = "LC_ALL=C; export LC_ALL; " + "; ".join(lines) + f"; echo; echo {mark} end"
    done = transport.run(
        ("sh", "-c", script), timeout_s=GATHER_S, limit_bytes=(len(questions) + 1) * (FACT_BYTES + 100)
    )
    return sections(done.stdout.decode(errors="replace"), mark)


def sections(text: str, mark: str) -> dict[str, str]:
    """The parts of `text` by the names in the lines "mark name" before them.

    >>> sections("Welcome!\\n\\nM a\\n1\\n2\\n\\nM b\\n\\nM end\\n", "M")
    {'a': '1\\n2\\n', 'b': ''}
    """
    parts = ("\n" + text).split(f"\n{mark} ")[1:]
    named = (part.partition("\n") for part in parts)
    return {name: body for name, _, body in named if name != "end"}


def facts_of(told: dict[str, str], name: str) -> Facts:
    """The facts in what a device answered; pure.

    Raises: DeviceError if there is not even a machine name.
    """
    kernel, machine = parsers.parse_uname(told.get("uname", ""))
    if not machine or not machine.isprintable():
        raise DeviceError(f"{name}: `uname -rm` gives {told.get('uname', '')[:60]!a}: not a system that edgekit knows")
    os_id, os_version = parsers.parse_os_release(told.get("os_release", ""))
    python = parsers.parse_python(told.get("python", ""))
    cpuinfo = told.get("cpuinfo", "")
    emulated = parsers.is_emulated(machine, cpuinfo)
    return Facts(
        arch=parsers.userland(machine, told.get("long_bit", "")), os_id=os_id, os_version=os_version, kernel=kernel,
        libc=parsers.parse_libc(told.get("libc", "")) or python.libc, cpu=parsers.parse_cpu(cpuinfo),
        cores=parsers.parse_cores(told.get("cores", "")),
        features=() if emulated else parsers.parse_features(cpuinfo), emulated=emulated,
        memory_bytes=parsers.parse_memory(told.get("meminfo", "")), free_bytes=parsers.parse_df(told.get("df", "")),
        board=parsers.parse_board(told.get("board", "")), python=python.version, runtimes=python.packages,
        governors=parsers.parse_governors(told.get("governors", "")),
        temperatures_c=parsers.parse_temperatures(told.get("temperatures", "")),
    )  # fmt: skip
