"""Machines of other tools' files: what those tools would reach is read, nothing in a file is run, a bad one is told."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.device import Device
from edgekit.devices.ansible import expanded
from edgekit.devices.ansible_ini import ini_inventory
from edgekit.devices.ansible_yaml import yaml_inventory
from edgekit.devices.inventory import check_device
from edgekit.devices.machine import Machine, device_of
from edgekit.devices.machines import format_of, read_machines
from edgekit.errors import EdgekitError, UsageError


def read(tmp_path: Path, text: str, name: str = "config") -> dict[str, Machine]:
    (tmp_path / name).write_text(text)
    return {machine.name: machine for machine in read_machines(tmp_path / name)}


# OpenSSH

SSH = """
# all of them
User early

Host pi5 pi4
    HostName %h.lan
    Port 2222
    IdentityFile ~/.ssh/lab
    ForwardAgent yes

host=nano
    hostname = "10.0.0.9"
    user nvidia

Host *.cloud !bad
    User never

Host far
    ProxyJump pi5

Host odd
    ProxyCommand nc "%h 22

Host *
    User late
    Port 22
    IdentityFile ~/.ssh/late
"""


def test_hosts_are_read_as_ssh_would_reach_them(tmp_path: Path) -> None:
    found = read(tmp_path, SSH)
    assert list(found) == ["pi5", "pi4", "nano", "far", "odd"]
    assert (found["pi5"].host, found["pi5"].port, found["pi5"].user) == ("pi5.lan", 2222, "early")
    assert found["pi5"].identity == str(Path.home() / ".ssh" / "lab")
    assert (found["nano"].host, found["nano"].user, found["nano"].port) == ("10.0.0.9", "early", 22)
    assert (found["far"].jump, found["far"].problem) == ("pi5", None)
    assert "ProxyCommand" in str(found["odd"].problem)
    assert found["nano"].problem is None


@pytest.mark.parametrize(
    ("jump", "through", "why"),
    [
        ("gate", "gate", None),
        ("pi@gate.lan:2200", "gate", None),
        ("ssh://pi@gate.lan:2200", "gate", None),
        ("gate.lan:2200", "gate", None),
        ("none", None, None),
        ("ann@gate.lan:2200", None, "is no Host of this file"),
        ("gate.lan", None, "is no Host of this file"),
        ("other,gate", None, "is no Host of this file"),
        ("far", None, "by way of itself"),
        ("round", None, "by way of itself"),
    ],
)
def test_a_machine_behind_another_is_reached_through_that(
    tmp_path: Path, jump: str, through: str | None, why: str | None
) -> None:
    gate = "Host gate\n HostName gate.lan\n User pi\n Port 2200\n"
    far = read(tmp_path, f"Host far\n ProxyJump {jump}\n{gate}Host round\n ProxyJump far\n")["far"]
    assert far.jump == through
    assert far.problem is None if why is None else why in str(far.problem)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh client here")
@pytest.mark.parametrize("name", ["pi5", "pi4", "nano", "inner", "last"])
def test_ssh_itself_says_the_same(tmp_path: Path, name: str) -> None:
    (tmp_path / "more").write_text("Host inner\n HostName in.lan\n Port 77\nHost pi5\n User second\n")
    text = f"Include {tmp_path}/mo*\n" + SSH.replace('nc "%h 22', "nc %h 22") + "\nHost last\n HostName last.lan\n"
    found = read(tmp_path, text)[name]
    said = subprocess.run(["ssh", "-G", "-F", tmp_path / "config", name], capture_output=True, text=True, check=True)
    words = [line.split(" ", 1) for line in said.stdout.splitlines() if " " in line]
    told = dict(reversed(words))
    assert (told["hostname"], told["port"], told["user"]) == (found.host, str(found.port), found.user)
    assert Path(told["identityfile"]).expanduser() == Path(str(found.identity))


def test_included_files_are_read_where_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a").write_text("Host a\n HostName a.lan\n")
    (tmp_path / "conf.d" / "b").write_text("Host b\n HostName b.lan\n")
    found = read(tmp_path, "Include conf.d/* nothing/*\nHost c\n Include conf.d/a\n Port 7\nHost a\n Port 9\n")
    assert (found["a"].host, found["a"].port) == ("a.lan", 9)
    assert (found["c"].host, found["c"].port) == ("c", 7)
    assert "b" in found


def test_files_that_include_each_other_end_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="include each other"):
        read(tmp_path, "Host a\nInclude config\n")


def test_no_command_of_a_file_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    found = read(
        tmp_path,
        f'Match exec "touch {mark}"\n User evil\nMatch host a exec "touch {mark}"\n User evil\nHost a\n User me\n',
    )
    assert found["a"].user == "me"
    assert not mark.exists()


def test_a_match_of_all_and_one_of_a_host_are_heeded(tmp_path: Path) -> None:
    found = read(tmp_path, "Match host a,b*\n User me\nMatch all\n Port 7\nHost a\nHost c\n User you\n")
    assert (found["a"].user, found["a"].port) == ("me", 7)
    assert (found["c"].user, found["c"].port) == ("you", 7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Host a\nPort ssh\n", "line 2: want a port"),
        ("Host a\nPort 99999\n", "line 2: want a port"),
        ('Host a\nHostName "a\n', "line 2: a quote"),
        ("Host a\n-x\n", "line 2: want a keyword"),
        ("Host\n", "line 1: want a keyword and a value"),
        ("Host *\n User me\n", "names no machine"),
    ],
)
def test_a_wrong_line_of_an_ssh_config_is_told_by_its_number(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read(tmp_path, text)


# Ansible

INI = """
; plain hosts first
lonely ansible_host=10.0.0.1 ansible_user='pi'

