"""The .xmodel of a Vitis AI file: made by AMD's compiler, which the user brings. It is on the PATH, or in an image.

The compiler is part of AMD's Vitis AI containers and of no package. An image is named by EDGEKIT_VITIS_AI_IMAGE and is
never fetched. What a DPU makes of an .xmodel cannot be run here.
"""

import json
import os
import re
import shutil
from pathlib import Path

from edgekit.core.noun import Noun
from edgekit.core.target import Target
from edgekit.devices.said import readable
from edgekit.errors import ConvertError
from edgekit.formats.outside import run_outside
from edgekit.store.scratch import scratch

PROGRAM = "vai_c_xir"
IMAGE = "EDGEKIT_VITIS_AI_IMAGE"
DEADLINE_S, GRACE_S = 1800.0, 30.0
"""How long a compilation may take, and how much longer a container may take to end by itself."""
NET, SOURCE, ARCH, OUT = "model", "model.onnx", "arch.json", "compiled"
GET_IT = f"run edgekit inside AMD's Vitis AI 3.0 container, or set {IMAGE} to the name of its image, for docker"
_ACTIVATE = ". /opt/vitis_ai/conda/etc/profile.d/conda.sh && conda activate vitis-ai-pytorch"
"""The containers keep the compiler in a conda environment, which a login shell alone does not enter."""
_SUBGRAPHS = re.compile(r"DPU subgraph number (\d+)")
_COMPLAINT = re.compile(r"\[UNILOG\]\[(?:FATAL|ERROR)\].*|^\[?ERROR\]?:? .*|^\w*(?:Error|Exception): .*", re.MULTILINE)


class Compiler(Noun, frozen=True, kw_only=True):
    """Where the compiler is: a program of this computer, or docker and the image that it is in."""

    program: str
    image: str | None = None

    def __str__(self) -> str:
        return f"{self.program}, image {self.image}" if self.image else self.program


def find_compiler() -> Compiler | None:
    """The user's compiler, on the PATH before in an image; None if there is none."""
    if (program := shutil.which(PROGRAM)) is not None:
        return Compiler(program=program)
    image, docker = os.environ.get(IMAGE), shutil.which("docker")
    return Compiler(program=docker, image=image) if image and docker else None


def compile_command(compiler: Compiler, folder: Path, deadline_s: float, user: tuple[int, int]) -> tuple[str, ...]:
    """The words that compile model.onnx in `folder` for arch.json there, into compiled/.

    In a container `user` owns what is written, nothing reaches the network, and the deadline is kept inside too:
    ending docker's client would leave the container running.

    >>> compile_command(Compiler(program="vai_c_xir"), Path("/w"), 60, (0, 0))
    ('vai_c_xir', '-x', '/w/model.onnx', '-a', '/w/arch.json', '-o', '/w/compiled', '-n', 'model')
    """
    if compiler.image is None:
        return (compiler.program, *_options(str(folder)))
    inside = " ".join((PROGRAM, *_options("/edgekit")))
    return (
        compiler.program, "run", "--rm", "--init", "--pull=never", "--network=none",
        "--user", f"{user[0]}:{user[1]}", "--env", "HOME=/tmp", "--env", "USER=edgekit",
        "--volume", f"{folder}:/edgekit", "--workdir", "/edgekit", "--entrypoint", "bash",
        compiler.image, "-c", f"{_ACTIVATE} && exec timeout --kill-after=10 {deadline_s:.0f} {inside}",
    )  # fmt: skip


def _options(folder: str) -> tuple[str, ...]:
    return ("-x", f"{folder}/{SOURCE}", "-a", f"{folder}/{ARCH}", "-o", f"{folder}/{OUT}", "-n", NET)


def compile_xmodel(
    source: Path, target: Target, compiler: Compiler, folder: Path, *, deadline_s: float = DEADLINE_S
) -> tuple[Path, ...]:
    """Compiles a lowered file for the target's DPU: model.xmodel in `folder`, and nothing else.

    Raises: ConvertError: the compiler fails, takes too long, or makes no single program for the DPU.
    """
    what = f"{PROGRAM}, for {target.name}"
    with scratch() as work:
        shutil.copyfile(source, work / SOURCE)
        (work / ARCH).write_text(json.dumps({"fingerprint": dict(target.requires)["dpu_fingerprint"]}))
        (work / OUT).mkdir()
        command = compile_command(compiler, work, deadline_s, (os.getuid(), os.getgid()))
        grace_s = 0.0 if compiler.image is None else GRACE_S
        status, said = run_outside(command, work, deadline_s + grace_s, what, ".xmodel")
        made = work / OUT / f"{NET}.xmodel"
        if status != 0 or not made.is_file() or made.stat().st_size == 0:
            raise ConvertError(f"{what}: {_why(status, said)}")
        check_subgraphs(said, what)
        folder.mkdir(parents=True, exist_ok=True)
        return (Path(shutil.copyfile(made, folder / made.name)),)


def check_subgraphs(said: str, what: str) -> None:
    """Return if the compiler says that it made one program for the DPU, which is what xdputil and VART run.

    Raises: ConvertError if it made another number, or says none.
    """
    numbers = _SUBGRAPHS.findall(said)
    if not numbers:
        raise ConvertError(
            f"{what}: does not say how many DPU subgraphs it made: {readable(said) or 'it said nothing'}"
        )
    if int(numbers[-1]) != 1:
        raise ConvertError(
            f"{what}: made {int(numbers[-1])} subgraphs for the DPU, want 1: what it runs on the processor cuts the "
            f"model; leave no layer in fp32 but the first or the last"
        )


def _why(status: int, said: str) -> str:
    complaints = _COMPLAINT.findall(said)
    last = readable(complaints[-1] if complaints else said) or "it said nothing"
    return f"failed (exit status {status}): {last}" if status else f"made no .xmodel: {last}"
