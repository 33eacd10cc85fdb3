"""edgekit as a Python program uses it: objects in, nouns out, on this computer as the device."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import edgekit as ek
from edgekit.devices.connect import connect
from edgekit.devices.inventory import get_device
from edgekit.devices.lease import lock, unlock
from edgekit.errors import LeaseError
from edgekit.models.source import load_function
from edgekit.pipeline.given import given_job

SHAPE = (1, 1, 8, 8)
INPUTS = np.random.default_rng(0).normal(size=(200, *SHAPE[1:])).astype(np.float32)
LABELS = INPUTS.reshape(200, -1)[:, :4].argmax(1)
EXAMPLE = torch.zeros(SHAPE)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Dropout(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4)
    )


def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for start in range(0, 200, 50):
        yield torch.from_numpy(INPUTS[start : start + 50]), torch.from_numpy(LABELS[start : start + 50])


def accuracy(outputs: np.ndarray, labels: np.ndarray) -> float:
    """A user's own figure, with the name of one of edgekit's."""
    return float((outputs.argmax(1) == labels).mean())


def job(model: Any = None, example: Any = EXAMPLE, **more: Any):
    data = {"calibration": (INPUTS, LABELS)} | {
        k: more.pop(k) for k in ("calibration", "validation", "test") if k in more
    }
    return given_job(net() if model is None else model, example, data=data, **more)


SCRIPT = """
import sys
import edgekit as ek, numpy as np, torch

def accuracy(outputs, labels):
    return float((outputs.argmax(1) == labels).mean())

def batches():
    x = np.random.default_rng(0).normal(size=(80, 1, 8, 8)).astype(np.float32)
    for part in np.split(x, 4):
        yield torch.from_numpy(part), torch.from_numpy(part.reshape(20, -1)[:, :4].argmax(1))

def net():
    torch.manual_seed(0)
    head = torch.nn.Flatten(), torch.nn.Linear(288, 4)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Dropout(), *head)

def tuned(model, hear):
    return ek.tune(
        model, torch.zeros(1, 1, 8, 8), calibration=batches(), evaluate=accuracy, devices=["local"], max_drop=0.5,
        pushes=4, install=False, listen=hear,
    )

if __name__ == "__main__":
    heard = []
    print(tuned(net(), heard.append).study().id, sum(event.stage == "measure" for event in heard))