[web]
web[01:03].lan ansible_port=2222  # three
other:2200 note="two words"

[db]
db-[a:b] ansible_ssh_private_key_file=~/.ssh/db
win ansible_connection=winrm
tmpl ansible_host="{{ inventory_hostname }}.lan"
jump ansible_ssh_common_args='-o ProxyJump=bastion'

[lab:children]
web
db

[lab:vars]
ansible_user = "lab"

[db:vars]
ansible_user=dba

[all:vars]
ansible_user=everybody
"""

YAML = """
all:
  vars: {ansible_user: everybody}
  hosts:
    lonely: {ansible_host: 10.0.0.1, ansible_user: pi, secret: !vault "x"}
  children:
    lab:
      vars: {ansible_user: lab}
      children:
        web:
          hosts:
            web[01:03].lan: {ansible_port: 2222}
            other: {ansible_port: 2200, flag: yes}
        db:
          vars: {ansible_user: dba}
          hosts:
            db-[a:b]: {ansible_ssh_private_key_file: ~/.ssh/db}
            win: {ansible_connection: winrm}
            tmpl: {ansible_host: "{{ inventory_hostname }}.lan"}
            jump: {ansible_ssh_common_args: -o ProxyJump=bastion}
"""


@pytest.mark.parametrize(("text", "name"), [(INI, "hosts"), (INI, "hosts.ini"), (YAML, "hosts.yml"), (YAML, "hosts")])
def test_an_inventory_of_either_kind_is_read_as_ansible_would_reach_its_hosts(
    tmp_path: Path, text: str, name: str
) -> None:
    found = read(tmp_path, text, name)
    assert list(found) == [
        "lonely", "web01.lan", "web02.lan", "web03.lan", "other", "db-a", "db-b", "win", "tmpl", "jump",
    ]  # fmt: skip
    assert (found["lonely"].host, found["lonely"].user, found["lonely"].labels) == ("10.0.0.1", "pi", ())
    assert (found["web02.lan"].host, found["web02.lan"].port, found["web02.lan"].user) == ("web02.lan", 2222, "lab")
    assert found["web02.lan"].labels == (("group-lab", "yes"), ("group-web", "yes"))
    assert found["other"].port == 2200
    assert (found["db-a"].user, found["db-a"].identity) == ("dba", str(Path.home() / ".ssh" / "db"))
    assert "winrm" in str(found["win"].problem)
    assert "template" in str(found["tmpl"].problem)
    assert "ProxyJump=bastion" in str(found["jump"].problem)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("web[1:3]", ["web1", "web2", "web3"]),
        ("web[08:10]", ["web08", "web09", "web10"]),
        ("w[0:6:3]x", ["w0x", "w3x", "w6x"]),
        ("[a:c]", ["a", "b", "c"]),
        ("a[1:2][x:y]", ["a1x", "a1y", "a2x", "a2y"]),
        ("plain", ["plain"]),
    ],
)
def test_a_range_is_all_its_names(pattern: str, names: list[str]) -> None:
    assert list(expanded(pattern, "hosts")) == names


@pytest.mark.parametrize("pattern", ["w[1:", "w]", "w[1-3]", "w[3:1]", "w[a:3]", "w[1:3:0]", "[::1]"])
def test_a_range_that_is_none_is_told(pattern: str) -> None:
    with pytest.raises(UsageError, match="want a range"):
        expanded(pattern, "hosts")


@pytest.mark.parametrize("pattern", ["w[1:999999999]", "w[1:999][1:999][1:999][1:999]"])
def test_a_range_without_an_end_is_refused_at_once(pattern: str) -> None:
    with pytest.raises(UsageError, match="more than 10,000 machines"):
        expanded(pattern, "hosts")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[web\nw1\n", "line 1: want"),
        ("[web:host]\nw1\n", "line 1: want"),
        ("w1 'x\n", "line 1: a quote"),
        ("w1 word\n", "line 1: want key=value, got 'word'"),
        ("[w:vars]\nx\n", "line 2: want key=value"),
        ("w1 ansible_port=ssh\n", "host w1: want a port"),
        ("[a:children]\nb\n[b:children]\na\n[b]\nx\n", "within itself"),
        ("[web]\n", "names no machine"),
    ],
)
def test_a_wrong_line_of_an_ini_inventory_is_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read(tmp_path, text, "hosts.ini")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("all: [a, b]\n", "hosts.yml: all: want a table of names, got list"),
        ("all:\n  hosts: {a: b}\n", "all.hosts.a: want a table of names, got 'b'"),
        ("all:\n  hosts: {1.5: }\n", "want a name"),
        ("all: {hosts: {a: {ansible_port: x}}}\n", "host a: want a port"),
        ("all: [\n", "line 2"),
        ("a: &a {children: {b: *a}}\n", "within"),
        ('{"_meta": {}, "all": {}}\n', "add --yaml"),
        ("", "names no machine"),
    ],
)
def test_what_is_wrong_in_a_yaml_inventory_is_told_by_its_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read(tmp_path, text, "hosts.yml")


@pytest.mark.parametrize("kind", ["aliases", "groups", "merges", "text"])
def test_a_few_lines_that_stand_for_very_many_end_soon(tmp_path: Path, kind: str) -> None:
    before, doubled = "a0: &a0 {hosts: {x: }}\n", {
        "aliases": "a{n}: &a{n} {{children: {{x{n}: *a{m}, y{n}: *a{m}}}}}\n",
        "groups": "a{n}: &a{n} {{children: {{x: *a{m}, y: *a{m}, z: *a{m}}}}}\n",
        "merges": "a{n}: &a{n} {{<<: [*a{m}, *a{m}]}}\n",
        "text": "a{n}: &a{n} [*a{m}, *a{m}]\n",
    }[kind]  # fmt: skip
    text = before + "".join(doubled.format(n=n, m=n - 1) for n in range(1, 40))
    with pytest.raises(UsageError):
        read(tmp_path, text, "hosts.yml")
        raise UsageError("read, and soon")


def test_a_program_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "inventory").write_text(f"#!/bin/sh\ntouch {tmp_path}/mark\n")
    (tmp_path / "inventory").chmod(0o755)
    with pytest.raises(UsageError, match="ansible-inventory"):
        read_machines(tmp_path / "inventory")
    assert not (tmp_path / "mark").exists()


def test_what_is_no_text_or_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_bytes(b"x" * (9 << 20))
    for name, words in (
        ("binary", "no text"),
        ("large", "larger than"),
        ("none", "cannot be read"),
        (".", "cannot be"),
    ):
        with pytest.raises(UsageError, match=words):
            read_machines(tmp_path / name)


def test_the_kind_of_a_file_is_told_by_its_suffix_or_its_first_lines() -> None:
    kinds = [format_of(Path(n), t) for n, t in (("x.yaml", ""), ("x.ini", "Host a"), ("x", "  Host a"), ("x", "a b=c"))]
    assert kinds == ["ansible-yaml", "ansible-ini", "ssh", "ansible-ini"]


@settings(max_examples=300)
@given(text=st.text(st.sampled_from("aH9 \n\t[]:=,*!#'\"{}-&@%$/\\\x1b.") | st.characters(), max_size=60))
def test_any_text_is_machines_that_are_checked_or_an_error_in_words(text: str) -> None:
    for reader in (lambda: ini_inventory(text, "f").machines(), lambda: yaml_inventory(text, "f").machines()):
        try:
            for machine in reader():
                checked(device_of(machine))
        except UsageError as error:
            assert "\n" not in str(error)


def checked(device: Device) -> None:
    try:
        check_device(device)
    except EdgekitError:
        return
    json.dumps(device.name)
    assert device.name.isprintable()
    assert not device.host.startswith("-")
