"""What a user's function does, as a digest: a metric has no file of its own, and a resumed study must know it again."""

import functools
import hashlib
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

INSTALLED = (
    *(sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")),
    str(Path(__file__).parents[1]),
)


def function_digest(function: Callable[..., Any]) -> str:
    """Digest of a function's code, its defaults, what it closes over and the functions of the user's that it uses.

    Comments, line numbers and the file's place do not count; a function of an installed package counts by its name,
    an object whose content cannot be seen by its type.

    >>> function_digest(lambda x: x + 1) == function_digest(lambda x: x + 1) != function_digest(lambda x: x + 2)
    True
    """
    seen = hashlib.sha256()
    for text in _said(function, {}):
        seen.update(f"{len(text)}:{text}".encode())
    return seen.hexdigest()


def _said(value: Any, met: dict[int, Any]) -> Iterator[str]:
    """`value` in words that are the same in any process; what was met before (and is held there) is not entered."""
    yield type(value).__qualname__
    if value is None or isinstance(value, str | int | float | complex | bytes | ModuleType):
        yield value.__name__ if isinstance(value, ModuleType) else repr(value)
        return
    if id(value) in met:
        return
    met[id(value)] = value
    for part in _parts(value):
        yield from _said(part, met)


def _parts(value: Any) -> Iterator[Any]:
    match value:
        case CodeType():
            yield from (value.co_code, value.co_names, value.co_freevars, *value.co_consts)
        case FunctionType() if value.__code__.co_filename.startswith(INSTALLED):
            yield from (value.__globals__["__name__"], value.__code__.co_qualname, getattr(value, "__wrapped__", None))
        case FunctionType():
            cells = (_content(cell) for cell in value.__closure__ or ())
            used = {name: value.__globals__[name] for name in _names(value.__code__) if name in value.__globals__}
            yield from (value.__code__, value.__defaults__, value.__kwdefaults__, *cells, used)
        case MethodType():
            yield from (value.__func__, value.__self__)
        case functools.partial():
            yield from (value.func, value.args, value.keywords)
        case dict():
            yield from (part for key in sorted(value, key=repr) for part in (key, value[key]))
        case set() | frozenset():
            yield from sorted(map(repr, value))
        case list() | tuple():
            yield from value
        case type():
            yield from (value.__module__ if _is_installed(value.__module__) else "", value.__qualname__)
            yield from (part for part in vars(value).values() if isinstance(part, FunctionType))
        case np.ndarray():
            yield from (value.dtype.str, value.shape, value.tobytes())
        case _ if hasattr(value, "detach"):
            yield value.detach().cpu().numpy()
        case _:
            state = {k: v for k, v in getattr(value, "__dict__", {}).items() if k != "__module__"}
            yield from (type(value), getattr(value, "__qualname__", None), state)


def _names(code: CodeType) -> Iterator[str]:
    yield from sorted(code.co_names)
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names(const)


def _is_installed(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return module != "__main__" and (file is None or file.startswith(INSTALLED))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # named, and not yet filled
        return None
