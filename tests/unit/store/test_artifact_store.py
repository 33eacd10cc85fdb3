import hashlib
import json
import os
import stat
from pathlib import Path

import msgspec
import pytest

from edgekit.core.artifact import Artifact, FileEntry
from edgekit.core.noun import to_json
from edgekit.errors import ArtifactError, StoreError, UsageError
from edgekit.store.artifacts import ArtifactStore, read_artifact
from tests.unit.store.nouns import make_artifact


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def everything_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_an_added_artifact_is_found_by_id_by_prefix_by_name_and_by_what_it_was_made_from(
    store: ArtifactStore, tmp_path: Path
) -> None:
    made = make_artifact(tmp_path / "a")
    assert store.add(tmp_path / "a") == made
    for text in (made.id, made.id[:6], f"net@{made.id[:4]}"):
        assert store.find(text) == made
    assert store.made("k1") == made
    assert store.made("k2") is None
    assert store.model_path(made).read_bytes() == b"weights"
    assert store.artifacts() == (made,)


def test_the_same_content_is_kept_once_however_often_it_is_added(store: ArtifactStore, tmp_path: Path) -> None:
    make_artifact(tmp_path / "a", key="k1")
    make_artifact(tmp_path / "b", key="k2", name="other")
    store.add(tmp_path / "a")
    before = store.model_path(store.made("k1")).stat().st_ino
    store.add(tmp_path / "b")
    assert store.model_path(store.made("k2")).stat().st_ino == before
    assert (store.made("k1").name, store.made("k2").name) == ("net", "other")
    assert len(store.artifacts()) == 1


def test_nothing_is_left_of_an_add_but_the_artifact(store: ArtifactStore, tmp_path: Path) -> None:
    made = make_artifact(tmp_path / "a")
    store.add(tmp_path / "a")
    assert everything_below(store.root) == {
        f"content/{made.id}/model.onnx", f"content/{made.id}/artifact.json", "keys/k1.json",
    }  # fmt: skip


def test_damage_is_found_said_and_mended_by_adding_again(store: ArtifactStore, tmp_path: Path) -> None:
    made = make_artifact(tmp_path / "a")
    store.add(tmp_path / "a")
    store.model_path(made).write_bytes(b"weightz")
    with pytest.raises(ArtifactError, match=r"model\.onnx: damaged: want sha256 .* got .*"):
        store.find(made.id)
    assert store.made("k1") is None
    assert len(store.damaged()) == 1
    store.add(tmp_path / "a")
    assert store.find(made.id) == made
    assert store.damaged() == ()


def test_a_missing_file_is_named(store: ArtifactStore, tmp_path: Path) -> None:
    made = make_artifact(tmp_path / "a")
    store.add(tmp_path / "a")
    store.model_path(made).unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx: missing"):
        store.find(made.id)


