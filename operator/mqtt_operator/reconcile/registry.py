"""The operator's memory of the cluster: every object that concerns us as last seen, and who is to hear of changes.

Knows which object concerns which broker; does not know where news come from (`handlers` tells them), what an object
causes, or Kubernetes' API. For one event loop; nothing here waits.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any

from mqtt_api.kinds.common import DataKind
from mqtt_api.resources import MQTTBroker, MQTTClient, TopicPermission
from mqtt_operator.desired.kinds import CONFIG_MAP, MQTT_BROKER, MQTT_CLIENT, NAMESPACE, SECRET, TOPIC_PERMISSION, Kind
from mqtt_operator.desired.labels import BROKER_LABEL
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.errors import ExpectedError
from mqtt_operator.policy.attachment import hands_to
from mqtt_operator.reconcile.journal import Changes, Journal
from mqtt_operator.reconcile.keys import BrokerKey, DataKey, ObjectKey
from mqtt_operator.reconcile.listeners import Concern, Listeners, Wake
from mqtt_operator.reconcile.members import Members
from mqtt_operator.reconcile.references import references
from mqtt_operator.reconcile.scopes import EVERYWHERE, HiddenError, Scope, Scopes, UnseenError
from mqtt_operator.reconcile.seen import DataObject, R, Seen, see, see_data

__all__ = ["EVERYWHERE", "Concern", "HiddenError", "Registry", "Scope", "UnseenError"]

DATA_KINDS: Mapping[DataKind, Kind] = MappingProxyType({DataKind.SECRET: SECRET, DataKind.CONFIG_MAP: CONFIG_MAP})
_EVERY_CONCERN = Concern.BROKER | Concern.MEMBERS | Concern.DATA | Concern.CHILDREN | Concern.NAMESPACES


class Registry:
    """Read by the reconcilers, written by the handlers. Mappings that it gives out are live views: do not keep them.

    Questions raise UnseenError while nobody can know the answer.
    """

    def __init__(self) -> None:
        self._brokers: dict[BrokerKey, Seen[MQTTBroker]] = {}
        self._clients: Members[MQTTClient] = Members()
        self._permissions: Members[TopicPermission] = Members()
        self._data: dict[DataKey, DataObject] = {}
        self._users: defaultdict[DataKey, dict[tuple[str, ObjectKey], BrokerKey]] = defaultdict(dict)
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._ending: dict[str, datetime] = {}
        self._homes: Counter[str] = Counter()
        self._scopes = Scopes()
        self._listeners = Listeners()
        self._journal = Journal()
        self._observers: list[Wake] = []

    # What reconcilers ask

    @property
    def brokers(self) -> Mapping[BrokerKey, Seen[MQTTBroker]]:
        """All that are known so far, those with mistakes too. Never raises."""
        return MappingProxyType(self._brokers)

    def broker(self, key: BrokerKey) -> Seen[MQTTBroker] | None:
        """None: there is none of this name."""
        self._scopes.require(MQTT_BROKER, key.namespace)
        return self._brokers.get(key)

    def clients_of(self, key: BrokerKey) -> Mapping[ObjectKey, Seen[MQTTClient]]:
        """All that name this broker, wherever they are; whether they may is another question.

        Those that may not, in a namespace that is hidden, may be missing.
        """
        self._scopes.require_all(MQTT_CLIENT, partial(self._matters, key))
        return self._clients.of(key)

    def permissions_of(self, key: BrokerKey) -> Mapping[ObjectKey, Seen[TopicPermission]]:
        """As `clients_of`."""
        self._scopes.require_all(TOPIC_PERMISSION, partial(self._matters, key))
        return self._permissions.of(key)

    def changes(self, key: BrokerKey) -> Changes:
        """What is other than when this was asked last: for the one story that looks at nothing else. Never raises."""
        return self._journal.take(key)

    def data(self, key: DataKey) -> DataObject | None:
        """The Secret or ConfigMap; None: there is none.

        Those of a namespace are listed once a broker or client is in it, so after the first one came it takes a moment.
        """
        self._scopes.require(DATA_KINDS[key.kind], key.namespace)
        return self._data.get(key)

    def namespace_labels(self, name: str) -> Mapping[str, str] | None:
        """None: there is no such namespace. An operator that does not serve all namespaces never knows."""
        self._scopes.require(NAMESPACE, EVERYWHERE)
        return self._namespaces.get(name)

    def ending_since(self, namespace: str) -> datetime | None:
        """When its deletion was asked for, if that is known: somebody looks only where a finalizer holds a broker."""
        return self._ending.get(namespace)

    def strays(self) -> set[BrokerKey]:
        """The brokers that clients or permissions name though there are none.

        Where brokers are not watched there may be one, of another operator: those are left out, as are those hidden.
        """
        self._scopes.require_all(MQTT_BROKER, _none_matters)
        named = self._clients.brokers() | self._permissions.brokers()
        return {key for key in named - self._brokers.keys() if self._scopes.knows(MQTT_BROKER, key.namespace)}

    def listen(self, key: BrokerKey, concerns: Concern, wake: Wake) -> Callable[[], None]:
        """Call `wake` after each change that concerns this broker, until the returned function is called.

        A wake-up may come for nothing. None comes for a change of status: whoever writes it would wake itself.
        """
        return self._listeners.add(key, concerns, wake)

    # What handlers tell

    def see(self, document: Manifest) -> None:
        """This is how the object is now. Idempotent; an older state after a newer one is the caller's mistake."""
        match document["kind"]:
            case MQTT_BROKER.kind:
                self._see_broker(document)
            case MQTT_CLIENT.kind:
                self._see_member(document, self._clients)
            case TOPIC_PERMISSION.kind:
                self._see_member(document, self._permissions)
            case SECRET.kind | CONFIG_MAP.kind:
                self._see_data(see_data(document))
            case NAMESPACE.kind:
                self._see_namespace(document["metadata"]["name"], document["metadata"].get("labels", {}))
            case _:
                self._see_child(document)

    def forget(self, document: Manifest) -> None:
        """The object is gone. Its kind, and in its metadata name, namespace, uid, labels and owners are enough."""
        metadata = document["metadata"]
        match document["kind"]:
            case MQTT_BROKER.kind:
                self._forget_broker(BrokerKey(metadata["namespace"], metadata["name"]))
            case MQTT_CLIENT.kind:
                self._forget_member(ObjectKey(metadata["namespace"], metadata["name"]), self._clients)
            case TOPIC_PERMISSION.kind:
                self._forget_member(ObjectKey(metadata["namespace"], metadata["name"]), self._permissions)
            case SECRET.kind | CONFIG_MAP.kind:
                self._forget_data(DataKey(DataKind(document["kind"]), metadata["namespace"], metadata["name"]))
            case NAMESPACE.kind:
                self._namespaces.pop(metadata["name"], None)
                self._listeners.wake_all(Concern.NAMESPACES)
            case _:
                self._see_child(document)

    def see_ending(self, namespaces: Mapping[str, datetime]) -> None:
        """These namespaces are being deleted, since then, and of no other one is it known."""
        new = namespaces.keys() - self._ending.keys()
        self._ending = dict(namespaces)
        for key in [key for key in self._brokers if key.namespace in new]:
            self._listeners.wake(key, Concern.BROKER)

    def expect(self, scope: Scope) -> None:
        """Objects of this scope are about to be listed: until `complete`, nobody knows what there is."""
        self._scopes.expect(scope)

    def complete(self, scope: Scope) -> None:
        """Everything in this scope has been told. It stays so: what is known may grow old, but was true."""
        if self._scopes.complete(scope):
            self._listeners.wake_all(_EVERY_CONCERN)
            self._tell_observers()

    def fail(self, scope: Scope, problem: ExpectedError) -> None:
        """This scope cannot be listed now, for this reason. What was complete before stays as it was."""
        if self._scopes.fail(scope, problem):
            self._listeners.wake_all(_EVERY_CONCERN)
            self._tell_observers()

    def drop(self, scope: Scope) -> None:
        """Nobody tells what happens in this scope any more. What is known of it is forgotten, which is not: gone."""
        self._scopes.drop(scope)
        for key in [key for key in self._data if Scope(DATA_KINDS[key.kind], key.namespace) == scope]:
            del self._data[key]

    def unknown(self) -> str:
        """Why not everything that people declare, and that is not hidden, is known yet; "" if it is."""
        try:
            for kind in (MQTT_BROKER, MQTT_CLIENT, TOPIC_PERMISSION):
                self._scopes.require_all(kind, _none_matters)
        except UnseenError as error:
            return error.what
        return ""

    @property
    def homes(self) -> frozenset[str]:
        """The namespaces that a broker or a client is in: their Secrets and ConfigMaps are of interest."""
        return frozenset(self._homes)

    def observe(self, changed: Wake) -> None:
        """Call `changed` whenever `homes` or `strays` may be others, or a broker came, goes, or is another one."""
        self._observers.append(changed)

    def counts(self) -> Mapping[str, int]:
        """How many objects of each of the three kinds there are."""
        return {
            MQTT_BROKER.kind: len(self._brokers),
            MQTT_CLIENT.kind: len(self._clients),
            TOPIC_PERMISSION.kind: len(self._permissions),
        }

    # Brokers

    def _see_broker(self, document: Manifest) -> None:
        key = BrokerKey(document["metadata"]["namespace"], document["metadata"]["name"])
        before = self._brokers.get(key)
        now: Seen[MQTTBroker] = see(document, before)
        self._brokers[key] = now
        self._note_references(now, before)
        if before is None:
            self._enter(key.namespace)
            self._listeners.wake_all(Concern.BROKER)
            return
        if before.digest != now.digest:
            self._listeners.wake(key, Concern.BROKER)
        if (before.uid, before.deleting) != (now.uid, now.deleting):
            self._tell_observers()

    def _forget_broker(self, key: BrokerKey) -> None:
        before = self._brokers.pop(key, None)
        if before is not None:
            self._note_references(None, before)
            self._leave(key.namespace)
            self._listeners.wake_all(Concern.BROKER)

    def _matters(self, key: BrokerKey, namespace: str) -> bool:
        """Whether clients and permissions of that namespace may take part in this broker."""
        seen = self._brokers.get(key)
        if seen is None or namespace == key.namespace:
            return namespace == key.namespace
        return seen.resource is None or hands_to(seen.resource, namespace)

    # Clients and permissions

    def _see_member(self, document: Manifest, members: Members[R]) -> None:
        key = ObjectKey(document["metadata"]["namespace"], document["metadata"]["name"])
        before = members.get(key)
        now: Seen[R] = see(document, before)
        members.put(now)
        self._note_change(members, key, now.broker, None if before is None else before.broker)
        if before is None:
            self._enter_member(key, members)
        if before is None or before.digest != now.digest:
            self._note_references(now, before)
            self._wake_members(before, now)

    def _forget_member(self, key: ObjectKey, members: Members[R]) -> None:
        before = members.take(key)
        if before is not None:
            self._note_change(members, key, before.broker)
            self._note_references(None, before)
            self._leave_member(key, members)
            self._wake_members(before)

    def _enter_member(self, key: ObjectKey, members: Members[Any]) -> None:
        if members is self._clients:
            self._enter(key.namespace)
        else:  # a permission refers to no data; but it may name a broker that nobody else does
            self._tell_observers()

    def _leave_member(self, key: ObjectKey, members: Members[Any]) -> None:
        if members is self._clients:
            self._leave(key.namespace)
        else:
            self._tell_observers()

    def _note_change(self, members: Members[Any], key: ObjectKey, *brokers: BrokerKey | None) -> None:
        for broker in brokers:
            if broker is not None:
                changes = self._journal.of(broker)
                (changes.clients if members is self._clients else changes.permissions).add(key)

    def _wake_members(self, *states: Seen[R] | None) -> None:
        for broker in {state.broker for state in states if state is not None and state.broker is not None}:
            self._listeners.wake(broker, Concern.MEMBERS)

    # Secrets and ConfigMaps

    def _see_data(self, now: DataObject) -> None:
        before = self._data.get(now.key)
        self._data[now.key] = now
        if before is None or before.resource_version != now.resource_version:
            self._wake_users(now)

    def _forget_data(self, key: DataKey) -> None:
        before = self._data.pop(key, None)
        if before is not None:
            self._wake_users(before)

    def _wake_users(self, data: DataObject) -> None:
        brokers = set(self._users[data.key].values()) if data.key in self._users else set()
        label = data.labels.get(BROKER_LABEL)
        if label is not None:
            brokers.add(BrokerKey(data.key.namespace, label))
        for broker in brokers:
            self._journal.of(broker).data.add(data.key)
            self._listeners.wake(broker, Concern.DATA)

    def _note_references(self, now: Seen[Any] | None, before: Seen[Any] | None) -> None:
        if before is not None and before.resource is not None:
            for data in references(before.resource):
                users = self._users[data]
                users.pop((before.kind, before.key), None)
                if not users:
                    del self._users[data]
        if now is not None and now.resource is not None and now.broker is not None:
            for data in references(now.resource):
                self._users[data][now.kind, now.key] = now.broker

    # The rest

    def _see_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        if self._namespaces.get(name) != labels:
            self._namespaces[name] = labels
            self._listeners.wake_all(Concern.NAMESPACES)

    def _see_child(self, document: Manifest) -> None:
        metadata = document["metadata"]
        namespace, label = metadata["namespace"], metadata.get("labels", {}).get(BROKER_LABEL)
        if label is not None:
            self._listeners.wake(BrokerKey(namespace, label), Concern.CHILDREN)
        for owner in metadata.get("ownerReferences", ()):
            client = self._clients.get(ObjectKey(namespace, owner["name"]))
            if client is not None and client.uid == owner["uid"] and client.broker is not None:
                self._listeners.wake(client.broker, Concern.CHILDREN)

    def _enter(self, namespace: str) -> None:
        self._homes[namespace] += 1
        self._tell_observers()

    def _leave(self, namespace: str) -> None:
        self._homes[namespace] -= 1
        if not self._homes[namespace]:
            del self._homes[namespace]
        self._tell_observers()

    def _tell_observers(self) -> None:
        for changed in self._observers:
            changed()


def _none_matters(_namespace: str) -> bool:
    return False
