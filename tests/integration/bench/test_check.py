"""`check` shows every layer of an artifact beside the host's program, and names the first that is wrong."""

from pathlib import Path

import numpy as np
import pytest
from broken import FILES, forged
from nets import ONNX_X86, TFLITE_X86, net, noise

from edgekit.bench.check import Checked, check_on_host
from edgekit.catalog import get_target
from edgekit.compress.quantize import quantize
from edgekit.compress.relax import mixed
from edgekit.core.artifact import Artifact
from edgekit.core.recipe import Quantize
from edgekit.core.target import Target
from edgekit.devices.inventory import get_device
from edgekit.errors import ArtifactError
from edgekit.formats.base import get_format
from edgekit.formats.layers import LAYERS, MOST, read_layers
from edgekit.formats.pack import package
from edgekit.lab.sshd import Sshd
from edgekit.models.program import Program, export
from edgekit.pipeline.check import check
from edgekit.store.artifacts import ArtifactStore

TARGETS = {"onnx": ONNX_X86, "tflite": TFLITE_X86}
ROWS = ["stem.0", "a.0", "b.0", "add", "c.0", "d.0", "down.0", "add#2", "mean", "head"]


def packaged(program: Program, target: Target, folder: Path) -> tuple[Artifact, Path]:
    path = get_format(target.format).lower(program, target, folder / "lowered")
    return package(program, target, path, folder=folder / "a", key="k", name="net"), folder / "a"


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest) -> Target:
    return TARGETS[request.param]


@pytest.fixture(scope="module")
def program(target: Target) -> Program:
    return quantize(net("residual"), Quantize(), target.numerics, noise(16))


SOME = frozenset(("a.0", "c.0", "head"))


@pytest.fixture(scope="module")
def packed(program: Program, target: Target, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Artifact, Path]]:
    """All int8, some layers int8, none; TFLite's three files are written by one child."""
    folder = tmp_path_factory.mktemp("made")
    programs = [program, mixed(program, SOME), mixed(program, frozenset())]
    back_end = get_format(target.format)
    if target.format == "tflite":
        paths = back_end.mixes(program, [p.int8 for p in programs], target, folder)
    else:
        paths = tuple(back_end.lower(p, target, folder / str(i)) for i, p in enumerate(programs))
    return [
        (package(p, target, path, folder=folder / f"a{i}", key="k", name="net"), folder / f"a{i}")
        for i, (p, path) in enumerate(zip(programs, paths, strict=True))
    ]


@pytest.fixture(scope="module")
def made(packed: list[tuple[Artifact, Path]]) -> tuple[Artifact, Path]:
    return packed[0]


@pytest.fixture(scope="module")
def checked(made: tuple[Artifact, Path]) -> Checked:
    return check_on_host(*made)


def test_every_layer_has_its_module_s_name_and_is_shown(checked: Checked) -> None:
    assert [row.layer for row in checked.rows] == ROWS
    assert all(row.format is not None and row.quantized for row in checked.rows)


def test_a_core_ml_package_shows_its_layers_on_a_computer_that_is_no_mac(tmp_path: Path) -> None:
    goal = get_target("coreml-apple-silicon")
    found = check_on_host(*packaged(quantize(net("residual"), Quantize(), goal.numerics, noise(16)), goal, tmp_path))
    assert [row.layer for row in found.rows] == ROWS
    assert [row.format is not None and row.format.most for row in found.rows] == [0] * len(ROWS)
    assert found.is_right


def test_a_small_net_is_right_to_the_last_bit_in_every_layer(checked: Checked) -> None:
    assert checked.is_right
    assert checked.notes == ()
    assert [row.format.most for row in checked.rows if row.format is not None] == [0.0] * len(ROWS)


def test_quantizing_costs_each_layer_what_int8_costs(checked: Checked) -> None:
    assert all(row.sqnr_db is not None and 25 < row.sqnr_db < 60 for row in checked.rows)


@pytest.mark.parametrize(
    ("fault", "layer"), [("zero_a_channel", "b.0"), ("change_a_bias", "c.0"), ("change_a_scale", "a.0")]
)
def test_the_layer_with_a_fault_is_named(
    made: tuple[Artifact, Path], target: Target, fault: str, layer: str, tmp_path: Path
) -> None:
    artifact, folder = made
    for name in ("vectors.npz", LAYERS):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    file = FILES[target.format]((folder / artifact.model_file).read_bytes())
    getattr(file, fault)(layer)
    found = check_on_host(forged(artifact, tmp_path, file.content()), tmp_path)
    assert found.layer == layer
    assert not found.is_right
    before = ROWS[: ROWS.index(layer)]
    assert [row.format.most for row in found.rows if row.layer in before and row.format is not None] == [0.0] * len(
        before
    )
    unit = next(row.format.unit for row in found.rows if row.layer == layer and row.format is not None)
    assert unit == {"zero_a_channel": 3, "change_a_bias": 5}.get(fault, unit)


