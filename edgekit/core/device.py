"""A registered machine, and what is known of it."""

from typing import Literal

from edgekit.core.noun import Noun

EMULATED = (
    "another processor runs its programs in software: what it computes is right, its times say nothing of a board"
)


class Device(Noun, frozen=True, kw_only=True):
    """A machine of the inventory: how it is reached, and what the user says of it.

    `host` is a name or an address; over adb it is the serial number, or address:port. `jump` is the device that it is
    reached through. `host_keys` are the pinned keys, each "type base64", perhaps with a marker (see hostkeys); `root`
    is the folder that edgekit owns there, below the user's home unless absolute. `python` is the interpreter that
    measures; `identity` a private key's path on the host.
    """

    schema: int = 1
    name: str
    transport: Literal["local", "ssh", "openssh", "adb"] = "ssh"
    host: str = ""
    port: int = 22
    user: str = ""
    identity: str | None = None
    jump: str | None = None
    host_keys: tuple[str, ...] = ()
    root: str = ".edgekit"
    python: str = "python3"
    firmware: str | None = None
    targets: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


class Facts(Noun, frozen=True, kw_only=True):
    """What was read off a device; None is "not known", never a guess. Bytes are bytes, temperatures are Celsius."""

    arch: str
    os_id: str = ""
    os_version: str = ""
    kernel: str = ""
    libc: str = ""
    cpu: str = ""
    cores: int = 1
    features: tuple[str, ...] = ()
    """Words of edgekit's own: avx2 avx512 vnni amx_int8 neon dotprod i8mm sve."""
    memory_bytes: int | None = None
    free_bytes: int | None = None
    board: str | None = None
    python: str | None = None
    runtimes: tuple[tuple[str, str], ...] = ()
    """(runtime, version): ("onnxruntime", "1.32.0")."""
    emulated: bool = False
    """See EMULATED."""
    governors: tuple[str, ...] = ()
    temperatures_c: tuple[tuple[str, float], ...] = ()

    def lasting(self) -> "Facts":
        """The facts that do not change from one run of measuring to the next: those that key a measurement."""
        return Facts(
            arch=self.arch, os_id=self.os_id, os_version=self.os_version, libc=self.libc, cpu=self.cpu,
            cores=self.cores, features=self.features, memory_bytes=self.memory_bytes, board=self.board,
            emulated=self.emulated,
        )  # fmt: skip

    def provides(self) -> tuple[tuple[str, str], ...]:
        """These facts as the pairs that `mismatches` compares."""
        return (("arch", self.arch), *self.runtimes, *((f, "yes") for f in self.features))
