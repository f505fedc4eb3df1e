"""The exchange of AUTH packets inside a node: its time, what it must not keep, and where it does not begin."""

from collections.abc import Callable, Iterator

import pytest

from mqtt_broker.protocol.connection import CONNECT_DEADLINE_S
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import Auth, ConnAck, Connect, Disconnect, Packet, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode
from support.inprocess import InProcessClient, InProcessNode
from support.policies import allow, policy
from support.scram import SCRAM, Prover, with_scram

V5 = ProtocolVersion.V5
MORE = ReasonCode.CONTINUE_AUTHENTICATION
GOODBYE = Disconnect(ReasonCode.NORMAL_DISCONNECTION)


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    made = InProcessNode(policy=with_scram(policy(users={"pump": [allow("#")]})), authentication=(SCRAM,))
    yield made
    made.close()


def send(node: InProcessNode, client: InProcessClient, *packets: Packet) -> list[Packet]:
    node.feed(client, b"".join(encode(packet, V5) for packet in packets))
    node.settle()
    return node.output(client)


def connect(prover: Prover) -> Connect:
    return Connect(V5, "pump", clean_start=True, keep_alive=0, properties=prover.properties(prover.first))


def proof_for(prover: Prover, challenge: Packet) -> Auth:
    assert isinstance(challenge, Auth)
    assert challenge.properties.authentication_data is not None
    return prover.auth(MORE, prover.answer(challenge.properties.authentication_data))


def connected(node: InProcessNode) -> InProcessClient:
    client, prover = node.open(), Prover("pump")
    (challenge,) = send(node, client, connect(prover))
    (answer,) = send(node, client, proof_for(prover, challenge))
    assert isinstance(answer, ConnAck)
    assert answer.reason is ReasonCode.SUCCESS
    assert client.connection.underway is None
    return client


def test_a_challenge_that_nobody_answers_ends_with_the_time_to_connect(node: InProcessNode) -> None:
    client = node.open()
    (challenge,) = send(node, client, connect(Prover("pump")))
    assert isinstance(challenge, Auth)
    node.advance(CONNECT_DEADLINE_S - 2)
    assert not client.is_closed
    node.advance(4)
    (answer,) = node.output(client)
    assert isinstance(answer, ConnAck)
    assert answer.reason.is_error
    assert client.is_closed


def test_the_time_to_connect_does_not_start_anew_with_the_challenge(node: InProcessNode) -> None:
    client = node.open()
    node.advance(CONNECT_DEADLINE_S - 2)
    send(node, client, connect(Prover("pump")))
    node.advance(4)
    assert client.is_closed


@pytest.mark.parametrize("leave", [InProcessNode.lose, lambda node, client: send(node, client, GOODBYE)])
def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(
    node: InProcessNode, leave: Callable[[InProcessNode, InProcessClient], object]
) -> None:
    client = node.open()
    send(node, client, connect(Prover("pump")))
    leave(node, client)
    node.settle()
    assert client.is_closed
    assert not node.hub.all_connections
    assert not node.hub.sessions


def test_an_exchange_alone_takes_no_session_from_the_connected(node: InProcessNode) -> None:
    """Who has not proved anything evicts nobody."""
    living, stranger, prover = connected(node), node.open(), Prover("pump", "wrong")
    (challenge,) = send(node, stranger, connect(prover))
    (answer,) = send(node, stranger, proof_for(prover, challenge))
    assert isinstance(answer, ConnAck)
    assert answer.reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD
    assert not living.is_closed
    assert node.hub.counters.auth_failures == 1


def test_a_challenge_answered_too_late_proves_nothing(node: InProcessNode) -> None:
    """On a living connection, where no deadline of the connection's own ends it."""
    client, prover = connected(node), Prover("pump")
    (challenge,) = send(node, client, prover.auth(ReasonCode.RE_AUTHENTICATE, prover.first))
    node.advance(CONNECT_DEADLINE_S + 1)
    assert not client.is_closed
    (answer,) = send(node, client, proof_for(prover, challenge))
    assert isinstance(answer, Disconnect)
    assert answer.reason is ReasonCode.NOT_AUTHORIZED
    assert client.is_closed


def test_a_proof_anew_in_time_leaves_nothing_waiting(node: InProcessNode) -> None:
    client = connected(node)
    for _ in range(3):
        prover = Prover("pump")
        (challenge,) = send(node, client, prover.auth(ReasonCode.RE_AUTHENTICATE, prover.first))
        (answer,) = send(node, client, proof_for(prover, challenge))
        assert isinstance(answer, Auth)
        assert answer.reason is ReasonCode.SUCCESS
        assert client.connection.underway is None


def test_an_overloaded_node_begins_no_exchange(node: InProcessNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node.hub.overload, "level", 2)
    client = node.open()
    (answer,) = send(node, client, connect(Prover("pump")))
    assert isinstance(answer, ConnAck)
    assert answer.reason is ReasonCode.SERVER_BUSY


def test_a_node_without_a_policy_challenges_nobody(node: InProcessNode) -> None:
    node.hub.policy = None
    client = node.open()
    (answer,) = send(node, client, connect(Prover("pump")))
    assert isinstance(answer, ConnAck)
    assert answer.reason is ReasonCode.SERVER_UNAVAILABLE
