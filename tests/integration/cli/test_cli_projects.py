"""Commands on a project: the whole way with a small net, and each way to write a project wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.cli.main import run

Call = Callable[..., str]


def test_a_net_is_converted_measured_pushed_and_collected(
    project: Path, said: Call, edgekit_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built = {
        recipe: json.loads(said("convert", "project.toml", "--target", "onnx-x86_64", "--recipe", recipe, "--json"))
        for recipe in ("float", "int8")
    }
    one, other = (built[recipe]["artifact"]["id"] for recipe in ("float", "int8"))
    assert one != other
    assert built["float"]["quality"][0]["drop"] == 0
    assert {a["id"] for a in json.loads(said("artifacts", "list", "--json"))} == {one, other}
    code = run(["bench", one[:8], other[:8], "--json"])
    compared = json.loads(capsys.readouterr().out)["comparison"]
    assert (compared["baseline"], compared["candidate"]) == (one, other)
    assert code == (0 if compared["verdict"] == "faster" else 1)
    assert "is active" in said("push", f"tiny@{other[:8]}", "--device", "local")
    assert "was active already" in said("push", other, "--device", "local")
    pushed = json.loads(said("push", one, "--device", "local", "--json"))
    assert pushed["deployment"]["previous"].endswith(other)
    assert "removed 0 artifacts" in said("gc", "--min-age", "0")
    assert not list((edgekit_home / "local" / "bench").iterdir())
    assert "nothing of edgekit is left" in said("devices", "remove", "local", "--purge")
    assert not (edgekit_home / "local").exists()
    assert "removed 2 artifacts" in said("gc", "--min-age", "0")


def test_an_artifact_that_nothing_refers_to_is_collected(project: Path, said: Call) -> None:
    said("convert", "project.toml", "--target", "onnx-x86_64", "--recipe", "float")
    assert "would remove 1 artifacts" in said("gc", "--min-age", "0", "--dry-run")
    assert "removed 1 artifacts" in said("gc", "--min-age", "0")
    assert json.loads(said("artifacts", "list", "--json")) == []


def test_a_recipe_is_applied_scored_and_written(project: Path, said: Call, refused: Call) -> None:
    made = json.loads(said("compress", "project.toml", "--out", "small.pt2", "--json"))
    assert len(made["int8"]) == len(made["layers"]) == 3
    assert Path("small.pt2").stat().st_size > 0
    assert "small.pt2: exists" in refused("compress", "project.toml", "--out", "small.pt2")
    assert "want a .pt2" in refused("compress", "project.toml", "--out", "small.bin")


@pytest.mark.parametrize(
    ("old", "new", "said_in_words"),
    [
        ('"model.py:net"', '"modle.py:net"', "modle.py"),
        ('"model.py:net"', '"model.py:nte"', "nte"),
        ('"model.py:net"', '"model.py:number"', "number"),
        ('"model.py:net"', '"model.py:broken"', "no weights today"),
        ('"model.py:net"', '"model.py:nan"', "NaN"),
        ('"model.py:net"', '"model.py:branches"', "model.py:"),
        ("[1, 1, 8, 8]", "[1, 3, 8, 8]", "channels"),
        ("[1, 1, 8, 8]", '"1x1x8x8"', "$.model.shape"),
        ('calibration = "data.py:good"', 'calibration = "data.py:empty"', "calibration"),
        ('calibration = "data.py:good"', 'calibration = "data.py:nope"', "nope"),
        ('calibration = "data.py:good"', 'calibration = "data.py:fails"', "no such disk"),
        ('validation = "data.py:good"', 'validation = "data.py:not_a_number"', "NaN"),
        ('validation = "data.py:good"', 'validation = "none.npz"', "none.npz"),
        ('validation = "data.py:good"\n', "", "validation"),
        ('test = "data.py:good"', 'test = "data.py:wrong_shape"', "test"),
        ("schema = 1", "schema = 7", "install a newer edgekit"),
        ('max_drop = "50%"', 'max_drop = "150%"', "max_drop"),
        ("pushes = 4", "pushes = 1", "pushes"),
        ("pushes = 4", "puhses = 4", "puhses"),
        ('name = "tiny"', 'name = "../tiny"', "name must be"),
        ("[budget]", "[budget", "project.toml"),
    ],
)
def test_a_project_that_is_wrong_is_one_line_with_its_place(
    project: Path, refused: Call, old: str, new: str, said_in_words: str
) -> None:
    text = project.read_text()
    assert old in text
    project.write_text(text.replace(old, new, 1))
    assert said_in_words in refused("convert", "project.toml", "--target", "onnx-x86_64", "--recipe", "int8")


@pytest.mark.parametrize(
    ("words", "said_in_words"),
    [
        (("tune", "none.toml"), "none.toml: no such project file"),
        (("tune", "project.toml", "--device", "nope"), "device 'nope'"),
        (("tune", "project.toml", "--target", "nope"), "target 'nope'"),
        (("tune", "project.toml", "--max-drop", "2"), "--max-drop"),
        (("tune", "project.toml", "--report", "none/report.html"), "no such folder"),
        (("convert", "project.toml", "--target", "nope"), "target 'nope'"),
        (("convert", "project.toml"), "--target"),
        (("convert", "project.toml", "--target", "onnx-x86_64", "--recipe", "int7"), "int7"),
        (("bench", "abcdef", "123456"), "artifact 'abcdef'"),
        (("bench", "abcdef"), "B"),
        (("push", "abcdef", "--device", "local"), "artifact 'abcdef'"),
        (("report", "nope"), "study 'nope'"),
    ],
)
def test_a_command_that_is_wrong_is_one_line(
    project: Path, refused: Call, words: tuple[str, ...], said_in_words: str
) -> None:
    assert said_in_words in refused(*words)


def test_a_recipe_file_that_is_wrong_is_one_line_with_its_key(project: Path, refused: Call) -> None:
    Path("r.toml").write_text('[[step]]\nkind = "quantize"\ndefualt = "int8"\n')
    line = refused("convert", "project.toml", "--target", "onnx-x86_64", "--recipe", "r.toml")
    assert "r.toml" in line
    assert "defualt" in line


def test_a_net_is_tuned_and_its_study_is_kept_and_shown_again(
    project: Path, said: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tune", "project.toml", "--device", "local"]) in (0, 1)
    capsys.readouterr()
    assert Path("report.html").stat().st_size > 100_000
    (study,) = json.loads(said("report", "--json"))
    assert (study["project"], study["device"], study["state"]) == ("tiny", "local", "done")
    assert "tiny" in said("report", study["id"][:8], "--out", "again.html")
    assert json.loads(said("report", study["id"], "--json"))["choice"]["device"] == "local"
    assert Path("again.html").read_bytes() == Path("report.html").read_bytes()
    assert "removed 0 artifacts" in said("gc", "--min-age", "0")
