"""When a fault counts, and that a seed is all that a schedule needs."""

import random
from itertools import islice

from cluster.chaos.faults.catalogue import KINDS, possible
from cluster.chaos.history import History
from cluster.chaos.hits import Tally, tally
from cluster.chaos.schedule import draw
from support.chaos_story import Story

NODES = ("node-0", "node-1", "node-2")


def tallied(story: Story) -> dict[str, Tally]:
    return tally(History(story.record, story.terms))


def test_a_fault_hits_what_is_acknowledged_and_not_yet_received(story: Story) -> None:
    story.publishes("pub", 1).fault("kill").receives("sub", "pub.1")
    assert tallied(story) == {"kill": Tally(struck=1, hit=1, in_flight_max=1)}


def test_a_fault_that_strikes_an_idle_cluster_hits_nothing(story: Story) -> None:
    story.publishes("pub", 1).receives("sub", "pub.1").fault("kill").sends("pub", 2)
    assert tallied(story) == {"kill": Tally(struck=1, hit=0, in_flight_max=0)}


def test_the_same_seed_draws_the_same_faults() -> None:
    kinds = tuple(KINDS.values())
    first, again, other = (list(islice(draw(seed, kinds, NODES), 100)) for seed in ("7 0", "7 0", "7 1"))
    assert first == again
    assert first != other


def test_every_kind_comes_before_any_comes_twice() -> None:
    kinds = tuple(KINDS.values())
    drawn = [planned.kind for planned in islice(draw("1", kinds, NODES), 2 * len(kinds))]
    assert sorted(drawn[: len(kinds)]) == sorted(drawn[len(kinds) :]) == sorted(KINDS)


def test_durations_and_targets_are_those_of_the_kind() -> None:
    for planned in islice(draw("3", tuple(KINDS.values()), NODES), 200):
        kind = KINDS[planned.kind]
        assert kind.seconds[0] - 0.01 <= planned.seconds <= kind.seconds[1] + 0.01
        assert planned.target in (*NODES, kind.strikes)


def test_a_place_suffers_only_what_it_has_the_parts_for() -> None:
    assert set(possible(frozenset())) == {"kill", "pause", "pause-long", "drain", "rolling", "reconnect", "takeover"}
    assert "primary-kill" in possible(frozenset({"sentinel"}))
    assert random.Random(0).choice(possible(frozenset({"redis"})))
