"""What the status of an MQTTClient or a TopicPermission says. Pure.

Knows the words for people; does not know how anything was found out. A sentence never counts what changes by itself, or
a thousand objects would be written each time a node comes or goes.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from mqtt_api.conditions import ConditionType, Reason
from mqtt_api.resources import Mistake
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.policy.attachment import Refusal
from mqtt_operator.policy.facts import Finding, RuleFacts
from mqtt_operator.status.verdict import Problem, Verdict, as_conditions, fails, first_of, holds


class Progress(Struct, frozen=True, kw_only=True):
    """How far what the object says has come. `revision`: the policy that holds it, -1 = none yet.

    `is_applied`: every node decides by it. `obstacle`: why it is not, or will not be.
    """

    revision: int = -1
    is_applied: bool = False
    obstacle: Problem | None = None


class MemberView(Struct, frozen=True, kw_only=True):
    """`refusals`: why the object takes no part. `unresolved`: what it refers to and cannot be used."""

    generation: int
    refusals: tuple[Problem, ...] = ()
    unresolved: tuple[Problem, ...] = ()
    progress: Progress = Progress()


class ClientView(MemberView, frozen=True, kw_only=True):
    """`binding`: the Secret that was made for it, "" = none."""

    username: str = ""
    binding: str = ""
    is_suspended: bool = False
    has_credentials: bool = True


class PermissionView(MemberView, frozen=True, kw_only=True):
    """`matched`: how many clients the subjects name."""

    matched: int = 0
    facts: RuleFacts = RuleFacts()


def mistakes_as_problems(mistakes: Iterable[Mistake]) -> tuple[Problem, ...]:
    """What no schema could refuse."""
    return tuple(Problem(Reason.INVALID_SPEC, f"{mistake}.") for mistake in mistakes)


def refusal_as_problem(refusal: Refusal) -> Problem:
    return Problem(refusal.reason, f"{refusal.field} {refusal.message}.")


def client_status(view: ClientView, before: Manifest, now: datetime) -> Manifest:
    """`before`: the status it has."""
    verdicts = [*_common(view), _client_is_ready(view)]
    status: Manifest = {"observedGeneration": view.generation}
    if view.username:
        status["username"] = view.username
    if view.binding:
        status["binding"] = {"name": view.binding}
    return _with_revision(status, view, verdicts, before, now)


def permission_status(view: PermissionView, before: Manifest, now: datetime) -> Manifest:
    """`before`: the status it has."""
    verdicts = [*_common(view), _ready(view, "The permission holds on all nodes.")]
    if not view.refusals:
        verdicts.append(_no_conflicts(view.facts))
    status = {"observedGeneration": view.generation, "matchedClients": view.matched}
    return _with_revision(status, view, verdicts, before, now)


def _with_revision(
    status: Manifest, view: MemberView, verdicts: Sequence[Verdict], before: Manifest, now: datetime
) -> Manifest:
    if view.progress.is_applied and not view.refusals:
        status["appliedRevision"] = view.progress.revision
    conditions: list[Any] = before.get("conditions", [])
    return {**status, "conditions": as_conditions(verdicts, conditions, view.generation, now)}


def _common(view: MemberView) -> list[Verdict]:
    return [_accepted(view), _resolved(view), _programmed(view)]


def _accepted(view: MemberView) -> Verdict:
    if view.refusals:
        return fails(ConditionType.ACCEPTED, *first_of(view.refusals))
    return holds(ConditionType.ACCEPTED, Reason.ACCEPTED, "The object makes sense, and may do what it asks for.")


def _resolved(view: MemberView) -> Verdict:
    if view.unresolved:
        return fails(ConditionType.RESOLVED_REFS, *first_of(view.unresolved))
    return holds(ConditionType.RESOLVED_REFS, Reason.RESOLVED, "Everything that it refers to is there.")


def _programmed(view: MemberView) -> Verdict:
    kind, progress = ConditionType.PROGRAMMED, view.progress
    if view.refusals:
        return fails(kind, Reason.NOT_ACCEPTED, "It is not accepted, so no node knows it.")
    if progress.is_applied:
        return holds(
            kind, Reason.PROGRAMMED, f"Every node that runs decides by it since policy revision {progress.revision}."
        )
    if progress.obstacle is not None:
        return fails(kind, *progress.obstacle)
    if progress.revision < 0:
        return fails(kind, Reason.POLICY_NOT_WRITTEN, "No policy has been written with it yet.")
    sentence = f"Policy revision {progress.revision} holds it; not every node decides by that yet."
    return fails(kind, Reason.NODES_BEHIND, sentence)


def _client_is_ready(view: ClientView) -> Verdict:
    if view.is_suspended and not view.refusals and view.progress.is_applied:
        return holds(ConditionType.READY, Reason.SUSPENDED, "The client is suspended: it is refused, its data is kept.")
    if not view.refusals and not view.unresolved and not view.has_credentials:
        sentence = "The client has no credential, so it cannot connect: add one to spec.credentials."
        return fails(ConditionType.READY, Reason.NO_CREDENTIALS, sentence)
    return _ready(view, "The client is known to all nodes.")


def _ready(view: MemberView, sentence: str) -> Verdict:
    kind = ConditionType.READY
    if view.refusals:
        return fails(kind, Reason.NOT_ACCEPTED, first_of(view.refusals).sentence)
    if view.unresolved:
        return fails(kind, Reason.REFS_NOT_RESOLVED, first_of(view.unresolved).sentence)
    programmed = _programmed(view)
    if not programmed.is_true:
        return fails(kind, Reason.NOT_PROGRAMMED, programmed.message)
    return holds(kind, Reason.SYNCED, sentence)


def _no_conflicts(facts: RuleFacts) -> Verdict:
    kind = ConditionType.NO_CONFLICTS
    sentences = [
        *(f"Rule {each.rule} never decides: {each.other} outranks it and covers it." for each in facts.shadowed),
        *map(_contradiction, facts.contradicted),
    ]
    if not sentences:
        return holds(kind, Reason.NO_CONFLICTS, "No rule contradicts or hides another one.")
    reason = Reason.RULES_SHADOWED if facts.shadowed else Reason.RULES_CONTRADICT
    return fails(kind, reason, " ".join(sentences))


def _contradiction(finding: Finding) -> str:
    return (
        f"Rule {finding.rule} and {finding.other} have one priority, and one allows what the other denies: the deny "
        "holds; give the one that is meant a higher priority."
    )
