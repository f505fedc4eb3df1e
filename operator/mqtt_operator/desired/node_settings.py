"""From an MQTTBroker to the settings of one of its nodes: quantities and durations to base units, references to paths.

Knows both shapes; does not know where the paths come from or who reads the result. Pure.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from mqtt_api.kinds.mqttbroker import (
    MQTT,
    Authentication,
    ConnectionRate,
    Drain,
    Listener,
    ListenerTLS,
    ProxyProtocol,
    Rebalance,
    WebSocket,
)
from mqtt_api.node_settings import (
    AuthenticationSettings,
    ConnectionRateSettings,
    DrainSettings,
    HTTPSettings,
    ListenerSettings,
    MQTTSettings,
    NodeSettings,
    ProxyProtocolSettings,
    QueueSettings,
    RebalanceSettings,
    RedisSettings,
    TLSSettings,
    WebSocketSettings,
)
from mqtt_api.resources import MQTTBroker


class TLSFiles(Struct, frozen=True, kw_only=True):
    """Where the TLS material of one listener lies: absolute paths of PEM files."""

    certificate: str
    key: str
    client_cas: tuple[str, ...] = ()
    crls: tuple[str, ...] = ()


class NodePlace(Struct, frozen=True, kw_only=True):
    """What a node is told that no MQTTBroker says: its name, its files, the store's identity, the address to bind.

    `tls` holds an entry for each listener that has TLS. `port_offset` is added to every declared port: nodes that share
    an address need ports of their own. `server_reference`: where clients find it that
    other nodes send away. `http`: where probes and metrics are answered over TCP. `grace_s`: whoever started the node
    ends it by force so long after it was asked to leave.
    """

    node: str
    world: str
    store: str | RedisSettings
    policy_file: str
    admin_socket: str
    host: str
    tls: Mapping[str, TLSFiles]
    port_offset: int = 0
    server_reference: str = ""
    http: HTTPSettings | None = None
    grace_s: int = DrainSettings().grace_s


def build_node_settings(broker: MQTTBroker, place: NodePlace) -> NodeSettings:
    """The settings of the node at this place."""
    spec = broker.spec
    embedded = spec.session_store.embedded
    storage = None if embedded is None or isinstance(place.store, RedisSettings) else embedded.storage
    return NodeSettings(
        node=place.node,
        broker=broker.reference,
        world=place.world,
        store=place.store,
        store_bytes_max=None if storage is None else storage.bytes,
        policy_file=place.policy_file,
        admin_socket=place.admin_socket,
        http=place.http,
        listeners=tuple(_listener(listener, place) for listener in spec.listeners),
        authentication=_chain(spec.authentication or ()),
        on_revoke=spec.authorization.on_revoke.value,
        drain=_drain(spec.drain, place.grace_s),
        rebalance=_rebalance(spec.rebalance),
        server_reference=place.server_reference,
        mqtt=_mqtt(spec.mqtt),
    )


def _listener(listener: Listener, place: NodePlace) -> ListenerSettings:
    return ListenerSettings(
        name=listener.name,
        host=place.host,
        port=listener.port + place.port_offset,
        protocol=listener.protocol.value,
        web_socket=_web_socket(listener.web_socket),
        proxy_protocol=None if listener.proxy_protocol is None else _proxy_protocol(listener.proxy_protocol),
        tls=None if listener.tls is None else _tls(listener.tls, place.tls[listener.name]),
        authentication=None if listener.authentication is None else _chain(listener.authentication),
        max_connections=listener.max_connections_per_node,
        connection_rate=None if listener.connection_rate is None else _connection_rate(listener.connection_rate),
    )


def _connection_rate(rate: ConnectionRate) -> ConnectionRateSettings:
    return ConnectionRateSettings(per_s=rate.per_second, burst=rate.burst or rate.per_second)


def _web_socket(web_socket: WebSocket) -> WebSocketSettings:
    return WebSocketSettings(path=web_socket.path, allowed_origins=web_socket.allowed_origins)


def _proxy_protocol(proxy_protocol: ProxyProtocol) -> ProxyProtocolSettings:
    return ProxyProtocolSettings(trusted_cidrs=proxy_protocol.trusted_cidrs)


def _tls(tls: ListenerTLS, files: TLSFiles) -> TLSSettings:
    return TLSSettings(
        certificate_file=files.certificate,
        key_file=files.key,
        min_version=tls.min_version.value,
        client_auth=tls.client_auth.value,
        client_ca_files=files.client_cas,
        crl_files=files.crls,
    )


def _chain(entries: Iterable[Authentication]) -> tuple[AuthenticationSettings, ...]:
    return tuple(
        AuthenticationSettings(
            name=entry.name,
            type=entry.type.value,
            username_from=entry.username_from.value,
            principals=entry.principals.value,
            client_ids=entry.client_ids,
            mechanisms=tuple(mechanism.value for mechanism in entry.mechanisms),
        )
        for entry in entries
    )


def _drain(drain: Drain, grace_s: int) -> DrainSettings:
    return DrainSettings(
        connections_per_s=drain.connections_per_second,
        will_grace_s=drain.will_grace.seconds,
        grace_s=grace_s,
        server_reference=drain.server_reference,
    )


def _rebalance(rebalance: Rebalance) -> RebalanceSettings:
    return RebalanceSettings(
        connections_per_s=rebalance.connections_per_second, tolerance_percent=rebalance.tolerance_percent
    )


def _mqtt(mqtt: MQTT) -> MQTTSettings:
    return MQTTSettings(
        packet_bytes_max=mqtt.max_packet_size.bytes,
        session_expiry_s_max=mqtt.max_session_expiry.seconds,
        message_expiry_s_max=mqtt.max_message_expiry.seconds,
        keep_alive_s_max=mqtt.max_keep_alive.seconds,
        receive_maximum=mqtt.receive_maximum,
        topic_alias_maximum=mqtt.topic_alias_maximum,
        maximum_qos=mqtt.maximum_qos,
        retain_available=mqtt.retain_available,
        wildcard_subscription_available=mqtt.wildcard_subscription_available,
        shared_subscription_available=mqtt.shared_subscription_available,
        validate_payload_format=mqtt.validate_payload_format,
        topic_levels_max=mqtt.max_topic_levels,
        subscriptions_per_client_max=mqtt.max_subscriptions_per_client,
        sys_interval_s=mqtt.sys_interval.seconds,
        queue=QueueSettings(
            messages_max=mqtt.queue.max_messages,
            bytes_max=mqtt.queue.max_bytes.bytes,
            overflow=mqtt.queue.overflow.value,
        ),
    )
