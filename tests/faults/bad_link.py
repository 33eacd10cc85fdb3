"""A push over a bad link, in a network of its own: bad_link.py FOLDER TRANSPORT. Says as JSON what it took.

The link is 25 ms long each way, carries 40 Mbit/s, loses one packet of a hundred, and is cut twice.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

from edgekit.devices.connect import connect
from edgekit.devices.parcel import parcel
from edgekit.devices.send import bring
from edgekit.errors import UnreachableError
from edgekit.lab.link import link_to
from edgekit.lab.network import open_network
from edgekit.lab.sshd import running_sshd

SIZE = 6 << 20
CUTS = (2 << 20, 3 << 20)


def main() -> None:
    folder, transport = Path(sys.argv[1]), sys.argv[2]
    open_network(rate_mbit=40, loss=0.01)
    (model := folder / "net.onnx").write_bytes(random.Random(0).randbytes(SIZE))
    files, visible = parcel({"net.onnx": model}), list[str]()
    with running_sshd(folder / "sshd") as server, link_to(server.port, 0.025) as link:
        device = server.device(".edgekit", port=link.port, transport=transport)
        for cut in (*CUTS, None):
            link.cut_at = None if cut is None else link.up + cut
            try:
                with connect(device) as way:
                    sent = bring(way, device, files, "bench")
            except UnreachableError:
                visible += [str(path) for path in server.home.glob(".edgekit/bench/*")]
        said = {
            "whole": (server.home / sent.folder / "net.onnx").read_bytes() == model.read_bytes(),
            "cuts": link.cuts, "up": link.up, "visible": visible,
        }  # fmt: skip
    rules = subprocess.run(["iptables", "-nvxL", "INPUT"], capture_output=True, text=True, check=True).stdout
    json.dump(said | {"lost": int(rules.splitlines()[2].split()[0])}, sys.stdout)


if __name__ == "__main__":
    main()
