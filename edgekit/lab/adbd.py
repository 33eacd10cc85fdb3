"""The device's end of adb over TCP: a phone to try edgekit with, where there is none.

`python -m edgekit.lab.adbd PORT [--home DIR] [--untrusting] [-- WORDS...]`: commands run as `WORDS /bin/sh -c COMMAND`.

Served: the login by RSA keys (any key is trusted, or none), shell with and without shell_v2 (packets: exit status,
stderr apart, stdin), exec. Not served: the sync service (push, pull), forwarding, a terminal, TLS pairing.

The protocol is that of AOSP's packages/modules/adb: protocol.txt and shell_protocol.h.
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass

CNXN, AUTH, OPEN, OKAY, CLSE, WRTE = (
    int.from_bytes(word, "little") for word in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"CLSE", b"WRTE")
)
VERSION = 0x01000001
MAX_PAYLOAD = 256 << 10
BANNER = b"device::ro.product.name=edgelab;ro.product.model=edgekit lab;ro.product.device=edgelab;features=shell_v2,cmd"
TOKEN, PUBLIC_KEY = 1, 3
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
GONE = (asyncio.IncompleteReadError, ConnectionError)


@dataclass(frozen=True)
class Phone:
    """What is behind the port: the words put before a shell, the folder that commands start in, and its trust."""

    words: tuple[str, ...] = ()
    home: str = "/"
    trusting: str = "any"


class Stream:
    """One of the two-way byte streams that share a connection; a block is sent once the one before was taken."""

    def __init__(self, link: "Link", mine: int, theirs: int) -> None:
        self._link, self._mine, self._theirs = link, mine, theirs
        self.incoming = asyncio.StreamReader(limit=1 << 22)
        self._taken = asyncio.Event()
        self.open = True

    async def write(self, data: bytes) -> None:
        """Sends it all. Raises: ConnectionResetError once the other end has closed."""
        for start in range(0, len(data), MAX_PAYLOAD):
            self._taken.clear()
            await self._link.send(WRTE, self._mine, self._theirs, data[start : start + MAX_PAYLOAD])
            await self._taken.wait()
            if not self.open:
                raise ConnectionResetError

    def taken(self) -> None:
        """The other end has taken the last block."""
        self._taken.set()

    async def close(self) -> None:
        """Says that no more will come."""
        if self.open:
            self.left()
            await self._link.send(CLSE, self._mine, self._theirs)

    def left(self) -> None:
        """The other end has closed: wakes whoever waits."""
        self.open = False
        self.incoming.feed_eof()
        self._taken.set()


class Link:
    """One client; `serve` answers its messages until it goes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, phone: Phone) -> None:
        self._reader, self._writer, self._phone = reader, writer, phone
        self._streams: dict[int, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last = 0
        self._summed = True

    async def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        """One message."""
        total = sum(data) & 0xFFFFFFFF if self._summed else 0
        head = struct.pack("<6I", command, first, second, len(data), total, command ^ 0xFFFFFFFF)
        self._writer.write(head + data)
        await self._writer.drain()

    async def serve(self) -> None:
        """Answers until the client goes; what still runs for it is ended."""
        with contextlib.suppress(*GONE):
            while True:
                command, first, second, size, _, _ = struct.unpack("<6I", await self._reader.readexactly(24))
                if size > MAX_PAYLOAD:
                    break
                await self._answer(command, first, second, await self._reader.readexactly(size))
        for stream in self._streams.values():
            stream.left()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writer.close()

    async def _answer(self, command: int, first: int, second: int, data: bytes) -> None:
        if command == CNXN:
            self._summed = first < VERSION
            await self.send(AUTH, TOKEN, 0, secrets.token_bytes(20))
        elif command == AUTH and first == PUBLIC_KEY:
            if self._phone.trusting == "any":
                await self.send(CNXN, VERSION, MAX_PAYLOAD, BANNER)
        elif command == AUTH:
            await self.send(AUTH, TOKEN, 0, secrets.token_bytes(20))
        elif command == OPEN:
            await self._open(first, data.rstrip(b"\0"))
        elif (stream := self._streams.get(second)) is not None:
            if command == WRTE:
                stream.incoming.feed_data(data)
                task = asyncio.create_task(self._take(stream, second, first))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif command == OKAY:
                stream.taken()
            elif command == CLSE:
                self._streams.pop(second)
                stream.left()

    async def _take(self, stream: Stream, mine: int, theirs: int) -> None:
        """Acknowledges a block once there is room for the next."""
        while stream.open and len(stream.incoming._buffer) > 4 * MAX_PAYLOAD:  # type: ignore[attr-defined]
            await asyncio.sleep(0.001)
        with contextlib.suppress(*GONE):
            await self.send(OKAY, mine, theirs)

    async def _open(self, theirs: int, service: bytes) -> None:
        kind, _, command = service.partition(b":")
        if not kind.startswith((b"shell", b"exec")) or not command:
            await self.send(CLSE, 0, theirs)
            return
        self._last += 1
        stream = self._streams[self._last] = Stream(self, self._last, theirs)
        await self.send(OKAY, self._last, theirs)
        task = asyncio.create_task(_run(stream, b"v2" in kind, command, self._phone))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _run(stream: Stream, packets: bool, command: bytes, phone: Phone) -> None:  # noqa: FBT001  its own protocol's
    """Runs a command; with packets the last one is its exit status."""
    stderr = asyncio.subprocess.PIPE if packets else asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec(
        *phone.words, "/bin/sh", "-c", command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=stderr, cwd=phone.home, start_new_session=True, env=os.environ | {"HOME": phone.home},
    )  # fmt: skip
    feeding = asyncio.create_task(_feed(stream, process, packets))
    with contextlib.suppress(*GONE):
        await asyncio.gather(
            _forward(stream, process.stdout, STDOUT * packets), _forward(stream, process.stderr, STDERR)
        )
    if not stream.open:
        _end(process)
    status = await process.wait()
    feeding.cancel()
    with contextlib.suppress(*GONE):
        if packets and stream.open:
            await stream.write(struct.pack("<BIB", EXIT, 1, status if status >= 0 else 128 - status))
        await stream.close()


async def _forward(stream: Stream, source: asyncio.StreamReader | None, packet: int) -> None:
    while source is not None and (block := await source.read(64 << 10)):
        await stream.write((struct.pack("<BI", packet, len(block)) if packet else b"") + block)


async def _feed(stream: Stream, process: asyncio.subprocess.Process, packets: bool) -> None:  # noqa: FBT001
    """Passes what comes to the command, and ends it when the client has gone."""
    into = process.stdin
    assert into is not None
    with contextlib.suppress(*GONE):
        while True:
            packet, size = STDIN, 64 << 10
            if packets:
                packet, size = struct.unpack("<BI", await stream.incoming.readexactly(5))
                block = await stream.incoming.readexactly(size)
            elif not (block := await stream.incoming.read(size)):
                packet = CLOSE_STDIN
            if packet == CLOSE_STDIN:
                into.close()
            elif packet == STDIN and not into.is_closing():
                into.write(block)
                with contextlib.suppress(ConnectionError):
                    await into.drain()
    _end(process)


def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def serve(port: int, phone: Phone) -> None:
    """Listens on loopback until it is ended; says so on stdout once it does."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Link(reader, writer, phone).serve()

    server = await asyncio.start_server(one, "127.0.0.1", port)
    sys.stdout.write(f"listening on {server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("port", type=int, help="0 takes a free one")
    parser.add_argument("--home", default="/")
    parser.add_argument(
        "--untrusting", action="store_true", help="trusts no computer, as a phone before its owner's yes"
    )
    parser.usage = f"{parser.format_usage().strip().removeprefix('usage: ')} [-- WORDS ...]"
    given = list(sys.argv[1:] if arguments is None else arguments)
    at = given.index("--") if "--" in given else len(given)
    got, words = parser.parse_args(given[:at]), tuple(given[at + 1 :])
    asyncio.run(serve(got.port, Phone(words, got.home, "none" if got.untrusting else "any")))


if __name__ == "__main__":
    main()
