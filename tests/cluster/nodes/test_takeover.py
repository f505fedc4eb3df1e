"""One client id, several nodes: who connects last has the session, and whoever had it before gets not a byte more."""

import asyncio
from contextlib import suppress

import pytest
from msgspec.structs import replace

from cluster.nodes.scene import Scene, StartTrio
from mqtt_broker.wire.packets import (
    Properties,
    ProtocolVersion,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
)
from mqtt_broker.wire.reasons import ReasonCode
from support.client import Client, ConnectionClosedError
from support.policies import PASSWORD, allow, policy

KEPT = Properties(session_expiry_interval=300)
V5 = ProtocolVersion.V5
TAKEN_OVER = ReasonCode.SESSION_TAKEN_OVER


async def rest_of(client: Client) -> bytes:
    """Every byte that still comes until the connection ends."""
    received = b""
    async with asyncio.timeout(5):
        while data := await client.receive_bytes(4096):
            received += data
    return received


async def test_the_connection_before_gets_its_disconnect_and_nothing_after_it(
    trio: Scene, version: ProtocolVersion, unique: str
) -> None:
    """[MQTT-3.1.4-3] A publish that follows the second CONNACK is not seen by the first connection."""
    v5 = version is V5
    async with await trio.dial(0, version) as first, await trio.dial(1, version) as second:
        async with await trio.dial(0) as publisher:
            await publisher.connect(f"{unique}-p")
            await first.connect(unique, clean_start=False, properties=KEPT if v5 else Properties())
            await first.subscribe(f"{unique}/#", qos=1)
            answer = await second.connect(unique, clean_start=False, properties=KEPT if v5 else Properties())
            assert answer.session_present
            await publisher.publish(f"{unique}/a", b"after", qos=1)
            await publisher.publish(f"{unique}/a", b"after", qos=0)
            assert await second.receive_payloads(2) == [b"after"] * 2
        assert await rest_of(first) == (b"\xe0\x01\x8e" if v5 else b"")


async def test_what_was_not_acknowledged_goes_out_again_with_its_id_and_dup(trio: Scene, unique: str) -> None:
    """[MQTT-4.4.0-1] [MQTT-3.3.1-1]"""
    async with await trio.dial(0) as first, await trio.dial(2) as publisher:
        await first.connect(unique, properties=KEPT)
        await first.subscribe(unique, qos=1)
        await publisher.connect(f"{unique}-p")
        for number in range(6):
            await publisher.publish(unique, b"%d" % number, qos=1)
        sent = [await first.expect(Publish) for _ in range(6)]
        await first.send(PubAck(sent[0].packet_id), PubAck(sent[3].packet_id))
        await first.ping()
        async with await trio.dial(1) as second:
            assert (await second.connect(unique, clean_start=False, properties=KEPT)).session_present
            again = [await second.receive_message() for _ in range(4)]
            assert [(m.payload, m.packet_id) for m in again] == [
                (m.payload, m.packet_id) for m in sent if m.payload not in (b"0", b"3")
            ]
            assert all(message.dup for message in again)
            await publisher.publish(unique, b"new", qos=1)
            assert not (await second.receive_message()).dup
            await second.expect_silence()


async def test_a_qos_2_message_that_was_received_is_only_released_on_the_next_node(trio: Scene, unique: str) -> None:
    """[MQTT-4.3.3-6] PUBREC was stored: PUBLISH never goes out again, PUBREL does."""
    async with await trio.dial(0) as first, await trio.dial(2) as publisher:
        await first.connect(unique, properties=KEPT)
        await first.subscribe(unique, qos=2)
        await publisher.connect(f"{unique}-p")
        await publisher.publish(unique, b"once", qos=2)
        await publisher.publish(unique, b"not received", qos=2)
        sent = await first.expect(Publish)
        await first.send(PubRec(sent.packet_id))
        assert (await first.expect(PubRel)).packet_id == sent.packet_id
        async with await trio.dial(1) as second:
            await second.connect(unique, clean_start=False, properties=KEPT)
            assert (await second.expect(PubRel)).packet_id == sent.packet_id
            await second.send(PubComp(sent.packet_id))
            message = await second.receive_message()
            assert (message.payload, message.dup) == (b"not received", True)
            await second.expect_silence()


