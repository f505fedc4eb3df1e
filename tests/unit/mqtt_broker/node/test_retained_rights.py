"""A retained message is seen for as long as its publisher has the right to retain it, however it proved who it is."""

from collections.abc import Callable, Iterator

import pytest

from mqtt_api.node_settings import AuthenticationSettings
from mqtt_api.policy import Activity, CertificateMatch, Policy, Principal, Retained, Rule
from mqtt_broker.auth.principal import ClientCertificate, Peer
from support.conversation import apply, believe_passwords, connect, join, leave, publish, received, subscribe, tell
from support.inprocess import ANONYMOUS, InProcessClient, InProcessNode
from support.policies import allow, policy

TOPIC = "line/pump/x"
READS = allow("#", activity=Activity.SUBSCRIBE)
PASSWORDS = AuthenticationSettings(name="passwords", type="Password")
DECLARED = AuthenticationSettings(name="declared", type="X509")
OPEN = AuthenticationSettings(name="open", type="X509", principals="Open", client_ids=("*",))
CERTIFICATE = ClientCertificate(
    subject="CN=pump", common_name="pump", issuer="CN=ca", serial="01", san_dns=("pump.example",)
)
PUMP = Principal(username="pump", client_ids=("*",), certificates=(CertificateMatch(common_name="pump"),))
Start = Callable[..., InProcessNode]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    believe_passwords(monkeypatch)
    started: list[InProcessNode] = []

    def make(policy: Policy, *chain: AuthenticationSettings) -> InProcessNode:
        started.append(InProcessNode(policy=policy, authentication=(*chain, ANONYMOUS)))
        return started[-1]

    yield make
    for node in started:
        node.close()


def by_certificate(node: InProcessNode, client_id: str) -> InProcessClient:
    """A client that showed CERTIFICATE."""
    client = node.open()
    peer = Peer(address="192.0.2.1", listener="inprocess", certificate=CERTIFICATE)
    client.connection.peer = peer
    node.feed(client, connect(client_id, lasts_s=0))
    node.settle()
    assert client.connection.session.facts.certificate_cn == "pump"
    return client


def seen(node: InProcessNode) -> list[bytes]:
    """What a newcomer is shown."""
    reader = join(node, "reader", lasts_s=0)
    node.feed(reader, subscribe("line/#", qos=0))
    node.settle()
    payloads = received(node, reader)
    leave(node, reader)
    return payloads


def with_pump(revision: int, *rules: Rule) -> Policy:
    return policy(revision, users={"pump": rules}, principals={"pump": PUMP}, anonymous=[READS])


@pytest.mark.parametrize(
    "before", [allow("line/pump/#"), allow("line/${cert.cn}/#"), allow("#", activity=Activity.PUBLISH)]
)
@pytest.mark.parametrize("after", [allow("line/#", retain=Retained.NOT_RETAINED), allow("line/${cert.san.dns}/#")])
def test_what_a_certificate_retained_is_hidden_while_its_right_is_gone(start: Start, before: Rule, after: Rule) -> None:
    node = start(with_pump(1, before), DECLARED)
    publisher = by_certificate(node, "pump-1")
    tell(node, publisher, publish(TOPIC, b"x", retain=True))
    leave(node, publisher)
    assert seen(node) == [b"x"]
    apply(node, with_pump(2, after))
    assert seen(node) == []
    apply(node, with_pump(3, before))
    assert seen(node) == [b"x"]


def test_what_a_principal_of_its_own_retained_is_decided_by_the_rules_of_the_authenticated(start: Start) -> None:
    node = start(policy(1, authenticated=[allow("line/${cert.cn}/#")], anonymous=[READS]), OPEN)
    publisher = by_certificate(node, "anything")
    tell(node, publisher, publish(TOPIC, b"x", retain=True))
    assert seen(node) == [b"x"]
    apply(node, policy(2, authenticated=[allow("other/${cert.cn}/#")], anonymous=[READS]))
    assert seen(node) == []


def test_what_an_anonymous_client_retained_is_hidden_while_its_right_is_gone(start: Start) -> None:
    node = start(policy(1, anonymous=[allow("#")]))
    tell(node, join(node, "anybody", lasts_s=0), publish(TOPIC, b"x", retain=True))
    assert seen(node) == [b"x"]
    apply(node, policy(2, anonymous=[READS]))
    assert seen(node) == []


def test_what_a_password_retained_is_hidden_while_its_right_is_gone(start: Start) -> None:
    node = start(policy(1, users={"u": [allow("line/#")]}, anonymous=[READS]), PASSWORDS)
    tell(node, join(node, "u", lasts_s=0, user="u"), publish(TOPIC, b"x", retain=True))
    assert seen(node) == [b"x"]
    apply(node, policy(2, users={"u": [allow("other/#")]}, anonymous=[READS]))
    assert seen(node) == []


def test_what_a_client_retained_whose_object_is_gone_is_kept(start: Start) -> None:
    node = start(with_pump(1, allow("#")), DECLARED)
    tell(node, by_certificate(node, "pump-1"), publish(TOPIC, b"x", retain=True))
    apply(node, policy(2, anonymous=[READS]))
    assert seen(node) == [b"x"]
