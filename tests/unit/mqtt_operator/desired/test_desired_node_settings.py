"""Each field of an MQTTBroker arrives in a node's settings, in base units."""

from typing import Any

import msgspec
import pytest

from mqtt_api.node_settings import (
    AuthenticationSettings,
    DrainSettings,
    HTTPSettings,
    MQTTSettings,
    NodeSettings,
    ProxyProtocolSettings,
    QueueSettings,
    RebalanceSettings,
    RedisSettings,
    TLSSettings,
    WebSocketSettings,
)
from mqtt_api.resources import MQTTBroker, parse_document
from mqtt_operator.desired.node_settings import NodePlace, TLSFiles, build_node_settings

FILES = TLSFiles(certificate="/t/crt", key="/t/key", client_cas=("/t/ca",), crls=("/t/crl",))
PLACE = NodePlace(
    node="plant-0",
    world="w",
    store="sqlite:/d/s",
    policy_file="/d/p",
    admin_socket="/d/a",
    host="127.0.0.1",
    tls={"mqtts": FILES},
)


def settings_of(document: dict[str, Any]) -> NodeSettings:
    broker = parse_document(document)
    assert isinstance(broker, MQTTBroker)
    return build_node_settings(broker, PLACE)


def test_defaults_of_the_resource_are_the_defaults_of_the_node(broker: Any) -> None:
    settings = settings_of(broker())
    assert settings.mqtt == MQTTSettings()
    assert settings.on_revoke == "Mute"
    assert settings.broker == "default/plant"
    assert (settings.node, settings.world, settings.store) == ("plant-0", "w", "sqlite:/d/s")
    assert (settings.policy_file, settings.admin_socket) == ("/d/p", "/d/a")
    (listener,) = settings.listeners
    assert (listener.name, listener.host, listener.port, listener.max_connections) == (
        "mqtts",
        "127.0.0.1",
        8883,
        20_000,
    )
    assert listener.authentication is None
    assert settings.authentication == (AuthenticationSettings(name="passwords", type="Password"),)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("maxPacketSize", "2Mi", {"packet_bytes_max": 2 * 1024 * 1024}),
        ("maxSessionExpiry", "1h30m", {"session_expiry_s_max": 5_400}),
        ("maxMessageExpiry", "90s", {"message_expiry_s_max": 90}),
        ("maxKeepAlive", "1m", {"keep_alive_s_max": 60}),
        ("receiveMaximum", 7, {"receive_maximum": 7}),
        ("topicAliasMaximum", 0, {"topic_alias_maximum": 0}),
        ("maximumQoS", 1, {"maximum_qos": 1}),
        ("retainAvailable", False, {"retain_available": False}),
        ("wildcardSubscriptionAvailable", False, {"wildcard_subscription_available": False}),
        ("sharedSubscriptionAvailable", False, {"shared_subscription_available": False}),
        ("validatePayloadFormat", True, {"validate_payload_format": True}),
        ("maxTopicLevels", 8, {"topic_levels_max": 8}),
        ("maxSubscriptionsPerClient", 9, {"subscriptions_per_client_max": 9}),
        ("sysInterval", "1m", {"sys_interval_s": 60}),
        (
            "queue",
            {"maxMessages": 3, "maxBytes": "1Mi", "overflow": "Reject"},
            {"queue": QueueSettings(messages_max=3, bytes_max=1024 * 1024, overflow="Reject")},
        ),
    ],
)
def test_a_limit_of_the_protocol_arrives(broker: Any, field: str, value: object, expected: dict[str, Any]) -> None:
    assert settings_of(broker(mqtt={field: value})).mqtt == msgspec.structs.replace(MQTTSettings(), **expected)


def test_a_tls_listener_names_its_files(broker: Any) -> None:
    tls = {
        "minVersion": "TLS1.3",
        "clientAuth": "Required",
        "clientCARefs": [{"kind": "Secret", "name": "x", "key": "y"}],
        "crl": {"ref": {"kind": "Secret", "name": "x", "key": "y"}},
    }
    (listener,) = settings_of(broker(listeners=[{"name": "mqtts", "port": 1, "tls": tls}])).listeners
    assert listener.tls == TLSSettings(
        certificate_file="/t/crt",
        key_file="/t/key",
        min_version="TLS1.3",
        client_auth="Required",
        client_ca_files=("/t/ca",),
        crl_files=("/t/crl",),
    )


