"""How many connections are beyond a node's share."""

import pytest

from mqtt_broker.node.drain import surplus


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        (0, [], 0),
        (10_000, [], 0),
        (100, [100, 100], 0),
        (119, [100, 100], 0),  # within the tolerance
        (300, [0, 0], 200),
        (300, [300, 0], 100),
        (190, [300, 0], 0),
        (12, [0], 0),  # so few are not worth a reconnect
    ],
)
def test_a_node_sends_away_what_it_has_beyond_its_share(own: int, others: list[int], expected: int) -> None:
    assert surplus(own, others, 20) == expected
