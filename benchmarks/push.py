"""B10: sending a model to devices, against rsync, ansible's copy, pyinfra's files.put and fabric.

`python benchmarks/push.py [--quick] [--json] [--prepare]`: a model of int8 weights goes to real sshds on loopback: one
and eight, directly and over a link of 50 ms; first to an empty device, then as a model with another head, then after a
small step of fine-tuning. The tools take turns, several times over; each is a process of its own from start to end, as
its users run it. `edgekit` is the Python interface, which checks each file on the device and makes it visible whole;
the others leave what they write where it is, half-written or not. Bytes are counted by a relay, in runs of their own.
`--prepare` makes the peers' environments; a peer that cannot be had is named and left out.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from getpass import getuser
from pathlib import Path

import numpy as np
from _figures import KEPT, Figures, say

from edgekit.lab.sshd import Sshd, running_sshd

PEERS = {"ansible": "ansible-core", "pyinfra": "pyinfra", "fabric": "fabric"}
RTT_MS = 50.0
FLEET = 8
USER = getuser()
SFTP = "Subsystem sftp /usr/lib/openssh/sftp-server"
"""As Debian's sshd has it: ansible and fabric ask for it first."""

EDGEKIT = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from edgekit.core.device import Device
from edgekit.core.noun import from_json
from edgekit.devices.connect import connect
from edgekit.devices.parcel import parcel
from edgekit.devices.send import bring
job = json.loads(sys.argv[1])
known = {sha: Path(path) for sha, path in job["known"].items()}
def one(text):
    device = from_json(text.encode(), Device, "job")
    with connect(device) as way:
        bring(way, device, files.result(), "bench", find_file=known.get)
with ThreadPoolExecutor(9) as pool:
    files = pool.submit(parcel, {"net.onnx": Path(job["file"])})
    list(pool.map(one, job["devices"]))
"""

FABRIC = """
import sys
from concurrent.futures import ThreadPoolExecutor
from fabric import Connection
file, key, *ports = sys.argv[1:]
def one(port):
    with Connection("127.0.0.1", port=int(port), connect_kwargs={"key_filename": key}) as way:
        way.put(file, "net.onnx")
with ThreadPoolExecutor(8) as pool:
    list(pool.map(one, ports))
