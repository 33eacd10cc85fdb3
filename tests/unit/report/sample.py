"""A study such as a tuning of the Fashion-MNIST ResNet leaves: 36 forms, 31 of them measured, one chosen."""

import random

import msgspec

from edgekit.core.measurement import Comparison, Conditions, Latency, Measurement, Quality, Ratio
from edgekit.core.recipe import FLOAT, Prune, Quantize, Recipe, Recover
from edgekit.core.trial import Choice, Explanation, LayerChoice, Refusal, Study, Trial

FLOAT_S = 1.412e-3
WIDTHS = (0.75, 0.5, 0.25)
VERSIONS = (("edgekit", "0.1.0"), ("torch", "2.13.0"), ("onnxruntime on the device", "1.24.1"), ("python", "3.11.2"))
LAYERS = ("stem.0", *(f"body.{b}.conv{c}" for b in range(9) for c in (1, 2)), "head")
GROUPS = ("stem.0", "body.0.conv1", "body.3.conv1", "body.3.conv2", "body.6.conv1", "body.6.conv2")


def quality(drop: float, split: str = "validation", *, bound: float = 0.005, samples: int = 5000) -> Quality:
    return Quality(
        metric="accuracy", split=split, value=0.9418 - drop, reference=0.9418, drop=drop,
        drop_low=drop - 0.0019, drop_high=drop + 0.0021, samples=samples, bound=bound,
    )  # fmt: skip


def comparison(name: str, ratio: float, width: float = 0.012) -> Comparison:
    judged = Ratio(value=ratio, low=ratio * (1 - width), high=ratio * (1 + width), rounds=14)
    verdict = "faster" if judged.high < 1 else "slower" if judged.low > 1 else "no difference"
    return Comparison(
        device="board", baseline="f" * 64, candidate=name, ratio=judged, clock="wall", wall=judged, cpu=judged,
        verdict=verdict,
    )  # fmt: skip


def measurement(name: str, ratio: float, size_bytes: int) -> Measurement:
    least = FLOAT_S * ratio
    times = Latency(
        p50_s=least * 1.03, p90_s=least * 1.09, p99_s=least * 1.31, least_s=least, low_s=least * 1.02,
        high_s=least * 1.05, calls=840, loads=14,
    )  # fmt: skip
    conditions = Conditions(
        runtime="onnxruntime", runtime_version="1.24.1", threads=1, governor="performance", frequency_khz=2_400_000,
        temperature_start_c=47.5 + ratio, temperature_end_c=51.0 + 3 * ratio, load_average=0.21, throttled=False,
    )  # fmt: skip
    return Measurement(
        artifact=name, device="board", conditions=conditions, wall=times, cpu=times, load_s=0.021, first_call_s=0.0048,
        peak_memory_bytes=31_400_000 + size_bytes, size_bytes=size_bytes,
    )  # fmt: skip


def trial(
    name: str, ratio: float, drop: float, *, uniform: bool = False, width: float = 1.0, error: float = 0.0
) -> Trial:
    steps = (Prune(ratio=1 - width), Recover(epochs=1.0)) if width < 1 else ()
    size_bytes = int(1_098_000 * width**2 * (0.3 if "int8" in name or not uniform else 1.0))
    return Trial(
        name=name, recipe=Recipe(step=(*steps, Quantize())), artifact=name, uniform=uniform, size_bytes=size_bytes,
        predicted_s=FLOAT_S * ratio * (1 + error), quality=(quality(drop),), comparison=comparison(name, ratio),
        measurement=measurement(name, ratio, size_bytes),
    )  # fmt: skip


