"""An AMD board with an FPGA: its DPU as `xdputil query` tells it, and the applications that `xmutil` has loaded."""

import re
from typing import Any

import msgspec

from edgekit.core.noun import Noun

_ARCH = re.compile(r"(DPU[A-Z0-9_]{2,60}?)(?:_0([0-9a-fA-F]{15}))?")
_FINGERPRINT = re.compile(r"(?:0x)?0*([1-9a-fA-F][0-9a-fA-F]{0,15})")
_FACTORY = re.compile(r"target-factory\.([0-9]{1,3}(?:\.[0-9]{1,3}){1,2})\b")
_APP = re.compile(r"^\s*([\w.+-]{1,80})\s.*\([0-9]+\+[0-9]+\)\s+(-?[0-9]{1,3}(?:,[0-9]{0,3})*)\s*$", re.MULTILINE)


class Dpu(Noun, frozen=True, kw_only=True):
    """A board's DPU: architecture, fingerprint, and the Vitis AI that its software is of."""

    arch: str | None = None
    fingerprint: str | None = None
    vitis_ai: str | None = None


def parse_xdputil(text: str) -> Dpu:
    """What `xdputil query` says of the DPU; nothing of cores that are unlike.

    The tool may write lines of its libraries before the JSON, lists other kernels as cores without architecture, and
    appends the fingerprint to an architecture that it does not know by name.

    >>> parse_xdputil('{"kernels": [{"DPU Arch": "DPUCZDX8G_ISA1_B3136_0101000016010406"}]}')
    Dpu(arch='DPUCZDX8G_ISA1_B3136', fingerprint='0x101000016010406', vitis_ai=None)
    """
    try:
        said = msgspec.json.decode(text[text.find("{") : text.rfind("}") + 1], type=_Query)
    except (msgspec.DecodeError, RecursionError):
        return Dpu()
    cores = {core for core in map(_core, said.kernels) if core != (None, None)}
    arch, fingerprint = cores.pop() if len(cores) == 1 else (None, None)
    factory = _FACTORY.match(_text(said.versions.get("target_factory")))
    return Dpu(arch=arch, fingerprint=fingerprint, vitis_ai=factory[1] if factory else None)


def _core(kernel: dict[str, Any]) -> tuple[str | None, str | None]:
    """(architecture, fingerprint) of an entry of `kernels`."""
    arch = _ARCH.fullmatch(_text(kernel.get("DPU Arch")))
    told = _FINGERPRINT.fullmatch(_text(kernel.get("fingerprint")))
    digits = told[1] if told else arch[2] if arch else None
    return arch[1] if arch else None, f"0x{digits.lower()}" if digits else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


class _Query(msgspec.Struct):
    kernels: list[dict[str, Any]] = []
    versions: dict[str, Any] = msgspec.field(name="VAI Version", default_factory=dict)


def parse_xmutil(text: str) -> tuple[str, ...]:
    """The accelerated applications that are loaded: those with a slot in the table of `xmutil listapps`.

    >>> parse_xmutil("dpu  XRT_FLAT  dpu  XRT_FLAT  (0+0)  0,\\nk26  XRT_FLAT  k26  XRT_FLAT  (0+0)  -1\\n")
    ('dpu',)
    """
    return tuple(name for name, slots in _APP.findall(text) if not slots.startswith("-"))
