"""Model files are run in a process of their own: a damaged or hostile one can take down whoever loads it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from edgekit.errors import ArtifactError
from edgekit.formats.base import get_format

MEMORY_BYTES = 8 << 30
DEADLINE_S = 600.0


def run_model(
    format_name: str, path: Path, inputs: tuple[np.ndarray, ...], *,
    threads: int = 1, deadline_s: float = DEADLINE_S, memory_bytes: int = MEMORY_BYTES,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """The outputs of a model file for inputs with the sample first, computed by its runtime in a child process.

    Raises: ArtifactError: the runtime refuses it, crashes, takes too long or too much memory.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-run-") as scratch:
        folder = Path(scratch)
        np.savez(folder / "in.npz", **{f"a{i}": a for i, a in enumerate(inputs)})  # type: ignore[arg-type]
        job = {"format": format_name, "path": str(path), "folder": scratch, "threads": threads, "memory": memory_bytes}
        _run_child(json.dumps(job), path, deadline_s)
        with np.load(folder / "out.npz", allow_pickle=False) as archive:
            return tuple(archive[f"a{i}"] for i in range(len(archive.files)))


def _run_child(job: str, path: Path, deadline_s: float) -> None:
    command = (sys.executable, "-m", "edgekit.formats.child")
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        _, said = child.communicate(job.encode(), timeout=deadline_s)
    except subprocess.TimeoutExpired:
        raise ArtifactError(f"{path.name}: no result after {deadline_s:.0f} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    if child.returncode == 0:
        return
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    last = lines[-1][:300] if lines else "it said nothing"
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise ArtifactError(f"{path.name}: its runtime crashed ({name}): {last}")
    raise ArtifactError(f"{path.name}: its runtime refuses it: {last}")


def _main() -> None:
    import resource

    job = json.loads(sys.stdin.read())
    resource.setrlimit(resource.RLIMIT_AS, (job["memory"], job["memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    folder = Path(job["folder"])
    with np.load(folder / "in.npz", allow_pickle=False) as archive:
        inputs = tuple(archive[f"a{i}"] for i in range(len(archive.files)))
    outputs = get_format(job["format"]).run(Path(job["path"]), inputs, threads=job["threads"])
    np.savez(folder / "out.npz", **{f"a{i}": a for i, a in enumerate(outputs)})  # type: ignore[arg-type]


if __name__ == "__main__":
    _main()
