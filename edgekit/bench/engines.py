"""Engines on a device: built there by trtexec, kept by what they were built of, looked at before they are used."""

import re
from collections.abc import Callable
from pathlib import Path

from edgekit.bench.runners.plan import plan_fault
from edgekit.bench.runners.trtexec import Built, parse_build
from edgekit.bench.runners.trtexec_words import EngineBuild, build_words
from edgekit.core.device import Device, Facts
from edgekit.core.model import TensorSpec
from edgekit.core.noun import Noun, digest
from edgekit.devices.questions import FIND
from edgekit.devices.said import readable
from edgekit.devices.scripts import answered, ask
from edgekit.devices.transport import Transport
from edgekit.errors import DeviceError, MeasureError
from edgekit.formats.tensorrt import precisions
from edgekit.store.files import sha256_of

BUILD_S = 3600.0
PROCESS_S = 300.0
SAID_BYTES = 8 << 20
KEEP = 16
"""Engines that stay on a device besides those of installed models."""


class Engine(Noun, frozen=True, kw_only=True):
    """An engine on a device, below its root; `built` is None where it was there already."""

    path: str
    size_bytes: int
    built: Built | None = None


class Engines:
    """The engines of one device and of the TensorRT that it has. `say` hears of what takes minutes.

    An engine is good for the GPU and the TensorRT that built it, and for nothing else: both are in its place.
    """

    def __init__(
        self, transport: Transport, device: Device, facts: Facts, *, say: Callable[[str], None] = lambda text: None
    ) -> None:
        if facts.tensorrt is None:
            raise DeviceError(f"{transport.name}: no TensorRT there: install NVIDIA's packages of JetPack")
        self._transport, self._root, self._say = transport, device.root, say
        self.version = ".".join(facts.tensorrt.split(".")[:3])
        self.program = dict(device.tools).get("trtexec", "trtexec")
        gpu = re.sub(r"[^A-Za-z0-9]+", "-", f"{facts.soc or facts.arch} {facts.board or ''}").strip("-")
        self._place = f"{self.version}-{gpu[:80]}"

    def key(self, model: Path, dla_core: int | None = None, inputs: tuple[TensorSpec, ...] = ()) -> str:
        """What the engine of an ONNX file of the host is kept under on such a device."""
        build = EngineBuild(
            onnx="", engine="", timing_cache="", precisions=precisions(model), dla_core=dla_core, inputs=inputs
        )
        return digest("engine", sha256_of(model), build)[:32]

    def find(self, key: str) -> Engine | None:
        """The engine that is kept under `key`; None if there is none that this TensorRT loads.

        Raises: as `Transport.run`.
        """
        return self._engine(self._ask(key, "looking for an engine"))[0]

    def build(
        self, model: Path, there: str, dla_core: int | None = None, inputs: tuple[TensorSpec, ...] = ()
    ) -> Engine:
        """The engine of the host's file `model`, which is `there` on the device: the one that is kept, or a new one.

        `inputs` are those of the file, where sizes of some are free.

        Raises: ConvertError naming op and reason; MeasureError if what was written is no engine; StorageError;
        TargetError; DeviceError if there is no trtexec; as `Transport.run`.
        """
        key = self.key(model, dla_core, inputs)
        if (found := self.find(key)) is not None:
            return found
        part = f"{self._root}/incoming/{key}.engine"
        build = EngineBuild(
            onnx=there, engine=part, timing_cache=f"{part}.cache", precisions=precisions(model), dla_core=dla_core,
            inputs=inputs,
        )  # fmt: skip
        self._say(f"building an engine with TensorRT {self.version} on {self._transport.name}: this takes minutes")
        said = self.run(build_words(self.version, build, self.program), timeout_s=BUILD_S, clear=part)
        built = parse_build(said, self._transport.name)
        engine, fault = self._engine(self._ask(key, "keeping an engine", str(KEEP)))
        if engine is None:
            raise MeasureError(f"{self._transport.name}: trtexec built an engine that cannot be used: {fault}")
        return Engine(path=engine.path, size_bytes=engine.size_bytes, built=built)

    def run(self, words: tuple[str, ...], *, timeout_s: float = PROCESS_S, clear: str) -> str:
        """All that trtexec said, whatever its exit status; the file `clear` is removed first, so that it is no old one.

        Raises: DeviceError if there is no trtexec; as `Transport.run`.
        """
        script = f'{FIND}; rm -f "$1"; shift; exec "$@"'
        done = self._transport.run(
            ("sh", "-c", script, "sh", clear, *words), timeout_s=timeout_s, limit_bytes=SAID_BYTES
        )
        said = (done.stdout + b"\n" + done.stderr).decode(errors="replace")
        if done.status in (126, 127):
            why = f"no trtexec that runs ({readable(said)})"
            raise DeviceError(f"{self._transport.name}: {why}: `sudo apt install libnvinfer-bin` there")
        return said

    def _ask(self, key: str, doing: str, *more: str) -> dict[str, str]:
        return ask(self._transport, "engine", (self._root, self._place, key, *more), doing=doing, timeout_s=300)

    def _engine(self, found: dict[str, str]) -> tuple[Engine | None, str]:
        """The engine that the device names, or None and why it cannot be used."""
        path = answered(found, "engine", self._transport)
        if not path:
            return None, "there is none"
        try:
            header, size = bytes.fromhex(found.get("header", "")), int(found.get("size", ""))
        except ValueError:
            raise DeviceError(f"{self._transport.name}: answered {readable(str(found), 80)} of an engine") from None
        fault = plan_fault(header, self.version)
        return (None, fault) if fault else (Engine(path=f"{self._root}/{path}", size_bytes=size), "")
