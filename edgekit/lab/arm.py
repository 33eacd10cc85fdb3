"""An Arm device on this computer: Debian's own programs for 64 or 32 bits, run by qemu-user, behind a real sshd.

Nothing here is told by its times.
"""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.lab.sshd import Sshd, running_sshd

PACKAGES = (
    "base-files", "dash", "coreutils", "libc-bin", "grep", "sed", "findutils", "tar", "gzip",
    "python3", "libpython3-stdlib", "libstdc++6", "libgomp1",
)  # fmt: skip
SUITE = "bookworm"
SOURCES = (Path("/etc/apt/sources.list.d"), Path("/etc/apt/sources.list"))
UNREAD = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*")

BINFMT = Path("/proc/sys/fs/binfmt_misc")
RULES = Path("/usr/lib/binfmt.d")

MOUNTS = """
cd "$0" && mount -t proc proc proc && mount --bind "$1" proc/cpuinfo && mount -t sysfs -o ro sysfs sys &&
mount --rbind /dev dev && mount -t tmpfs tmpfs tmp && mount -t tmpfs tmpfs root && cd / && shift && exec "$@"
"""
"""In a mount namespace of the sshd's own: all of it is gone when the last session is."""


@dataclass(frozen=True)
class Userland:
    """Debian's programs for one kind of processor, and a board that they run on.

    `arch` is Debian's name of it, `rule` names qemu's file in binfmt.d. `cpu` is not qemu's default, which has
    instructions that no board of today has: runtimes then pick kernels for those. `core` is what a board's kernel says
    of a core. `packages` come on top of those that each userland has.
    """

    arch: str
    rule: str
    cpu: str
    core: str
    packages: tuple[str, ...] = ()

    @property
    def cpuinfo(self) -> str:
        """What the kernel of a board with four such cores says.

        Of this computer's own words runtimes make nothing good. Without /sys, too, XNNPACK does not start, and LiteRT
        runs its builtin kernels, which round twice: other outputs by one step.
        """
        return "".join(f"processor\t: {number}\n{self.core}\n" for number in range(4))


ARM64 = Userland(
    arch="arm64", rule="qemu-aarch64", cpu="cortex-a72",
    core="""\
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3
""",
)  # fmt: skip
ARMHF = Userland(
    arch="armhf", rule="qemu-arm", cpu="cortex-a15",
    core="""\
model name\t: ARMv7 Processor rev 1 (v7l)
BogoMIPS\t: 108.00
Features\t: half thumb fastmult vfp edsp thumbee neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm
CPU implementer\t: 0x41
CPU architecture: 7
CPU variant\t: 0x2
CPU part\t: 0xc0f
CPU revision\t: 1
""",
    packages=("python3-numpy", "libatomic1"),
)  # fmt: skip
"""PyPI has no numpy for it, so it has Debian's."""


def missing(userland: Userland) -> str | None:
    """Why there can be no such device here; None if there can."""
    if os.geteuid() != 0:
        return "only root can mount and change the root folder"
    if not _rule(userland).is_file() or not shutil.which("mmdebstrap"):
        return "qemu-user-static or mmdebstrap is not installed: apt-get install qemu-user-static mmdebstrap arch-test"
    if mirror() is None:
        return "this computer has no Debian mirror in /etc/apt to take packages from"
    return None


def mirror() -> str | None:
    """The Debian mirror that this computer's own apt uses; None if it has none.

    `URIs:` lines of deb822 files, and `deb [options] URI suite` lines of the old ones.
    """
    files = [path for place in SOURCES for path in ([place] if place.is_file() else sorted(place.glob("*")))]
    for path in files:
        for line in path.read_text(errors="replace").splitlines():
            found = re.match(r"\s*(?:URIs:|deb\s+(?:\[[^]]*\]\s+)?)\s*(\S+://\S+|file:\S+)", line)
            if found is not None and "security" not in found[1]:
                return found[1]
    return None


