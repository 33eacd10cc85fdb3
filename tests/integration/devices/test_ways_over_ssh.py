"""Both ways over SSH against a real sshd: through another machine, by certificate, and by what only a person knows."""

import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from edgekit.core.device import Device
from edgekit.devices.connect import connect, host_keys_of
from edgekit.devices.hostkeys import AUTHORITY, REVOKED
from edgekit.devices.inventory import add_device
from edgekit.errors import HostKeyError, LoginError, UnreachableError, UsageError
from edgekit.lab.link import link_to
from edgekit.lab.sshd import Sshd, running_sshd, write_key

WAYS = ("ssh", "openssh")


def certify(server: Sshd, folder: Path, *options: str) -> str:
    """Lets a new CA sign the host key of `server`; the pinned word for that CA."""
    public = write_key(folder / "ca")
    key = server.folder / "host_key_ed25519"
    (key.with_suffix(".pub")).write_text(server.host_keys[0] + "\n")
    words = ["ssh-keygen", "-q", "-s", str(folder / "ca"), "-h", "-I", "board", *options, str(key.with_suffix(".pub"))]
    subprocess.run(words, check=True, capture_output=True)
    server.stop()
    server.extra += f"\nHostCertificate {key}-cert.pub\n"
    server.start()
    return AUTHORITY + public


@pytest.mark.parametrize("way", WAYS)
def test_a_device_behind_another_is_reached_through_it(sshd, own_sshd, tmp_path: Path, way: str) -> None:
    add_device(sshd.device(tmp_path, "gate", transport=way))
    board = own_sshd.device(tmp_path, transport=way, jump="gate")
    before = sshd.log()
    assert host_keys_of(board) == own_sshd.host_keys
    with connect(board) as transport:
        assert transport.run(("echo", "here"), timeout_s=20).stdout == b"here\n"
    assert "Accepted publickey" in sshd.log()[len(before) :]


@pytest.mark.parametrize("way", WAYS)
def test_a_gate_with_another_key_is_refused_before_the_device_hears_of_it(
    sshd, own_sshd, tmp_path: Path, way: str
) -> None:
    add_device(sshd.device(tmp_path, "gate", transport=way, host_keys=(write_key(tmp_path / "other"),)))
    before = own_sshd.log()
    with pytest.raises(UnreachableError), connect(own_sshd.device(tmp_path, transport=way, jump="gate")):
        pass
    assert own_sshd.log() == before


@pytest.mark.parametrize("way", WAYS)
def test_devices_that_are_reached_through_each_other_are_refused(sshd, tmp_path: Path, way: str) -> None:
    add_device(sshd.device(tmp_path, "one", transport=way, jump="two"))
    add_device(sshd.device(tmp_path, "two", transport=way, jump="one"))
    with pytest.raises(UsageError, match="more than"), connect(sshd.device(tmp_path, transport=way, jump="one")):
        pass


@pytest.mark.parametrize("way", WAYS)
def test_a_revoked_key_is_refused_though_it_is_pinned(own_sshd, tmp_path: Path, way: str) -> None:
    key = own_sshd.host_keys[0]
    with pytest.raises(HostKeyError), connect(own_sshd.device(tmp_path, transport=way, host_keys=(key, REVOKED + key))):
        pass
    assert "publickey" not in own_sshd.log()


@pytest.mark.parametrize("keys", ["other", "none"])
def test_the_systems_ssh_refuses_a_changed_and_an_unknown_key(own_sshd, tmp_path: Path, keys: str) -> None:
    pinned = (write_key(tmp_path / "other"),) if keys == "other" else ()
    with pytest.raises(HostKeyError), connect(own_sshd.device(tmp_path, transport="openssh", host_keys=pinned)):
        pass
    assert "publickey" not in own_sshd.log()


def test_the_systems_ssh_shows_every_key_of_a_host_and_logs_nobody_in(tmp_path: Path) -> None:
    with running_sshd(tmp_path / "sshd", kinds=("ed25519", "ecdsa")) as server:
        found = host_keys_of(server.device(tmp_path, transport="openssh", host_keys=()))
        assert sorted(found) == sorted(server.host_keys)
        assert "Accepted" not in server.log()


def test_a_certificate_of_the_trusted_authority_is_a_host_key(own_sshd, tmp_path: Path) -> None:
    authority = certify(own_sshd, tmp_path, "-n", "127.0.0.1")
    device = own_sshd.device(tmp_path, transport="openssh", host_keys=(authority,))
    with connect(device) as transport:
        assert transport.run(("true",), timeout_s=20).status == 0


@pytest.mark.parametrize(
    "options", [("-n", "elsewhere"), ("-n", "127.0.0.1", "-V", "-2d:-1d")], ids=["another-host", "expired"]
)
def test_a_certificate_for_another_host_or_of_another_time_is_refused(
    own_sshd, tmp_path: Path, options: tuple[str, ...]
) -> None:
    authority = certify(own_sshd, tmp_path, *options)
    device = own_sshd.device(tmp_path, transport="openssh", host_keys=(authority,))
    with pytest.raises(HostKeyError), connect(device):
        pass
    assert "publickey" not in own_sshd.log()


def test_a_certificate_of_another_authority_is_refused(own_sshd, tmp_path: Path) -> None:
    certify(own_sshd, tmp_path, "-n", "127.0.0.1")
    other = AUTHORITY + write_key(tmp_path / "other")
    with pytest.raises(HostKeyError), connect(own_sshd.device(tmp_path, transport="openssh", host_keys=(other,))):
        pass
    assert "publickey" not in own_sshd.log()