"""


def test_a_model_is_tuned_and_its_choice_compared_pushed_and_reported(tmp_path: Path) -> None:
    """The same call in another process then goes on where it was: a metric is known again by what it does."""
    (tmp_path / "one.py").write_text(SCRIPT)
    net, tuned, batches = (load_function(f"one.py:{name}", tmp_path, "test") for name in ("net", "tuned", "batches"))
    heard: list[ek.Event] = []
    own = net().train()
    study = tuned(own, heard.append)
    choice = study.choice("local")
    assert choice == study.choice() == study.studies[0].choice
    assert (choice.test[0].metric, choice.test[0].samples) == ("accuracy", 30)
    assert own.training, "the caller's module is as it was"
    assert {"load", "measure", "test"} <= {event.stage for event in heard}
    with pytest.raises(ek.EdgekitError, match="device 'pi5': want one of local"):
        study.choice("pi5")
    forms = {"calibration": batches(), "target": choice.target}
    float_form = ek.convert(own, EXAMPLE, recipe="float", **forms).artifact
    int8 = ek.convert(own, EXAMPLE, **forms).artifact
    assert (ek.artifact_folder(int8) / int8.model_file).is_file()
    compared = ek.compare(float_form, int8.id[:8])
    assert (compared.comparison.baseline, compared.comparison.candidate) == (float_form.id, int8.id)
    assert ek.push(choice.artifact, device="local").deployment.version.endswith(choice.artifact)
    nobody_else_is_let_in(float_form, int8)
    ek.write_report(study.study("local"), tmp_path / "page.html")
    assert choice.trial in (tmp_path / "page.html").read_text()
    (tmp_path / "two.py").write_text(f"# the same, further down\n\n{SCRIPT}")
    words, env = (sys.executable, "two.py"), os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [study.study().id, "0"]


def nobody_else_is_let_in(one: ek.Artifact, other: ek.Artifact) -> None:
    """While somebody has the device, neither is anything measured nor installed by others there."""
    local = get_device("local")
    with connect(local) as way:
        with patch.dict(os.environ, LOGNAME="bob"):
            lock(way, local, for_s=600)
        for refused in (lambda: ek.compare(one, other), lambda: ek.push(one, device="local")):
            with pytest.raises(LeaseError, match="locked by bob@"):
                refused()
        unlock(way, local, whose="anyone's")


def test_another_metric_of_the_same_name_is_another_job() -> None:
    def worse(outputs: np.ndarray, labels: np.ndarray) -> float:
        return float((outputs.argmin(1) == labels).mean())

    worse.__name__ = "accuracy"
    assert len({job(evaluate=metric).digest for metric in (accuracy, worse, "accuracy")}) == 3
    assert job(evaluate=accuracy).digest == job(evaluate=accuracy).digest


def test_a_program_applied_in_torch_computes_what_its_recipe_says() -> None:
    program = ek.apply_recipe("int8", net(), EXAMPLE, calibration=INPUTS, target="onnx-x86_64")
    assert "quantize_per_tensor" in str(program.graph)
    floats = ek.apply_recipe("float", net(), EXAMPLE, calibration=INPUTS, target="onnx-x86_64")
    one = torch.from_numpy(INPUTS[:1])
    assert torch.allclose(floats.module()(one), net().eval()(one), atol=1e-6)


class Reading:
    """A data set as torch has them, that cannot be iterated to its end."""

    def __len__(self) -> int:
        return 200

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(INPUTS[index % 200]), int(LABELS[index % 200])


TENSORS = (torch.from_numpy(INPUTS), torch.from_numpy(LABELS))


@pytest.mark.parametrize(
    "data",
    [
        (INPUTS, LABELS),
        TENSORS,
        batches,
        Reading(),
        TensorDataset(*TENSORS),
        DataLoader(TensorDataset(*TENSORS), batch_size=64),
        [(x, int(y)) for x, y in zip(INPUTS, LABELS, strict=True)],
    ],
    ids=["arrays", "tensors", "batches", "data set", "tensor data set", "loader", "list of samples"],
)
def test_data_in_each_form_are_the_same_samples(data: Any) -> None:
    given = {role: data() if callable(data) else data for role in ("calibration", "validation", "test")}
    assert job(**given).digest == job(validation=(INPUTS, LABELS), test=(INPUTS, LABELS)).digest


def test_what_is_not_given_is_split_off_so_that_no_sample_is_in_two_splits() -> None:
    made = job().data
    rows = {role: {row.tobytes() for row in samples.inputs[0]} for role, samples in made.items()}
    assert {role: len(samples) for role, samples in made.items()} == {"calibration": 50, "validation": 75, "test": 75}
    assert sum(map(len, rows.values())) == len(set().union(*rows.values())) == 200
    for samples in made.values():
        assert np.array_equal(samples.labels, samples.inputs[0].reshape(len(samples), -1)[:, :4].argmax(1))
    assert {role: len(s) for role, s in job(validation=(INPUTS, LABELS)).data.items()} == {
        "calibration": 200, "validation": 100, "test": 100,
    }  # fmt: skip


def test_a_model_may_be_a_module_a_program_or_a_file(tmp_path: Path) -> None:
    exported = torch.export.export(net().eval(), (EXAMPLE,))
    torch.export.save(exported, tmp_path / "net.pt2")
    (tmp_path / "model.py").write_text("import torch\ndef net(): return torch.nn.Flatten()\n")
    one = torch.from_numpy(INPUTS[:1])
    wanted = net().eval()(one)
    for made in (
        job(),
        job(exported, None),
        job(tmp_path / "net.pt2", None),
        job(str(tmp_path / "net.pt2"), INPUTS[:1]),
    ):
        assert torch.allclose(made.model.module(one), wanted, atol=1e-6)
    assert job(f"{tmp_path / 'model.py'}:net", evaluate="agreement").project.name == "model"


PROJECT = """
name = "tiny"
[model]
source = "model.py:net"
shape = [1, 4]
[data]
calibration = "model.py:data"
validation = "model.py:data"
test = "model.py:data"
[metric]
name = "agreement"
"""
MODEL = """
import torch
def net(): return torch.nn.Linear(4, 2)
def data(): return torch.zeros(8, 4)
"""


def test_a_project_may_be_a_file_or_a_noun_and_what_is_given_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "project.toml").write_text(PROJECT)
    made = given_job(
        tmp_path / "project.toml", None, data={}, evaluate=accuracy, words={"pushes": 7}, max_drop={"accuracy": "3%"}
    )
    assert (made.project.budget.pushes, made.project.name, made.metric) == (7, "tiny", accuracy)
    assert made.project.metric.bound[0].max_drop == "3%"
    monkeypatch.chdir(tmp_path)
    assert given_job(made.project, None, data={}, evaluate="agreement").project.metric.name == "agreement"
    with pytest.raises(ek.EdgekitError, match="calibration: a project names its own"):
        given_job(str(tmp_path / "project.toml"), None, data={"calibration": INPUTS})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"devices": "nope"}, "device 'nope'"),
        ({"devices": []}, "devices: want at least one"),
        ({"target": "onnx-z80"}, "target 'onnx-z80'"),
        ({"model": 3}, "want an nn.Module, an ExportedProgram, a project or a file's name, got int"),
        ({"example_inputs": None}, "example_inputs: want the tensor"),
        ({"example_inputs": torch.zeros(1, 3, 8, 8)}, "does not run on an input of shape"),
        ({"calibration": None}, "calibration: want samples"),
        ({"calibration": (INPUTS[:0], LABELS[:0])}, "data.calibration: given in Python is empty"),
        ({"calibration": INPUTS[:, :, :5]}, "want samples of shape"),
        ({"calibration": "photos/"}, "want an array"),
        ({"calibration": INPUTS}, "has no labels, and metric accuracy needs them"),
        ({"calibration": (INPUTS[:2], LABELS[:2])}, "test: not given, and the 1 samples of validation are too few"),
        ({"evaluate": "f1"}, 'want "file.py:function"'),
        ({"max_drop": 1.5}, "max_drop: want 0 to 1"),
        ({"pushes": 1}, r"budget.pushes"),
        ({"minimise": "joy"}, "minimise"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line_that_says_what_was_wanted(given: dict[str, Any], words: str) -> None:
    calls = {"model": net(), "example_inputs": EXAMPLE, "calibration": (INPUTS, LABELS)} | given
    with pytest.raises(ek.EdgekitError, match=words) as caught:
        ek.tune(**calls)
    assert caught.value.exit_code == 2


def test_importing_edgekit_loads_nothing_heavy_and_every_public_name_is_there() -> None:
    show = (
        "import sys, edgekit\nheavy = {'torch', 'numpy', 'msgspec', 'scipy', 'paramiko'} & set(sys.modules)\n"
        "missing = [n for n in edgekit.__all__ if not hasattr(edgekit, n)]\n"
        "print(heavy, missing, 'torch' in sys.modules)"
    )
    done = subprocess.run((sys.executable, "-c", show), capture_output=True, text=True, check=True)
    assert done.stdout == "set() [] False\n"
