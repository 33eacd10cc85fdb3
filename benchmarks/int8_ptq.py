"""B3: int8 after training, against the tools that make it from an ONNX file.

`python benchmarks/int8_ptq.py [--quick] [--json] [--prepare]`: ResNet-18 and MobileNetV2 at 224×224 and the trained net
of examples/fashion_mnist go, as the same float ONNX file and calibration data, to each peer in an environment of its
own, at its default and at its best setting, and to edgekit. All that comes back runs in rounds beside the float file in
onnxruntime, one thread, on this computer: who is faster, and what quality is left. Quality is the accuracy on
Fashion-MNIST's test images, of which a form that counts may lose half a point. The two nets with random weights have
nothing to lose: there all forms count, and how often their first class is float's is told. What edgekit ships is its
int8 form where that is faster than float, else float: it measures, the others do not. It meets the fastest of the
peers in rounds of their own, since the first of several equals is first by chance, and is behind it if the whole 95 %
interval is: the graphs that run may be the same. A peer that does not install, or that fails on a net, is named with
its reason and left out.
"""

import argparse
import contextlib
import importlib.util
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from _figures import Figures, bench_here, say
from _nets import images, net
from _peers import last_line, prepare, run
from _rounds import measure

from edgekit.bench.session import Bench
from edgekit.catalog.targets import get_target
from edgekit.compress.quantize import quantize
from edgekit.core.device import Device
from edgekit.core.measurement import Ratio
from edgekit.core.recipe import Quantize
from edgekit.devices.facts import gather
from edgekit.formats.base import get_format
from edgekit.models.data import Samples
from edgekit.models.model import Model, capture

HERE = Path(__file__).resolve().parent
PEERS: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime==1.32.0", "onnx==1.20.1", "sympy"),
    "nncf": ("nncf==3.4.0", "onnxruntime==1.32.0", "onnx==1.20.1"),
    "aimet": ("torch==2.13.0", "aimet-onnx==2.42.0"),
    "neural-compressor": ("neural-compressor<3", "onnx<1.17", "onnxruntime<1.20", "numpy<2", "setuptools<80", "six"),
    "onnx-neural-compressor": (
        "onnx-neural-compressor==1.0", "onnx<1.17", "onnxruntime<1.20", "numpy<2", "setuptools<80",
        "prettytable", "scipy",
    ),
}  # fmt: skip
"""What each environment holds; neural-compressor and its offspring for ONNX want the packages of their time."""

SETTINGS = ("default", "best")
FLOAT, OURS, PLAIN = "float", "edgekit", "onnxruntime, default"
MOST_DROP = 0.5
"""Percentage points of quality that a form may lose and still count."""

Quality = Callable[[Sequence[np.ndarray]], float]


class Net:
    """A net with its calibration data, and how good its outputs are."""

    def __init__(self, model: Model, calibration: np.ndarray, inputs: np.ndarray, labels: np.ndarray | None) -> None:
        self.model, self.calibration, self.inputs, self.labels = model, calibration, inputs, labels

    def quality(self, path: Path, of_float: np.ndarray | None) -> tuple[float, np.ndarray]:
        """Percent right (without labels: as the float form says), and the scores, as this computer's runtime has it."""
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads, settings.log_severity_level = 1, 3
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        scores = np.concatenate([session.run(None, {name: x[None]})[0] for x in self.inputs])
        right = self.labels if self.labels is not None else scores if of_float is None else of_float
        wanted = right if right.ndim == 1 else right.argmax(1)
        return 100 * float(np.mean(scores.argmax(1) == wanted)), scores


def random_net(name: str) -> Net:
    model = capture(net(name), (images(1, seed=0),), name)
    return Net(model, images(32, seed=2).numpy(), images(200, seed=1).numpy(), None)


def fashion_net() -> Net:
    """The example's net with its weights. Raises: FileNotFoundError without the data set."""
    import torch
    from safetensors.torch import load_file

    folder = HERE.parent / "examples" / "fashion_mnist"
    parts = {}
    for part in ("model", "data"):
        spec = importlib.util.spec_from_file_location(f"fashion_{part}", folder / f"{part}.py")
        assert spec is not None
        assert spec.loader is not None
        parts[part] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(parts[part])
    module = parts["model"].net()
    module.load_state_dict(load_file(folder / "weights.safetensors"))
    pixels, labels = parts["data"].test()
    model = capture(module.eval(), (torch.zeros(1, 1, 28, 28),), "Fashion-MNIST")
    return Net(model, parts["data"].calibration()[0][:128], pixels, labels)


NETS: dict[str, Callable[[], Net]] = {
    "ResNet-18": lambda: random_net("ResNet-18"),
    "MobileNetV2": lambda: random_net("MobileNetV2"),
    "Fashion-MNIST": fashion_net,
}


