"""QoS 2 of publishers that move between nodes: the message counts once, wherever its handshake goes on."""

from cluster.nodes.scene import Scene
from mqtt_broker.wire.packets import Properties, PubComp, Publish, PubRec, PubRel
from mqtt_broker.wire.reasons import ReasonCode

KEPT = Properties(session_expiry_interval=300)


async def test_a_message_sent_again_on_another_node_is_not_delivered_again(trio: Scene, unique: str) -> None:
    """[MQTT-4.3.3-10] With receivers of every kind: on the first node, the second, the third; kept and not."""
    receivers = []
    for number in range(6):
        client = await trio.dial(number % 3)
        await client.connect(f"{unique}-{number}", properties=KEPT if number < 3 else Properties())
        await client.subscribe(unique, qos=2)
        receivers.append(client)
    message = Publish(unique, b"once", 2, packet_id=77)
    async with await trio.dial(0) as first:
        await first.connect(f"{unique}-p", properties=KEPT)
        await first.send(message)
        await first.expect(PubRec)
    again = Publish(unique, b"once", 2, dup=True, packet_id=77)
    async with await trio.dial(1) as second:
        assert (await second.connect(f"{unique}-p", clean_start=False, properties=KEPT)).session_present
        await second.send(again)
        assert (await second.expect(PubRec)).packet_id == 77
        await second.send(again)
        assert (await second.expect(PubRec)).packet_id == 77
    async with await trio.dial(2) as third:
        await third.connect(f"{unique}-p", clean_start=False, properties=KEPT)
        await third.send(PubRel(77))
        assert (await third.expect(PubComp)).reason is ReasonCode.SUCCESS
        await third.send(Publish(unique, b"next", 2, packet_id=77))
        await third.expect(PubRec)
    for client in receivers:
        assert await client.receive_payloads(2) == [b"once", b"next"]
        await client.expect_silence(0.1)
        await client.close()


async def test_a_message_sent_again_before_the_first_answer_counts_once(trio: Scene, unique: str) -> None:
    """The first node's write and the second node's may come in any order: the packet id is one of the session."""
    async with await trio.dial(2) as receiver:
        await receiver.connect(f"{unique}-r")
        await receiver.subscribe(unique, qos=2)
        for turn in range(10):
            message = Publish(unique, b"%d" % turn, 2, packet_id=5)
            first, second = await trio.dial(turn % 3), await trio.dial((turn + 1) % 3)
            async with first, second:
                await first.connect(f"{unique}-p", clean_start=False, properties=KEPT)
                await first.send(message)  # and goes without an answer
                await second.connect(f"{unique}-p", clean_start=False, properties=KEPT)
                await second.send(message)
                await second.expect(PubRec)
                await second.send(PubRel(5))
                await second.expect(PubComp)
        assert await receiver.receive_payloads(10) == [b"%d" % turn for turn in range(10)]
        await receiver.expect_silence()