"""

Way = tuple[Sshd, int]
"""A device, and the port by which it is reached."""


def weights(seed: int, size: int) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal(0, 40, size), -128, 127).astype(np.int8)


def models(folder: Path, size: int) -> dict[str, Path]:
    """The first model, one with another head, and one after a step of fine-tuning by 1 % of the weights' spread."""
    first = weights(0, size)
    headed = first.copy()
    headed[-size // 20 :] = weights(1, size // 20)
    moved = first + np.random.default_rng(2).normal(0, 0.4, size)
    found = {}
    for name, values in {"first": first, "head": headed, "tuned": np.clip(np.round(moved), -128, 127)}.items():
        found[name] = folder / name / "net.onnx"
        found[name].parent.mkdir()
        found[name].write_bytes(values.astype(np.int8).tobytes())
    return found


class Tools:
    """How each tool sends a file to some devices: words to run, and their environment."""

    def __init__(self, folder: Path, known: dict[str, str]) -> None:
        self.folder, self.known = folder, known
        self._environment = {**os.environ, "ANSIBLE_HOST_KEY_CHECKING": "False", "ANSIBLE_NOCOLOR": "1"}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what a user has installed is compiled

    def run(self, tool: str, file: Path, ways: list[Way]) -> float:
        """Seconds from start to end. Raises: subprocess.CalledProcessError."""
        commands = getattr(self, f"_{tool}")(file, ways)
        began = time.perf_counter()
        running = [
            subprocess.Popen(
                words, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=self.folder
            )
            for words in commands
        ]
        for process in running:
            _, told = process.communicate(timeout=900)
            if process.returncode:
                raise RuntimeError(f"{tool}: {told.decode(errors='replace')[-500:]}")
        return time.perf_counter() - began

    def _edgekit(self, file: Path, ways: list[Way]) -> list[list[str]]:
        import msgspec

        devices = [
            msgspec.json.encode(server.device(".edgekit", f"d{i}", port=port)).decode()
            for i, (server, port) in enumerate(ways)
        ]
        job = json.dumps({"file": str(file), "devices": devices, "known": self.known})
        return [[sys.executable, "-c", EDGEKIT, job]]

    def _ssh(self, server: Sshd, port: int) -> str:
        known = server.folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {server.host_keys[0]}\n")
        return f"ssh -p {port} -i {server.folder}/client -o IdentitiesOnly=yes -o UserKnownHostsFile={known}"

    def _rsync(self, file: Path, ways: list[Way]) -> list[list[str]]:
        return [["rsync", "-e", self._ssh(s, p), str(file), f"{USER}@127.0.0.1:net.onnx"] for s, p in ways]

    def _cat(self, file: Path, ways: list[Way]) -> list[list[str]]:
        return [
            ["sh", "-c", f"{self._ssh(s, p)} {USER}@127.0.0.1 'cat > net.onnx' < {file}"] for s, p in ways
        ]  # fmt: skip

    def _inventory(self, ways: list[Way]) -> Path:
        path = self.folder / "hosts.ini"
        path.write_text(
            "\n".join(
                f"d{i} ansible_host=127.0.0.1 ansible_port={p} ansible_user={USER} "
                f"ansible_ssh_private_key_file={s.folder}/client"
                for i, (s, p) in enumerate(ways)
            )
        )
        return path

    def _ansible(self, file: Path, ways: list[Way]) -> list[list[str]]:
        tool = KEPT / "peers" / "ansible" / "bin" / "ansible"
        words = [str(tool), "all", "-i", str(self._inventory(ways)), "-f", str(FLEET), "-m", "ansible.builtin.copy"]
        return [[*words, "-a", f"src={file} dest=net.onnx"]]

    def _pyinfra(self, file: Path, ways: list[Way]) -> list[list[str]]:
        inventory = self.folder / "hosts.py"
        hosts = [
            (
                f"@ssh/d{i}",
                {
                    "ssh_hostname": "127.0.0.1",
                    "ssh_port": port,
                    "ssh_user": USER,
                    "ssh_key": f"{server.folder}/client",
                    "ssh_strict_host_key_checking": "off",
                },
            )
            for i, (server, port) in enumerate(ways)
        ]
        inventory.write_text(f"hosts = {hosts!r}\n")
        tool = KEPT / "peers" / "pyinfra" / "bin" / "pyinfra"
        return [[str(tool), "-y", str(inventory), "files.put", f"src={file}", "dest=net.onnx"]]

    def _fabric(self, file: Path, ways: list[Way]) -> list[list[str]]:
        python = KEPT / "peers" / "fabric" / "bin" / "python"
        key = str(ways[0][0].folder / "client")
        return [[str(python), "-c", FABRIC, str(file), key, *(str(port) for _, port in ways)]]


def prepare() -> list[str]:
    """Makes the peers' environments; those that can be used."""
    found = ["rsync"] if shutil.which("rsync") else []
    for name, package in PEERS.items():
        place = KEPT / "peers" / name
        if not (place / "ready").exists():
            say(f"installing {package}")
            shutil.rmtree(place, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
            words = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", package]
            if subprocess.run(words, check=False, capture_output=True).returncode:
                say(f"{name} cannot be had here: left out")
                continue
            (place / "ready").touch()
        found.append(name)
    return found


@contextlib.contextmanager
def linked(server: Sshd, rtt_ms: float) -> Iterator[tuple[int, Callable[[], int]]]:
    """A port that reaches a device over a link, and the bytes that went over it so far."""
    words = [sys.executable, "-m", "edgekit.lab.link", str(server.port), "--delay-ms", str(rtt_ms / 2)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as relay:
        assert relay.stdin is not None
        assert relay.stdout is not None
        port = int(relay.stdout.readline().rpartition(" ")[2])

        def count() -> int:
            assert relay.stdin is not None
            assert relay.stdout is not None
            relay.stdin.write("\n")
            relay.stdin.flush()
            return int(relay.stdout.readline())

        yield port, count
        relay.stdin.close()


def clear(ways: list[Way]) -> None:
    for server, _ in ways:
        shutil.rmtree(server.home, ignore_errors=True)
        server.home.mkdir()


def turns(
    tools: Tools, names: list[str], ways: list[Way], file: Path, before: Path | None, count: int
) -> dict[str, list[float]]:
    """Seconds of each tool, the tools in turn; each device is empty, or holds what the same tool sent before."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(count):
        for name in names if turn % 2 else names[::-1]:
            clear(ways)
            if before is not None:
                tools.run(name, before, ways)
            found[name].append(tools.run(name, file, ways))
            for server, _ in ways:
                if not any(path.read_bytes() == file.read_bytes() for path in server.home.rglob("net.onnx")):
                    raise RuntimeError(f"{name}: what was sent is not there")
    return found


def ratio(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Their time over ours, with a 95 % interval over paired turns."""
    from edgekit.bench.statistics import ratio_over_rounds

    found = ratio_over_rounds(theirs, ours)
    return found.value, found.low, found.high


def compare(
    figures: Figures, tools: Tools, peers: list[str], ways: list[Way],
    label: str, file: Path, before: Path | None, count: int,
    targets: dict[str, float],
) -> None:  # fmt: skip
    say(label)
    seconds = turns(tools, ["edgekit", *peers], ways, file, before, count)
    size = file.stat().st_size * len(ways)
    mine = float(np.median(seconds["edgekit"]))
    figures.add(f"{label}: edgekit", size / mine / 1e6, None, unit="MB/s")
    for peer in peers:
        value, low, high = ratio(seconds["edgekit"], seconds[peer])
        figures.add(
            f"{label}: times as fast as {peer}",
            value,
            targets.get(peer),
            low=low,
            high=high,
            larger_is_better=True,
            unit="x",
        )


def count_bytes(figures: Figures, tools: Tools, server: Sshd, files: dict[str, Path], peers: list[str]) -> None:
    """The bytes that each tool sends, as a share of the model, and edgekit's against rsync's."""
    with linked(server, 0.0) as (port, up):
        for label, before in (
            ("first", None),
            ("head", files["first"]),
            ("tuned", files["first"]),
            ("again", files["first"]),
        ):
            file = files.get(label, files["first"])
            sent = {}
            for tool in ("edgekit", *[p for p in peers if p == "rsync"]):
                clear([(server, port)])
                if before is not None:
                    tools.run(tool, before, [(server, port)])
                start = up()
                tools.run(tool, file, [(server, port)])
                sent[tool] = up() - start
            share = 100 * sent["edgekit"] / file.stat().st_size
            limit = {"first": 101.0, "head": 8.0, "tuned": 30.0, "again": 100 * 65536 / file.stat().st_size}[label]
            figures.add(f"bytes, {label}: of the model's", share, limit)
            if "rsync" in sent and label != "again":
                figures.add(f"bytes, {label}: of rsync's", sent["edgekit"] / sent["rsync"], 1.0, unit="x")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller model, rsync and ansible alone, fewer turns")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--prepare", action="store_true", help="make the peers' environments and end")
    args = parser.parse_args()
    peers = prepare()
    if args.prepare:
        return 0
    figures = Figures("push")
    if args.quick:
        peers = [p for p in peers if p in ("rsync", "ansible")]
    size, count = (16_000_000, 2) if args.quick else (100_000_000, 8)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=KEPT)))
        files = models(folder, size)
        import hashlib

        known = {hashlib.sha256(path.read_bytes()).hexdigest(): str(path) for path in files.values()}
        tools = Tools(folder, known)
        servers = [stack.enter_context(running_sshd(folder / f"d{i}", extra=SFTP)) for i in range(FLEET)]
        one: list[Way] = [(servers[0], servers[0].port)]
        port, _ = stack.enter_context(linked(servers[0], RTT_MS))
        far: list[Way] = [(servers[0], port)]
        count_bytes(figures, tools, servers[0], files, peers)
        rsync = {"rsync": 1.0, "cat": 0.8}
        plain = [*peers, "cat"]
        compare(figures, tools, plain, one, "first, 1 device", files["first"], None, count, rsync)
        compare(figures, tools, plain, far, "first, 1 device, 50 ms", files["first"], None, count, rsync)
        some = [p for p in peers if p in ("rsync", "ansible")]
        compare(figures, tools, some, one, "head, 1 device", files["head"], files["first"], count, {"rsync": 1.0})
        compare(
            figures, tools, some, far, "head, 1 device, 50 ms", files["head"], files["first"], count, {"rsync": 1.0}
        )
        compare(
            figures, tools, some, far, "tuned, 1 device, 50 ms", files["tuned"], files["first"], count, {"rsync": 1.0}
        )
        fleet: list[Way] = [(server, server.port) for server in servers]
        few = files["first"] if args.quick else models_of(folder, 20_000_000)
        compare(figures, tools, some, fleet, f"first, {FLEET} devices", few, None, max(3, count // 2), {"ansible": 3.0})
    return figures.end(as_json=args.json)


def models_of(folder: Path, size: int) -> Path:
    """A smaller model, for many devices at once."""
    (place := folder / "few").mkdir()
    (path := place / "net.onnx").write_bytes(weights(7, size).tobytes())
    return path


if __name__ == "__main__":
    sys.exit(main())
