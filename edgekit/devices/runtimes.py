"""What measures on a device, and what it needs: runtimes that the agent drives from Python, vendors' programs. Pure."""

import re
from typing import Literal

from edgekit.core.device import Facts
from edgekit.core.firmware import Bootstrap
from edgekit.core.noun import Noun
from edgekit.devices.wheels import Dependencies, python_tag
from edgekit.errors import DeviceError


class Package(Noun, frozen=True, kw_only=True):
    """A package that is a runtime, and for which machines PyPI has wheels of it.

    `told` is its name in `Facts.runtimes`; `first` and `last` are Pythons, None is "and all newer ones".
    """

    name: str
    told: str
    module: str
    requirements: tuple[str, ...]
    arches: tuple[str, ...] = ("aarch64", "x86_64")
    first: tuple[int, int] = (3, 8)
    last: tuple[int, int] | None = None

    def fits(self, arch: str, python: tuple[int, int]) -> bool:
        """Whether there are wheels of it for such a machine."""
        return arch in self.arches and self.first <= python and (self.last is None or python <= self.last)


RUNTIMES: dict[str, tuple[Package, ...]] = {
    "onnxruntime": (
        Package(
            name="onnxruntime", told="onnxruntime", module="onnxruntime",
            requirements=("numpy>=1.24", "onnxruntime>=1.17"),
        ),
    ),
    "litert": (
        Package(
            name="ai-edge-litert", told="litert", module="ai_edge_litert.interpreter",
            requirements=("numpy>=1.24", "ai-edge-litert>=1.0"), first=(3, 9),
        ),
        Package(  # LiteRT under its former name; its last release dies with numpy 2
            name="tflite-runtime", told="tflite-runtime", module="tflite_runtime.interpreter",
            requirements=("numpy>=1.20,<2", "tflite-runtime>=2.11"),
            arches=("aarch64", "armv7l", "x86_64"), last=(3, 11),
        ),
    ),
}  # fmt: skip
"""The packages of each runtime, the one to be preferred first; the agent takes the first that is there."""


class Tool(Noun, frozen=True, kw_only=True):
    """What a vendor's program needs on a device, one of three, and `get`: how a user comes to have it there.

    `fact` is a field of `Facts` that is known where it is; `package` a name in `Facts.runtimes`; neither: the file.
    """

    get: str
    fact: str | None = None
    package: str | None = None
    tried: Literal["for real", "by its words"] = "by its words"
    """Whether a test of edgekit runs it, or only a stand-in that answers in its documented words."""


TOOLS = {
    "trtexec": Tool(fact="tensorrt", get="install its maker's packages"),
    "xdputil": Tool(fact="dpu_fingerprint", get="load the DPU's application there (`xmutil loadapp`)"),
    "benchmark_model": Tool(
        get="get LiteRT's benchmark_model for its processor; `edgekit devices prepare {name} --runtime benchmark_model "
        "--from FILE` brings it"
    ),
    "benchmark_litert_model": Tool(
        package="litert", get="`edgekit devices prepare {name} --runtime litert` brings it", tried="for real"
    ),
    "coremltools": Tool(
        package="coremltools", get="`python3 -m pip install coremltools` there; `devices add --python` names its Python"
    ),
}
"""The vendors' programs that edgekit measures with."""

PROGRAMS = ("trtexec", "xdputil", "benchmark_model")
"""Those that are a file of the device, which a user may name; the others are packages of its Python."""

BROUGHT = ("benchmark_model",)
"""Those that are one file by themselves, which the host can bring."""

NO_NUMPY = ("armv7l",)
"""Architectures that PyPI has no numpy for: the device's own is used."""

ELSEWHERE = {
    "bionic": "Termux has packages of its own: python-onnxruntime, and tflite-runtime in its user repository",
    "musl": "a system with glibc takes them",
}
"""By C library: where what no wheel is for may come from."""


def installed(facts: Facts, runtime: str) -> tuple[str, ...]:
    """The packages of `runtime` that a device has, each with its version.

    >>> installed(Facts(arch="armv7l", runtimes=(("numpy", "1.24.2"), ("tflite-runtime", "2.14.0"))), "litert")
    ('tflite-runtime 2.14.0',)
    """
    versions = dict(facts.runtimes)
    return tuple(f"{p.told} {versions[p.told]}" for p in RUNTIMES[runtime] if p.told in versions)


class Order(Noun, frozen=True, kw_only=True):
    """What to fetch for a device: requirements, with what they depend on or alone."""

    requirements: tuple[str, ...]
    dependencies: Dependencies = "fetched"


def order(facts: Facts, bootstrap: Bootstrap, runtime: str, name: str) -> Order:
    """What the device called `name` gets from PyPI for `runtime`: what its firmware's profile says, else what fits.

    A profile speaks for one Python: another may not have those versions.

    Raises: DeviceError if nothing fits, with what would.

    >>> jetson = Facts(arch="aarch64", libc="glibc 2.31", python="3.8.10")
    >>> order(jetson, Bootstrap(), "litert", "nano").requirements
    ('numpy>=1.20,<2', 'tflite-runtime>=2.11')
    """
    libc = facts.libc.partition(" ")[0]
    if libc in ELSEWHERE:
        raise DeviceError(
            f"{name}: unsupported: {facts.libc}: {runtime} has wheels for glibc systems only; {ELSEWHERE[libc]}"
        )
    told = dict(bootstrap.wheels) if bootstrap.python == python_tag(facts.python or "") else {}
    wanted = told.get(runtime) or _package(facts, runtime, name).requirements
    if facts.arch not in NO_NUMPY:
        return Order(requirements=wanted)
    numpy = [line for line in wanted if line.startswith("numpy")]
    _check_own_numpy(facts, numpy, name)
    return Order(requirements=tuple(line for line in wanted if line not in numpy), dependencies="there")


def _package(facts: Facts, runtime: str, name: str) -> Package:
    python = _python(facts)
    found = next((package for package in RUNTIMES[runtime] if package.fits(facts.arch, python)), None)
    if found is not None:
        return found
    others = [other for other, some in RUNTIMES.items() if any(p.fits(facts.arch, python) for p in some)]
    wheels = "; ".join(f"{p.name} has wheels for {_range(p)}" for p in RUNTIMES[runtime])
    instead = f"it can have {' and '.join(others)}" if others else "no runtime has wheels for it"
    raise DeviceError(f"{name}: no {runtime} for {facts.arch}, Python {facts.python}: {wheels}; {instead}")


def _check_own_numpy(facts: Facts, lines: list[str], name: str) -> None:
    """Return if a device that PyPI has no numpy for has one of its own that `lines` allow."""
    version = dict(facts.runtimes).get("numpy")
    if version is None:
        raise DeviceError(f"{name}: PyPI has no numpy for {facts.arch}: `sudo apt install python3-numpy` there first")
    if any(line.endswith("<2") for line in lines) and not version.startswith("1."):
        raise DeviceError(f"{name}: numpy 1 is needed there, and numpy {version} is what it has")


def _python(facts: Facts) -> tuple[int, int]:
    major, minor = (*map(int, re.findall("[0-9]+", facts.python or "")), 0, 0)[:2]
    return major, minor


def _range(package: Package) -> str:
    pythons = f"Python {_dotted(package.first)}" + (f" to {_dotted(package.last)}" if package.last else " and newer")
    return f"{', '.join(package.arches)} with {pythons}"


def _dotted(python: tuple[int, int]) -> str:
    return f"{python[0]}.{python[1]}"
