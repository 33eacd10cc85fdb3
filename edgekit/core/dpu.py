"""AMD's DPUs for Zynq UltraScale+ boards: their sizes, and the fingerprints by which a board knows its own. Pure.

A fingerprint is a number of 64 bits: the kind of DPU, its instruction set, and how it was configured. A board refuses a
model that is compiled for another. How the bits lie is written in create_target_DPUCZDX8G_ISA1.cpp of Vitis AI.
"""

import re

from edgekit.core.noun import Noun

KIND = "DPUCZDX8G"
BANK_DEPTH = 2048
"""Words of a memory bank, in all sizes."""
_SIZES = (
    ("B512", 4, 8), ("B800", 4, 10), ("B1024", 8, 8), ("B1152", 4, 12), ("B1600", 8, 10), ("B2304", 8, 12),
    ("B3136", 8, 14), ("B4096", 8, 16), ("B128", 4, 4), ("B144", 2, 6), ("B256", 2, 8), ("B64", 2, 4),
)  # fmt: skip
"""(size, pixels at a time, channels at a time), in the order of a fingerprint's last digit."""
_NUMBER = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,16})")


class DpuArch(Noun, frozen=True, kw_only=True):
    """A DPU's configuration: how many pixels and channels it takes at a time.

    `argmax`: it can write the index of the largest channel; DPUs of Vitis AI 3.0 can, those of 2.5 cannot.
    """

    size: str
    isa: int
    pixels: int
    channels: int
    argmax: bool

    @property
    def name(self) -> str:
        """As AMD's tools write it.

        >>> read_fingerprint("0x101000056010407").name
        'DPUCZDX8G_ISA1_B4096'
        """
        return f"{KIND}_ISA{self.isa}_{self.size}"


def read_fingerprint(text: str) -> DpuArch | None:
    """The DPU that a fingerprint in hexadecimal names; None if it is none of a DPUCZDX8G.

    >>> read_fingerprint("0101000016010406")
    DpuArch(size='B3136', isa=1, pixels=8, channels=14, argmax=False)
    >>> read_fingerprint("0x603000b16011831") is None
    True
    """
    found = _NUMBER.fullmatch(text.strip())
    bits = int(found[1], 16) if found else 0
    index = bits & 0xF
    if bits >> 56 != 1 or index >= len(_SIZES):
        return None
    size, pixels, channels = _SIZES[index]
    return DpuArch(size=size, isa=bits >> 48 & 0xFF, pixels=pixels, channels=channels, argmax=bool(bits >> 30 & 1))


def write_fingerprint(size: str, *, argmax: bool = True) -> str:
    """The fingerprint of a size as AMD releases it: with `argmax` that of Vitis AI 3.0 and later, else that of 2.5.

    >>> write_fingerprint("B512"), write_fingerprint("B4096", argmax=False)
    ('0x101000056010200', '0x101000016010407')
    """
    index, pixels = next((i, pixels) for i, (name, pixels, _) in enumerate(_SIZES) if name == size)
    return hex(0x0101_0000_1601_0000 | argmax << 30 | pixels // 2 << 8 | index)


def named(fingerprint: str) -> str:
    """A fingerprint with the size that it names, for messages.

    >>> named("0x101000056010406"), named("0x9")
    ('0x101000056010406 (DPUCZDX8G_ISA1_B3136)', '0x9')
    """
    arch = read_fingerprint(fingerprint)
    return f"{fingerprint} ({arch.name})" if arch else fingerprint
