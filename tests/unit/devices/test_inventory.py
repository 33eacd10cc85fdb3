"""The inventory: what is kept is what was given, and a wrong file is told by its key."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from edgekit.core.device import Device
from edgekit.devices import inventory
from edgekit.errors import EdgekitError, UsageError

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
BOARD = Device(
    name="pi5", host="10.0.0.7", port=2222, user="pi", host_keys=(KEY,), labels=(("site", "lab"),), firmware="debian-12"
)


def test_this_computer_is_always_there_and_is_measured_by_this_python(edgekit_home: Path) -> None:
    (local,) = inventory.devices()
    assert (local.name, local.transport, local.python) == ("local", "local", sys.executable)
    assert Path(local.root).parent == edgekit_home


def test_a_device_comes_back_as_it_was_kept() -> None:
    inventory.add_device(BOARD)
    other = msgspec.structs.replace(BOARD, name="a.b", labels=(), identity="/home/me/.ssh/id", targets=("x", "y"))
    inventory.add_device(other)
    assert inventory.get_device("pi5") == BOARD
    assert inventory.devices()[1:] == (other, BOARD)


def test_labels_are_a_table_that_people_can_edit() -> None:
    inventory.add_device(BOARD)
    text = inventory.inventory_file().read_text()
    assert '[device.labels]\nsite = "lab"' in text
    inventory.inventory_file().write_text(text.replace('site = "lab"', 'site = "lab"\nrow = "3"'))
    assert inventory.get_device("pi5").labels == (("row", "3"), ("site", "lab"))


def test_a_name_that_is_taken_is_refused() -> None:
    inventory.add_device(BOARD)
    with pytest.raises(UsageError, match="is there already"):
        inventory.add_device(msgspec.structs.replace(BOARD, host="other"))
    assert inventory.get_device("pi5") == BOARD


def test_a_device_can_be_changed_and_forgotten() -> None:
    inventory.add_device(BOARD)
    inventory.replace_device(msgspec.structs.replace(BOARD, firmware=None))
    assert inventory.get_device("pi5").firmware is None
    assert inventory.remove_device("pi5").host == "10.0.0.7"
    with pytest.raises(UsageError, match="none of that name"):
        inventory.get_device("pi5")


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    inventory.add_device(BOARD)
    with pytest.raises(UsageError, match="nearest: pi5"):
        inventory.get_device("pi")


def test_local_is_neither_added_nor_removed() -> None:
    with pytest.raises(UsageError, match="local"):
        inventory.add_device(Device(name="local", transport="local"))
    with pytest.raises(UsageError, match="local"):
        inventory.remove_device("local")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "../x"}, "a name is"),
        ({"name": ""}, "a name is"),
        ({"host": "-oProxyCommand=x"}, "host must be"),
        ({"host": ""}, "host must be"),
        ({"port": 0}, "port must be"),
        ({"root": "/"}, "root must be"),
        ({"root": "."}, "root must be"),
        ({"root": "a/../.."}, "root must be"),
        ({"root": "-rf"}, "root must be"),
        ({"user": "a\nb"}, "control character"),
        ({"host_keys": ("ssh-ed25519 no!",)}, "base64"),
        ({"host_keys": ("ssh-dss AAAA",)}, "host key"),
    ],
)
def test_a_field_that_cannot_be_used_is_refused_by_name(changes: dict[str, object], words: str) -> None:
    with pytest.raises(EdgekitError, match=words):
        inventory.add_device(msgspec.structs.replace(BOARD, **changes))
    assert len(inventory.devices()) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("schema = 2\n", "schema 2"),
        ("schema = 'x'\n", "schema"),
        ("[[device]]\nname = 'a'\nhost = 'h'\nprot = 22\n", "prot"),
        ("[[device]]\nname = 'a'\nhost = 'h'\nport = '22'\n", r"device\[0\]\.port"),
        ("[device]\nname = 'a'\n", "device"),
        ("[[device]]\nname = 'a'\nhost = 'h'\n" * 2, "same name"),
        ("name = \n", "line 1"),
    ],
)
def test_a_wrong_file_is_told_by_its_path_and_key(text: str, words: str, edgekit_home: Path) -> None:
    inventory.inventory_file().write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        inventory.devices()
    assert str(edgekit_home) in str(caught.value)


def test_devices_added_at_once_are_all_kept() -> None:
    names = [f"board{i}" for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: inventory.add_device(msgspec.structs.replace(BOARD, name=name)), names))
    assert {device.name for device in inventory.devices()} == {"local", *names}


def test_labels_are_read_from_the_command_line() -> None:
    assert inventory.parse_labels(["b=2", "a=x=y"]) == (("a", "x=y"), ("b", "2"))
    with pytest.raises(UsageError, match="key=value"):
        inventory.parse_labels(["site"])


def test_where_a_program_is_on_a_device_comes_back_and_an_unknown_one_is_refused() -> None:
    pairs = inventory.parse_tools(["benchmark_model=/opt/a b/bm", "trtexec=/opt/trt/bin/trtexec"])
    inventory.add_device(msgspec.structs.replace(BOARD, tools=pairs))
    assert '[device.tools]\nbenchmark_model = "/opt/a b/bm"' in inventory.inventory_file().read_text()
    assert inventory.get_device("pi5").tools == pairs
    for text, words in (
        ("benchmark=/x", "edgekit runs trtexec, xdputil"), ("trtexec=", "want its path"), ("/x", "--tool '/x'")
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            inventory.parse_tools([text])
