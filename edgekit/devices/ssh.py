"""A device over SSH: paramiko, with a deadline on everything."""

import io
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any, BinaryIO

from edgekit.core.device import Device
from edgekit.devices.call import CONNECT_S, Call
from edgekit.devices.conversation import Conversation, Running, Source
from edgekit.devices.dial import closed_after, dial, hang_up, told
from edgekit.devices.hostkeys import KEY_TYPES, algorithms_of, check, shown
from edgekit.devices.lean import paramiko
from edgekit.devices.login import Login
from edgekit.devices.pulse import Pulse
from edgekit.devices.said import readable
from edgekit.devices.transport import OnBytes
from edgekit.devices.words import bounded_line
from edgekit.errors import DeadlineError, DeviceError, HostKeyError, UnreachableError

BLOCK_BYTES = 1 << 18
STALL_S = 15.0
"""The longest wait for a device to take the next of what it is sent; a stopped one acknowledges, and takes nothing."""

FAR_S = 0.005
"""Over a way with so long a round trip the next command's channel is opened while one runs: a trip less for each."""

GOING_DOWN_S = 1.0
"""A device that goes down ends its programs a moment before its connections: so long, a killed one is not blamed."""


def open_ssh(
    device: Device, via: Sequence[Device] = (), *, called: Call | None = None, timeout_s: float = CONNECT_S
) -> "SshTransport":
    """A way to `device`, logged in, through the devices `via`, the nearest first, which may be `called` already.

    Each host key is checked before anything secret is sent. Where this process has a terminal, a person may be asked
    for a passphrase or a password there.

    Raises: HostKeyError, LoginError, UnreachableError, DeadlineError.
    """
    with ExitStack() as stack:
        transport = _hops((*via, device), timeout_s, stack, called)
        assert transport is not None
        return SshTransport(device.name, transport, stack.pop_all())


def enrol(device: Device, via: Sequence[Device] = (), *, timeout_s: float = CONNECT_S) -> tuple[str, ...]:
    """All host keys that a device shows, for a person to look at; nobody is logged in on it and nothing is kept.

    Raises: UnreachableError, DeadlineError; as `open_ssh` for the devices on the way.
    """
    where, keys = f"{device.host}:{device.port}", []
    with ExitStack() as stack:
        through = _hops(via, timeout_s, stack)
        for algorithms in KEY_TYPES.values():
            try:
                transport = dial(
                    where, device.host, device.port, key_types=algorithms, through=through, timeout_s=timeout_s
                )  # fmt: skip
            except HostKeyError:
                continue  # it has no key of that type
            keys.append(shown(transport.host_key))
            hang_up(transport)
    if not keys:
        raise UnreachableError(f"{where}: shows no host key of a type known here ({', '.join(KEY_TYPES)})")
    return tuple(keys)


def _hops(
    hops: Sequence[Device], timeout_s: float, owned: ExitStack, called: Call | None = None
) -> paramiko.Transport | None:
    """The connection to the last of these devices, each reached through the one before; None if there are none."""
    transport = None
    for hop in hops:
        key_types = algorithms_of(hop.host_keys, hop.name)
        transport = dial(
            hop.name, hop.host, hop.port, key_types=key_types, through=transport, called=called, timeout_s=timeout_s
        )  # fmt: skip
        called = None
        owned.enter_context(Pulse(transport))
        check(transport.host_key, hop.host_keys, hop.name)
        Login(transport, hop, 2 * timeout_s).log_in()
    return transport


