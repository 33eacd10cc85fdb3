"""What the bare package can do: no torch, no converter, no runtime on the host."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BARE = """
import sys

HIDDEN = {"torch", "torchao", "safetensors", "onnx", "onnx_ir", "onnxscript", "onnxruntime"}
HIDDEN |= {"litert_torch", "ai_edge_litert"}


class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Hide())
from edgekit.cli.main import main

main(sys.argv[1:])
"""


def bare(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"EDGEKIT_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    command = (sys.executable, "-c", BARE, *words)
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    "words",
    [
        ("targets", "list"),
        ("devices", "list"),
        ("devices", "probe", "local"),
        ("artifacts", "list"),
        ("report",),
        ("gc",),
        ("bench", "--help"),
        ("push", "--help"),
        ("tune", "--help"),
    ],
)
def test_what_needs_no_torch_works_without_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = bare(tmp_path, *words)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("tune", "project.toml"), "onnx"),
        (("tune", "project.toml", "--target", "tflite-x86_64"), "tflite"),
        (("convert", "project.toml", "--target", "onnx-x86_64"), "onnx"),
        (("compress", "project.toml", "--out", "small.pt2"), "compress"),
    ],
)
def test_what_needs_torch_says_how_to_get_it(tmp_path: Path, words: tuple[str, ...], extra: str) -> None:
    done = bare(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert f"pip install 'edgekit[{extra}]'" in done.stderr


def test_the_modules_of_measuring_and_pushing_load_no_torch(tmp_path: Path) -> None:
    show = "import json, sys, edgekit.pipeline.alone, edgekit.pipeline.push; print(json.dumps([*sys.modules]))"
    done = subprocess.run((sys.executable, "-c", show), capture_output=True, text=True, check=True)
    assert not {"torch", "onnx", "onnxruntime", "ai_edge_litert"} & set(json.loads(done.stdout))
