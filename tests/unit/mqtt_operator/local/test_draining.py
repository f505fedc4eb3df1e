"""`stoa drain` orders once, tells how far it is, and knows when the node has left."""

import pytest

from mqtt_api.node_facts import NodeFacts
from mqtt_operator.channel.terms import Member, Members
from mqtt_operator.errors import NodeFailedError, UsageError
from mqtt_operator.local.draining import LOOK_S, drain


class Door:
    """A store in which plant-1's lease goes through these connection counts; None: it is gone.

    `is_alone`: there is no other node.
    """

    def __init__(self, *story: int | None, token_then: int = 5, is_alone: bool = False) -> None:
        other = Member(node="plant-0", token=1, renewals=1, facts=NodeFacts())
        self._others = {} if is_alone else {"plant-0": other}
        self._story = list(story)
        self._token_then = token_then
        self.orders: list[tuple[str, int]] = []

    def members(self) -> Members:
        connections = self._story.pop(0) if len(self._story) > 1 else self._story[0]
        if connections is None:
            return Members(nodes=self._others, feed_end=0, policy_revision=1)
        token = self._token_then if self.orders else 5
        facts = NodeFacts(connections=connections)
        return Members(
            nodes={**self._others, "plant-1": Member(node="plant-1", token=token, renewals=1, facts=facts)},
            feed_end=0,
            policy_revision=1,
        )

    def order_to_drain(self, node: str, token: int) -> None:
        self.orders.append((node, token))


class Clock:
    """Time passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def drained(door: Door, seconds_max: float = 10.0) -> tuple[bool, list[str]]:
    said: list[str] = []
    clock = Clock()
    return drain(door, "plant-1", said.append, seconds_max, clock=lambda: clock.now, sleep=clock.sleep), said


def test_it_is_ordered_once_and_waited_for() -> None:
    door = Door(9, 9, 4, 4, 0, None)
    has_left, said = drained(door)
    assert has_left
    assert door.orders == [("plant-1", 5)]
    assert [int(line.rpartition(" ")[2]) for line in said] == [9, 4, 0]


def test_a_node_that_came_back_with_another_token_had_left() -> None:
    has_left, _ = drained(Door(9, token_then=6))
    assert has_left


def test_a_node_that_is_not_there_needs_no_order() -> None:
    door = Door(None)
    assert drained(door) == (False, [])
    assert door.orders == []


def test_the_last_node_that_is_there_stays_for_nobody_would_take_its_clients() -> None:
    door = Door(9, is_alone=True)
    with pytest.raises(UsageError, match="the only node that is there"):
        drained(door)
    assert door.orders == []


def test_waiting_ends_with_the_time_it_was_given() -> None:
    with pytest.raises(NodeFailedError, match=f"within {4 * LOOK_S:g} s"):
        drained(Door(9), seconds_max=4 * LOOK_S)
