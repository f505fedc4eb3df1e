"""The broker's own figures below $SYS: who may read them, that nobody may write them, and that they are true."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from mqtt_api.node_settings import MQTTSettings
from mqtt_api.policy import Activity
from mqtt_broker.wire.packets import ProtocolVersion, Publish, Will
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import Broker, StartBroker, write
from support.client import Client, dial
from support.policies import PASSWORD, allow, deny, policy
from support.processes import Program, free_port, run
from support.tools import require
from support.waiting import eventually

EVERY_SECOND = MQTTSettings(sys_interval_s=1)
RULES = policy(
    users={
        "watcher": [allow("$SYS/#", activity=Activity.SUBSCRIBE), deny("$SYS/broker/heap/#", name="no-heap")],
        "writer": [allow("$SYS/#"), allow("#", name="all")],
        "guest": [allow("#")],
    }
)


@pytest.fixture
def broker(start_broker: StartBroker) -> Broker:
    return start_broker(RULES, mqtt=EVERY_SECOND)


async def connected(broker: Broker, username: str, client_id: str | None = None, **more: object) -> Client:
    client = await broker.dial()
    login = {"username": username, "password": PASSWORD.encode(), **more}
    answer = await client.connect(client_id or username, **login)  # type: ignore[arg-type]  # as given
    assert answer.reason is ReasonCode.SUCCESS
    return client


async def figures(client: Client, topic_filter: str = "$SYS/#") -> dict[str, Publish]:
    """What a new subscription is shown at once, by topic."""
    await client.subscribe(topic_filter, qos=2)
    found: dict[str, Publish] = {}
    try:
        while True:
            message = await client.receive_message(0.3)
            if message.retain:
                found[message.topic] = message
    except TimeoutError:
        return found


async def test_a_new_subscriber_is_shown_every_figure_at_once(start_broker: StartBroker) -> None:
    broker = start_broker(RULES, mqtt=MQTTSettings(sys_interval_s=600))
    async with await connected(broker, "watcher") as watcher:
        found = await figures(watcher)
        assert found["$SYS/broker/version"].payload.startswith(b"stoa version ")
        assert found["$SYS/broker/uptime"].payload.endswith(b" seconds")
        assert int(found["$SYS/broker/bytes/received"].payload) >= 0
        assert len(found) > 30
        assert not any(topic.startswith("$SYS/broker/heap/") for topic in found), "a deny rule holds here too"


async def test_figures_follow_what_happens(broker: Broker) -> None:
    async with await connected(broker, "watcher") as watcher, await connected(broker, "guest") as guest:
        await watcher.subscribe("$SYS/broker/publish/messages/received", qos=0)
        await watcher.subscribe("$SYS/broker/clients/connected", qos=0)
        for _ in range(7):
            await guest.publish("t", b"x", qos=1)
        wanted = {("$SYS/broker/publish/messages/received", b"7"), ("$SYS/broker/clients/connected", b"2")}
        async with asyncio.timeout(10):
            while wanted:
                message = await watcher.receive_message()
                wanted.discard((message.topic, message.payload))


async def test_a_live_figure_is_not_flagged_as_retained_unless_asked(broker: Broker) -> None:
    """[MQTT-3.3.1-12] [MQTT-3.3.1-13]"""
    async with await connected(broker, "watcher") as watcher:
        await watcher.subscribe("$SYS/broker/uptime", qos=1)
        first, second = await watcher.receive_message(), await watcher.receive_message()
        assert (first.retain, second.retain) == (True, False)
        assert first.qos == second.qos == 0


async def test_without_a_right_of_its_own_there_is_nothing_to_see(broker: Broker) -> None:
    """A right to everything is none to $SYS [MQTT-4.7.2-1]."""
    async with await connected(broker, "guest") as guest:
        assert await guest.subscribe("$SYS/#", "#", "+/broker/uptime") == (
            ReasonCode.NOT_AUTHORIZED,
            ReasonCode.GRANTED_QOS_0,
            ReasonCode.GRANTED_QOS_0,
        )
        await guest.expect_silence(2.5)


@pytest.mark.parametrize("username", ["guest", "writer"])
@pytest.mark.parametrize("topic", ["$SYS/broker/version", "$SYS/anything", "$SYS/", "$SYS"])
async def test_no_client_publishes_there_whatever_its_rules_say(broker: Broker, username: str, topic: str) -> None:
    async with await connected(broker, username) as client:
        assert await client.publish(topic, b"forged", qos=1, retain=True) is ReasonCode.NOT_AUTHORIZED
        for _ in range(3):  # twice the same topic: this is what a fast road would be made for
            await client.publish(topic, b"forged", qos=0)
        await client.ping()
    async with await connected(broker, "watcher") as again:
        assert all(message.payload != b"forged" for message in (await figures(again)).values())


async def test_a_will_there_is_refused_with_the_connection(broker: Broker) -> None:
    async with await broker.dial() as client:
        will = Will(topic="$SYS/broker/version", payload=b"forged", qos=0, retain=True)
        answer = await client.connect("writer", username="writer", password=PASSWORD.encode(), will=will)
        assert answer.reason is ReasonCode.NOT_AUTHORIZED


async def test_other_dollar_topics_need_a_rule_that_names_them(broker: Broker) -> None:
    async with await connected(broker, "writer") as client:
        for topic in ("$anything", "$share/g/t", "$"):
            assert (await client.publish(topic, b"x", qos=1)) in (
                ReasonCode.NOT_AUTHORIZED,
                ReasonCode.TOPIC_NAME_INVALID,
            )


async def test_one_member_of_a_shared_subscription_gets_each_figure(broker: Broker) -> None:
    async with (
        await connected(broker, "watcher", "watcher-1") as one,
        await connected(broker, "watcher", "watcher-2") as two,
    ):
        for client in (one, two):
            await client.subscribe("$share/g/$SYS/broker/uptime", qos=0)
        seen = await asyncio.gather(one.receive_message(), two.receive_message())
        assert seen[0].payload != seen[1].payload


async def test_the_interval_changes_while_the_node_runs(start_broker: StartBroker) -> None:
    broker = start_broker(RULES, mqtt=MQTTSettings(sys_interval_s=0))
    async with await connected(broker, "watcher") as watcher:
        assert await figures(watcher) == {}
        broker.settings = msgspec.structs.replace(broker.settings, mqtt=EVERY_SECOND)
        write(broker.folder / "settings.json", msgspec.json.encode(broker.settings))
        assert (await watcher.receive_message()).topic.startswith("$SYS/broker/")


async def test_a_client_of_3_1_1_reads_them_too(broker: Broker) -> None:
    async with await broker.dial(ProtocolVersion.V3_1_1) as client:
        await client.connect("watcher", username="watcher", password=PASSWORD.encode())
        await client.subscribe("$SYS/broker/version", qos=0)
        assert (await client.receive_message()).payload.startswith(b"stoa version ")


async def test_every_figure_of_mosquitto_is_here_under_its_name(start_broker: StartBroker, tmp_path: Path) -> None:
    port = free_port()
    settings = tmp_path / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nsys_interval 1\n")
    with Program([require("mosquitto"), "-c", settings]):
        await eventually(lambda: _accepts(port), what="mosquitto's port")
        async with await dial(port, ProtocolVersion.V3_1_1) as client:
            await client.connect("c")
            theirs = set(await figures(client))
    broker = start_broker(policy(anonymous=[allow("$SYS/#")]), mqtt=EVERY_SECOND)
    async with await broker.dial() as client:
        await client.connect("c")
        ours = set(await figures(client))
    assert len(theirs) > 30
    assert theirs <= ours, sorted(theirs - ours)


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
async def test_mosquitto_sub_finds_the_names_it_knows(broker: Broker, version: str) -> None:
    program = require("mosquitto_sub")
    names = ["version", "uptime", "clients/connected", "clients/total", "bytes/received", "load/bytes/sent/1min"]
    arguments = [
        "-h",
        "127.0.0.1",
        "-p",
        str(broker.port),
        "-u",
        "watcher",
        "-P",
        PASSWORD,
        "-i",
        "watcher",
        "-V",
        version,
    ]
    topics = [part for name in names for part in ("-t", f"$SYS/broker/{name}")]
    finished = await asyncio.to_thread(run, [program, *arguments, *topics, "-v", "-C", str(len(names))])
    assert finished.returncode() == 0, finished.dump()
    assert {line.split(" ")[0].removeprefix("$SYS/broker/") for line in finished.out} == set(names)
