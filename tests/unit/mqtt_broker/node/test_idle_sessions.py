"""A session whose client is away takes little memory, and is decided as ever when something asks."""

from collections.abc import Iterator

import pytest

from mqtt_api.node_settings import MQTTSettings
from mqtt_api.policy import Activity, Facts, Policy, Rights
from mqtt_broker.node.live import LiveSession
from support.conversation import apply, join, leave, publish, received, subscribe, tell
from support.inprocess import InProcessClient, InProcessNode
from support.policies import allow, deny, policy


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    running = InProcessNode(MQTTSettings(sys_interval_s=0))
    apply(running, guarded(revision=2))
    running.settle()
    yield running
    running.close()


def guarded(*denied: str, revision: int) -> Policy:
    rules = [allow("#"), deny("t/secret", *denied, activity=Activity.SUBSCRIBE, name="no")]
    return policy(revision, anonymous=rules)


def sleeper(node: InProcessNode, client_id: str) -> InProcessClient:
    client = join(node, client_id, lasts_s=100)
    tell(node, client, subscribe("t/#"))
    return client


def keeps_rights(node: InProcessNode, client_id: str) -> bool:
    session: LiveSession = node.hub.sessions[client_id]
    return session._rights is not None


def test_the_rights_of_a_session_are_let_go_of_with_its_connection(node: InProcessNode) -> None:
    client = sleeper(node, "sleeper")
    assert keeps_rights(node, "sleeper")
    leave(node, client)
    assert not keeps_rights(node, "sleeper")
    assert len(node.hub._rights) == 0


def test_a_new_policy_decides_a_sleeping_session_and_keeps_nothing(node: InProcessNode) -> None:
    leave(node, sleeper(node, "sleeper"))
    apply(node, guarded("t/#", revision=3))
    node.settle()
    assert [s.muted for s in node.hub.sessions["sleeper"].subscriptions.values()] == [True]
    assert not keeps_rights(node, "sleeper")


def test_what_a_sleeping_session_may_not_receive_does_not_wait_for_it(node: InProcessNode) -> None:
    """Its rights are resolved anew when a message asks for them."""
    leave(node, sleeper(node, "sleeper"))
    publisher = join(node, "publisher")
    tell(node, publisher, publish("t/secret", b"no") + publish("t/open", b"yes", packet_id=2))
    assert received(node, join(node, "sleeper", lasts_s=100)) == [b"yes"]


def test_a_client_that_comes_back_is_resolved_once(node: InProcessNode, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(node, sleeper(node, "sleeper"))
    resolved: list[str] = []
    rights_of = node.hub._resolve

    def counted(facts: Facts) -> Rights:
        resolved.append(facts.client_id)
        return rights_of(facts)

    monkeypatch.setattr(node.hub, "_resolve", counted)
    client = join(node, "sleeper", lasts_s=100)
    tell(node, client, publish("t/open", b"back"))
    assert resolved == ["sleeper"]
