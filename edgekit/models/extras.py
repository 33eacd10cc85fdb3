"""The one door to optional packages."""

from importlib import import_module
from types import ModuleType

from edgekit.errors import MissingExtraError


def require(module: str, extra: str) -> ModuleType:
    """The module, imported.

    Raises: MissingExtraError with the command that installs `extra`, if the module or what it needs is missing.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module} cannot be imported ({error}): install it with pip install 'edgekit[{extra}]'"
        ) from error
