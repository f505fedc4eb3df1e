"""What a `stoa up` runs is written down without a secret, and read back by other commands."""

from pathlib import Path
from typing import Any

import pytest

from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.deploy import Site
from mqtt_operator.local.reconciler import Options, Reconciler
from mqtt_operator.local.run_document import find_run, read_run, write_run


def test_what_is_written_is_read_back(folder: Any, broker: Any, client: Any, tmp_path: Path, cheap_hasher: Any) -> None:
    folder.put("a.yaml", broker(), client())
    data = DataFolder(tmp_path / "data")
    data.root.mkdir()
    site = Site(admin_socket=tmp_path / "s.sock")
    write_run(Reconciler(Options(folder=folder.path), data, [site], hasher=cheap_hasher).start(folder.read()))
    run = find_run(folder.path, data.root)
    (node,) = run.nodes
    assert (run.broker, run.store) == ("default/plant", None)
    assert (node.node, node.admin_socket, node.ports) == ("plant-0", str(tmp_path / "s.sock"), {"mqtts": 8883})


def test_without_data_the_default_folder_is_meant(
    folder: Any, broker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put("a.yaml", broker())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExpectedError, match="No `stoa up` has run") as refused:
        find_run(folder.path, None)
    assert refused.value.where == f"path: {tmp_path / '.stoa' / 'plant'}"


def test_one_of_another_version_is_told(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    data.run.write_text("[]")
    with pytest.raises(ExpectedError, match="cannot be read"):
        read_run(data)