def test_a_damaged_folder_is_not_taken_in(store: ArtifactStore, tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    (tmp_path / "a" / "model.onnx").write_bytes(b"other")
    with pytest.raises(ArtifactError, match="damaged"):
        store.add(tmp_path / "a")
    assert everything_below(store.root) == set()


@pytest.mark.parametrize("path", ["../model.onnx", "/etc/passwd", "a/../../b", "artifact.json", ".", "a\\..\\b"])
def test_a_file_outside_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    make_artifact(tmp_path / "a")
    told = json.loads((tmp_path / "a" / "artifact.json").read_text())
    told["files"].append({"path": path, "sha256": "0" * 64, "size_bytes": 1})
    (tmp_path / "a" / "artifact.json").write_text(json.dumps(told))
    with pytest.raises(ArtifactError, match="stay inside the folder"):
        read_artifact(tmp_path / "a")


def test_a_link_in_place_of_a_file_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    (tmp_path / "elsewhere").write_bytes(b"weights")
    (tmp_path / "a" / "model.onnx").unlink()
    (tmp_path / "a" / "model.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="missing"):
        store.add(tmp_path / "a")


def test_an_artifact_of_a_newer_edgekit_is_refused_in_words(tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    told = json.loads((tmp_path / "a" / "artifact.json").read_text()) | {"schema": 99}
    (tmp_path / "a" / "artifact.json").write_text(json.dumps(told))
    with pytest.raises(ArtifactError, match=r"schema 99.*install a newer edgekit"):
        read_artifact(tmp_path / "a")


@pytest.mark.parametrize(("text", "said"), [("ab", "first 4 letters"), ("beefbeef", "none in"), ("", "first 4")])
def test_a_name_that_finds_nothing_is_told_in_words(store: ArtifactStore, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        store.find(text)


def test_gc_removes_what_is_not_kept_and_what_interrupted_work_left(store: ArtifactStore, tmp_path: Path) -> None:
    kept, gone = make_artifact(tmp_path / "a"), make_artifact(tmp_path / "b", b"other", key="k2")
    store.add(tmp_path / "a")
    store.add(tmp_path / "b")
    (store.root / "incoming" / "half").mkdir(parents=True)
    (store.root / "incoming" / "half" / "model.onnx").write_bytes(b"wei")
    would = store.gc({kept.id}, min_age_s=0, dry_run=True)
    assert store.artifacts() == tuple(sorted((kept, gone), key=lambda a: a.id))
    did = store.gc({kept.id}, min_age_s=0)
    assert (did.artifacts, did.leftovers) == ((gone.id,), 1)
    assert (would.artifacts, would.leftovers, would.bytes_freed) == (did.artifacts, did.leftovers, did.bytes_freed)
    assert everything_below(store.root) == {
        f"content/{kept.id}/model.onnx", f"content/{kept.id}/artifact.json", "keys/k1.json",
    }  # fmt: skip


def test_gc_leaves_what_was_made_or_asked_for_a_moment_ago(store: ArtifactStore, tmp_path: Path) -> None:
    made = make_artifact(tmp_path / "a")
    store.add(tmp_path / "a")
    os.utime(store.folder(made), (0, 0))
    assert store.made("k1") == made
    assert store.gc(set(), min_age_s=60).artifacts == ()
    os.utime(store.folder(made), (0, 0))
    assert store.gc(set(), min_age_s=60).artifacts == (made.id,)


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="cannot be written"):
        ArtifactStore(tmp_path / "file").add(tmp_path / "a")
    assert stat.S_ISREG((tmp_path / "file").stat().st_mode)


def with_layers(folder: Path) -> Artifact:
    """The artifact in `folder` with layer values beside it."""
    (folder / "layers.npz").write_bytes(b"values")
    entry = FileEntry(path="layers.npz", sha256=hashlib.sha256(b"values").hexdigest(), size_bytes=6)
    made = msgspec.structs.replace(read_artifact(folder), layers=entry)
    (folder / "artifact.json").write_bytes(to_json(made))
    return made


def test_layer_values_are_kept_beside_an_artifact_and_are_no_part_of_its_id(
    store: ArtifactStore, tmp_path: Path
) -> None:
    bare = make_artifact(tmp_path / "a")
    made = with_layers(tmp_path / "a")
    assert store.add(tmp_path / "a") == made
    assert made.id == bare.id
    assert (store.folder(made) / "layers.npz").read_bytes() == b"values"
    assert [entry.path for entry in made.files] == ["model.onnx"]


def test_layer_values_are_added_to_an_artifact_that_was_kept_without(store: ArtifactStore, tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    store.add(tmp_path / "a")
    made = with_layers(tmp_path / "a")
    store.add(tmp_path / "a")
    assert store.find(made.id) == made
    assert (store.folder(made) / "layers.npz").read_bytes() == b"values"


def test_an_artifact_whose_layer_values_are_gone_is_whole(store: ArtifactStore, tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    made = with_layers(tmp_path / "a")
    store.add(tmp_path / "a")
    (store.folder(made) / "layers.npz").unlink()
    assert store.find(made.id) == made
    assert store.damaged() == ()


def test_layer_values_outside_the_folder_are_refused(tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    made = with_layers(tmp_path / "a")
    outside = msgspec.structs.replace(made, layers=msgspec.structs.replace(made.layers, path="../layers.npz"))
    (tmp_path / "a" / "artifact.json").write_bytes(to_json(outside))
    with pytest.raises(ArtifactError, match="must stay inside the folder"):
        read_artifact(tmp_path / "a")


def test_an_artifact_of_schema_1_is_read(tmp_path: Path) -> None:
    made = make_artifact(tmp_path / "a")
    said = json.loads((tmp_path / "a" / "artifact.json").read_text())
    said["schema"] = 1
    del said["layers"]
    (tmp_path / "a" / "artifact.json").write_text(json.dumps(said))
    assert msgspec.structs.replace(read_artifact(tmp_path / "a"), schema=made.schema) == made
