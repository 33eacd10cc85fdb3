"""`edgekit devices import` and `list --select` against real sshds."""

import json
import platform
from getpass import getuser
from pathlib import Path

import pytest

from edgekit.cli.main import run
from edgekit.devices.hostkeys import fingerprint
from edgekit.devices.inventory import devices, get_device
from edgekit.lab.sshd import Sshd, free_port, running_sshd


def inventory(folder: Path, sshd: Sshd, more: str = "") -> str:
    """An Ansible inventory of two boards that are the same sshd, and whatever else."""
    (folder / "hosts.ini").write_text(
        f"[berlin]\nboard[1:2]\n[lab:children]\nberlin\n{more}\n[all:vars]\nansible_host=127.0.0.1\n"
        f"ansible_port={sshd.port}\nansible_user={getuser()}\nansible_ssh_private_key_file={sshd.folder}/client\n"
    )
    return str(folder / "hosts.ini")


def names() -> list[str]:
    return [device.name for device in devices()]


@pytest.fixture
def ended(capsys: pytest.CaptureFixture[str]):
    """Runs a command; its exit code and what it printed."""

    def call(*words: str) -> tuple[int, str]:
        code = run(words)
        return code, capsys.readouterr().out

    return call


def test_the_machines_of_an_inventory_are_enrolled_with_their_keys_and_groups(said, sshd: Sshd, tmp_path: Path) -> None:
    out = said(
        "devices", "import", inventory(tmp_path, sshd), "--label", "site=berlin", "--root", str(tmp_path / "root")
    )
    assert "2 added" in out
    assert all(fingerprint(key) in out for key in sshd.host_keys)
    board = get_device("board1")
    assert set(board.host_keys) == set(sshd.host_keys)
    assert board.labels == (("group-berlin", "yes"), ("group-lab", "yes"), ("site", "berlin"))
    assert board.targets
    again = said("devices", "import", inventory(tmp_path, sshd))
    assert "2 there already" in again
    assert get_device("board1") == board


def test_an_ssh_config_is_read_with_what_it_includes(said, sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "more").write_text(f"Host board\n HostName 127.0.0.1\n Port {sshd.port}\n")
    (tmp_path / "config").write_text(
        "Include more\nHost odd\n ProxyCommand nc a 22\n"
        f"Host *\n User {getuser()}\n IdentityFile {sshd.folder}/client\n"
    )
    found = json.loads(said("devices", "import", str(tmp_path / "config"), "--json"))
    assert {one["device"]["name"]: one["state"] for one in found} == {"board": "added", "odd": "left out"}
    assert "ProxyCommand nc a 22" in found[1]["said"]
    assert names() == ["local", "board"]


def behind_a_gate(folder: Path, gate: Sshd, board: Sshd) -> str:
    """A configuration in which the board comes first, and is reached through the gate."""
    (path := folder / "config").write_text(
        f"Host far\n HostName 127.0.0.1\n Port {board.port}\n IdentityFile {board.folder}/client\n ProxyJump gate\n"
        f"Host gate\n HostName 127.0.0.1\n Port {gate.port}\n IdentityFile {gate.folder}/client\n"
        f"Host *\n User {getuser()}\n"
    )
    return str(path)


def test_a_machine_behind_another_is_enrolled_through_it(said, sshd: Sshd, own_sshd: Sshd, tmp_path: Path) -> None:
    config = behind_a_gate(tmp_path, own_sshd, sshd)
    out = said("devices", "import", config, "--dry-run")
    assert "far (" in out
    assert "can be seen once gate is a device" in out
    assert names() == ["local"]
    assert "2 added" in said("devices", "import", config, "--root", str(tmp_path / "root"))
    far = get_device("far")
    assert (far.jump, set(far.host_keys)) == ("gate", set(sshd.host_keys))


