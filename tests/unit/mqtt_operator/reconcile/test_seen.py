"""One object as last seen: read once for each change that means something, and kept small."""

import pytest

from mqtt_api.kinds.common import DataKind
from mqtt_api.resources import MQTTBroker, MQTTClient
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.reconcile import seen as module
from mqtt_operator.reconcile.keys import BrokerKey, DataKey, ObjectKey
from mqtt_operator.reconcile.references import parts_of
from mqtt_operator.reconcile.seen import Seen, see, see_data
from unit.mqtt_operator.reconcile.documents import broker, client, permission, secret


def seen_client(document: Manifest, before: Seen[MQTTClient] | None = None) -> Seen[MQTTClient]:
    return see(document, before)


def see_broker(document: Manifest) -> Seen[MQTTBroker]:
    return see(document, None)


def test_an_object_is_read_into_its_resource_and_what_is_needed_around_it() -> None:
    client_seen = seen_client(client(status={"username": "pump-7"}))
    assert client_seen.key == ObjectKey("mqtt", "pump-7")
    assert client_seen.broker == BrokerKey("mqtt", "plant")
    assert client_seen.resource is not None
    assert client_seen.resource.username == "pump-7"
    assert client_seen.resource.metadata.uid == "uid-pump-7"
    assert client_seen.status == {"username": "pump-7"}
    assert client_seen.about == {
        "apiVersion": "mqtt.stoa.dev/v1alpha1",
        "kind": "MQTTClient",
        "metadata": {"namespace": "mqtt", "name": "pump-7", "uid": "uid-pump-7"},
    }


def test_whether_our_finalizer_holds_it_is_seen() -> None:
    assert not see_broker(broker()).has_finalizer
    assert not see_broker(broker(metadata__finalizers=["foregroundDeletion"])).has_finalizer
    assert see_broker(broker(metadata__finalizers=["foregroundDeletion", "mqtt.stoa.dev/finalizer"])).has_finalizer


@pytest.mark.parametrize(
    "changes",
    [
        {"status": {"username": "other"}},
        {"metadata__resourceVersion": "2"},
        {"metadata__managedFields": []},
        {"metadata__annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        {"metadata__annotations": {"mqtt.stoa.dev/touch-dummy": "now"}},
        {"metadata__finalizers": ["mqtt.stoa.dev/finalizer"]},
    ],
    ids=str,
)
def test_bookkeeping_leaves_the_very_same_resource(changes: Manifest) -> None:
    before = seen_client(client())
    now = seen_client(client(**changes), before)
    assert now is not before
    assert now.digest == before.digest
    assert now.resource is before.resource


@pytest.mark.parametrize(
    "changes",
    [
        {"spec__suspended": True, "metadata__generation": 2},
        {"metadata__labels": {"line": "3"}},
        {"metadata__annotations": {"mqtt.stoa.dev/rotate": "now"}},
        {"metadata__uid": "another"},
        {"metadata__deletionTimestamp": "2026-01-31T12:00:00Z"},
    ],
    ids=str,
)
def test_what_means_something_gives_another_resource(changes: Manifest) -> None:
    before = seen_client(client())
    now = seen_client(client(**changes), before)
    assert now.digest != before.digest
    assert now.resource is not before.resource


def test_an_object_with_mistakes_keeps_them_and_still_names_its_broker() -> None:
    client_seen = seen_client(client(spec__username="a\nb", spec__brokerRef={"name": "plant", "namespace": "other"}))
    assert client_seen.resource is None
    assert [mistake.field for mistake in client_seen.mistakes] == ["spec.username"]
    assert client_seen.broker == BrokerKey("other", "plant")


@pytest.mark.parametrize("spec", [None, "text", {}, {"brokerRef": None}, {"brokerRef": {"name": 7}}], ids=str)
def test_an_object_so_wrong_that_it_names_no_broker_is_kept_too(spec: object) -> None:
    client_seen = seen_client(client(spec=spec))
    assert (client_seen.broker, client_seen.resource) == (None, None)
    assert client_seen.mistakes


def test_mistakes_are_not_read_again_either(monkeypatch: pytest.MonkeyPatch) -> None:
    before = seen_client(client(spec__username="a\nb"))
    monkeypatch.setattr(module, "parse_document", None)
    assert seen_client(client(spec__username="a\nb"), before).mistakes is before.mistakes


def test_an_object_that_breaks_the_reader_is_one_with_a_mistake_and_a_bug_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(document: object) -> None:
        raise RecursionError

    monkeypatch.setattr(module, "parse_document", broken)
    client_seen = seen_client(client())
    assert [mistake.message for mistake in client_seen.mistakes] == ["cannot be read by this operator"]
    assert "this is a bug" in caplog.text


def test_a_broker_is_its_own() -> None:
    document = broker()
    assert see(document, None).broker == BrokerKey("mqtt", "plant")


def test_all_that_were_written_alike_share_the_notes_of_which_fields_were_written() -> None:
    """Ten thousand clients are held at a time; those notes alone would take a third of their memory."""
    one, other = seen_client(client("a")).resource, seen_client(client("b")).resource
    assert one is not None
    assert other is not None
    for part, same in zip(parts_of(one), parts_of(other), strict=True):
        assert part.model_fields_set is same.model_fields_set
    assert one.given("spec")
    assert not one.given("status")


def test_a_status_that_is_given_out_is_a_copy() -> None:
    client_seen = seen_client(client(status={"conditions": []}))
    client_seen.status["conditions"].append("x")
    assert client_seen.status == {"conditions": []}


@pytest.mark.parametrize(("kind", "data_kind"), [("Secret", DataKind.SECRET), ("ConfigMap", DataKind.CONFIG_MAP)])
def test_the_entries_of_secrets_and_config_maps_are_bytes(kind: str, data_kind: DataKind) -> None:
    document = secret(kind=kind, password="opensesame")
    document["metadata"] |= {
        "labels": {"a": "b"},
        "annotations": {"mqtt.stoa.dev/x": "1", "kubectl.kubernetes.io/last-applied-configuration": "opensesame"},
        "ownerReferences": [{"uid": "1", "name": "plant"}],
    }
    data = see_data(document)
    assert data.key == DataKey(data_kind, "mqtt", "pump-7")
    assert data.data == {"password": b"opensesame"}
    assert (data.labels, data.annotations, data.owners) == ({"a": "b"}, {"mqtt.stoa.dev/x": "1"}, frozenset({"1"}))


def test_binary_entries_of_config_maps_are_read_and_one_with_no_entries_too() -> None:
    document = secret(kind="ConfigMap", a="text")
    document["binaryData"] = {"b": "AAE="}
    assert see_data(document).data == {"a": b"text", "b": b"\0\1"}
    assert see_data({**secret(), "data": None}).data == {}


def test_no_representation_shows_what_a_secret_holds() -> None:
    assert "opensesame" not in repr(see_data(secret(password="opensesame")))
    assert "password" in repr(see_data(secret(password="opensesame")))


def test_permissions_are_read_too() -> None:
    permission_seen = see(permission(), None)
    assert permission_seen.broker == BrokerKey("mqtt", "plant")
    assert permission_seen.mistakes == ()
