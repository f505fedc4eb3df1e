"""From a folder to the files of a node, and what a change of the folder changes."""

import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from argon2 import PasswordHasher

from mqtt_api.node_settings import NodeSettings
from mqtt_api.policy import Policy, decode_policy
from mqtt_operator.credentials.certificates import SERVER_LIFETIME, issue_ca, issue_server
from mqtt_operator.errors import DataFolderError, ExpectedError, FilesRefusedError
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.deploy import Site
from mqtt_operator.local.reconciler import Options, Reconciler

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Bench:
    """A reconciler over a folder, with a clock that stands still until it is moved."""

    def __init__(self, folder: Any, data: DataFolder, hasher: PasswordHasher) -> None:
        self.folder = folder
        self.data = data
        self.now = NOW
        data.root.mkdir(exist_ok=True)
        options = Options(folder=folder.path)
        site = Site(admin_socket=data.root / "s.sock")
        self.reconciler = Reconciler(options, data, [site], now=lambda: self.now, hasher=hasher)

    def start(self) -> None:
        self.reconciler.start(self.folder.read())

    @property
    def policy(self) -> Policy:
        return decode_policy(self.data.policy.read_bytes())

    @property
    def settings(self) -> NodeSettings:
        return msgspec.json.decode(self.data.node_settings("plant-0").read_bytes(), type=NodeSettings)

    def written(self) -> dict[Path, int]:
        """A file that is written anew has another inode."""
        return {path: path.stat().st_ino for path in self.data.root.rglob("*") if path.is_file()}


@pytest.fixture
def restart(folder: Any, tmp_path: Path, cheap_hasher: PasswordHasher) -> Callable[[], Bench]:
    return lambda: Bench(folder, DataFolder(tmp_path / "data"), cheap_hasher)


@pytest.fixture
def bench(restart: Callable[[], Bench], folder: Any, broker: Any, client: Any, permission: Any) -> Bench:
    folder.put("broker.yaml", broker())
    folder.put("clients.yaml", client())
    folder.put("permissions.yaml", permission())
    made = restart()
    made.start()
    return made


def test_a_start_writes_what_a_node_needs(bench: Bench) -> None:
    settings = bench.settings
    assert settings.node == "plant-0"
    assert settings.store == f"sqlite:{bench.data.store}"
    assert settings.policy_file == str(bench.data.policy)
    assert settings.world == bench.reconciler.world.id
    (listener,) = settings.listeners
    assert listener.tls is not None
    assert Path(listener.tls.certificate_file).exists()
    assert Path(listener.tls.key_file).exists()
    principal = bench.policy.principals["pump-7"]
    password = (bench.data.secret("default", "pump-7-mqtt") / "password").read_bytes()
    assert PasswordHasher().verify(principal.passwords[0], password)
    assert bench.policy.revision == 1


def test_everything_below_the_data_folder_is_private(bench: Bench) -> None:
    for path in bench.data.root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_an_unchanged_folder_writes_nothing(bench: Bench) -> None:
    before = bench.written()
    sentence = bench.reconciler.reconcile().sentence(None)
    assert sentence == "The files changed, their meaning did not: nothing to do."
    assert bench.written() == before


def test_a_restart_keeps_password_identity_revision_and_certificates(
    bench: Bench, restart: Callable[[], Bench]
) -> None:
    before = bench.written()
    again = restart()
    again.start()
    assert again.written() == before


def test_a_changed_permission_is_a_new_revision_in_one_sentence(bench: Bench, folder: Any, permission: Any) -> None:
    folder.put("permissions.yaml", permission(rule={"topics": ["elsewhere"]}))
    sentence = bench.reconciler.reconcile().sentence(None)
    assert sentence == "Applied: policy revision 2 (clients: 1, rules: 1), because the files changed."
    assert bench.policy.rules[0].topics == ("elsewhere",)


def test_a_revision_never_comes_back_even_if_the_content_does(bench: Bench, folder: Any, permission: Any) -> None:
    folder.put("permissions.yaml", permission(priority=1))
    bench.reconciler.reconcile()
    folder.put("permissions.yaml", permission())
    bench.reconciler.reconcile()
    assert bench.policy.revision == 3


def test_a_lost_policy_file_is_written_again_under_the_same_revision(bench: Bench) -> None:
    before = bench.policy
    bench.data.policy.unlink()
    bench.reconciler.reconcile()
    assert bench.policy == before


