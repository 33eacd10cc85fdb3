"""NVIDIA's own ONNX parser, where TensorRT-RTX is installed: does it read the file? No engine is built, nothing is run.

TensorRT-RTX is another product than the TensorRT of a Jetson, and newer: what it takes an older one may refuse.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.devices.said import readable
from edgekit.errors import ArtifactError, MissingExtraError
from edgekit.formats.child import call_in_child
from edgekit.models.extras import require

MODULE, EXTRA = "tensorrt_rtx_bindings", "tensorrt-rtx"
DEADLINE_S = 300.0
MEMORY_BYTES = 64 << 30
"""Address space: CUDA's libraries reserve much and use little."""
NOT_DONE = f"not read by NVIDIA's own parser: pip install 'edgekit[{EXTRA}]' brings it"


def parser_words(path: Path) -> str:
    """What NVIDIA's parser says of an ONNX file, in a sentence with its name; where it is not there, or dies, that."""
    if find_spec(MODULE) is None:
        return NOT_DONE
    try:
        found = call_in_child(
            "edgekit.formats.tensorrt_parser:parse", {"path": str(path)}, what="it failed",
            error=ArtifactError, deadline_s=DEADLINE_S, memory_bytes=MEMORY_BYTES,
        ).value  # fmt: skip
    except (ArtifactError, MissingExtraError) as error:
        return f"not read by NVIDIA's own parser: {error}"
    whose = f"TensorRT-RTX {readable(found['version'], 40)}'s parser"
    if found["read"]:
        return f"parsed by {whose}; no engine was built or run"
    return f"REFUSED by {whose}: {'; '.join(readable(error) for error in found['errors']) or 'it gives no reason'}"


def parse(job: dict[str, Any], _: dict[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray]]:
    """In the child: the parser's version, whether it read the file, and of each error op, node and reason."""
    trt = require(MODULE, extra=EXTRA)
    logger = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(logger).create_network(0)
    parser = trt.OnnxParser(network, logger)
    read = bool(parser.parse_from_file(job["path"])) and network.num_outputs > 0
    errors = [parser.get_error(i) for i in range(min(parser.num_errors, 8))]
    words = [f"{_where(error)}{error.desc()}" for error in errors]
    return {"version": str(trt.__version__), "read": read, "errors": words}, {}


def _where(error: Any) -> str:
    return f"op {error.node_operator()} ({error.node_name()}): " if error.node_operator() else ""
