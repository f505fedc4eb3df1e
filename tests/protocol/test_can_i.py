"""`stoa can-i` and the running broker give the same answer to the same question."""

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mqtt_api.policy import Activity
from mqtt_broker.wire.packets import Publish
from mqtt_broker.wire.reasons import ReasonCode
from mqtt_operator.errors import UsageError
from mqtt_operator.local.ask import Asked, ask
from mqtt_operator.local.folder import read_broker
from support.client import Client, dial
from support.processes import free_port, run
from support.up import Up, resource, stoa, write_resources

TUPLES = 1_000
SEED = 3
LEVELS = ("a", "b", "c", "alice", "bob", "3", "")
GROUPS = (None, None, "workers", "others")
ANONYMOUS_ID = "somebody"
CLIENTS = ("alice", "bob", "carol", "anonymous")


def random_rule(chance: random.Random, number: int) -> dict[str, Any]:
    activity = chance.choice(["All", "Publish", "Subscribe"])
    rule: dict[str, Any] = {
        "name": f"rule-{number}",
        "effect": "Deny" if chance.random() < 0.15 else "Allow",
        "activity": activity,
        "topics": [random_template(chance) for _ in range(chance.randint(1, 3))],
        "qos": chance.sample([0, 1, 2], chance.randint(1, 3)),
    }
    if activity == "Publish":
        rule["retain"] = chance.choice(["All", "Retained", "NotRetained"])
    if activity == "Subscribe":
        rule["sharedSubscription"] = chance.choice(["All", "Shared", "NotShared"])
        if rule["sharedSubscription"] == "Shared" and chance.random() < 0.5:
            rule["sharedGroups"] = ["workers"]
    return rule


def random_template(chance: random.Random) -> str:
    levels = [
        chance.choice(["a", "b", "c", "+", "${clientid}", "${username}", "${attr.line}", ""])
        for _ in range(chance.randint(1, 3))
    ]
    if chance.random() < 0.7:
        levels.append("#")
    return "/".join(levels) or "a"


def random_topic(chance: random.Random, wildcards: bool) -> str:
    levels = [chance.choice([*LEVELS, "+"] if wildcards else LEVELS) for _ in range(chance.randint(1, 4))]
    if wildcards and chance.random() < 0.3:
        levels.append("#")
    return "/".join(levels) or "a"


def random_folder(chance: random.Random, port: int) -> Iterator[dict[str, Any]]:
    yield resource(
        "MQTTBroker",
        "plant",
        sessionStore={"embedded": {}},
        authentication=[{"name": "passwords", "type": "Password"}, {"name": "anyone", "type": "Anonymous"}],
        listeners=[{"name": "mqtt", "port": port, "allowPlaintext": True}],
    )
    for name, groups, attributes in (("alice", ["g1"], {"line": "3"}), ("bob", ["g1", "g2"], {}), ("carol", [], {})):
        yield resource(
            "MQTTClient",
            name,
            brokerRef={"name": "plant"},
            groups=groups,
            attributes=attributes,
            credentials={"passwords": [{"generate": {"secretName": f"{name}-mqtt"}}]},
        )
    yield resource(
        "MQTTClient",
        "witness",
        brokerRef={"name": "plant"},
        credentials={"passwords": [{"generate": {"secretName": "witness-mqtt"}}]},
    )
    everything = {"name": "everything", "effect": "Allow", "activity": "Subscribe", "topics": ["#"]}
    yield permission("witness", [everything], {"kind": "MQTTClient", "name": "witness"}, 100)
    numbers = itertools.count()
    subjects = [
        {"kind": "MQTTClient", "name": "alice"},
        {"kind": "Group", "name": "g1"},
        {"kind": "Group", "name": "g2"},
        {"kind": "Authenticated"},
        {"kind": "Anonymous"},
    ]
    for index, subject in enumerate(subjects):
        rules = [random_rule(chance, next(numbers)) for _ in range(6)]
        yield permission(f"random-{index}", rules, subject, chance.randint(0, 1))


def permission(name: str, rules: list[dict[str, Any]], subject: dict[str, Any], priority: int) -> dict[str, Any]:
    return resource(
        "TopicPermission", name, brokerRef={"name": "plant"}, subjects=[subject], priority=priority, rules=rules
    )


def random_question(chance: random.Random) -> Asked:
    activity = chance.choice([Activity.PUBLISH, Activity.SUBSCRIBE])
    publishes = activity is Activity.PUBLISH
    client = chance.choice(CLIENTS)
    return Asked(
        client=client,
        client_id=ANONYMOUS_ID if client == "anonymous" else None,
        activity=activity,
        topic=random_topic(chance, wildcards=not publishes),
        qos=chance.randint(0, 2),
        retain=publishes and chance.random() < 0.3,
        group=None if publishes else chance.choice(GROUPS),
    )


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Up]:
    folder = tmp_path / "folder"
    resources = random_folder(random.Random(SEED), free_port())
    write_resources(folder / "all.yaml", resources)
    with Up(folder, tmp_path / "data") as up:
        yield up


