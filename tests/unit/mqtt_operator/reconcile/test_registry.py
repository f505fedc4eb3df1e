"""The operator's memory: which object concerns which broker, and who hears of it."""

from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from mqtt_api.kinds.common import DataKind
from mqtt_operator.desired import kinds
from mqtt_operator.desired.labels import BROKER_LABEL
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.errors import ExpectedError
from mqtt_operator.kube.port import Call, ForbiddenError
from mqtt_operator.reconcile.keys import BrokerKey, DataKey, ObjectKey
from mqtt_operator.reconcile.registry import EVERYWHERE, Concern, HiddenError, Registry, Scope, UnseenError
from unit.mqtt_operator.reconcile.documents import broker, client, permission, secret

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
PLANT = BrokerKey("mqtt", "plant")
OTHER = BrokerKey("mqtt", "other")
PUMP = ObjectKey("mqtt", "pump-7")
PASSWORD = {"passwords": [{"secretRef": {"name": "pump-7", "key": "password"}}]}
EVERYTHING = Concern.BROKER | Concern.MEMBERS | Concern.DATA | Concern.CHILDREN | Concern.NAMESPACES
DECLARED = (kinds.MQTT_BROKER, kinds.MQTT_CLIENT, kinds.TOPIC_PERMISSION)
DATA = (kinds.SECRET, kinds.CONFIG_MAP)
TEAM_LABELS = {"kubernetes.io/metadata.name": "team"}
HANDED = {
    "namespaces": {"names": ["team"]},
    "topics": ["team/#"],
    "clientIDPrefix": "team.",
    "usernamePrefix": "team.",
}


def registry(*documents: Manifest, namespaces: Iterable[str] = ("mqtt",)) -> Registry:
    """One that has listed everything, and this is what was there."""
    made = Registry()
    scopes = [Scope(kind, namespace) for kind in (*DECLARED, *DATA) for namespace in namespaces]
    for scope in scopes:
        made.expect(scope)
    for document in documents:
        made.see(document)
    for scope in scopes:
        made.complete(scope)
    return made


class Ear:
    """Counts wake-ups since it was asked last."""

    def __init__(self, about: Registry, key: BrokerKey = PLANT, concerns: Concern = EVERYTHING) -> None:
        self._count = 0
        self.stop = about.listen(key, concerns, self._wake)

    def _wake(self) -> None:
        self._count += 1

    def heard(self) -> int:
        count, self._count = self._count, 0
        return count


def test_objects_are_found_by_the_broker_that_they_name() -> None:
    here = registry(broker(), client(), client("pump-8", spec__brokerRef={"name": "other"}), permission())
    assert [*here.brokers] == [PLANT]
    assert [*here.clients_of(PLANT)] == [PUMP]
    assert [*here.clients_of(OTHER)] == [ObjectKey("mqtt", "pump-8")]
    assert [*here.permissions_of(PLANT)] == [ObjectKey("mqtt", "pumps")]
    assert here.counts() == {"MQTTBroker": 1, "MQTTClient": 2, "TopicPermission": 1}


def test_a_client_of_another_namespace_is_found_by_its_broker() -> None:
    foreign = client(metadata__namespace="team", spec__brokerRef={"name": "plant", "namespace": "mqtt"})
    assert [*registry(foreign, namespaces=("mqtt", "team")).clients_of(PLANT)] == [ObjectKey("team", "pump-7")]


def test_what_is_gone_is_found_no_more() -> None:
    here = registry(broker(), client(), permission(), secret())
    for document in (broker(), client(), permission(), secret()):
        here.forget(document)
        here.forget(document)
    assert (here.broker(PLANT), {**here.clients_of(PLANT)}, {**here.permissions_of(PLANT)}) == (None, {}, {})
    assert here.data(DataKey(DataKind.SECRET, "mqtt", "pump-7")) is None
    assert here.homes == frozenset()


