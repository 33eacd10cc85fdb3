"""Writes captured_NAME.toml: what a device of the inventory (this computer by default) answers. Read the rest through!

python tests/golden/facts/capture.py NAME [DEVICE]
"""

import sys
from pathlib import Path

import tomli_w

from edgekit.catalog.firmware import firmware_of
from edgekit.core.noun import to_builtins
from edgekit.devices.connect import connect
from edgekit.devices.facts import ask_all, facts_of
from edgekit.devices.inventory import get_device
from edgekit.devices.questions import QUESTIONS, questions_of


def main() -> None:
    device = get_device(sys.argv[2] if len(sys.argv) > 2 else "local")
    with connect(device) as transport:
        told = ask_all(transport, (*QUESTIONS, *questions_of(transport, device)))
    found = facts_of(told, device.name)
    firmware = firmware_of(found)
    facts = {key: value for key, value in to_builtins(found).items() if value is not None}
    golden = {"firmware": firmware.name if firmware else "", "told": told, "facts": facts}
    text = tomli_w.dumps(golden, multiline_strings=True)
    Path(__file__).with_name(f"captured_{sys.argv[1]}.toml").write_text(text)


if __name__ == "__main__":
    main()