async def log_in(up: Up, port: int, name: str) -> Client:
    client = await dial(port)
    if name == "anonymous":
        answer = await client.connect(ANONYMOUS_ID)
    else:
        password = up.credential(f"{name}-mqtt", "password").encode()
        answer = await client.connect(name, username=name, password=password)
    assert answer.reason is ReasonCode.SUCCESS
    return client


async def publish(client: Client, asked: Asked, payload: bytes) -> bool | None:
    """What the acknowledgement says; None at QoS 0, which has none."""
    if asked.qos == 0:
        await client.send(Publish(asked.topic, payload, 0, asked.retain))
        return None
    reason = await client.publish(asked.topic, payload, qos=asked.qos, retain=asked.retain)
    return reason is not ReasonCode.NOT_AUTHORIZED


async def subscribe(client: Client, asked: Asked) -> bool:
    topic_filter = asked.topic if asked.group is None else f"$share/{asked.group}/{asked.topic}"
    (reason,) = await client.subscribe(topic_filter, qos=asked.qos)
    await client.unsubscribe(topic_filter)
    return not reason.is_error


async def payloads_until_silence(client: Client) -> set[bytes]:
    found = set()
    while True:
        try:
            found.add((await client.receive_message(0.5)).payload)
        except TimeoutError:
            return found


async def test_can_i_and_the_broker_agree_on_a_thousand_random_questions(running: Up) -> None:
    declared = read_broker(running.folder)
    port = declared.broker.spec.listeners[0].port
    chance = random.Random(SEED)
    questions = [random_question(chance) for _ in range(TUPLES)]
    expected = [ask(declared, asked) for asked in questions]
    clients = {name: await log_in(running, port, name) for name in (*CLIENTS, "witness")}
    said: dict[int, bool] = {}
    await clients["witness"].subscribe("#")
    for number, asked in enumerate(questions):
        client = clients[asked.client]
        if asked.activity is Activity.SUBSCRIBE:
            said[number] = await subscribe(client, asked)
            continue
        acknowledged = await publish(client, asked, b"%d" % number)
        if acknowledged is not None:
            said[number] = acknowledged
    for name in CLIENTS:
        await clients[name].ping()
    delivered = await payloads_until_silence(clients["witness"])
    disagreements = defaultdict(list)
    for number, (asked, answer) in enumerate(zip(questions, expected, strict=True)):
        if asked.activity is Activity.PUBLISH and (b"%d" % number in delivered) is not answer.allowed:
            disagreements["delivered"].append((asked, answer.rule, answer.reason))
        if number in said and said[number] is not answer.allowed:
            disagreements["answered"].append((asked, answer.rule, answer.reason))
    for client in clients.values():
        await client.close()
    assert not disagreements, "\n".join(map(str, itertools.chain(*disagreements.values())))
    allowed = sum(answer.allowed for answer in expected)
    assert TUPLES / 10 < allowed < TUPLES * 9 / 10, "the questions prove nothing when all answers are alike"


async def test_the_command_line_says_the_same_with_exit_codes(running: Up) -> None:
    declared = read_broker(running.folder)
    chance = random.Random(SEED + 1)
    asked_of_each = {True: 0, False: 0}
    while min(asked_of_each.values()) < 2:
        asked = random_question(chance)
        answer = ask(declared, asked)
        if asked_of_each[answer.allowed] >= 2 or not asked.topic:
            continue
        asked_of_each[answer.allowed] += 1
        arguments: list[str | Path] = [asked.client, asked.activity.lower(), "--qos", str(asked.qos)]
        arguments += ["-f", running.folder]
        if asked.retain:
            arguments.append("--retain")
        if asked.client_id:
            arguments += ["--client-id", asked.client_id]
        if asked.group:
            arguments += ["--share", asked.group]
        program = await asyncio.to_thread(run, stoa("can-i", *arguments, "--", asked.topic))
        assert program.returncode() == (0 if answer.allowed else 3), program.dump()
        assert answer.rule is None or any(answer.rule in line for line in program.out)


def test_a_question_about_nobody_is_a_usage_error(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_resources(folder / "all.yaml", random_folder(random.Random(SEED), 1883))
    with pytest.raises(UsageError):
        ask(read_broker(folder), Asked(client="mallory", activity=Activity.PUBLISH, topic="a"))
    program = run(stoa("can-i", "mallory", "publish", "a", "-f", folder))
    assert program.returncode() == 2
    assert "Traceback" not in program.dump()