def test_until_everything_is_listed_every_question_is_open() -> None:
    here = Registry()
    here.expect(Scope(kinds.MQTT_BROKER, "mqtt"))
    here.expect(Scope(kinds.MQTT_CLIENT, "mqtt"))
    here.expect(Scope(kinds.TOPIC_PERMISSION, "mqtt"))
    here.expect(Scope(kinds.SECRET, "mqtt"))
    here.see(broker())
    here.see(client())
    questions = [
        lambda: here.broker(PLANT),
        lambda: here.clients_of(PLANT),
        lambda: here.permissions_of(PLANT),
        lambda: here.data(DataKey(DataKind.SECRET, "mqtt", "pump-7")),
        lambda: here.namespace_labels("mqtt"),
        here.strays,
    ]
    for question in questions:
        with pytest.raises(UnseenError):
            question()
    assert here.unknown()
    assert [*here.brokers] == [PLANT]  # what is known so far


def test_why_something_cannot_be_known_is_told() -> None:
    here = Registry()
    here.expect(Scope(kinds.SECRET, "mqtt"))
    here.fail(Scope(kinds.SECRET, "mqtt"), ExpectedError("The operator may not list secrets."))
    with pytest.raises(UnseenError, match="The operator may not list secrets"):
        here.data(DataKey(DataKind.SECRET, "mqtt", "pump-7"))


def test_when_everything_declared_is_known_nothing_is_unknown() -> None:
    assert registry().unknown() == ""


def test_being_complete_wakes_everybody_once() -> None:
    here = registry()
    here.expect(Scope(kinds.SECRET, "team"))
    ear = Ear(here, concerns=Concern.DATA)
    here.complete(Scope(kinds.SECRET, "team"))
    here.complete(Scope(kinds.SECRET, "team"))
    assert ear.heard() == 1


def test_data_that_is_no_longer_followed_is_unknown_and_not_gone() -> None:
    here = registry(client(), secret())
    here.drop(Scope(kinds.SECRET, "mqtt"))
    with pytest.raises(UnseenError):
        here.data(DataKey(DataKind.SECRET, "mqtt", "pump-7"))
    here.expect(Scope(kinds.SECRET, "mqtt"))
    here.complete(Scope(kinds.SECRET, "mqtt"))
    assert here.data(DataKey(DataKind.SECRET, "mqtt", "pump-7")) is None


def test_a_change_of_a_broker_wakes_it_and_no_other() -> None:
    here = registry(broker(), broker("other"))
    ear, other = Ear(here), Ear(here, OTHER)
    here.see(broker(metadata__generation=2, spec__replicas=1, spec__drain={"connectionsPerSecond": 5}))
    assert (ear.heard(), other.heard()) == (1, 0)


def test_a_broker_that_comes_or_goes_concerns_all_of_them() -> None:
    """Two of them may not share a store."""
    here = registry(broker())
    ear = Ear(here, concerns=Concern.BROKER)
    here.see(broker("other"))
    assert ear.heard() == 1
    here.forget(broker("other"))
    assert ear.heard() == 1


def test_a_status_wakes_nobody_and_is_known_nevertheless() -> None:
    here = registry(broker(), client())
    ear = Ear(here)
    here.see(broker(status={"readyReplicas": 1}, metadata__resourceVersion="2"))
    here.see(client(status={"username": "x"}, metadata__resourceVersion="2"))
    assert ear.heard() == 0
    assert here.clients_of(PLANT)[PUMP].status == {"username": "x"}


def test_members_wake_the_broker_that_they_name_and_the_one_they_named_before() -> None:
    here = registry(broker())
    ear, other = Ear(here), Ear(here, OTHER)
    here.see(client())
    assert (ear.heard(), other.heard()) == (1, 0)
    here.see(client(spec__brokerRef={"name": "other"}))  # by deletion and creation between two looks
    assert (ear.heard(), other.heard()) == (1, 1)
    here.forget(permission())
    here.see(permission())
    here.forget(permission())
    assert ear.heard() == 2


def test_only_what_concerns_somebody_wakes_them() -> None:
    here = registry(broker())
    ear = Ear(here, concerns=Concern.CHILDREN)
    here.see(client())
    assert ear.heard() == 0


def test_a_secret_wakes_the_brokers_of_those_who_name_it() -> None:
    here = registry(broker(), client(spec__credentials=PASSWORD))
    ear = Ear(here)
    here.see(secret())
    here.see(secret())  # told again with nothing new
    here.see(secret("unnamed"))
    assert ear.heard() == 1
    here.see(secret(version="2"))
    here.forget(secret())
    assert ear.heard() == 2