def test_a_changed_listener_changes_the_settings(bench: Bench, folder: Any, broker: Any) -> None:
    folder.put("broker.yaml", broker(listeners=[{"name": "mqtts", "port": 9999, "tls": {}}]))
    change = bench.reconciler.reconcile()
    assert change.settings_changed
    assert change.sentence(taken=True) == "Applied: the settings of the node, because the files changed."
    assert change.sentence(taken=False) == ""
    assert change.sentence(None) == "Written: the settings of the node; it has not said yet whether it took them."
    assert bench.settings.listeners[0].port == 9999
    assert (bench.data.secret("default", "pump-7-mqtt") / "port").read_text() == "9999"


def test_a_mistake_while_running_changes_nothing(bench: Bench, folder: Any) -> None:
    before = bench.written()
    folder.write("permissions.yaml", "kind: [")
    with pytest.raises(FilesRefusedError):
        bench.reconciler.reconcile()
    assert bench.written() == before


def test_mending_a_mistake_is_told_even_if_nothing_is_to_be_done(bench: Bench, folder: Any, permission: Any) -> None:
    folder.write("permissions.yaml", "kind: [")
    with pytest.raises(FilesRefusedError):
        bench.reconciler.reconcile()
    folder.put("permissions.yaml", permission())
    assert bench.reconciler.reconcile().sentence(None) == "Mended: the files are in force again (revision 1)."
    again = bench.reconciler.reconcile()
    assert not again.mended
    assert again.sentence(None) == "The files changed, their meaning did not: nothing to do."


def test_settings_that_the_node_refused_do_not_hide_a_new_policy(
    bench: Bench, folder: Any, broker: Any, permission: Any
) -> None:
    folder.put("broker.yaml", broker(sessionStore={"embedded": {"storage": "2Gi"}}))
    folder.put("permissions.yaml", permission(priority=1))
    sentence = bench.reconciler.reconcile().sentence(taken=False)
    assert sentence == "Applied: policy revision 2 (clients: 1, rules: 1), because the files changed."


def test_a_folder_that_is_gone_revokes_nothing(bench: Bench, folder: Any) -> None:
    before = bench.written()
    for path in folder.path.iterdir():
        path.unlink()
    with pytest.raises(ExpectedError, match="no MQTTBroker"):
        bench.reconciler.reconcile()
    assert bench.written() == before


def test_another_broker_in_the_same_folder_asks_for_a_restart(bench: Bench, folder: Any, broker: Any) -> None:
    before = bench.written()
    folder.put("broker.yaml", broker("other"))
    folder.write("clients.yaml", "")
    folder.write("permissions.yaml", "")
    with pytest.raises(ExpectedError, match="default/other instead of default/plant"):
        bench.reconciler.reconcile()
    assert bench.written() == before


