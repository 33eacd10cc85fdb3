"""What it costs to talk about devices without reaching one."""

import subprocess
import sys


def test_no_ssh_library_is_loaded_before_a_device_is_reached_over_ssh() -> None:
    modules = (
        "agent",
        "connect",
        "facts",
        "holders",
        "hostkeys",
        "inventory",
        "lease",
        "local",
        "prepare",
        "push",
        "wheels",
    )
    code = "import sys\n" + "".join(f"import edgekit.devices.{name}\n" for name in modules)
    code += "assert not {'paramiko', 'cryptography', 'numpy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