def test_a_secret_that_is_named_no_longer_wakes_nobody() -> None:
    here = registry(broker(), client(spec__credentials=PASSWORD))
    here.see(client(metadata__generation=2))
    ear = Ear(here)
    here.see(secret())
    assert ear.heard() == 0
    here.see(client(spec__credentials=PASSWORD))
    here.forget(client())
    ear.heard()
    here.see(secret(version="2"))
    assert ear.heard() == 0


def test_what_is_labelled_as_a_part_of_a_broker_wakes_it() -> None:
    here = registry(broker())
    ear = Ear(here)
    labels = {"labels": {BROKER_LABEL: "plant"}}
    for kind in ("Secret", "ConfigMap"):
        document = secret(kind=kind)
        document["metadata"] |= labels
        here.see(document)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "plant-0", "namespace": "mqtt", "uid": "1", **labels},
    }
    here.see(pod)
    here.forget(pod)
    assert ear.heard() == 4


def test_what_a_client_owns_wakes_its_broker() -> None:
    here = registry(broker(), client())
    ear = Ear(here)
    metadata: Manifest = {"name": "pump-7", "namespace": "mqtt", "uid": "1"}
    owner = {"name": "pump-7", "uid": "uid-pump-7"}
    here.see({"kind": "Certificate", "metadata": {**metadata, "ownerReferences": [owner]}})
    assert ear.heard() == 1
    here.see({"kind": "Certificate", "metadata": {**metadata, "ownerReferences": [{**owner, "uid": "a former one"}]}})
    assert ear.heard() == 0


def test_labels_of_namespaces_are_told_when_they_change() -> None:
    here = registry(broker())
    here.expect(Scope(kinds.NAMESPACE, EVERYWHERE))
    here.complete(Scope(kinds.NAMESPACE, EVERYWHERE))
    ear = Ear(here, concerns=Concern.NAMESPACES)
    document: Manifest = {"kind": "Namespace", "metadata": {"name": "team", "labels": {"team": "a"}}}
    here.see(document)
    here.see(document)
    assert (ear.heard(), here.namespace_labels("team")) == (1, {"team": "a"})
    here.forget(document)
    assert (ear.heard(), here.namespace_labels("team")) == (1, None)


def test_who_stops_listening_hears_nothing() -> None:
    here = registry(broker())
    ear, other = Ear(here), Ear(here)
    ear.stop()
    ear.stop()
    here.see(client())
    assert (ear.heard(), other.heard()) == (0, 1)


def test_the_homes_are_where_brokers_and_clients_are() -> None:
    """A permission names no Secret: its namespace is nobody's business."""
    here = registry(namespaces=("mqtt", "team", "third"))
    changes = []
    here.observe(lambda: changes.append(here.homes))
    here.see(client(metadata__namespace="team"))
    here.see(client("pump-8", metadata__namespace="team"))
    here.see(permission(metadata__namespace="third"))
    here.see(broker())
    assert here.homes == {"mqtt", "team"}
    here.forget(client(metadata__namespace="team"))
    here.forget(permission(metadata__namespace="third"))
    assert here.homes == {"mqtt", "team"}
    here.forget(client("pump-8", metadata__namespace="team"))
    assert here.homes == {"mqtt"}
    assert changes[-1] == {"mqtt"}


@pytest.mark.parametrize(
    "changes", [{"metadata__uid": "another"}, {"metadata__deletionTimestamp": "2026-01-31T12:00Z"}]
)
def test_whoever_keeps_stories_going_hears_of_another_broker_and_of_one_that_is_about_to_go(changes: Manifest) -> None:
    found = registry(broker())
    told: list[None] = []
    found.observe(lambda: told.append(None))
    found.see(broker(metadata__labels={"a": "b"}))
    assert told == []
    found.see(broker(**changes))
    assert told == [None]


