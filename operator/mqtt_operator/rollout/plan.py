"""From one moment of a broker's nodes to the one step that may be taken now, and the sentence about it.

Knows the order of rules; does not know how a step is taken. Pure. The rules, the first that says something decides:
a paused broker and one whose store does not answer are left alone; nodes are added at once; while one is leaving, is
missing or has just started, nothing is taken away; then nodes are taken away from the highest number down, or replaced,
one at a time, only while all others are ready: fewer than any disruption budget lets be away. A node that fails serves
nobody, so that removing it costs nothing: it may go while others fail too, or nobody could mend a broken revision by a
new one. Where a node of the revision in force fails, no further one is given that revision.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from mqtt_operator.rollout.snapshot import Health, NodePod, Snapshot


class Why(StrEnum):
    """What is waited for, as one word for programs."""

    PAUSED = "Paused"
    STORE_UNREACHABLE = "StoreUnreachable"
    REVISION_PENDING = "RevisionPending"
    NODE_LEAVING = "NodeLeaving"
    NODE_MISSING = "NodeMissing"
    NODE_STARTING = "NodeStarting"
    NODE_FAILING = "NodeFailing"


class Rest(Struct, frozen=True, kw_only=True):
    """Everything is as it should be."""

    sentence: str


class Wait(Struct, frozen=True, kw_only=True):
    """Nothing is done now. `is_stalled`: and nothing will be, unless somebody looks."""

    why: Why
    sentence: str
    is_stalled: bool = False


class DeletePod(Struct, frozen=True, kw_only=True):
    """Delete this pod and no successor of the same name: its StatefulSet makes it again, of the revision in force."""

    name: str
    uid: str
    sentence: str


class SetReplicas(Struct, frozen=True, kw_only=True):
    """Tell the StatefulSet to have so many pods."""

    replicas: int
    sentence: str


Step: TypeAlias = Rest | Wait | DeletePod | SetReplicas


def plan(now: Snapshot) -> Step:
    """The one step to take. The same snapshot gives the same step."""
    for rule in _RULES:
        step = rule(now)
        if step is not None:
            return step
    return Rest(sentence=f"{_all_nodes(now.replicas)} ready and current.")


def _is_paused(now: Snapshot) -> Step | None:
    return Wait(why=Why.PAUSED, sentence="Paused: nothing is changed.") if now.is_paused else None


def _store_is_away(now: Snapshot) -> Step | None:
    if now.store_answers:
        return None
    return Wait(why=Why.STORE_UNREACHABLE, sentence="The store does not answer: nodes are left as they are.")


def _add(now: Snapshot) -> Step | None:
    if now.wanted <= now.replicas:
        return None
    sentence = f"Adding nodes: {now.replicas} were wanted, {now.wanted} are now."
    return SetReplicas(replicas=now.wanted, sentence=sentence)


def _revision_is_pending(now: Snapshot) -> Step | None:
    if now.revision is not None:
        return None
    sentence = "The StatefulSet's controller has not seen the newest template yet."
    return Wait(why=Why.REVISION_PENDING, sentence=sentence, is_stalled=now.is_overdue)


def _is_leaving(now: Snapshot) -> Step | None:
    if not now.leaving:
        return None
    overdue = [pod for pod in now.leaving if pod.is_overdue]
    if not overdue:
        return Wait(why=Why.NODE_LEAVING, sentence=f"{_names(now.leaving)} is leaving.")
    sentence = (
        f"{_names(overdue)} should have ended long ago; its machine may be gone. If it is, delete the pod by force, "
        "and its place is filled again."
    )
    return Wait(why=Why.NODE_LEAVING, sentence=sentence, is_stalled=True)


def _is_missing(now: Snapshot) -> Step | None:
    if not now.missing:
        return None
    numbers = ", ".join(str(number) for number in now.missing)
    sentence = f"The StatefulSet has no pod yet with number {numbers}"
    sentence += "; its events say why." if now.is_overdue else "."
    return Wait(why=Why.NODE_MISSING, sentence=sentence, is_stalled=now.is_overdue)


def _remove(now: Snapshot) -> Step | None:
    if now.wanted >= now.replicas:
        return None
    last = max(now.pods, key=lambda pod: pod.ordinal)
    others_are_ready = all(pod.is_ready for pod in now.pods if pod is not last)
    if not others_are_ready and last.health is not Health.FAILING:
        return None
    sentence = f"Removing {last.name}: {now.wanted} nodes are wanted, {now.replicas} are there."
    return SetReplicas(replicas=now.replicas - 1, sentence=sentence)


def _is_starting(now: Snapshot) -> Step | None:
    return _wait_for(now.with_health(Health.STARTING), now)


def _replace(now: Snapshot) -> Step | None:
    """Whoever comes here is ready or fails; if nodes are to be taken away, one fails that is not the last."""
    failing = now.with_health(Health.FAILING)
    outdated_and_failing = [pod for pod in failing if pod in now.outdated]
    if not now.outdated or len(outdated_and_failing) < len(failing):
        return None
    if outdated_and_failing:
        pod = outdated_and_failing[0]
        sentence = f"Replacing {pod.name} first: it {pod.problem or 'fails'}."
        return DeletePod(name=pod.name, uid=pod.uid, sentence=sentence)
    pod = now.outdated[0]
    done = now.replicas - len(now.outdated)
    sentence = f"Replacing {pod.name}: {done} of {now.replicas} nodes are of the newest revision."
    return DeletePod(name=pod.name, uid=pod.uid, sentence=sentence)


def _is_failing(now: Snapshot) -> Step | None:
    return _wait_for(now.with_health(Health.FAILING), now)


_RULES: Sequence[Callable[[Snapshot], Step | None]] = (
    _is_paused,
    _store_is_away,
    _add,
    _revision_is_pending,
    _is_leaving,
    _is_missing,
    _remove,
    _is_starting,
    _replace,
    _is_failing,
)


def _wait_for(pods: Sequence[NodePod], now: Snapshot) -> Wait | None:
    """One sentence about those of one health that are not ready: what waits, and for whom. None if there are none."""
    if not pods:
        return None
    problem = next((f": {pod.name} {pod.problem}" for pod in pods if pod.problem), None)
    are_failing = pods[0].health is Health.FAILING
    return Wait(
        why=Why.NODE_FAILING if are_failing else Why.NODE_STARTING,
        sentence=f"{_intent(now)}{problem or f' for {_names(pods)} to become ready'}.",
        is_stalled=are_failing or now.is_overdue,
    )


def _intent(now: Snapshot) -> str:
    if now.wanted < now.replicas:
        return f"Removing {max(now.pods, key=lambda pod: pod.ordinal).name} waits"
    return f"Replacing {now.outdated[0].name} waits" if now.outdated else "Waiting"


def _names(pods: Sequence[NodePod]) -> str:
    return ", ".join(pod.name for pod in pods)


def _all_nodes(count: int) -> str:
    return "The node is" if count == 1 else f"All {count} nodes are"
