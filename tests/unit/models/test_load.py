"""Models, weights and samples from where users keep them, and their mistakes in one line each."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import AFFINE, net, noise
from safetensors.torch import save_file

from edgekit.compress.groups import channel_groups
from edgekit.compress.prune import prune
from edgekit.compress.quantize import quantize
from edgekit.compress.recover import recover
from edgekit.core.project import ModelSource, project_from_toml
from edgekit.core.recipe import Prune, Quantize, Recover
from edgekit.errors import EdgekitError, MissingExtraError, ModelError, ProjectError
from edgekit.models.data import Samples, as_samples, load_samples
from edgekit.models.extras import require
from edgekit.models.load import load_example, load_model
from edgekit.models.predict import predict
from edgekit.models.source import load_function

MODEL = """
from torch import nn
import shapes

def net():
    return nn.Sequential(nn.Linear(shapes.WIDTH, 3), nn.ReLU())

def wrong():
    return "a string"

def breaks():
    x = 1
    return x / 0

def late():
    import shapes
    return nn.Sequential(nn.Linear(shapes.WIDTH, 3))

def batches():
    import numpy, shapes
    for i in range(3):
        yield numpy.full((2, shapes.WIDTH), float(i))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "shapes.py").write_text("WIDTH = 4\n")
    return tmp_path


def test_a_function_of_a_file_gives_the_model_and_the_file_may_import_its_neighbours(root: Path) -> None:
    for function in ("net", "late"):
        model = load_model(ModelSource(source=f"model.py:{function}", shape=(2, 4)), root, "net")
        assert model.spec.outputs[0].shape == (2, 3)
        assert not model.module.training
    assert "shapes" not in sys.modules and str(root) not in sys.path


def test_two_projects_with_files_of_one_name_do_not_meet(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "model.py").write_text(MODEL)
    (other / "shapes.py").write_text("WIDTH = 7\n")
    for folder, width in ((root, 4), (other, 7), (root, 4)):
        for function in ("net", "late"):
            assert load_function(f"model.py:{function}", folder, "model.source")()[0].in_features == width


def test_the_short_form_of_an_example_is_the_same_noise_each_time() -> None:
    source = ModelSource(source="model.py:net", shape=(2, 4))
    assert torch.equal(load_example(source, Path())[0], load_example(source, Path())[0])


def test_weights_come_from_safetensors_and_from_a_state_dict_and_half_precision_is_widened(root: Path) -> None:
    state = {"0.weight": torch.full((3, 4), 0.5), "0.bias": torch.zeros(3)}
    save_file({k: v.half() for k, v in state.items()}, root / "w.safetensors")
    torch.save(state, root / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        model = load_model(ModelSource(source="model.py:net", weights=name, shape=(1, 4)), root, "net")
        assert torch.equal(model.module(torch.ones(1, 4)), torch.full((1, 3), 2.0))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("touched"),))


def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    torch.save({"0.weight": Evil()}, root / "evil.pt")
    with pytest.raises(ModelError, match=r"model.weights: .*evil.pt cannot be read"):
        load_model(ModelSource(source="model.py:net", weights="evil.pt", shape=(1, 4)), root, "net")
    assert not (root / "touched").exists()


def test_an_exported_program_is_read_back_with_its_own_example(root: Path) -> None:
    model = net("residual")
    torch.export.save(torch.export.export(model.module, model.example), root / "m.pt2")
    again = load_model(ModelSource(source="m.pt2"), root, "net")
    x = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(again.module(x), model.module(x))
    assert again.spec.inputs == model.spec.inputs


@pytest.mark.parametrize("free", [False, True], ids=["one batch", "any batch"])
def test_an_exported_program_can_be_cut_trained_and_quantized(root: Path, *, free: bool) -> None:
    model, samples = net("residual"), noise(64)
    x = torch.cat([model.example[0]] * (2 if free else 1))
    shapes = ({0: torch.export.Dim("batch")},) if free else None
    torch.export.save(torch.export.export(model.module, (x,), dynamic_shapes=shapes), root / "m.pt2")
    read = load_model(ModelSource(source="m.pt2"), root, "net")
    assert channel_groups(read) == channel_groups(model)
    tuned = recover(prune(read, Prune(ratio=0.5)), Recover(epochs=1.0), samples, read)
    assert len(quantize(tuned, Quantize(), AFFINE, samples).int8) == 7
    assert predict(tuned, samples).shape == (64, 10)


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ({"source": "missing.py:net"}, ProjectError, "model.source: .*missing.py: no such file"),
        ({"source": "model.py:missing"}, ProjectError, "has no function 'missing'; it has batches, breaks, late, net"),
        ({"source": "model.py:wrong"}, ProjectError, "gives str, want an nn.Module"),
        ({"source": "model.py:breaks"}, ProjectError, "model.source: model.py:13: ZeroDivisionError: division by zero"),
        ({"source": "model.bin"}, ProjectError, 'want "file.py:function", a .pt2 or an .onnx'),
        ({"source": "missing.pt2"}, ProjectError, "missing.pt2: no such file"),
        ({"source": "broken.pt2"}, ModelError, "broken.pt2 is not a readable ExportedProgram"),
        ({"source": "broken.onnx"}, ModelError, "broken.onnx is not a readable ONNX file"),
        ({"source": "syntax.py:net"}, ProjectError, "syntax.py: line 2: "),
        ({"source": "model.py:net", "weights": "missing.pt"}, ProjectError, "model.weights: .*: no such file"),
        ({"source": "model.py:net", "weights": "other.pt"}, ModelError, "does not fit the model"),
        ({"source": "model.py:net", "weights": "list.pt"}, ModelError, "holds list, want a state dict"),
        ({"source": "model.py:net", "shape": None}, ProjectError, "needs `example` or `shape`"),
        ({"source": "model.py:net", "shape": (1, 5)}, ModelError, r"does not run on an input of shape \(1, 5\)"),
    ],
)
def test_each_mistake_is_one_line_that_names_the_place(
    root: Path, source: dict[str, Any], error: type[EdgekitError], words: str
) -> None:
    (root / "broken.pt2").write_bytes(b"no zip")
    (root / "broken.onnx").write_bytes(b"no proto")
    (root / "syntax.py").write_text("\ndef net(:\n")
    torch.save({"1.weight": torch.ones(1)}, root / "other.pt")
    torch.save([1, 2], root / "list.pt")
    with pytest.raises(error, match=words) as caught:
        load_model(ModelSource(**({"shape": (1, 4)} | source)), root, "net")
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_a_package_that_is_not_installed_is_told_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'edgekit\[onnx\]'"):
        require("no_such_package", extra="onnx")


