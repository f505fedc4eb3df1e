"""Sessions of a client that was deleted for good end at the moment that the policy names, and not those of others."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from mqtt_api.node_facts import NOTHING_PURGED, Purged
from mqtt_api.node_settings import AuthenticationSettings
from mqtt_api.policy import Policy, Purge
from mqtt_broker.node.due import LOOK_AGAIN_S_MAX
from mqtt_broker.node.purge import SETTLE_S
from support.conversation import apply, believe_passwords, join, leave
from support.inprocess import ANONYMOUS, EPOCH_S, InProcessNode
from support.policies import allow, policy

PASSWORDS = AuthenticationSettings(name="passwords", type="Password")
DAY_S = 86_400


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcessNode]:
    believe_passwords(monkeypatch)
    node = InProcessNode(policy=users(1, "pump", "other"), authentication=(PASSWORDS, ANONYMOUS))
    yield node
    node.close()


def users(revision: int, *names: str, **purges: int) -> Policy:
    made = policy(revision, users={name: [allow("#")] for name in names}, anonymous=[allow("#")])
    return replace(made, purges={name: Purge(due_at=due_at) for name, due_at in purges.items()})


def sleeping(node: InProcessNode, client_id: str, username: str | None) -> None:
    """A session that outlives its connection."""
    leave(node, join(node, client_id, user=username, lasts_s=DAY_S))


def test_its_sessions_end_when_their_moment_has_come(node: InProcessNode) -> None:
    for client_id, username in (("pump", "pump"), ("pump-2", "pump"), ("other", "other"), ("nameless", None)):
        sleeping(node, client_id, username)
    apply(node, users(2, "other", pump=EPOCH_S + 3600))
    node.advance(3500)
    assert set(node.hub.sessions) == {"pump", "pump-2", "other", "nameless"}
    node.advance(200)
    assert set(node.hub.sessions) == {"other", "nameless"}


def test_one_that_has_a_principal_again_keeps_its_sessions(node: InProcessNode) -> None:
    sleeping(node, "pump", "pump")
    apply(node, users(2, "pump", pump=EPOCH_S))
    node.advance(100)
    assert set(node.hub.sessions) == {"pump"}


def test_who_is_connected_stays(node: InProcessNode) -> None:
    join(node, "nameless", lasts_s=DAY_S)
    apply(node, users(2, pump=EPOCH_S))
    node.advance(100)
    assert set(node.hub.sessions) == {"nameless"}


def test_it_is_told_once_they_have_ended_and_not_before(node: InProcessNode) -> None:
    sleeping(node, "pump", "pump")
    apply(node, users(2, pump=EPOCH_S + 100, other=EPOCH_S + 1000))
    node.advance(100 + SETTLE_S - 1)
    assert set(node.hub.sessions) == {"pump"}
    assert node.hub.purged.until < EPOCH_S + 100
    node.advance(1 + LOOK_AGAIN_S_MAX)
    assert set(node.hub.sessions) == set()
    assert node.hub.purged.revision == 2
    assert EPOCH_S + 100 <= node.hub.purged.until < EPOCH_S + 1000


def test_it_is_not_told_before_it_is_durable(node: InProcessNode) -> None:
    sleeping(node, "pump", "pump")
    apply(node, users(2, pump=EPOCH_S))
    release = node.hub.pump.hold()
    node.advance(SETTLE_S + LOOK_AGAIN_S_MAX)
    assert set(node.hub.sessions) == set()
    assert node.hub.purged == NOTHING_PURGED
    release()
    assert node.hub.purged.until >= EPOCH_S


def test_another_policy_has_to_be_seen_to_before_it_is_told(node: InProcessNode) -> None:
    apply(node, users(2, pump=EPOCH_S))
    node.advance(SETTLE_S + LOOK_AGAIN_S_MAX)
    told = node.hub.purged
    apply(node, users(3, pump=EPOCH_S, other=EPOCH_S))
    assert node.hub.purged == told
    node.advance(LOOK_AGAIN_S_MAX)
    assert node.hub.purged == Purged(revision=3, until=EPOCH_S - 1)
