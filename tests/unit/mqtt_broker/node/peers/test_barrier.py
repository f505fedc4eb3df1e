"""Positions of the feed: who is waited for, and when a change holds everywhere."""

from mqtt_broker.node.peers.barrier import Barrier, Peer

OWN = Peer(5, "node-0")
OTHER = Peer(6, "node-1")
THIRD = Peer(7, "node-2")


def barrier(*others: Peer) -> Barrier:
    made = Barrier(OWN)
    for other in others:
        made.entered(other, 0)
    return made


def test_what_holds_already_is_told_at_once() -> None:
    told: list[str] = []
    alone = barrier()
    alone.advance(3)
    alone.wait(3, lambda: told.append("now"))
    assert told == ["now"]


def test_a_change_holds_when_this_node_and_every_other_has_applied_it() -> None:
    told: list[int] = []
    three = barrier(OTHER, THIRD)
    three.wait(4, lambda: told.append(4))
    three.advance(4)
    three.applied(OTHER, 4)
    assert told == []
    three.applied(THIRD, 3)
    assert told == []
    three.applied(THIRD, 9)
    assert told == [4]


def test_calls_run_in_the_order_of_their_positions_and_of_asking() -> None:
    told: list[str] = []
    two = barrier(OTHER)
    for position, name in ((7, "c"), (5, "a"), (5, "b")):
        two.wait(position, lambda name=name: told.append(name))  # type: ignore[misc]
    two.applied(OTHER, 9)
    two.advance(6)
    assert told == ["a", "b"]
    two.advance(7)
    assert told == ["a", "b", "c"]


def test_a_node_that_left_is_not_waited_for() -> None:
    told: list[int] = []
    two = barrier(OTHER)
    two.wait(2, lambda: told.append(2))
    two.advance(2)
    two.left(OTHER)
    assert told == [2]


def test_a_node_that_entered_has_applied_what_was_before() -> None:
    told: list[int] = []
    one = barrier()
    one.wait(8, lambda: told.append(8))
    one.entered(OTHER, 8)
    one.advance(8)
    assert told == [8]
    one.wait(9, lambda: told.append(9))
    one.advance(9)
    assert told == [8]


def test_a_node_that_is_here_again_replaces_its_earlier_life() -> None:
    two = barrier(OTHER)
    again = Peer(9, OTHER.node)
    two.entered(again, 1)
    assert list(two.others) == [again]
    assert two.find(OTHER.node) == again


def test_a_word_of_a_node_that_is_not_known_is_not_taken() -> None:
    one = barrier()
    one.applied(OTHER, 100)
    assert list(one.others) == []


def test_the_own_entry_is_not_a_peer() -> None:
    one = barrier()
    one.entered(OWN, 3)
    assert list(one.others) == []


def test_the_eldest_is_the_one_with_the_lowest_token() -> None:
    assert barrier().is_elder
    assert barrier(OTHER).is_elder
    assert not barrier(Peer(1, "node-9")).is_elder


def test_the_lag_is_that_of_the_slowest() -> None:
    three = barrier(OTHER, THIRD)
    three.advance(10)
    three.applied(OTHER, 9)
    three.applied(THIRD, 4)
    assert three.lag() == 6
