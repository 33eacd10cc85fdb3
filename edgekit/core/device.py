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
    measures; `identity` a private key's path on the host. `tools` are (program, path there) where the user says so.
    `arch`, `soc`, `firmware` and `targets` are as its facts had them when it was last probed.
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
    arch: str | None = None
    soc: str | None = None
    firmware: str | None = None
    targets: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    tools: tuple[tuple[str, str], ...] = ()


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
    soc: str | None = None
    """The chip, in its maker's word: "tegra234", "bcm2712", "zynqmp", "Tensor G3"."""
    build: str | None = None
    """The exact image of the system: Android's build fingerprint, macOS's build."""
    l4t: str | None = None
    """A Jetson's release of Linux for Tegra: "36.4.3"."""
    jetpack: str | None = None
    tensorrt: str | None = None
    dpu: str | None = None
    """The architecture of the DPU that is loaded into an FPGA: "DPUCZDX8G_ISA1_B4096"."""
    dpu_fingerprint: str | None = None
    """What a compiled model is checked against there: "0x101000056010407"."""
    vitis_ai: str | None = None
    fpga_apps: tuple[str, ...] = ()
    android_sdk: int | None = None
    termux: bool = False
    """It is reached through Termux, an app with a userland of its own."""
    python: str | None = None
    runtimes: tuple[tuple[str, str], ...] = ()
    """(runtime, version): ("onnxruntime", "1.32.0")."""
    emulated: bool = False
    """See EMULATED."""
    governors: tuple[str, ...] = ()
    power_mode: str | None = None
    """A Jetson's: "15W", "MAXN"."""
    clocks_locked: bool | None = None
    temperatures_c: tuple[tuple[str, float], ...] = ()
    throttled: tuple[str, ...] | None = None
    """What slows it now, or has since it started, in words; empty if nothing does."""

    def lasting(self) -> "Facts":
        """The facts that do not change from one run of measuring to the next: those that key a measurement.

        A power mode is one: it outlasts a reboot, and what an op costs in one says nothing of another.
        """
        return Facts(
            arch=self.arch, os_id=self.os_id, os_version=self.os_version, libc=self.libc, cpu=self.cpu,
            cores=self.cores, features=self.features, memory_bytes=self.memory_bytes, board=self.board,
            emulated=self.emulated, soc=self.soc, l4t=self.l4t, dpu_fingerprint=self.dpu_fingerprint,
            power_mode=self.power_mode,
        )  # fmt: skip

    def provides(self) -> tuple[tuple[str, str], ...]:
        """These facts as the pairs that `mismatches` compares.

        >>> Facts(arch="aarch64", os_id="ubuntu", l4t="36.4.3", features=("dotprod",)).provides()
        (('arch', 'aarch64'), ('os', 'ubuntu'), ('l4t', '36.4.3'), ('dotprod', 'yes'))
        >>> Facts(arch="aarch64", os_id="android", android_sdk=34, termux=True).provides()
        (('arch', 'aarch64'), ('os', 'android'), ('android_sdk', '34'), ('shell', 'termux'))
        """
        sdk = None if self.android_sdk is None else str(self.android_sdk)
        shell = ("termux" if self.termux else "adb") if self.os_id == "android" else None
        known = (
            ("arch", self.arch), ("os", self.os_id), ("os_version", self.os_version), ("soc", self.soc),
            ("l4t", self.l4t), ("tensorrt", self.tensorrt), ("dpu", self.dpu),
            ("dpu_fingerprint", self.dpu_fingerprint), ("vitis_ai", self.vitis_ai), ("android_sdk", sdk),
            ("shell", shell),
        )  # fmt: skip
        return (*((key, value) for key, value in known if value), *self.runtimes, *((f, "yes") for f in self.features))