def test_a_full_disk_while_running_is_told_and_the_next_try_succeeds(
    bench: Bench, folder: Any, permission: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    folder.put("permissions.yaml", permission(priority=1))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(DataFolderError, match="No space left"):
            bench.reconciler.reconcile()
    assert bench.policy.revision == 1
    bench.reconciler.reconcile()
    assert bench.policy.rules[0].priority == 1


def test_a_certificate_near_its_end_is_replaced_while_running(bench: Bench) -> None:
    certificate = bench.data.listener("mqtts") / "tls.crt"
    before = certificate.read_bytes()
    bench.now = NOW + SERVER_LIFETIME - timedelta(days=1)
    bench.reconciler.reconcile()
    assert certificate.read_bytes() != before


def test_a_client_that_goes_away_loses_its_log_in_and_keeps_its_secret(bench: Bench, folder: Any) -> None:
    folder.write("clients.yaml", "")
    bench.reconciler.reconcile()
    assert not bench.policy.principals
    assert (bench.data.secret("default", "pump-7-mqtt") / "password").exists()


def test_declared_passwords_and_hashes_become_verifiers_in_order(
    bench: Bench, folder: Any, client: Any, secret: Any, cheap_hasher: PasswordHasher
) -> None:
    brought = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash("brought")
    sources = [
        {"secretRef": {"name": "s", "hashKey": "hash"}},
        {"secretRef": {"name": "s", "key": "password"}},
        {"generate": {"secretName": "made"}},
    ]
    folder.put(
        "clients.yaml", client(credentials={"passwords": sources}), secret("s", {"password": "p", "hash": brought})
    )
    bench.reconciler.reconcile()
    verifiers = bench.policy.principals["pump-7"].passwords
    assert cheap_hasher.verify(verifiers[0], b"p")
    assert cheap_hasher.verify(verifiers[1], (bench.data.secret("default", "made") / "password").read_bytes())
    assert verifiers[2] == brought


def test_a_certificate_from_a_secret_is_served_with_its_cas(
    bench: Bench, folder: Any, broker: Any, secret: Any
) -> None:
    ca = issue_ca("theirs", NOW)
    pair = issue_server(ca, ["localhost"], NOW)
    tls = {
        "secretRef": {"name": "server"},
        "clientAuth": "Optional",
        "clientCARefs": [{"kind": "Secret", "name": "server", "key": "ca.crt"}],
    }
    values = {"tls.crt": pair.certificate.decode(), "tls.key": pair.key.decode(), "ca.crt": ca.certificate.decode()}
    folder.put("broker.yaml", broker(listeners=[{"name": "mqtts", "port": 8883, "tls": tls}]), secret("server", values))
    deployment = bench.reconciler.reconcile().after
    (listener,) = bench.settings.listeners
    assert listener.tls is not None
    assert Path(listener.tls.certificate_file).read_bytes() == pair.certificate
    assert Path(listener.tls.key_file).read_bytes() == pair.key
    assert [Path(path).read_bytes() for path in listener.tls.client_ca_files] == [ca.certificate]
    assert deployment.listener_cas["mqtts"].read_bytes() == ca.certificate
    assert (bench.data.secret("default", "pump-7-mqtt") / "ca.crt").read_bytes() == ca.certificate


def test_a_certificate_that_is_no_ca_is_not_offered_as_one(bench: Bench, folder: Any, broker: Any, secret: Any) -> None:
    pair = issue_server(issue_ca("theirs", NOW), ["localhost"], NOW)
    listeners = [{"name": "mqtts", "port": 8883, "tls": {"secretRef": {"name": "server"}}}]
    values = {"tls.crt": pair.certificate.decode(), "tls.key": pair.key.decode()}
    folder.put("broker.yaml", broker(listeners=listeners), secret("server", values))
    deployment = bench.reconciler.reconcile().after
    assert deployment.listener_cas == {}
    (note,) = deployment.declared.notes
    assert "is no CA and comes without one (ca.crt)" in note


def test_a_certificate_that_may_sign_is_its_own_ca(bench: Bench, folder: Any, broker: Any, secret: Any) -> None:
    own = issue_ca("own", NOW)
    listeners = [{"name": "mqtts", "port": 8883, "tls": {"secretRef": {"name": "server"}}}]
    values = {"tls.crt": own.certificate.decode(), "tls.key": own.key.decode()}
    folder.put("broker.yaml", broker(listeners=listeners), secret("server", values))
    deployment = bench.reconciler.reconcile().after
    assert deployment.listener_cas["mqtts"].read_bytes() == own.certificate


def test_a_crl_is_written_for_the_node(bench: Bench, folder: Any, broker: Any, crl: str) -> None:
    ca = issue_ca("theirs", NOW).certificate.decode()
    tls = {
        "clientAuth": "Required",
        "clientCARefs": [{"kind": "ConfigMap", "name": "ca", "key": "ca.crt"}],
        "crl": {"ref": {"kind": "ConfigMap", "name": "ca", "key": "crl"}},
    }
    authority = {"kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": ca, "crl": crl}}
    folder.put("broker.yaml", broker(listeners=[{"name": "mqtts", "port": 8883, "tls": tls}]), authority)
    bench.reconciler.reconcile()
    (listener,) = bench.settings.listeners
    assert listener.tls is not None
    assert [Path(path).read_text() for path in listener.tls.crl_files] == [crl]


def test_a_plain_listener_needs_no_ca(bench: Bench, folder: Any, broker: Any) -> None:
    folder.put("broker.yaml", broker(listeners=[{"name": "mqtt", "port": 1883, "allowPlaintext": True}]))
    deployment = bench.reconciler.reconcile().after
    assert deployment.listener_cas == {}
    assert bench.settings.listeners[0].tls is None


def test_more_dns_names_reissue_the_certificate(bench: Bench, folder: Any, broker: Any) -> None:
    certificate = bench.data.listener("mqtts") / "tls.crt"
    before = certificate.read_bytes()
    tls = {"dnsNames": ["mqtt.example.org"]}
    folder.put("broker.yaml", broker(listeners=[{"name": "mqtts", "port": 8883, "tls": tls}]))
    bench.reconciler.reconcile()
    assert certificate.read_bytes() != before


def test_the_store_must_stay_once_a_node_was_ready(bench: Bench, restart: Callable[[], Bench]) -> None:
    bench.data.store.write_bytes(b"")
    bench.reconciler.node_is_ready()
    bench.data.store.unlink()
    with pytest.raises(DataFolderError, match="The store is gone"):
        restart().start()


def test_no_file_of_a_node_holds_a_password(bench: Bench) -> None:
    password = (bench.data.secret("default", "pump-7-mqtt") / "password").read_text()
    holders = [path for path in bench.data.root.rglob("*") if path.is_file() and password in path.read_text("latin-1")]
    assert [path.name for path in holders] == ["password"]
    assert "pump-7" in bench.policy.principals
