"""Host keys against a real sshd: shown on demand, pinned, and refused before anything secret is sent."""

import socket
import subprocess
from pathlib import Path

import pytest

from edgekit.devices.connect import connect, host_keys_of
from edgekit.devices.hostkeys import fingerprint
from edgekit.errors import DeadlineError, HostKeyError, LoginError, UnreachableError
from edgekit.lab.sshd import running_sshd, write_key


def test_all_keys_of_a_host_are_shown_and_the_fingerprint_is_that_of_ssh_keygen(tmp_path: Path) -> None:
    with running_sshd(tmp_path / "sshd", kinds=("ed25519", "ecdsa")) as server:
        keys = host_keys_of(server.device(tmp_path))
        assert sorted(keys) == sorted(server.host_keys)
    (tmp_path / "key.pub").write_text(keys[0] + "\n")
    told = subprocess.run(["ssh-keygen", "-lf", str(tmp_path / "key.pub")], capture_output=True, text=True, check=True)
    assert fingerprint(keys[0]) in told.stdout


def test_enrolling_logs_nobody_in(sshd, tmp_path: Path) -> None:
    before = sshd.log()
    host_keys_of(sshd.device(tmp_path))
    assert "Accepted" not in sshd.log()[len(before) :]


def test_any_one_of_several_pinned_keys_will_do(tmp_path: Path) -> None:
    with running_sshd(tmp_path / "sshd", kinds=("ed25519", "ecdsa")) as server:
        for key in server.host_keys:
            with connect(server.device(tmp_path, host_keys=(key,))) as way:
                assert way.run(("true",), timeout_s=20).status == 0


def test_a_changed_key_is_refused_with_both_fingerprints_and_nothing_is_sent(own_sshd, tmp_path: Path) -> None:
    other = write_key(tmp_path / "other")
    with (
        pytest.raises(HostKeyError, match="nothing was sent") as caught,
        connect(own_sshd.device(tmp_path, host_keys=(other,))),
    ):
        pass
    assert fingerprint(other) in str(caught.value)
    assert fingerprint(own_sshd.host_keys[0]) in str(caught.value)
    assert "publickey" not in own_sshd.log()


def test_a_pinned_key_of_a_type_that_the_host_no_longer_has_is_refused(own_sshd, tmp_path: Path) -> None:
    other = write_key(tmp_path / "other", "ecdsa")
    with pytest.raises(HostKeyError), connect(own_sshd.device(tmp_path, host_keys=(other,))):
        pass
    assert "publickey" not in own_sshd.log()


def test_an_unknown_key_is_refused_before_a_connection_is_made(own_sshd, tmp_path: Path) -> None:
    before = own_sshd.log()
    with pytest.raises(HostKeyError, match="devices add"), connect(own_sshd.device(tmp_path, host_keys=())):
        pass
    assert own_sshd.log() == before


def test_a_wrong_user_is_told_as_such(sshd, tmp_path: Path) -> None:
    with pytest.raises(LoginError, match="login refused"), connect(sshd.device(tmp_path, user="nobody-at-all")):
        pass


def test_a_wrong_key_is_told_as_such(sshd, tmp_path: Path) -> None:
    write_key(tmp_path / "key")
    with (
        pytest.raises(LoginError, match="login refused"),
        connect(sshd.device(tmp_path, identity=str(tmp_path / "key"))),
    ):
        pass


def test_a_key_that_is_missing_locked_or_none_is_told_by_its_path(sshd, tmp_path: Path) -> None:
    write_key(tmp_path / "locked", passphrase=b"secret")
    (tmp_path / "none").write_text("no key")
    for name, words in (("gone", "there is no key"), ("locked", "passphrase"), ("none", "no private key")):
        with (
            pytest.raises(LoginError, match=words) as caught,
            connect(sshd.device(tmp_path, identity=str(tmp_path / name))),
        ):
            pass
        assert name in str(caught.value)


def test_a_host_that_is_not_there_is_told_in_one_line(sshd, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with (
            pytest.raises(UnreachableError, match="refused"),
            connect(sshd.device(tmp_path, port=closed.getsockname()[1])),
        ):
            pass
    with pytest.raises(UnreachableError, match="no such host"), connect(sshd.device(tmp_path, host="no-such.invalid")):
        pass
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100, b""])
def test_what_is_no_ssh_server_is_told_in_time_and_quietly(
    greeting: bytes, sshd, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from edgekit.devices.ssh import open_ssh

    with socket.create_server(("127.0.0.1", 0)) as server:
        device = sshd.device(tmp_path, port=server.getsockname()[1])
        accepted = []

        def answer() -> None:
            accepted.append(server.accept()[0])
            accepted[0].sendall(greeting)

        import threading

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(UnreachableError) as caught:
            open_ssh(device, timeout_s=1.0)
        thread.join()
        accepted[0].close()
    assert isinstance(caught.value, DeadlineError) or "not an SSH server" in str(caught.value)
    assert capfd.readouterr() == ("", "")
