"""Files on a device: whole or absent, old or new, over both transports and in two userlands."""

import hashlib
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import disks
import msgspec
import pytest

from edgekit.core.artifact import Artifact, FileEntry, content_id
from edgekit.core.device import Device
from edgekit.devices import parcel, push, scripts, send
from edgekit.devices.agent import agent_command, agent_files, install_agent
from edgekit.devices.connect import connect
from edgekit.devices.prepare import runtime_environment
from edgekit.devices.transport import Transport
from edgekit.devices.wheels import pack
from edgekit.errors import ArtifactError, DeviceError, StorageError, UnreachableError, UsageError
from edgekit.lab.sshd import Sshd

Place = tuple[Transport, Device]


@pytest.fixture(params=["local", "ssh", "busybox"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    root = str(tmp_path / "edge root; it's")
    if request.param == "local":
        device = Device(name="local", transport="local", root=root)
    else:
        device = request.getfixturevalue("sshd" if request.param == "ssh" else "busybox").device(root)
    with connect(device) as way:
        yield way, device


def artifact(folder: Path, content: bytes, name: str = "net") -> tuple[Artifact, Path]:
    """An artifact of two files, and its folder."""
    folder = folder / hashlib.sha256(content).hexdigest()[:8]
    (folder / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "model file.onnx").write_bytes(content)
    (folder / "deep" / "vectors.npz").write_bytes(content[::-1])
    paths = ("model file.onnx", "deep/vectors.npz")
    files = tuple(
        FileEntry(
            path=path,
            sha256=hashlib.sha256((folder / path).read_bytes()).hexdigest(),
            size_bytes=len(content),
        )
        for path in paths
    )
    made = Artifact(
        id=content_id(files), key="k", name=name, format="onnx", target="t", files=files, model_file=paths[0]
    )
    return made, folder


def tree(root: str) -> set[str]:
    return {str(path.relative_to(root)) for path in Path(root).rglob("*")}


def current(device: Device, name: str = "net") -> bytes | None:
    """What a program on the device would load."""
    path = Path(device.root) / "models" / name / "current"
    if not path.is_dir():
        return None
    content = (path / "model file.onnx").read_bytes()
    assert (path / "deep" / "vectors.npz").read_bytes() == content[::-1], "half of a model is visible"
    return content


def test_what_is_staged_is_there_under_its_names(place: Place, tmp_path: Path) -> None:
    way, device = place
    (tmp_path / "m").write_bytes(content := os.urandom(200_000))
    folder = push.stage(way, device, {"sub dir/a 'm'.onnx": tmp_path / "m", "$(x)": tmp_path / "m"})
    assert (Path(folder) / "sub dir" / "a 'm'.onnx").read_bytes() == content
    assert (Path(folder) / "$(x)").read_bytes() == content
    assert Path(folder).parent == Path(device.root) / "bench"


def test_what_is_there_is_not_sent_again(place: Place, tmp_path: Path) -> None:
    way, device = place
    (tmp_path / "m").write_bytes(os.urandom(100_000))
    sent: list[int] = []
    first = push.stage(way, device, {"m": tmp_path / "m"}, on_bytes=sent.append)
    assert sum(sent) > 100_000
    sent.clear()
    assert push.stage(way, device, {"m": tmp_path / "m"}, on_bytes=sent.append) == first
    assert sent == []


@pytest.mark.parametrize("harm", ["changed", "removed", "added", "linked"])
def test_a_folder_that_was_tampered_with_is_sent_again(place: Place, tmp_path: Path, harm: str) -> None:
    way, device = place
    (tmp_path / "m").write_bytes(b"good")
    folder = Path(push.stage(way, device, {"m": tmp_path / "m"}))
    if harm == "added":
        (folder / "extra").touch()
    else:
        (folder / "m").unlink()
    if harm == "changed":
        (folder / "m").write_bytes(b"evil")
    if harm == "linked":
        (folder / "m").symlink_to(tmp_path / "m")
    assert Path(push.stage(way, device, {"m": tmp_path / "m"})) == folder
    assert [p.name for p in sorted(folder.iterdir())] == [".manifest", "m"]
    assert not (folder / "m").is_symlink()
    assert (folder / "m").read_bytes() == b"good"


def test_a_path_below_home_is_where_the_user_is_at_home(tmp_path: Path, sshd: Sshd) -> None:
    device = sshd.device(".edge kit")
    (tmp_path / "m").write_bytes(b"x")
    with connect(device) as way:
        folder = push.stage(way, device, {"m": tmp_path / "m"})
        assert (sshd.home / folder / "m").read_bytes() == b"x"
        push.purge(way, device)
    assert not (sshd.home / ".edge kit").exists()


def test_an_installed_model_is_the_active_one(place: Place, tmp_path: Path) -> None:
    way, device = place
    assert push.active(way, device, "net") is None
    made, folder = artifact(tmp_path, b"first" * 1000)
    deployed = push.install(way, device, made, folder)
    assert current(device) == b"first" * 1000
    assert (deployed.artifact, deployed.active, deployed.previous) == (made.id, True, None)
    assert push.active(way, device, "net") == deployed
    assert "bench" not in {p.name for p in Path(device.root).iterdir() if any(p.iterdir() if p.is_dir() else ())}


def test_a_newer_version_takes_over_and_the_older_ones_are_kept(place: Place, tmp_path: Path) -> None:
    way, device = place
    made = [artifact(tmp_path, b"%d" % number) for number in range(5)]
    deployed = [push.install(way, device, *each, keep=2) for each in made]
    assert current(device) == b"4"
    versions = Path(device.root) / "models" / "net" / "versions"
    assert sorted(p.name for p in versions.iterdir()) == [d.version for d in deployed[2:]]
    assert deployed[4].previous == deployed[3].version


def test_a_version_that_is_still_there_is_made_active_without_being_sent(place: Place, tmp_path: Path) -> None:
    way, device = place
    old, new = artifact(tmp_path, b"old"), artifact(tmp_path, b"new")
    first = push.install(way, device, *old)
    second = push.install(way, device, *new)
    sent: list[int] = []
    back = push.install(way, device, *old, on_bytes=sent.append)
    assert sent == []
    assert current(device) == b"old"
    assert (back.version, back.previous) == (first.version, second.version)


def test_an_engine_is_kept_whole_or_not_at_all_and_old_ones_go(place: Place) -> None:
    way, device = place
    root = Path(device.root)

    def engine(where: str, key: str, *keep: str) -> dict[str, str]:
        return scripts.ask(way, "engine", (device.root, where, key, *keep), doing="engine")

    def built(where: str, key: str) -> dict[str, str]:
        (root / "incoming" / f"{key}.engine").write_bytes(b"ftrt" + bytes(40))
        (root / "incoming" / f"{key}.engine.cache").write_bytes(key.encode())
        return engine(where, key, "2")

    assert engine("10.3.0-orin", "a0")["engine"] == ""
    with pytest.raises(DeviceError, match="trtexec wrote no engine"):
        engine("10.3.0-orin", "a0", "2")
    found = built("10.3.0-orin", "a0")
    assert (found["engine"], found["size"].strip()) == ("engines/10.3.0-orin/a0.engine", "44")
    assert bytes.fromhex(found["header"]) == b"ftrt" + bytes(24)
    assert engine("10.3.0-orin", "a0") == found
    assert engine("10.3.0-orin", "b1")["engine"] == ""
    assert (root / "incoming" / "b1.engine.cache").read_bytes() == b"a0", "what was timed is not timed again"
    for number, key in enumerate(("b1", "c2")):
        os.utime(root / found["engine"], (number, number))
        built("10.3.0-orin", key)
    assert sorted(p.name for p in (root / "engines" / "10.3.0-orin").iterdir()) == [
        "b1.engine", "c2.engine", "timing.cache",
    ]  # fmt: skip
    built("10.7.0-orin", "a0")
    assert [p.name for p in (root / "engines").iterdir()] == ["10.7.0-orin"]


def test_what_a_device_built_is_beside_its_version_which_is_whole_with_it(place: Place, tmp_path: Path) -> None:
    way, device = place
    engines = Path(device.root) / "engines" / "x"
    old, new = artifact(tmp_path, b"old"), artifact(tmp_path, b"new")
    push.install(way, device, *artifact(tmp_path, b"before"))
    engines.mkdir(parents=True)
    built = Path(device.root) / "models" / "net" / "current" / ".built" / "model.engine"
    for made, content in ((old, b"one"), (new, b"two"), (old, b"one"), (old, b"three")):
        (engines / "k.engine").unlink(missing_ok=True)
        (engines / "k.engine").write_bytes(content)
        push.install(way, device, *made, engine="engines/x/k.engine")
        assert built.read_bytes() == content
        assert [p.name for p in built.parent.iterdir()] == ["model.engine"]
    versions = Path(device.root) / "models" / "net" / "versions"
    assert len(list(versions.iterdir())) == 3, "a version with an engine is known again"
    with pytest.raises(DeviceError, match="the engine cannot be put beside the model"):
        push.install(way, device, *new, engine="engines/x/gone.engine")
    assert current(device) == b"old"


def test_two_models_are_two_slots(place: Place, tmp_path: Path) -> None:
    way, device = place
    push.install(way, device, *artifact(tmp_path, b"a"))
    push.install(way, device, *artifact(tmp_path, b"b"), name="other")
    assert (current(device), current(device, "other")) == (b"a", b"b")
    with pytest.raises(UsageError, match="model name"):
        push.install(way, device, *artifact(tmp_path, b"c"), name="../net")


def test_a_damaged_store_is_told_before_anything_is_sent(place: Place, tmp_path: Path) -> None:
    way, device = place
    made, folder = artifact(tmp_path, b"good")
    (folder / "model file.onnx").write_bytes(b"evil")
    with pytest.raises(ArtifactError, match="store is damaged"):
        push.install(way, device, made, folder)
    assert not Path(device.root).exists()


def test_a_file_that_changes_while_it_is_sent_is_refused_by_the_device(place: Place, tmp_path: Path) -> None:
    way, device = place
    (tmp_path / "m").write_bytes(b"good")
    sent = parcel.parcel({"m": tmp_path / "m"})
    (tmp_path / "m").write_bytes(b"evil")
    with pytest.raises(DeviceError, match="not what was sent"):
        send.bring(way, device, sent, "bench")
    assert tree(device.root) <= {".edgekit", "bench", "incoming"}


def test_collecting_leaves_versions_and_nothing_of_measuring(place: Place, tmp_path: Path) -> None:
    way, device = place
    push.install(way, device, *artifact(tmp_path, b"kept"))
    (tmp_path / "m").write_bytes(b"candidate")
    push.stage(way, device, {"m": tmp_path / "m"})
    install_agent(way, device)
    push.collect(way, device)
    assert current(device) == b"kept"
    assert {p.name for p in Path(device.root).iterdir()} == {".edgekit", "models"}


def test_a_candidate_that_is_dropped_makes_room_and_the_others_stay(place: Place, tmp_path: Path) -> None:
    way, device = place
    staged = []
    for name in ("one", "two", "three"):
        (tmp_path / name).write_bytes(name.encode())
        staged.append(push.stage(way, device, {"m": tmp_path / name}))
    push.drop(way, device, staged[:2])
    push.drop(way, device, staged[:1])
    push.drop(way, device, ())
    bench = Path(device.root) / "bench"
    assert [p.name for p in bench.iterdir()] == [Path(staged[2]).name]
    with pytest.raises(DeviceError, match="no candidate"):
        push.drop(way, device, [f"{device.root}/models/.."])
    assert push.stage(way, device, {"m": tmp_path / "one"}) == staged[0]


def test_purging_leaves_nothing_behind(place: Place, tmp_path: Path) -> None:
    way, device = place
    before = tree(str(tmp_path))
    made = artifact(tmp_path, b"model")
    before |= tree(str(tmp_path))
    push.install(way, device, *made)
    (Path(device.root) / "models" / ".hidden").touch()
    push.purge(way, device)
    push.purge(way, device)
    assert tree(str(tmp_path)) == before


def test_a_folder_of_someone_elses_is_neither_used_nor_purged(place: Place, tmp_path: Path) -> None:
    way, device = place
    Path(device.root).mkdir()
    (Path(device.root) / "thesis.tex").write_text("years of work")
    (tmp_path / "m").write_bytes(b"x")
    with pytest.raises(DeviceError, match="not edgekit's"):
        push.stage(way, device, {"m": tmp_path / "m"})
    with pytest.raises(DeviceError, match="not edgekit's"):
        push.purge(way, device)
    assert tree(device.root) == {"thesis.tex"}


def test_the_agent_is_replaced_by_digest(place: Place) -> None:
    way, device = place
    folder = install_agent(way, device)
    assert tree(folder) == set(agent_files()) | {"agent", ".manifest"}
    main = Path(folder) / "agent" / "main.py"
    shipped = main.read_bytes()
    main.write_text("tampered")
    assert install_agent(way, device) == folder
    assert main.read_bytes() == shipped == agent_files()["agent/main.py"].read_bytes()
    assert agent_command(way, device, (("PYTHONPATH", "/x y"),))[:2] == ("env", "PYTHONPATH=/x y")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    with disks.small_disk(tmp_path / "small") as disk:
        yield disk


@pytest.mark.parametrize("kind", ["local", "ssh"])
def test_without_room_nothing_is_sent(kind: str, small_disk: Path, tmp_path: Path, sshd: Sshd) -> None:
    root = str(small_disk / "root")
    device = Device(name="local", transport="local", root=root) if kind == "local" else sshd.device(root)
    (tmp_path / "m").write_bytes(bytes(1 << 21))
    with connect(device) as way, pytest.raises(StorageError, match="nothing was sent"):
        push.stage(way, device, {"m": tmp_path / "m"})
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("kind", ["local", "ssh"])
def test_a_disk_that_fills_while_sending_is_told_in_the_devices_words(
    kind: str, small_disk: Path, tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(small_disk / "root")
    device = Device(name="local", transport="local", root=root) if kind == "local" else sshd.device(root)
    (tmp_path / "m").write_bytes(os.urandom(1 << 21))
    sent = parcel.parcel({"m": tmp_path / "m"})
    with connect(device) as way:
        monkeypatch.setattr(send, "check_free", lambda *_: None)  # the room was there when it was asked for
        with pytest.raises(StorageError, match=r"No space left|Wrote only"):
            send.bring(way, device, sent, "bench")
        assert tree(root) <= {".edgekit", "bench", "incoming"}


SHIM = """#!/bin/sh
# Numbers the programs that a script runs, and kills all of the script instead of running the one with the fatal number.
set -C
n=1
until true > "$SHIM_CALLS/$n"; do n=$((n + 1)); done 2>/dev/null
[ "$n" != "$SHIM_FATAL" ] || kill -9 0
PATH=$SHIM_PATH exec {program} "$@"
"""
PROGRAMS = (
    "cut",
    "find",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "rm",
    "sha256sum",
    "sort",
    "sync",
    "tar",
    "tail",
    "wc",
    "readlink",
)


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the n-th program that a script calls from now on fatal to the script; the disk is not flushed meanwhile."""
    (shims := tmp_path / "shims").mkdir()
    calls = tmp_path / "calls"
    for name in PROGRAMS:
        program = shutil.which("true" if name == "sync" else name)
        (shims / name).write_text(SHIM.format(program=program))
        (shims / name).chmod(0o755)
    monkeypatch.setenv("SHIM_PATH", os.environ["PATH"])
    monkeypatch.setenv("SHIM_CALLS", str(calls))
    monkeypatch.setenv("PATH", f"{shims}:{os.environ['PATH']}")

    def arm(fatal: int) -> None:
        shutil.rmtree(calls, ignore_errors=True)
        calls.mkdir()
        monkeypatch.setenv("SHIM_FATAL", str(fatal))

    arm(0)
    return arm


def test_killed_at_any_step_an_installation_leaves_the_old_model_or_the_new_one(
    tmp_path: Path, deadly: Callable[[int], None]
) -> None:
    old, new = artifact(tmp_path, b"old" * 100), artifact(tmp_path, b"new" * 100)
    device = Device(name="local", transport="local", root=str(tmp_path / "root"))
    seen = []
    with connect(device) as way:
        push.install(way, device, *old)
        shutil.move(device.root, before := tmp_path / "before")
        for fatal in range(1, 500):
            shutil.copytree(before, device.root, symlinks=True)
            deadly(fatal)
            try:
                push.install(way, device, *new)
                break
            except DeviceError:
                seen.append(current(device))
            if fatal % 4 == 0:
                deadly(0)
                assert push.install(way, device, *new).artifact == new[0].id
                assert current(device) == b"new" * 100
            shutil.rmtree(device.root)
    assert len(seen) > 40, "the script was killed at each of its programs"
    assert set(seen) == {b"old" * 100, b"new" * 100}
    assert seen == sorted(seen, reverse=True), "the old one until the swap, the new one from then on"


def test_a_link_cut_at_any_moment_leaves_the_old_model_or_the_new_one(own_sshd: Sshd, tmp_path: Path) -> None:
    device = own_sshd.device(tmp_path / "root")
    contents = [bytes([number]) * 300_000 for number in range(12)]
    chance = random.Random(7)
    with connect(device) as way:
        push.install(way, device, *artifact(tmp_path, contents[0]))
    active, cuts = contents[0], 0
    for content in contents[1:]:
        timer = threading.Timer(chance.uniform(0.0, 0.25), own_sshd.cut)
        try:
            with connect(device) as way:
                timer.start()
                push.install(way, device, *artifact(tmp_path, content))
        except UnreachableError:
            cuts += 1
        timer.join()
        time.sleep(0.05)  # what was killed is gone
        assert current(device) in (active, content)
        active = current(device)
    assert cuts, "no cut came while anything was under way"
    with connect(device) as way:
        push.collect(way, device)
        final = push.install(way, device, *artifact(tmp_path, contents[-1]))
        assert push.active(way, device, "net") == final
    assert current(device) == contents[-1]


def test_an_answer_that_edgekit_never_gave_is_refused(tmp_path: Path, place: Place) -> None:
    way, device = place
    push.install(way, device, *artifact(tmp_path, b"x"))
    model = Path(device.root) / "models" / "net"
    (model / "current").unlink()
    (model / "current").symlink_to("/tmp")
    with pytest.raises(DeviceError, match="never made"):
        push.active(way, device, "net")


def test_a_packed_runtime_is_unpacked_whole_in_any_userland(place: Place, tmp_path: Path) -> None:
    way, device = place
    (tmp_path / "site" / "pkg").mkdir(parents=True)
    (tmp_path / "site" / "pkg" / "it's a.py").write_text("x = 1")
    pack(tmp_path / "site", archive := tmp_path / "site.tar.gz")
    for expected in (hashlib.sha256(archive.read_bytes()).hexdigest(), "0" * 64):
        with archive.open("rb") as file:
            arguments = (device.root, "runtime", expected)
            try:
                push.ask(way, "unpack", arguments, doing="unpacking", stdin=file)
            except DeviceError as error:
                assert "not what was sent" in str(error)
        assert (Path(device.root) / "site" / "runtime" / "pkg" / "it's a.py").read_text() == "x = 1"
    assert runtime_environment(way, device) == (("PYTHONPATH", f"{device.root}/site/runtime"),)
    assert not list(Path(device.root, "incoming").iterdir())


def test_msgspec_keeps_a_deployment(tmp_path: Path, place: Place) -> None:
    way, device = place
    deployed = push.install(way, device, *artifact(tmp_path, b"x"))
    assert msgspec.json.decode(msgspec.json.encode(deployed), type=type(deployed)) == deployed
