"""What people are told as it happens: each change once, and nothing that is no change."""

from typing import Any

import pytest

from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.reconcile.events import Happenings, of_conditions
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.rollout.plan import DeletePod, Rest, SetReplicas, Wait, Why

KEY = BrokerKey("mqtt", "plant")
DELETE, REST = DeletePod(name="plant-2", uid="u", sentence="One goes."), Rest(sentence="All is well.")
WAIT = Wait(why=Why.NODE_STARTING, sentence="It waits.")


def condition(kind: str, status: str, reason: str = "Because") -> Manifest:
    return {"type": kind, "status": status, "reason": reason, "message": f"{kind} is {status}."}


def certificate(serial: str, serving: int = 3, total: int = 3) -> Manifest:
    return {"listener": "mqtts", "serial": serial, "nodesServing": serving, "nodesTotal": total}


def told(before: list[Manifest], after: list[Manifest]) -> list[tuple[str, str]]:
    return [(each.type.value, each.reason) for each in of_conditions(before, after)]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        pytest.param([], condition("Ready", "False"), [], id="not ready is no news"),
        pytest.param([condition("Ready", "False")], condition("Ready", "True"), [("Normal", "Ready")], id="ready"),
        pytest.param([condition("Ready", "True")], condition("Ready", "True", "Other"), [], id="ready in other words"),
        pytest.param([], condition("Accepted", "False", "No"), [("Warning", "No")], id="refused"),
        pytest.param(
            [condition("Accepted", "False", "No")], condition("Accepted", "False", "No"), [], id="still refused"
        ),
        pytest.param(
            [condition("ResolvedRefs", "False", "A")],
            condition("ResolvedRefs", "False", "B"),
            [("Warning", "B")],
            id="something else is missing",
        ),
        pytest.param(
            [condition("SessionStoreReachable", "True")],
            condition("SessionStoreReachable", "False", "StoreUnreachable"),
            [("Warning", "StoreUnreachable")],
            id="the store goes",
        ),
        pytest.param(
            [condition("SessionStoreReachable", "Unknown")],
            condition("SessionStoreReachable", "True"),
            [("Normal", "StoreReachable")],
            id="the store comes",
        ),
        pytest.param([], condition("SessionStoreReachable", "Unknown", "Pending"), [], id="nobody knows the store"),
        pytest.param([], condition("CertificatesReady", "False", "CertificatePending"), [], id="it is being issued"),
        pytest.param([], condition("CertificatesReady", "False", "NodesServeAnother"), [], id="it is handed out"),
        pytest.param(
            [condition("CertificatesReady", "True")],
            condition("CertificatesReady", "False", "CertificateExpiring"),
            [("Warning", "CertificateExpiring")],
            id="it expires",
        ),
        pytest.param([], condition("Paused", "False"), [], id="not paused is no news"),
        pytest.param([], condition("Paused", "True"), [("Normal", "Paused")], id="paused"),
        pytest.param(
            [condition("Paused", "True")], condition("Paused", "False"), [("Normal", "Resumed")], id="resumed"
        ),
        pytest.param([], condition("Stalled", "True", "X"), [("Warning", "X")], id="stalled"),
        pytest.param([], condition("Reconciling", "True"), [], id="at work is no news"),
        pytest.param([], condition("SecurityPostureLowered", "True", "Y"), [("Warning", "Y")], id="weakened"),
    ],
)
def test_a_change_that_is_worth_it_is_told_once(
    before: list[Manifest], after: Manifest, said: list[tuple[str, str]]
) -> None:
    assert told(before, [after]) == said
    assert told([after], [after]) == []


def test_one_cause_is_told_once_though_several_conditions_tell_it_and_before_what_follows_from_it() -> None:
    after = [condition("Ready", "True"), condition("ResolvedRefs", "False", "A"), condition("Stalled", "True", "A")]
    assert told([], after) == [("Warning", "A"), ("Normal", "Ready")]


def test_a_rollout_begins_and_ends_once() -> None:
    happenings = Happenings()
    steps: list[Any] = [REST, DELETE, WAIT, DELETE, WAIT, REST, REST, None, DELETE]
    said = [[each.reason for each in happenings.of_step(KEY, step)] for step in steps]
    assert said == [[], ["RolloutStarted"], [], [], [], ["RolloutFinished"], [], [], ["RolloutStarted"]]


def test_each_change_of_the_number_of_nodes_is_told() -> None:
    (said,) = Happenings().of_step(KEY, SetReplicas(replicas=2, sentence="One less."))
    assert (said.reason, said.message) == ("Scaled", "One less.")


def test_another_certificate_is_told_when_all_nodes_serve_it_and_the_first_one_is_no_news() -> None:
    happenings = Happenings()
    seen = [
        certificate("0a", 2),
        certificate("0a"),
        certificate("0b", 1),
        certificate("0a"),
        certificate("0b"),
        certificate("0b", 3, 4),
        certificate("0b", 4, 4),
        certificate("0b", 0, 0),
    ]
    said = [[each.reason for each in happenings.of_certificates(KEY, [each])] for each in seen]
    assert said == [[], [], [], [], ["CertificateReloaded"], [], [], []]


def test_a_broker_that_is_gone_is_forgotten() -> None:
    happenings = Happenings()
    happenings.of_step(KEY, DELETE)
    happenings.of_certificates(KEY, [certificate("0a")])
    happenings.forget(KEY)
    assert happenings.of_step(KEY, REST) == []
    assert happenings.of_certificates(KEY, [certificate("0b")]) == []
