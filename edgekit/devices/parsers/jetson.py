"""A Jetson: its release of Linux for Tegra, of JetPack and of TensorRT, its power mode, its clocks."""

import re

_RELEASE = re.compile(r"^# R([0-9]{1,3}) \(release\), REVISION: ([0-9]{1,3}(?:\.[0-9]{1,3}){0,2}),", re.MULTILINE)
_INSTALLED = re.compile(r"^installed ([a-z0-9][a-z0-9+.-]{1,60}) ([0-9][\w.+:~-]{0,60})$", re.MULTILINE)
_BANNER = re.compile(r"^&&&& RUNNING TensorRT\.trtexec \[TensorRT v([0-9]{4,6})\]", re.MULTILINE)
_MODE = re.compile(r"^NV Power Mode: ?([A-Za-z0-9][\w .+-]{0,39}?)\s*$", re.MULTILINE)
_CLOCKS = re.compile(
    r"^(?:cpu[0-9]{1,3}: .*Online=1 .*|GPU )MinFreq=([0-9]{1,12}) MaxFreq=([0-9]{1,12})\b", re.MULTILINE
)


def parse_l4t(release: str, packages: str) -> str | None:
    """The release of Linux for Tegra, from /etc/nv_tegra_release, or else from the package nvidia-l4t-core.

    >>> parse_l4t("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: ...\\n", "")
    '36.4.3'
    >>> parse_l4t("", "installed nvidia-l4t-core 35.4.1-20230801124926\\n")
    '35.4.1'
    """
    if found := _RELEASE.search(release):
        return f"{found[1]}.{found[2]}"
    return _version(dict(_INSTALLED.findall(packages)).get("nvidia-l4t-core", ""))


def parse_jetpack(packages: str) -> str | None:
    """The version of the package nvidia-jetpack; a Jetson may be without it.

    >>> parse_jetpack("installed nvidia-jetpack 5.1.2-b104\\n"), parse_jetpack("installed nvidia-jetpack 6.2+b77\\n")
    ('5.1.2', '6.2')
    """
    return _version(dict(_INSTALLED.findall(packages)).get("nvidia-jetpack", ""))


def parse_tensorrt(text: str) -> str | None:
    """TensorRT's version, from its packages or from the banner of trtexec; None where two are installed.

    >>> parse_tensorrt("installed libnvinfer10 10.3.0.30-1+cuda12.5\\n")
    '10.3.0.30'
    >>> [parse_tensorrt(f"&&&& RUNNING TensorRT.trtexec [TensorRT v{n}] # trtexec --help") for n in (8502, 101600)]
    ['8.5.2', '10.16.0']
    """
    installed = {_version(v) for name, v in _INSTALLED.findall(text) if re.fullmatch(r"libnvinfer[0-9]{1,2}", name)}
    if installed:
        return installed.pop() if len(installed) == 1 else None
    if (found := _BANNER.search(text)) is None:
        return None
    number = int(found[1])
    thousand = 1000 if number < 10_000 else 10_000  # one digit more for the major version since TensorRT 10
    return f"{number // thousand}.{number % thousand // 100}.{number % 100}"


def parse_nvpmodel(text: str) -> str | None:
    """The power mode's name, from `nvpmodel -q`.

    >>> parse_nvpmodel("NVPM WARN: fan mode is not set!\\nNV Power Mode: MAXN_SUPER\\n2\\n")
    'MAXN_SUPER'
    """
    found = _MODE.search(text)
    return found[1] if found else None


def parse_jetson_clocks(text: str) -> bool | None:
    """Whether the clocks of processor and GPU stand still, from `jetson_clocks --show`, which only root may run.

    >>> parse_jetson_clocks("cpu0: Online=1 Governor=schedutil MinFreq=729600 MaxFreq=1510400 CurrentFreq=729600 ...")
    False
    """
    found = _CLOCKS.findall(text)
    return all(low == high for low, high in found) if found else None


def _version(package_version: str) -> str | None:
    """The upstream part of a Debian package's version that is numbers and dots."""
    found = re.match(r"[0-9]{1,4}(?:\.[0-9]{1,4}){1,3}(?=[-+~]|$)", package_version)
    return found[0] if found else None
