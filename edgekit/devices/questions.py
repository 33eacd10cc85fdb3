"""What a device is asked: a command for each fact. One that a device does not have says nothing."""

from edgekit.core.device import Device
from edgekit.core.noun import Noun
from edgekit.devices.connect import python_of
from edgekit.devices.prepare import runtime_environment
from edgekit.devices.scripts import on_device
from edgekit.devices.transport import Transport
from edgekit.devices.words import BOUNDED

TOOL_S = "12"
"""Seconds that a vendor's tool may take, where the device can end it: one that hangs costs its own fact alone."""


class Question(Noun, frozen=True, kw_only=True):
    """A command and the name that its output goes by."""

    name: str
    words: tuple[str, ...]


FIND = 'PATH="$PATH:/usr/sbin:/sbin:/usr/src/tensorrt/bin:/opt/vc/bin:/system/bin"'
"""A session that is no login finds fewer programs than a user does."""
PACKAGE = "${db:Status-Status} ${Package} ${Version}\\n"


def tool(*words: str) -> tuple[str, ...]:
    """A command that runs a vendor's tool, wherever it is, and ends it when it hangs."""
    return ("sh", "-c", f"{FIND}; {BOUNDED}", "sh", TOOL_S, *words)


QUESTIONS = (
    Question(name="uname", words=("uname", "-rm")),
    Question(name="long_bit", words=("getconf", "LONG_BIT")),
    Question(name="os_release", words=("cat", "/etc/os-release")),
    Question(
        name="libc",
        words=("sh", "-c", "getconf GNU_LIBC_VERSION || { ldd --version 2>&1; ls /lib/ld-musl-*; }"),
    ),
    Question(name="cpuinfo", words=("cat", "/proc/cpuinfo")),
    Question(name="cores", words=("sh", "-c", "nproc || getconf _NPROCESSORS_ONLN")),
    Question(name="meminfo", words=("cat", "/proc/meminfo")),
    Question(name="board", words=("cat", "/proc/device-tree/model")),
    Question(
        name="governors",
        words=("sh", "-c", "cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"),
    ),
    Question(
        name="temperatures",
        words=("sh", "-c", "cd /sys/class/thermal && grep -s . /dev/null thermal_zone*/type thermal_zone*/temp"),
    ),
    Question(
        name="throttling",
        words=("sh", "-c",
            "cd /sys/class/thermal && grep -s . /dev/null cooling_device*/type cooling_device*/cur_state "
            "thermal_zone*/trip_point_*_type thermal_zone*/trip_point_*_temp"),
    ),
    Question(name="compatible", words=("cat", "/proc/device-tree/compatible")),
    Question(name="vcgencmd", words=tool("vcgencmd", "get_throttled")),
    Question(name="l4t", words=("cat", "/etc/nv_tegra_release")),
    Question(name="packages", words=("dpkg-query", "-W", f"-f={PACKAGE}", "nvidia-jetpack", "nvidia-l4t-core")),
    Question(
        name="tensorrt",
        words=("sh", "-c",
            f"dpkg-query -W -f='{PACKAGE}' 'libnvinfer[0-9]*' | grep ^installed && exit; {FIND}; {BOUNDED}",
            "sh", TOOL_S, "trtexec", "--help"),
    ),
    Question(name="nvpmodel", words=tool("nvpmodel", "-q")),
    Question(name="jetson_clocks", words=tool("jetson_clocks", "--show")),
    Question(name="xdputil", words=tool("xdputil", "query")),
    Question(name="xmutil", words=tool("xmutil", "listapps")),
    Question(
        name="getprop",
        words=("sh", "-c", rf"{FIND}; getprop | grep -E '^\[ro\.(build|product|soc|board)\.'"),
    ),
    Question(
        name="shell",
        words=("sh", "-c", 'echo "TERMUX_VERSION=$TERMUX_VERSION"; echo "PREFIX=$PREFIX"; echo "HOME=$HOME"'),
    ),
    Question(name="sw_vers", words=("sw_vers",)),
    Question(name="sysctl", words=tool("sysctl", "machdep.cpu.brand_string", "hw.memsize", "hw.model", "hw.optional")),
)  # fmt: skip


def questions_of(transport: Transport, device: Device) -> tuple[Question, ...]:
    """The questions that depend on the device's words: its disk, and its Python with the runtime brought there."""
    environment = tuple(f"{key}={value}" for key, value in runtime_environment(transport, device))
    near = 'd=$1; while [ ! -d "$d" ]; do d=$(dirname "$d"); done; df -Pk "$d" | tail -n 1'
    return (
        Question(name="df", words=("sh", "-c", near, "sh", device.root)),
        Question(name="python", words=("env", *environment, python_of(device), "-c", on_device("probe.py").decode())),
    )
