"""A parcel brought to a device: what is there is not sent, what was cut goes on, what changed goes as the change."""

import hashlib
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from edgekit.core.device import Device
from edgekit.devices.connect import connect, python_of
from edgekit.devices.leased import beside
from edgekit.devices.parcel import Parcel, write_tar
from edgekit.devices.parsers import parse_df
from edgekit.devices.pieces import WIDE_BYTES, Load, Piece, pieces_of
from edgekit.devices.scripts import answered, ask, on_device, transfer_s
from edgekit.devices.transport import OnBytes, Transport
from edgekit.errors import DeviceError, StorageError, UnreachableError
from edgekit.store.scratch import scratch

LARGE_BYTES = 1 << 20
"""A file from this size on is sent by itself, and goes on where it was cut."""

FAR_S, CONNECTIONS = 0.03, 4
"""Over a link with so long a round trip a large file goes over several connections: an sshd takes 2 MiB a trip."""

_HELD = re.compile(r"([0-9a-f]{64}) ([^\n]+)")

FindFile = Callable[[str], Path | None]
"""The host's own copy of a file, by its sha256."""


@dataclass(frozen=True)
class Sent:
    """Where a parcel is now, and what that took: the bytes sent for files of `size_bytes`, and how each large one went.

    A way is "whole", "patch" or "blocks"; there are none where nothing had to be sent.
    """

    folder: str
    sent_bytes: int = 0
    size_bytes: int = 0
    ways: tuple[str, ...] = ()


def bring(
    transport: Transport,
    device: Device,
    parcel: Parcel,
    kind: str,
    *,
    find_file: FindFile | None = None,
    on_bytes: OnBytes | None = None,
) -> Sent:
    """Puts a parcel into <root>/`kind`/<id> of a device, whole. `find_file` finds here what the device has there.

    Raises: StorageError before the first byte if there is no room, or with the device's own words; DeviceError if what
    arrived is not what was sent; as `Transport.run`.
    """
    sending = _Sending(transport, device, parcel, kind, on_bytes)
    found = sending.probe()
    if answered(found, "there", transport) == "yes":
        return sending.done(())
    with scratch() as folder:
        loads = tuple(_loads(parcel, found, find_file, folder))
        try:
            sending.send(loads, found)
        except (StorageError, UnreachableError):
            raise
        except DeviceError:
            if all(load.way == "whole" for load in loads):
                raise
            loads = tuple(_loads(parcel, found, None, folder))  # what the device holds is not what it says
            sending.send(loads, sending.probe())
    return sending.done(loads)


class _Sending:
    """One parcel on its way to one device."""

    def __init__(
        self, transport: Transport, device: Device, parcel: Parcel, kind: str, on_bytes: OnBytes | None
    ) -> None:
        self._transport, self._device, self._parcel = transport, device, parcel
        self._words = (device.root, kind, parcel.id, python_of(device))
        self._folder = f"{device.root}/{kind}/{parcel.id}"
        self._counter = _Counter(on_bytes)

    def probe(self) -> dict[str, str]:
        """What ondevice/probe.sh answers."""
        limit_s = transfer_s(self._parcel.room_bytes)
        return ask(self._transport, "probe", self._words, doing="looking for files", timeout_s=limit_s)

    def send(self, loads: Sequence[Load], found: dict[str, str]) -> None:
        """Sends what is missing of the loads, and lets the device make the folder of them."""
        transport, device, parcel = self._transport, self._device, self._parcel
        connections = CONNECTIONS if _is_wide(transport, device, loads) else 1
        pieces = pieces_of(loads, found.get("part", "").split("\n"), connections)
        missing = [piece for piece in pieces if piece.there < piece.size or not piece.load.size]
        needed = parcel.room_bytes + sum(piece.size - piece.there for piece in missing)
        check_free(transport, device, needed, _room(transport, found))
        _append(transport, device, parcel, missing, self._counter, connections)
        with tempfile.TemporaryFile() as file:
            write_tar(cast(BinaryIO, file), _archive(parcel, loads, pieces))
            size = file.tell()
            file.seek(0)
            ask(
                transport, "receive", self._words, doing="sending files", stdin=cast(BinaryIO, file),
                timeout_s=transfer_s(size + parcel.room_bytes), on_bytes=self._counter.add,
            )  # fmt: skip

    def done(self, loads: Sequence[Load]) -> Sent:
        """What it took."""
        size = sum(path.stat().st_size for path in self._parcel.files.values())
        return Sent(self._folder, self._counter.total, size, tuple(load.way for load in loads))


class _Counter:
    """Counts what is sent, by whichever thread."""

    def __init__(self, on_bytes: OnBytes | None) -> None:
        self.total, self._on_bytes, self._lock = 0, on_bytes, threading.Lock()

    def add(self, size: int) -> None:
        """More bytes were sent."""
        with self._lock:
            self.total += size
            if self._on_bytes is not None:
                self._on_bytes(size)


def _large(parcel: Parcel) -> dict[str, Path]:
    return {name: path for name, path in sorted(parcel.files.items()) if path.stat().st_size >= LARGE_BYTES}


