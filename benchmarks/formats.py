"""Side by side with the plain tools, format by format: what converts, how far from float it is, how fast it runs.

`python benchmarks/formats.py [--quick] [--json] [--prepare]`: the nets of tests/zoo go, as torch.export saves them and
with the same calibration data, to edgekit and to each tool in an environment of its own: torch.onnx.export and
onnxruntime's quantizer (default; best: uint8, per channel; dynamic), litert-torch and ai-edge-quantizer (static,
dynamic, weights alone), onnx2tf (static, dynamic), coremltools and coremltools.optimize (int8 weights: int8 activations
it calibrates on a Mac alone, so edgekit's W8A8 has no peer here). Every file is run on this computer: by onnxruntime,
LiteRT, and edgekit's evaluator for Core ML.

Three claims, each for each format: as many nets convert and run, float and int8, as with any one tool; the best form of
each kind (static, dynamic, weights alone) is as near to float as the best of the tools' of that kind; and the form that
edgekit would ship (the fastest, float included, that is good enough: `worst_db`) is as fast as the fastest that the
tools have on the same terms, in rounds that all forms take part in, one thread, CPU time of the process. "Equal" is a
figure whose 95 % interval, over the nets, holds the target. A tool that does not install, and what it fails on, is
named.
"""

import argparse
import contextlib
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _figures import Figures, bench_here, say
from _peers import prepare, run
from _rounds import measure

from edgekit.bench.session import Bench
from edgekit.catalog.targets import get_target
from edgekit.compress.quantize import quantize
from edgekit.core.device import Device
from edgekit.core.recipe import Quantize
from edgekit.devices.facts import gather
from edgekit.errors import EdgekitError
from edgekit.formats.base import get_format
from edgekit.models.data import Samples
from edgekit.models.model import Model
from edgekit.models.program import export

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
QUICK = ("audio",)
OURS = "edgekit"
PEERS = {
    "torch.onnx": (("torch==2.13.0", "onnx==1.20.1", "onnxruntime==1.32.0", "onnxscript==0.7.2", "sympy"),),
    "litert-torch": (
        (
            "torch==2.13.0", "litert-torch==0.10.0", "ai-edge-litert==2.3.0", "ai-edge-quantizer==0.10.0",
            "torchao==0.18.0",
        ),
    ),
    "coremltools": (("torch==2.13.0", "coremltools==9.0", "scikit-learn==1.9.1", "numpy<2.4"),),
    "onnx2tf": (
        (
            "numpy==2.2.6", "onnx==1.20.1", "onnxruntime", "onnxsim", "onnxoptimizer", "onnxscript",
            "ai-edge-litert==2.3.0", "ai-edge-quantizer==0.10.0", "sne4onnx", "sng4onnx", "psutil", "h5py", "ml-dtypes",
            "flatbuffers", "tqdm", "opencv-python-headless",
        ),
        ("--no-deps", "--ignore-requires-python", "onnx2tf==2.6.9"),
    ),
}  # fmt: skip
"""What each environment holds. onnx2tf asks for Python 3.12 and a TensorFlow that its direct back end does without."""
SETTINGS = {
    "torch.onnx": ("default", "best", "dynamic"), "litert-torch": ("static", "dynamic", "weights"),
    "coremltools": ("weights",), "onnx2tf": ("static", "dynamic"),
}  # fmt: skip
OWN = {
    "int8": Quantize(), "int8, rounded together": Quantize(rounding="gptq"),
    "int8-dynamic": Quantize(default="int8-dynamic"), "int8-weights": Quantize(default="int8-weights"),
}  # fmt: skip
KINDS = {
    "static int8": ("int8", "int8, rounded together", "default", "best", "static"),
    "dynamic int8": ("int8-dynamic", "dynamic"),
    "int8 weights": ("int8-weights", "weights"),
}
"""Which settings are of one kind; only like is compared with like in their distance to float."""
FORMAT_OF = {"torch.onnx": "onnx", "litert-torch": "tflite", "coremltools": "coreml", "onnx2tf": "tflite"}
ENDINGS = {"onnx": ".onnx", "tflite": ".tflite", "coreml": ".mlpackage"}
TARGETS = {
    "onnx": f"onnx-{platform.machine()}", "tflite": f"tflite-{platform.machine()}", "coreml": "coreml-apple-silicon",
}  # fmt: skip
RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert"}
DEADLINE_S = 1800
FLOAT_ERROR = 1e-3
"""Share of its range that an output of a float form may be off by, or it is no form of the net."""
LEAST_DB, LESS_DB = 20.0, 1.0
MOST_DB = 120.0


