"""The lines that people are told to type work: topics that the policy allows, a CA file, a password's path."""

import shlex
from pathlib import Path
from typing import Any

import msgspec

from mqtt_api.node_settings import ListenerSettings, ProxyProtocolSettings, TLSSettings, WebSocketSettings
from mqtt_api.policy import Policy
from mqtt_api.resources import MQTTBroker, MQTTClient, TopicPermission, parse_document
from mqtt_operator.desired.entrance import best_listener
from mqtt_operator.local.hints import Account, Hint, hints, scram_hint
from mqtt_operator.policy.compile import compile_policy

TLS = TLSSettings(certificate_file="/c", key_file="/k")
LISTENER = ListenerSettings(name="mqtts", host="127.0.0.1", port=8883, tls=TLS)
PLAIN = ListenerSettings(name="mqtt", host="127.0.0.1", port=1883)
CA = Path("data dir/ca.crt")


def policy_of(*documents: dict[str, Any]) -> Policy:
    objects = [parse_document(document) for document in documents]
    (broker,) = [each for each in objects if isinstance(each, MQTTBroker)]
    clients = [each for each in objects if isinstance(each, MQTTClient)]
    permissions = [each for each in objects if isinstance(each, TopicPermission)]
    return compile_policy(broker, clients, permissions, {}, 1)


def account(username: str) -> Account:
    return Account(username=username, password_file=Path(f"data dir/{username}"))


def lines(found: list[Hint], start: str) -> list[str]:
    return [line for hint in found for line in hint.lines if line.startswith(start)]


def test_a_subscriber_and_a_publisher_that_it_hears_are_chosen(broker: Any, client: Any, permission: Any) -> None:
    policy = policy_of(
        broker(),
        client("clock"),
        client("pump-7"),
        client("viewer", clientIDs=["viewer-*"]),
        permission("a", subjects=[{"kind": "MQTTClient", "name": "clock"}], rule={"topics": ["time"]}),
        permission("b", rule={"topics": ["plant/${clientid}/#"]}),
        permission(
            "c",
            subjects=[{"kind": "MQTTClient", "name": "viewer"}],
            rule={"activity": "Subscribe", "topics": ["plant/+/temp", "plant/#"]},
        ),
    )
    found = hints(policy, [account("clock"), account("pump-7"), account("viewer")], LISTENER, CA)
    (subscribe,) = lines(found, "mosquitto_sub")
    (publish,) = lines(found, "mosquitto_pub")
    assert shlex.split(subscribe) == [
        *("mosquitto_sub", "-h", "localhost", "-p", "8883", "--cafile", "data dir/ca.crt", "-u", "viewer"),
        *("-P", "$(cat 'data dir/viewer')", "-i", "viewer-1", "-t", "plant/#", "-q", "1", "-v"),
    ]
    assert "-u pump-7" in publish
    assert "-t plant/pump-7/demo" in publish


def test_an_attribute_fills_a_topic(broker: Any, client: Any, permission: Any) -> None:
    policy = policy_of(
        broker(), client(attributes={"line": "3"}), permission(rule={"topics": ["l/${attr.line}/${username}"]})
    )
    (publish,) = lines(hints(policy, [account("pump-7")], LISTENER, CA), "mosquitto_pub")
    assert "-t l/3/pump-7" in publish


def test_wildcards_become_a_topic_to_publish_to(broker: Any, client: Any, permission: Any) -> None:
    policy = policy_of(broker(), client(), permission(rule={"topics": ["a/+/b/#"], "qos": [0]}))
    found = hints(policy, [account("pump-7")], LISTENER, CA)
    (publish,) = lines(found, "mosquitto_pub")
    assert "-t a/demo/b/demo -q 0" in publish
    assert lines(found, "mosquitto_sub") == []


def test_a_client_that_may_nothing_is_not_proposed(broker: Any, client: Any) -> None:
    assert hints(policy_of(broker(), client()), [account("pump-7")], LISTENER, CA) == []


def test_an_unknown_placeholder_is_not_proposed(broker: Any, client: Any, permission: Any) -> None:
    policy = policy_of(broker(), client(), permission(rule={"topics": ["cn/${cert.cn}"]}))
    assert hints(policy, [account("pump-7")], LISTENER, CA) == []


def test_an_anonymous_client_of_a_plain_listener_needs_neither_ca_nor_password(broker: Any, permission: Any) -> None:
    rule = {"activity": "All", "topics": ["#"]}
    policy = policy_of(broker(), permission(subjects=[{"kind": "Anonymous"}], rule=rule))
    found = hints(policy, [Account(username="")], PLAIN, None)
    (subscribe,) = lines(found, "mosquitto_sub")
    assert subscribe == "mosquitto_sub -h localhost -p 1883 -t '#' -q 1 -v"
    assert next(hint.title for hint in found) == "subscribe as anybody"


