"""A whole Arm computer on this one: a processor, a kernel, memory and a disk of its own, whose power can be cut.

All of it is qemu's: nothing here is told by its times. It reaches no network; its sshd is a port of loopback.
"""

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.lab import arm
from edgekit.lab.sshd import Sshd, make_sshd

SYSTEM = replace(arm.ARM64, packages=("linux-image-cloud-arm64", "busybox-static", "openssh-server"))
PROGRAMS = {"qemu-system-aarch64": "qemu-system-arm", "qemu-img": "qemu-utils", "mke2fs": "e2fsprogs", "cpio": "cpio"}
"""What it takes here, and Debian's packages of it."""

DISK = "1G"
MEMORY_BYTES = 1 << 30
CORES = 2
SEEN = Path("/lab")
BOOT_S = 240.0

MODULES = (
    "virtio", "virtio_ring", "virtio_mmio", "virtio_blk", "failover", "net_failover", "virtio_net", "rng-core",
    "virtio-rng",
)  # fmt: skip
"""Without these Debian's kernel sees neither disk nor network; what it does not have as a file is in it."""

INIT = f"""\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done < /modules/order
tries=0
while [ ! -b /dev/vda ] && [ "$tries" -lt 500 ]; do usleep 20000; tries=$((tries + 1)); done
mount -t ext4 /dev/vda /disk || exit 1
cp -a /seed/. /disk/
for each in proc sys dev; do mount -o move "/$each" "/disk/$each"; done
exec switch_root /disk /bin/busybox sh {SEEN}/start
"""
"""The disk is the same for all machines: what is one's own comes from here, at every start."""

START = f"""\
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
busybox hostname lab-vm
mkdir -p /dev/pts /dev/shm
busybox mount -t devpts devpts /dev/pts
for each in /dev/shm /run /tmp; do busybox mount -t tmpfs tmpfs "$each"; done
mkdir -p /run/sshd
busybox ip link set lo up
busybox ip addr add 10.0.2.15/24 dev eth0
busybox ip link set eth0 up
exec /usr/sbin/sshd -D -e -f {SEEN}/sshd_config
"""

USERS = "root:*:0:0:root:/root:/bin/sh\nsshd:*:100:65534::/run/sshd:/usr/sbin/nologin\n"
GROUPS = "root:x:0:\nnogroup:x:65534:\n"


def missing() -> str | None:
    """Why there can be no such computer here; None if there can."""
    lacking = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if lacking:
        return f"not installed: apt-get install {' '.join(lacking)}"
    return arm.missing(SYSTEM)


@dataclass
class VirtualMachine(Sshd):
    """As `Sshd`: that of a computer of its own. `start` switches it on, `cut` cuts its power; its disk stays.

    `system` holds the files that it was made from.
    """

    system: Path = Path()

    serves = "qemu-system"
    left = ""

    def start(self) -> None:
        """Switches it on; returns once its sshd answers. Raises: TimeoutError."""
        words = [
            "setpriv", "--pdeathsig", "KILL", "qemu-system-aarch64", "-M", "virt", "-accel", "tcg,thread=multi",
            "-cpu", SYSTEM.cpu, "-smp", str(CORES), "-m", f"{MEMORY_BYTES}B", "-nodefaults", "-no-reboot",
            "-display", "none", "-serial", "stdio",
            "-kernel", str(next(self.system.glob("boot/vmlinuz-*"))), "-initrd", "initramfs.cpio",
            "-append", "console=ttyAMA0 quiet panic=-1 mitigations=off",
            "-drive", "file=disk.qcow2,format=qcow2,if=none,id=disk", "-device", "virtio-blk-device,drive=disk",
            "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22",
            "-device", "virtio-net-device,netdev=net", "-device", "virtio-rng-device",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        self._wait_for_banner(BOOT_S)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the whole computer: it stands still, or goes on."""
        if self.process is not None:
            self.process.send_signal(number)

    def cut(self) -> None:
        """The power is cut: what it had not flushed to its disk is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def running_vm(folder: Path, kept: Path) -> Iterator[VirtualMachine]:
    """A computer that answers; it ends with the block, and with this process.

    What all such computers share is kept at `kept` and beside it: made once, in about half a minute.

    Raises: RuntimeError in the words of what failed; TimeoutError.
    """
    system = arm.rootfs(kept, SYSTEM)
    made = make_sshd(folder)
    server = VirtualMachine(folder, made.port, made.host_keys, user="root", seen_at=SEEN, system=system)
    server.configure(port=22, address="0.0.0.0")  # noqa: S104  in the computer, which reaches nothing
    _write_initramfs(folder, system)
    base = str(_disk(system.resolve()))
    _run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, str(folder / "disk.qcow2"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _disk(system: Path) -> Path:
    """A disk with these files; nothing writes to it."""
    made = system.with_name(f"{system.name}.ext4")
    if not made.is_file():
        part = made.with_name(f".{made.name}.part")
        part.unlink(missing_ok=True)
        _run("mke2fs", "-q", "-t", "ext4", "-d", str(system), str(part), DISK)
        part.rename(made)
    return made


def _write_initramfs(folder: Path, system: Path) -> None:
    """What the kernel runs first: finds the disk, and puts there what is of this computer only."""
    root = folder / "initramfs"
    for each in ("bin", "proc", "sys", "dev", "disk", "modules", "seed/etc", f"seed{SEEN}/home"):
        (root / each).mkdir(parents=True, exist_ok=True)
    shutil.copy(system / "bin" / "busybox", root / "bin" / "busybox")
    found = [path for name in MODULES for path in system.glob(f"lib/modules/*/kernel/**/{name}.ko")]
    for path in found:
        shutil.copy(path, root / "modules")
    (root / "modules" / "order").write_text("".join(f"{path.name}\n" for path in found))
    (root / "seed" / "etc" / "passwd").write_text(USERS)
    (root / "seed" / "etc" / "group").write_text(GROUPS)
    own = root / f"seed{SEEN}"
    for path in (folder / "sshd_config", folder / "authorized_keys", *folder.glob("host_key_*")):
        shutil.copy(path, own)
    (own / "start").write_text(START)
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    names = "".join(f"{path.relative_to(root)}\n" for path in sorted(root.rglob("*")))
    with (folder / "initramfs.cpio").open("wb") as packed:
        words = ["cpio", "--create", "--format=newc", "--quiet"]
        subprocess.run(words, input=names.encode(), stdout=packed, cwd=root, check=True)


def _run(*words: str) -> None:
    """Raises: RuntimeError with what it said."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stderr.strip()[-500:]}")