class SshTransport(Conversation):
    """A way over an open, logged-in SSH connection, which it owns."""

    faults = frozenset({"cut", "stall"})

    def __init__(self, name: str, transport: paramiko.Transport, owned: ExitStack) -> None:
        super().__init__(name)
        self._transport, self._owned = transport, owned
        self._trip_s = math.inf
        self._ahead: Future[paramiko.Channel] | None = None

    def start(
        self, words: Sequence[str], stdin: bytes | BinaryIO | None, on_bytes: OnBytes | None, timeout_s: float
    ) -> Running:
        """As `Conversation.start`; `on_bytes` is called from a thread of its own."""
        line = bounded_line(words, timeout_s).encode("utf-8", "surrogateescape")
        with told(self.name), closed_after(timeout_s, self._transport, self.name):
            channel = self._taken() or self._opened(timeout_s)
            channel.exec_command(line)
        if self._trip_s > FAR_S and "OpenSSH" in self._transport.remote_version:  # dropbear closes one that waits
            self._ahead = begun(lambda: self._opened(timeout_s))
        return _Channel(self.name, words[0], channel, stdin, on_bytes)

    def trip_s(self) -> float:
        """As `Conversation.trip_s`: of what opened a channel, which a server answers without starting anything."""
        return self._trip_s if self._trip_s < math.inf else super().trip_s()

    def _opened(self, timeout_s: float) -> paramiko.Channel:
        begun_s = time.monotonic()
        channel = self._transport.open_session(timeout=timeout_s)
        self._trip_s = min(self._trip_s, time.monotonic() - begun_s)
        return channel

    def _taken(self) -> paramiko.Channel | None:
        """The channel that was opened ahead; None if there is none: a server may allow one session at a time."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead.exception() is not None:
            return None
        return ahead.result()

    def overdue(self) -> None:
        """Closes the way: what blocks in it ends."""
        hang_up(self._transport)

    def close(self) -> None:
        """As `Transport.close`."""
        self._owned.close()


def begun(work: Callable[[], paramiko.Channel]) -> "Future[paramiko.Channel]":
    """What `work` gives, under way in a thread that ends with the connection."""
    found: Future[paramiko.Channel] = Future()

    def run() -> None:
        try:
            found.set_result(work())
        except Exception as error:  # noqa: BLE001  told to whoever takes it
            found.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return found


class _Bell:
    """Rings when either output of a channel has something new; only its owner silences it."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.set, self.wait, self.silence = self._event.set, self._event.wait, self._event.clear

    def clear(self) -> None:
        """Called by a buffer that ran empty, which says nothing about the other one."""


class _Channel:
    """A running command at the other end of a channel."""

    def __init__(
        self,
        name: str,
        program: str,
        channel: paramiko.Channel,
        stdin: bytes | BinaryIO | None,
        on_bytes: OnBytes | None,
    ) -> None:
        self._name, self._program, self._channel = name, program, channel
        self._bell = _Bell()
        channel.in_buffer.set_event(self._bell)
        channel.in_stderr_buffer.set_event(self._bell)
        self._failed: BaseException | None = None
        channel.settimeout(STALL_S)
        source = io.BytesIO(stdin or b"") if stdin is None or isinstance(stdin, bytes) else stdin
        self._sender = threading.Thread(target=self._send, args=(source, on_bytes), daemon=True)
        self._sender.start()

    def _send(self, source: BinaryIO, on_bytes: OnBytes | None) -> None:
        """Sends the input. Only a failure of this side is kept: of the link or the command, the exit status tells."""
        try:
            size = self._channel.out_max_packet_size - 64
            while block := source.read(size):
                try:
                    self._channel.sendall(block)
                except TimeoutError:
                    raise DeadlineError(f"{self._name}: takes nothing of what it is sent for {STALL_S:g} s") from None
                except (OSError, EOFError, paramiko.SSHException):
                    return
                if on_bytes is not None:
                    on_bytes(len(block))
        except BaseException as error:  # noqa: BLE001  raised again by `status`, in the thread that waits
            self._failed = error
            self._close_channel()
            return
        try:
            self._channel.shutdown_write()
        except (OSError, EOFError, paramiko.SSHException):
            return

    def read(self, timeout_s: float) -> tuple[Source, bytes] | None:
        """As `Running.read`."""
        channel: Any = self._channel
        while True:
            self._bell.silence()
            ended = channel.eof_received or channel.closed  # looked at first: what came before it is in the buffers
            if channel.recv_ready():
                return "out", channel.recv(BLOCK_BYTES)
            if channel.recv_stderr_ready():
                return "err", channel.recv_stderr(BLOCK_BYTES)
            if ended:
                return "end", b""
            if not self._bell.wait(timeout_s):
                return None

    def status(self, timeout_s: float) -> int | None:
        """As `Running.status`. A channel that ends without a status is an error, never a status."""
        channel: Any = self._channel
        if not channel.status_event.wait(timeout_s):
            return None
        if self._failed is not None:
            raise self._failed
        if channel.exit_status >= 0:
            return int(channel.exit_status)
        if channel.eof_received:
            channel.transport.join(GOING_DOWN_S)
            if channel.transport.is_active():
                what = readable(self._program, 60)
                raise DeviceError(f"{self._name}: {what} was killed there: it left no exit status")
        broke = channel.transport.get_exception()
        with told(self._name):
            raise broke if isinstance(broke, Exception) else EOFError("the other end closed it")

    def close(self) -> None:
        """As `Running.close`. What still runs there sees its input and its outputs closed, until its time is over."""
        self._close_channel()
        self._sender.join(5.0)

    def _close_channel(self) -> None:
        try:
            self._channel.close()
        except (OSError, EOFError, paramiko.SSHException):
            return
