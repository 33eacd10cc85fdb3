"""A real sshd on loopback, with keys and a home folder of its own: a device of the lab, and of the tests.

No file of the user's is read or touched: a login shell of this user would run what is in ~/.bashrc, once a command.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path
from typing import Any, ClassVar

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from edgekit.core.device import Device

PROGRAM = "/usr/sbin/sshd"

CONFIG = """\
Port {port}
ListenAddress {address}
{host_keys}
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 200:30:400
MaxSessions 100
LogLevel VERBOSE
SetEnv HOME={folder}/home{path}
ForceCommand {shell}
{extra}
"""

SHELL = 'cd "$HOME" && exec "$SHELL" -c "$SSH_ORIGINAL_COMMAND"'

MAKERS: dict[str, Callable[[], ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey]] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
}


def write_key(path: Path, kind: str = "ed25519", passphrase: bytes | None = None) -> str:
    """Makes a key at `path`; its public half as "type base64"."""
    key = MAKERS[kind]()
    lock = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        file.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, lock))
    public = serialization.PublicFormat.OpenSSH
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, public).decode()


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Sshd:
    """A running sshd; its log, keys and configuration are in `folder`, which it may see elsewhere: at `seen_at`.

    `path` is where its programs are found, `shell` runs a command, `inside` are words that become the sshd itself.
    """

    folder: Path
    port: int
    host_keys: tuple[str, ...]
    extra: str = ""
    path: str = ""
    shell: str = SHELL
    inside: tuple[str, ...] = ()
    user: str = field(default_factory=getuser)
    seen_at: Path | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    serves: ClassVar[str] = "sshd"
    """How the names of its processes begin."""
    left: ClassVar[str] = "port {}\n"
    """What it logs once a visitor from that port has left."""

    def start(self) -> None:
        """Starts it; returns once it answers. Raises: TimeoutError."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        config = self.configure(port=self.port, address="127.0.0.1")
        with (self.folder / "log").open("ab") as log:
            words = [*self.inside, PROGRAM, "-D", "-e", "-f", str(config)]
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait_for_banner()

    def configure(self, *, port: int, address: str) -> Path:
        """Writes its configuration; where the sshd itself sees that."""
        seen = self.seen_at or self.folder
        keys = "\n".join(f"HostKey {seen / path.name}" for path in sorted(self.folder.glob("host_key_*")))
        (self.folder / "sshd_config").write_text(
            CONFIG.format(
                port=port,
                address=address,
                host_keys=keys,
                folder=seen,
                extra=self.extra,
                shell=self.shell,
                path=self.path and f" PATH={self.path}",
            )
        )
        return seen / "sshd_config"

    def _wait_for_banner(self, timeout_s: float = 10.0) -> None:
        assert self.process is not None
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and self.process.poll() is None:
            ready, mine = False, ""
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as s:
                mine = self.left.format(s.getsockname()[1])
                ready = s.recv(64).startswith(b"SSH-2.0")
            while ready and time.monotonic() < end:  # until it has logged that this visit ended
                if mine in self.log():
                    return
                time.sleep(0.005)
            time.sleep(0.005)
        raise TimeoutError(f"no SSH banner on port {self.port}; the log ends: {self.log()[-300:]}")

    @property
    def home(self) -> Path:
        """The home folder of whoever logs in."""
        return self.folder / "home"

    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "log").read_text(errors="replace")

    def device(self, root: Path | str, name: str = "board", **changes: object) -> Device:
        """This sshd as a device of the inventory: its user, the client's key, the host keys pinned."""
        fields: dict[str, object] = {
            "name": name,
            "transport": "ssh",
            "host": "127.0.0.1",
            "port": self.port,
            "user": self.user,
            "identity": str(self.folder / "client"),
            "host_keys": self.host_keys,
            "root": str(root),
            "python": sys.executable,
        }
        return Device(**(fields | changes))  # type: ignore[arg-type]

    def sessions(self) -> list[int]:
        """The processes below the listener: those of every session, and what runs in it."""
        assert self.process is not None
        found, todo = [], children(self.process.pid)
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += children(pid)
        return found

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to every session, both halves of it; not to what runs in it, nor to the listener."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                if Path(f"/proc/{pid}/comm").read_text().strip().startswith(self.serves):
                    os.kill(pid, number)

    def cut(self) -> None:
        """The board dies: every session and what runs in it."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stall(self) -> None:
        """The board goes silent, its connections open."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It speaks again."""
        self.signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ends it, and all of its sessions."""
        if self.process is not None:
            self.cut()
            self.process.kill()
            self.process.wait()
            self.process = None


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    with contextlib.suppress(OSError):
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def make_sshd(folder: Path, *, kinds: tuple[str, ...] = ("ed25519",), **fields: Any) -> Sshd:
    """An sshd with keys of its own in `folder`, not started; `fields` are those of `Sshd`."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    (folder / "authorized_keys").write_text(write_key(folder / "client") + "\n")
    keys = tuple(write_key(folder / f"host_key_{kind}", kind) for kind in kinds)
    return Sshd(folder, free_port(), keys, **fields)


@contextlib.contextmanager
def running_sshd(folder: Path, *, kinds: tuple[str, ...] = ("ed25519",), **fields: Any) -> Iterator[Sshd]:
    """As `make_sshd`, and it answers; it ends with the block, and all of its sessions."""
    server = make_sshd(folder, kinds=kinds, **fields)
    try:
        server.start()
        yield server
    finally:
        server.stop()
