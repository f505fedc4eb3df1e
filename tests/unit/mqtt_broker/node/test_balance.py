"""How many connections are beyond a node's share, and when its figures and those of the others can be compared."""

import random

import pytest

from mqtt_broker.node.balance import COMPARISONS, Balance, Told, surplus
from mqtt_broker.node.peers.lease import RENEW_S

TOLERANCE_PERCENT = 20


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        (0, (), 0),
        (10_000, (), 0),
        (100, (100, 100), 0),
        (119, (100, 100), 0),  # within the tolerance
        (300, (0, 0), 200),
        (300, (300, 0), 100),
        (190, (300, 0), 0),
        (12, (0,), 0),  # so few are not worth a reconnect
    ],
)
def test_a_node_has_beyond_its_share_what_exceeds_the_average(own: int, others: tuple[int, ...], expected: int) -> None:
    assert surplus(own, others, TOLERANCE_PERCENT) == expected


class Fleet:
    """Nodes that tell their figures once in RENEW_S, each at moments of its own, and read all figures as they do."""

    def __init__(self, connections: list[float], seed: int = 1) -> None:
        chance = random.Random(seed)
        self.connections = connections
        self.balances = [Balance() for _ in connections]
        self._next_s = [chance.random() * RENEW_S for _ in connections]
        self._told: dict[object, Told] = {}
        self.now_s = 0.0

    def step(self, until_s: float) -> None:
        """Time passes, and whoever must tell does."""
        for number in sorted(range(len(self.connections)), key=self._next_s.__getitem__):
            if self._next_s[number] <= until_s:
                self._next_s[number] += RENEW_S
                self.tell(number)
        self.now_s = until_s

    def tell(self, number: int) -> None:
        before = self._told.get(number)
        told = Told(1 if before is None else before.renewals + 1, int(self.connections[number]))
        self._told[number] = told
        others = {other: told for other, told in self._told.items() if other != number}
        self.balances[number].note(told.connections, others)

    def beyond(self) -> list[int | None]:
        return [balance.beyond(TOLERANCE_PERCENT) for balance in self.balances]

    def pass_time(self, lasts_s: float, grow_per_s: float = 0.0) -> list[int]:
        """How many each look would send away, in steps of a tenth of a second."""
        found: list[int] = []
        for step in range(int(lasts_s * 10)):
            self.connections[:] = [count + grow_per_s / 10 for count in self.connections]
            self.step(self.now_s + 0.1 if step else self.now_s)
            found += [beyond for beyond in self.beyond() if beyond]
        return found


@pytest.mark.parametrize("per_s", [10, 60, 500])
@pytest.mark.parametrize("nodes", [2, 3, 7])
def test_nobody_has_too_many_while_clients_come_to_all_nodes_alike(nodes: int, per_s: float) -> None:
    for seed in range(20):
        fleet = Fleet([0.0] * nodes, seed)
        assert fleet.pass_time(4.0, per_s) == []
        assert fleet.pass_time(10.0) == []


def test_nobody_has_too_many_while_all_nodes_lose_clients_alike() -> None:
    for seed in range(20):
        fleet = Fleet([900.0] * 3, seed)
        assert fleet.pass_time(8.0, -100.0) == []


def test_a_node_that_comes_back_empty_gets_its_share_before_long_and_no_more() -> None:
    fleet = Fleet([300.0, 300.0, 300.0])
    fleet.pass_time(10.0)
    fleet.connections[:] = [450.0, 450.0, 0.0]
    fleet.pass_time(3 * COMPARISONS)
    assert fleet.beyond() == [150, 150, 0]
    for number in (0, 1):
        fleet.connections[number] -= 150
        fleet.connections[2] += 150
        fleet.balances[number].forget()
    assert fleet.pass_time(20.0) == []
    assert fleet.beyond() == [0, 0, 0]


def test_a_share_that_is_uneven_for_one_comparison_moves_nobody() -> None:
    balance = Balance()
    for renewals, own in enumerate((100, 160, 100, 160, 100)):
        balance.note(own, {"b": Told(renewals, 100)})
        assert not balance.beyond(TOLERANCE_PERCENT)


def test_nothing_is_known_before_every_other_node_has_told_anew() -> None:
    balance = Balance()
    balance.note(200, {"b": Told(1, 0), "c": Told(1, 0)})
    for renewals in range(2, 10):
        balance.note(200, {"b": Told(renewals, 0), "c": Told(1, 0)})
    assert balance.beyond(TOLERANCE_PERCENT) is None
    balance.note(200, {"b": Told(10, 0), "c": Told(2, 0)})
    balance.note(200, {"b": Told(11, 0), "c": Told(3, 0)})
    assert balance.beyond(TOLERANCE_PERCENT) == 133


def test_figures_are_used_for_one_move_only() -> None:
    """A node that hangs for a while tells nothing of the clients that came to it."""
    balance = Balance()
    for renewals in range(COMPARISONS + 1):
        balance.note(200, {"b": Told(renewals, 0)})
    assert balance.beyond(TOLERANCE_PERCENT) == 100
    balance.forget()
    balance.note(100, {"b": Told(COMPARISONS, 0)})
    balance.note(100, {"b": Told(COMPARISONS, 0)})
    assert balance.beyond(TOLERANCE_PERCENT) is None


def test_a_node_alone_has_nobody_to_send_clients_to() -> None:
    balance = Balance()
    for _ in range(COMPARISONS + 1):
        balance.note(10_000, {})
    assert balance.beyond(TOLERANCE_PERCENT) == 0
