"""SSH spoken over a TCP connection, and every way it can fail told in edgekit's errors."""

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from edgekit.devices.call import CONNECT_S, Call, open_socket
from edgekit.devices.lean import paramiko
from edgekit.devices.said import readable
from edgekit.errors import DeadlineError, DeviceError, HostKeyError, LoginError, UnreachableError

# A library must not write to stderr for want of a handler; whoever configures logging still hears it.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@contextmanager
def told(name: str, login: str = "") -> Iterator[None]:
    """Whatever paramiko or the system raises inside becomes one of edgekit's errors: the one place where it does.

    `login` is who logs in where, user@host.

    The same broken link comes as a TimeoutError, an EOFError, an OSError or an SSHException, by chance.
    """
    try:
        yield
    except DeviceError:
        raise
    except paramiko.BadHostKeyException as error:
        raise HostKeyError(f"{name}: the host key is not the pinned one: {readable(str(error))}") from None
    except paramiko.AuthenticationException as error:
        raise _login_error(name, login, str(error)) from None
    except socket.gaierror as error:
        raise UnreachableError(f"{name}: no such host: {error.strerror}") from None
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise _link_error(name, error) from None


def _login_error(name: str, login: str, said: str) -> UnreachableError:
    if "EOF" in said or "shut down" in said:
        return UnreachableError(f"{name}: the connection ended while logging in")
    if "timeout" in said.lower():
        return DeadlineError(f"{name}: no answer to the login in time")
    return LoginError(
        f"{name}: login refused for {login} ({readable(said)}): check the user and the key, or `ssh-add` it"
    )


def _link_error(name: str, error: Exception) -> UnreachableError:
    said = readable(getattr(error, "strerror", None) or str(error)) or type(error).__name__
    if isinstance(error, TimeoutError) or "imeout" in said or "timed out" in said:
        return DeadlineError(f"{name}: no answer in time ({said})")
    if "protocol banner" in said or "protocol version" in said:
        return UnreachableError(f"{name}: what answers is not an SSH server ({said})")
    return UnreachableError(f"{name}: cannot be reached or the connection broke ({said})")


class Heard:
    """A socket, or a channel that serves as one, that knows when it last received anything."""

    def __init__(self, way: Any) -> None:
        self._socket = way
        self._quick = isinstance(way, socket.socket) and hasattr(socket, "TCP_QUICKACK")
        self.heard_s = time.monotonic()

    def recv(self, size: int) -> bytes:
        """As `socket.recv`."""
        block: bytes = self._socket.recv(size)
        self.heard_s = time.monotonic()
        if self._quick:  # the system forgets it: a server that holds back small packets waits 40 ms for a late answer
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return block

    def end(self) -> None:
        """Wakes whoever reads a socket, which looks but ten times a second whether it should end. Raises nothing."""
        if isinstance(self._socket, socket.socket):
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def dial(
    name: str,
    host: str,
    port: int,
    *,
    key_types: tuple[str, ...] = (),
    through: paramiko.Transport | None = None,
    called: Call | None = None,
    timeout_s: float = CONNECT_S,
) -> paramiko.Transport:
    """SSH with keys exchanged and nobody logged in: nothing secret was sent, and the host key can be looked at.

    `key_types`: the host key algorithms asked for; all that paramiko knows, if empty. `through`: the connection to a
    machine that reaches the host, if this one does not. `called`: a connection to it that is on its way already.

    Raises: UnreachableError, DeadlineError; HostKeyError if the host has no key of these types.
    """
    with told(name):
        if called is not None:
            way: Any = called.taken()
        elif through is None:
            way = open_socket(host, port, timeout_s)
        else:
            way = through.open_channel("direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=timeout_s)
        transport = paramiko.Transport(Heard(way))
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = timeout_s
        options = transport.get_security_options()
        gcm = tuple(cipher for cipher in options.ciphers if "gcm" in cipher)
        options.ciphers = (*gcm, *(cipher for cipher in options.ciphers if cipher not in gcm))  # twice as fast first
        try:
            if key_types:
                options.key_types = key_types
            with closed_after(timeout_s, transport, name):
                transport.start_client()
        except paramiko.ssh_exception.IncompatiblePeer as error:
            hang_up(transport)
            raise HostKeyError(
                f"{name}: no common way to speak or no key of a pinned type: {readable(str(error))}"
            ) from None
        except BaseException:
            hang_up(transport)
            raise
    return transport


def hang_up(transport: paramiko.Transport) -> None:
    """Closes a transport, its socket and its thread, whatever state they are in."""
    transport.sock.end()
    transport.close()
    with suppress(OSError):
        transport.sock.close()
    with suppress(RuntimeError):  # not started, or called from its own thread
        transport.join(5.0)


class closed_after:  # noqa: N801  a context manager that reads like a function
    """Hangs up if the block has not ended in time, which ends every call that blocks in it. Raises: DeadlineError."""

    def __init__(self, timeout_s: float, transport: paramiko.Transport, name: str) -> None:
        self._transport, self._name, self._timeout_s, self._fired = transport, name, timeout_s, False
        self._timer = threading.Timer(max(timeout_s, 0.001), self._fire)
        self._timer.daemon = True

    def _fire(self) -> None:
        self._fired = True
        hang_up(self._transport)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        if self._fired:
            raise DeadlineError(f"{self._name}: no answer within {self._timeout_s:g} s") from None
