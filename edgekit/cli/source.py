"""Whether a model's source is there, found without running it."""

import ast
import os
from pathlib import Path

from edgekit.errors import UsageError


def check_source(source: str, folder: Path) -> str:
    """`source`, as it is written in a project.toml in `folder`: its path relative to that folder.

    Raises: UsageError naming the file or the function that is missing.
    """
    file, _, function = source.partition(":") if ".py" in source else (source, "", "")
    path = Path(file)
    if path.suffix not in {".py", ".pt2", ".onnx"}:
        raise UsageError(f"model {source!r}: want file.py:function, a .pt2 or an .onnx")
    if not path.is_file():
        raise UsageError(f"{file}: no such file")
    if path.suffix == ".py":
        _check_function(path, function)
    relative = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    return f"{relative}:{function}" if function else relative


def _check_function(path: Path, function: str) -> None:
    try:
        names = top_level_names(path.read_text("utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not Python that can be read ({error})") from None
    if function not in names:
        said = f"no function {function!r}" if function else "which function gives the model? want file.py:function"
        raise UsageError(f"{path}: {said}; it has {', '.join(sorted(names)[:8]) or 'none'}")


def top_level_names(text: str) -> set[str]:
    """The names that a module's text binds: functions, classes, assignments, imports.

    Raises: SyntaxError.

    >>> sorted(top_level_names("import math as m\\ndef net(): ...\\nsmall = net"))
    ['m', 'net', 'small']
    """
    names: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names
