"""Wills of clients whose node is not the one that publishes them: fired when due, once, or not at all."""

import asyncio
import signal

import pytest

from cluster.nodes.scene import Scene, StartTrio
from cluster.nodes.streams import drain
from mqtt_broker.wire.packets import Properties, ProtocolVersion, Will
from mqtt_broker.wire.reasons import ReasonCode
from support.client import Client

EARLY_S = 0.1
LATE_S = 2.5


def will_of(topic: str, delay_s: int = 0, qos: int = 1, retain: bool = False) -> Will:
    properties = Properties(will_delay_interval=delay_s) if delay_s else Properties()
    return Will(topic, b"gone", qos, retain, properties)


def kept(seconds: int = 300) -> Properties:
    return Properties(session_expiry_interval=seconds)


async def watcher(trio: Scene, unique: str, number: int) -> Client:
    client = await trio.dial(number)
    await client.connect(f"{unique}-w{number}")
    await client.subscribe(f"{unique}/#", qos=2)
    return client


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_will_without_delay_reaches_every_node_once(trio: Scene, unique: str, qos: int) -> None:
    """[MQTT-3.1.2-8]"""
    watchers = [await watcher(trio, unique, number) for number in range(3)]
    async with await trio.dial(0) as client:
        await client.connect(unique, will=will_of(f"{unique}/will", qos=qos), properties=kept())
        await client.abort()
    for each in watchers:
        assert (await each.receive_message()).payload == b"gone"
        await each.expect_silence(1.0 if each is watchers[0] else 0.05)
        await each.close()


@pytest.mark.parametrize("on", [0, 1, 2])
async def test_a_delayed_will_fires_once_when_it_is_due(trio: Scene, unique: str, on: int) -> None:
    """[MQTT-3.1.3-9] Whichever node the client was connected to."""
    loop = asyncio.get_running_loop()
    async with await watcher(trio, unique, (on + 1) % 3) as other, await trio.dial(on) as client:
        await client.connect(unique, will=will_of(f"{unique}/will", delay_s=2), properties=kept())
        await client.abort()
        left_at = loop.time()
        assert (await other.receive_message(10)).payload == b"gone"
        assert 2 - EARLY_S <= loop.time() - left_at <= 2 + LATE_S
        await other.expect_silence(1.5)


async def test_a_client_that_is_back_on_another_node_has_no_will_published(trio: Scene, unique: str) -> None:
    """[MQTT-3.1.3-9]"""
    async with await watcher(trio, unique, 2) as other:
        async with await trio.dial(0) as client:
            await client.connect(unique, will=will_of(f"{unique}/will", delay_s=2), properties=kept())
            await client.abort()
        async with await trio.dial(1) as client:
            assert (await client.connect(unique, clean_start=False, properties=kept())).session_present
            await other.expect_silence(4.0)


async def test_the_end_of_the_session_ends_the_delay(trio: Scene, unique: str) -> None:
    """[MQTT-3.1.2-8] MQTT 5.0, 3.1.3.2.2: whichever comes first."""
    loop = asyncio.get_running_loop()
    async with await watcher(trio, unique, 2) as other, await trio.dial(0) as client:
        await client.connect(unique, will=will_of(f"{unique}/will", delay_s=60), properties=kept(2))
        await client.abort()
        left_at = loop.time()
        assert (await other.receive_message(10)).payload == b"gone"
        assert 2 - EARLY_S <= loop.time() - left_at <= 2 + LATE_S
        await other.expect_silence(1.0)


async def test_a_clean_start_elsewhere_ends_the_session_and_its_will_is_owed(trio: Scene, unique: str) -> None:
    """MQTT 5.0, 3.1.4: the old session ends now."""
    async with await watcher(trio, unique, 2) as other:
        async with await trio.dial(0) as client:
            await client.connect(unique, will=will_of(f"{unique}/will", delay_s=60), properties=kept())
            await client.abort()
        async with await trio.dial(1) as client:
            await client.connect(unique, clean_start=True)
            assert (await other.receive_message()).payload == b"gone"
            await other.expect_silence(1.0)


async def test_a_takeover_from_another_node_publishes_a_will_without_delay_once(
    trio: Scene, version: ProtocolVersion, unique: str
) -> None:
    """[MQTT-3.1.4-3] The old connection is closed by the server, and its will was not delayed."""
    properties = kept() if version is ProtocolVersion.V5 else Properties()
    async with (
        await watcher(trio, unique, 2) as other,
        await trio.dial(0, version) as first,
        await trio.dial(1, version) as second,
    ):
        await first.connect(unique, will=will_of(f"{unique}/will"), clean_start=False, properties=properties)
        await second.connect(unique, clean_start=False, properties=properties)
        assert (await other.receive_message()).payload == b"gone"
        await other.expect_silence(1.0)


async def test_a_takeover_from_another_node_publishes_no_delayed_will(trio: Scene, unique: str) -> None:
    """[MQTT-3.1.3-9] The client is back before the delay has passed."""
    async with (
        await watcher(trio, unique, 2) as other,
        await trio.dial(0) as first,
        await trio.dial(1) as second,
    ):
        await first.connect(unique, will=will_of(f"{unique}/will", delay_s=1), properties=kept())
        assert (await second.connect(unique, clean_start=False, properties=kept())).session_present
        await other.expect_silence(3.0)


async def test_a_goodbye_removes_the_will_for_every_node(trio: Scene, unique: str) -> None:
    """[MQTT-3.14.4-3]"""
    async with await watcher(trio, unique, 2) as other, await trio.dial(0) as client:
        await client.connect(unique, will=will_of(f"{unique}/will", delay_s=1), properties=kept())
        await client.disconnect(ReasonCode.NORMAL_DISCONNECTION)
        await other.expect_silence(3.0)


async def test_wills_of_a_killed_node_fire_once_and_not_for_clients_that_are_back(start_trio: StartTrio) -> None:
    """The lost connections count as broken when the node is let go of; a retained will is retained."""
    trio = start_trio(lease_s=3.0)
    watchers = [await watcher(trio, "t", number) for number in (1, 2)]
    back = await trio.dial(0)
    await back.connect("back", will=will_of("t/back", delay_s=4), properties=kept())
    clients = [await trio.dial(0) for _ in range(5)]
    for number, client in enumerate(clients):
        await client.connect(
            f"c{number}", will=will_of(f"t/{number}", delay_s=number % 2, retain=True), properties=kept()
        )
    trio.nodes[0].program.signal(signal.SIGKILL)
    again = await trio.dial(1)
    assert (await again.connect("back", clean_start=False, properties=kept())).session_present
    expected = {f"t/{number}" for number in range(5)}
    for each in watchers:
        assert {(await each.receive_message(15)).topic for _ in range(5)} == expected
    for each in watchers:
        await each.expect_silence(3.0)
    late = await trio.dial(1)
    await late.connect("late")
    await late.subscribe("t/+", qos=1)
    assert len(await drain(late)) == 5
    for each in (*watchers, *clients, back, again, late):
        await each.close()
    trio.nodes[0].kill()
