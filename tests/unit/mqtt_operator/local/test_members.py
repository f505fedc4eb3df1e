"""What a node says of itself and what its lease says make one line."""

from pathlib import Path
from typing import Any

import pytest

from mqtt_api.node_facts import NodeFacts
from mqtt_api.node_settings import RedisSettings
from mqtt_operator.channel.terms import Member, Members, StoreAwayError
from mqtt_operator.local.members import NodeView, State, look_at, views
from mqtt_operator.local.node_status import AmongOthers, NodeStatus, summed
from mqtt_operator.local.run_document import Run, RunNode

NODE = RunNode(node="plant-0", admin_socket="/nowhere/s.sock", host="::1", ports={"mqtts": 8883, "ws": 9001})
STORE = RedisSettings(addresses=("redis:6379",), key_prefix="p")


def member(node: str = "plant-0", **facts: Any) -> Member:
    told = NodeFacts(**{"applied": 40, "policy_revision": 6, "connections": 9, **facts})
    return Member(node=node, token=3, renewals=1, facts=told)


def members(*nodes: Member) -> Members:
    return Members(nodes={each.node: each for each in nodes}, feed_end=42, policy_revision=7)


def test_a_node_that_answers_speaks_for_itself() -> None:
    cluster = AmongOthers(position=41)
    status = NodeStatus(ready=True, connections=5, sessions=8, policy_revision=7, cluster=cluster)
    assert views((NODE,), {"plant-0": status}, members(member())) == [
        NodeView(
            node="plant-0",
            state=State.READY,
            address="mqtts [::1]:8883, ws [::1]:9001",
            connections=5,
            sessions=8,
            feed=41,
            lag=1,
            policy=7,
        )
    ]


def test_a_node_that_is_silent_is_known_by_its_lease() -> None:
    (view,) = views((NODE,), {"plant-0": None}, members(member()))
    assert view == NodeView(
        node="plant-0", state=State.SILENT, address=view.address, connections=9, feed=40, lag=2, policy=6
    )


def test_a_node_of_another_machine_is_listed_after_ours() -> None:
    seen = views((NODE,), {"plant-0": NodeStatus(ready=True)}, members(member("plant-9")))
    assert [(each.node, each.state, each.address) for each in seen[1:]] == [("plant-9", State.SILENT, "")]


def test_without_the_store_nobody_knows_how_far_a_node_lags() -> None:
    (view,) = views((NODE,), {"plant-0": NodeStatus(cluster=AmongOthers(position=41))}, None)
    assert (view.feed, view.lag) == (41, None)


def test_a_node_ahead_of_what_was_read_lags_by_nothing() -> None:
    (view,) = views((NODE,), {"plant-0": None}, members(member(applied=50)))
    assert view.lag == 0


@pytest.mark.parametrize(
    ("status", "lease", "state"),
    [
        (NodeStatus(ready=True), None, State.READY),
        (NodeStatus(), None, State.STARTING),
        (NodeStatus(draining=True), None, State.DRAINING),
        (NodeStatus(ready=True), member(is_draining=True), State.DRAINING),
        (NodeStatus(draining=True, cluster=AmongOthers(frozen=True)), None, State.FROZEN),
        (None, None, State.AWAY),
    ],
)
def test_the_state_is_one_word(status: NodeStatus | None, lease: Member | None, state: State) -> None:
    (view,) = views((NODE,), {"plant-0": status}, members(*([lease] if lease else [])))
    assert view.state is state


async def test_a_store_that_is_away_leaves_the_rest_to_be_seen() -> None:
    def away(_: RedisSettings) -> Members:
        raise StoreAwayError("away")

    look = await look_at(Run(broker="default/plant", nodes=(NODE,), store=STORE), away)
    assert [each.state for each in look.nodes] == [State.AWAY]
    assert look.problem is not None


async def test_a_single_node_has_no_store_to_ask(tmp_path: Path) -> None:
    look = await look_at(Run(broker="default/plant", nodes=(NODE,)))
    assert look.problem is None


def test_the_sum_adds_what_each_has_and_not_what_all_know() -> None:
    statuses = [
        NodeStatus(ready=True, connections=2, sessions=5, retained=4, messages_received=10, policy_revision=8),
        NodeStatus(ready=True, connections=3, sessions=5, retained=4, messages_received=20, policy_revision=7),
        None,
    ]
    total = summed(statuses)
    assert total == NodeStatus(
        nodes=2,
        nodes_wanted=3,
        ready=True,
        connections=5,
        sessions=5,
        retained=4,
        messages_received=30,
        policy_revision=7,
    )


def test_the_sum_of_one_is_that_one_and_of_silence_nothing() -> None:
    assert summed([NodeStatus(node="a")]) == NodeStatus(node="a")
    assert summed([None]) is summed([None, None]) is None
