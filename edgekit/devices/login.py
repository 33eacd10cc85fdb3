"""Logging in over SSH: by the key that a device names, by the agent's or the usual ones, or by a typed password."""

import getpass
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm

from edgekit.core.device import Device
from edgekit.devices.asking import terminal
from edgekit.devices.dial import closed_after, told
from edgekit.devices.lean import paramiko
from edgekit.devices.said import readable
from edgekit.errors import LoginError

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
TRIES = 3


class Login:
    """A login on a connection whose host key was checked; no step of it takes longer than `timeout_s`."""

    def __init__(self, transport: paramiko.Transport, device: Device, timeout_s: float) -> None:
        self._transport, self._device, self._timeout_s = transport, device, timeout_s
        self._user = device.user or getpass.getuser()
        self._where = f"{self._user}@{device.host}"

    def log_in(self) -> None:
        """Tries each key, then asks for a password where there is somebody to ask.

        Raises: LoginError, UnreachableError, DeadlineError.
        """
        refused: Exception = LoginError(
            f"{self._device.name}: no key to log in with: name one (identity), or `ssh-add` one to the agent"
        )
        for key in keys(self._device):
            try:
                if self._try(lambda key=key: self._transport.auth_publickey(self._user, key)):  # type: ignore[misc]
                    return
                refused = LoginError(
                    f"{self._device.name}: {self._user} needs more than a key to log in, which edgekit does not do"
                )
            except (paramiko.AuthenticationException, paramiko.BadAuthenticationType) as error:
                refused = error
            if not self._transport.is_active():
                break
        if self._by_password():
            return
        with told(self._device.name, self._where):
            raise refused

    def _by_password(self) -> bool:
        asking = terminal()
        for _ in range(TRIES if asking is not None else 0):
            assert asking is not None
            if not self._transport.is_active():
                return False
            secret = asking.ask(f"{self._where}'s password")
            try:
                return self._try(lambda secret=secret: self._transport.auth_password(self._user, secret))  # type: ignore[misc]
            except paramiko.BadAuthenticationType:
                return False
            except paramiko.AuthenticationException:
                continue
        return False

    def _try(self, step: Callable[[], list[str]]) -> bool:
        """True if that was all it took. Raises: paramiko's own for a refusal; else as `log_in`."""
        refused: Exception | None = None
        with told(self._device.name, self._where), closed_after(self._timeout_s, self._transport, self._device.name):
            try:
                return not step()
            except (paramiko.AuthenticationException, paramiko.BadAuthenticationType) as error:
                if not self._transport.is_active():
                    raise
                refused = error
        raise refused


def keys(device: Device) -> Iterator[paramiko.PKey]:
    """The keys to try: the one that the device names, or the agent's and those with the usual names.

    Raises: LoginError if the named one cannot be read.
    """
    if device.identity is not None:
        yield read_key(Path(device.identity).expanduser(), device.name)
        return
    agent = paramiko.Agent()
    try:
        yield from agent.get_keys()
    finally:
        agent.close()
    for path in (Path.home() / ".ssh" / name for name in DEFAULT_KEYS):
        if path.is_file():
            try:
                yield read_key(path, device.name)
            except LoginError:
                continue  # one that was not asked for may be of a kind that nobody knows


def read_key(path: Path, name: str) -> paramiko.PKey:
    """The private key in a file; its passphrase is asked for where there is a terminal.

    Raises: LoginError.
    """
    try:
        return paramiko.PKey.from_path(path)
    except FileNotFoundError:
        raise LoginError(f"{name}: there is no key {path}") from None
    except OSError as error:
        raise LoginError(f"{name}: key {path} cannot be read ({error.strerror})") from None
    except (TypeError, paramiko.PasswordRequiredException):
        return _unlock(path, name)
    except (ValueError, UnsupportedAlgorithm, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
        raise LoginError(f"{name}: {path} is no private key that can be used ({readable(str(error), 80)})") from None


def _unlock(path: Path, name: str) -> paramiko.PKey:
    asking = terminal()
    for _ in range(TRIES if asking is not None else 0):
        assert asking is not None
        try:
            return paramiko.PKey.from_path(path, password=asking.ask(f"passphrase of {path}").encode())
        except (ValueError, paramiko.SSHException):
            continue
    raise LoginError(f"{name}: key {path} has a passphrase: `ssh-add {path}` and name no identity")
