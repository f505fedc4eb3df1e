"""One data folder serves one `stoa up`, and its admin socket's path fits the system's bound."""

import os
from pathlib import Path

import pytest

from mqtt_operator.errors import DataFolderError
from mqtt_operator.local.data_folder import SOCKET_PATH_BYTES_MAX, DataFolder, admin_socket, default_root, locked


def test_the_default_place_is_named_after_the_broker(tmp_path: Path) -> None:
    assert default_root(tmp_path, "plant") == tmp_path / ".stoa" / "plant"


def test_a_second_user_of_the_folder_is_told_who_has_it(tmp_path: Path) -> None:
    data = DataFolder(tmp_path / "data")
    with locked(data), pytest.raises(DataFolderError) as refused, locked(data):
        pass
    assert f"process {os.getpid()}" in refused.value.what
    assert str(data.root) in refused.value.where
    assert "--data" in refused.value.to_do


def test_the_lock_is_let_go_at_the_end(tmp_path: Path) -> None:
    data = DataFolder(tmp_path / "data")
    for _ in range(2):
        with locked(data):
            assert data.root.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DataFolderError, match="Permission denied"), locked(DataFolder(tmp_path)):
        pass


def test_a_short_path_keeps_the_socket_in_the_data_folder_and_clears_an_old_one(tmp_path: Path) -> None:
    data = DataFolder(Path("/tmp/x"))  # never made
    with admin_socket(data, "plant-0") as path:
        assert path == Path("/tmp/x/plant-0.sock")


def test_a_long_path_moves_the_socket_to_a_private_folder_that_goes_away(tmp_path: Path) -> None:
    data = DataFolder(tmp_path / ("long" * 30))
    with admin_socket(data, "plant-0") as path:
        assert len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.parent.exists()