def test_a_namespace_that_is_being_deleted_concerns_the_brokers_in_it_once() -> None:
    found = registry(broker(), broker(metadata__namespace="team"), namespaces=("mqtt", "team"))
    here, there = Ear(found, concerns=Concern.BROKER), Ear(found, BrokerKey("team", "plant"), Concern.BROKER)
    assert found.ending_since("mqtt") is None
    found.see_ending({"mqtt": NOW})
    found.see_ending({"mqtt": NOW})
    assert (here.heard(), there.heard()) == (1, 0)
    assert found.ending_since("mqtt") == NOW
    assert found.ending_since("team") is None
    found.see_ending({})
    assert found.ending_since("mqtt") is None


def test_strays_are_brokers_that_are_named_and_not_there() -> None:
    here = registry(broker(), client(), client("pump-8", spec__brokerRef={"name": "other"}))
    assert here.strays() == {OTHER}
    here.see(broker("other"))
    assert here.strays() == set()
    here.forget(broker())
    assert here.strays() == {PLANT}


def test_a_broker_in_a_namespace_that_is_not_watched_is_no_stray() -> None:
    """Another operator may serve it."""
    here = registry(client(spec__brokerRef={"name": "plant", "namespace": "elsewhere"}))
    assert here.strays() == set()


def hidden(*documents: Manifest) -> Registry:
    """One that has listed everything in mqtt, and may not look into team."""
    made = registry(*documents)
    for kind in DECLARED:
        made.expect(Scope(kind, "team"))
        made.fail(Scope(kind, "team"), ForbiddenError(Call("list", "mqtt.stoa.dev", kind.plural), "team"))
    return made


def test_a_hidden_namespace_keeps_nothing_from_brokers_that_hand_nothing_to_it() -> None:
    here = hidden(broker(), client(), permission())
    assert here.unknown() == ""
    assert [*here.clients_of(PLANT)] == [PUMP]
    assert len(here.permissions_of(PLANT)) == 1
    with pytest.raises(HiddenError):
        here.clients_of(BrokerKey("team", "plant"))


@pytest.mark.parametrize("namespaces", [{"names": ["team"]}, {"selector": {"matchLabels": TEAM_LABELS}}])
def test_of_a_broker_that_hands_something_to_a_hidden_namespace_nobody_knows_all_clients(
    namespaces: dict[str, object],
) -> None:
    here = hidden(broker(spec__attachments=[{**HANDED, "namespaces": namespaces}]), client())
    with pytest.raises(HiddenError, match="mqttclients of namespace team: The operator may not list"):
        here.clients_of(PLANT)
    with pytest.raises(HiddenError):
        here.permissions_of(PLANT)


def test_of_a_broker_that_cannot_be_read_nobody_knows_whom_it_admits() -> None:
    with pytest.raises(HiddenError):
        hidden(broker(spec__listeners=[])).clients_of(PLANT)


def test_a_broker_in_a_hidden_namespace_is_no_stray() -> None:
    foreign = {"name": "plant", "namespace": "team"}
    here = hidden(client(spec__brokerRef=foreign), client("pump-8", spec__brokerRef={"name": "other"}))
    assert here.strays() == {OTHER}


def test_what_was_seen_before_a_namespace_was_hidden_is_still_known() -> None:
    foreign = client(metadata__namespace="team", spec__brokerRef={"name": "plant", "namespace": "mqtt"})
    here = registry(broker(spec__attachments=[HANDED]), foreign, namespaces=("mqtt", "team"))
    for kind in DECLARED:
        here.fail(Scope(kind, "team"), ForbiddenError(Call("list", "mqtt.stoa.dev", kind.plural), "team"))
    assert [*here.clients_of(PLANT)] == [ObjectKey("team", "pump-7")]
    assert here.broker(BrokerKey("team", "plant")) is None


def test_that_a_namespace_is_hidden_is_heard_of_once() -> None:
    here = registry(broker())
    here.expect(Scope(kinds.MQTT_CLIENT, "team"))
    ear = Ear(here)
    for _ in range(2):
        here.fail(Scope(kinds.MQTT_CLIENT, "team"), ForbiddenError(Call("list", "", "mqttclients"), "team"))
    assert ear.heard() == 1


def test_an_object_with_mistakes_counts_and_concerns_its_broker() -> None:
    here = registry(broker())
    ear = Ear(here)
    here.see(client(spec__username="a\nb"))
    assert ear.heard() == 1
    assert here.clients_of(PLANT)[PUMP].resource is None
