"""SUBACK and UNSUBACK hold on every node [D7]: what is published anywhere after it finds, or does not find, the way."""

from cluster.nodes.scene import Scene
from mqtt_broker.wire.packets import Properties
from mqtt_broker.wire.reasons import ReasonCode

KEPT = Properties(session_expiry_interval=300)
ROUNDS = 200


async def test_a_publish_after_suback_is_delivered_from_every_node(trio: Scene, unique: str) -> None:
    """[MQTT-3.8.4-2] 200 fresh filters; a subscriber on each node in turn, publishers on all three."""
    subscribers, publishers = [], []
    for number in range(3):
        subscriber, publisher = await trio.dial(number), await trio.dial(number)
        await subscriber.connect(f"{unique}-s{number}", properties=KEPT if number == 1 else Properties())
        await publisher.connect(f"{unique}-p{number}")
        subscribers.append(subscriber)
        publishers.append(publisher)
    for turn in range(ROUNDS):
        topic = f"{unique}/{turn}"
        subscriber = subscribers[turn % 3]
        await subscriber.subscribe(topic if turn % 2 else f"{unique}/+/{turn}/#", qos=turn % 3)
        if not turn % 2:
            topic = f"{unique}/x/{turn}/y"
        for number, publisher in enumerate(publishers):
            await publisher.publish(topic, b"%d" % number, qos=turn % 3)
        assert sorted(await subscriber.receive_payloads(3)) == [b"0", b"1", b"2"]
    for client in (*subscribers, *publishers):
        await client.close()


async def test_a_publish_after_unsuback_is_delivered_from_no_node(trio: Scene, unique: str) -> None:
    """[MQTT-3.10.4-2] [MQTT-3.10.4-3] What was begun before is the only thing that may still come."""
    publishers = []
    for number in range(3):
        publisher = await trio.dial(number)
        await publisher.connect(f"{unique}-p{number}")
        publishers.append(publisher)
    async with await trio.dial(0) as transient, await trio.dial(1) as kept:
        await transient.connect(f"{unique}-t")
        await kept.connect(f"{unique}-k", properties=KEPT)
        for turn in range(ROUNDS // 4):
            for subscriber in (transient, kept):
                topic = f"{unique}/{turn}"
                await subscriber.subscribe(topic, qos=1)
                assert await subscriber.unsubscribe(topic) == (ReasonCode.SUCCESS,)
                for publisher in publishers:
                    assert await publisher.publish(topic, b"x", qos=1) is ReasonCode.NO_MATCHING_SUBSCRIBERS
                    await publisher.publish(topic, b"x", qos=0)
        for subscriber in (transient, kept):
            await subscriber.expect_silence()
    for publisher in publishers:
        await publisher.close()