def test_a_mix_is_checked_with_its_float_layers(packed: list[tuple[Artifact, Path]]) -> None:
    found = check_on_host(*packed[1])
    assert found.is_right
    shown = {row.layer: row for row in found.rows if row.format is not None}
    assert {"stem.0", "a.0", "b.0", "c.0", "d.0", "down.0", "head"} <= set(shown)
    assert {name for name, row in shown.items() if row.quantized} >= {"a.0", "c.0"}
    assert not shown["b.0"].quantized


def test_a_float_file_is_checked_to_rounding(packed: list[tuple[Artifact, Path]]) -> None:
    found = check_on_host(*packed[2])
    assert found.is_right
    shown = [row for row in found.rows if row.format is not None]
    assert {"stem.0", "a.0", "b.0", "c.0", "d.0", "down.0", "head"} <= {row.layer for row in shown}
    assert max(row.format.most for row in shown if row.format is not None) < 0.01


def test_a_float_file_whose_model_works_in_place_is_checked_by_its_weights(tmp_path: Path) -> None:
    found = check_on_host(*packaged(export(net("residual")), ONNX_X86, tmp_path))
    assert found.is_right
    assert {row.layer for row in found.rows if row.format is not None} == set(ROWS) - {"add", "add#2", "mean"}


def test_an_artifact_without_layer_values_is_checked_by_its_outputs(
    made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    artifact, folder = made
    for entry in artifact.files:
        (tmp_path / entry.path).write_bytes((folder / entry.path).read_bytes())
    found = check_on_host(artifact, tmp_path)
    assert found.is_right
    assert found.rows == ()
    assert "no layer table" in found.notes[0]


def test_damaged_layer_values_are_refused(made: tuple[Artifact, Path], tmp_path: Path) -> None:
    artifact, folder = made
    for name in (*(entry.path for entry in artifact.files), LAYERS):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / LAYERS).write_bytes((folder / LAYERS).read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"layers\.npz: damaged"):
        check_on_host(artifact, tmp_path)


def test_what_is_kept_of_a_layer_is_bounded_and_holds_all_its_units(made: tuple[Artifact, Path]) -> None:
    layers = read_layers(made[1] / LAYERS)
    for spec, floats, exact in zip(layers.specs, layers.floats, layers.exact, strict=True):
        assert floats.shape == exact.shape
        assert floats.shape[1] == spec.shape[spec.axis]
        assert floats.size <= MOST
        assert np.isfinite(floats).all()


@pytest.fixture(scope="module")
def seven_bits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Path]:
    """For a device without fast int8, so that its products saturate nowhere: as `tune` makes it for such a one."""
    target = get_target("onnx-x86_64")
    program = quantize(net("residual"), Quantize(), target.numerics, noise(16), features=())
    return packaged(program, target, tmp_path_factory.mktemp("seven"))


def test_a_device_is_checked_layer_by_layer_over_ssh(
    sshd: Sshd, seven_bits: tuple[Artifact, Path], tmp_path: Path
) -> None:
    device = sshd.device(tmp_path / "root")
    found = check(str(seven_bits[1]), ArtifactStore(tmp_path / "store"), device)
    assert found.is_right
    assert found.device == device.name
    assert [row.device.most for row in found.rows if row.device is not None] == [0.0] * len(ROWS)
    timed = {row.layer for row in found.rows if row.seconds}
    assert {"stem.0", "a.0", "c.0", "head"} <= timed
    assert {row.compute_unit for row in found.rows} == {"CPU"}
    assert list((tmp_path / "root").rglob("*.onnx")) == []


def test_the_layer_with_a_fault_is_named_on_the_device(
    sshd: Sshd, seven_bits: tuple[Artifact, Path], tmp_path: Path
) -> None:
    artifact, folder = seven_bits
    for name in ("vectors.npz", LAYERS):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    file = FILES["onnx"]((folder / artifact.model_file).read_bytes())
    file.zero_a_channel("c.0")
    forged(artifact, tmp_path, file.content())
    found = check(str(tmp_path), ArtifactStore(tmp_path / "store"), sshd.device(tmp_path / "root"))
    wrong = next(row for row in found.rows if row.device is not None and row.device.wrong)
    assert (found.layer, wrong.layer) == ("c.0", "c.0")
    assert f"output 0 on {found.device} is up to" in found.wrong[-1]


@pytest.mark.parametrize("target", ["tflite"], indirect=True)
def test_litert_on_the_device_shows_its_layers_too(made: tuple[Artifact, Path], tmp_path: Path) -> None:
    found = check(str(made[1]), ArtifactStore(tmp_path), get_device("local"))
    assert found.is_right
    assert [row.device.most for row in found.rows if row.device is not None] == [0.0] * len(ROWS)
    assert "no time of single ops" in found.notes[0]
