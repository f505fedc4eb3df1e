"""The Redis that runs along: how much it holds, who may log in, and what is written down of passwords."""

import base64
from typing import Any

import msgspec
import pytest

from mqtt_api.kinds.session_store import ManagedStore
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.desired.inputs import ManagedStore as ManagedStoreInputs
from mqtt_operator.desired.inputs import Passwords
from mqtt_operator.desired.managed_store import dns_names, store_secrets, store_server
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.redis_conf import data_size_bytes_max, memory_bytes, redis_conf
from mqtt_operator.desired.redis_users import digest, user_rules, users_acl
from support.desired_examples import INPUTS, MANAGED, example, inputs_for

KEYS = StoreKeys("mqtt.plant")
Mi = 1024 * 1024


def secrets(name: str) -> dict[str, dict[str, bytes]]:
    broker = example(name)
    return {
        each["metadata"]["name"]: {key: base64.b64decode(value) for key, value in each["data"].items()}
        for each in store_secrets(broker, inputs_for(broker))
    }


def container(name: str, **changes: Any) -> Manifest:
    broker = example(name, **changes)
    _, stateful_set = store_server(broker, inputs_for(broker))
    found: Manifest = stateful_set["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.parametrize(("level", "word"), [("Disk", "always"), ("Memory", "everysec")])
def test_a_write_is_on_its_disk_before_it_is_answered_unless_less_was_asked_for(level: str, word: str) -> None:
    broker = example("trial", sessionStore={"managed": {}, "durability": {"level": level}})
    assert f"appendfsync {word}" in redis_conf(broker).splitlines()


def test_nothing_is_thrown_out_and_nothing_is_in_plain_text() -> None:
    lines = redis_conf(example("trial")).splitlines()
    assert {"maxmemory-policy noeviction", "port 0", "tls-port 6379"} <= set(lines)


def test_what_it_holds_fits_on_its_volume_and_in_its_memory() -> None:
    assert data_size_bytes_max(ManagedStore()) == 256 * Mi
    assert data_size_bytes_max(example("small").spec.session_store.managed or ManagedStore()) == 16 * Mi
    assert memory_bytes(ManagedStore()) == 576 * Mi
    assert "maxmemory 16777216" in redis_conf(example("small")).splitlines()


def test_memory_is_what_people_say_or_what_its_data_needs() -> None:
    assert container("small")["resources"] == {"limits": {"memory": "32Mi"}}
    assert container("trial")["resources"]["limits"] == {"memory": str(576 * Mi)}


def test_the_image_is_the_declared_one_or_what_the_operator_uses() -> None:
    assert container("small")["image"] == "registry.example.org/valkey:8.1"
    assert container("trial")["image"] == MANAGED.image


def test_a_changed_configuration_restarts_it_and_changed_users_do_not() -> None:
    def mark(**changes: Any) -> str:
        broker = example("trial", **changes)
        _, server = store_server(broker, inputs_for(broker))
        word: str = server["spec"]["template"]["metadata"]["annotations"]["mqtt.stoa.dev/config-hash"]
        return word

    assert mark() == mark(replicas=5)
    assert mark() != mark(sessionStore={"managed": {"storage": "2Gi"}})


def test_each_reader_has_what_it_needs_and_no_more() -> None:
    found = secrets("trial")
    assert set(found["trial-store"]) == {"username", "password", "ca.crt"}
    assert found["trial-store"]["username"] == b"broker"
    assert found["trial-store-operator"]["admin-password"] == b"admins-word"
    server = b"".join(found["trial-store-server"].values())
    assert not [word for word in (b"nodes-word", b"operators-word", b"admins-word") if word in server]


def test_a_broker_with_another_store_runs_none() -> None:
    assert store_secrets(example("plant"), INPUTS) == []
    assert store_server(example("plant"), INPUTS) == []


def test_nothing_runs_before_there_are_passwords_and_certificates() -> None:
    assert store_server(example("trial"), INPUTS) == []


def test_the_certificate_names_what_nodes_connect_to() -> None:
    assert dns_names(example("trial"), INPUTS)[0] == "trial-store.mqtt.svc"


# Users ----------------------------------------------------------------------------------------------------------------


def test_nobody_is_the_default_user_who_keeps_every_right() -> None:
    assert "user default off resetpass ~* &* +@all" in users_acl(KEYS, MANAGED).splitlines()


def test_each_user_has_the_rights_that_the_keys_say() -> None:
    rules = user_rules(KEYS, MANAGED)
    assert set(KEYS.broker_rules) <= set(rules["broker"])
    assert set(KEYS.operator_rules) <= set(rules["operator"])
    assert set(rules) == {"broker", "operator", "admin"}


def accepted(managed: ManagedStoreInputs) -> list[str]:
    """The digests that stand beside the nodes' user."""
    (line,) = [line for line in users_acl(KEYS, managed).splitlines() if line.startswith("user broker ")]
    return [word.removeprefix("#") for word in line.split() if word.startswith("#")]


def test_two_passwords_are_accepted_while_one_replaces_the_other() -> None:
    passwords = Passwords(password="new", also_accepted=(digest("old"),))
    assert accepted(msgspec.structs.replace(MANAGED, node=passwords)) == [digest("new"), digest("old")]


def test_a_password_is_not_written_twice() -> None:
    passwords = Passwords(password="one", also_accepted=(digest("one"),))
    assert accepted(msgspec.structs.replace(MANAGED, node=passwords)) == [digest("one")]
