"""Makes lowered files fit for the Edge TPU's compiler, or says which layer keeps them from it."""

from collections.abc import Sequence
from pathlib import Path

from edgekit.core.target import Target
from edgekit.errors import ConvertError
from edgekit.formats.edgetpu.compiler import runtime_of
from edgekit.formats.edgetpu.ops import mapped_layers
from edgekit.formats.edgetpu.rewrite import rewritten


def fit(model: str, target: Target, paths: Sequence[Path]) -> None:
    """Changes the files at `paths` where they are, so that the Edge TPU runs each int8 layer of them.

    Raises: ConvertError naming what keeps it from that, with its limit and a rewrite, and no file is left; TargetError
    if the target names no runtime.
    """
    runtime = runtime_of(target)
    for path in paths:
        content = rewritten(path.read_bytes())
        broken, layers = mapped_layers(content, runtime)
        if broken or not layers:
            for other in paths:
                other.unlink(missing_ok=True)
            more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
            why = (
                f"{broken[0]}{more}" if broken else "none of its layers is int8, so nothing of it runs on the Edge TPU"
            )
            raise ConvertError(f"model {model}, {why}")
        path.write_bytes(content)
