"""Layers of images: made once from the same, and the same from the same."""

import tarfile
from pathlib import Path

import pytest

from support.kube import layers


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "stoa-images"


def _fill(folder: Path) -> None:
    (folder / "bin").mkdir()
    (folder / "bin" / "program").write_text("program", encoding="ascii")
    (folder / "bin" / "program").chmod(0o755)
    (folder / "link").symlink_to("bin/program")


def test_a_layer_is_made_once_and_again_when_something_in_it_changes() -> None:
    made = []

    def fill(folder: Path) -> None:
        made.append(folder)
        _fill(folder)

    first = layers.layer("one", ["version 1"], fill)
    assert layers.layer("one", ["version 1"], fill) == first
    assert layers.layer("one", ["version 2"], fill) != first
    assert len(made) == 2
    assert layers.compressed_bytes(first) < first.stat().st_size


def test_files_lie_in_it_as_root_s_and_without_their_times(tmp_path: Path) -> None:
    path = layers.layer("one", [], _fill)
    with tarfile.open(path) as archive:
        entries = {entry.name: entry for entry in archive}
    assert list(entries) == ["bin", "bin/program", "link"]
    assert {(entry.uid, entry.gid, entry.mtime) for entry in entries.values()} == {(0, 0, 0)}
    assert entries["bin/program"].mode == 0o755
    layers.unpack(path, tmp_path)
    assert (tmp_path / "link").read_text(encoding="ascii") == "program"


def test_a_layer_whose_making_fails_is_not_there(cache: Path) -> None:
    def fail(folder: Path) -> None:
        _fill(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        layers.layer("one", [], fail)
    assert [path.name for path in cache.iterdir()] == ["lock"]


def test_layers_that_nobody_used_for_long_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    old = layers.layer("old", [], _fill)
    monkeypatch.setattr(layers, "UNUSED_DAYS_MAX", -1)
    layers.layer("new", [], _fill)
    assert not old.exists()
