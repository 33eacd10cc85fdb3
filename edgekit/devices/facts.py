"""What a device is: each fact one command and one parser; all commands go in one round trip."""

import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence

from edgekit.core.device import Device, Facts
from edgekit.devices import parsers
from edgekit.devices.questions import QUESTIONS, Question, questions_of
from edgekit.devices.transport import Transport
from edgekit.devices.words import command_line
from edgekit.errors import DeviceError

GATHER_S = 60.0
FACT_BYTES = 64 << 10
ANDROID = "android"


def gather(transport: Transport, device: Device) -> Facts:
    """The facts of a device; what it does not tell is None or empty, never a guess.

    Raises: DeviceError if it is not a machine that edgekit knows how to ask; as `Transport.run`.
    """
    return facts_of(ask_all(transport, (*QUESTIONS, *questions_of(transport, device))), transport.name)


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


def facts_of(told: Mapping[str, str], name: str) -> Facts:
    """The facts in what a device answered; pure.

    Raises: DeviceError if there is not even a machine name.
    """
    told = defaultdict(str, told)
    kernel, machine = parsers.parse_uname(told["uname"])
    if not machine or not machine.isprintable():
        raise DeviceError(f"{name}: `uname -rm` gives {told['uname'][:60]!a}: not a system that edgekit knows")
    python, cpuinfo = parsers.parse_python(told["python"]), told["cpuinfo"]
    android, mac = parsers.parse_getprop(told["getprop"]), parsers.parse_sysctl(told["sysctl"])
    dpu = parsers.parse_xdputil(told["xdputil"])
    os_id, os_version, build = _system(told)
    emulated = parsers.is_emulated(machine, cpuinfo)
    return Facts(
        arch=parsers.userland(machine, told["long_bit"].strip() or android.long_bit),
        os_id=os_id, os_version=os_version, build=build, kernel=kernel,
        libc=parsers.parse_libc(told["libc"]) or python.libc or ("bionic" if os_id == ANDROID else ""),
        cpu=parsers.parse_cpu(cpuinfo) or mac.cpu, cores=parsers.parse_cores(told["cores"]),
        features=() if emulated else parsers.parse_features(cpuinfo) or mac.features, emulated=emulated,
        memory_bytes=parsers.parse_memory(told["meminfo"]) or mac.memory_bytes,
        free_bytes=parsers.parse_df(told["df"]),
        board=parsers.parse_board(told["board"]) or android.board or mac.model,
        soc=parsers.parse_soc(told["compatible"]) or android.soc,
        l4t=parsers.parse_l4t(told["l4t"], told["packages"]), jetpack=parsers.parse_jetpack(told["packages"]),
        tensorrt=parsers.parse_tensorrt(told["tensorrt"]),
        dpu=dpu.arch, dpu_fingerprint=dpu.fingerprint, vitis_ai=dpu.vitis_ai,
        fpga_apps=parsers.parse_xmutil(told["xmutil"]),
        android_sdk=android.sdk, termux=os_id == ANDROID and parsers.is_termux(told["shell"]),
        python=python.version, runtimes=python.packages,
        governors=parsers.parse_governors(told["governors"]), power_mode=parsers.parse_nvpmodel(told["nvpmodel"]),
        clocks_locked=parsers.parse_jetson_clocks(told["jetson_clocks"]),
        temperatures_c=parsers.parse_temperatures(told["temperatures"]),
        throttled=parsers.parse_throttled(told["vcgencmd"], told["throttling"], told["temperatures"]),
    )  # fmt: skip


def _system(told: Mapping[str, str]) -> tuple[str, str, str | None]:
    """(id, version, build): a Linux userland's own, else Android's or macOS's."""
    os_id, os_version = parsers.parse_os_release(told["os_release"])
    if os_id:
        return os_id, os_version, None
    android = parsers.parse_getprop(told["getprop"])
    if android.release:
        return ANDROID, android.release, android.build
    version, build = parsers.parse_sw_vers(told["sw_vers"])
    return ("macos", version, build) if version else ("", os_version, None)
