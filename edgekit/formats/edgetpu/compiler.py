"""The file that an Edge TPU runs: made of a .tflite file by Coral's edgetpu_compiler, on the user's PATH.

What it says is read in the form that users' logs of its versions 2.0 to 16.0 show. It ends well too where it maps
nothing, so its table of operators is what counts. What an Edge TPU makes of the file cannot be run here.
"""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from edgekit.core.noun import Noun
from edgekit.core.target import Target
from edgekit.devices.said import readable
from edgekit.errors import ArtifactError, ConvertError, TargetError
from edgekit.formats.edgetpu.ops import mapped_layers
from edgekit.formats.outside import run_outside
from edgekit.formats.tflite_ops import LAYER_OPS
from edgekit.store.artifacts import DESCRIPTION
from edgekit.store.scratch import scratch

PROGRAM = "edgetpu_compiler"
GET_IT = "install Coral's edgetpu-compiler: https://coral.ai/docs/edgetpu/compiler/ (x86-64 Linux)"
RUNTIME = "edgetpu_runtime"
"""What a target requires, and a compiled file needs: the version of the Edge TPU's runtime."""
DEADLINE_S = 1800.0
ENDING = "_edgetpu"
"""What the compiler puts behind a file's name."""
SOURCE, OUT = "model.tflite", "compiled"
MADE, LOG = f"model{ENDING}.tflite", f"model{ENDING}.log"
CUSTOM_OP = b"edgetpu-custom-op"
"""The op that all that an Edge TPU runs is folded into; nothing else has a kernel for it."""
MAPPED = "Mapped to Edge TPU"
_VERSION = re.compile(r"Edge TPU Compiler version (\S+)")
_ROW = re.compile(r"^([A-Z][A-Z0-9_]*) +(\d+) +(\S.*?)\s*$", re.MULTILINE)
_COUNT = re.compile(r"Number of operations that will run on (Edge TPU|CPU): (\d+)")
_COMPLAINT = re.compile(
    r"^(?:ERROR: .+|Internal compiler error.*|Model not quantized.*|Model could not be parsed.*|Compilation failed.+)$",
    re.MULTILINE,
)


class Row(Noun, frozen=True, kw_only=True):
    """A line of the compiler's table: so many ops of a kind have this status."""

    kind: str
    count: int
    status: str

    @property
    def is_mapped(self) -> bool:
        """Whether the Edge TPU runs them."""
        return self.status == MAPPED


class Compiled(Noun, frozen=True, kw_only=True):
    """What the compiler says that it made; `version` is its own."""

    version: str
    rows: tuple[Row, ...]

    def count(self, kinds: Iterable[str] | None = None, *, mapped: bool) -> int:
        """How many ops (of these kinds) the Edge TPU runs, or the processor."""
        among = None if kinds is None else frozenset(kinds)
        return sum(r.count for r in self.rows if r.is_mapped is mapped and (among is None or r.kind in among))

    @property
    def left(self) -> str:
        """In words what the processor runs, and why; "" if nothing."""
        return ", ".join(f"{r.count} {r.kind} ({r.status})" for r in self.rows if not r.is_mapped)


def find_compiler() -> str | None:
    """The path of the user's compiler; None if there is none."""
    return shutil.which(PROGRAM)


def source_of(path: Path) -> Path:
    """The file that runs on this computer: of one for the Edge TPU that of which it was compiled, in its artifact.

    Raises: ArtifactError if that is not beside it.
    """
    if not path.is_file() or CUSTOM_OP not in path.read_bytes():
        return path
    source = path.with_name(path.name.replace(ENDING, ""))
    if source == path or not (source.is_file() and (path.parent / DESCRIPTION).is_file()):
        raise ArtifactError(
            f"{path.name}: it is compiled for the Edge TPU, and the file of which it was is not beside it in an "
            f"artifact: nothing runs it here"
        )
    return source


def runtime_of(target: Target) -> int:
    """The version of the Edge TPU's runtime that a target is for.

    Raises: TargetError if it names none.
    """
    told = dict(target.requires).get(RUNTIME, "")
    if not told.isdecimal():
        raise TargetError(
            f"target {target.name}: [requires] wants {RUNTIME}, a number such as 14, got {told or 'none'}"
        )
    return int(told)


