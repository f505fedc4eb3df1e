"""Leases: how long the own one lasts, and who has been silent for too long."""

from mqtt_api.node_facts import NodeFacts
from mqtt_broker.node.peers.lease import Tenure, Watch
from mqtt_broker.store.cluster import Lease

LEASE_S = 6.0


def lease(renewals: int, node: str = "node-1", token: int = 3) -> Lease:
    return Lease(node=node, token=token, renewals=renewals, facts=NodeFacts())


def test_a_lease_counts_from_when_its_renewal_was_sent_and_ends_before_others_may_act() -> None:
    tenure = Tenure(LEASE_S)
    assert tenure.ends_at < 0
    tenure.renewed(100.0)
    assert tenure.ends_at == 105.0


def test_an_answer_to_an_older_renewal_shortens_nothing() -> None:
    tenure = Tenure(LEASE_S)
    tenure.renewed(100.0)
    tenure.renewed(99.0)
    assert tenure.ends_at == 105.0


def test_a_counter_that_moves_is_never_overdue() -> None:
    watch = Watch(LEASE_S)
    for second in range(60):
        assert watch.overdue([lease(second)], float(second)) == []


def test_a_counter_that_stood_still_for_the_whole_lease_is_overdue() -> None:
    watch = Watch(LEASE_S)
    assert watch.overdue([lease(4)], 0.0) == []
    assert watch.overdue([lease(4)], 5.9) == []
    assert watch.overdue([lease(4)], 6.0) == [lease(4)]


def test_a_store_that_did_not_answer_costs_nobody_the_lease() -> None:
    watch = Watch(LEASE_S)
    watch.overdue([lease(4)], 0.0)
    watch.interrupted()
    assert watch.overdue([lease(4)], 60.0) == []
    assert watch.overdue([lease(4)], 65.9) == []
    assert watch.overdue([lease(4)], 66.0) == [lease(4)]


def test_a_node_that_starts_again_is_watched_anew() -> None:
    watch = Watch(LEASE_S)
    watch.overdue([lease(4)], 0.0)
    assert watch.overdue([lease(4, token=9)], 7.0) == []


def test_nodes_are_judged_each_for_itself() -> None:
    watch = Watch(LEASE_S)
    watch.overdue([lease(4), lease(4, "node-2")], 0.0)
    assert watch.overdue([lease(5), lease(4, "node-2")], 7.0) == [lease(4, "node-2")]
