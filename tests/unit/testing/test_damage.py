"""Damaged files are seeded, and a file that kills its process costs that process only."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import ArtifactError
from edgekit.testing import damage
from edgekit.testing.damage import DAMAGES, Tried, flipped, try_files, write_damaged

CONTENT = bytes(range(256)) * 8


def test_the_same_seeds_give_the_same_files(tmp_path: Path) -> None:
    folders = (tmp_path / "a", tmp_path / "b")
    for folder in folders:
        folder.mkdir()
        assert len(write_damaged(CONTENT, ".bin", 20, folder)) == 20
    one, other = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders)
    assert one == other
    assert CONTENT not in one.values()


@pytest.mark.parametrize("kind", DAMAGES)
def test_every_kind_of_damage_changes_the_file(kind: damage.Damage) -> None:
    assert all(kind(CONTENT, np.random.default_rng(seed)) != CONTENT for seed in range(20))


def test_a_flip_keeps_the_size() -> None:
    assert len(flipped(CONTENT, np.random.default_rng(0))) == len(CONTENT)


def test_a_file_that_kills_its_process_is_told_of_and_the_rest_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def child(function: str, job: Mapping[str, Any], **_: object) -> None:
        with Path(job["log"]).open("a") as log:
            for path in job["paths"]:
                if "killer" in path:
                    raise ArtifactError("a damaged file: crashed (SIGSEGV)")
                log.write(json.dumps({"reason": None, "right": True}) + "\n")

    monkeypatch.setattr(damage, "call_in_child", child)
    files = {tmp_path / name: name for name in ("a", "killer", "b", "killer2", "c")}
    tried = try_files("onnx", files, tmp_path / "v.npz", tmp_path / "log")
    died = "a damaged file: crashed (SIGSEGV)"
    assert tried == [
        Tried("a", None, right=True), Tried("killer", died, right=False), Tried("b", None, right=True),
        Tried("killer2", died, right=False), Tried("c", None, right=True),
    ]  # fmt: skip
