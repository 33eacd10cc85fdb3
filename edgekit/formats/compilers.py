"""The compilers that users bring: for which targets, where they are found, and what they make."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from edgekit.core.target import Target
from edgekit.errors import ConvertError
from edgekit.formats.dpu import xmodel
from edgekit.formats.edgetpu import compiler as edgetpu

PROOF = "verified on this computer but for what the compiler made of it, which was not run here"


class UserCompiler(NamedTuple):
    """A program that is part of no package: without it there is no `makes`, never a stand-in.

    `find` gives what `compile` is told of it, which says where it is as text, or None. `compile` is given a lowered
    file, its target, what was found and a folder, and gives the files that it made there, that a runtime loads first.
    """

    program: str
    makes: str
    get_it: str
    find: Callable[[], Any]
    compile: Callable[[Path, Target, Any, Path], tuple[Path, ...]]

    def need(self) -> Any:
        """As `find`.

        Raises: ConvertError if there is none, with what brings it.
        """
        if (found := self.find()) is None:
            raise ConvertError(f"no {self.program} on the PATH, so no {self.makes}: {self.get_it}")
        return found


VAI_C_XIR = UserCompiler(xmodel.PROGRAM, ".xmodel", xmodel.GET_IT, xmodel.find_compiler, xmodel.compile_xmodel)
EDGETPU = UserCompiler(
    edgetpu.PROGRAM, "file for the Edge TPU", edgetpu.GET_IT, edgetpu.find_compiler, edgetpu.compile_edgetpu
)
COMPILERS = {("vitis_ai", None): VAI_C_XIR, ("tflite", "edgetpu"): EDGETPU}
"""By a target's format and accelerator."""


def compiler_of(target: Target) -> UserCompiler | None:
    """The compiler that makes, on this computer, what a target's runtime loads; None where none is needed."""
    return COMPILERS.get((target.format, target.accelerator)) if target.build == "host" else None