def test_a_project_needs_no_example_where_the_file_has_one() -> None:
    text = 'name = "n"\n[model]\nsource = "m.{}"\n[data]\ncalibration = "a.npz"\nvalidation = "a.npz"\ntest = "a.npz"\n'
    for kind in ("pt2", "onnx"):
        assert project_from_toml(text.format(kind), "project.toml").model.shape is None
    with pytest.raises(ProjectError, match="needs `example` or `shape`"):
        project_from_toml(text.format("py:net"), "project.toml")


ARRAY = np.arange(8, dtype=np.float32).reshape(4, 2)
LABELS = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("value", "inputs", "labelled"),
    [
        (ARRAY, 1, False),
        (torch.from_numpy(ARRAY), 1, False),
        (ARRAY.astype(np.float64), 1, False),
        ((ARRAY, LABELS), 1, True),
        ((torch.from_numpy(ARRAY), torch.from_numpy(LABELS)), 1, True),
        (((ARRAY, ARRAY), LABELS), 2, True),
        ([(ARRAY[:2], LABELS[:2]), (ARRAY[2:], LABELS[2:])], 1, True),
        ([ARRAY[:3], ARRAY[3:]], 1, False),
        (iter([[ARRAY[:3], LABELS[:3]], [ARRAY[3:], LABELS[3:]]]), 1, True),
        (Samples((ARRAY,), LABELS), 1, True),
    ],
)
def test_samples_may_be_arrays_tensors_pairs_or_batches(value: object, inputs: int, labelled: bool) -> None:
    samples = as_samples(value, "calibration", "data.py:f")
    assert len(samples) == 4 and len(samples.inputs) == inputs
    assert samples.inputs[0].dtype == np.float32 and np.array_equal(samples.inputs[0], ARRAY)
    assert (samples.labels is not None) == labelled
    assert samples.digest == as_samples(samples, "test", "data.py:g").digest
    assert [len(b) for b in samples.batches(3)] == [3, 1]


def test_the_digest_of_samples_covers_every_value_and_shape() -> None:
    base = Samples((ARRAY,), LABELS)
    changed = ARRAY.copy()
    changed[3, 1] += 1
    others = (Samples((ARRAY,)), Samples((changed,), LABELS), Samples((ARRAY.reshape(4, 1, 2),), LABELS))
    assert len({base.digest, *(o.digest for o in others)}) == 4


def test_a_generator_of_the_users_and_an_npz_both_give_samples(root: Path) -> None:
    assert len(load_samples("model.py:batches", "training", root)) == 6
    np.savez(root / "d.npz", in_0=ARRAY, in_1=ARRAY * 2, label=LABELS)
    samples = load_samples("d.npz", "validation", root)
    assert np.array_equal(samples.inputs[1], ARRAY * 2) and np.array_equal(samples.labels, LABELS)


DATA = """
import numpy as np
def empty(): return np.zeros((0, 3), np.float32)
def no_batches(): return []
def unequal(): return np.zeros((4, 3), np.float32), np.zeros(3, np.int64)
def nan(): return np.array([[1.0, float("nan")]])
def text(): return "abc"
def ragged(): return [np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32)]
def breaks(): raise KeyError("train")
"""


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("data.py:empty", "data.calibration: data.py:empty is empty: want at least one sample"),
        ("data.py:no_batches", "is empty"),
        ("data.py:unequal", r"inputs and labels differ in length: \[3, 4\]"),
        ("data.py:nan", "input 0 has NaN or infinite values"),
        ("data.py:text", r"want an array, \(inputs, labels\), or batches of them, got str"),
        ("data.py:ragged", "ValueError"),
        ("data.py:breaks", r"data.calibration: data.py:9: KeyError: 'train'"),
        ("data.py:missing", "has no function 'missing'"),
        ("data.csv", 'want "file.py:function" or an .npz'),
        ("none.npz", "no such file"),
        ("bad.npz", "is not a readable .npz"),
        ("keys.npz", "has no key in_0; it has x"),
    ],
)
def test_samples_that_cannot_be_used_are_told_in_one_line(tmp_path: Path, where: str, words: str) -> None:
    (tmp_path / "data.py").write_text(DATA)
    (tmp_path / "bad.npz").write_bytes(b"no zip")
    np.savez(tmp_path / "keys.npz", x=ARRAY)
    with pytest.raises(ProjectError, match=words) as caught:
        load_samples(where, "calibration", tmp_path)
    assert "\n" not in str(caught.value)


def test_an_archive_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", in_0=np.array([Evil()], dtype=object))
    with pytest.raises(ProjectError, match=r"not a readable \.npz"):
        load_samples("p.npz", "calibration", tmp_path)
