"""A real dropbear on loopback, nothing but busybox behind it: no SFTP, no Python, no bash, as on many small boards."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from edgekit.lab.sshd import Sshd, make_sshd

PROGRAM = "/usr/sbin/dropbear"

APART = """
mount --make-rprivate / && mount --bind "$0/home" "$HOME" || exit 1
exec "$@"
"""
"""The home folder of whoever runs it is the device's, in a mount namespace of its own."""


class Dropbear(Sshd):
    """As `Sshd`. It takes root: keys are read from a home folder, which a mount puts in the place of this user's."""

    serves = "dropbear"
    left = ":{}>: Exited"

    def start(self) -> None:
        """Starts it; returns once it answers. Raises: TimeoutError."""
        (self.home / ".ssh").mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.home / ".ssh" / "authorized_keys").write_text((self.folder / "authorized_keys").read_text())
        for folder in (self.home, self.home / ".ssh", self.home / ".ssh" / "authorized_keys"):
            folder.chmod(0o700)
        words = [
            "unshare", "--mount", "sh", "-c", APART, str(self.folder), PROGRAM, "-F", "-E", "-s", "-e", "-P", "",
            "-p", f"127.0.0.1:{self.port}", "-r", str(self.folder / "dropbear_key"),
        ]  # fmt: skip
        environment = os.environ | ({"PATH": self.path} if self.path else {})
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        self._wait_for_banner()


@contextlib.contextmanager
def running_dropbear(folder: Path, *, path: str = "") -> Iterator[Dropbear]:
    """A dropbear that answers, with programs from `path` if that is given; it ends with the block."""
    made = make_sshd(folder, kinds=())
    key = folder / "dropbear_key"
    subprocess.run(["dropbearkey", "-t", "ed25519", "-f", str(key)], check=True, capture_output=True)
    shown = subprocess.run(["dropbearkey", "-y", "-f", str(key)], check=True, capture_output=True, text=True).stdout
    public = next(" ".join(line.split()[:2]) for line in shown.splitlines() if line.startswith("ssh-"))
    server = Dropbear(folder, made.port, (public,), path=path)
    try:
        server.start()
        yield server
    finally:
        server.stop()
