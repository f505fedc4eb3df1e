"""Generated Secrets: made once, private, never overwritten, always pointing at the broker."""

from pathlib import Path

import pytest

from mqtt_operator.errors import DataFolderError
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.secrets import Endpoint, describe_endpoint, ensure_binding


def test_a_secret_has_the_shape_of_a_service_binding(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    binding = ensure_binding(data, "mqtt", "pump", "pump-7")
    describe_endpoint(binding, Endpoint(host="localhost", port=8883, ca=b"PEM"))
    assert binding.folder == tmp_path / "secrets" / "mqtt" / "pump"
    found = {path.name: path.read_bytes() for path in binding.folder.iterdir()}
    password = found.pop("password")
    assert found == {
        "type": b"mqtt",
        "host": b"localhost",
        "port": b"8883",
        "username": b"pump-7",
        "ca.crt": b"PEM",
    }
    assert password == binding.password
    assert len(password) >= 43  # 32 random bytes
    assert {path.stat().st_mode & 0o777 for path in binding.folder.iterdir()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "secrets", binding.folder)} == {0o700}


def test_a_password_is_made_once(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    first = ensure_binding(data, "mqtt", "pump", "pump-7")
    assert ensure_binding(data, "mqtt", "pump", "pump-7") == first
    assert ensure_binding(data, "mqtt", "other", "other").password != first.password


def test_a_password_that_people_put_there_is_kept(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    data.secret("mqtt", "pump").mkdir(parents=True)
    (data.secret("mqtt", "pump") / "password").write_bytes(b"mine")
    assert ensure_binding(data, "mqtt", "pump", "pump-7").password == b"mine"


def test_an_empty_password_is_made_anew(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    data.secret("mqtt", "pump").mkdir(parents=True)
    (data.secret("mqtt", "pump") / "password").write_bytes(b"")
    assert ensure_binding(data, "mqtt", "pump", "pump-7", lambda: "new").password == b"new"


def test_an_empty_user_name_left_by_a_power_failure_is_written_again(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    binding = ensure_binding(data, "mqtt", "pump", "pump-7")
    (binding.folder / "username").write_bytes(b"")
    assert ensure_binding(data, "mqtt", "pump", "pump-7") == binding
    assert (binding.folder / "username").read_bytes() == b"pump-7"


def test_the_address_follows_the_broker_and_the_password_does_not(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    binding = ensure_binding(data, "mqtt", "pump", "pump-7")
    describe_endpoint(binding, Endpoint(host="localhost", port=8883, ca=None))
    assert not (binding.folder / "ca.crt").exists()
    describe_endpoint(binding, Endpoint(host="localhost", port=8884, ca=b"PEM"))
    assert (binding.folder / "port").read_bytes() == b"8884"
    assert binding.password_file.read_bytes() == binding.password


def test_a_secret_of_another_user_name_is_refused(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    ensure_binding(data, "mqtt", "pump", "pump-7")
    with pytest.raises(DataFolderError, match="belongs to user name 'pump-7', not to 'pump-8'"):
        ensure_binding(data, "mqtt", "pump", "pump-8")
