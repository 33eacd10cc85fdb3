"""A board that is not there: this computer behind an sshd, with a name, a home and thermal zones of the board's own.

Its programs are this computer's, and so are its times. What it says of itself is files in `folder`/identity, which may
be rewritten while it runs: a test can let it grow hot.
"""

from pathlib import Path
from typing import Any

ZONES = {"cpu-thermal": 46500, "gpu-thermal": 44000}

IDENTITY = """
mount --make-rprivate / && mount -t proc proc /proc && hostname "$1" || exit 1
[ ! -d /sys/class/thermal ] || mount --bind "$0/thermal" /sys/class/thermal || exit 1
[ ! -e "$0/cpuinfo" ] || mount --bind "$0/cpuinfo" /proc/cpuinfo || exit 1
[ ! -e "$0/meminfo" ] || mount --bind "$0/meminfo" /proc/meminfo || exit 1
shift && exec "$@"
"""
"""In namespaces of the board's own: all of it is gone when the board is."""


def inside_board(folder: Path, name: str, *, memory_bytes: int | None = None) -> dict[str, Any]:
    """What makes an sshd that board; it takes root. A program there gets `memory_bytes` of data, if that is given."""
    identity = folder / "identity"
    for number, (kind, temperature) in enumerate(ZONES.items()):
        zone = identity / "thermal" / f"thermal_zone{number}"
        zone.mkdir(parents=True, exist_ok=True)
        (zone / "type").write_text(f"{kind}\n")
        (zone / "temp").write_text(f"{temperature}\n")
    limit = ("prlimit", f"--data={memory_bytes}") if memory_bytes else ()
    apart = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child")
    return {"inside": (*apart, "sh", "-c", IDENTITY, str(identity), name, *limit)}