def sample_study() -> Study:
    """The study; the same one at each call."""
    generator = random.Random(7)
    base = Trial(
        name="float", recipe=FLOAT, artifact="f" * 64, uniform=True, size_bytes=1_098_000, predicted_s=FLOAT_S,
        quality=(quality(0.0),), comparison=None, measurement=measurement("f" * 64, 1.0, 1_098_000),
    )  # fmt: skip
    uniform = [
        trial("int8", 0.512, 0.0006, uniform=True, error=0.01),
        *(trial(f"fp32 ×{w}", 1.01 * w**1.2, 0.052 * (1 - w) ** 1.6, uniform=True, width=w) for w in WIDTHS),
        *(trial(f"int8 ×{w}", 0.515 * w**0.9, 0.0006 + 0.055 * (1 - w) ** 1.6, uniform=True, width=w) for w in WIDTHS),
    ]
    mixed = []
    for index in range(23):
        width = generator.uniform(0.55, 1.0)
        ratio = (0.36 + 0.2 * generator.random()) * (0.35 + 0.65 * width) + 0.04
        drop = max(-0.0005, 0.03 * (1 - width) ** 1.5 + generator.gauss(0.0004, 0.0007))
        mixed.append(trial(f"mix-{index:02d}", ratio, drop, width=width, error=generator.gauss(0, 0.013)))
    best = trial("mix-23", 0.331, 0.0016, width=0.8, error=-0.009)
    unmeasured = [
        Trial(name=f"mix-{n}", recipe=Recipe(step=(Quantize(),)), predicted_s=FLOAT_S * 0.4, quality=(quality(0.012),))
        for n in range(24, 28)
    ]
    return Study(
        id="9c41d2e07b", project="fashion-mnist", model="fashion-mnist", device="board", target="onnx-arm64-cpu",
        minimise="latency", max_drop=0.005, trials=(base, *uniform, *mixed, best, *unmeasured), refusals=_refusals(),
        choice=_choice(), pushes=31, seconds=1_934.0,
        versions=VERSIONS,
    )  # fmt: skip


def float_study() -> Study:
    """A study whose answer is to keep float."""
    study = sample_study()
    slow = tuple(trial(f"form-{n}", 1.08 + n / 50, 0.0004, uniform=n == 0) for n in range(5))
    words = (
        "Keep float: no form is better by more than the noise and keeps the accuracy (5 forms measured).",
        "The op at fault is QuantizeLinear: 21 calls, 0.412 ms there and 0.000 ms in float.",
    )
    choice = Choice(
        device="board", target=study.target, trial="float", artifact="f" * 64, kept_float=True,
        explanation=Explanation(words=words),
    )  # fmt: skip
    return msgspec.structs.replace(study, trials=(study.trials[0], *slow), choice=choice, refusals=())


def _choice() -> Choice:
    layers = []
    for index, name in enumerate(LAYERS):
        first_or_last = name in ("stem.0", "head")
        full = 16 if index < 7 else 32 if index < 13 else 64
        saved = -0.004e-3 if name == "head" else (0.011e-3 if name == "stem.0" else 0.03e-3 + 0.004e-3 * (index % 5))
        layers.append(
            LayerChoice(
                layer=name, precision="fp32" if first_or_last else "int8",
                width=(full - full // 4 if name in GROUPS[1:] else full) if name != "head" else None,
                full_width=full if name != "head" else None, saved_s=saved,
                loss=0.0 if first_or_last else 1.4e-4 * (1 + index % 4), runner_up="int8" if first_or_last else "fp32",
                reason="int8 here, its conversions included, is priced 6 µs slower and would add loss 0.0031"
                if first_or_last
                else f"fp32 here, its conversions included, is priced {27 + index} µs slower",
            )
        )  # fmt: skip
    words = (
        "mix-23: 18 of 20 layers int8, 5 of 9 channel groups narrower, 0.331 [0.327, 0.335] of float's time.",
        "It beats int8 ×0.75, which takes 1.204 [1.188, 1.221] of its time in the same rounds.",
        "Before they were measured, 30 forms were predicted within 1.1 % on average.",
    )  # fmt: skip
    return Choice(
        device="board", target="onnx-arm64-cpu", trial="mix-23", artifact="5f0c" * 16, kept_float=False,
        explanation=Explanation(layers=tuple(layers), words=words), test=(quality(0.0018, "test", samples=10_000),),
    )  # fmt: skip


def _refusals() -> tuple[Refusal, ...]:
    return (
        Refusal(what="int8 ×0.25", reason="accuracy drops by 3.63 points (3.44 to 3.84), 0.50 allowed"),
        Refusal(what="int8 ×0.5", reason="accuracy drops by 1.87 points (1.68 to 2.08), 0.50 allowed"),
        Refusal(what="mix-11", reason="the runtime refuses it: NOT_IMPLEMENTED: no implementation of QLinearAdd(1)"),
    )  # fmt: skip
