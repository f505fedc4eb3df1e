"""The whole status of an MQTTBroker.

Knows the fields and which file decides each; does not know how it is written. Pure: the same observation gives the same
status, so that nothing is written twice.
"""

from mqtt_operator.desired.labels import pods_selector
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.status.accepted import accepted
from mqtt_operator.status.certificates import certificate_fields, certificates
from mqtt_operator.status.durability import durability, store_summary
from mqtt_operator.status.endpoints import endpoints
from mqtt_operator.status.observation import Observation
from mqtt_operator.status.paused import paused
from mqtt_operator.status.posture import posture
from mqtt_operator.status.programmed import programmed
from mqtt_operator.status.ready import ready
from mqtt_operator.status.reconciling import reconciling
from mqtt_operator.status.resolved_refs import resolved_refs
from mqtt_operator.status.session_store import session_store
from mqtt_operator.status.stalled import stalled
from mqtt_operator.status.verdict import Verdict, as_conditions


def broker_status(seen: Observation, before: Manifest) -> Manifest:
    """`before`: the status as it stands. Fields that nobody can tell now are left out."""
    metadata = seen.broker.metadata
    status: Manifest = {
        "observedGeneration": seen.generation,
        "replicas": len(seen.nodes),
        "readyReplicas": seen.ready_nodes,
        "nodes": f"{seen.ready_nodes}/{seen.broker.spec.replicas}",
        "selector": pods_selector(metadata.name),
        "store": store_summary(seen),
        "endpoints": endpoints(seen),
        "certificates": certificate_fields(seen),
        "conditions": as_conditions(verdicts(seen), before.get("conditions", ()), seen.generation, seen.now),
    }
    optional = {
        "version": _version(seen),
        "availableVersion": seen.release if seen.held else None,
        "storeID": _store_id(seen, before),
        "policy": _policy(seen),
    }
    told = {**status, **{field: value for field, value in optional.items() if value is not None}}
    return told if seen.hears_nodes else {**told, **_heard_before(before)}


def verdicts(seen: Observation) -> list[Verdict]:
    """Every condition, Ready first: that is what most people look for."""
    others = [
        accepted(seen),
        resolved_refs(seen),
        programmed(seen),
        session_store(seen),
        certificates(seen),
        durability(seen),
        posture(seen),
        paused(seen),
        reconciling(seen),
        stalled(seen),
    ]
    return [ready(seen, {verdict.type: verdict for verdict in others}), *others]


def _heard_before(before: Manifest) -> Manifest:
    """What only nodes can tell, as they told it last."""
    return {field: before[field] for field in ("version", "certificates", "policy") if field in before}


def _version(seen: Observation) -> str | None:
    """The one that all nodes run; None while they differ, or do not say."""
    versions = {facts.version for facts in seen.told}
    if len(seen.told) < len(seen.nodes) or len(versions) != 1:
        return None
    return versions.pop() or None


def _store_id(seen: Observation, before: Manifest) -> str | None:
    """Never lost: a store that is met again must be known again."""
    known: str | None = before.get("storeID")
    return known if seen.store is None else seen.store.id or known


def _policy(seen: Observation) -> Manifest | None:
    if seen.policy.revision is None:
        return None
    return {
        "revision": seen.policy.revision,
        "nodesCurrent": seen.current_nodes,
        "nodesTotal": len(seen.nodes),
    }
