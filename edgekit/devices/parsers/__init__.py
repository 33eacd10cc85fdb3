"""What the commands of `devices.facts` print, read: pure functions, each total. What is not known is None or ""."""

from edgekit.devices.parsers.android import is_termux, parse_getprop
from edgekit.devices.parsers.heat import parse_temperatures, parse_throttled
from edgekit.devices.parsers.jetson import (
    parse_jetpack,
    parse_jetson_clocks,
    parse_l4t,
    parse_nvpmodel,
    parse_tensorrt,
)
from edgekit.devices.parsers.kria import parse_xdputil, parse_xmutil
from edgekit.devices.parsers.mac import parse_sw_vers, parse_sysctl
from edgekit.devices.parsers.processor import (
    is_emulated,
    parse_cores,
    parse_cpu,
    parse_features,
    parse_governors,
)
from edgekit.devices.parsers.python import parse_python
from edgekit.devices.parsers.system import (
    parse_board,
    parse_df,
    parse_libc,
    parse_memory,
    parse_os_release,
    parse_soc,
    parse_uname,
    userland,
)

__all__ = [
    "is_emulated", "is_termux", "parse_board", "parse_cores", "parse_cpu", "parse_df", "parse_features",
    "parse_getprop", "parse_governors", "parse_jetpack", "parse_jetson_clocks", "parse_l4t", "parse_libc",
    "parse_memory", "parse_nvpmodel", "parse_os_release", "parse_python", "parse_soc", "parse_sw_vers",
    "parse_sysctl", "parse_temperatures", "parse_tensorrt", "parse_throttled", "parse_uname", "parse_xdputil",
    "parse_xmutil", "userland",
]  # fmt: skip
