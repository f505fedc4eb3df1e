"""The store's identity is made once; the policy's revision only grows."""

from pathlib import Path

import pytest

from mqtt_operator.errors import DataFolderError
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.revision import Revision, load_revision, next_revision, save_revision
from mqtt_operator.local.world import establish_world, load_world


def test_an_identity_is_made_once_and_kept(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    first = load_world(data)
    assert first.id
    assert load_world(data) == first


def test_two_folders_have_two_identities(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    assert load_world(DataFolder(folders[0])).id != load_world(DataFolder(folders[1])).id


def test_a_store_that_was_never_opened_may_be_missing(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    assert not load_world(data).established
    assert not load_world(data).established


def test_a_store_that_is_gone_is_refused_not_served_empty(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    data.store.write_bytes(b"")
    establish_world(data, load_world(data))
    assert load_world(data).established
    data.store.unlink()
    with pytest.raises(DataFolderError) as refused:
        load_world(data)
    assert str(data.store) in refused.value.where
    assert str(data.world) in refused.value.to_do


@pytest.mark.parametrize("junk", [b"", b"{", b'{"established": true}'])
def test_an_unreadable_identity_is_not_made_anew(tmp_path: Path, junk: bytes) -> None:
    data = DataFolder(tmp_path)
    data.world.write_bytes(junk)
    with pytest.raises(DataFolderError, match="identity cannot be read"):
        load_world(data)
    assert data.world.read_bytes() == junk


def test_a_revision_grows_with_the_content_only(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    assert load_revision(data) == Revision()
    first = next_revision(load_revision(data), "digest-a")
    save_revision(data, first)
    assert first.number == 1
    assert next_revision(load_revision(data), "digest-a") == first
    assert next_revision(load_revision(data), "digest-b").number == 2


def test_an_unreadable_revision_is_not_guessed(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    data.revision.write_bytes(b"7")
    with pytest.raises(DataFolderError, match="revision cannot be read"):
        load_revision(data)
