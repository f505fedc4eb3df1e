"""Whose a store is: its identity, brokers that meet in one, stores that were emptied, replaced or set back."""

import pytest

from mqtt_operator.channel.terms import LogInRefusedError
from mqtt_operator.desired import kinds
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.reconcile.exchange import SharedPlace
from support.broker_documents import EMBEDDED, SHARED, tls_secret
from support.broker_rig import BrokerRig
from support.resource_examples import changed

REPLICATED = changed(SHARED, {"spec.sessionStore.durability": {"level": "Replicated", "replicas": 2}})


async def started(rig: BrokerRig, document: Manifest = SHARED) -> None:
    await rig.declare(tls_secret())
    await rig.declare(document)
    await rig.settle()
    rig.kube.writes.clear()
    rig.kube.events.clear()


async def passes(rig: BrokerRig, count: int = 3) -> None:
    for _ in range(count):
        await rig.run()
        await rig.play()


async def test_an_identity_stands_in_the_status_before_anything_may_write_it_to_the_store(rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    await rig.declare(SHARED)
    await rig.run()
    place = rig.exchange.place(rig.key)
    assert isinstance(place, SharedPlace)
    assert (place.world, place.may_be_new) == ((await rig.status())["storeID"], True)
    assert rig.kube.writes[0] == "status MQTTBroker plant"
    assert (await rig.condition("SessionStoreReachable"))[:2] == ("Unknown", "Pending")
    assert await rig.get(kinds.STATEFUL_SET, "plant") is None  # nodes would refuse a store without an identity
    rig.play_policy()
    await rig.run()
    assert (await rig.condition("SessionStoreReachable"))[:2] == ("True", "StoreReachable")
    place = rig.exchange.place(rig.key)
    assert isinstance(place, SharedPlace)
    assert not place.may_be_new
    assert await rig.get(kinds.STATEFUL_SET, "plant") is not None


async def test_the_identity_is_made_once(rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    await rig.declare(SHARED)
    rig.store.away()
    await rig.run()
    world = (await rig.status())["storeID"]
    rig.restart()
    await rig.run()
    rig.store.back()
    await rig.settle()
    assert (await rig.status())["storeID"] == rig.store.world == world


async def test_a_store_that_is_away_is_waited_for_and_told(rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    await rig.declare(SHARED)
    rig.store.away()
    await passes(rig)
    status, reason, message = await rig.condition("SessionStoreReachable")
    assert (status, reason, message) == ("Unknown", "StoreUnreachable", "The store does not answer. Start it.")
    assert (await rig.condition("Ready"))[1] == "StoreUnreachable"
    assert (await rig.condition("Stalled"))[0] == "False"
    rig.store.back()
    await rig.settle()
    rig.kube.events.clear()
    before = await rig.status()
    rig.store.away()
    await passes(rig)
    assert (await rig.condition("SessionStoreReachable"))[:2] == ("False", "StoreUnreachable")
    known = ("certificates", "policy", "version", "nodes")
    assert {field: (await rig.status())[field] for field in known} == {field: before[field] for field in known}
    assert [event[:2] for event in rig.kube.events] == [("Warning", "StoreUnreachable")]
    rig.store.back()
    await rig.settle()
    assert [event[1] for event in rig.kube.events] == ["StoreUnreachable", "StoreReachable", "Ready"]


async def test_a_log_in_that_is_refused_needs_a_person(rig: BrokerRig) -> None:
    await started(rig)
    rig.store.problem = LogInRefusedError("The store does not let us in.", to_do="Check the password.")
    await rig.run()
    assert (await rig.condition("Stalled"))[:2] == ("True", "StoreLoginRefused")


async def test_of_two_brokers_with_one_place_the_first_keeps_it_and_the_other_is_told_of_both(rig: BrokerRig) -> None:
    prefix = {"spec.sessionStore": {"redis": {"addresses": ["redis:6379"], "keyPrefix": "mqtt.same"}}}
    await started(rig, changed(SHARED, prefix))
    second = BrokerRig(rig.raw, rig.key.namespace, rig.folder, "pumps")
    second.store = rig.store
    second.restart()
    await second.declare(changed(SHARED, {**prefix, "metadata.name": "pumps"}))
    await passes(second)
    status, reason, message = await second.condition("Accepted")
    assert (status, reason) == ("False", "StorePrefixTaken")
    namespace = rig.key.namespace
    assert f"MQTTBroker {namespace}/plant keeps" in message
    assert f"before MQTTBroker {namespace}/pumps" in message
    assert "delete this broker, and make it anew with another spec.sessionStore.redis.keyPrefix" in message
    assert await second.get(kinds.STATEFUL_SET, "pumps") is None
    assert second.exchange.place(second.key) is None
    await rig.play_nodes()
    await rig.run()
    assert (await rig.condition("Ready"))[0] == "True"
    # nobody takes a place over whose owner is there
    await second.annotate(accept_store=rig.store.world)
    await passes(second)
    assert (await second.condition("Accepted"))[1] == "StorePrefixTaken"
    await rig.raw.delete(kinds.MQTT_BROKER, *rig.key)
    await passes(second, 4)
    assert (await second.status())["storeID"] == rig.store.world
    assert (await second.condition("Accepted"))[0] == "True"


async def test_an_emptied_store_is_refused_until_a_person_accepts_it(rig: BrokerRig) -> None:
    await started(rig)
    world = rig.store.world
    rig.store.world = ""
    await passes(rig)
    assert (await rig.condition("SessionStoreReachable"))[:2] == ("False", "StoreReplaced")
    assert (await rig.condition("Stalled"))[:2] == ("True", "StoreReplaced")
    assert rig.exchange.place(rig.key) is None
    assert rig.store.world == ""
    await rig.annotate(accept_store="something-else")
    await passes(rig)
    assert rig.store.world == ""
    await rig.annotate(accept_store=world)
    await rig.settle()
    assert rig.store.world == world
    status, _, message = await rig.condition("SessionStoreReachable")
    assert status == "True"
    assert "Take the annotation mqtt.stoa.dev/accept-store away" in message


async def test_an_emptied_store_is_refused_also_by_an_operator_that_starts_anew_or_was_held_up(rig: BrokerRig) -> None:
    """Whatever else went wrong in between, it is not forgotten that the store had this identity."""
    await started(rig)
    await rig.raw.delete(kinds.SECRET, rig.key.namespace, "server")
    rig.store.away()
    await rig.run()
    mine = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plant-settings"}}
    await rig.raw.delete(kinds.CONFIG_MAP, rig.key.namespace, "plant-settings")
    await rig.declare(mine)
    await rig.declare(tls_secret())
    with pytest.raises(Exception, match="plant-settings"):
        await rig.run()
    await rig.raw.delete(kinds.CONFIG_MAP, rig.key.namespace, "plant-settings")
    rig.restart()
    rig.store.back()
    rig.store.world = ""
    await passes(rig)
    assert (await rig.condition("SessionStoreReachable"))[:2] == ("False", "StoreReplaced")


async def test_the_store_of_a_broker_that_was_deleted_is_taken_over_only_by_name(rig: BrokerRig) -> None:
    rig.store.world = "7d0a"
    await rig.declare(tls_secret())
    await rig.declare(SHARED)
    await passes(rig)
    status, reason, message = await rig.condition("SessionStoreReachable")
    assert (status, reason) == ("Unknown", "StoreReplaced")
    assert "mqtt.stoa.dev/accept-store=7d0a" in message
    await rig.annotate(accept_store="7d0a")
    await rig.settle()
    assert (await rig.status())["storeID"] == "7d0a"
    assert (await rig.condition("Ready"))[0] == "True"


async def test_a_store_that_was_set_back_is_served_again_at_once_or_after_a_word(rig: BrokerRig) -> None:
    await started(rig, REPLICATED)
    rig.store.is_rolled_back = True
    await rig.run()
    assert (await rig.condition("SessionStoreReachable"))[:2] == ("False", "StoreRolledBack")
    assert (await rig.condition("Stalled"))[:2] == ("True", "StoreRolledBack")
    place = rig.exchange.place(rig.key)
    assert isinstance(place, SharedPlace)
    assert not place.accepts
    await rig.annotate(accept_store=rig.store.world)
    await rig.run()
    place = rig.exchange.place(rig.key)
    assert isinstance(place, SharedPlace)
    assert place.accepts
    assert (await rig.condition("Stalled"))[0] == "False"


async def test_less_than_replicated_never_promised_to_survive_the_store_and_is_served_again(rig: BrokerRig) -> None:
    await started(rig)
    rig.store.is_rolled_back = True
    await rig.run()
    place = rig.exchange.place(rig.key)
    assert isinstance(place, SharedPlace)
    assert place.accepts
    assert (await rig.condition("SessionStoreReachable"))[0] == "True"


@pytest.mark.parametrize(
    ("document", "config", "told"),
    [
        pytest.param(SHARED, {"appendfsync": "everysec"}, ("False", "DurabilityNotMet"), id="synced once a second"),
        pytest.param(SHARED, {"appendonly": "no"}, ("False", "DurabilityNotMet"), id="not on the disk"),
        pytest.param(SHARED, {"maxmemory-policy": "allkeys-lru"}, ("False", "DurabilityNotMet"), id="throws keys out"),
        pytest.param(SHARED, None, ("False", "DurabilityNotMet"), id="hides its settings"),
        pytest.param(REPLICATED, {}, ("False", "DurabilityNotMet"), id="no replicas"),
        pytest.param(
            changed(SHARED, {"spec.sessionStore.durability": {"level": "Memory"}}),
            {"appendonly": "no"},
            ("True", "DurabilityShown"),
            id="memory is enough",
        ),
        pytest.param(
            changed(SHARED, {"spec.sessionStore.durability": {"verification": "Declared"}}),
            None,
            ("Unknown", "DurabilityDeclared"),
            id="believed",
        ),
        pytest.param(EMBEDDED, {}, ("True", "StoreEmbedded"), id="a file of the node"),
    ],
)
async def test_the_declared_durability_is_compared_with_what_the_store_shows(
    document: Manifest, config: dict[str, str] | None, told: tuple[str, str], rig: BrokerRig
) -> None:
    rig.store.config = None if config is None else {**(rig.store.config or {}), **config}
    await started(rig, document)
    assert (await rig.condition("DurabilityVerified"))[:2] == told
