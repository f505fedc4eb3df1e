"""What a node with a store of its own says of itself."""

import msgspec

from mqtt_api.node_facts import ListenerCertificate, NodeFacts, Purged
from mqtt_operator.reconcile.node_door import decode_status


def test_its_status_says_what_a_lease_would() -> None:
    document = {
        "node": "plant-0",
        "version": "0.1.0",
        "ready": True,
        "draining": False,
        "policy_revision": 7,
        "connections": 12,
        "purged": {"revision": 7, "until": 1000},
        "sessions": 40,
        "listeners": {
            "mqtts": {
                "port": 8883,
                "connections": 12,
                "serial": "0a",
                "not_after": "2026-03-02T00:00:00+00:00",
                "client_cas": "c1",
            },
            "mqtt": {"port": 1883, "connections": 0, "serial": None, "not_after": None},
        },
    }
    assert decode_status(msgspec.json.encode(document)) == NodeFacts(
        ready=True,
        version="0.1.0",
        policy_revision=7,
        connections=12,
        purged=Purged(revision=7, until=1000),
        certificates={
            "mqtts": ListenerCertificate(serial="0a", not_after="2026-03-02T00:00:00+00:00", client_cas="c1")
        },
    )


def test_a_node_that_is_not_there_yet_says_little() -> None:
    assert decode_status(b'{"node": "plant-0", "ready": false}') == NodeFacts()


def test_what_is_no_status_is_nothing() -> None:
    assert decode_status(b"<html>") is None
    assert decode_status(b'{"ready": "yes"}') is None
