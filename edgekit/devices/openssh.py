"""A device over the system's own `ssh`: for certificates, FIPS, smartcards and all that a user's ssh_config says.

One connection is held by a master process (ControlMaster), and each command is a client of it. The master's own
session is a `cat` that reads from a pipe of this process: when this process dies, however it dies, the master goes.
"""

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from edgekit.core.device import Device
from edgekit.devices.asking import terminal
from edgekit.devices.call import ALIVE_COUNT, ALIVE_S, CONNECT_S
from edgekit.devices.conversation import Conversation, Running
from edgekit.devices.hostkeys import KEY_TYPES, known_hosts
from edgekit.devices.process import start_process
from edgekit.devices.reported import Reported, new_mark, reporting_line
from edgekit.devices.said import readable
from edgekit.devices.transport import OnBytes
from edgekit.errors import DeadlineError, DeviceError, HostKeyError, LoginError, UnreachableError, UsageError
from edgekit.store.scratch import scratch

CONTROL = "control"
POLL_S = 0.02
PERSON_S = 120.0
"""How long a person may take to type a password or to touch a key."""

ALWAYS = {
    "BatchMode": "yes",
    "CheckHostIP": "no",
    "ClearAllForwardings": "yes",
    "ControlPath": "none",
    "EscapeChar": "none",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "GlobalKnownHostsFile": "/dev/null",
    "HashKnownHosts": "no",
    "KnownHostsCommand": "none",
    "LogLevel": "ERROR",
    "NoHostAuthenticationForLocalhost": "no",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "ServerAliveCountMax": str(ALIVE_COUNT),
    "ServerAliveInterval": str(ALIVE_S),
    "StrictHostKeyChecking": "yes",
    "UpdateHostKeys": "no",
    "VerifyHostKeyDNS": "no",
}
"""What holds whatever a user's ssh_config says: only pinned keys, nothing forwarded, a dead peer is noticed."""


def ssh_words(device: Device, folder: Path, via: Sequence[Device] = (), **options: str) -> tuple[str, ...]:
    """The words that run the system's ssh to `device`, up to and with the destination; its files are in `folder`.

    `via` are the devices to go through, the nearest first.

    Raises: HostKeyError if no key of one of them is pinned; UsageError if there is no ssh here.
    """
    program = shutil.which("ssh")
    if program is None:
        raise UsageError(f"{device.name}: there is no `ssh` on this computer: install the OpenSSH client")
    known = folder / f"known_hosts_{device.name}"
    if not known.exists():
        known.write_text(known_hosts(device.host_keys, device.name))
    settings = ALWAYS | {"UserKnownHostsFile": f'"{known}"'} | options
    words = [program, "-T"]
    if via:
        through = ssh_words(via[-1], folder, via[:-1], ConnectTimeout=str(int(CONNECT_S)))
        line = shlex.join((*through[:-2], "-W", "\0", *through[-2:]))
        settings["ProxyCommand"] = line.replace("%", "%%").replace("'\0'", "'[%h]:%p'")
    for key, value in settings.items():
        words += ["-o", f"{key}={value}"]
    if device.port != 22:
        words += ["-p", str(device.port)]
    if device.user:
        words += ["-l", device.user]
    if device.identity is not None:
        words += ["-i", str(Path(device.identity).expanduser()), "-o", "IdentitiesOnly=yes"]
    return (*words, "--", device.host)


