"""Files are private, whole, durable, and a refusal of the disk is a sentence."""

import errno
import os
from pathlib import Path

import pytest

from mqtt_operator.errors import DataFolderError
from mqtt_operator.local.files import make_private_folder, read_or_none, write_private, write_private_if_changed


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_files_and_folders_are_for_the_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        folder = make_private_folder(tmp_path / "a" / "b")
        write_private(folder / "f", b"x")
    finally:
        os.umask(old)
    assert mode_of(tmp_path / "a") == mode_of(folder) == 0o700
    assert mode_of(folder / "f") == 0o600


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_private_folder(tmp_path)
    assert mode_of(tmp_path) == 0o755


def test_replacing_a_looser_file_makes_it_private(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert (path.read_bytes(), mode_of(path)) == (b"new", 0o600)


def test_the_content_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    steps: list[str] = []
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", lambda _: steps.append("sync"))
    monkeypatch.setattr(Path, "replace", replace)
    write_private(path, b"x")
    assert steps == ["sync", "rename", "sync"]


def test_what_can_be_made_again_is_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(_: int) -> None:
        raise AssertionError("synced")

    monkeypatch.setattr(os, "fsync", unexpected)
    write_private(tmp_path / "f", b"x", durable=False)
    assert (tmp_path / "f").read_bytes() == b"x"


def test_an_equal_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "f"
    assert write_private_if_changed(path, b"x")
    before = path.stat().st_ino
    assert not write_private_if_changed(path, b"x")
    assert path.stat().st_ino == before
    assert write_private_if_changed(path, b"y")


def test_a_full_disk_keeps_the_old_content_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    write_private(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataFolderError) as refused:
        write_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    assert str(refused.value) == (
        "The data folder cannot be used: No space left on device.\n"
        f"  path: {path}\n"
        "  The disk is full: free some space, or choose another place with --data."
    )


def test_a_leftover_of_a_killed_process_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / f".f.{os.getpid()}.tmp").write_bytes(b"half")
    write_private(tmp_path / "f", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_file_where_a_folder_is_needed_is_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(DataFolderError, match="A file lies where a folder is needed"):
        make_private_folder(tmp_path / "f" / "deeper")


def test_a_folder_that_may_not_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: int) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataFolderError) as refused:
        make_private_folder(tmp_path / "a")
    assert f"path: {tmp_path / 'a'}" in str(refused.value)
    assert "Give your user the right" in refused.value.to_do


def test_an_unreadable_file_is_told_and_a_missing_one_is_none(tmp_path: Path) -> None:
    assert read_or_none(tmp_path / "gone") is None
    with pytest.raises(DataFolderError, match="Is a directory"):
        read_or_none(tmp_path)