def _loads(parcel: Parcel, found: dict[str, str], find_file: FindFile | None, folder: Path) -> Iterator[Load]:
    """What to send for each large file: a change of what the device holds, if that is less; else the file."""
    held = [(m[1], m[2]) for m in map(_HELD.fullmatch, found.get("held", "").split("\n")) if m]
    for number, (name, path) in enumerate(_large(parcel).items()):
        change = None
        if held and find_file is not None:
            change = _change(name, path, held, find_file, folder / str(number), python="python" in found)
        yield change or Load(path, parcel.sums[name], path.stat().st_size, "whole", (f"join {name}",))


def _change(
    name: str, path: Path, held: list[tuple[str, str]], find_file: FindFile, target: Path, *, python: bool
) -> Load | None:
    """The change of the first file there that is here too and resembles this one; None if none does."""
    from edgekit.devices.delta import held_bases, write_blocks, write_patch  # numpy, which most pushes do not need

    for sha256, place in held_bases(held, name):
        if (base := find_file(sha256)) is None:
            continue
        beside, recipe = {}, None
        with target.open("wb") as file:
            if python:
                worth, last, beside = (
                    write_patch(path, base, file),
                    f"patch {name}",
                    {".patch.py": on_device("patch.py")},
                )
            else:
                recipe = write_blocks(path, base, file)
                worth, last = recipe is not None, f"build .recipe.{target.name} {name}"
        if not worth:
            continue
        if recipe is not None:
            beside = {f".recipe.{target.name}": recipe}
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        way = "patch" if python else "blocks"
        return Load(target, digest, target.stat().st_size, way, (f"base {place}", last), beside)
    return None


def _is_wide(transport: Transport, device: Device, loads: Sequence[Load]) -> bool:
    """Whether several connections are quicker than one: much to send, and a long way."""
    if device.transport not in ("ssh", "openssh") or sum(load.size for load in loads) < WIDE_BYTES:
        return False
    return all(transport.trip_s() > FAR_S for _ in range(2))  # one may be late for want of a processor


def _append(
    transport: Transport, device: Device, parcel: Parcel, missing: Sequence[Piece], counter: _Counter, connections: int
) -> None:
    """Sends what is missing of the pieces, over so many connections at once."""
    todo, lock = list(missing), threading.Lock()
    failures: list[BaseException] = []
    others: list[Transport] = []

    def work(way: Transport) -> None:
        while not failures:
            with lock:
                if not todo:
                    return
                piece = todo.pop(0)
            try:
                _send_piece(way, device, parcel, piece, counter)
            except BaseException as error:  # noqa: BLE001  raised again below, in the thread that waits
                failures.append(error)

    def work_besides() -> None:
        try:
            with connect(device) as way:
                others.append(way)
                work(beside(transport, way))
        except UnreachableError:
            return  # what cannot be had besides is done without
        except BaseException as error:  # noqa: BLE001  as above
            failures.append(error)

    threads = [threading.Thread(target=work_besides, daemon=True) for _ in range(min(len(todo), connections) - 1)]
    for thread in threads:
        thread.start()
    work(transport)
    for way in others if failures else ():
        way.close()  # what it still sends ends now
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _send_piece(transport: Transport, device: Device, parcel: Parcel, piece: Piece, counter: _Counter) -> None:
    words = (device.root, parcel.id, piece.name, str(piece.there))
    with _range(piece.load.source, piece.start + piece.there, piece.size - piece.there) as (file, size):
        ask(
            transport, "append", words, doing="sending files", stdin=file, timeout_s=transfer_s(size),
            on_bytes=counter.add,
        )  # fmt: skip


@contextmanager
def _range(path: Path, start: int, size: int) -> Iterator[tuple[BinaryIO, int]]:
    """A file that holds this range of another."""
    with path.open("rb") as whole:
        whole.seek(start)
        if start + size == path.stat().st_size:
            yield whole, size
            return
        with tempfile.TemporaryFile() as part:
            left = size
            while left > 0 and (block := whole.read(min(left, 1 << 20))):
                part.write(block)
                left -= len(block)
            part.seek(0)
            yield cast(BinaryIO, part), size


def _archive(parcel: Parcel, loads: Sequence[Load], pieces: Sequence[Piece]) -> dict[str, bytes | Path]:
    """What goes last: the manifest, the small files, and the plan by which the device makes the others."""
    large = _large(parcel)
    entries: dict[str, bytes | Path] = {name: path for name, path in parcel.files.items() if name not in large}
    plan = []
    for load in loads:
        plan += [f"piece {piece.name}" for piece in pieces if piece.load is load]
        plan += load.lines
        entries |= load.beside
    return entries | {".manifest": parcel.manifest, ".plan": "".join(f"{line}\n" for line in plan).encode()}


def check_free(transport: Transport, device: Device, needed_bytes: int, free_bytes: int) -> None:
    """Returns if the device has room. Raises: StorageError."""
    if free_bytes < needed_bytes:
        raise StorageError(
            f"{transport.name}: no room in {device.root}: {needed_bytes:,} bytes wanted, {free_bytes:,} free; "
            "nothing was sent"
        )


def free_bytes(transport: Transport, device: Device) -> int:
    """Free bytes on the disk of the device's root. Raises: DeviceError; as `Transport.run`."""
    return _room(transport, ask(transport, "probe", (device.root, "bench", "-", "false"), doing="looking for room"))


def _room(transport: Transport, found: dict[str, str]) -> int:
    free = parse_df(answered(found, "room", transport))
    if free is None:
        raise DeviceError(f"{transport.name}: df gives no free room that can be read")
    return free
