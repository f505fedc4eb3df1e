"""Sessions of a client that was deleted for good, on real nodes: they end though no node ran when it was time."""

import asyncio

from msgspec.structs import replace

from cluster.nodes.scene import StartScene
from mqtt_api.policy import Policy, Purge
from mqtt_broker.node.purge import SETTLE_S
from mqtt_broker.wire.packets import Properties
from mqtt_broker.wire.reasons import ReasonCode
from mqtt_operator.channel.terms import Members
from support.policies import PASSWORD, allow, policy
from support.waiting import eventually

KEPT = Properties(session_expiry_interval=3600)
LONG_AGO = 1_000
TOLD_S_MAX = SETTLE_S + 15.0


def users(revision: int, *names: str, **purges: int) -> Policy:
    made = policy(revision, users={name: [allow("#")] for name in names})
    return replace(made, purges={name: Purge(due_at=due_at) for name, due_at in purges.items()})


async def test_they_end_though_every_node_was_lost_before_it_was_time_and_that_is_told(
    start_scene: StartScene,
) -> None:
    """One client was asleep, another one connected to a node that never said goodbye; both had messages waiting."""
    scene = start_scene(policy=users(1, "pump", "admin"))
    await asyncio.to_thread(scene.start)
    asleep, awake = await scene.dial(0), await scene.dial(1)
    for client, client_id in ((asleep, "pump-asleep"), (awake, "pump-awake")):
        await client.connect(client_id, username="pump", password=PASSWORD.encode(), properties=KEPT)
        await client.subscribe("a", qos=1)
    await asleep.disconnect()
    admin = await scene.dial(0)
    await admin.connect("admin", username="admin", password=PASSWORD.encode())
    assert await admin.publish("a", b"waits", qos=1) is ReasonCode.SUCCESS
    for node in scene.nodes:
        node.kill()
    scene.write(users(2, "admin", pump=LONG_AGO))
    await asyncio.to_thread(scene.start, 0)

    async def is_told() -> bool:
        members: Members = await asyncio.to_thread(scene.operator.members)
        told = [member.facts.purged for member in members.nodes.values()]
        return any(each.revision == 2 and each.until >= LONG_AGO for each in told)

    await eventually(is_told, TOLD_S_MAX, "a node tells that they have ended")
    await asyncio.to_thread(scene.start, 1)
    await asyncio.to_thread(scene.apply, users(3, "pump", "admin"))
    for client_id in ("pump-asleep", "pump-awake"):
        client = await scene.dial(1)
        answer = await client.connect(
            client_id, clean_start=False, username="pump", password=PASSWORD.encode(), properties=KEPT
        )
        assert (answer.reason, answer.session_present) == (ReasonCode.SUCCESS, False)
        await client.expect_silence(0.1)
