"""AMD's xdputil on a Vitis AI board: frames a second of an .xmodel on its DPU, no single calls.

The text is that of performance_test.hpp in Vitis AI's xrt tools, as users' threads show it.
"""

import re

from edgekit.bench.runners.timing import Timing
from edgekit.devices.said import readable
from edgekit.errors import MeasureError

_FRAMES = re.compile(r"FPS= ?([\d.]+) number_of_frames= ?(\d+) time= ?([\d.]+) seconds")
_UNMATCHED = re.compile(r"model_fingerprint (0x[\da-fA-F]+) is un-?matched with actual dpu_fingerprint (0x[\da-fA-F]+)")


class Xdputil:
    """The mean time of a frame; with several threads the frames overlap, and it is the inverse of their rate."""

    name = "xdputil"

    def command(self, model: str, *, threads: int, program: str | None = None) -> tuple[str, ...]:
        """As `Runner.command`."""
        return (program or "xdputil", "benchmark", model, str(threads))

    def parse(self, said: str, device: str) -> Timing:
        """As `Runner.parse`."""
        if found := _UNMATCHED.search(said):
            raise MeasureError(
                f"{device}: the model is compiled for DPU {found[1]}, the device has {found[2]}: compile it for that"
            )
        runs = _FRAMES.findall(said)
        if not runs or float(runs[-1][0]) <= 0 or int(runs[-1][1]) < 1:
            raise MeasureError(f"{device}: xdputil gave no rate: {readable(said[-400:])}")
        _, frames, seconds = runs[-1]
        return Timing(calls=int(frames), mean_s=float(seconds) / int(frames))
