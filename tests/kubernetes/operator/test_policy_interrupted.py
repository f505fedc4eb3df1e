"""The policy's story ends at every step it takes, and another one goes on: nobody is shut out, nothing done twice."""

from base64 import b64decode
from collections.abc import Mapping

from argon2.exceptions import VerifyMismatchError

from mqtt_operator.desired.kinds import MQTT_CLIENT, SECRET, TOPIC_PERMISSION
from mqtt_operator.desired.manifest import Manifest
from support.broker_rig import OperatorKilled
from support.policy_api_rig import Cut, PolicyApiRig
from support.resource_examples import CLIENT, PERMISSION
from support.waiting import eventually

PASSES = 8  # a password is staged, hashed, written, known to all nodes, told, and in the end forgotten
EVERY_H, OVERLAP_MIN = 1, 10
ARRIVES_S_MAX = 10.0


async def declare(rig: PolicyApiRig, name: str) -> None:
    """A client whose password is made up, and replaced from time to time."""
    generate = {"secretName": f"{name}-mqtt", "every": f"{EVERY_H}h", "overlap": f"{OVERLAP_MIN}m"}
    await rig.declare(CLIENT, name, spec__credentials={"passwords": [{"generate": generate}]}, spec__groups=["pumps"])


async def killed_at(rig: PolicyApiRig, cut: Cut | None, *, arrives: bool = False) -> bool:
    """A run that ends there; False: it got through. `arrives`: what it was asking for at that moment still happens."""
    rig.restart(cut)
    try:
        await rig.settle(PASSES)
    except* OperatorKilled:
        pass
    if arrives:
        await eventually(lambda: not rig.operator.under_way(rig.key), ARRIVES_S_MAX, "it has happened")
    await rig.operator.close()
    return rig.kube.was_cut


async def go_on(rig: PolicyApiRig) -> None:
    """Another one, to the end."""
    rig.restart()
    await rig.settle(PASSES)


def cuts_of(rig: PolicyApiRig) -> list[Cut]:
    """Before each call of the run that was last."""
    steps = rig.kube.steps
    return [Cut(step, steps[: number + 1].count(step)) for number, step in enumerate(steps)]


async def versions(rig: PolicyApiRig) -> dict[tuple[str, str], str]:
    """Of every client and every Secret: who differs was written."""
    found = [each for kind in (MQTT_CLIENT, SECRET) for each in await rig.raw.list(kind, rig.key.namespace)]
    return {(each["kind"], each["metadata"]["name"]): each["metadata"]["resourceVersion"] for each in found}


async def data(rig: PolicyApiRig, name: str) -> Mapping[str, bytes]:
    """What the Secret of this client holds; {} if there is none."""
    found: Manifest | None = await rig.raw.get(SECRET, rig.key.namespace, f"{name}-mqtt")
    return {} if found is None else {key: b64decode(text) for key, text in found["data"].items()}


def accepted(rig: PolicyApiRig, name: str, *passwords: bytes) -> list[bool]:
    """Which of these nodes accept, by the policy in force."""
    verifiers = rig.store.policy().principals[name].passwords
    return [any(fits(rig, verifier, password) for verifier in verifiers) for password in passwords]


def fits(rig: PolicyApiRig, verifier: str, password: bytes) -> bool:
    try:
        return rig.hasher.verify(verifier, password)
    except VerifyMismatchError:
        return False


async def test_a_client_that_is_being_made(policy_rig: PolicyApiRig) -> None:
    rig = policy_rig
    await rig.declare(PERMISSION, "pumps")
    await declare(rig, "pump-0")
    await go_on(rig)
    cuts, names, reached = cuts_of(rig), {"pump-0"}, set[str]()
    for number, cut in enumerate(cuts, 1):
        before, name = await versions(rig), f"pump-{number}"
        await declare(rig, name)
        if await killed_at(rig, cut):
            reached.add(cut.step)
        assert set(rig.store.policy().principals) >= names  # nobody is shut out
        made, then = await data(rig, name), await versions(rig)
        await go_on(rig)
        assert await rig.condition(MQTT_CLIENT, name, "Ready") == ("True", "Synced")
        assert (await rig.get(TOPIC_PERMISSION, "pumps"))["status"]["matchedClients"] == len(names) + 1
        password = (await data(rig, name))["password"]
        assert accepted(rig, name, password) == [True]
        assert not made or made["password"] == password  # made once
        assert before.items() <= then.items()  # nobody else is written
        assert before.items() <= (await versions(rig)).items()
        names.add(name)
    print(f"killed before each of {len(cuts)} calls: {sorted(reached)}")
    assert reached >= {"create Secret", "store write_parts", "store change_verifiers", "status MQTTClient"}
    writes = rig.store.writes
    await go_on(rig)
    assert (rig.store.writes, rig.kube.writes) == (writes, [])


