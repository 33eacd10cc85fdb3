"""Facts of fifty boards at once: the time it takes, and the memory of the process that asks.

`python benchmarks/many_devices.py [--quick] [--json]`: real sshds on loopback, each with its own keys, asked by one
process over paramiko; their end of every connection runs on the same cores. Targets: 10 s, 200 MB.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from _figures import KEPT, Figures, say

from edgekit.lab.sshd import running_sshd

ASK = """
import json, resource, sys, time
from concurrent.futures import ThreadPoolExecutor
began = time.perf_counter()
from edgekit.core.device import Device
from edgekit.core.noun import from_json
from edgekit.devices.connect import connect
from edgekit.devices.facts import gather
def one(text):
    device = from_json(text.encode(), Device, "job")
    with connect(device) as way:
        return gather(way, device).arch
with ThreadPoolExecutor(16) as pool:
    found = list(pool.map(one, json.loads(sys.stdin.read())))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"found": len(found), "seconds": time.perf_counter() - began, "peak_bytes": peak}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same: it takes seconds")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures, count = Figures("many_devices"), 50
    KEPT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT) as name, contextlib.ExitStack() as stack:
        say(f"{count} sshds")
        servers = [stack.enter_context(running_sshd(Path(name) / str(i))) for i in range(count)]
        devices = [msgspec.json.encode(server.device(".edgekit", f"d{i}")).decode() for i, server in enumerate(servers)]
        runs = []
        for _ in range(3):
            done = subprocess.run(
                [sys.executable, "-c", ASK], input=json.dumps(devices), capture_output=True, text=True, check=True
            )
            runs.append(json.loads(done.stdout))
    assert all(run["found"] == count for run in runs)
    seconds = sorted(run["seconds"] for run in runs)
    figures.add(f"facts of {count} devices", seconds[1], 10.0, low=seconds[0], high=seconds[2], unit="s")
    figures.add("memory of the host, at most", max(run["peak_bytes"] for run in runs) / 1e6, 200.0, unit="MB")
    return figures.end(as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
