"""Host keys: pinned, and enrolled only when asked. A key is "type base64", as in a known_hosts file.

One that begins with "@cert-authority " signs host certificates; one with "@revoked " is refused, whatever else holds.
"""

import base64
import binascii
import hashlib

from edgekit.devices.said import readable
from edgekit.errors import HostKeyError

AUTHORITY, REVOKED = "@cert-authority ", "@revoked "

KEY_TYPES = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}
"""A key's type and the signature algorithms it is asked for by."""


def fingerprint(key: str) -> str:
    """A key as people compare it, the same text that `ssh-keygen -l` prints.

    Raises: HostKeyError if it is no key.

    >>> fingerprint("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
    'SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU'
    """
    kind, _, body = key.removeprefix(AUTHORITY).removeprefix(REVOKED).partition(" ")
    try:
        raw = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if kind not in KEY_TYPES or not raw:
        raise HostKeyError(f"host key {readable(key, 60)!r}: want a type ({', '.join(KEY_TYPES)}), a space and base64")
    return "SHA256:" + base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")


def shown(key: object) -> str:
    """A key of paramiko's as "type base64"."""
    return f"{key.get_name()} {key.get_base64()}"  # type: ignore[attr-defined]


def algorithms_of(pinned: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The signature algorithms to ask a host for, so that it shows one of the pinned keys.

    Raises: HostKeyError if nothing is pinned, or what is pinned is no key.
    """
    _check_pinned(pinned, name)
    if any(key.startswith(AUTHORITY) for key in pinned):
        raise HostKeyError(f"{name}: host certificates are checked by the system's ssh only: want transport openssh")
    trusted = (key for key in pinned if not key.startswith(REVOKED))
    return tuple(algorithm for key in trusted for algorithm in KEY_TYPES[key.partition(" ")[0]])


def known_hosts(pinned: tuple[str, ...], name: str) -> str:
    """A known_hosts file for this host alone, so that it is known by any name and at any port.

    Raises: HostKeyError, as `algorithms_of`.
    """
    _check_pinned(pinned, name)
    lines = []
    for key in pinned:
        marker = next((mark for mark in (AUTHORITY, REVOKED) if key.startswith(mark)), "")
        lines.append(f"{marker}* {key.removeprefix(marker)}\n")
    return "".join(lines)


def _check_pinned(pinned: tuple[str, ...], name: str) -> None:
    for key in pinned:
        fingerprint(key)
    if all(key.startswith(REVOKED) for key in pinned):
        raise HostKeyError(f"{name}: its host key is not known: `edgekit devices add` shows it and keeps it")


def check(key: object, pinned: tuple[str, ...], name: str) -> None:
    """Returns if the key that a host shows is pinned.

    Raises: HostKeyError with both fingerprints.
    """
    got = shown(key)
    if REVOKED + got in pinned:
        raise HostKeyError(f"{name}: the host shows a revoked key, {fingerprint(got)}: nothing was sent")
    if got not in pinned:
        known = ", ".join(fingerprint(k) for k in pinned if not k.startswith(REVOKED))
        raise HostKeyError(
            f"{name}: the host shows another key, {fingerprint(got)}, than the pinned one, {known}: nothing was sent. "
            "If the machine was set up anew, remove the device and add it again"
        )
