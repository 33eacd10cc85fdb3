"""`tune` on a phone without Python: forms timed by benchmark_model, the choice tried there and installed."""

from pathlib import Path

import benchmark_model
import msgspec
import numpy as np
import pytest
import torch
from phone import as_android, running_phone
from torch import nn

from edgekit.catalog import get_target
from edgekit.errors import TargetError
from edgekit.pipeline.given import given_job
from edgekit.pipeline.job import Job
from edgekit.pipeline.tune import tune
from edgekit.report.page import render
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.ledger import Ledger
from edgekit.store.weights import WeightStore

TARGET = get_target("tflite-aarch64-android")


def job() -> Job:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4))
    samples = np.random.default_rng(0).normal(size=(60, 1, 8, 8)).astype(np.float32)
    words = {"budget": {"pushes": 4, "tunings": 1}, "compress": {"width": False}}
    return given_job(
        net, torch.zeros(1, 1, 8, 8), data={"calibration": samples}, evaluate="agreement", max_drop="50%",
        name="tiny", words=words,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_model_is_tuned_on_a_phone_and_its_choice_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = benchmark_model.put(tmp_path / "tools", "brief")
    stores = (ArtifactStore(tmp_path / "store"), WeightStore(tmp_path / "weights"))
    with (
        running_phone(tmp_path / "phone", monkeypatch, *as_android(tmp_path / "shown")) as phone,
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger,
    ):
        device = msgspec.structs.replace(
            phone.device(tmp_path / "root"), python="none", tools=(("benchmark_model", str(program)),)
        )
        study = tune(job(), device, TARGET, *stores, ledger)
        assert study.choice is not None
        assert dict(study.versions)["benchmark_model"].startswith("build ")
        measured = [trial.measurement for trial in study.trials if trial.measurement is not None]
        assert {(m.wall.told, m.cpu, m.wall.p90_s) for m in measured} == {("median", None, None)}
        assert all((m.peak_memory_bytes or 0) > 1_000_000 for m in measured)
        assert all(trial.comparison.clock == "wall" for trial in study.trials if trial.comparison is not None)
        assert (tmp_path / "root" / "models" / "tiny" / "current" / "model.tflite").is_file()
        assert any("--output_filepath" in line for line in benchmark_model.log(tmp_path / "tools")), (
            "it was tried there"
        )
        timed = len(benchmark_model.log(tmp_path / "tools"))
        assert tune(job(), device, TARGET, *stores, ledger).choice == study.choice
        assert len(benchmark_model.log(tmp_path / "tools")) - timed < 8, "nothing is timed again"
        assert "p95" in render(study)


def test_a_dpu_has_no_forms_to_choose_from_and_that_is_said_before_anything_is_done(tmp_path: Path) -> None:
    from edgekit.devices.inventory import get_device

    with (
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger,
        pytest.raises(TargetError, match=r"it runs whole models in int8 .* `edgekit bench FLOAT\.onnx ARTIFACT`"),
    ):
        dpu = get_target("vitis_ai-dpuczdx8g-b4096")
        stores = (ArtifactStore(tmp_path / "store"), WeightStore(tmp_path / "weights"))
        tune(job(), get_device("local"), dpu, *stores, ledger)