async def test_a_password_that_is_being_replaced(policy_rig: PolicyApiRig) -> None:
    rig, name = policy_rig, "pump-7"
    await declare(rig, name)
    await go_on(rig)
    rig.later(hours=EVERY_H)
    await go_on(rig)
    cuts, reached = cuts_of(rig), set[str]()
    rig.later(minutes=OVERLAP_MIN)
    await go_on(rig)
    for cut in cuts:
        old = (await data(rig, name))["password"]
        # it is due
        rig.later(hours=EVERY_H)
        if await killed_at(rig, cut):
            reached.add(cut.step)
        told = (await data(rig, name))["password"]
        assert accepted(rig, name, old, told) == [True, True]
        await go_on(rig)
        both = await data(rig, name)
        new = both["password"]
        assert new != old
        assert told in (old, new)  # replaced once
        assert both["previous-password"] == old
        assert accepted(rig, name, old, new) == [True, True]
        # in the middle of the overlap nothing happens
        before = await versions(rig)
        rig.later(minutes=OVERLAP_MIN / 2)
        await killed_at(rig, cut)
        assert await versions(rig) == before
        assert accepted(rig, name, old, new) == [True, True]
        # the old one is over
        rig.later(minutes=OVERLAP_MIN / 2)
        await killed_at(rig, cut)
        assert accepted(rig, name, new) == [True]
        await go_on(rig)
        alone = await data(rig, name)
        assert (alone["password"], "previous-password" in alone) == (new, False)
        assert accepted(rig, name, old, new) == [False, True]
        assert await rig.condition(MQTT_CLIENT, name, "Ready") == ("True", "Synced")
    print(f"killed before each of {len(cuts)} calls: {sorted(reached)}")
    assert reached >= {"apply Secret", "store write_parts", "store change_verifiers"}


async def test_a_password_whose_overlap_is_over(policy_rig: PolicyApiRig) -> None:
    rig, name = policy_rig, "pump-7"
    await declare(rig, name)
    await go_on(rig)
    await replaced(rig)
    rig.later(minutes=OVERLAP_MIN)
    await go_on(rig)
    cuts, reached = cuts_of(rig), set[str]()
    for cut in cuts:
        await replaced(rig)
        both = await data(rig, name)
        old, new = both["previous-password"], both["password"]
        rig.later(minutes=OVERLAP_MIN)
        if await killed_at(rig, cut, arrives=True):
            reached.add(cut.step)
        assert accepted(rig, name, new) == [True]
        assert keeps_connected(rig, name, old)
        await go_on(rig)
        assert accepted(rig, name, old, new) == [False, True]
        assert keeps_connected(rig, name, old)
        assert "previous-password" not in await data(rig, name)
        assert await rig.condition(MQTT_CLIENT, name, "Ready") == ("True", "Synced")
    print(f"killed before each of {len(cuts)} calls: {sorted(reached)}")
    assert reached >= {"apply Secret", "store write_parts", "store change_verifiers"}


async def replaced(rig: PolicyApiRig) -> None:
    """The next password is there, and the one before it is good for a while."""
    rig.later(hours=EVERY_H)
    await go_on(rig)


def keeps_connected(rig: PolicyApiRig, name: str, password: bytes) -> bool:
    """True if nodes leave those alone who logged in with it."""
    principal = rig.store.policy().principals[name]
    verifiers = [each for each in (*principal.passwords, *principal.retired) if isinstance(each, str)]
    return any(fits(rig, verifier, password) for verifier in verifiers)