def own_files(subject: Net, folder: Path, features: tuple[str, ...]) -> dict[str, Path]:
    """The float file, and edgekit's int8: its default, weights rounded together, and one scale for a whole weight."""
    target, back_end = get_target(f"onnx-{platform.machine()}"), get_format("onnx")
    found = {}
    steps = {"default": Quantize(), "best": Quantize(rounding="gptq"), "per tensor": Quantize(granularity="tensor")}
    for setting, step in steps.items():
        data = Samples((subject.calibration,))
        program = quantize(subject.model, step, target.numerics, data, features=features)
        found[f"{OURS}, {setting}"] = back_end.lower(program, target, folder / f"own-{setting}")
        if setting == "default":
            [found[FLOAT]] = back_end.mixes(program, [frozenset()], target, folder / "float")
    return found


def peer_files(figures: Figures, peers: dict[str, Path], source: Path, subject: Net, folder: Path) -> dict[str, Path]:
    """What each peer makes of the float file at each setting; what fails is noted."""
    np.savez(folder / "calibration.npz", x=subject.calibration)
    found = {}
    for peer, python in peers.items():
        for setting in SETTINGS:
            target = folder / f"{peer}-{setting}.onnx"
            say(f"{subject.model.spec.name}: {peer}, {setting}")
            words = [str(python), str(HERE / "_ptq_peer.py"), peer, setting, str(source)]
            words += [str(folder / "calibration.npz"), str(target)]
            if reason := run(words, folder, deadline_s=1200):
                figures.notes.append(f"{subject.model.spec.name}: {peer}, {setting}: left out: {reason}")
            else:
                found[f"{peer}, {setting}"] = target
    return found


def of_net(name: str, figures: Figures, peers: dict[str, Path], bench: Bench, folder: Path, rounds: int) -> None:
    try:
        subject = NETS[name]()
    except FileNotFoundError as error:
        figures.notes.append(f"{name}: left out: {error}")
        return
    features = gather(bench.transport, Device(name="local", transport="local")).features
    files = own_files(subject, folder, features)
    files |= peer_files(figures, peers, files[FLOAT], subject, folder)
    quality, of_float = {}, None
    for key in [FLOAT, *(key for key in files if key != FLOAT)]:
        try:
            quality[key], scores = subject.quality(files[key], of_float)
        except Exception as error:  # noqa: BLE001  a peer's file that the runtime refuses is told of
            figures.notes.append(f"{name}: {key}: onnxruntime refuses it: {last_line(str(error))}")
            continue
        of_float = scores if of_float is None else of_float
    np.savez(folder / "feed.npz", in_0=subject.inputs[:8])
    runs = {key: (files[key], folder / "feed.npz") for key in quality}
    against = measure(bench, runs, rounds)
    for key, value in quality.items():
        if key != FLOAT:
            speed = against(FLOAT, key)
            text = f"{name}: {key}: times as fast as float"
            figures.add(text, speed.value, None, low=speed.low, high=speed.high, unit="x")
            figures.add(f"{name}: {key}: points lost of {quality[FLOAT]:.1f}", quality[FLOAT] - value, None, unit="")
    most = MOST_DROP if subject.labels is not None else 100.0
    kept = [key for key in quality if key != FLOAT and quality[FLOAT] - quality[key] <= most]

    def duel(ours: str, other: str) -> Ratio:
        return measure(bench, {key: runs[key] for key in (ours, other)}, 3 * rounds)(other, ours)

    judge(figures, name, kept, against, duel)


def judge(
    figures: Figures,
    name: str,
    kept: list[str],
    against: Callable[[str, str], Ratio],
    duel: Callable[[str, str], Ratio],
) -> None:
    """edgekit's choice beside float, the fastest peer that keeps the quality, and onnxruntime's default."""

    def fastest(keys: list[str]) -> str:
        return min(keys, key=lambda key: against(key, FLOAT).value)

    ours = fastest([FLOAT, *(key for key in kept if key.startswith(OURS))])
    rivals = [key for key in kept if not key.startswith(OURS)]
    wanted = {FLOAT: 1.0} | ({fastest(rivals): 1.0} if rivals else {})
    wanted |= {PLAIN: 2.4} if name == "ResNet-18" and PLAIN in rivals else {}
    for other, least in wanted.items():
        speed = duel(ours, other)
        figures.add(
            f"{name}: edgekit's choice ({ours}), times as fast as {other}", speed.value, least,
            low=speed.low, high=speed.high, larger_is_better=True, unit="x",
            judged_by="interval" if least == 1.0 and other != FLOAT else "value",
        )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Fashion-MNIST's net alone, onnxruntime and nncf")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--prepare", action="store_true", help="make the peers' environments and end")
    args = parser.parse_args()
    names = ("onnxruntime", "nncf") if args.quick else tuple(PEERS)
    peers, missing = prepare({name: (PEERS[name],) for name in names})
    if args.prepare:
        return 0
    figures = Figures("int8_ptq", "onnxruntime, 1 thread, process CPU time")
    figures.notes += missing
    with contextlib.ExitStack() as stack:
        bench, folder = stack.enter_context(bench_here())
        for name in ("Fashion-MNIST",) if args.quick else NETS:
            (place := folder / name).mkdir()
            of_net(name, figures, peers, bench, place, 10 if args.quick else 30)
    return figures.end(as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
