"""`tune` on a board that builds its engines: forms timed by trtexec, the choice installed with its engine."""

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
import trtexec
from torch import nn

from edgekit.catalog import get_target
from edgekit.errors import TargetError
from edgekit.lab.sshd import running_sshd
from edgekit.pipeline.given import given_job
from edgekit.pipeline.job import Job
from edgekit.pipeline.tune import tune
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.ledger import Ledger
from edgekit.store.weights import WeightStore

TARGET = msgspec.structs.replace(get_target("tensorrt-jetson-orin"), requires=(("tensorrt", "10.3"),))


def job(**words: object) -> Job:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4))
    samples = np.random.default_rng(0).normal(size=(60, 1, 8, 8)).astype(np.float32)
    words = {"budget": {"pushes": 4, "tunings": 1}, "compress": {"width": False}} | words
    return given_job(
        net, torch.zeros(1, 1, 8, 8), data={"calibration": samples}, evaluate="agreement", max_drop="50%",
        name="tiny", words=words,
    )  # fmt: skip


@pytest.mark.slow
def test_a_model_is_tuned_by_engines_and_its_choice_has_one(tmp_path: Path) -> None:
    board, root = tmp_path / "board", tmp_path / "root"
    trtexec.put(board / "tools", "10.3.0")
    with (
        running_sshd(board, path=f"{board}/tools:{os.environ['PATH']}") as server,
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger,
    ):
        stores = (ArtifactStore(tmp_path / "store"), WeightStore(tmp_path / "weights"))
        study = tune(job(), server.device(root), TARGET, *stores, ledger)
        assert study.choice is not None
        assert dict(study.versions)["trtexec"] == "10.3.0"
        measured = [trial.measurement for trial in study.trials if trial.measurement is not None]
        assert measured
        assert {m.peak_memory_bytes for m in measured} == {None}
        current = root / "models" / "tiny" / "current"
        model = (current / "model.onnx").read_bytes()
        assert (current / ".built" / "model.engine").read_bytes()[trtexec.HEADER :] == model
        built = trtexec.log(board / "tools").count("build")
        again = tune(job(), server.device(root), TARGET, *stores, ledger)
        assert again.choice == study.choice
        assert trtexec.log(board / "tools").count("build") == built
        with pytest.raises(TargetError, match="trtexec tells no memory"):
            tune(job(minimise="memory"), server.device(root), TARGET, *stores, ledger)
