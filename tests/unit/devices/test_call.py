"""A connection that is made ahead: taken, or closed, or the error that it met."""

import socket

import pytest

from edgekit.devices.call import calling


def test_a_call_that_is_taken_stays_open_and_is_the_callers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with calling("127.0.0.1", server.getsockname()[1]) as call:
            near = call.taken()
        far, _ = server.accept()
        with near, far:
            near.sendall(b"x")
            assert far.recv(1) == b"x"


def test_a_call_that_nobody_takes_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(ValueError, match="pinned"), calling("127.0.0.1", server.getsockname()[1]):
            raise ValueError("not pinned")
        far, _ = server.accept()
        with far:
            far.settimeout(10)
            assert far.recv(1) == b""


def test_why_nobody_answers_is_told_to_whoever_takes_the_call() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with calling("127.0.0.1", port) as call, pytest.raises(ConnectionRefusedError):
        call.taken()
