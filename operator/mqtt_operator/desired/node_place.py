"""Where a node finds everything in its pod: the settings that all nodes of a broker share.

Knows paths, and how the store is reached; does not know volumes, or what a node does with its settings.
"""

import msgspec

from mqtt_api.kinds.mqttbroker import Listener, ListenerTLS
from mqtt_api.kinds.session_store import STORAGE_DEFAULT, RedisStore
from mqtt_api.node_settings import HTTPSettings, NodeSettings, RedisTLSSettings
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.entrance import best_listener
from mqtt_operator.desired.grace import drain_grace_s
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.node_settings import NodePlace, TLSFiles, build_node_settings
from mqtt_operator.desired.redis_settings import LogIn, RedisPlace, build_redis_settings
from mqtt_operator.desired.redis_users import NODE_USER

STORE_PERCENT_MAX = 75
"""How much of its volume an embedded store fills; SQLite's log of what is under way needs the rest."""


def shared_settings(broker: MQTTBroker, inputs: Inputs) -> NodeSettings:
    """The settings of every node; the program puts its name where the placeholder stands."""
    redis = store_place(broker, inputs)
    is_embedded = redis is None
    place = NodePlace(
        node=names.NODE_PLACEHOLDER,
        world=inputs.world,
        store=f"sqlite:{names.STORE_FILE}" if redis is None else build_redis_settings(broker, redis, redis.node),
        policy_file=names.POLICY_FILE if is_embedded else "",
        admin_socket=names.ADMIN_SOCKET,
        host=inputs.host,
        http=HTTPSettings(host=inputs.host, port=names.HTTP_PORT),
        tls={each.name: _files(each, each.tls) for each in broker.spec.listeners if each.tls is not None},
        grace_s=drain_grace_s(broker),
        server_reference="" if is_embedded else _reference(broker),
    )
    settings = build_node_settings(broker, place)
    return msgspec.structs.replace(settings, store_bytes_max=_embedded_bytes_max(broker)) if is_embedded else settings


def _embedded_bytes_max(broker: MQTTBroker) -> int:
    embedded = broker.spec.session_store.embedded
    assert embedded is not None
    return (embedded.storage or STORAGE_DEFAULT).bytes * STORE_PERCENT_MAX // 100


def store_place(broker: MQTTBroker, inputs: Inputs) -> RedisPlace | None:
    """Where the nodes find the Redis that they share, and the files to log in with; None = each has a store itself."""
    store = broker.spec.session_store
    if store.embedded is not None:
        return None
    return _managed(broker) if store.redis is None else _own(store.redis, inputs)


def managed_address(broker: MQTTBroker) -> str:
    """host:port of the managed store, within the cluster."""
    host = names.service_dns_name(names.store(broker.metadata.name), broker.metadata.namespace)
    return f"{host}:{names.REDIS_PORT}"


def _managed(broker: MQTTBroker) -> RedisPlace:
    return RedisPlace(
        addresses=(managed_address(broker),),
        node=LogIn(username=NODE_USER, password_file=_password_file(names.STORE_FOLDER)),
        tls=RedisTLSSettings(ca_files=(names.store_ca_file(0),)),
    )


def _own(redis: RedisStore, inputs: Inputs) -> RedisPlace:
    node = LogIn(username=inputs.users.node, password_file=_password_file(names.STORE_FOLDER))
    sentinel = LogIn(username=inputs.users.sentinel, password_file=_password_file(names.SENTINEL_FOLDER))
    return RedisPlace(
        addresses=redis.addresses,
        master_name=redis.master_name,
        node=LogIn() if redis.credentials_ref is None else node,
        sentinel=LogIn() if redis.sentinel_credentials_ref is None else sentinel,
        tls=None if redis.tls is None else RedisTLSSettings(ca_files=_ca_files(redis)),
    )


def _ca_files(redis: RedisStore) -> tuple[str, ...]:
    refs = () if redis.tls is None else redis.tls.ca_refs or ()
    return tuple(names.store_ca_file(number) for number, _ in enumerate(refs))


def _password_file(folder: str) -> str:
    return f"{folder}/{names.PASSWORD_KEY}"


def _files(listener: Listener, tls: ListenerTLS) -> TLSFiles:
    folder = names.tls_folder(listener.name)
    return TLSFiles(
        certificate=f"{folder}/{names.CERTIFICATE_KEY}",
        key=f"{folder}/{names.PRIVATE_KEY_KEY}",
        client_cas=() if tls.client_ca_refs is None else (names.client_cas_file(listener.name),),
        crls=() if tls.crl is None else (f"{names.crl_folder(listener.name)}/{names.CRL_KEY}",),
    )


def _reference(broker: MQTTBroker) -> str:
    """Where clients that other nodes send away find this one (MQTT 5.0, 4.11)."""
    name, namespace = broker.metadata.name, broker.metadata.namespace
    host = names.pod_dns_name(name, namespace, names.NODE_PLACEHOLDER)
    return f"{host}:{best_listener(broker.spec.listeners).port}"
