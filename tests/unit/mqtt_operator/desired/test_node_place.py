"""What all nodes of a broker are told: where the store is, how they log in, where they are found."""

import msgspec
import pytest

from mqtt_api.node_settings import HTTPSettings, RedisSettings
from mqtt_operator.desired.node_place import shared_settings, store_place
from support.desired_examples import INPUTS, example, inputs_for


def store_of(name: str) -> RedisSettings:
    broker = example(name)
    store = shared_settings(broker, inputs_for(broker)).store
    assert isinstance(store, RedisSettings)
    return store


def test_the_managed_store_is_found_by_its_service_and_checked_by_its_ca() -> None:
    store = store_of("trial")
    assert store.addresses == ("trial-store.mqtt.svc:6379",)
    assert (store.username, store.password_file) == ("broker", "/etc/stoa/store/password")
    assert store.tls is not None
    assert store.tls.ca_files == ("/etc/stoa/store-ca/0/ca.crt",)


def test_a_redis_of_people_s_own_is_where_they_say() -> None:
    store = store_of("plant")
    assert (store.addresses, store.key_prefix) == (("redis.stores.svc:6380",), "mqtt.plant")
    assert (store.username, store.password_file) == ("plant-nodes", "/etc/stoa/store/password")
    assert store.tls is not None
    assert len(store.tls.ca_files) == 2


def test_sentinels_have_a_log_in_of_their_own() -> None:
    store = store_of("guarded")
    assert store.master_name == "plant"
    assert (store.sentinel_username, store.sentinel_password_file) == ("watcher", "/etc/stoa/sentinel/password")
    assert (store.durability, store.replicas, store.tls) == ("Replicated", 2, None)


def test_a_redis_without_a_password_gets_none() -> None:
    broker = example("plant", sessionStore={"redis": {"addresses": ["redis:6379"], "tls": {}}})
    place = store_place(broker, INPUTS)
    assert place is not None
    assert (place.node.username, place.node.password_file) == (None, None)
    assert place.tls is not None
    assert place.tls.ca_files == ()


@pytest.mark.parametrize(("storage", "bytes_max"), [("2Gi", 1_610_612_736), (None, 805_306_368)])
def test_an_embedded_store_leaves_room_on_its_volume(storage: str | None, bytes_max: int) -> None:
    broker = example("alone", sessionStore={"embedded": {} if storage is None else {"storage": storage}})
    settings = shared_settings(broker, inputs_for(broker))
    assert (settings.store, settings.store_bytes_max) == ("sqlite:/var/lib/stoa/store.sqlite", bytes_max)
    assert settings.policy_file == "/etc/stoa/policy/policy.json"
    assert settings.server_reference == ""


def test_nodes_are_named_and_found_by_their_pods() -> None:
    settings = shared_settings(example("trial"), inputs_for(example("trial")))
    assert settings.node == "{node}"
    assert settings.server_reference == "{node}.trial-nodes.mqtt.svc:8883"


def test_nodes_bind_what_they_are_told_and_answer_probes() -> None:
    broker = example("plant")
    settings = shared_settings(broker, msgspec.structs.replace(INPUTS, host="::"))
    assert settings.http == HTTPSettings(host="::", port=8081)
    assert {listener.host for listener in settings.listeners} == {"::"}
    assert settings.drain.grace_s == 590
