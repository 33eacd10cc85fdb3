"""What the commands of `devices.facts` print, read: pure functions, each total. What is not known is None or ""."""

import re

import msgspec

from edgekit.core.noun import Noun

_DF = re.compile(r"\s(\d+)\s+(\d+)\s+(-?\d+)\s+(?:\d+%|-)\s")
_OS_RELEASE = re.compile(r"""^(\w+)=(["']?)(.*?)\2\s*$""", re.MULTILINE)

ARCHES = {"amd64": "x86_64", "arm64": "aarch64", "armv8l": "armv7l", "i386": "i686", "i586": "i686"}
NARROW = {"aarch64": "armv7l", "x86_64": "i686"}
"""What a 64-bit kernel's machine is to a 32-bit userland."""

FLAGS = {
    "avx2": "avx2", "avx512f": "avx512", "avx512_vnni": "vnni", "avx_vnni": "vnni", "amx_int8": "amx_int8",
    "asimd": "neon", "neon": "neon", "asimddp": "dotprod", "i8mm": "i8mm", "sve": "sve",
}  # fmt: skip
"""The kernel's words for CPU features, and edgekit's."""

ARM_PARTS = {
    "0x41": {
        "0xb76": "ARM1176", "0xc07": "Cortex-A7", "0xc08": "Cortex-A8", "0xc09": "Cortex-A9", "0xc0e": "Cortex-A17",
        "0xc0f": "Cortex-A15", "0xd01": "Cortex-A32", "0xd03": "Cortex-A53", "0xd04": "Cortex-A35",
        "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72", "0xd09": "Cortex-A73",
        "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd0d": "Cortex-A77",
        "0xd0e": "Cortex-A76AE", "0xd40": "Neoverse-V1", "0xd41": "Cortex-A78", "0xd42": "Cortex-A78AE",
        "0xd44": "Cortex-X1", "0xd46": "Cortex-A510", "0xd47": "Cortex-A710", "0xd48": "Cortex-X2",
        "0xd49": "Neoverse-N2", "0xd4b": "Cortex-A78C", "0xd4d": "Cortex-A715", "0xd4e": "Cortex-X3",
        "0xd4f": "Neoverse-V2", "0xd80": "Cortex-A520", "0xd81": "Cortex-A720",
    },
    "0x4e": {"0x003": "Denver 2", "0x004": "Carmel"},
    "0x51": {
        "0x800": "Kryo 2xx Gold", "0x801": "Kryo 2xx Silver", "0x804": "Kryo 4xx Gold", "0x805": "Kryo 4xx Silver",
    },
}  # fmt: skip
"""CPU implementer and part, as in Arm's MIDR_EL1, and the core's name."""


def parse_df(text: str) -> int | None:
    """Free bytes, from a line of `df -Pk`.

    >>> parse_df("/dev/root    30358488 9083796  19991320      32% /")
    20471111680
    """
    found = _DF.findall(text + " ")
    return max(0, int(found[-1][2])) * 1024 if found else None


def parse_uname(text: str) -> tuple[str, str]:
    """(kernel release, machine in edgekit's words), from `uname -rm`.

    >>> parse_uname("6.6.31+rpt-rpi-2712 aarch64\\n")
    ('6.6.31+rpt-rpi-2712', 'aarch64')
    """
    kernel, _, machine = text.strip().rpartition(" ")
    return kernel.strip(), ARCHES.get(machine, machine)


def userland(machine: str, long_bit: str) -> str:
    """The architecture that programs are built for, from `getconf LONG_BIT`.

    >>> userland("aarch64", "32\\n"), userland("aarch64", "64\\n"), userland("aarch64", "")
    ('armv7l', 'aarch64', 'aarch64')
    """
    return NARROW.get(machine, machine) if long_bit.strip() == "32" else machine


def parse_os_release(text: str) -> tuple[str, str]:
    """(id, version), from /etc/os-release.

    >>> parse_os_release('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\\nVERSION_ID="12"\\nID=debian\\n')
    ('debian', '12')
    """
    found = {key: value for key, _, value in _OS_RELEASE.findall(text)}
    return found.get("ID", ""), found.get("VERSION_ID", "")


def parse_libc(text: str) -> str:
    """The C library, from `getconf GNU_LIBC_VERSION`, `ldd --version` and the names of loaders.

    >>> parse_libc("glibc 2.36\\n"), parse_libc("musl libc (x86_64)\\nVersion 1.2.4\\n")
    ('glibc 2.36', 'musl 1.2.4')
    """
    if found := re.search(r"^glibc (\d+\.\d+)", text, re.MULTILINE):
        return f"glibc {found[1]}"
    if "musl" in text:
        version = re.search(r"^Version (\d[\w.]*)", text, re.MULTILINE)
        return f"musl {version[1]}" if version else "musl"
    found = re.search(r"^ldd \(.*\) (\d+\.\d+)", text, re.MULTILINE)
    return f"glibc {found[1]}" if found else ""


