"""A Mac: its system by `sw_vers`, its hardware by `sysctl`."""

import re

from edgekit.core.noun import Noun
from edgekit.devices.parsers.system import name_of

_LINE = re.compile(r"^([\w.]{1,80}):[ \t]*(.*)$", re.MULTILINE)

OPTIONAL = {
    "hw.optional.avx2_0": "avx2", "hw.optional.avx512f": "avx512",
    "hw.optional.neon": "neon", "hw.optional.AdvSIMD": "neon",
    "hw.optional.arm.FEAT_DotProd": "dotprod", "hw.optional.arm.FEAT_I8MM": "i8mm",
}  # fmt: skip
"""The keys of sysctl for CPU features (Apple's "Determining instruction set characteristics"), and edgekit's words."""


class Mac(Noun, frozen=True, kw_only=True):
    """A Mac's hardware; nothing of it where sysctl knows none of these keys."""

    cpu: str = ""
    model: str | None = None
    memory_bytes: int | None = None
    features: tuple[str, ...] = ()


def parse_sw_vers(text: str) -> tuple[str, str | None]:
    """(version, build) of macOS; ("", None) where it is another system.

    >>> parse_sw_vers("ProductName:\\t\\tmacOS\\nProductVersion:\\t\\t14.5\\nBuildVersion:\\t\\t23F79\\n")
    ('14.5', '23F79')
    """
    told = dict(_LINE.findall(text))
    if told.get("ProductName", "").strip() not in ("macOS", "Mac OS X"):
        return "", None
    return name_of(told.get("ProductVersion", "")) or "", name_of(told.get("BuildVersion", ""))


def parse_sysctl(text: str) -> Mac:
    """A Mac's hardware, from lines of `sysctl`.

    >>> parse_sysctl("machdep.cpu.brand_string: Apple M2\\nhw.memsize: 17179869184\\nhw.optional.arm.FEAT_I8MM: 1\\n")
    Mac(cpu='Apple M2', model=None, memory_bytes=17179869184, features=('i8mm',))
    """
    told = {key: value.strip() for key, value in _LINE.findall(text)}
    memory = told.get("hw.memsize", "")
    return Mac(
        cpu=name_of(told.get("machdep.cpu.brand_string", "")) or "",
        model=name_of(told.get("hw.model", "")),
        memory_bytes=int(memory) if re.fullmatch(r"[0-9]{1,18}", memory) else None,
        features=tuple(dict.fromkeys(word for key, word in OPTIONAL.items() if told.get(key) == "1")),
    )
