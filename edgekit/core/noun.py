"""The base of all nouns: frozen, keyword-only, hashable values that decode from TOML and JSON, and their digest."""

import hashlib
from typing import Any, TypeVar

import msgspec

from edgekit.errors import UsageError


class Noun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value that says what something is and does nothing; fields are tuples and scalars, so it hashes."""


T = TypeVar("T")


def digest(*parts: object) -> str:
    """The sha256, in hex, of the canonical JSON of `parts`: equal values give equal digests in any process.

    >>> digest("a", 1) == digest("a", 1) != digest("a", 2)
    True
    """
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def to_json(value: object) -> bytes:
    """The canonical JSON of a noun."""
    return msgspec.json.encode(value, order="deterministic")


def to_builtins(value: object) -> Any:
    """`value` as dicts, lists and scalars, ready for any encoder."""
    return msgspec.to_builtins(value, order="deterministic")


def from_json(text: bytes | str, kind: type[T], where: str) -> T:
    """The `kind` that `text` holds.

    Raises: UsageError naming `where` and the path of the key that is wrong.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{where}: {error}") from None


def from_toml(text: str, kind: type[T], where: str) -> T:
    """The `kind` that `text` holds, as `from_json`.

    Raises: UsageError naming `where` and the line, or the path of the key that is wrong.
    """
    import tomllib  # a push reads none

    try:
        return msgspec.convert(tomllib.loads(text), type=kind)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{where}: {error}") from None


def check_schema(found: int, known: int, where: str) -> None:
    """Return if `found` is a schema number that this edgekit reads.

    Raises: UsageError if it is newer than `known`.
    """
    if not 1 <= found <= known:
        raise UsageError(f"{where}: schema {found}, and this edgekit reads 1 to {known}: install a newer edgekit")
