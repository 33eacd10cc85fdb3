"""What `edgekit doctor --target` looks at: whether this computer can build for a target, prove it, and measure it."""

from collections.abc import Iterator

import msgspec

from edgekit.bench.runners.table import tells
from edgekit.catalog import get_target
from edgekit.cli.checks import Check, compiler_check, package_versions, packages_of
from edgekit.core.device import Device
from edgekit.core.firmware import mismatches
from edgekit.core.target import Target
from edgekit.devices.inventory import LOCAL, devices, get_device
from edgekit.errors import EdgekitError
from edgekit.formats.compilers import compiler_of
from edgekit.formats.names import extra_of, format_names
from edgekit.pipeline.usable import lacking, usable_words

PROVES = {
    "onnx": ("onnxruntime", "onnxruntime runs the file itself"),
    "tflite": ("ai-edge-litert", "LiteRT runs the file itself"),
    "tensorrt": (
        "onnxruntime",
        "onnxruntime runs the ONNX file that the engine is built from; the engine never runs here",
    ),
    "coreml": ("coremltools", "edgekit's own evaluator runs the package; nothing of Apple's is run here"),
    "vitis_ai": ("onnxruntime", "onnxruntime runs the ONNX file that is compiled; no DPU is run here"),
}
"""What proves a format's files on this computer: a package, and what it does."""


def target_checks(name: str, *, reach: bool) -> tuple[Check, ...]:
    """What it takes to build for the target called `name`, and to measure there; with `reach` its devices are asked.

    Raises: TargetError if there is no such target.
    """
    target = get_target(name)
    return (_target(target), *_build(target), *_measure(target), *_devices(target, reach=reach))


def _target(target: Target) -> Check:
    holds = ", ".join(target.numerics.precisions)
    needs = ", ".join(f"{key} {value}" for key, value in target.requires) or "nothing"
    return Check(what="target", state="ok", found=f"{target.title}: {holds}; requires {needs}")


def _build(target: Target) -> Iterator[Check]:
    """Whether a file for the target can be written and proved here."""
    if target.format not in format_names():
        fix = "`edgekit targets list` shows the targets that can be built for"
        yield Check(what="build", state="bad", found=f"no back end for format {target.format} yet", fix=fix)
        return
    extra = extra_of(target.format)
    found = package_versions(packages_of(target.format))
    lacking = [package for package, number in found.items() if number is None]
    fix = f"pip install 'edgekit[{extra}]'" if lacking else ""
    words = f"no {', '.join(lacking)}" if lacking else ", ".join(f"{p} {n}" for p, n in found.items())
    yield Check(what="build", state="bad" if lacking else "ok", found=words, fix=fix)
    theirs = compiler_of(target)
    if theirs is not None and (compiler := compiler_check(theirs)).state != "ok":
        yield msgspec.structs.replace(compiler, state="bad")
    package, does = PROVES.get(target.format, ("", "nothing runs its files here: packaged, not run"))
    if target.accelerator is not None:
        does = f"{does.removesuffix(' itself')} that is compiled; no {target.accelerator} is run here"
    there = not package or package_versions((package,))[package] is not None
    fix = "" if there else f"pip install 'edgekit[{extra}]'"
    yield Check(what="prove", state="ok" if there else "missing", found=does if there else f"no {package}", fix=fix)


def _measure(target: Target) -> Iterator[Check]:
    if target.build == "device":
        yield Check(what="compile", state="ok", found=f"there: the device builds it with {target.runtime}")
    if (lack := lacking(target)) is not None:
        fix = "`edgekit targets list` shows the targets that can be measured"
        yield Check(what="measure", state="missing", found=lack, fix=fix)
        return
    untried = usable_words(target).removeprefix("yes")
    yield Check(what="measure", state="ok", found=f"{target.runtime}: {telling(target.runtime)}{untried}")


def telling(runtime: str) -> str:
    """What a runtime tells of a model, in words.

    >>> telling("xdputil")
    'tells the mean of its calls, outputs'
    """
    told = tells(runtime)
    if told is None:
        return "tells the time of every call on both clocks, load, first call, memory, outputs"
    times = "the time of every call" if told.times == "calls" else f"the {told.times} of its calls"
    return f"tells {', '.join((times, *told.more))}"


def _devices(target: Target, *, reach: bool) -> Iterator[Check]:
    """The devices of the inventory for the target, and whether they still hold what it requires."""
    known = [device for device in devices() if target.name in device.targets]
    if reach and (here := _asked(target, get_device(LOCAL))).state == "ok":
        yield here
    elif not known:
        fix = "edgekit devices add NAME USER@HOST"
        yield Check(what="devices", state="missing", found="none of the inventory is for this target", fix=fix)
    for device in known:
        yield _asked(target, device) if reach else Check(what=f"device {device.name}", state="ok", found="not asked")


def _asked(target: Target, device: Device) -> Check:
    from edgekit.devices.connect import connect
    from edgekit.devices.facts import gather
    from edgekit.devices.prepare import check_measures

    what, fix = f"device {device.name}", f"edgekit devices probe {device.name}"
    try:
        with connect(device) as transport:
            facts = gather(transport, device)
            if wrong := mismatches(target.requires, facts.provides()):
                return Check(what=what, state="bad", found="; ".join(wrong), fix=fix)
            check_measures(transport, device, facts, target.runtime)
    except EdgekitError as error:
        return Check(what=what, state="missing", found=str(error), fix=fix)
    return Check(what=what, state="ok", found=f"holds all that the target requires, and {target.runtime}")
