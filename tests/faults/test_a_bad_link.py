"""A push over a link that is slow, long, loses packets and is cut, in a network of its own: once, and whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bad_link import CUTS, SIZE

from edgekit.lab.network import APART

UNDER_WAY = 2 << 20
"""What an sshd lets a client send ahead: so much may be lost with each cut."""


@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own takes root")
@pytest.mark.parametrize("way", ["ssh", pytest.param("openssh", marks=pytest.mark.slow)])
def test_a_model_comes_whole_over_a_bad_link_and_not_twice(tmp_path: Path, way: str) -> None:
    words = [*APART, sys.executable, str(Path(__file__).with_name("bad_link.py")), str(tmp_path), way]
    done = subprocess.run(words, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["whole"]
    assert said["visible"] == []
    assert said["cuts"] == len(CUTS)
    assert said["lost"] > 0
    assert SIZE <= said["up"] <= SIZE + len(CUTS) * UNDER_WAY
