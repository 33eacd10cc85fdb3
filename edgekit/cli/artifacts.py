"""`edgekit artifacts`: what is in the store."""

import typer

from edgekit.cli.options import Debug, Json, new_app
from edgekit.cli.output import say, show_json, show_table, size
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.home import artifacts_folder

app = new_app()


@app.command("list")
def list_(*, json: Json = False, debug: Debug = False) -> None:
    """List the artifacts of the store."""
    found = ArtifactStore(artifacts_folder()).artifacts()
    if json:
        show_json(found)
        return
    rows = [(a.id[:12], a.name, a.target, size(a.size_bytes)) for a in found]
    show_table(("artifact", "name", "target", "size"), rows, "no artifacts yet: `edgekit tune` or `convert` makes some")


@app.command("check")
def check(*, json: Json = False, debug: Debug = False) -> None:
    """Read every file of the store and say what is damaged; exit code 1 if anything is."""
    store = ArtifactStore(artifacts_folder())
    wrong = store.damaged()
    if json:
        show_json({"artifacts": len(store.artifacts()), "damaged": wrong})
    else:
        say("\n".join(wrong) or f"{len(store.artifacts())} artifacts, all as they were made")
    raise typer.Exit(1 if wrong else 0)