def test_a_client_certificate_is_asked_for_by_its_place(broker: Any, client: Any, permission: Any) -> None:
    """Its names are those of the MQTTClient, and there is neither user name nor password."""
    policy = policy_of(broker(), client(), permission(rule={"topics": ["machines/${cert.cn}/#"]}))
    device = Account(username="pump-7", certificate=True, certificate_cn="cn-7")
    found = hints(policy, [device], LISTENER, CA)
    (publish,) = lines(found, "mosquitto_pub")
    assert shlex.split(publish) == [
        *("mosquitto_pub", "-h", "localhost", "-p", "8883", "--cafile", "data dir/ca.crt"),
        *("--cert", "<certificate file of pump-7>", "--key", "<key file of pump-7>"),
        *("-i", "pump-7", "-t", "machines/cn-7/demo", "-q", "1", "-m", "hello"),
    ]
    assert lines(found, "c.username") == []
    (tls,) = lines(found, "c.tls_set")
    assert "certfile='<certificate file of pump-7>', keyfile='<key file of pump-7>'" in tls


def test_a_listener_that_wants_certificates_wants_them_beside_a_password_too(
    broker: Any, client: Any, permission: Any
) -> None:
    mutual = msgspec.structs.replace(LISTENER, tls=msgspec.structs.replace(TLS, client_auth="Required"))
    (publish,) = lines(
        hints(policy_of(broker(), client(), permission()), [account("pump-7")], mutual, CA), "mosquitto_pub"
    )
    assert "--cert '<certificate file of pump-7>'" in publish
    assert "-u pump-7" in publish


def test_without_a_ca_of_ours_those_of_the_system_are_named(broker: Any, client: Any, permission: Any) -> None:
    found = hints(policy_of(broker(), client(), permission()), [account("pump-7")], LISTENER, None)
    (publish,) = lines(found, "mosquitto_pub")
    assert "--tls-use-os-certs" in publish
    assert "c.tls_set()" in lines(found, "c.tls_set")


def test_scram_is_told_with_the_clients_that_can(broker: Any, client: Any) -> None:
    hint = scram_hint([Account(username="x"), account("pump-7")], PLAIN, ["SCRAM-SHA-256"])
    assert hint is not None
    assert "MQTTX" in hint.title
    assert "localhost:1883, authentication method SCRAM-SHA-256, user name pump-7" in hint.lines[0]
    assert hint.lines[1] == "cat 'data dir/pump-7'"
    assert scram_hint([Account(username="x")], PLAIN, ["SCRAM-SHA-256"]) is None


def test_a_password_of_yours_is_named_and_not_shown(broker: Any, client: Any, permission: Any) -> None:
    policy = policy_of(broker(), client(), permission())
    mine = Account(username="pump-7", password_words="the password of Secret default/s")
    found = hints(policy, [mine], LISTENER, CA)
    (publish,) = lines(found, "mosquitto_pub")
    assert "-P '<the password of Secret default/s>'" in publish
    assert "c.username_pw_set('pump-7', '<the password of Secret default/s>')" in lines(found, "c.username")


def test_the_python_lines_are_python(broker: Any, client: Any, permission: Any) -> None:
    found = hints(policy_of(broker(), client(), permission()), [account("pump-7")], LISTENER, CA)
    (python,) = [hint for hint in found if "paho" in hint.title]
    compile("\n".join(python.lines), "hint", "exec")
    assert "c.tls_set(ca_certs='data dir/ca.crt')" in python.lines


def test_over_web_socket_only_paho_is_proposed(broker: Any, client: Any, permission: Any) -> None:
    """The mosquitto programs do not speak it."""
    web = msgspec.structs.replace(LISTENER, protocol="WebSocket", web_socket=WebSocketSettings(path="/mqtt"))
    (hint,) = hints(policy_of(broker(), client(), permission()), [account("pump-7")], web, CA)
    assert "transport='websockets'" in hint.lines[1]
    assert "c.ws_set_options(path='/mqtt')" in hint.lines
    assert any("c.connect('localhost', 8883)" in line for line in hint.lines)


def test_behind_a_proxy_header_nothing_is_proposed(broker: Any, client: Any, permission: Any) -> None:
    proxied = msgspec.structs.replace(PLAIN, proxy_protocol=ProxyProtocolSettings(trusted_cidrs=("10.0.0.0/8",)))
    assert hints(policy_of(broker(), client(), permission()), [account("pump-7")], proxied, CA) == []


def test_the_listener_to_tell_people_is_the_easiest_to_reach() -> None:
    web = msgspec.structs.replace(LISTENER, name="wss", protocol="WebSocket")
    proxied = msgspec.structs.replace(
        LISTENER, name="proxied", proxy_protocol=ProxyProtocolSettings(trusted_cidrs=("10.0.0.0/8",))
    )
    mutual = msgspec.structs.replace(LISTENER, tls=msgspec.structs.replace(TLS, client_auth="Required"))
    by_ease = [LISTENER, mutual, PLAIN, web, proxied]
    for index, easiest in enumerate(by_ease):
        assert best_listener(tuple(reversed(by_ease[index:]))) == easiest
