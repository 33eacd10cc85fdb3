"""A parcel brought to a device: what is there is not sent, what was cut goes on, what changed goes as the change."""

import io
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from edgekit.core.device import Device
from edgekit.devices.connect import connect, python_of
from edgekit.devices.leased import beside
from edgekit.devices.parcel import Parcel
from edgekit.devices.parsers import parse_df
from edgekit.devices.pieces import WIDE_BYTES, Load, Piece, pieces_of
from edgekit.devices.scripts import answered, ask, on_device, transfer_s
from edgekit.devices.transport import OnBytes, Transport
from edgekit.devices.ways import LARGE_BYTES, LINE_BYTES, FindFile, Shipment, Way, shipment
from edgekit.errors import DeviceError, StorageError, UnreachableError
from edgekit.store.scratch import scratch

FAR_S, CONNECTIONS = 0.03, 4
"""Over a link with so long a round trip a large file goes over several connections: an sshd takes 2 MiB a trip."""


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
        sent = shipment(parcel, found, find_file, folder)
        try:
            sending.send(sent, found)
        except (StorageError, UnreachableError):
            raise
        except DeviceError:
            if all(way.name == "whole" for way in sent.ways):
                raise
            sent = shipment(parcel, found, None, folder)  # what the device holds is not what it says
            sending.send(sent, sending.probe())
    return sending.done(sent.ways)


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

    def send(self, sent: Shipment, found: dict[str, str]) -> None:
        """Sends what is missing of a shipment, and lets the device make the folder of it."""
        transport, device, parcel = self._transport, self._device, self._parcel
        connections = CONNECTIONS if _is_wide(transport, device, sent.loads) else 1
        pieces = pieces_of(sent.loads, found.get("part", "").split("\n"), connections)
        missing = [piece for piece in pieces if piece.there < piece.size]
        unpacked = sent.rest.size if sent.rest else 0
        needed = parcel.room_bytes + unpacked + sum(piece.size - piece.there for piece in missing)
        check_free(transport, device, needed, _room(transport, found))
        alone = connections == 1 or len(missing) == 1 or (missing and missing[-1].size < LARGE_BYTES)
        last = missing.pop() if missing and alone else None
        _append(transport, device, parcel, missing, self._counter, connections)
        self._finish(sent, pieces, last)

    def _finish(self, sent: Shipment, pieces: Sequence[Piece], last: Piece | None) -> None:
        """Sends the last piece, with what the device is to make of all of them: one command less, and its trips."""
        _, kind, _, python = self._words
        plan, file, size = sent.plan(pieces), None, 0
        with ExitStack() as stack:
            if last is not None and len(plan) <= LINE_BYTES:
                file, size = stack.enter_context(_range(last))
            elif last is not None:
                _send_piece(self._transport, self._device, self._parcel, last, self._counter)
                last = None
            piece, take = ("", "0", "0"), ""
            if last is not None:
                piece = (last.name, str(last.there), str(last.size))
                take = on_device("take.py").decode() if last.size == last.load.size >= WIDE_BYTES else ""
            if len(plan) > LINE_BYTES:
                file, plan = cast(BinaryIO, io.BytesIO(plan.encode())), ""
            ask(
                self._transport, "receive",
                (self._device.root, self._parcel.id, *piece, kind, python, plan, sent.manifest, take),
                doing="sending files", stdin=file, timeout_s=transfer_s(size + self._parcel.room_bytes),
                on_bytes=self._counter.add,
            )  # fmt: skip

    def done(self, ways: Sequence[Way]) -> Sent:
        """What it took."""
        size = sum(path.stat().st_size for path in self._parcel.files.values())
        return Sent(self._folder, self._counter.total, size, tuple(way.name for way in ways))


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
    with _range(piece) as (file, size):
        ask(
            transport, "receive", words, doing="sending files", stdin=file, timeout_s=transfer_s(size),
            on_bytes=counter.add,
        )  # fmt: skip


@contextmanager
def _range(piece: Piece) -> Iterator[tuple[BinaryIO, int]]:
    """A file that holds what is missing of a piece, from its place on, and how much that is."""
    start, size = piece.start + piece.there, piece.size - piece.there
    with piece.load.source.open("rb") as whole:
        whole.seek(start)
        if start + size == piece.load.size:
            yield whole, size
            return
        with tempfile.TemporaryFile() as part:
            left = size
            while left > 0 and (block := whole.read(min(left, 1 << 20))):
                part.write(block)
                left -= len(block)
            part.seek(0)
            yield cast(BinaryIO, part), size


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
