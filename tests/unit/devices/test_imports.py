"""What it costs to talk about devices without reaching one."""

import subprocess
import sys


def test_no_ssh_library_is_loaded_before_a_device_is_reached_over_ssh() -> None:
    modules = (
        "adb",
        "agent",
        "call",
        "connect",
        "facts",
        "holders",
        "hostkeys",
        "inventory",
        "lease",
        "local",
        "openssh",
        "prepare",
        "push",
        "wheels",
    )
    code = "import sys\n" + "".join(f"import edgekit.devices.{name}\n" for name in modules)
    code += "assert not {'paramiko', 'cryptography', 'numpy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_of_what_the_ssh_library_loads_the_half_that_is_not_needed_comes_when_it_is() -> None:
    code = """
import gc, sys
import edgekit.devices.ssh
assert not {"invoke", "unittest", "asyncio", "numpy"} & set(sys.modules)
assert gc.isenabled()
import paramiko.config
assert paramiko.config.invoke.run.__module__ == "invoke"
import invoke
assert paramiko.config.invoke.run is invoke.run
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_was_loaded_before_stays_as_it_is() -> None:
    code = "import gc, invoke; gc.disable(); import edgekit.devices.ssh, paramiko.config\n"
    code += "assert paramiko.config.invoke is invoke and not gc.isenabled()"
    subprocess.run([sys.executable, "-c", code], check=True)
