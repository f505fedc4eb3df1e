"""The CAs that certificates of clients are verified by: gathered in one place, whatever they are named by."""

from typing import Any

import pytest

from mqtt_operator.desired import kinds
from mqtt_operator.desired.client_cas import client_cas
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.node_place import shared_settings
from mqtt_operator.desired.objects import build
from support.desired_examples import CLIENT_CAS, example, inputs_for

OLD = {"kind": "ConfigMap", "name": "devices", "key": "ca.crt"}
NEW = {"kind": "Secret", "name": "next-devices", "key": "tls.crt"}


def listeners(*refs: dict[str, str]) -> list[Manifest]:
    tls = {"secretRef": {"name": "server"}, "clientAuth": "Required", "clientCARefs": [*refs]}
    return [{"name": "mqtts", "port": 8883, "tls": tls}]


def built_with(*refs: dict[str, str], pem: str = CLIENT_CAS) -> list[Manifest]:
    broker = example("trial", listeners=listeners(*refs))
    return build(broker, inputs_for(broker, client_cas={"mqtts": pem}))


def templates(manifests: list[Manifest]) -> list[Any]:
    return [each["spec"]["template"] for each in manifests if each["kind"] == kinds.STATEFUL_SET.kind]


def test_each_listener_that_verifies_clients_has_an_entry() -> None:
    broker = example("trial", listeners=listeners(OLD))
    (config_map,) = client_cas(broker, inputs_for(broker, client_cas={"mqtts": "one", "wss": "two"}))
    assert config_map["metadata"]["name"] == "trial-client-cas"
    assert config_map["data"] == {"mqtts.crt": "one", "wss.crt": "two"}


def test_where_nobody_is_verified_there_is_nothing() -> None:
    broker = example("trial")
    assert client_cas(broker, inputs_for(broker)) == []


@pytest.mark.parametrize("refs", [(OLD, NEW), (NEW,)], ids=["one more", "another"])
def test_another_list_of_cas_replaces_no_pod(refs: tuple[dict[str, str], ...]) -> None:
    assert templates(built_with(*refs, pem="others")) == templates(built_with(OLD))


def test_a_node_reads_one_file_and_none_where_it_verifies_nobody() -> None:
    mutual, plain = example("trial", listeners=listeners(OLD, NEW)), example("trial")
    told = [shared_settings(each, inputs_for(each)).listeners[0].tls for each in (mutual, plain)]
    files = [None if tls is None else tls.client_ca_files for tls in told]
    assert files == [("/etc/stoa/client-ca/mqtts/ca.crt",), ()]