def _cpuinfo(text: str) -> dict[str, list[str]]:
    """The values of /proc/cpuinfo by key, all cores' in order, each once."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        values = found.setdefault(key.strip(), [])
        if colon and value.strip() and value.strip() not in values:
            values.append(value.strip())
    return found


def parse_features(text: str) -> tuple[str, ...]:
    """CPU features that matter to a model, in edgekit's words, from /proc/cpuinfo.

    >>> parse_features("flags\\t\\t: fpu avx2 avx512f avx512_vnni\\n")
    ('avx2', 'avx512', 'vnni')
    """
    info = _cpuinfo(text)
    told = {flag for line in info.get("flags", []) + info.get("Features", []) for flag in line.split()}
    return tuple(dict.fromkeys(word for flag, word in FLAGS.items() if flag in told))


def parse_cpu(text: str) -> str:
    """The CPU's name, from /proc/cpuinfo: on Arm those of its cores by implementer and part, which boards agree on.

    >>> parse_cpu("CPU implementer\\t: 0x41\\nCPU part\\t: 0xd0b\\nCPU part\\t: 0xd05\\n")
    'Cortex-A55 + Cortex-A76'
    """
    info = _cpuinfo(text)
    implementer = (info.get("CPU implementer") or [""])[0]
    parts = ARM_PARTS.get(implementer, {})
    names = sorted({parts.get(part, f"Arm {implementer}/{part}") for part in info.get("CPU part", [])})
    return " + ".join(names) or " ".join((info.get("model name") or [""])[0].split())


def is_emulated(machine: str, cpuinfo: str) -> bool:
    """Whether /proc/cpuinfo speaks of another kind of processor than `uname` does: qemu-user changes only the latter.

    >>> is_emulated("aarch64", "vendor_id\\t: GenuineIntel\\n"), is_emulated("aarch64", "CPU implementer\\t: 0x41\\n")
    (True, False)
    """
    info = _cpuinfo(cpuinfo)
    if machine == "x86_64":
        return "CPU implementer" in info and "vendor_id" not in info
    return "vendor_id" in info and "CPU implementer" not in info and machine in ("aarch64", "armv7l", "armv6l")


def parse_cores(text: str) -> int:
    """Cores that may be used, from `nproc` or `getconf _NPROCESSORS_ONLN`; 1 if that is not known.

    >>> parse_cores("4\\n"), parse_cores("nproc: not found")
    (4, 1)
    """
    found = re.match(r"\s*(\d{1,5})\s", text + "\n")
    return max(1, int(found[1])) if found else 1


def parse_memory(text: str) -> int | None:
    """Bytes of memory, from /proc/meminfo.

    >>> parse_memory("MemTotal:        8256512 kB\\n")
    8454668288
    """
    found = re.search(r"^MemTotal:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def parse_board(text: str) -> str | None:
    """The board's name, from /proc/device-tree/model, which ends with a NUL.

    >>> parse_board("Raspberry Pi 5 Model B Rev 1.0\\0")
    'Raspberry Pi 5 Model B Rev 1.0'
    """
    return " ".join(text.replace("\0", " ").split()) or None


def parse_governors(text: str) -> tuple[str, ...]:
    """The frequency governors in use, each once, from the scaling_governor files.

    >>> parse_governors("ondemand\\nondemand\\n")
    ('ondemand',)
    """
    return tuple(sorted({line.strip() for line in text.splitlines() if re.fullmatch(r"\s*[\w-]+\s*", line)}))


def parse_temperatures(text: str) -> tuple[tuple[str, float], ...]:
    """(zone, degrees Celsius), from "file:line" of the type and temp files of thermal zones; senseless ones left out.

    >>> parse_temperatures("thermal_zone0/type:cpu-thermal\\nthermal_zone0/temp:46500\\nthermal_zone1/temp:-274000")
    (('cpu-thermal', 46.5),)
    """
    zones: dict[int, dict[str, str]] = {}
    for zone, kind, value in re.findall(r"thermal_zone(\d+)/(type|temp):(.*)", text):
        zones.setdefault(int(zone), {})[kind] = value.strip()
    found: dict[str, float] = {}
    for number, zone in sorted(zones.items()):
        if re.fullmatch(r"-?\d{1,7}", zone.get("temp", "")) and -60 <= int(zone["temp"]) / 1000 <= 200:
            name = zone.get("type") or "zone"
            found[name if name not in found else f"{name} {number}"] = int(zone["temp"]) / 1000
    return tuple(found.items())


class SaidByPython(Noun, frozen=True, kw_only=True):
    """What ondevice/probe.py says: Python's version, the C library it is linked with, (package, version) pairs."""

    version: str | None = None
    libc: str = ""
    packages: tuple[tuple[str, str], ...] = ()


def parse_python(text: str) -> SaidByPython:
    """What ondevice/probe.py says; nothing, if what runs is no Python.

    >>> parse_python('@python {"python": "3.11.2", "libc": "glibc 2.36", "packages": {"numpy": "2.3.5"}}')
    SaidByPython(version='3.11.2', libc='glibc 2.36', packages=(('numpy', '2.3.5'),))
    """
    line = next((line for line in text.splitlines() if line.startswith("@python ")), "@python {}")
    try:
        said = msgspec.json.decode(line.removeprefix("@python "), type=_Said)
    except (msgspec.DecodeError, RecursionError):
        return SaidByPython()
    if not _VERSION.fullmatch(said.python):
        return SaidByPython()
    packages = tuple(sorted((name, version) for name, version in said.packages.items() if _VERSION.fullmatch(version)))
    return SaidByPython(version=said.python, libc=parse_libc(said.libc), packages=packages)


_VERSION = re.compile(r"\d+(\.\d+)*[\w.+-]*")


class _Said(msgspec.Struct):
    python: str = ""
    libc: str = ""
    packages: dict[str, str] = {}
