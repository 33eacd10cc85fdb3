"""What crosses a shell arrives; what comes back is fit for a terminal."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.devices.said import readable, refusal
from edgekit.devices.transport import Completed
from edgekit.devices.words import command_line
from edgekit.errors import DeviceError, StorageError


@pytest.mark.parametrize("shell", [["dash"], ["bash"], ["busybox", "sh"]], ids=lambda shell: shell[0])
@settings(max_examples=25, deadline=None)
@given(words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_a_shell_splits_a_line_into_the_words_it_was_made_of(shell: list[str], words: list[str]) -> None:
    line = command_line(["printf", "%s\\0", "first", *words])
    done = subprocess.run([*shell, "-c", line], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == ["first", *words]


@given(st.binary(max_size=5000) | st.text(max_size=5000))
def test_what_a_device_says_is_one_bounded_line_of_printable_characters(raw: bytes | str) -> None:
    text = readable(raw, 80)
    assert len(text) <= 80
    assert all(c.isprintable() for c in text)


def test_an_escape_sequence_leaves_no_trace() -> None:
    assert readable(b"\x1b]0;title\x07\x1b[2J\x1b[1;31mred\x1b[0m") == "red"


@pytest.mark.parametrize(
    "said",
    [
        b"cat: write error: No space left on device",
        b"tar: ./m.onnx: Cannot write: Disk quota exceeded",
        b"mkdir: cannot create directory: Read-only file system",
    ],
)
def test_a_disk_that_cannot_be_written_is_a_storage_error(said: bytes) -> None:
    error = refusal("pi", ("tar",), Completed(status=2, stderr=said))
    assert isinstance(error, StorageError)
    assert error.exit_code == 8
    assert said.decode() in str(error)


def test_another_failure_names_the_device_the_command_and_its_words() -> None:
    error = refusal("pi", ("tar", "-x"), Completed(status=2, stderr=b"tar: short read\n"))
    assert type(error) is DeviceError
    assert str(error) == "pi: tar failed (exit status 2): tar: short read"
