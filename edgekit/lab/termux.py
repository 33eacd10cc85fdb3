"""A phone with Termux that is not there: an sshd without root, in a system of which it sees what an app sees.

Its programs and their C library are this computer's, and so are its times. The user, the paths and the properties are
Android's and Termux's; there is no /tmp and no /etc/os-release.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from edgekit.lab.sshd import Sshd, running_sshd

USER, UID = "u0_a123", 10123
FILES = Path("/data/data/com.termux/files")
CLOSED = "/data/system"
"""A folder of root's."""

PROPERTIES = """\
[ro.build.version.release]: [14]
[ro.build.version.sdk]: [34]
[ro.product.manufacturer]: [edgekit]
[ro.product.model]: [lab phone]
"""

SYSTEM = f"""
set -e
umask 022
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$0/root"
cd "$0/root"
mkdir -p dev proc sys etc system/bin ".{FILES}" ".{CLOSED}"
chmod 700 ".{CLOSED}"
for each in bin sbin usr lib lib32 lib64 libx32; do
    if [ -L "/$each" ]; then
        cp -P "/$each" .
    elif [ -d "/$each" ]; then
        mkdir "$each"
        mount --rbind "/$each" "$each"
    fi
done
cp -r /etc/alternatives /etc/ld.so.cache etc
printf '%s\\n' root:x:0:0::/:/bin/sh {USER}:x:{UID}:{UID}::{FILES}/home:/bin/sh > etc/passwd
printf '%s\\n' root:x:0: {USER}:x:{UID}: > etc/group
printf '%s\\n' '#!/bin/sh' 'cat {FILES}/properties' > system/bin/getprop
chmod 755 system/bin/getprop
mount --rbind /dev dev
mount --rbind /sys sys
mount -t proc proc proc
mount --bind "$0" ".{FILES}"
chown -R {UID}:{UID} ".{FILES}"
exec chroot . setpriv --reuid {UID} --regid {UID} --clear-groups --no-new-privs --pdeathsig keep "$@"
"""
"""In namespaces of the phone's own: all of it is gone when the phone is."""

APART = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")
"""It ends with whoever started it, however that ends. A change of user would forget that signal: `keep`."""


def missing() -> str | None:
    """Why there can be no such phone here; None if there can."""
    return None if os.geteuid() == 0 else "only root can make a system in which somebody else is at home"


@contextlib.contextmanager
def running_termux(folder: Path) -> Iterator[Sshd]:
    """A phone that answers, and says of itself what the file properties in `folder` says.

    It ends with the block, and with this process.
    """
    (folder / "root").mkdir(parents=True)
    (folder / "properties").write_text(PROPERTIES)
    inside = (*APART, "sh", "-c", SYSTEM, str(folder))
    with running_sshd(folder, user=USER, seen_at=FILES, inside=inside) as server:
        yield server