class Made(NamedTuple):
    """A form of a net: who made it (a tool, or OURS) at which setting, its file, its inputs, its distance to float."""

    by: str
    setting: str
    path: Path
    feed: Path
    sqnr_db: float

    @property
    def name(self) -> str:
        """In a line."""
        return f"{self.by}, {self.setting}"


class Subject(NamedTuple):
    """A net, its calibration data and the inputs that its forms are compared with float for."""

    model: Model
    calibration: Samples
    wanted: tuple[np.ndarray, ...]
    folder: Path


def subject_of(name: str, folder: Path) -> Subject:
    import torch
    from zoo import hard, hard_samples  # type: ignore[attr-defined]

    model, calibration, inputs = hard(name), hard_samples(name, 16), hard_samples(name, 16, seed=1).inputs
    np.savez(folder / "calibration.npz", **{f"in_{i}": a for i, a in enumerate(calibration.inputs)})
    np.savez(folder / "inputs.npz", **{f"in_{i}": a for i, a in enumerate(inputs)})
    torch.export.save(export(model).exported, folder / "net.pt2")
    rows: list[list[np.ndarray]] = []
    for i in range(len(inputs[0])):
        with torch.no_grad():
            made = model.module(*(torch.from_numpy(a[i : i + 1]) for a in inputs))
        rows.append([t.numpy() for t in ((made,) if isinstance(made, torch.Tensor) else made)])
    return Subject(model, calibration, tuple(np.concatenate(c) for c in zip(*rows, strict=True)), folder)


