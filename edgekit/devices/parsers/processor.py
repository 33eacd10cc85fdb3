"""The processor: its name, its features, its cores and what governs them."""

import re

from edgekit.devices.parsers.system import name_of

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
        "0xd4f": "Neoverse-V2", "0xd80": "Cortex-A520", "0xd81": "Cortex-A720", "0xd82": "Cortex-X4",
        "0xd83": "Neoverse-V3AE", "0xd84": "Neoverse-V3", "0xd85": "Cortex-X925", "0xd87": "Cortex-A725",
    },
    "0x4e": {"0x003": "Denver 2", "0x004": "Carmel"},
    "0x51": {
        "0x800": "Kryo 2xx Gold", "0x801": "Kryo 2xx Silver", "0x804": "Kryo 4xx Gold", "0x805": "Kryo 4xx Silver",
    },
}  # fmt: skip
"""CPU implementer and part, as in Arm's MIDR_EL1, and the core's name."""


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
    return name_of(" + ".join(names)) or name_of((info.get("model name") or [""])[0]) or ""


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


def parse_governors(text: str) -> tuple[str, ...]:
    """The frequency governors in use, each once, from the scaling_governor files.

    >>> parse_governors("ondemand\\nondemand\\n")
    ('ondemand',)
    """
    return tuple(sorted({line.strip() for line in text.splitlines() if re.fullmatch(r"\s*[\w-]{1,40}\s*", line)}))
