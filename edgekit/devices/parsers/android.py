"""Android: what its properties tell, and whether the shell is Termux's."""

import re

from edgekit.core.noun import Noun
from edgekit.devices.parsers.system import name_of

_PROPERTY = re.compile(r"^\[(ro\.[\w.]{1,60})\]: \[(.*)\]\s*$", re.MULTILINE)

BITS = {"arm64-v8a": "64", "armeabi-v7a": "32", "armeabi": "32", "x86_64": "64", "x86": "32"}
"""Android's names of binary interfaces, and what `getconf LONG_BIT` would say there."""


class Android(Noun, frozen=True, kw_only=True):
    """An Android system by its properties; `release` is "" where it is none."""

    release: str = ""
    sdk: int | None = None
    long_bit: str = ""
    board: str | None = None
    soc: str | None = None
    build: str | None = None


def parse_getprop(text: str) -> Android:
    """An Android system, from the lines of `getprop`.

    Newer ones name their chip, older ones the platform that it belongs to.

    >>> found = parse_getprop("[ro.build.version.release]: [14]\\n[ro.build.version.sdk]: [34]\\n"
    ...     "[ro.product.manufacturer]: [Google]\\n[ro.product.model]: [Pixel 8]\\n[ro.soc.model]: [Tensor G3]\\n")
    >>> found.release, found.sdk, found.board, found.soc
    ('14', 34, 'Google Pixel 8', 'Tensor G3')
    """
    told = {key: name_of(value) for key, value in _PROPERTY.findall(text)}
    sdk = told.get("ro.build.version.sdk") or ""
    model = (told.get("ro.product.manufacturer"), told.get("ro.product.model"))
    return Android(
        release=told.get("ro.build.version.release") or "",
        sdk=int(sdk) if re.fullmatch(r"[0-9]{1,3}", sdk) else None,
        long_bit=BITS.get(told.get("ro.product.cpu.abi") or "", ""),
        board=" ".join(filter(None, model)) or None,
        soc=told.get("ro.soc.model") or told.get("ro.board.platform"),
        build=told.get("ro.build.fingerprint"),
    )


def is_termux(text: str) -> bool:
    """Whether a shell's TERMUX_VERSION, PREFIX and HOME are those of Termux.

    >>> is_termux("TERMUX_VERSION=\\nPREFIX=\\nHOME=/data/data/com.termux/files/home\\n"), is_termux("HOME=/root\\n")
    (True, False)
    """
    return re.search(r"^(TERMUX_VERSION=\S|(PREFIX|HOME)=/data/data/com\.termux/)", text, re.MULTILINE) is not None
