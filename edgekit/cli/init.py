"""`edgekit init`: a project file to start from."""

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.options import Debug, Json
from edgekit.cli.output import say, show_json
from edgekit.cli.source import check_source
from edgekit.cli.templates import DATA_SKETCH, parse_shape, project_text
from edgekit.core.project import project_from_toml
from edgekit.errors import UsageError
from edgekit.store.files import write_whole

Source = Annotated[
    str, typer.Argument(metavar="MODEL", help="file.py:function (gives an nn.Module), a .pt2 or an .onnx.")
]
Name = Annotated[str | None, typer.Option("--name", help="The project's name; default: the folder's.")]
Shape = Annotated[
    str, typer.Option("--shape", metavar="N,C,H,W", help="The shape of the model's one float input, batch first.")
]
Folder = Annotated[Path, typer.Option("--folder", metavar="FOLDER", help="Where to write project.toml.")]


def command(
    source: Source,
    *,
    name: Name = None,
    shape: Shape = "1,3,224,224",
    folder: Folder = Path(),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Writes project.toml, and data.py where there is none: both to be read and changed. Overwrites nothing."""
    place, data = folder / "project.toml", folder / "data.py"
    if place.exists():
        raise UsageError(f"{place}: exists; remove it, or name another place with --folder")
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    where = check_source(source, folder)
    text = project_text(name or _name_of(folder), where, parse_shape(shape))
    project_from_toml(text, str(place))  # what is written can be read
    made = [place]
    if not data.exists():
        write_whole(data, DATA_SKETCH.encode())
        made.append(data)
    write_whole(place, text.encode())
    if json:
        show_json({"written": [str(path) for path in made]})
    else:
        say(f"wrote {' and '.join(map(str, made))}; next: fill in the data, then `edgekit tune {place}`")


def _name_of(folder: Path) -> str:
    letters = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in folder.resolve().name)
    return letters.strip("-._")[:64] or "model"
