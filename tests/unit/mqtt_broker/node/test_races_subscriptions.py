"""A subscription that its client gave up stays away, whatever was decided of it meanwhile."""

from collections.abc import Iterator

import pytest

from mqtt_api.policy import Activity, Policy
from support.conversation import apply, join, leave, slow_store, subscribe, tell, unsubscribe
from support.inprocess import InProcessNode
from support.policies import allow, deny, policy

DENYING = policy(2, anonymous=[allow("#"), deny("secret/#", activity=Activity.SUBSCRIBE)])
MUTING = policy(2, anonymous=[allow("#", activity=Activity.PUBLISH)])


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    node = InProcessNode()
    yield node
    node.close()


@pytest.mark.parametrize("rights", [DENYING, MUTING])
def test_what_a_policy_changes_does_not_bring_back_what_is_being_unsubscribed(
    node: InProcessNode, rights: Policy
) -> None:
    """[MQTT-3.10.4-1] The policy is decided while UNSUBSCRIBE is written."""
    client = join(node, "s")
    tell(node, client, subscribe("#"))
    slow_store(node)
    node.feed(client, unsubscribe("#"))
    node.turns(1)
    apply(node, rights)
    node.settle()
    leave(node, client)
    assert not join(node, "s").connection.session.subscriptions


def test_what_suback_compares_again_does_not_come_back_after_an_unsubscribe(node: InProcessNode) -> None:
    """[MQTT-3.10.4-1] Both in one read, and a deny rule before the first is written."""
    client = join(node, "s")
    slow_store(node)
    node.feed(client, subscribe("#") + unsubscribe("#"))
    node.turns(1)
    apply(node, DENYING)
    node.settle()
    leave(node, client)
    assert not join(node, "s").connection.session.subscriptions
