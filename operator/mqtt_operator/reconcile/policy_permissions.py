"""The permissions of one broker on their way into the policy: those that changed are looked at again, and no others.

Knows what makes a permission worth another look, and what goes into the compiler then; does not know when a policy is
written.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from mqtt_api.conditions import Reason
from mqtt_api.kinds.topicpermission import SubjectKind
from mqtt_api.policy import Policy
from mqtt_api.resources import TopicPermission
from mqtt_operator.desired.kinds import TOPIC_PERMISSION
from mqtt_operator.policy.attachment import Refusal, why_not_attached
from mqtt_operator.policy.compile import rules_of
from mqtt_operator.policy.facts import NO_FACTS, RuleFacts
from mqtt_operator.reconcile.keys import ObjectKey
from mqtt_operator.reconcile.member_status import PermissionView, Progress, mistakes_as_problems, refusal_as_problem
from mqtt_operator.reconcile.policy_clients import Clients
from mqtt_operator.reconcile.policy_frame import Frame
from mqtt_operator.reconcile.policy_means import Means, Work
from mqtt_operator.reconcile.seen import Seen
from mqtt_operator.reconcile.statuses import Subject
from mqtt_operator.status.verdict import Problem

MISSING_NAMED_MAX = 3  # of the clients that do not exist, in a message


class _Record(Struct):
    """A permission as it was looked at. `refusal`: why it takes no part."""

    seen: Seen[TopicPermission]
    resource: TopicPermission | None
    uid: str
    refusal: Refusal | None = None
    facts: RuleFacts = NO_FACTS


class Permissions:
    """`clients` of the same broker."""

    def __init__(self, means: Means, work: Work, clients: Clients) -> None:
        self._means = means
        self._work = work
        self._clients = clients
        self._records: dict[ObjectKey, _Record] = {}
        self._look_at_all = False

    def __len__(self) -> int:
        return len(self._records)

    def has(self, key: ObjectKey) -> bool:
        return key in self._records

    def look_again(self) -> None:
        """At all of them in the next `take`."""
        self._look_at_all = True

    def take(
        self, permissions: Mapping[ObjectKey, Seen[TopicPermission]], changed: Iterable[ObjectKey], frame: Frame
    ) -> set[ObjectKey]:
        """Bring the compiler to where the permissions are, of which these have changed.

        Returns those of which something else is to be told.
        """
        told = set()
        for key in sorted({*changed, *self._records} if self._look_at_all else set(changed)):
            seen = permissions.get(key)
            if seen is None or seen.deleting:
                self._remove(key)
            elif self._note(key, seen, frame):
                told.add(key)
        self._look_at_all = False
        return told

    def _remove(self, key: ObjectKey) -> None:
        if self._records.pop(key, None) is not None:
            self._leave(key)
            self._means.statuses.forget(Subject(TOPIC_PERMISSION, key))

    def _note(self, key: ObjectKey, seen: Seen[TopicPermission], frame: Frame) -> bool:
        before = self._records.get(key)
        is_same = before is not None and before.resource is seen.resource and before.uid == seen.uid
        if before is not None and is_same:
            before.seen = seen
            if not self._look_at_all:
                return False
        permission = seen.resource
        refusal = None if permission is None else why_not_attached(frame.broker, permission, frame.namespaces)
        self._records[key] = _Record(seen=seen, resource=permission, uid=seen.uid, refusal=refusal)
        if permission is None or refusal is not None:
            self._leave(key)
        elif before is None or not is_same or before.refusal is not None:
            self._work.compiler.put_permission(permission)
            self._work.ledger.touch(Subject(TOPIC_PERMISSION, key), self._means.seconds())
        else:
            self._records[key].facts = before.facts
        return True

    def _leave(self, key: ObjectKey) -> None:
        self._work.compiler.drop_permission(str(key))
        self._work.ledger.forget(Subject(TOPIC_PERMISSION, key))

    def note_facts(self, key: ObjectKey, facts: RuleFacts) -> bool:
        """True if they are others than before."""
        record = self._records.get(key)
        if record is None or record.facts == facts:
            return False
        record.facts = facts
        return True

    # What is to be told

    def believe(self, in_force: Policy, revision: int) -> None:
        """Those whose status says that all nodes know them as they were in force before us, and as they are now."""
        for key, record in self._records.items():
            if record.resource is None or record.refusal is not None:
                continue
            status = record.seen.status
            told = status.get("appliedRevision") if status.get("observedGeneration") == record.seen.generation else None
            is_same = in_force.permissions.get(str(key)) == rules_of(record.resource)
            if is_same and told is not None and told <= revision:
                self._work.ledger.believe(Subject(TOPIC_PERMISSION, key), told)

    def seen(self, key: ObjectKey) -> Seen[TopicPermission]:
        return self._records[key].seen

    def view(self, key: ObjectKey, obstacle: Problem | None) -> PermissionView:
        """What there is to tell of this permission. `obstacle`: what keeps every change from the nodes."""
        record, subject = self._records[key], Subject(TOPIC_PERMISSION, key)
        if record.resource is None:
            problems = mistakes_as_problems(record.seen.mistakes)
            return PermissionView(generation=record.seen.generation, refusals=problems)
        return PermissionView(
            generation=record.seen.generation,
            refusals=() if record.refusal is None else (refusal_as_problem(record.refusal),),
            unresolved=self._missing(record.resource),
            progress=Progress(
                revision=self._work.ledger.revision(subject),
                is_applied=self._work.ledger.is_applied(subject),
                obstacle=obstacle,
            ),
            matched=self._work.compiler.matched(str(key)),
            facts=record.facts,
        )

    def _missing(self, permission: TopicPermission) -> tuple[Problem, ...]:
        namespace = permission.metadata.namespace
        wanted = [
            each.name
            for each in permission.spec.subjects
            if each.kind is SubjectKind.MQTT_CLIENT and each.name is not None
        ]
        missing = [name for name in wanted if not self._clients.has(ObjectKey(namespace, name))]
        if not missing:
            return ()
        named = ", ".join(missing[:MISSING_NAMED_MAX]) + (" and others" if len(missing) > MISSING_NAMED_MAX else "")
        sentence = f"spec.subjects names MQTTClient {named}, which does not exist for this broker: it is waited for."
        return (Problem(Reason.CLIENT_NOT_FOUND, sentence),)
