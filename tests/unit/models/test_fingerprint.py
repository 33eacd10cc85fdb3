"""A user's function by what it does: the same in every process, another for every change that can change a figure."""

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.models.fingerprint import function_digest
from edgekit.models.source import load_function

METRIC = '''
import numpy as np
from functools import lru_cache, partial

SHARE = 0.5
WEIGHTS = {"a": np.arange(3.0)}


def right(outputs, labels):
    return outputs.argmax(1) == labels


@lru_cache
def scale():
    return 2


def metric(outputs, labels, power=1):
    """What a user wrote."""
    return (right(outputs, labels).mean() * SHARE * WEIGHTS["a"][0]) ** power * scale()


class Worst:
    def __init__(self, least):
        self.least = least

    def __call__(self, outputs, labels):
        return max(self.least, metric(outputs, labels))


worst = Worst(0.1)
loud = partial(metric, power=3)
'''

HERE = "import sys; sys.path[:0] = sys.argv[1:2]; from edgekit.models.fingerprint import function_digest as d\n"


def digest_of(text: str, folder: Path, name: str = "metric") -> str:
    folder.mkdir()
    (folder / "metric.py").write_text(text)
    return function_digest(load_function(f"metric.py:{name}", folder, "metric.name"))


@pytest.mark.parametrize("name", ["metric", "worst", "loud", "scale"])
def test_the_digest_is_the_same_in_every_process(tmp_path: Path, name: str) -> None:
    (tmp_path / "metric.py").write_text(METRIC)
    show = f"{HERE}import metric; print(d(metric.{name}), d(metric.{name}))"
    said = {
        word
        for seed in "01"
        for word in subprocess.run(
            (sys.executable, "-c", show, str(tmp_path)), env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout.split()
    }  # fmt: skip
    assert len(said) == 1


def test_comments_lines_and_the_place_of_the_file_do_not_count(tmp_path: Path) -> None:
    moved = "# a comment\n\n" + METRIC.replace(
        "    return outputs.argmax", "\n    # the class\n    return outputs.argmax"
    )
    assert digest_of(METRIC, tmp_path / "one") == digest_of(moved, tmp_path / "two")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SHARE = 0.5", "SHARE = 0.6"),
        ("np.arange(3.0)", "np.arange(4.0)"),
        ("argmax(1)", "argmax(-1)"),
        ("return 2", "return 3"),
        ("power=1)", "power=2)"),
        (".mean()", ".sum()"),
        ("import numpy as np\n", "import math\nimport numpy as np\n"),
    ],
)
def test_what_the_function_uses_counts_and_what_it_does_not_use_does_not(tmp_path: Path, old: str, new: str) -> None:
    assert old in METRIC
    changed = digest_of(METRIC.replace(old, new, 1), tmp_path / "two")
    assert (changed == digest_of(METRIC, tmp_path / "one")) == ("math" in new)


def test_the_state_of_a_callable_object_and_the_words_of_a_partial_count(tmp_path: Path) -> None:
    other = METRIC.replace("Worst(0.1)", "Worst(0.2)").replace("power=3", "power=4")
    for name in ("worst", "loud"):
        assert digest_of(METRIC, tmp_path / f"{name}1", name) != digest_of(other, tmp_path / f"{name}2", name)


def test_what_a_function_closes_over_counts() -> None:
    def above(threshold: float):
        return lambda outputs, labels: float((outputs > threshold).mean())

    assert function_digest(above(0.5)) == function_digest(above(0.5)) != function_digest(above(0.6))


def test_functions_of_installed_packages_count_by_name_and_cycles_end() -> None:
    def forever(outputs, labels):
        return forever(outputs, labels)

    assert function_digest(forever) == function_digest(forever)
    assert function_digest(np.mean) != function_digest(np.median)
    assert function_digest(functools.reduce) != function_digest(len)
