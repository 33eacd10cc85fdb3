"""Reads the catalog's TOML files, from a checkout or from the installed package."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgekit.core.noun import check_schema
from edgekit.errors import UsageError

PACKAGE = Path(__file__).resolve().parent
SCHEMA = 1
T = TypeVar("T")


def catalog_folder(kind: str) -> Path:
    """Where the files of `kind` (targets, firmware_profiles) are: in the wheel's data, or at the top of a checkout.

    Raises: UsageError if neither is there.
    """
    for folder in (PACKAGE / "data" / kind, PACKAGE.parent.parent / kind):
        if folder.is_dir():
            return folder
    raise UsageError(f"{PACKAGE / 'data' / kind}: missing from this installation: install edgekit again")


def read_folder(folder: Path, kind: type[T], tables: Sequence[str]) -> tuple[T, ...]:
    """The nouns of a folder's *.toml, by name; `tables` are the dotted keys whose tables become tuples of pairs.

    Raises: UsageError naming the file and the key that is wrong.
    """
    paths = sorted(folder.glob("*.toml"), key=lambda path: path.stem)
    return tuple(read_file(path, kind, tables) for path in paths)


def read_file(path: Path, kind: type[T], tables: Sequence[str]) -> T:
    """The noun in one file; its `name` is the file's stem.

    Raises: UsageError naming the file and the key that is wrong.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", path.stem):
        raise UsageError(f"{path}: a file's name must be small letters, digits, '.', '_' or '-'")
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        if "name" in content:
            raise UsageError(f"{path}: `name` is the file's own name: remove the key")
        check_schema(_schema(content, path), SCHEMA, str(path))
        for key in tables:
            _to_pairs(content, key.split("."))
        return msgspec.convert(content | {"name": path.stem}, type=kind)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{path}: {error}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None


def _schema(content: dict[str, Any], path: Path) -> int:
    found = content.get("schema")
    if not isinstance(found, int):
        raise UsageError(f"{path}: want `schema = {SCHEMA}`, got {found!r}")
    return found


def _to_pairs(content: dict[str, Any], keys: Sequence[str]) -> None:
    """Puts a tuple of (key, value) in place of the table at `keys`, where there is one."""
    for key in keys[:-1]:
        inner = content.get(key)
        if not isinstance(inner, dict):
            return
        content = inner
    table = content.get(keys[-1])
    if isinstance(table, dict):
        content[keys[-1]] = tuple(table.items())
