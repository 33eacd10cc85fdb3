"""`edgekit devices` and `push` against a real sshd: what is said, kept, and left behind."""

import json
from pathlib import Path

import pytest

from edgekit.cli.main import run
from edgekit.devices.connect import connect
from edgekit.devices.hostkeys import fingerprint
from edgekit.devices.inventory import devices, get_device
from edgekit.devices.push import stage
from edgekit.lab.sshd import Sshd, free_port, running_sshd, write_key


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    """Runs a command that must work; what it prints."""

    def call(*words: str) -> str:
        code = run(words)
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return call


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]):
    """Runs a command that must be refused with this exit code; its one line."""

    def call(code: int, *words: str) -> str:
        got = run(words)
        out, err = capsys.readouterr()
        assert (got, out, err.count("\n")) == (code, "", 1), (got, out, err)
        return err.strip()

    return call


def words_to_add(server: Sshd, root: Path, name: str = "board") -> tuple[str, ...]:
    device = server.device(root)
    return (
        "devices", "add", name, f"{device.user}@127.0.0.1", "--port", str(server.port),
        "--identity", str(device.identity), "--root", str(root), "--python", device.python,
    )  # fmt: skip


def test_a_device_is_added_shown_probed_prepared_and_removed_without_a_trace(said, sshd: Sshd, tmp_path: Path) -> None:
    root = tmp_path / "root"
    added = json.loads(said(*words_to_add(sshd, root), "--label", "site=lab", "--json"))
    assert set(added["device"]["host_keys"]) == set(sshd.host_keys)
    assert added["device"]["labels"] == [["site", "lab"]]
    assert len(added["device"]["targets"]) == 2
    assert added["facts"]["arch"]
    assert [d["name"] for d in json.loads(said("devices", "list", "--json"))] == ["local", "board"]
    assert all(fingerprint(key) in said("devices", "show", "board") for key in sshd.host_keys)
    assert "site=lab" in said("devices", "list")
    assert "python" in said("devices", "probe", "board")
    assert "onnxruntime works" in said("devices", "prepare", "board")
    assert "device board" in said("doctor")
    said("devices", "remove", "board", "--purge")
    assert not root.exists()
    assert [d.name for d in devices()] == ["local"]


def test_only_the_host_key_that_was_named_is_pinned(said, sshd: Sshd, tmp_path: Path) -> None:
    key = sshd.host_keys[0]
    said(*words_to_add(sshd, tmp_path / "root"), "--fingerprint", fingerprint(key))
    assert get_device("board").host_keys == (key,)


def test_another_host_key_than_the_one_that_was_named_is_refused(refused, sshd: Sshd, tmp_path: Path) -> None:
    line = refused(4, *words_to_add(sshd, tmp_path / "root"), "--fingerprint", "SHA256:nonsense")
    assert "no host key has the fingerprint" in line
    assert [d.name for d in devices()] == ["local"]


def test_a_device_whose_host_key_changed_is_refused_and_doctor_says_how_to_go_on(
    said, refused, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with running_sshd(tmp_path / "one") as server:
        said(*words_to_add(server, tmp_path / "root"))
        for path in server.folder.glob("host_key_*"):
            write_key(path, path.name.removeprefix("host_key_"))
        server.stop()
        server.start()
        assert "the host shows another key" in refused(4, "devices", "probe", "board")
        assert run(["doctor"]) == 1
        assert "edgekit devices remove board" in capsys.readouterr().out


def test_a_device_that_is_off_is_named_and_does_not_fail_doctor(
    said, refused, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with running_sshd(tmp_path / "one") as server:
        said(*words_to_add(server, tmp_path / "root"))
    assert "board" in refused(4, "devices", "probe", "board")
    assert "board" in refused(4, "devices", "remove", "board", "--purge")
    assert run(["doctor"]) == 0
    assert "edgekit devices probe board" in capsys.readouterr().out
    assert "forgotten" in said("devices", "remove", "board")


def test_what_is_wrong_about_a_device_is_one_line_and_nothing_is_kept(refused, sshd: Sshd, tmp_path: Path) -> None:
    add = words_to_add(sshd, tmp_path / "root")
    port, user = str(free_port()), add[3].partition("@")[0]
    assert "127.0.0.1" in refused(4, "devices", "add", "b", f"{user}@127.0.0.1", "--port", port)
    assert "want user@host" in refused(2, "devices", "add", "b", "@host")
    assert "not 'local'" in refused(2, "devices", "add", "local", "a@b")
    assert "key=value" in refused(2, *add, "--label", "site")
    assert "no such file" in refused(2, "devices", "add", "b", "a@b", "--identity", str(tmp_path / "none"))
    assert "--port" in refused(2, "devices", "add", "b", "a@b", "--port", "99999")
    assert "none of that name" in refused(2, "devices", "probe", "nope")
    assert "always there" in refused(2, "devices", "remove", "local")
    assert "runtime 'tensorrt'" in refused(2, "devices", "prepare", "local", "--runtime", "tensorrt")
    stranger = tmp_path / "stranger"
    write_key(stranger)
    line = refused(4, "devices", "add", "b", add[3], "--port", str(sshd.port), "--identity", str(stranger))
    assert "login refused" in line
    assert [d.name for d in devices()] == ["local"]
    assert not (tmp_path / "root").exists()


def test_a_device_without_python_is_added_and_cannot_be_prepared_in_words(
    said, refused, sshd: Sshd, tmp_path: Path
) -> None:
    words = (*words_to_add(sshd, tmp_path / "root")[:-1], str(tmp_path / "no-python"))
    assert json.loads(said(*words, "--json"))["facts"]["python"] is None
    assert "no Python" in refused(10, "devices", "prepare", "board")


def test_a_name_is_taken_once(said, refused, sshd: Sshd, tmp_path: Path) -> None:
    said(*words_to_add(sshd, tmp_path / "root"))
    assert "is there already" in refused(2, *words_to_add(sshd, tmp_path / "root"))
    assert len(devices()) == 2


def test_gc_removes_what_measuring_left_on_a_device_and_leaves_its_models(said, sshd: Sshd, tmp_path: Path) -> None:
    root = tmp_path / "root"
    said(*words_to_add(sshd, root))
    (tmp_path / "file").write_bytes(b"candidate")
    device = get_device("board")
    with connect(device) as transport:
        left = stage(transport, device, {"model.onnx": tmp_path / "file"})
    (root / "models").mkdir(exist_ok=True)
    (root / "models" / "kept").write_text("installed")
    said("gc", "--device", "board", "--dry-run")
    assert Path(left).exists()
    said("gc", "--device", "board")
    assert not Path(left).exists()
    assert (root / "models" / "kept").read_text() == "installed"
