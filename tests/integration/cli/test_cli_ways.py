"""`edgekit devices add` by every way to a machine, as somebody would who has one of each."""

import json
from pathlib import Path

import pytest
from phone import running_phone

from edgekit.cli.main import run
from edgekit.devices.inventory import devices, get_device
from edgekit.lab.sshd import Sshd, write_key


def words_to_add(server: Sshd, name: str, *more: str) -> tuple[str, ...]:
    return (
        "devices", "add", name, "127.0.0.1", "--port", str(server.port), "--identity", str(server.folder / "client"),
        "--root", str(server.folder / "root"), *more,
    )  # fmt: skip


def test_a_machine_is_added_by_the_systems_ssh_with_all_its_keys(
    sshd: Sshd, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words_to_add(sshd, "board", "--transport", "openssh", "--json")) == 0
    added = json.loads(capsys.readouterr().out)
    assert set(added["device"]["host_keys"]) == set(sshd.host_keys)
    assert added["facts"]["arch"]
    assert get_device("board").transport == "openssh"


def test_a_machine_behind_another_is_added_through_it(
    sshd: Sshd, own_sshd: Sshd, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words_to_add(sshd, "gate")) == 0
    assert run(words_to_add(own_sshd, "board", "--jump", "gate")) == 0
    assert run(("devices", "list")) == 0
    assert "through gate" in capsys.readouterr().out


def test_a_phone_is_added_by_its_serial_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_phone(tmp_path / "phone", monkeypatch) as phone:
        root = str(tmp_path / "phone" / "home" / "edgekit")
        assert run(("devices", "add", "phone", phone.serial, "--transport", "adb", "--root", root, "--json")) == 0
        added = json.loads(capsys.readouterr().out)
        assert added["device"]["host_keys"] == []
        assert run(("devices", "list")) == 0
        assert f"adb {phone.serial}" in capsys.readouterr().out


def test_a_phone_that_trusts_nobody_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_phone(tmp_path / "phone", monkeypatch, "--untrusting") as phone:
        code = run(("devices", "add", "phone", phone.serial, "--transport", "adb"))
    line = capsys.readouterr().err
    assert code == 4
    assert "say yes on its screen" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--transport", "telnet"), "want ssh, openssh or adb"),
        (("--jump", "nobody"), "there is none of that name"),
        (("--jump", "local"), "jump"),
        (("--host-authority", "/no/such/file"), "cannot be read"),
    ],
)
def test_a_way_that_there_is_not_is_one_line_and_nothing_is_kept(
    sshd: Sshd, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], words: str
) -> None:
    assert run(words_to_add(sshd, "board", *more)) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert [device.name for device in devices()] == ["local"]


def test_an_authority_is_for_the_systems_ssh(sshd: Sshd, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ca.pub").write_text(write_key(tmp_path / "ca") + " the authority\n")
    assert run(words_to_add(sshd, "board", "--host-authority", str(tmp_path / "ca.pub"))) == 2
    assert "openssh" in capsys.readouterr().err
