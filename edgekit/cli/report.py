"""`edgekit report`: the studies that are kept, and the page of one."""

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.options import Debug, Json
from edgekit.cli.output import moment, say, show_json, show_table
from edgekit.errors import UsageError
from edgekit.store.files import write_whole
from edgekit.store.home import ledger_url
from edgekit.store.ledger import Ledger

StudyName = Annotated[
    str | None,
    typer.Argument(metavar="STUDY", help="A study's id or its first letters; without it, the studies are listed."),
]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the page.")]


def command(
    study: StudyName = None, *, out: Out = Path("report.html"), json: Json = False, debug: Debug = False
) -> None:
    """The page is one file that needs no network: the front, the choice, each layer's reasons, what was refused."""
    with Ledger(ledger_url()) as ledger:
        if study is None:
            _list(ledger, json=json)
            return
        found = ledger.study(study)
    if json:
        show_json(found)
        return
    from edgekit.report.page import render

    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: no such folder {out.parent}")
    write_whole(out, render(found).encode())
    say(f"wrote {out}: study {found.id} of {found.project} on {found.device}")


def _list(ledger: Ledger, *, json: bool) -> None:
    rows = ledger.studies()
    if json:
        show_json(rows)
        return
    cells = [(r.id, r.project, r.device, r.target, r.state, moment(r.updated_at)) for r in rows]
    heads = ("study", "project", "device", "target", "state", "last change")
    show_table(heads, cells, "no studies yet: `edgekit tune` makes one")
