import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import typer

from edgekit import errors
from edgekit.cli.checks import EXTRAS, package_versions
from edgekit.cli.main import COMMANDS, EXIT_CODES, build, run, told
from edgekit.cli.output import table
from edgekit.cli.reference import cli_page, main, targets_page
from edgekit.cli.templates import project_text
from edgekit.core.project import project_from_toml
from edgekit.errors import UsageError

CHECKOUT = Path(__file__).parents[3]
HEAVY = (
    "torch",
    "numpy",
    "scipy",
    "paramiko",
    "plotly",
    "sqlalchemy",
    "onnx",
    "onnxruntime",
    "rich",
    "jinja2",
    "optuna",
)


def loaded_by(*words: str) -> set[str]:
    """The heavy packages that a command line has loaded when it ends."""
    show = (
        "import sys\nfrom edgekit.cli.main import run\n"
        f"code = run({list(words)!r})\nprint('LOADED', code, *sys.modules.keys() & set({HEAVY!r}))"
    )
    done = subprocess.run((sys.executable, "-c", show), capture_output=True, text=True, check=True)
    last = done.stdout.splitlines()[-1].split()
    assert last[:2] == ["LOADED", "0"], done
    return set(last[2:])


@pytest.mark.parametrize("words", [("--help",), (), ("--version",), ("targets", "list"), ("targets", "--help")])
def test_help_and_what_is_light_load_nothing_heavy(words: tuple[str, ...]) -> None:
    assert loaded_by(*words) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_loads_no_torch(name: str) -> None:
    assert not loaded_by(name, "--help") & {"torch", "onnx", "onnxruntime", "plotly"}


def leaves(command: object) -> list[object]:
    inner = getattr(command, "commands", None)
    return [leaf for c in inner.values() for leaf in leaves(c)] if inner else [command]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_json_and_debug_and_says_what_each_option_does(name: str) -> None:
    root = typer.main.get_command(build(name))
    for leaf in leaves(root.commands[name]):
        options = {o for p in leaf.params for o in p.opts}
        assert {"--json", "--debug"} <= options, leaf.name
        assert leaf.help
        assert all(p.help for p in leaf.params), [p.name for p in leaf.params if not p.help]


def test_every_module_of_a_noun_is_a_command() -> None:
    for name in COMMANDS:
        module = import_module(f"edgekit.cli.{name}")
        assert hasattr(module, "app") != hasattr(module, "command")


@pytest.mark.parametrize("kind", [v for v in vars(errors).values() if isinstance(v, type)])
def test_every_error_of_edgekit_ends_with_its_own_exit_code(kind: type[errors.EdgekitError]) -> None:
    line, code = told(kind("where: wanted\nthis, got that"))
    assert line == "where: wanted this, got that"
    assert code == kind.exit_code
    assert code in EXIT_CODES


def test_a_fault_of_our_own_is_one_line_with_its_place_and_code_10() -> None:
    try:
        {}["a\nb"]
    except KeyError as error:
        line, code = told(error)
    assert code == 10
    assert "\n" not in line
    assert "KeyError at test_cli_frame.py:" in line


def test_an_error_of_the_system_names_the_file() -> None:
    try:
        Path("/none/such").read_text()
    except OSError as error:
        assert told(error) == ("/none/such: No such file or directory", 10)


def test_the_generated_pages_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_the_generated_pages_have_every_command_and_every_target() -> None:
    assert all(f"## edgekit {name}" in cli_page() for name in COMMANDS)
    assert "onnx-x86_64" in targets_page()
    assert "/home" not in cli_page()


def test_the_extras_that_doctor_knows_are_those_of_the_package() -> None:
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, packages in EXTRAS.items():
        said = {line.split(">")[0].split("=")[0] for line in extras[name] if not line.startswith("edgekit[")}
        assert set(packages) == said, name


def test_a_package_that_is_not_installed_has_no_version() -> None:
    found = package_versions(["msgspec", "no-such-package-here"])
    assert found["msgspec"]
    assert found["no-such-package-here"] is None


@pytest.mark.parametrize("name", ['quo"te', "back\\slash", "x" * 65, "", "ümlaut"])
def test_a_hostile_project_name_is_refused_and_never_breaks_the_file(name: str) -> None:
    with pytest.raises(UsageError, match="name must be"):
        project_from_toml(project_text(name, "model.py:net", (1, 2)), "project.toml")


@pytest.mark.parametrize("source", ["model.py:net", "a b/model.pt2", "model.onnx"])
def test_a_new_project_reads_for_every_kind_of_source(source: str) -> None:
    assert project_from_toml(project_text("net", source, (1, 3, 8, 8)), "p").model.source == source


def test_a_table_is_aligned_and_never_cut() -> None:
    long = "x" * 300
    lines = table(("a", "b"), ((long, 1), ("y", None))).splitlines()
    assert lines[1].startswith(long)
    assert {line.index(mark) for line, mark in zip(lines, ("b", "1", "-"), strict=True)} == {302}


def test_help_of_a_command_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gc", "--help"]) == 0
    assert "--dry-run" in capsys.readouterr().out


def test_what_steers_a_terminal_never_reaches_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["targets", "show", "\x1b[2J\x07evil"]) == 2
    assert "\x1b" not in capsys.readouterr().err
    assert "\x1b" not in table(("a",), [("\x1b]0;title\x07",)])
