"""The whole status of a broker, and what it keeps from one time to the next."""

from datetime import timedelta

import msgspec

from mqtt_api.conditions import Reason
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.status.broker import broker_status
from mqtt_operator.status.observation import CertificateSeen
from mqtt_operator.status.refused import mistakes_sentence, refused_status
from mqtt_operator.status.verdict import MESSAGE_CHARACTERS_MAX, Problem
from unit.mqtt_operator.status.observations import CERTIFICATE, NOW, broker, node, observed

SERVICES = [
    {"name": "public", "listeners": ["mqtts"]},
    {"name": "inside", "listeners": ["mqtts"], "type": "ClusterIP"},
    {"name": "ports", "listeners": ["mqtts"], "type": "NodePort"},
]
INSIDE = {"listener": "mqtts", "address": "plant.mqtt.svc:8883"}
SERVICE_INSIDE = {"service": "inside", "listener": "mqtts", "address": "plant-inside.mqtt.svc:8883"}


def service(**status: object) -> Manifest:
    return {"spec": {"ports": [{"name": "mqtts", "port": 8883}]}, "status": {"loadBalancer": status}}


def times(status: Manifest) -> dict[str, str]:
    return {each["type"]: each["lastTransitionTime"] for each in status["conditions"]}


def test_the_fields_say_what_was_seen() -> None:
    status = broker_status(observed(), {"storeID": "7d0a"})
    del status["conditions"], status["selector"]
    assert status == {
        "observedGeneration": 4,
        "replicas": 3,
        "readyReplicas": 3,
        "nodes": "3/3",
        "version": "0.1.0",
        "store": "Redis (Disk)",
        "storeID": "7d0a",
        "endpoints": [INSIDE],
        "certificates": [
            {
                "listener": "mqtts",
                "serial": "0a",
                "notAfter": "2026-03-02T00:00:00Z",
                "nodesServing": 3,
                "nodesTotal": 3,
            }
        ],
        "policy": {"revision": 7, "nodesCurrent": 3, "nodesTotal": 3},
    }


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = broker_status(observed(), {})
    again = broker_status(observed(now=NOW + timedelta(hours=1)), first)
    assert times(again) == times(first)
    later = broker_status(observed(now=NOW + timedelta(hours=2), nodes=(node(0),)), again)
    moved = {kind for kind, time in times(later).items() if time != times(again)[kind]}
    assert moved == {"Ready"}
    assert times(later)["Ready"] == "2026-01-01T02:00:00Z"


def test_another_reason_for_the_same_status_is_no_transition() -> None:
    first = broker_status(observed(nodes=()), {})
    later = broker_status(observed(now=NOW + timedelta(hours=1), nodes=(node(0),)), first)
    assert times(later)["Ready"] == times(first)["Ready"]


def test_the_stores_identity_is_never_lost_and_what_nobody_knows_is_left_out() -> None:
    status = broker_status(observed(store=None), {"storeID": "7d0a"})
    assert status["storeID"] == "7d0a"
    bare = broker_status(observed(store=None, nodes=(node(told=False),)), {})
    assert "storeID" not in bare
    assert "version" not in bare


def test_a_version_is_told_only_while_all_nodes_run_it() -> None:
    assert "version" not in broker_status(observed(nodes=(node(0), node(1, version="0.2.0"))), {})


def test_a_release_that_waits_is_available() -> None:
    assert "availableVersion" not in broker_status(observed(), {})
    assert broker_status(observed(held="upgradePolicy is Manual"), {})["availableVersion"] == "0.2.0"


def test_what_nodes_told_last_holds_while_nobody_hears_them() -> None:
    before = broker_status(observed(), {})
    seen = observed(nodes=tuple(node(number, told=False) for number in range(3)), hears_nodes=False)
    after = broker_status(seen, before)
    fields = ("version", "certificates", "policy", "nodes")
    assert {field: after[field] for field in fields} == {field: before[field] for field in fields}
    told = {each["type"]: each["status"] for each in after["conditions"]}
    assert (told["Programmed"], told["CertificatesReady"]) == ("True", "True")


def test_where_the_newest_certificate_cannot_be_used_the_one_that_is_served_is_shown() -> None:
    broken = CertificateSeen(listener="mqtts", problem=Problem(Reason.CERTIFICATE_INVALID, "It is garbage."))
    (shown,) = broker_status(observed(certificates=(broken,)), {})["certificates"]
    assert (shown["serial"], shown["notAfter"], shown["nodesServing"]) == ("0a", "2026-03-02T00:00:00Z", 3)
    assert broker_status(observed(certificates=(broken,), nodes=()), {})["certificates"] == []


def test_the_certificate_that_expires_first_comes_first() -> None:
    earlier = msgspec.structs.replace(CERTIFICATE, listener="wss", not_after=NOW + timedelta(days=30))
    status = broker_status(observed(certificates=(CERTIFICATE, earlier)), {})
    assert [each["listener"] for each in status["certificates"]] == ["wss", "mqtts"]


def test_endpoints_wait_for_the_load_balancer() -> None:
    seen = observed(broker(services=SERVICES))
    assert broker_status(seen, {})["endpoints"] == [INSIDE]
    found = {"plant-public": service(), "plant-inside": service(), "plant-ports": service()}
    assert broker_status(observed(broker(services=SERVICES), services=found), {})["endpoints"] == [
        SERVICE_INSIDE,
        INSIDE,
    ]


def test_endpoints_are_what_the_load_balancer_says_of_itself() -> None:
    ingress = [{"ip": "203.0.113.7"}, {"hostname": "lb.example.org", "ip": "203.0.113.8"}]
    found = {"plant-public": service(ingress=ingress)}
    addresses = [
        each["address"]
        for each in broker_status(observed(broker(services=SERVICES[:1]), services=found), {})["endpoints"]
    ]
    assert addresses == ["203.0.113.7:8883", "lb.example.org:8883", "plant.mqtt.svc:8883"]


def test_a_long_message_is_cut() -> None:
    long = Problem(Reason.SECRET_NOT_FOUND, "x" * (MESSAGE_CHARACTERS_MAX + 1))
    status = broker_status(observed(unresolved=(long,)), {})
    assert max(len(each["message"]) for each in status["conditions"]) == MESSAGE_CHARACTERS_MAX


def test_mistakes_keep_everything_but_what_they_decide() -> None:
    before = broker_status(observed(), {"storeID": "7d0a"})
    problem = Problem(Reason.INVALID_SPEC, mistakes_sentence(["spec.a: must be b", "spec.c: must be d"]))
    status = refused_status(before, problem, 5, NOW + timedelta(hours=1))
    told = {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
    assert told["Accepted"] == told["Ready"] == ("False", "InvalidSpec")
    assert (told["Stalled"], told["Reconciling"]) == (("True", "InvalidSpec"), ("False", "InvalidSpec"))
    assert told["SessionStoreReachable"] == ("True", "StoreReachable")
    assert (status["storeID"], status["readyReplicas"], status["observedGeneration"]) == ("7d0a", 3, 5)
    (ready,) = [each for each in status["conditions"] if each["type"] == "Ready"]
    assert ready["message"] == "spec.a: must be b; spec.c: must be d."