def test_a_machine_is_not_enrolled_where_the_one_before_it_is_not(
    ended, sshd: Sshd, own_sshd: Sshd, tmp_path: Path
) -> None:
    config = behind_a_gate(tmp_path, own_sshd, sshd)
    own_sshd.stop()
    code, out = ended("devices", "import", config)
    assert code == 7
    assert "is reached through gate, which was not added" in out
    assert names() == ["local"]


def test_a_dry_run_shows_the_host_keys_logs_in_nowhere_and_keeps_nothing(said, own_sshd: Sshd, tmp_path: Path) -> None:
    out = said("devices", "import", inventory(tmp_path, own_sshd), "--dry-run")
    assert "2 would be added" in out
    assert all(fingerprint(key) in out for key in own_sshd.host_keys)
    assert "group-berlin=yes" in out
    assert "Accepted publickey" not in own_sshd.log()
    assert names() == ["local"]


def test_a_machine_that_is_off_and_one_that_refuses_are_told_and_stop_nobody(ended, sshd: Sshd, tmp_path: Path) -> None:
    more = f"off ansible_port={free_port()}\nstranger ansible_ssh_private_key_file={tmp_path}/none"
    code, out = ended("devices", "import", inventory(tmp_path, sshd, f"[more]\n{more}"))
    assert code == 7
    assert "2 added, 2 failed" in out
    assert "off (" in out
    assert "there is no key" in out
    assert names() == ["local", "board1", "board2"]


def test_names_and_addresses_that_no_device_may_have_are_left_out_in_words(ended, sshd: Sshd, tmp_path: Path) -> None:
    more = "\n".join(
        ["local", "'$(touch mark)'", "'../up'", "evil ansible_host=-oProxyCommand=x", "e2 ansible_user='a\x1b[31mb'"]
    )
    code, out = ended("devices", "import", inventory(tmp_path, sshd, f"[more]\n{more}"))
    assert code == 0
    assert "2 added, 5 left out" in out
    assert "\x1b" not in out
    assert names() == ["local", "board1", "board2"]


def test_only_what_is_selected_is_asked(said, sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "off").mkdir()
    text = inventory(tmp_path, sshd, f"[more]\noff ansible_port={free_port()}")
    assert "1 added" in said("devices", "import", text, "--select", "group-berlin,name!=board2")
    assert names() == ["local", "board1"]


def test_the_list_can_be_asked_for_some(
    said, refused, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where `refused` looks for files that a refused command left
    said("devices", "import", inventory(tmp_path, sshd), "--label", "site=berlin")

    def selected(text: str) -> list[str]:
        return [device["name"] for device in json.loads(said("devices", "list", "--select", text, "--json"))]

    assert selected("site=berlin") == ["board1", "board2"]
    assert selected("site=berlin,name in (board2,board3)") == ["board2"]
    assert selected("!site") == ["local"]
    assert selected(f"arch={platform.machine()},soc!=pi4") == ["board1", "board2"]
    assert selected("transport=local") == ["local"]
    assert selected("firmware=none-such") == []
    assert "no device is that" in said("devices", "list", "--select", "site=x")
    assert "at 6: want a value" in refused("devices", "list", "--select", "site=")


def test_many_are_enrolled_at_once_and_all_are_kept(said, tmp_path: Path) -> None:
    with running_sshd(tmp_path / "sshd") as server:
        text = Path(inventory(tmp_path, server)).read_text().replace("board[1:2]", "board[01:24]")
        (tmp_path / "many.ini").write_text(text)
        assert "24 added" in said("devices", "import", str(tmp_path / "many.ini"))
    assert len(names()) == 25


@pytest.mark.parametrize("words", [("nowhere",), ("hosts.ini", "--select", "a=")])
def test_what_cannot_be_read_is_one_line(refused, words: tuple[str, ...], tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "hosts.ini").write_text("a\n")
    monkeypatch.chdir(tmp_path)
    assert refused("devices", "import", *words)
