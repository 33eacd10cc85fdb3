"""What goes over the link: once, however often it is cut, and only what changed where the device holds the rest."""

import hashlib
import os
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.device import Device
from edgekit.devices import send, ways
from edgekit.devices.connect import connect
from edgekit.devices.parcel import parcel
from edgekit.devices.push import stage
from edgekit.devices.send import Sent, bring
from edgekit.errors import UnreachableError
from edgekit.lab.dropbear import running_dropbear
from edgekit.lab.link import link_to
from edgekit.lab.sshd import Sshd

SIZE = 24 << 20
WINDOW = 2 << 20
"""What an sshd lets a client send ahead: so much may be under way when a link is cut, and is lost."""


def weights(seed: int, size: int = SIZE) -> np.ndarray:
    """Int8 weights as a quantizer leaves them: bell-shaped, using the whole range."""
    return np.clip(np.random.default_rng(seed).normal(0, 40, size), -128, 127).astype(np.int8)


def tuned(before: np.ndarray, seed: int) -> np.ndarray:
    """The same after a step of fine-tuning that moves each float weight by 1 % of their spread, quantized again."""
    moved = before + np.random.default_rng(seed).normal(0, 0.4, before.size)
    return np.clip(np.round(moved), -128, 127).astype(np.int8)


def write(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(values.tobytes())
    return path


def push(device: Device, path: Path, known: tuple[Path, ...] = ()) -> Sent:
    """One parcel of one model, where the host still has the files `known`."""
    by_sum = {hashlib.sha256(old.read_bytes()).hexdigest(): old for old in known}
    with connect(device) as way:
        sent = bring(
            way, device, parcel({"net.onnx": path, "small": path.with_suffix(".json")}), "bench", find_file=by_sum.get
        )
    folder = Path(sent.folder)
    assert (folder / "net.onnx").read_bytes() == path.read_bytes()
    assert sorted(p.name for p in folder.iterdir()) == [".manifest", "net.onnx", "small"]
    return sent


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = write(tmp_path / "new" / "net.onnx", weights(0))
    path.with_suffix(".json").write_text("{}")
    return path


@pytest.mark.parametrize("way", ["ssh", "openssh"])
def test_a_push_that_was_cut_goes_on_and_sends_next_to_nothing_twice(
    own_sshd: Sshd, tmp_path: Path, model: Path, way: str
) -> None:
    whole = parcel({"net.onnx": model})
    numbers = random.Random(7)
    with link_to(own_sshd.port) as link:
        device = own_sshd.device(tmp_path / "root", transport=way, port=link.port)
        for _ in range(2):
            link.cut_at = link.up + numbers.randrange(SIZE // 8, SIZE // 3)
            with pytest.raises(UnreachableError), connect(device) as transport:
                stage(transport, device, whole.files)
            assert not (tmp_path / "root" / "bench").exists() or not list((tmp_path / "root" / "bench").iterdir())
        with connect(device) as transport:
            folder = stage(transport, device, whole.files)
        assert link.cuts == 2
    assert (Path(folder) / "net.onnx").read_bytes() == model.read_bytes()
    assert link.up <= SIZE + 2 * WINDOW + (1 << 18)


def test_a_piece_that_was_damaged_on_the_device_is_sent_again(own_sshd: Sshd, tmp_path: Path, model: Path) -> None:
    device = own_sshd.device(tmp_path / "root")
    with link_to(own_sshd.port) as link:
        near = own_sshd.device(tmp_path / "root", port=link.port)
        link.cut_at = SIZE // 2
        with pytest.raises(UnreachableError), connect(near) as transport:
            stage(transport, near, {"net.onnx": model, "small": model.with_suffix(".json")})
    (part,) = (tmp_path / "root" / "incoming").glob("*.parts/*")
    with part.open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff\xff\xff\xff")
    assert push(device, model).sent_bytes >= SIZE


def test_over_a_long_way_several_connections_carry_a_model_and_a_cut_is_made_up_for(
    own_sshd: Sshd, tmp_path: Path, model: Path
) -> None:
    with link_to(own_sshd.port, delay_s=0.03) as link:
        device = own_sshd.device(tmp_path / "root", port=link.port)
        link.cut_at = SIZE // 2
        with pytest.raises(UnreachableError):
            push(device, model)
        assert len(list((tmp_path / "root" / "incoming").glob("*.parts/*"))) == 4
        sent = push(device, model)
    assert sent.sent_bytes < 0.75 * SIZE


def test_the_same_model_again_takes_a_question(sshd: Sshd, tmp_path: Path, model: Path) -> None:
    with link_to(sshd.port) as link:
        device = sshd.device(tmp_path / "root", port=link.port)
        push(device, model)
        before = link.up
        assert push(device, model).sent_bytes == 0
        assert link.up - before < 64 << 10


@pytest.mark.skipif(os.geteuid() != 0, reason="a home of its own takes a mount, and so root")
@pytest.mark.parametrize("way", ["ssh", "openssh"])
def test_a_board_with_dropbear_and_busybox_alone_gets_its_model(tmp_path: Path, model: Path, way: str) -> None:
    subprocess.run(["busybox", "--install", "-s", str(tmp_path)], check=True)
    with running_dropbear(tmp_path / "dropbear", path=str(tmp_path)) as server:
        device = server.device(tmp_path / "root", transport=way, python="no-python")
        assert push(device, model).ways == ("whole",)


@pytest.mark.parametrize(("board", "share"), [("sshd", 0.30), ("busybox", 1.01)])
def test_a_model_that_was_tuned_goes_as_its_change_where_python_can_apply_it(
    request: pytest.FixtureRequest, tmp_path: Path, model: Path, board: str, share: float
) -> None:
    python = "no-python" if board == "busybox" else "python3"
    server = request.getfixturevalue(board)
    device = server.device(tmp_path / "root", **({"python": python} if board == "busybox" else {}))
    push(device, model)
    new = write(tmp_path / "tuned" / "net.onnx", tuned(weights(0), 1))
    new.with_suffix(".json").write_text("{ }")
    sent = push(device, new, (model,))
    assert sent.sent_bytes <= share * SIZE
    assert sent.ways == (("patch",) if board == "sshd" else ("whole",))


@pytest.mark.parametrize(("board", "way"), [("sshd", "patch"), ("busybox", "blocks")])
def test_a_model_with_another_head_goes_as_its_head(
    request: pytest.FixtureRequest, tmp_path: Path, model: Path, board: str, way: str
) -> None:
    server = request.getfixturevalue(board)
    device = server.device(tmp_path / "root", **({"python": "no-python"} if board == "busybox" else {}))
    push(device, model)
    head = SIZE // 20
    values = weights(0)
    values[-head - 777 : -777] = weights(5, head)
    new = write(tmp_path / "headed" / "net.onnx", values)
    new.with_suffix(".json").write_text("{ }")
    sent = push(device, new, (model,))
    assert sent.ways == (way,)
    assert sent.sent_bytes <= 0.08 * SIZE


@pytest.mark.parametrize("board", ["sshd", "busybox"])
def test_another_model_goes_whole(request: pytest.FixtureRequest, tmp_path: Path, model: Path, board: str) -> None:
    server = request.getfixturevalue(board)
    device = server.device(tmp_path / "root", **({"python": "no-python"} if board == "busybox" else {}))
    push(device, model)
    noise = np.random.default_rng(3).integers(-128, 127, SIZE).astype(np.int8)
    new = write(tmp_path / "other" / "net.onnx", noise)
    new.with_suffix(".json").write_text("{ }")
    sent = push(device, new, (model,))
    assert sent.ways == ("whole",)
    assert sent.sent_bytes <= 1.01 * SIZE


@pytest.mark.parametrize("board", ["sshd", "busybox"])
def test_where_the_device_holds_a_damaged_base_the_model_goes_whole(
    request: pytest.FixtureRequest, tmp_path: Path, model: Path, board: str
) -> None:
    server = request.getfixturevalue(board)
    device = server.device(tmp_path / "root", **({"python": "no-python"} if board == "busybox" else {}))
    folder = Path(push(device, model).folder)
    with (folder / "net.onnx").open("r+b") as file:
        file.write(bytes(100))
    values = weights(0)
    values[-1000:] = 1
    new = write(tmp_path / "headed" / "net.onnx", values)
    new.with_suffix(".json").write_text("{ }")
    assert push(device, new, (model,)).ways == ("whole",)


@pytest.mark.parametrize("board", ["sshd", "busybox"])
@pytest.mark.parametrize("long_bytes", [1 << 14, 0])
def test_large_and_small_files_come_together_whatever_their_names_and_number(
    request: pytest.FixtureRequest, tmp_path: Path, board: str, long_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (send, ways):
        monkeypatch.setattr(module, "LINE_BYTES", long_bytes)
    server = request.getfixturevalue(board)
    device = server.device(tmp_path / "root", **({"python": "no-python"} if board == "busybox" else {}))
    for small, old in ((0, 0), (0, 1), (40, 2), (0, 3)):
        files, known = {}, {}
        for number, name in enumerate(("net.onnx", "a b/c'd $e.onnx", "f/g.bin")):
            values = weights(number, 3 << 20)
            values[-50_000:] = weights(9 + old * number, 50_000)
            files[name] = write(tmp_path / "files" / f"{old}" / name, values)
            before = tmp_path / "files" / f"{old - 1}" / name
            if before.exists():
                known[hashlib.sha256(before.read_bytes()).hexdigest()] = before
        for number in range(small):
            files[f"s/{number:064}"] = write(tmp_path / "files" / f"{old}" / "s" / f"{number:064}", weights(number, 99))
        with connect(device) as way:
            sent = bring(way, device, parcel(files), "bench", find_file=known.get)
        there = {str(path.relative_to(sent.folder)): path for path in Path(sent.folder).rglob("*") if path.is_file()}
        assert there.pop(".manifest").read_bytes() == parcel(files).manifest
        assert {name: path.read_bytes() for name, path in there.items()} == {
            name: path.read_bytes() for name, path in files.items()
        }
        assert set(sent.ways) == ({"whole"} if old == 0 else {"patch"} if board == "sshd" else {"blocks"})
        assert not list((tmp_path / "root" / "incoming").iterdir())


def test_a_parcel_of_nothing_is_an_empty_folder(sshd: Sshd, tmp_path: Path) -> None:
    device = sshd.device(tmp_path / "root")
    with connect(device) as way:
        sent = bring(way, device, parcel({}), "bench")
    assert [path.name for path in Path(sent.folder).iterdir()] == [".manifest"]