def test_a_plain_listener_has_no_tls_and_may_have_its_own_chain_and_limit(broker: Any) -> None:
    plain = {
        "name": "mqtt",
        "port": 1883,
        "allowPlaintext": True,
        "authentication": [{"name": "anyone", "type": "Anonymous"}],
        "maxConnectionsPerNode": 5,
    }
    (listener,) = settings_of(broker(listeners=[plain])).listeners
    assert listener.tls is None
    assert listener.authentication == (AuthenticationSettings(name="anyone", type="Anonymous"),)
    assert listener.max_connections == 5


def test_a_listener_says_what_it_speaks_and_who_stands_before_it(broker: Any) -> None:
    web = {
        "name": "ws",
        "port": 8083,
        "allowPlaintext": True,
        "protocol": "WebSocket",
        "webSocket": {"path": "/mqtt", "allowedOrigins": ["https://app.example.org"]},
        "proxyProtocol": {"trustedCIDRs": ["10.0.0.0/8"]},
    }
    plain = {"name": "mqtt", "port": 1883, "allowPlaintext": True}
    first, second = settings_of(broker(listeners=[web, plain])).listeners
    assert first.protocol == "WebSocket"
    assert first.web_socket == WebSocketSettings(path="/mqtt", allowed_origins=("https://app.example.org",))
    assert first.proxy_protocol == ProxyProtocolSettings(trusted_cidrs=("10.0.0.0/8",))
    assert (second.protocol, second.web_socket, second.proxy_protocol) == ("MQTT", WebSocketSettings(), None)


def test_the_chain_keeps_its_order_and_its_entries(broker: Any) -> None:
    devices = {
        "name": "devices",
        "type": "X509",
        "usernameFrom": "SANDNS",
        "principals": "Open",
        "clientIDs": ["${username}-*"],
    }
    chain = [devices, {"name": "passwords", "type": "Password"}]
    assert settings_of(broker(authentication=chain)).authentication == (
        AuthenticationSettings(
            name="devices", type="X509", username_from="SANDNS", principals="Open", client_ids=("${username}-*",)
        ),
        AuthenticationSettings(name="passwords", type="Password"),
    )


def test_no_chain_of_the_broker_is_an_empty_one(broker: Any) -> None:
    document = broker(
        listeners=[{"name": "mqtts", "port": 1, "tls": {}, "authentication": [{"name": "p", "type": "Password"}]}]
    )
    del document["spec"]["authentication"]
    assert settings_of(document).authentication == ()


def test_what_becomes_of_lost_rights_arrives(broker: Any) -> None:
    assert settings_of(broker(authorization={"onRevoke": "Disconnect"})).on_revoke == "Disconnect"


def test_leaving_and_evening_out_arrive(broker: Any) -> None:
    settings = settings_of(
        broker(
            drain={"connectionsPerSecond": 7, "willGrace": "1m", "serverReference": True},
            rebalance={"connectionsPerSecond": 0, "tolerancePercent": 5},
        )
    )
    assert settings.drain == DrainSettings(connections_per_s=7, will_grace_s=60, server_reference=True)
    assert settings.rebalance == RebalanceSettings(connections_per_s=0, tolerance_percent=5)


def test_a_node_beside_others_has_ports_and_a_name_of_its_own(broker: Any) -> None:
    document = broker(sessionStore={"embedded": {"storage": "1Gi"}})
    shared = RedisSettings(addresses=("redis:6379",), key_prefix="mqtt.plant")
    place = msgspec.structs.replace(
        PLACE, store=shared, policy_file="", port_offset=2, server_reference="localhost:8885"
    )
    parsed = parse_document(document)
    assert isinstance(parsed, MQTTBroker)
    settings = build_node_settings(parsed, place)
    assert [listener.port for listener in settings.listeners] == [8885]
    assert settings.server_reference == "localhost:8885"
    assert settings.store == shared
    assert settings.store_bytes_max is None


def test_where_probes_are_answered_and_how_long_a_goodbye_may_take_arrive(broker: Any) -> None:
    parsed = parse_document(broker())
    assert isinstance(parsed, MQTTBroker)
    assert build_node_settings(parsed, PLACE).http is None
    place = msgspec.structs.replace(PLACE, http=HTTPSettings(host="::", port=8081), grace_s=60)
    settings = build_node_settings(parsed, place)
    assert settings.http == HTTPSettings(host="::", port=8081)
    assert settings.drain.grace_s == 60
