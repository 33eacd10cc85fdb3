"""`edgekit devices`: the machines of the inventory."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import enrolment, importing
from edgekit.cli.options import Debug, Json, Wait, new_app, wait_seconds
from edgekit.cli.output import note, say, say_lines, show_json, show_table, size
from edgekit.cli.progress import shown
from edgekit.cli.times import parse_length
from edgekit.core.device import EMULATED, Device, Facts
from edgekit.core.selector import known_of, matches, parse_selector
from edgekit.devices.connect import connect
from edgekit.devices.holders import holder_words
from edgekit.devices.hostkeys import fingerprint
from edgekit.devices.inventory import LOCAL, get_device, parse_labels, parse_tools, remove_device
from edgekit.devices.inventory import devices as all_devices
from edgekit.devices.machines import read_machines
from edgekit.devices.runtimes import TOOLS
from edgekit.errors import UsageError
from edgekit.store.home import ledger_url
from edgekit.store.ledger import Ledger

app = new_app()

ROOT, PHONE_ROOT = ".edgekit", "/data/local/tmp/edgekit"
"""A shell over adb starts in a folder that it may not write to, and this is the one place that it may run files in."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="A device of the inventory; `local` is this computer.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")]
Address = Annotated[
    str, typer.Argument(metavar="USER@HOST", help="How it is reached; over adb its serial number, or address:port.")
]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Its SSH port.")]
Labels = Annotated[list[str], typer.Option("--label", metavar="KEY=VALUE", help="A label; may be given often.")]
Identity = Annotated[
    Path | None,
    typer.Option(
        "--identity", metavar="FILE", help="The private key to log in with; default: the agent's, then ~/.ssh."
    ),
]
Root = Annotated[str, typer.Option("--root", metavar="FOLDER", help="edgekit's folder there, below the user's home.")]
AnyRoot = Annotated[
    str | None,
    typer.Option(
        "--root", metavar="FOLDER",
        help=f"edgekit's folder there, below the user's home; default: {ROOT}, over adb {PHONE_ROOT}.",
    ),
]  # fmt: skip
Tools = Annotated[
    list[str],
    typer.Option(
        "--tool", metavar="PROGRAM=PATH",
        help="Where a vendor's program is there: benchmark_model, trtexec, xdputil; may be given often.",
    ),
]  # fmt: skip
From = Annotated[
    Path | None,
    typer.Option("--from", metavar="FILE", help="The program itself, a file of this computer: for benchmark_model."),
]
Python = Annotated[str, typer.Option("--python", metavar="PROGRAM", help="The Python that measures there.")]
Fingerprint = Annotated[
    str | None,
    typer.Option("--fingerprint", metavar="SHA256:…", help="Take only this host key; default: those that it shows."),
]
Transport = Annotated[
    str, typer.Option("--transport", help="ssh; openssh, the system's own, with your ssh_config; adb, for a phone.")
]
Jump = Annotated[str | None, typer.Option("--jump", metavar="DEVICE", help="The device that it is reached through.")]
Authority = Annotated[
    Path | None,
    typer.Option("--host-authority", metavar="FILE", help="Trust host certificates of this CA's public key (openssh)."),
]
Runtime = Annotated[
    str, typer.Option("--runtime", help="onnxruntime or litert; of a vendor's program whether it is there is told.")
]
Select = Annotated[
    str | None,
    typer.Option(
        "--select", metavar="SELECTOR",
        help="Only these, like 'site=berlin,soc!=pi4': key=value, key!=value, key in (a,b), key, !key; a comma is and. "
        "Keys are labels, and name, host, transport, arch, soc, firmware and target.",
    ),
]  # fmt: skip
ImportFile = Annotated[Path, typer.Argument(metavar="FILE", help="Such as ~/.ssh/config, hosts.ini or hosts.yml.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the machines and their host keys; keep nothing.")]
Length = Annotated[str, typer.Option("--for", metavar="TIME", help="For how long, like 30m or 2h; 7d at most.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="What for: others are shown it.")]
Force = Annotated[bool, typer.Option("--force", help="Also where somebody else has it; what runs there for them ends.")]
Purge = Annotated[bool, typer.Option("--purge", help="Remove all that edgekit has on the device first, models too.")]


@app.command("list")
def list_(*, select: Select = None, json: Json = False, debug: Debug = False) -> None:
    """List the devices, or those that are selected."""
    selector = None if select is None else parse_selector(select)
    found = tuple(d for d in all_devices() if selector is None or matches(selector, known_of(d)))
    if json:
        show_json(found)
        return
    rows = [
        (d.name, where(d), d.firmware, " ".join(d.targets) or None, " ".join(f"{k}={v}" for k, v in d.labels) or None)
        for d in found
    ]
    show_table(
        ("device", "where", "firmware", "targets", "labels"),
        rows,
        "no devices" if selector is None else "no device is that",
    )


@app.command("add")
def add(
    name: NewName,
    address: Address,
    *,
    port: Port = 22,
    label: Labels = [],  # noqa: B006  the parser never changes it
    tool: Tools = [],  # noqa: B006  likewise
    identity: Identity = None,
    root: AnyRoot = None,
    python: Python = "python3",
    fingerprint: Fingerprint = None,
    transport: Transport = "ssh",
    jump: Jump = None,
    host_authority: Authority = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Enrol a machine: pin its host keys, read its facts, recognise its firmware."""
    if identity is not None and not identity.expanduser().is_file():
        raise UsageError(f"--identity {identity}: no such file")
    found = enrolment.parse_address(address, transport)
    device = Device(
        name=name, transport=enrolment.parse_transport(transport), host=found.host, user=found.user, port=port,
        labels=parse_labels(label), tools=parse_tools(tool), python=python, jump=jump,
        root=root or (PHONE_ROOT if transport == "adb" else ROOT),
        identity=str(identity.expanduser().absolute()) if identity else None,
        host_keys=enrolment.authority(host_authority),
    )  # fmt: skip
    probed = enrolment.add(device, fingerprint)
    _show(probed, json=json)
    if probed.device.host_keys and fingerprint is None and host_authority is None:
        note("Pinned because you asked; compare the host keys above with the machine's own (ssh-keygen -lf).")


@app.command("import")
def import_(
    file: ImportFile,
    *,
    select: Select = None,
    label: Labels = [],  # noqa: B006  the parser never changes it
    root: Root = ".edgekit",
    python: Python = "python3",
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Enrol the machines of an OpenSSH client's configuration, or of an Ansible inventory, each as `add` does.

    Read are Host entries without a wildcard, with HostName, Port, User, IdentityFile and Include; of an inventory, INI
    or YAML, hosts, ranges, groups and variables. A group is the label group-NAME=yes. Nothing in the file is run.
    What is there already is left as it is, what cannot be reached is told and stops nobody else (exit code 7).

    With --dry-run the machines only show their host keys: nobody is logged in to, and nothing is kept.
    """
    selector, labels = None if select is None else parse_selector(select), parse_labels(label)
    pairs = importing.chosen(read_machines(file), selector, labels, root, python)
    found: list[importing.Imported] = []
    for one in importing.bring(pairs, "look" if dry_run else "add"):
        found.append(one)
        if not json:
            say_lines(importing.imported_lines(one, where(one.device)))
    if json:
        show_json(found)
    else:
        say(importing.counted(found))
    if not dry_run and any(one.state == "added" for one in found):
        note("Pinned because you asked; compare the host keys above with the machines' own (ssh-keygen -lf).")
    if any(one.state == "failed" for one in found):
        raise typer.Exit(7)


@app.command("show")
def show(name: Name, *, json: Json = False, debug: Debug = False) -> None:
    """Show what the inventory has of a device; nothing is asked of it."""
    device = get_device(name)
    if json:
        show_json(device)
    else:
        say_lines(_device_lines(device))


@app.command("probe")
def probe(name: Name, *, json: Json = False, debug: Debug = False) -> None:
    """Ask a device what it is now, and keep firmware and targets."""
    _show(enrolment.probe_and_keep(get_device(name)), json=json)


@app.command("prepare")
def prepare(
    name: Name,
    *,
    runtime: Runtime = "onnxruntime",
    file: From = None,
    wait: Wait = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring a device the runtime that measures, from this computer, unless it has it."""
    wait_s, device = wait_seconds(wait), get_device(name)
    if runtime in TOOLS or file is not None:
        with shown() as listener:
            found = enrolment.bring_tool(device, runtime, file, wait_s=wait_s, listen=listener)
        if json:
            show_json({"device": name, "runtime": runtime, "path": found})
        else:
            say(f"{name}: {runtime} is there{f': {found}' if found else ''}")
        return
    with shown() as listener:
        environment = enrolment.bring_runtime(device, runtime, wait_s=wait_s, listen=listener)
    if json:
        show_json({"device": name, "runtime": runtime, "environment": dict(environment)})
    else:
        how = " ".join(f"{key}={value}" for key, value in environment) or "its own Python"
        say(f"{name}: {runtime} works, with {how}")


@app.command("remove")
def remove(name: Name, *, purge: Purge = False, wait: Wait = None, json: Json = False, debug: Debug = False) -> None:
    """Forget a device; with --purge nothing of edgekit is left on it."""
    wait_s, device = wait_seconds(wait), get_device(name)
    if purge:
        from edgekit.pipeline.push import purge as purge_device

        with Ledger(ledger_url()) as ledger, shown() as listener:
            purge_device(device, ledger, wait_s=wait_s, listen=listener)
    if not (purge and name == LOCAL):  # this computer can be cleaned, never forgotten
        remove_device(name)
    if json:
        show_json({"device": name, "purged": purge})
    else:
        say(
            f"{name}: {'nothing of edgekit is left there' if purge else f'forgotten; its {device.root} was left alone'}"
        )


@app.command("lock")
def lock(
    name: Name,
    *,
    length: Length = "30m",
    reason: Reason = "",
    wait: Wait = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Keep a device to yourself for a time: others neither measure nor install there.

    Whatever you, the same user on the same computer, run on it goes on as ever. Lock it again to make the time longer,
    or shorter. The lock ends by itself after its time, by the device's own clock, and when the device starts anew.
    """
    from edgekit.devices.lease import lock as lock_device

    for_s, wait_s, device = parse_length(length, "--for"), wait_seconds(wait), get_device(name)
    with connect(device) as way:
        found = lock_device(way, device, for_s=for_s, reason=reason, wait_s=wait_s, on_wait=note)
    if json:
        show_json({"device": name, "holder": found})
    else:
        say_lines((f"{name}: {holder_words(found, datetime.now())}",))


@app.command("unlock")
def unlock(name: Name, *, force: Force = False, json: Json = False, debug: Debug = False) -> None:
    """Give a locked device back; with --force whoever has it, also what measures there now."""
    from edgekit.devices.lease import unlock as unlock_device

    device = get_device(name)
    with connect(device) as way:
        freed = unlock_device(way, device, whose="anyone's" if force else "mine")
    if json:
        show_json({"device": name, "freed": freed})
        return
    words = [f"{name}: free; it was {holder_words(h, datetime.now())}" for h in freed]
    say_lines(words or [f"{name}: nobody had it"])


def where(device: Device) -> str:
    """How a device is reached, in short."""
    if device.transport == LOCAL:
        return "this computer"
    if device.transport == "adb":
        return f"adb {device.host}"
    login = f"{device.user}@{device.host}" if device.user else device.host
    return login + (f":{device.port}" if device.port != 22 else "") + (f" through {device.jump}" if device.jump else "")


def _show(probed: enrolment.Probed, *, json: bool) -> None:
    if json:
        show_json(probed)
    else:
        coming = (f"not yet      {name}: {lack}" for name, lack in enrolment.coming_targets(probed.facts))
        say_lines((*_device_lines(probed.device), *coming, *_facts_lines(probed.facts)))


def _device_lines(device: Device) -> list[str]:
    keys = [f"host key     {fingerprint(key)} ({key.partition(' ')[0]})" for key in device.host_keys]
    return [
        f"{device.name}: {where(device)}",
        *keys,
        f"folder       {device.root}",
        f"firmware     {device.firmware or 'not known'}",
        f"targets      {', '.join(device.targets) or 'none known: `edgekit devices probe` finds out'}",
        f"labels       {', '.join(f'{key}={value}' for key, value in device.labels) or '-'}",
        *([f"tools        {', '.join(f'{key}={value}' for key, value in device.tools)}"] if device.tools else []),
    ]


def _facts_lines(facts: Facts) -> list[str]:
    how = "`edgekit doctor --target NAME` says what measures" if facts.python is None else "`edgekit devices prepare`"
    runtimes = ", ".join(f"{name} {version}" for name, version in facts.runtimes) or f"none: {how}"
    kernel = "Darwin" if facts.os_id == "macos" else "Linux"
    board = facts.board and facts.board + (f" ({facts.soc})" if facts.soc else "")
    return [
        *([f"board        {board}"] if board else []),
        f"processor    {facts.cpu or 'not known'}, {facts.arch}, {facts.cores} cores",
        *([f"emulated     {EMULATED}"] if facts.emulated else []),
        f"features     {' '.join(facts.features) or '-'}",
        f"memory       {size(facts.memory_bytes)}, disk {size(facts.free_bytes)} free",
        f"system       {facts.os_id} {facts.os_version}, {kernel} {facts.kernel}, {facts.libc or 'libc not known'}",
        *([f"vendor       {', '.join(vendor)}"] if (vendor := _vendor(facts)) else []),
        *([f"state        {'; '.join(state)}"] if (state := _state(facts)) else []),
        f"python       {facts.python or 'none'}; runtimes: {runtimes}",
    ]


def _vendor(facts: Facts) -> list[str]:
    """What the maker of the board or the phone put there."""
    known = (
        ("L4T", facts.l4t), ("JetPack", facts.jetpack), ("TensorRT", facts.tensorrt), ("Vitis AI", facts.vitis_ai),
        ("DPU", facts.dpu), ("fingerprint", facts.dpu_fingerprint), ("FPGA", " ".join(facts.fpga_apps)),
        ("Android SDK", facts.android_sdk), ("build", facts.build),
    )  # fmt: skip
    return [*(f"{what} {value}" for what, value in known if value), *(["Termux"] if facts.termux else [])]


def _state(facts: Facts) -> list[str]:
    """What decides how fast the device is just now."""
    clocks = {True: "clocks locked", False: "clocks not locked"}
    hottest = [celsius for _, celsius in facts.temperatures_c]
    return [
        *([f"power mode {facts.power_mode}"] if facts.power_mode else []),
        *([clocks[facts.clocks_locked]] if facts.clocks_locked is not None else []),
        *([f"governor {' '.join(facts.governors)}"] if facts.governors else []),
        *([f"{max(hottest):.0f} °C"] if hottest else []),
        *([", ".join(facts.throttled) or "not slowed"] if facts.throttled is not None else []),
    ]