async def test_clean_start_elsewhere_ends_the_session(trio: Scene, unique: str) -> None:
    """[MQTT-3.1.2-4] Neither its subscriptions nor its queue are left, on any node."""
    async with await trio.dial(0) as first, await trio.dial(2) as publisher:
        await first.connect(unique, properties=KEPT)
        await first.subscribe(unique, qos=1)
        await publisher.connect(f"{unique}-p")
        await publisher.publish(unique, b"unacknowledged", qos=1)
        async with await trio.dial(1) as second:
            assert not (await second.connect(unique, properties=KEPT)).session_present
            assert await publisher.publish(unique, b"x", qos=1) is ReasonCode.NO_MATCHING_SUBSCRIBERS
            await second.expect_silence()


async def test_a_session_that_ends_with_its_connection_is_not_taken_over(
    trio: Scene, version: ProtocolVersion, unique: str
) -> None:
    """MQTT 5.0, 3.1.2.11.2: expiry 0 ends the session with its old connection."""
    async with await trio.dial(0, version) as first, await trio.dial(1) as second, await trio.dial(2) as publisher:
        await first.connect(unique)
        await first.subscribe(unique, qos=1)
        assert not (await second.connect(unique, clean_start=False, properties=KEPT)).session_present
        await publisher.connect(f"{unique}-p")
        assert await publisher.publish(unique, b"x", qos=1) is ReasonCode.NO_MATCHING_SUBSCRIBERS
        with pytest.raises(ConnectionClosedError):
            await first.ping()


async def test_messages_that_waited_for_one_node_come_on_the_other(trio: Scene, unique: str) -> None:
    """Queued while nobody was connected, while connected elsewhere and slow, and while moving: each once, in order."""
    slow = Properties(session_expiry_interval=300, receive_maximum=3)
    async with await trio.dial(2) as publisher:
        await publisher.connect(f"{unique}-p")
        async with await trio.dial(0) as first:
            await first.connect(unique, properties=slow)
            await first.subscribe(unique, qos=1)
        count = 0

        async def publish() -> None:
            nonlocal count
            for _ in range(120):
                await publisher.publish(unique, b"%d" % count, qos=1)
                count += 1

        publishing = asyncio.create_task(publish())
        received: list[int] = []

        async def receive(client: Client) -> None:
            """An acknowledgement that was overtaken by the next CONNECT brings its message again, and says so."""
            message = await client.receive_message()
            if int(message.payload) in received:
                assert message.dup
            else:
                received.append(int(message.payload))

        for turn in range(9):
            async with await trio.dial(turn % 3) as client:
                assert (await client.connect(unique, clean_start=False, properties=slow)).session_present
                for _ in range(8):
                    await receive(client)
                await client.ping()
        await publishing
        async with await trio.dial(1) as client:
            await client.connect(unique, clean_start=False, properties=slow)
            while len(received) < count:
                await receive(client)
            await client.expect_silence()
        assert received == list(range(count))


async def test_a_storm_of_one_id_on_three_nodes_ends_with_one_owner(trio: Scene, unique: str) -> None:
    """[MQTT-3.1.4-3] Whoever was sent away knows it; the one left has the session, and serves."""

    async def come(number: int) -> Client:
        client = await trio.dial(number % 3)
        with suppress(ConnectionClosedError):  # evicted before its CONNACK was read
            await client.connect(unique, clean_start=False, properties=KEPT)
        return client

    clients = await asyncio.gather(*(come(number) for number in range(24)))
    try:
        async with await trio.dial(0) as publisher:
            await publisher.connect(f"{unique}-p")
            alive = []
            for client in clients:
                with suppress(ConnectionClosedError, OSError):
                    await client.ping()
                    alive.append(client)
            assert len(alive) == 1
            await alive[0].subscribe(unique, qos=1)
            await publisher.publish(unique, b"to the last", qos=1)
            assert (await alive[0].receive_message()).payload == b"to the last"
    finally:
        for client in clients:
            await client.close()


async def test_another_principal_gets_neither_the_session_nor_the_connection(start_trio: StartTrio) -> None:
    """A client id in use by one principal is refused to another on every node, connected or not."""
    rights = policy(users={"ann": [allow("#")], "bob": [allow("#")]})
    shared = {name: replace(one, client_ids=("shared-*",)) for name, one in rights.principals.items()}
    trio = start_trio(replace(rights, principals=shared))
    async with await trio.dial(0) as ann, await trio.dial(1) as bob:
        await ann.connect("shared-1", username="ann", password=PASSWORD.encode(), properties=KEPT)
        refused = await bob.connect("shared-1", username="bob", password=PASSWORD.encode(), clean_start=True)
        assert refused.reason is ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
        await ann.ping()
        await ann.disconnect()
    async with await trio.dial(2) as bob:
        refused = await bob.connect("shared-1", username="bob", password=PASSWORD.encode(), clean_start=True)
        assert refused.reason is ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
