"""Who among the clients and permissions of a broker is told what, and when.

Knows when a status is worth writing; does not know its words (member_status.py), or how it is written (statuses.py).
"""

from collections.abc import Iterable

from mqtt_operator.desired.kinds import MQTT_CLIENT, TOPIC_PERMISSION
from mqtt_operator.reconcile.keys import ObjectKey
from mqtt_operator.reconcile.member_status import MemberView, client_status, permission_status
from mqtt_operator.reconcile.policy_clients import Clients
from mqtt_operator.reconcile.policy_means import Means, Work
from mqtt_operator.reconcile.policy_permissions import Permissions
from mqtt_operator.reconcile.statuses import Subject
from mqtt_operator.status.verdict import Problem

FACTS_S_MAX = 0.02  # in a pass, for what people should know of rules; the rest comes in the next one


class Telling:
    """`obstacle`: what keeps every change from the nodes now, if anything does."""

    def __init__(self, means: Means, work: Work, clients: Clients, permissions: Permissions) -> None:
        self._means = means
        self._work = work
        self._clients = clients
        self._permissions = permissions
        self._obstacle: Problem | None = None

    def hinder(self, obstacle: Problem | None) -> None:
        """This is what everybody who waits is waiting for now."""
        if obstacle != self._obstacle:
            self._obstacle = obstacle
            self._work.ledger.remind()

    def tell(self, changed: Iterable[Subject]) -> None:
        """Those that changed, the permissions that mean other clients than before, and who has waited for too long."""
        moved = {Subject(TOPIC_PERMISSION, key_of(each)) for each in self._work.compiler.moved()}
        late = self._work.ledger.overdue(self._means.seconds())
        for subject in {*changed, *moved, *late}:
            self._tell(subject, is_late=subject in late)

    def tell_facts(self) -> bool:
        """What there is to know of rules now. True if there is more to work out."""
        ends_at = self._means.seconds() + FACTS_S_MAX
        for reference, facts in self._work.compiler.rule_news():
            key = key_of(reference)
            if self._permissions.note_facts(key, facts):
                self._tell(Subject(TOPIC_PERMISSION, key), is_late=False)
            if self._means.seconds() > ends_at:
                return True
        return False

    def _tell(self, subject: Subject, *, is_late: bool) -> None:
        statuses, now = self._means.statuses, self._means.clock()
        if subject.kind is MQTT_CLIENT and self._clients.has(subject.key):
            client = self._clients.view(subject.key, self._obstacle)
            if is_late or _is_settled(client):
                seen = self._clients.seen(subject.key)
                statuses.want(subject, seen, client_status(client, statuses.known(subject, seen), now))
        elif subject.kind is TOPIC_PERMISSION and self._permissions.has(subject.key):
            permission = self._permissions.view(subject.key, self._obstacle)
            if is_late or _is_settled(permission):
                of = self._permissions.seen(subject.key)
                statuses.want(subject, of, permission_status(permission, statuses.known(subject, of), now))


def key_of(reference: str) -> ObjectKey:
    """Of namespace/name."""
    namespace, _, name = reference.partition("/")
    return ObjectKey(namespace, name)


def _is_settled(view: MemberView) -> bool:
    """What is on its way to the nodes will be there in a moment, and is told then."""
    return bool(view.refusals or view.unresolved or view.progress.is_applied)
