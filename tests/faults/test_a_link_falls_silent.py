"""A link that breaks without a word, in a network of its own with a real firewall: noticed, whatever the transport."""

import os
from pathlib import Path

import pytest
from matrix import WAYS, one
from silent_link import FAULTS

from edgekit.devices.call import ALIVE_COUNT, ALIVE_S

NOTICED_S = ALIVE_COUNT * ALIVE_S + 5
"""What the transports promise."""

BUSY_S = 5
"""What a machine that does other things besides may add to it."""


@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own takes root")
@pytest.mark.parametrize(
    ("way", "fault"),
    [
        pytest.param(way, fault, marks=() if (way, fault) == ("ssh", "dropped") else pytest.mark.slow)
        for way in WAYS
        for fault in FAULTS
    ],
)
def test_a_broken_link_is_noticed_long_before_the_commands_own_deadline(tmp_path: Path, way: str, fault: str) -> None:
    said = one(tmp_path, way, fault)
    assert said["told"] in ("UnreachableError", "DeadlineError")
    assert said["after_s"] < NOTICED_S + BUSY_S
    assert said["threads"] == []
