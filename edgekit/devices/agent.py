"""The program that measures, on a device."""

from importlib.resources import files
from pathlib import Path

from edgekit.core.device import Device
from edgekit.devices.connect import python_of
from edgekit.devices.parcel import parcel
from edgekit.devices.send import bring
from edgekit.devices.transport import Transport


def agent_folder() -> Path:
    """The agent on the host: a folder that Python runs."""
    return Path(str(files("edgekit"))) / "ondevice"


def agent_files() -> dict[str, Path]:
    """The agent's files, by their paths in its folder on a device."""
    folder = agent_folder()
    paths = (folder / "__main__.py", *folder.glob("agent/*.py"))
    return {path.relative_to(folder).as_posix(): path for path in sorted(paths)}


def install_agent(transport: Transport, device: Device) -> str:
    """The agent's folder on the device; another version of it is another folder. Raises: as `push.stage`."""
    return bring(transport, device, parcel(agent_files()), "agent").folder


def agent_command(
    transport: Transport, device: Device, environment: tuple[tuple[str, str], ...] = ()
) -> tuple[str, ...]:
    """The words that start the agent on the device; `environment` is that of `prepare.runtime_environment`.

    Raises: as `push.stage`.
    """
    settings = tuple(f"{key}={value}" for key, value in environment)
    return ("env", *settings, *starting(python_of(device), install_agent(transport, device)))


def starting(python: str, folder: str | Path) -> tuple[str, ...]:
    """The words with which `python` runs the agent in `folder`, writing nothing into it: it stays whole.

    >>> starting("python3", "agent")
    ('python3', '-B', 'agent')
    """
    return (python, "-B", str(folder))