def compile_command(program: str, folder: Path, runtime: int, deadline_s: float) -> tuple[str, ...]:
    """The words that compile model.tflite in `folder` into compiled/, with a table of all operators.

    >>> " ".join(compile_command("edgetpu_compiler", Path("/w"), 14, 60.0))
    'edgetpu_compiler -s -m 14 -t 60 -o /w/compiled /w/model.tflite'
    """
    words = ("-s", "-m", str(runtime), "-t", f"{max(deadline_s, 1):.0f}")
    return (program, *words, "-o", str(folder / OUT), str(folder / SOURCE))


def compile_edgetpu(
    source: Path, target: Target, compiler: str, folder: Path, *, deadline_s: float = DEADLINE_S
) -> tuple[Path, ...]:
    """Compiles a lowered file for the Edge TPU: model_edgetpu.tflite in `folder`, and the compiler's log of it.

    Raises: ConvertError: the compiler fails, takes too long, or leaves an int8 layer to the processor.
    """
    what = f"{PROGRAM}, for {target.name}"
    runtime = runtime_of(target)
    _, wanted = mapped_layers(source.read_bytes(), runtime)
    with scratch() as work:
        shutil.copyfile(source, work / SOURCE)
        (work / OUT).mkdir()
        command = compile_command(compiler, work, runtime, deadline_s)
        status, said = run_outside(command, work, deadline_s, what, "file for the Edge TPU")
        made = work / OUT / MADE
        if status != 0 or not made.is_file() or CUSTOM_OP not in made.read_bytes():
            raise ConvertError(f"{what}: {_why(status, said, made)}")
        compiled = check_compiled(said, wanted, what)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOG).write_text(_table(compiled))
        return Path(shutil.copyfile(made, folder / MADE)), folder / LOG


def read_said(said: str) -> Compiled | None:
    """What the compiler says that it made; None where its version or its table is not there, or they disagree.

    >>> read_said("Edge TPU Compiler version 16.0\\n\\nADD  2  Mapped to Edge TPU\\n").count(mapped=True)
    2
    """
    version = _VERSION.search(said)
    rows = tuple(Row(kind=kind, count=int(count), status=status) for kind, count, status in _ROW.findall(said))
    if version is None or not rows:
        return None
    found = Compiled(version=version[1], rows=rows)
    counts = {where == "Edge TPU": int(number) for where, number in _COUNT.findall(said)}
    if any(found.count(mapped=mapped) != number for mapped, number in counts.items()):
        return None
    return found


def check_compiled(said: str, wanted: int, what: str) -> Compiled:
    """What the compiler says, if the Edge TPU runs the `wanted` layers.

    Raises: ConvertError if it runs fewer, or the compiler does not say.
    """
    compiled = read_said(said)
    if compiled is None:
        raise ConvertError(f"{what}: does not say which operators it mapped: {readable(said) or 'it said nothing'}")
    layers = compiled.count(LAYER_OPS, mapped=True)
    if layers < wanted:
        raise ConvertError(
            f"{what}: {wanted} layers are int8, and it mapped {layers} to the Edge TPU; the processor gets "
            f"{compiled.left or 'the rest'}: leave all behind the first of these float, or take a smaller input"
        )
    return compiled


def summary(log: str) -> str:
    """The sentence for a file whose log this is; the log is one that `compile_edgetpu` wrote."""
    compiled = read_said(log)
    if compiled is None:
        return "packaged, not run"
    on = compiled.count(mapped=True)
    rest = f"; the processor runs {compiled.left}" if compiled.left else ""
    return f"{PROGRAM} {compiled.version} put {on} operators on the Edge TPU{rest}: packaged, not run"


def _table(compiled: Compiled) -> str:
    """What was said, without the paths of this computer, so that equal files give equal artifacts."""
    rows = "".join(f"{r.kind:30} {r.count:<10} {r.status}\n" for r in compiled.rows)
    return f"Edge TPU Compiler version {compiled.version}\n\n{'Operator':30} {'Count':10} Status\n\n{rows}"


def _why(status: int, said: str, made: Path) -> str:
    complaint = _COMPLAINT.search(said)
    words = readable(complaint[0] if complaint else said) or "it said nothing"
    if status:
        return f"failed (exit status {status}): {words}"
    if made.is_file() and complaint is None:
        return f"mapped nothing to the Edge TPU: {words}"
    return f"made no file: {words}"
