"""What is sent is named by its content, and which wheels fit a machine."""

import io
import tarfile
from pathlib import Path

import pytest

from edgekit.devices.parcel import parcel, write_tar
from edgekit.devices.wheels import pack, platform_tags
from edgekit.errors import ArtifactError, UsageError


def test_equal_content_has_one_id_and_one_archive(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").write_bytes(b"weights")
    first, second = (parcel({"m.onnx": tmp_path / name / "model"}) for name in ("a", "b"))
    assert first.id == second.id
    archives = []
    for sent in (first, second):
        write_tar(file := io.BytesIO(), sent.files)
        archives.append(file.getvalue())
    assert archives[0] == archives[1]


def test_a_name_is_part_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"x")
    assert parcel({"a": tmp_path / "m"}).id != parcel({"b": tmp_path / "m"}).id


@pytest.mark.parametrize(
    "name", ["", "../x", "/etc/passwd", "a/../b", "a//b", "./a", "a\nb", " a", "a ", ".manifest", ".sent0", "a/"]
)
def test_a_path_that_leaves_the_folder_or_cannot_be_written_down_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"plain relative path|space|own"):
        parcel({name: tmp_path / "m"})


def test_a_missing_file_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="gone"):
        parcel({"m": tmp_path / "gone"})


def test_a_newer_glibc_takes_all_older_wheels() -> None:
    old, new = (platform_tags("x86_64", f"glibc 2.{minor}") for minor in (28, 36))
    assert set(old) < set(new)
    assert "manylinux2014_x86_64" in old
    assert "manylinux1_x86_64" in old
    assert platform_tags("aarch64", "") == ()


def test_a_site_is_packed_alike_each_time_and_without_programs(tmp_path: Path) -> None:
    for name in ("bin/tool", "pkg/a.py", "pkg/b.so"):
        (path := tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    assert pack(tmp_path / "site", tmp_path / "1.tar.gz") == len("pkg/a.py" + "pkg/b.so")
    pack(tmp_path / "site", tmp_path / "2.tar.gz")
    packed = (tmp_path / "1.tar.gz").read_bytes()
    assert packed == (tmp_path / "2.tar.gz").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert tar.getnames() == ["./pkg/a.py", "./pkg/b.so"]