def sqnr_db(wanted: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> float:
    """Signal to noise, the noise being the mean of its shares of the outputs; at most MOST_DB.

    >>> sqnr_db([np.array([10.0])], [np.array([11.0])])
    20.0
    """
    shares = [float(np.sum((g - w) ** 2.0)) / max(float(np.sum(w**2.0)), 1e-30) for w, g in _pairs(wanted, got)]
    noise = float(np.mean(shares))
    return min(-10 * float(np.log10(max(noise, 1e-30))), MOST_DB) if np.isfinite(noise) else -MOST_DB


def _pairs(
    wanted: Sequence[np.ndarray], got: Sequence[np.ndarray]
) -> Iterable[tuple[np.ndarray, np.ndarray]]:  # fmt: skip
    return ((w.astype(np.float64), g.astype(np.float64)) for w, g in zip(wanted, got, strict=True))


def fitted(wanted: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> tuple[np.ndarray, ...] | None:
    """Outputs in the order and the layout of the net's; None if they are others."""
    left, found = list(got), []
    for like in wanted:
        ways = ((a, a if a.shape == like.shape else np.moveaxis(a, -1, 1) if a.ndim > 2 else a) for a in left)
        pair = next((pair for pair in ways if pair[1].shape == like.shape), None)
        if pair is None:
            return None
        left = [a for a in left if a is not pair[0]]
        found.append(pair[1])
    return tuple(found)


def ran(subject: Subject, by: str, setting: str, path: Path, format_name: str) -> Made | str:
    """The form that a file is; why it is none."""
    stem = subject.folder / f"{by}-{setting}-{format_name}".replace(" ", "")
    outputs, feed = stem.with_name(stem.name + "-out.npz"), stem.with_name(stem.name + "-in.npz")
    words = [sys.executable, str(HERE / "_format_run.py"), format_name, str(path), str(subject.folder / "inputs.npz")]
    if reason := run([*words, str(outputs), str(feed)], subject.folder, DEADLINE_S):
        return f"does not run: {reason}"
    with np.load(outputs) as archive:
        got = fitted(subject.wanted, [archive[f"out_{i}"] for i in range(len(archive.files))])
    if got is None:
        return "has other outputs than the net"
    found = sqnr_db(subject.wanted, got)
    off = max(float(np.abs(g - w).max() / max(np.abs(w).max(), 1e-30)) for w, g in _pairs(subject.wanted, got))
    if setting == "float" and not off <= FLOAT_ERROR:
        return f"is off by {off:.2g} of its range in float"
    return Made(by, setting, path, feed, found) if found > 0 else f"is noise: {found:.1f} dB"


def own_files(subject: Subject, format_name: str, features: tuple[str, ...]) -> dict[str, Path | str]:
    """By setting edgekit's files, or why there is none."""
    target, back_end = get_target(TARGETS[format_name]), get_format(format_name)
    found: dict[str, Path | str] = {}
    steps = {"float": None} | {s: step for s, step in OWN.items() if step.default in target.numerics.precisions}
    for setting, step in steps.items():
        try:
            program = (
                export(subject.model)
                if step is None
                else quantize(subject.model, step, target.numerics, subject.calibration, features=features)
            )
            found[setting] = back_end.lower(program, target, subject.folder / f"{format_name}-{len(found)}")
        except EdgekitError as error:
            found[setting] = str(error)
    return found


def peer_files(subject: Subject, peer: str, python: Path, sources: Mapping[str, Path]) -> dict[str, Path | str]:
    """By setting a tool's files, or why there is none. `sources` are float files that are there already, by tool."""
    found: dict[str, Path | str] = {}
    for setting in ("float", *SETTINGS[peer]):
        path = subject.folder / f"{peer}-{setting}{ENDINGS[FORMAT_OF[peer]]}"
        before = found.get("float", subject.folder / "net.pt2")
        source = sources.get("torch.onnx", "torch.onnx has no float file") if peer == "onnx2tf" else before
        if isinstance(source, str):
            found[setting] = source
            continue
        say(f"{subject.model.spec.name}: {peer}, {setting}")
        words = [str(python), str(HERE / "_format_peer.py"), peer, setting, str(source)]
        words += [str(subject.folder / "calibration.npz"), str(path)]
        found[setting] = run(words, subject.folder, DEADLINE_S) or path
    return found


def forms_of(
    subject: Subject, peers: Mapping[str, Path], features: tuple[str, ...], figures: Figures
) -> dict[str, list[Made]]:
    """By format every form that converts and runs; what does not is noted."""
    files: dict[tuple[str, str], dict[str, Path | str]] = {}
    for format_name in TARGETS:
        say(f"{subject.model.spec.name}: edgekit, {format_name}")
        files[OURS, format_name] = own_files(subject, format_name, features)
    sources: dict[str, Path] = {}
    for peer, python in peers.items():
        made = files[peer, FORMAT_OF[peer]] = peer_files(subject, peer, python, sources)
        if isinstance(path := made["float"], Path):
            sources[peer] = path
    found: dict[str, list[Made]] = {name: [] for name in TARGETS}
    for (by, format_name), made in files.items():
        for setting, file in made.items():
            form = ran(subject, by, setting, file, format_name) if isinstance(file, Path) else file
            if isinstance(form, Made):
                found[format_name].append(form)
            else:
                figures.notes.append(f"{subject.model.spec.name} {format_name}: {by}, {setting}: {form}")
                say(figures.notes[-1])
    return found


def tell_coverage(figures: Figures, forms: Mapping[str, Mapping[str, list[Made]]], peers: Iterable[str]) -> None:
    """Of the nets, float and int8, how many each has in each format; edgekit against the best of the tools."""
    peers = tuple(peers)
    for format_name in TARGETS:
        counts = {
            by: sum(
                any(form.by == by and (form.setting == "float") is is_float for form in of_net[format_name])
                for of_net in forms.values()
                for is_float in (True, False)
            )
            for by in (OURS, *(peer for peer in peers if FORMAT_OF[peer] == format_name))
        }
        ours, rivals = counts.pop(OURS), counts
        for peer, count in rivals.items():
            figures.add(f"{format_name}: {peer}: forms of {2 * len(forms)} that run", count, None, unit="")
        text = f"{format_name}: edgekit: forms of {2 * len(forms)} that run"
        figures.add(text, ours, max(rivals.values(), default=0), larger_is_better=True, unit="")


def tell_error(figures: Figures, forms: Mapping[str, Mapping[str, list[Made]]]) -> None:
    """How many decibels edgekit's best form of a kind is ahead of the tools' best, over the nets that both have."""
    for format_name in TARGETS:
        for net, of_net in forms.items():
            for form in of_net[format_name]:
                if form.setting != "float":
                    figures.add(f"{net} {format_name}: {form.name}: SQNR", form.sqnr_db, None, unit="dB")
        for kind in KINDS:
            leads = [lead(of_net[format_name], kind) for of_net in forms.values()]
            ahead = [value for value in leads if value is not None]
            if not ahead:
                figures.notes.append(f"{format_name}: {kind}: edgekit and the tools have no net in common")
                continue
            mean, low, high = interval(ahead)
            text = f"{format_name}: {kind} of {len(ahead)} nets, ahead of the tools' best"
            figures.add(text, mean, 0.0, low=low, high=high, larger_is_better=True, unit="dB", judged_by="interval")


def lead(forms: Sequence[Made], kind: str) -> float | None:
    """How many decibels edgekit's best form of a kind is ahead of the tools' best; None if one side has none."""
    of_kind = [form for form in forms if form.setting in KINDS[kind]]
    ours, theirs = ([f.sqnr_db for f in of_kind if (f.by == OURS) is own] for own in (True, False))
    return max(ours) - max(theirs) if ours and theirs else None


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean and its 95 % interval by Student's t; one value has one without bounds.

    >>> [round(x, 2) for x in interval([1.0, 2.0, 3.0])]
    [2.0, -0.48, 4.48]
    """
    from scipy.stats import t

    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return mean, -np.inf, np.inf
    half = float(t.ppf(0.975, count - 1) * np.std(values, ddof=1) / count**0.5)
    return mean, mean - half, mean + half


def worst_db(forms: Sequence[Made]) -> float:
    """The noise that a form may have and still be shipped for its speed: a hundredth of the signal.

    Weights are random, so on some nets every static form has more: there a decibel more than the best of them, whoever
    made it.
    """
    static = [form.sqnr_db for form in forms if form.setting in KINDS["static int8"]]
    return min(LEAST_DB, max(static, default=LEAST_DB) - LESS_DB)


def speed_of(figures: Figures, net: str, forms: Sequence[Made], bench: Bench, rounds: int) -> float | None:
    """How many times as fast as the tools' fastest form edgekit's is, of those that may be shipped; None without."""
    usable = {form.name: form for form in forms if form.setting == "float" or form.sqnr_db >= worst_db(forms)}
    own = [name for name, form in usable.items() if form.by == OURS]
    others = [name for name in usable if name not in own]
    if not own or not others:
        return None
    against = measure(bench, {name: (form.path, form.feed) for name, form in usable.items()}, rounds)
    first = next(iter(usable))
    ours, theirs = (min(names, key=lambda name: against(name, first).value) for names in (own, others))
    speed = against(theirs, ours)
    text = f"{net} {bench.options.runtime}: {ours}, times as fast as {theirs}"
    figures.add(text, speed.value, None, low=speed.low, high=speed.high, unit="x")
    return speed.value


def tell_speed(
    figures: Figures, forms: Mapping[str, Mapping[str, list[Made]]], benches: Mapping[str, Bench], rounds: int
) -> None:
    """Net by net, and the geometric mean over them."""
    for format_name, bench in benches.items():
        found = [speed_of(figures, net, of_net[format_name], bench, rounds) for net, of_net in forms.items()]
        logs = [float(np.log(speed)) for speed in found if speed is not None]
        if logs:
            mean, low, high = (float(np.exp(x)) for x in interval(logs))
            text = f"{RUNTIMES[format_name]}: {len(logs)} nets, times as fast as the tools' fastest"
            figures.add(
                text, mean, 1.0, low=low, high=high, larger_is_better=True, unit="x", judged_by="interval"
            )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK)} alone, few rounds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--prepare", action="store_true", help="make the peers' environments and end")
    args = parser.parse_args()
    peers, missing = prepare(PEERS)
    if args.prepare:
        return 0
    from zoo import HARD  # type: ignore[attr-defined]

    names = QUICK if args.quick else tuple(HARD)
    figures = Figures("formats", f"{len(names)} nets, 1 thread, process CPU time")
    figures.notes += missing
    forms: dict[str, dict[str, list[Made]]] = {}
    with contextlib.ExitStack() as stack:
        made = {name: stack.enter_context(bench_here(runtime)) for name, runtime in RUNTIMES.items()}
        benches, folder = {name: bench for name, (bench, _) in made.items()}, made["onnx"][1]
        features = gather(benches["onnx"].transport, Device(name="local", transport="local")).features
        for name in names:
            (place := folder / name).mkdir()
            forms[name] = forms_of(subject_of(name, place), peers, features, figures)
        tell_coverage(figures, forms, peers)
        tell_error(figures, forms)
        tell_speed(figures, forms, benches, 6 if args.quick else 15)
    return figures.end(as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
