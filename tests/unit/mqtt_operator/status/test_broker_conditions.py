"""Each condition of a broker: what was seen, and what is said of it."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from mqtt_api.conditions import ConditionType, Reason
from mqtt_api.resources import parse_document
from mqtt_operator.rollout.plan import DeletePod, SetReplicas, Step, Wait, Why
from mqtt_operator.status.broker import verdicts
from mqtt_operator.status.observation import CertificateSeen, Contact, Observation, PolicySeen, StoreSeen
from mqtt_operator.status.verdict import Problem
from support.broker_documents import EMBEDDED
from unit.mqtt_operator.status.observations import (
    CERTIFICATE,
    NOW,
    REACHED,
    VERIFYING,
    broker,
    node,
    observed,
    verifying,
)

MISSING = Problem(Reason.SECRET_NOT_FOUND, "Secret a is missing.")
TAKEN = Problem(Reason.STORE_PREFIX_TAKEN, "Another broker was there before.")
REFUSED = Problem(Reason.REFUSED_BY_API_SERVER, "The API server says no.")
AWAY = Problem(Reason.STORE_UNREACHABLE, "The store does not answer.")
LOST = StoreSeen(contact=Contact.LOST, id="7d0a", problem=AWAY)
PENDING = Problem(Reason.CERTIFICATE_PENDING, "The certificate is not there yet.")
NO_ISSUER = Problem(Reason.ISSUER_NOT_FOUND, "There is no Issuer ca.")
NOT_INSTALLED = Problem(Reason.CERT_MANAGER_NOT_INSTALLED, "Install cert-manager.")
WEAK: dict[str, Any] = {
    "listeners": [{"name": "mqtt", "port": 1883, "allowPlaintext": True}],
}


def wait(why: Why = Why.NODE_STARTING, *, stalled: bool = False) -> Step:
    return Wait(why=why, sentence="It waits.", is_stalled=stalled)


def said(seen: Observation, kind: ConditionType) -> tuple[str, str, str]:
    verdict = {each.type: each for each in verdicts(seen)}[kind]
    return verdict.status.value, verdict.reason.value, verdict.message


def embedded() -> Any:
    return parse_document({**EMBEDDED, "metadata": {"name": "plant", "namespace": "mqtt", "generation": 4}})


SOUND = observed()
CASES = [
    (ConditionType.ACCEPTED, SOUND, "True", "Accepted", "The broker makes sense, and may do what it asks for."),
    (ConditionType.ACCEPTED, observed(refused=TAKEN), "False", "StorePrefixTaken", TAKEN.sentence),
    (ConditionType.RESOLVED_REFS, SOUND, "True", "Resolved", "Everything that it refers to is there."),
    (
        ConditionType.RESOLVED_REFS,
        observed(unresolved=(MISSING, Problem(Reason.KEY_NOT_FOUND, "And so is key b."))),
        "False",
        "SecretNotFound",
        "Secret a is missing. And so is key b.",
    ),
    (ConditionType.PROGRAMMED, SOUND, "True", "Programmed", "3 of 3 nodes work by this generation."),
    (ConditionType.PROGRAMMED, observed(failed=REFUSED), "False", "RefusedByAPIServer", REFUSED.sentence),
    (
        ConditionType.PROGRAMMED,
        observed(is_programmed=False),
        "False",
        "Creating",
        "What the broker needs is being made.",
    ),
    (ConditionType.PROGRAMMED, observed(step=wait()), "False", "RollingOut", "It waits."),
    (ConditionType.PROGRAMMED, observed(nodes=()), "False", "NoNodes", "There is no node yet."),
    (
        ConditionType.PROGRAMMED,
        observed(policy=PolicySeen()),
        "False",
        "PolicyNotWritten",
        "No policy has been written yet.",
    ),
    (
        ConditionType.PROGRAMMED,
        observed(policy=PolicySeen(revision=7, problem=Problem(Reason.POLICY_NOT_WRITTEN, "The store is full."))),
        "False",
        "PolicyNotWritten",
        "The store is full.",
    ),
    (
        ConditionType.PROGRAMMED,
        observed(nodes=(node(0), node(1, policy_revision=6), node(2, told=False))),
        "False",
        "NodesBehind",
        "1 of 3 nodes decide by policy revision 7.",
    ),
    (ConditionType.SESSION_STORE_REACHABLE, SOUND, "True", "StoreReachable", "The store answers."),
    (
        ConditionType.SESSION_STORE_REACHABLE,
        observed(store=msgspec.structs.replace(REACHED, note="Take it away.")),
        "True",
        "StoreReachable",
        "The store answers. Take it away.",
    ),
    (ConditionType.SESSION_STORE_REACHABLE, observed(store=LOST), "False", "StoreUnreachable", AWAY.sentence),
    (
        ConditionType.SESSION_STORE_REACHABLE,
        observed(store=StoreSeen(contact=Contact.NEVER, problem=AWAY)),
        "Unknown",
        "StoreUnreachable",
        AWAY.sentence,
    ),
    (
        ConditionType.SESSION_STORE_REACHABLE,
        observed(store=None),
        "False",
        "Pending",
        "The store was not asked: something else has to be mended first.",
    ),
    (
        ConditionType.SESSION_STORE_REACHABLE,
        observed(store=None, was_reached=False),
        "Unknown",
        "Pending",
        "The store was not asked: something else has to be mended first.",
    ),
    (
        ConditionType.SESSION_STORE_REACHABLE,
        observed(
            store=StoreSeen(contact=Contact.REACHED, rolled_back=Problem(Reason.STORE_ROLLED_BACK, "It is older."))
        ),
        "False",
        "StoreRolledBack",
        "It is older.",
    ),
    (
        ConditionType.SESSION_STORE_REACHABLE,
        observed(embedded(), store=None, was_reached=False),
        "True",
        "StoreEmbedded",
        "The store is a file of the one node.",
    ),
    (ConditionType.CERTIFICATES_READY, SOUND, "True", "AllServed", "All nodes serve the newest certificates."),
    (
        ConditionType.CERTIFICATES_READY,
        observed(nodes=()),
        "False",
        "NoNodes",
        "The certificates are there, and no node to serve them yet.",
    ),
    (
        ConditionType.CERTIFICATES_READY,
        observed(certificates=(msgspec.structs.replace(CERTIFICATE, problem=NO_ISSUER),), renewing=(NO_ISSUER,)),
        "False",
        "IssuerNotFound",
        NO_ISSUER.sentence,
    ),
    (
        ConditionType.CERTIFICATES_READY,
        observed(certificates=(CertificateSeen(listener="mqtts", problem=NOT_INSTALLED),)),
        "False",
        "CertManagerNotInstalled",
        NOT_INSTALLED.sentence,
    ),
    (ConditionType.RESOLVED_REFS, observed(renewing=(NO_ISSUER,)), "False", "IssuerNotFound", NO_ISSUER.sentence),
    (ConditionType.READY, observed(renewing=(NO_ISSUER,)), "True", "AllReady", "3 of 3 nodes accept clients."),
    (
        ConditionType.READY,
        observed(renewing=(NO_ISSUER,), unresolved=(MISSING,)),
        "False",
        "SecretNotFound",
        f"{MISSING.sentence} {NO_ISSUER.sentence}",
    ),
    (
        ConditionType.CERTIFICATES_READY,
        observed(broker(**WEAK), certificates=()),
        "True",
        "NoTLS",
        "No listener has TLS.",
    ),
    (
        ConditionType.CERTIFICATES_READY,
        observed(certificates=()),
        "False",
        "CertificatePending",
        "The certificates have not been looked at yet.",
    ),
    (
        ConditionType.CERTIFICATES_READY,
        observed(certificates=(CertificateSeen(listener="mqtts", problem=PENDING),)),
        "False",
        "CertificatePending",
        PENDING.sentence,
    ),
    (
        ConditionType.CERTIFICATES_READY,
        observed(nodes=(node(0), node(1, certificates={}), node(2, told=False))),
        "False",
        "NodesServeAnother",
        "1 of 3 nodes serve serial 0a on mqtts.",
    ),
    (
        ConditionType.CERTIFICATES_READY,
        observed(certificates=(VERIFYING,), nodes=(node(0), verifying(1, "c1"), verifying(2, "c0"))),
        "False",
        "NodesServeAnother",
        "1 of 3 nodes verify clients on mqtts by other CAs than clientCARefs names now.",
    ),
    (
        ConditionType.CERTIFICATES_READY,
        observed(certificates=(VERIFYING,), nodes=(node(0), verifying(1, "c1"), verifying(2, "c1"))),
        "True",
        "AllServed",
        "All nodes serve the newest certificates.",
    ),
    (
        ConditionType.CERTIFICATES_READY,
        observed(certificates=(msgspec.structs.replace(CERTIFICATE, not_after=NOW),)),
        "False",
        "CertificateExpired",
        "The certificate of listener mqtts expired on 2026-01-01: renew it.",
    ),
    (
        ConditionType.CERTIFICATES_READY,
        observed(certificates=(msgspec.structs.replace(CERTIFICATE, not_after=NOW + timedelta(days=15)),)),
        "False",
        "CertificateExpiring",
        "The certificate of listener mqtts expires on 2026-01-16 and was not renewed.",
    ),
    (
        ConditionType.DURABILITY_VERIFIED,
        SOUND,
        "True",
        "DurabilityShown",
        "The store shows the settings that Disk needs.",
    ),
    (
        ConditionType.DURABILITY_VERIFIED,
        observed(nodes=(node(told=False),)),
        "Unknown",
        "StoreNotFit",
        (
            "Nodes log in to the store as the operator does, and will refuse it where that user may write what is the "
            "operator's alone: give each a user of its own (credentialsRef, operatorCredentialsRef; the rules are in "
            "docs/cluster.md), or set durability.verification to Declared."
        ),
    ),
    (
        ConditionType.DURABILITY_VERIFIED,
        observed(broker(sessionStore__redis__operatorCredentialsRef={"name": "operator"}), nodes=()),
        "True",
        "DurabilityShown",
        "The store shows the settings that Disk needs.",
    ),
    (
        ConditionType.DURABILITY_VERIFIED,
        observed(store=LOST),
        "Unknown",
        "Pending",
        "The store has not shown its settings yet.",
    ),
    (
        ConditionType.DURABILITY_VERIFIED,
        observed(
            store=msgspec.structs.replace(
                REACHED, durability=Problem(Reason.DURABILITY_NOT_MET, "It needs appendonly.")
            )
        ),
        "False",
        "DurabilityNotMet",
        "It needs appendonly.",
    ),
    (
        ConditionType.DURABILITY_VERIFIED,
        observed(broker(sessionStore__durability={"verification": "Declared"})),
        "Unknown",
        "DurabilityDeclared",
        "Disk is believed: verification is Declared.",
    ),
    (
        ConditionType.DURABILITY_VERIFIED,
        observed(embedded(), store=None),
        "True",
        "StoreEmbedded",
        "What is acknowledged is on the disk of the one node.",
    ),
    (ConditionType.SECURITY_POSTURE_LOWERED, SOUND, "False", "DefaultsKept", "Nothing weakens the broker."),
    (
        ConditionType.SECURITY_POSTURE_LOWERED,
        observed(broker(**WEAK)),
        "True",
        "PlaintextListener",
        "No TLS on mqtt: anybody on the way can read and change what is sent.",
    ),
    (
        ConditionType.SECURITY_POSTURE_LOWERED,
        observed(broker(authorization={"defaultPolicy": "Allow"})),
        "True",
        "DefaultPolicyAllow",
        "authorization.defaultPolicy is Allow: what no rule denies is granted.",
    ),
    (
        ConditionType.SECURITY_POSTURE_LOWERED,
        observed(broker(authentication=[{"name": "anyone", "type": "Anonymous"}])),
        "True",
        "AnonymousAllowed",
        "Clients without a name are let in on mqtts.",
    ),
    (
        ConditionType.SECURITY_POSTURE_LOWERED,
        observed(broker(**WEAK, authentication=[{"name": "anyone", "type": "Anonymous"}])),
        "True",
        "SeveralWeaknesses",
        (
            "No TLS on mqtt: anybody on the way can read and change what is sent. Clients without a name are let in on "
            "mqtt."
        ),
    ),
    (ConditionType.PAUSED, SOUND, "False", "NotPaused", "The operator looks after the broker."),
    (
        ConditionType.PAUSED,
        observed(is_paused=True),
        "True",
        "Paused",
        "Annotation mqtt.stoa.dev/pause-reconciliation is true: the operator only looks. Take it away to go on.",
    ),
    (ConditionType.RECONCILING, SOUND, "False", "Settled", "There is nothing left to do."),
    (
        ConditionType.RECONCILING,
        observed(is_paused=True, step=wait()),
        "False",
        "Paused",
        "The operator is told to leave the broker alone.",
    ),
    (
        ConditionType.RECONCILING,
        observed(refused=TAKEN),
        "False",
        "StorePrefixTaken",
        "A person has to act first: condition Stalled says how.",
    ),
    (ConditionType.RECONCILING, observed(unresolved=(MISSING,)), "True", "SecretNotFound", MISSING.sentence),
    (ConditionType.RECONCILING, observed(pending=(PENDING,)), "True", "CertificatePending", PENDING.sentence),
    (
        ConditionType.RECONCILING,
        observed(failed=Problem(Reason.PENDING, "It is being removed.")),
        "True",
        "Pending",
        "It is being removed.",
    ),
    (ConditionType.RECONCILING, observed(step=None), "True", "Creating", "What the broker needs is being made."),
    (ConditionType.RECONCILING, observed(step=wait()), "True", "WaitingForNodes", "It waits."),
    (ConditionType.RECONCILING, observed(step=wait(Why.STORE_UNREACHABLE)), "True", "StoreUnreachable", "It waits."),
    (
        ConditionType.RECONCILING,
        observed(step=SetReplicas(replicas=4, sentence="One more.")),
        "True",
        "Scaling",
        "One more.",
    ),
    (
        ConditionType.RECONCILING,
        observed(step=DeletePod(name="plant-0", uid="u", sentence="One goes.")),
        "True",
        "RollingOut",
        "One goes.",
    ),
    (ConditionType.STALLED, SOUND, "False", "Settled", "No person has to act."),
    (ConditionType.STALLED, observed(unresolved=(MISSING,)), "False", "Settled", "No person has to act."),
    (ConditionType.STALLED, observed(store=LOST), "False", "Settled", "No person has to act."),
    (ConditionType.STALLED, observed(refused=TAKEN), "True", "StorePrefixTaken", TAKEN.sentence),
    (ConditionType.STALLED, observed(failed=REFUSED), "True", "RefusedByAPIServer", REFUSED.sentence),
    (
        ConditionType.STALLED,
        observed(store=msgspec.structs.replace(LOST, problem=Problem(Reason.STORE_REPLACED, "It is empty."))),
        "True",
        "StoreReplaced",
        "It is empty.",
    ),
    (
        ConditionType.STALLED,
        observed(policy=PolicySeen(revision=7, stalled="40 % of all clients are gone.")),
        "True",
        "MassRemoval",
        "40 % of all clients are gone.",
    ),
    (ConditionType.STALLED, observed(step=wait(stalled=True)), "True", "RolloutStuck", "It waits."),
    (
        ConditionType.STALLED,
        observed(step=wait(stalled=True), is_paused=True),
        "False",
        "Settled",
        "No person has to act.",
    ),
    (ConditionType.READY, SOUND, "True", "AllReady", "3 of 3 nodes accept clients."),
    (ConditionType.READY, observed(refused=TAKEN, unresolved=(MISSING,)), "False", "StorePrefixTaken", TAKEN.sentence),
    (ConditionType.READY, observed(unresolved=(MISSING,)), "False", "SecretNotFound", MISSING.sentence),
    (ConditionType.READY, observed(store=LOST), "False", "StoreUnreachable", AWAY.sentence),
    (
        ConditionType.READY,
        observed(certificates=(CertificateSeen(listener="mqtts", problem=PENDING),)),
        "False",
        "CertificatePending",
        PENDING.sentence,
    ),
    (
        ConditionType.READY,
        observed(certificates=(msgspec.structs.replace(CERTIFICATE, not_after=NOW + timedelta(days=15)),)),
        "True",
        "AllReady",
        "3 of 3 nodes accept clients.",
    ),
    (
        ConditionType.READY,
        observed(nodes=(node(0), node(1), node(2, ready=False))),
        "False",
        "NodesNotReady",
        "2 of 3 nodes accept clients.",
    ),
    (
        ConditionType.READY,
        observed(policy=PolicySeen(revision=8)),
        "False",
        "NodesBehind",
        "0 of 3 nodes decide by policy revision 8.",
    ),
]


@pytest.mark.parametrize(
    ("kind", "seen", "status", "reason", "message"),
    CASES,
    ids=[f"{kind}-{status}-{reason}-{number}" for number, (kind, _, status, reason, _) in enumerate(CASES)],
)
def test_what_was_seen_has_one_verdict(
    kind: ConditionType, seen: Observation, status: str, reason: str, message: str
) -> None:
    assert said(seen, kind) == (status, reason, message)


def test_every_condition_of_a_broker_is_said_each_time() -> None:
    kinds = [verdict.type for verdict in verdicts(SOUND)]
    assert kinds[0] is ConditionType.READY
    assert set(kinds) == set(ConditionType) - {ConditionType.NO_CONFLICTS}


def test_a_certificate_of_a_short_life_expires_soon_only_when_a_sixth_of_it_is_left() -> None:
    hour = msgspec.structs.replace(CERTIFICATE, lifetime=timedelta(hours=6))
    early, late = timedelta(minutes=61), timedelta(minutes=60)
    seen = observed(certificates=(msgspec.structs.replace(hour, not_after=NOW + early),))
    assert said(seen, ConditionType.CERTIFICATES_READY)[1] == "AllServed"
    seen = observed(certificates=(msgspec.structs.replace(hour, not_after=NOW + late),))
    assert said(seen, ConditionType.CERTIFICATES_READY)[1] == "CertificateExpiring"