def open_openssh(device: Device, via: Sequence[Device] = (), *, timeout_s: float = CONNECT_S) -> "OpensshTransport":
    """A way to `device`, logged in. Its host key is checked, by ssh itself, before anything secret is sent.

    Where this process has a terminal, ssh may ask its questions there: a password, a passphrase, a PIN.

    Raises: HostKeyError, LoginError, UnreachableError, DeadlineError, UsageError.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        options = {"ConnectTimeout": str(max(1, int(timeout_s))), "ControlMaster": "yes", "ControlPath": CONTROL}
        asking = terminal()
        if asking is not None:
            options |= {"BatchMode": "no", "NumberOfPasswordPrompts": "3"}
        words = ssh_words(device, folder, via, **options)
        with (folder / "said").open("wb") as said:
            master = subprocess.Popen(
                (*words, "exec cat"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, cwd=folder,
                env=os.environ | {"LC_ALL": "C"} | (asking.environment(folder) if asking else {}),
                start_new_session=True,
            )  # fmt: skip
        stack.callback(_end, master)
        until = time.monotonic() + (timeout_s + PERSON_S if asking else 2 * timeout_s)
        while not (folder / CONTROL).exists():
            if master.poll() is not None:
                raise _refused(device, _last_words(folder))
            if time.monotonic() > until:
                raise DeadlineError(f"{device.name}: no answer to the login in time")
            time.sleep(POLL_S)
        return OpensshTransport(device.name, words[0], device.host, folder, master, stack.pop_all())


class OpensshTransport(Conversation):
    """A way over an open, logged-in connection of the system's ssh, which it owns."""

    faults = frozenset({"cut", "stall"})

    def __init__(
        self, name: str, program: str, host: str, folder: Path, master: subprocess.Popen[bytes], owned: ExitStack
    ) -> None:
        super().__init__(name)
        self._client = (program, "-T", "-S", CONTROL, "-o", "LogLevel=ERROR", "-o", "RemoteCommand=none", "--", host)
        self._folder, self._master, self._owned = folder, master, owned

    def start(
        self, words: Sequence[str], stdin: bytes | BinaryIO | None, on_bytes: OnBytes | None, timeout_s: float
    ) -> Running:
        """As `Conversation.start`."""
        mark = new_mark()
        line = reporting_line(words, timeout_s, mark)
        if self._master.poll() is not None:
            self._explain("")
        client = start_process(self.name, (*self._client, line), stdin, on_bytes, cwd=self._folder)
        return Reported(self.name, words[0], client, mark, self._explain)

    def _explain(self, said: str) -> None:
        """Raises what ended the master, if it has ended, or is about to."""
        until = time.monotonic() + 1.0  # a device that goes down ends its programs a moment before its connections
        while self._master.poll() is None:
            if time.monotonic() > until:
                return
            time.sleep(POLL_S)
        said = _last_words(self._folder) or said
        raise UnreachableError(f"{self.name}: cannot be reached or the connection broke ({said or 'it was closed'})")

    def overdue(self) -> None:
        """Ends the connection: what blocks in it ends."""
        _end(self._master)

    def close(self) -> None:
        """As `Transport.close`."""
        self._owned.close()


def scan(device: Device, via: Sequence[Device] = (), *, timeout_s: float = CONNECT_S) -> tuple[str, ...]:
    """All host keys that `device` shows to the system's ssh, as `hostkeys.enrol`: also behind a ProxyCommand.

    Nobody is logged in: ssh asks only whether it may come in without anything, and notes the key before that.

    Raises: UnreachableError, DeadlineError, UsageError.
    """
    found: list[str] = []
    for algorithms in KEY_TYPES.values():
        with scratch() as folder:
            (folder / f"known_hosts_{device.name}").touch()
            words = ssh_words(
                device, folder, via, ConnectTimeout=str(max(1, int(timeout_s))), StrictHostKeyChecking="accept-new",
                HostKeyAlgorithms=",".join(algorithms), PreferredAuthentications="none", LogLevel="INFO",
            )  # fmt: skip
            try:
                done = subprocess.run(
                    (*words, "true"), stdin=subprocess.DEVNULL, capture_output=True, timeout=3 * timeout_s, check=False,
                    cwd=folder, start_new_session=True,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise DeadlineError(f"{device.name}: no answer within {3 * timeout_s:g} s") from None
            lines = (folder / f"known_hosts_{device.name}").read_text().splitlines()
            found += [" ".join(line.split()[1:3]) for line in lines]
            if not lines and b"no matching host key" not in done.stderr:
                raise _refused(device, readable(done.stderr))
    if not found:
        raise UnreachableError(f"{device.name}: shows no host key of a type known here ({', '.join(KEY_TYPES)})")
    return tuple(found)


def _refused(device: Device, said: str) -> DeviceError:
    """What ssh said when it gave up on a connection, as one of edgekit's errors."""
    if "host key" in said.lower() or "HOST IDENTIFICATION" in said:
        return HostKeyError(
            f"{device.name}: the host shows no key that is pinned: nothing was sent. ssh says: {said}. If the machine "
            "was set up anew, remove the device and add it again"
        )
    if "Permission denied" in said or "Too many authentication failures" in said:
        login = f"{device.user}@{device.host}" if device.user else device.host
        return LoginError(f"{device.name}: login refused for {login} ({said}): check the user and the key")
    if "timed out" in said:
        return DeadlineError(f"{device.name}: no answer in time ({said})")
    return UnreachableError(f"{device.name}: cannot be reached ({said or 'ssh ended without a word'})")


def _last_words(folder: Path) -> str:
    """The end of what the master said."""
    with (folder / "said").open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        return readable(file.read())


def _end(master: subprocess.Popen[bytes]) -> None:
    """Ends the master, and with it the connection and its clients."""
    if master.stdin is not None:
        master.stdin.close()
    if master.poll() is None:
        master.terminate()
        try:
            master.wait(2.0)
        except subprocess.TimeoutExpired:
            master.kill()
            master.wait()