def test_paramiko_says_that_it_cannot_check_a_certificate(own_sshd, tmp_path: Path) -> None:
    authority = certify(own_sshd, tmp_path, "-n", "127.0.0.1")
    with pytest.raises(HostKeyError, match="openssh"), connect(own_sshd.device(tmp_path, host_keys=(authority,))):
        pass


def test_a_users_ssh_config_holds_and_cannot_loosen_what_is_pinned(
    own_sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    (tmp_path / "config").write_text(
        f"Host nick\n HostName 127.0.0.1\n Port {own_sshd.port}\n StrictHostKeyChecking no\n"
        f" IdentityFile {own_sshd.folder}/client\n"
    )
    program.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F "{tmp_path}/config" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    device = Device(name="board", transport="openssh", host="nick", host_keys=own_sshd.host_keys)
    with connect(device) as transport:
        assert transport.run(("true",), timeout_s=20).status == 0
    other = (write_key(tmp_path / "other"),)
    with pytest.raises(HostKeyError), connect(msgspec.structs.replace(device, host_keys=other)):
        pass


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_key_is_told_as_a_refused_login(sshd, tmp_path: Path, way: str) -> None:
    write_key(tmp_path / "key")
    device = sshd.device(tmp_path, transport=way, identity=str(tmp_path / "key"))
    with pytest.raises(LoginError, match="login refused"), connect(device):
        pass


ASKED = """
import sys
from edgekit.core.noun import from_json
from edgekit.core.device import Device
from edgekit.devices.connect import connect
with connect(from_json(sys.argv[1].encode(), Device, "test")) as way:
    print("answer:", way.run(("echo", "in"), timeout_s=20).stdout)
"""


def at_a_terminal(device: Device, answers: list[str]) -> tuple[int, str]:
    """Connects in a process at a terminal where a person answers each question; its status and all that was shown."""
    shown = bytearray()
    pid, master = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", ASKED, msgspec.json.encode(device).decode()])
    watchdog = threading.Timer(60, lambda: os.kill(pid, 9))
    watchdog.start()
    waiting = iter(answers)
    asked = 0
    try:
        while True:
            try:
                block = os.read(master, 4096)
            except OSError:
                break
            if not block:
                break
            shown += block
            if shown.lower().count(b"pass") > asked and shown.rstrip().endswith(b":"):
                asked = shown.lower().count(b"pass")
                os.write(master, next(waiting, "").encode() + b"\n")
    finally:
        watchdog.cancel()
        os.close(master)
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), shown.decode(errors="replace")


@pytest.fixture
def secretive(tmp_path: Path) -> Iterator[Sshd]:
    """An sshd that takes a password, which is `sesame`; only it sees the file that says so."""
    hashed = subprocess.run(["openssl", "passwd", "-6", "sesame"], capture_output=True, text=True, check=True)
    (tmp_path / "shadow").write_text(f"root:{hashed.stdout.strip()}:19000:0:99999:7:::\n")
    script = f'mount --bind "{tmp_path}/shadow" /etc/shadow && exec "$@"'
    inside = ("unshare", "--mount", "sh", "-c", script, "sh")
    extra = "Match all\nPasswordAuthentication yes\nPermitRootLogin yes"
    with running_sshd(tmp_path / "sshd", extra=extra, inside=inside) as server:
        yield server


@pytest.mark.skipif(os.geteuid() != 0, reason="a password file of its own takes a mount, and so root")
@pytest.mark.parametrize("way", WAYS)
def test_a_password_is_asked_for_at_a_terminal_and_shown_nowhere(secretive: Sshd, tmp_path: Path, way: str) -> None:
    write_key(tmp_path / "key")
    device = secretive.device(tmp_path, transport=way, identity=str(tmp_path / "key"))
    status, shown = at_a_terminal(device, ["wrong", "sesame"])
    assert status == 0, shown
    assert "answer: b'in" in shown
    assert "sesame" not in shown
    assert "wrong" not in shown


@pytest.mark.parametrize("way", WAYS)
def test_the_passphrase_of_a_key_is_asked_for_at_a_terminal(sshd, tmp_path: Path, way: str) -> None:
    public = write_key(tmp_path / "locked", passphrase=b"sesame")
    known = sshd.folder / "authorized_keys"
    before = known.read_text()
    known.write_text(before + public + "\n")
    try:
        device = sshd.device(tmp_path, transport=way, identity=str(tmp_path / "locked"))
        status, shown = at_a_terminal(device, ["sesame"])
    finally:
        known.write_text(before)
    assert status == 0, shown
    assert "sesame" not in shown


@pytest.mark.parametrize("sessions", [1, 10])
def test_over_a_long_way_commands_follow_each_other_however_few_sessions_a_server_allows(
    tmp_path: Path, sessions: int
) -> None:
    extra = f"MaxSessions {sessions}"
    with ExitStack() as stack:
        server = stack.enter_context(running_sshd(tmp_path, extra=extra))
        link = stack.enter_context(link_to(server.port, delay_s=0.01))
        transport = stack.enter_context(connect(server.device(tmp_path, port=link.port)))
        for number in range(4):
            assert transport.run(("echo", str(number)), timeout_s=20).stdout == f"{number}\n".encode()
        assert transport.trip_s() >= 0.02
