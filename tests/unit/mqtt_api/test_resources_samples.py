"""The sample files: each is right by the models and by the schemas, and means what its comments say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from mqtt_api.policy import Facts, Rights, resolve
from mqtt_api.resources import MQTTBroker, MQTTClient, TopicPermission, parse_document
from mqtt_operator.policy.compile import compile_policy

SAMPLES = Path(__file__).parents[3] / "manifests" / "samples"
FOLDERS = ("quickstart", "open", "certificates", "scram")


def documents(folder: str) -> list[Any]:
    texts = [path.read_text(encoding="utf-8") for path in sorted((SAMPLES / folder).glob("*.yaml"))]
    return [document for text in texts for document in yaml.safe_load_all(text)]


def resources(folder: str) -> list[MQTTBroker | MQTTClient | TopicPermission]:
    return [parse_document(document) for document in documents(folder)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_document_of_a_sample_is_right_and_belongs_to_its_one_broker(folder: str) -> None:
    (broker,) = [resource for resource in resources(folder) if isinstance(resource, MQTTBroker)]
    others = [resource for resource in resources(folder) if not isinstance(resource, MQTTBroker)]
    assert others
    for resource in others:
        assert resource.metadata.namespace == broker.metadata.namespace
        assert resource.spec.broker_ref.name == broker.metadata.name


def test_the_quickstart_is_encrypted_and_denies_by_default() -> None:
    (broker,) = [resource for resource in resources("quickstart") if isinstance(resource, MQTTBroker)]
    assert broker.spec.authorization.default_policy == "Deny"
    assert [(listener.port, listener.tls is not None) for listener in broker.spec.listeners] == [(8883, True)]
    assert [entry.type for entry in broker.spec.authentication or ()] == ["Password"]


def test_the_quickstart_has_a_viewer_and_eight_pumps_with_passwords_of_their_own() -> None:
    clients = [resource for resource in resources("quickstart") if isinstance(resource, MQTTClient)]
    assert sorted(client.username for client in clients) == [*(f"pump-{n}" for n in range(1, 9)), "viewer"]
    secrets = {
        source.generate.secret_name
        for client in clients
        for source in client.spec.credentials.passwords
        if source.generate
    }
    assert len(secrets) == len(clients)
    assert all(client.spec.groups == ("pumps",) for client in clients if client.username != "viewer")


def rights(declared: Sequence[MQTTBroker | MQTTClient | TopicPermission], username: str) -> Rights:
    """What this client of the sample may do, with its user name as client id and as common name."""
    (broker,) = [resource for resource in declared if isinstance(resource, MQTTBroker)]
    clients = [resource for resource in declared if isinstance(resource, MQTTClient)]
    permissions = [resource for resource in declared if isinstance(resource, TopicPermission)]
    policy = compile_policy(broker, clients, permissions, {}, revision=1)
    attributes = policy.principals[username].attributes if username else {}
    facts = Facts(
        client_id=username, username=username, anonymous=not username, attributes=attributes, certificate_cn=username
    )
    return resolve(policy, facts)


def test_the_quickstart_lets_a_pump_speak_for_itself_only() -> None:
    pump = rights(resources("quickstart"), "pump-7")
    assert pump.may_publish("plant/pump-7/temperature", 1, retain=False).allowed
    assert not pump.may_publish("plant/pump-7/temperature", 2, retain=False).allowed
    stop = pump.may_publish("plant/pump-8/stop", 1, retain=False)
    assert (stop.allowed, stop.rule) == (False, None)


def test_the_quickstart_lets_a_pump_hear_commands_for_itself_and_its_line() -> None:
    pump = rights(resources("quickstart"), "pump-7")
    allowed = ["command/pump-7/start", "command/line-2/#"]
    refused = ["command/pump-8/start", "command/line-1/#", "command/#", "plant/#"]
    assert [pump.may_subscribe(topic, 1, None).qos for topic in allowed] == [1, 1]
    assert [pump.may_subscribe(topic, 1, None).qos for topic in refused] == [None] * 4


def test_the_quickstart_lets_the_viewer_watch_and_command_but_not_pretend_to_be_a_pump() -> None:
    viewer = rights(resources("quickstart"), "viewer")
    assert viewer.may_subscribe("plant/#", 2, None).qos == 2
    assert viewer.may_publish("command/pump-7/start", 1, retain=False).allowed
    assert not viewer.may_publish("plant/pump-7/temperature", 0, retain=False).allowed


def test_the_rule_that_the_quickstart_offers_allows_the_stop_once_its_comment_marks_are_taken_away() -> None:
    text = (SAMPLES / "quickstart" / "permissions.yaml").read_text(encoding="utf-8")
    first = "  # - name: stop-neighbour\n"
    before, offered = text.split(first)
    lines = (first + offered).splitlines(keepends=True)
    uncommented = [line.replace("  # ", "  ", 1) for line in lines[:4]]
    permissions = [parse_document(each) for each in yaml.safe_load_all(before + "".join(uncommented + lines[4:]))]
    others = [resource for resource in resources("quickstart") if not isinstance(resource, TopicPermission)]
    stop = rights([*others, *permissions], "pump-7").may_publish("plant/pump-8/stop", 1, retain=False)
    assert (stop.allowed, stop.rule) == (True, "mqtt/pumps/stop-neighbour")


def test_the_open_sample_opens_its_three_doors_by_name() -> None:
    broker, permission = resources("open")
    assert isinstance(broker, MQTTBroker)
    assert isinstance(permission, TopicPermission)
    assert broker.spec.listeners[0].allow_plaintext
    assert [entry.type for entry in broker.spec.authentication or ()] == ["Anonymous"]
    assert [subject.kind for subject in permission.spec.subjects] == ["Anonymous"]
    assert broker.spec.authorization.default_policy == "Deny"
    anybody = rights([broker, permission], "")
    assert anybody.may_publish("any/topic", 2, retain=True).allowed
    assert anybody.may_subscribe("#", 2, "group").qos == 2


def test_the_certificate_sample_demands_a_certificate_of_everybody() -> None:
    (broker,) = [resource for resource in resources("certificates") if isinstance(resource, MQTTBroker)]
    (listener,) = broker.spec.listeners
    assert listener.tls is not None
    assert listener.tls.client_auth == "Required"
    assert [entry.type for entry in broker.spec.authentication or ()] == ["X509"]
    pump = rights(resources("certificates"), "pump-1")
    assert pump.may_publish("plant/pump-1/temperature", 1, retain=False).allowed
    assert not pump.may_publish("plant/pump-2/temperature", 1, retain=False).allowed
