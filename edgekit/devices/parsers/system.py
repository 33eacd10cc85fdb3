"""The system: kernel, userland, C library, memory, disk, board and chip."""

import re

_DF = re.compile(r"\s(\d+)\s+(\d+)\s+(-?\d{1,15})\s+(?:\d+%|-)\s")
_OS_RELEASE = re.compile(r"""^(\w+)=(["']?)(.*?)\2\s*$""", re.MULTILINE)

ARCHES = {"amd64": "x86_64", "arm64": "aarch64", "armv8l": "armv7l", "i386": "i686", "i586": "i686"}
NARROW = {"aarch64": "armv7l", "x86_64": "i686"}
"""What a 64-bit kernel's machine is to a 32-bit userland."""

LONGEST_NAME = 120
"""Letters of a name that a device gives itself; what is longer is cut."""


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
    return name_of(kernel) or "", ARCHES.get(machine, machine)


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
    found = {key: name_of(value) or "" for key, _, value in _OS_RELEASE.findall(text)}
    return found.get("ID", ""), found.get("VERSION_ID", "")


def parse_libc(text: str) -> str:
    """The C library, from `getconf GNU_LIBC_VERSION`, `ldd --version` and the names of loaders.

    >>> parse_libc("glibc 2.36\\n"), parse_libc("musl libc (x86_64)\\nVersion 1.2.4\\n")
    ('glibc 2.36', 'musl 1.2.4')
    """
    if found := re.search(r"^glibc (\d{1,3}\.\d{1,3})", text, re.MULTILINE):
        return f"glibc {found[1]}"
    if "musl" in text:
        version = re.search(r"^Version (\d[\w.]{0,40})", text, re.MULTILINE)
        return f"musl {version[1]}" if version else "musl"
    found = re.search(r"^ldd \(.*\) (\d{1,3}\.\d{1,3})", text, re.MULTILINE)
    return f"glibc {found[1]}" if found else ""


def parse_memory(text: str) -> int | None:
    """Bytes of memory, from /proc/meminfo.

    >>> parse_memory("MemTotal:        8256512 kB\\n")
    8454668288
    """
    found = re.search(r"^MemTotal:\s+(\d{1,15}) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def parse_board(text: str) -> str | None:
    """The board's name, from /proc/device-tree/model, which ends with a NUL.

    >>> parse_board("Raspberry Pi 5 Model B Rev 1.0\\0")
    'Raspberry Pi 5 Model B Rev 1.0'
    """
    return name_of(text)


def parse_soc(text: str) -> str | None:
    """The chip, from /proc/device-tree/compatible: "vendor,part" words that end with NUL, the chip's the last.

    A Jetson may name its family after the chip.

    >>> parse_soc("raspberrypi,5-model-b\\0brcm,bcm2712\\0")
    'bcm2712'
    >>> parse_soc("nvidia,p3509-0000+p3767-0003\\0nvidia,p3767-0003\\0nvidia,tegra234\\0nvidia,tegra23x\\0")
    'tegra234'
    """
    parts = [part for part in re.split(r"[\0\n]", text) if re.fullmatch(r"[\w.+-]{1,40},[\w.+-]{1,40}", part, re.ASCII)]
    chips = [part.partition(",")[2] for part in parts if not part.startswith("linux,")]  # linux,dummy-virt is no chip
    return next((chip for chip in chips if re.fullmatch(r"tegra\d{3}", chip)), chips[-1] if chips else None)


def name_of(text: str) -> str | None:
    """A name that a device gives itself, as one short line; None if there is none.

    >>> name_of("NVIDIA  Jetson\\n"), name_of("\\0")
    ('NVIDIA Jetson', None)
    """
    return " ".join(text.replace("\0", " ").split())[:LONGEST_NAME] or None
