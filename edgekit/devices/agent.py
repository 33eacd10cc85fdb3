"""The one file that measures, on a device."""

from edgekit.core.device import Device
from edgekit.devices.connect import python_of
from edgekit.devices.push import bring
from edgekit.devices.transport import Transport


def install_agent(transport: Transport, device: Device) -> str:
    """The path of the agent on the device; another version of it is another path. Raises: as `push.stage`."""
    from importlib.resources import as_file, files

    with as_file(files("edgekit.ondevice").joinpath("agent.py")) as path:
        return bring(transport, device, {"agent.py": path}, "agent") + "/agent.py"


def agent_command(
    transport: Transport, device: Device, environment: tuple[tuple[str, str], ...] = ()
) -> tuple[str, ...]:
    """The words that start the agent on the device; `environment` is that of `prepare.runtime_environment`.

    Raises: as `push.stage`.
    """
    settings = tuple(f"{key}={value}" for key, value in environment)
    return ("env", *settings, python_of(device), install_agent(transport, device))
