"""Short ways to write down what was seen of a broker."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from mqtt_api.node_facts import ListenerCertificate, NodeFacts
from mqtt_api.resources import MQTTBroker, parse_document
from mqtt_operator.rollout.plan import Rest
from mqtt_operator.status.observation import CertificateSeen, Contact, NodeSeen, Observation, PolicySeen, StoreSeen
from support.broker_documents import SHARED
from support.resource_examples import changed

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REACHED = StoreSeen(contact=Contact.REACHED, id="7d0a")
CERTIFICATE = CertificateSeen(
    listener="mqtts", serial="0a", not_after=NOW + timedelta(days=60), lifetime=timedelta(days=90)
)


def broker(**changes: Any) -> MQTTBroker:
    """Three nodes, a Redis, one listener with TLS; `changes` by path with `__` for `.`, relative to the spec."""
    paths = {f"spec.{path.replace('__', '.')}": value for path, value in changes.items()}
    document = changed(SHARED, {**paths, "metadata.generation": 4, "metadata.namespace": "mqtt"})
    read = parse_document(document)
    assert isinstance(read, MQTTBroker)
    return read


def node(number: int = 0, *, ready: bool = True, told: bool = True, **facts: Any) -> NodeSeen:
    """It serves the newest certificate, and decides by revision 7."""
    said = {
        "ready": ready,
        "version": "0.1.0",
        "policy_revision": 7,
        "certificates": {"mqtts": ListenerCertificate(serial="0a", not_after="2026-03-02T00:00:00+00:00")},
        **facts,
    }
    return NodeSeen(name=f"plant-{number}", is_ready=ready, facts=NodeFacts(**said) if told else None)


VERIFYING = msgspec.structs.replace(CERTIFICATE, client_cas="c1")


def verifying(number: int, client_cas: str) -> NodeSeen:
    """It serves the newest certificate, and verifies clients by these CAs. Others do not tell."""
    shown = ListenerCertificate(serial="0a", not_after="2026-03-02T00:00:00+00:00", client_cas=client_cas)
    return node(number, certificates={"mqtts": shown})


def observed(read: MQTTBroker | None = None, **facts: Any) -> Observation:
    """Everything is as it should be, but for these."""
    seen: dict[str, Any] = {
        "broker": read or broker(),
        "now": NOW,
        "is_programmed": True,
        "store": REACHED,
        "was_reached": True,
        "certificates": (CERTIFICATE,),
        "nodes": (node(0), node(1), node(2)),
        "policy": PolicySeen(revision=7),
        "step": Rest(sentence="All 3 nodes are ready and current."),
        "release": "0.2.0",
    }
    return Observation(**{**seen, **facts})