def rootfs(kept: Path, userland: Userland) -> Path:
    """The device's files: made once, in about 20 s, at `kept`; nothing that runs in it writes to it.

    Raises: RuntimeError in the words of what failed.
    """
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f".{kept.name}.{os.getpid()}")
        packages = ",".join((*PACKAGES, *userland.packages))
        words = [
            "mmdebstrap", "--quiet", f"--architectures={userland.arch}", "--variant=extract", "--mode=root",
            f"--include={packages}", *(f"--dpkgopt=path-exclude={path}" for path in UNREAD),
            '--aptopt=Acquire::Languages "none"', '--aptopt=Apt::Install-Recommends "false"',
            SUITE, str(part), str(mirror()),
        ]  # fmt: skip
        try:
            subprocess.run(words, check=True, capture_output=True, text=True)
            _choose_alternatives(part)
            part.rename(kept)
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"no {userland.arch} userland: {error.stderr.strip()[-500:]}") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return kept


def _choose_alternatives(root: Path) -> None:
    """What update-alternatives would do: packages are unpacked here, and none of their scripts run."""
    for name in ("blas", "lapack"):
        for folder in root.glob(f"usr/lib/*/{name}"):
            (folder.parent / f"lib{name}.so.3").symlink_to(f"{name}/lib{name}.so.3")


@contextlib.contextmanager
def arm_programs_run(userland: Userland) -> Iterator[None]:
    """The kernel hands programs of that userland to qemu within the block; afterwards as before."""
    done = missing_steps(userland)
    run_arm_programs(userland, done)
    try:
        yield
    finally:
        run_no_arm_programs(userland, done)


def missing_steps(userland: Userland) -> tuple[str, ...]:
    """What is to be done before the kernel runs such programs: "mount", "register"; nothing if it does already."""
    steps = [] if (BINFMT / "register").exists() else ["mount"]
    return tuple(steps) if (BINFMT / userland.rule).exists() else (*steps, "register")


def run_arm_programs(userland: Userland, steps: tuple[str, ...]) -> None:
    """Does these steps. Raises: OSError, subprocess.CalledProcessError."""
    if "mount" in steps:
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], check=True, capture_output=True)
    if "register" in steps:
        (BINFMT / "register").write_text(_rule(userland).read_text())


def run_no_arm_programs(userland: Userland, steps: tuple[str, ...]) -> None:
    """Undoes these steps, as far as they were done."""
    if "register" in steps and (BINFMT / userland.rule).exists():
        (BINFMT / userland.rule).write_text("-1")
    if "mount" in steps and (BINFMT / "register").exists():
        subprocess.run(["umount", str(BINFMT)], check=True)


def _rule(userland: Userland) -> Path:
    return RULES / f"{userland.rule}.conf"


@contextlib.contextmanager
def arm_device(folder: Path, kept: Path, userland: Userland) -> Iterator[Sshd]:
    """An sshd whose sessions see that userland and nothing else; their home is /root, empty at first.

    Its /proc/cpuinfo is the file cpuinfo in `folder`, which may be rewritten; its files are those at `kept`.
    """
    inside = inside_arm(folder, rootfs(kept, userland), userland)
    with arm_programs_run(userland), running_sshd(folder, **inside) as server:
        yield server


def inside_arm(folder: Path, root: Path, userland: Userland) -> dict[str, Any]:
    """What makes an sshd one of the userland at `root`."""
    cpuinfo = folder / "cpuinfo"
    folder.mkdir(parents=True, exist_ok=True)
    cpuinfo.write_text(userland.cpuinfo)
    environment = f"HOME=/root QEMU_CPU={userland.cpu} PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    there = '/bin/sh -c \'cd && exec /bin/sh -c "$0"\' "$SSH_ORIGINAL_COMMAND"'
    shell = f"exec env -i {environment} {shutil.which('chroot')} {root} {there}"
    inside = ("unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNTS, str(root), str(cpuinfo))
    return {"shell": shell, "inside": inside}
