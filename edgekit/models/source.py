"""The user's own functions: "file.py:function", imported from a file and called."""

import contextlib
import functools
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit.errors import EdgekitError, ProjectError


def split_source(where: str) -> tuple[str, str] | None:
    """("file.py", "function") if `where` has that form.

    >>> split_source("a/model.py:net")
    ('a/model.py', 'net')
    >>> split_source("data.npz") is None
    True
    """
    file, colon, function = where.rpartition(":")
    return (file, function) if colon and file.endswith(".py") and function.isidentifier() else None


def load_function(where: str, root: Path, role: str) -> Callable[..., Any]:
    """The function that `where` ("file.py:function", relative to `root`) names.

    Raises: ProjectError: no such file, the file does not import (its own line is named), no such function.
    """
    parts = split_source(where)
    if parts is None:
        raise ProjectError(f'{role}: want "file.py:function", got {where!r}')
    path = root / parts[0]
    if not path.is_file():
        raise ProjectError(f"{role}: {path}: no such file")
    module = _module(path.resolve(), role)
    function = getattr(module, parts[1], None)
    if not callable(function):
        known = ", ".join(sorted(n for n, v in vars(module).items() if _is_own(v, module))) or "none"
        raise ProjectError(f"{role}: {path} has no function {parts[1]!r}; it has {known}")

    @functools.wraps(function)
    def beside(*args: Any) -> Any:
        with _beside(path.resolve().parent):
            result = function(*args)
            return list(result) if isinstance(result, Iterator) else result

    return beside


def _is_own(value: Any, module: ModuleType) -> bool:
    """Whether a module's value is a function that it defines, for others to call."""
    return callable(value) and getattr(value, "__module__", "") == module.__name__ and value.__name__[0] != "_"


def call(function: Callable[..., Any], role: str, *args: Any) -> Any:
    """What the user's function gives.

    Raises: ProjectError naming the user's file and line, if it raises.
    """
    try:
        return function(*args)
    except EdgekitError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise ProjectError(f"{role}: {_users_line(error)}{type(error).__name__}: {error}") from error


def _module(path: Path, role: str) -> ModuleType:
    name = f"edgekit_user_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ProjectError(f"{role}: {path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _beside(path.parent):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        raise ProjectError(f"{role}: {path}: {_users_line(error)}{type(error).__name__}: {error}") from error
    return module


_SIBLINGS: dict[Path, dict[str, ModuleType]] = {}
"""Modules that users' files have imported from their own folder, by folder."""


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """Modules beside the user's file can be imported by it, and are in nobody's way afterwards."""
    before = dict(sys.modules)
    sys.modules.update(_SIBLINGS.get(folder, {}))
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [n for n, module in sys.modules.items() if before.get(n) is not module]:
            if not name.startswith("edgekit_user_") and _lies_in(sys.modules[name], folder):
                _SIBLINGS.setdefault(folder, {})[name] = sys.modules.pop(name)
                if name in before:
                    sys.modules[name] = before[name]


def _lies_in(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return bool(file) and folder in Path(str(file)).parents and "site-packages" not in str(file)


def _users_line(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"line {error.lineno}: "
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    outside = [
        f for f in frames if Path(__file__).parent.parent not in Path(f.filename).parents and f.filename[0] != "<"
    ]
    return f"{Path(outside[-1].filename).name}:{outside[-1].lineno}: " if outside else ""
