"""A 64-bit Arm device on this computer: Debian's own arm64 programs, run by qemu-user, behind a real sshd.

Nothing here is told by its times.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sshd import Sshd, running_sshd

KEPT = Path(__file__).parents[1] / ".bench" / "debian-12-arm64"
"""Made once, in about 20 s, and never written to by what runs in it; `make clean` removes it."""

PACKAGES = (
    "base-files", "dash", "coreutils", "libc-bin", "grep", "sed", "findutils", "tar", "gzip",
    "python3", "libpython3-stdlib", "libstdc++6", "libgomp1",
)  # fmt: skip
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
UNREAD = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*")

BINFMT = Path("/proc/sys/fs/binfmt_misc")
RULE = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")

MOUNTS = """
cd "$0" && mount -t proc proc proc && mount --bind "$1" proc/cpuinfo && mount -t sysfs -o ro sysfs sys &&
mount --rbind /dev dev && mount -t tmpfs tmpfs tmp && mount -t tmpfs tmpfs root && cd / && shift && exec "$@"
"""
"""In a mount namespace of the sshd's own: all of it is gone when the last session is."""

CPU = "cortex-a72"
"""Not qemu's default, which has instructions that no board of today has: runtimes then pick kernels for those."""

CORE = """\
processor\t: {core}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""
CPUINFO = "".join(CORE.format(core=core) for core in range(4))
"""What the kernel of a board with that CPU says. Of this computer's own words runtimes make nothing good. Without /sys,
too, XNNPACK does not start, and LiteRT runs its builtin kernels, which round twice: other outputs by one step.
"""


def missing() -> str | None:
    """Why there can be no such device here; None if there can."""
    if os.geteuid() != 0:
        return "only root can mount and change the root folder"
    if not RULE.is_file() or not shutil.which("mmdebstrap"):
        return "qemu-user-static or mmdebstrap is not installed: `sh tests/system.sh slow`"
    return None


def rootfs() -> Path:
    """The device's files."""
    if not KEPT.is_dir():
        KEPT.parent.mkdir(exist_ok=True)
        part = KEPT.with_name(f".{KEPT.name}.{os.getpid()}")
        words = [
            "mmdebstrap", "--quiet", "--architectures=arm64", "--variant=extract", "--mode=root",
            f"--include={','.join(PACKAGES)}", *(f"--dpkgopt=path-exclude={path}" for path in UNREAD),
            '--aptopt=Acquire::Languages "none"', '--aptopt=Apt::Install-Recommends "false"',
            SUITE, str(part), MIRROR,
        ]  # fmt: skip
        try:
            subprocess.run(words, check=True, capture_output=True, text=True)
            part.rename(KEPT)
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"no arm64 userland: {error.stderr.strip()[-500:]}") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return KEPT


@contextlib.contextmanager
def arm_programs_run() -> Iterator[None]:
    """The kernel hands arm64 programs to qemu within the block; afterwards as before."""
    mounted = (BINFMT / "register").exists()
    if not mounted:
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], check=True, capture_output=True)
    ours = not (BINFMT / RULE.stem).exists()
    if ours:
        (BINFMT / "register").write_text(RULE.read_text())
    try:
        yield
    finally:
        if ours:
            (BINFMT / RULE.stem).write_text("-1")
        if not mounted:
            subprocess.run(["umount", str(BINFMT)], check=True)


@contextlib.contextmanager
def arm64_device(folder: Path) -> Iterator[Sshd]:
    """An sshd whose sessions see the Arm userland and nothing else; their home is /root, empty at first.

    Its /proc/cpuinfo is the file cpuinfo in `folder`, which may be rewritten.
    """
    root, cpuinfo = rootfs(), folder / "cpuinfo"
    cpuinfo.parent.mkdir(parents=True, exist_ok=True)
    cpuinfo.write_text(CPUINFO)
    environment = f"HOME=/root QEMU_CPU={CPU} PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    there = '/bin/sh -c \'cd && exec /bin/sh -c "$0"\' "$SSH_ORIGINAL_COMMAND"'
    shell = f"exec env -i {environment} {shutil.which('chroot')} {root} {there}"
    inside = ("unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNTS, str(root), str(cpuinfo))
    with arm_programs_run(), running_sshd(folder, shell=shell, inside=inside) as server:
        yield server
