"""Work that may crash, hang or eat all memory is done in a fresh process, which is ended whole and told of in words.

A function called here has the signature `f(job: dict, arrays: dict[str, ndarray]) -> (value, arrays)`: `job` and
`value` are plain JSON, arrays go by .npz without pickle. What it prints is kept out of our own output.
"""

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgekit import errors
from edgekit.errors import ArtifactError, ConvertError, EdgekitError
from edgekit.formats.base import get_format
from edgekit.store.scratch import scratch

MEMORY_BYTES = 8 << 30
DEADLINE_S = 600.0
_NO_MEMORY = re.compile(
    r"bad_alloc|MemoryError|[Cc]annot allocate memory|[Oo]ut of memory|pthread_create failed"
    r"|[Ff]ailed to (?:map segment|allocate memory)"
)
_CHATTER = re.compile(r"^(INFO:|WARNING|[IW]\d{4} |W?\d{4}-\d\d-\d\d|\*\*\*)")
_PR_SET_PDEATHSIG = 1


class Answer(NamedTuple):
    """What a function in a child gave back."""

    value: Any
    arrays: dict[str, np.ndarray]


def call_in_child(
    function: str, job: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None, *,
    what: str, error: type[EdgekitError] = ConvertError,
    deadline_s: float = DEADLINE_S, memory_bytes: int = MEMORY_BYTES,
) -> Answer:  # fmt: skip
    """The answer of "module:function", called in a fresh interpreter. `what` begins the message if it fails.

    `memory_bytes` bounds the child's address space. Ctrl-C here, or our own death, ends the child with all that it
    started.

    Raises: edgekit's own errors as the function raised them; `error` for all else: any other exception, a crash, no
    answer within `deadline_s`, too little memory.
    """
    with scratch() as folder:
        np.savez(folder / "in.npz", **dict(arrays or {}))  # type: ignore[arg-type]
        limits = {"memory_bytes": memory_bytes, "parent": os.getpid()}
        (folder / "job.json").write_text(json.dumps({"function": function, "job": dict(job), **limits}))
        status = _run(folder, deadline_s)
        if status is None:
            raise error(f"{what}: no result after {deadline_s:g} s, so it was ended")
        said = folder / "answer.json"
        if status != 0 or not said.is_file():
            raise error(f"{what}: {_post_mortem(status, folder / 'said.txt', memory_bytes)}")
        answer = json.loads(said.read_text())
        if "failure" in answer:
            raise _failure(answer, what, error, memory_bytes)
        with np.load(folder / "out.npz", allow_pickle=False) as archive:
            return Answer(answer["value"], {name: archive[name] for name in archive.files})


def run_model(
    format_name: str, path: Path, inputs: tuple[np.ndarray, ...], *,
    threads: int = 1, rows: Sequence[int] = (), deadline_s: float = DEADLINE_S, memory_bytes: int = MEMORY_BYTES,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """The outputs of a model file for inputs with the sample first, computed by its runtime in a child process.

    `rows` are as in `Format.run`.

    Raises: ArtifactError: the runtime refuses it, crashes, takes too long or too much memory.
    """
    limits = {"threads": threads, "rows": rows, "deadline_s": deadline_s, "memory_bytes": memory_bytes}
    return run_models(format_name, [path], inputs, **limits)[0]  # type: ignore[arg-type]


def run_models(
    format_name: str, paths: Sequence[Path], inputs: tuple[np.ndarray, ...], *,
    threads: int = 1, rows: Sequence[int] = (), deadline_s: float = DEADLINE_S, memory_bytes: int = MEMORY_BYTES,
) -> tuple[tuple[np.ndarray, ...], ...]:  # fmt: skip
    """As `run_model`, of several files one after the other in one child: all of them, or an error."""
    names = ", ".join(dict.fromkeys(path.name for path in paths))
    answer = call_in_child(
        "edgekit.formats.child:run_files",
        {"format": format_name, "paths": [str(path) for path in paths], "threads": threads, "rows": list(rows)},
        {f"in_{i}": a for i, a in enumerate(inputs)},
        what=f"{names}: its runtime", error=ArtifactError, deadline_s=deadline_s, memory_bytes=memory_bytes,
    )  # fmt: skip
    return tuple(
        tuple(answer.arrays[f"out_{file}_{i}"] for i in range(outputs)) for file, outputs in enumerate(answer.value)
    )


def run_files(job: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[list[int], dict[str, np.ndarray]]:
    """In the child: how many outputs each of the files at `paths` has, and all of them, by its format's runtime."""
    inputs = tuple(arrays[f"in_{i}"] for i in range(len(arrays)))
    back_end = get_format(job["format"])
    how = {"threads": job["threads"], "rows": job["rows"]}
    outputs = [back_end.run(Path(path), inputs, **how) for path in job["paths"]]
    named = {f"out_{file}_{i}": array for file, some in enumerate(outputs) for i, array in enumerate(some)}
    return [len(some) for some in outputs], named


def _run(folder: Path, deadline_s: float) -> int | None:
    """The child's exit status; None if it had to be ended."""
    command = (sys.executable, "-P", "-m", "edgekit.formats.child", str(folder))
    with (folder / "said.txt").open("wb") as said:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
        try:
            return child.wait(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _failure(answer: dict[str, Any], what: str, error: type[EdgekitError], memory_bytes: int) -> EdgekitError:
    """The error that the function raised, as it was if it is one of edgekit's own."""
    if _NO_MEMORY.search(f"{answer['failure']}: {answer['text']}"):
        return error(f"{what}: {_too_little(memory_bytes)}")
    own = getattr(errors, answer["failure"], None)
    if isinstance(own, type) and issubclass(own, EdgekitError):
        return own(answer["text"])
    return error(f"{what}: {answer['failure']}: {answer['text']}")


def _post_mortem(status: int, said: Path, memory_bytes: int) -> str:
    """Why a child ended without an answer, with the last line that means something."""
    with said.open("rb") as file:
        file.seek(max(0, said.stat().st_size - 4096))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    lines = [line for line in lines if line and not _CHATTER.match(line)]
    if any(map(_NO_MEMORY.search, lines)):
        return _too_little(memory_bytes)
    last = f": {lines[-1][:300]}" if lines else ""
    return f"crashed ({signal.Signals(-status).name}){last}" if status < 0 else f"ended with status {status}{last}"


def _too_little(memory_bytes: int) -> str:
    return f"needs more than {memory_bytes >> 20} MiB of memory"


def _main(folder: Path) -> None:
    request = json.loads((folder / "job.json").read_text())
    _bound(request["memory_bytes"], request["parent"])
    arrays: Mapping[str, np.ndarray] = {}
    try:
        module, _, name = request["function"].partition(":")
        with np.load(folder / "in.npz", allow_pickle=False) as archive:
            taken = {key: archive[key] for key in archive.files}
        value, arrays = getattr(import_module(module), name)(request["job"], taken)
        answer = {"value": value}
    except Exception as error:  # noqa: BLE001  all of it is told to the caller
        text = [line.strip() for line in str(error).splitlines() if line.strip()]
        whole = isinstance(error, EdgekitError) or not text
        answer = {"failure": type(error).__name__, "text": str(error) if whole else text[0][:500]}
    np.savez(folder / "out.npz", **arrays)  # type: ignore[arg-type]
    (folder / "answer.json").write_text(json.dumps(answer))


def _bound(memory_bytes: int, parent: int) -> None:
    """Limits this process, and lets it die with its parent where the system can do that."""
    import resource

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the parent is gone")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
