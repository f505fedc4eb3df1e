"""Which clients each permission means, while clients and permissions come, change and go.

Knows subjects, and clients by number; does not know rules, user names or who may be a member. A set of clients is the
bits of an integer, so that ten thousand of them are compared in a microsecond. Pure.

Every subject asks for marks that a client bears: its name, a group, its labels. Whatever it names is in the namespace
of the permission.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mqtt_api.filter_index import bits
from mqtt_api.kinds.topicpermission import Subject, SubjectKind
from mqtt_api.resources import MQTTClient, TopicPermission

Mark = tuple[str, ...]
Marks = frozenset[Mark]

NO_MARKS: Marks = frozenset()


class Moved(NamedTuple):
    """The clients that a permission means now and did not, and those that it does not any more."""

    gained: int
    lost: int


def marks_of(client: MQTTClient) -> Marks:
    """Everything that a subject can know a client by."""
    metadata = client.metadata
    return frozenset(
        (
            ("name", metadata.namespace, metadata.name),
            *(("label", metadata.namespace, key, value) for key, value in metadata.labels.items()),
            *(("group", metadata.namespace, group) for group in client.spec.groups),
        )
    )


def wanted_by(permission: TopicPermission) -> tuple[Marks, ...]:
    """For each subject that means clients by what they bear: the marks that one must have, all of them."""
    namespace = permission.metadata.namespace
    return tuple(marks for subject in permission.spec.subjects if (marks := _marks(subject, namespace)))


def _marks(subject: Subject, namespace: str) -> Marks:
    match subject.kind:
        case SubjectKind.MQTT_CLIENT if subject.selector is not None:
            labels = subject.selector.match_labels
            return frozenset(("label", namespace, key, value) for key, value in labels.items())
        case SubjectKind.MQTT_CLIENT:
            return frozenset({("name", namespace, subject.name or "")})
        case SubjectKind.GROUP:
            return frozenset({("group", namespace, subject.name or "")})
        case SubjectKind.AUTHENTICATED | SubjectKind.ANONYMOUS:
            return NO_MARKS


def numbers(clients: int) -> Iterator[int]:
    """The members of a set, ascending."""
    while clients:
        lowest = clients & -clients
        yield lowest.bit_length() - 1
        clients ^= lowest


class Matching:
    """Clients are told by numbers that the caller gives them, permissions by their references."""

    def __init__(self) -> None:
        self._marks: dict[int, Marks] = {}
        self._wanted: dict[str, tuple[Marks, ...]] = {}
        self._meant: dict[str, int] = {}
        # Only of marks that some permission asks for.
        self._bearers: dict[Mark, int] = {}
        self._askers: defaultdict[Mark, set[str]] = defaultdict(set)

    def meant_by(self, reference: str) -> int:
        """The clients that this permission means; none if there is no such permission."""
        return self._meant.get(reference, 0)

    def put_client(self, number: int, marks: Marks) -> set[str]:
        """The client bears these marks now; none = it is gone. The answer: permissions that mean it now and did not, or
        the other way round.
        """
        bit, changed = 1 << number, marks ^ self._marks.pop(number, NO_MARKS)
        if marks:
            self._marks[number] = marks
        asking: set[str] = set()
        for mark in changed:
            if mark in self._bearers:
                self._bearers[mark] ^= bit
                asking |= self._askers[mark]
        moved = {each for each in asking if bool(self._meant[each] & bit) != self._means(each, marks)}
        for reference in moved:
            self._meant[reference] ^= bit
        return moved

    def put_permission(self, reference: str, wanted: Sequence[Marks]) -> Moved:
        """The permission asks for these marks now; () = it is gone, or means nobody by marks."""
        for mark in _all(wanted):
            if mark not in self._bearers:
                self._bearers[mark] = bits(number for number, marks in self._marks.items() if mark in marks)
            self._askers[mark].add(reference)
        for mark in _all(self._wanted.get(reference, ())) - _all(wanted):
            self._release(mark, reference)
        meant = 0
        for marks in wanted:
            meant |= self._bearing(marks)
        before = self._meant.pop(reference, 0)
        self._wanted.pop(reference, None)
        if wanted:
            self._meant[reference], self._wanted[reference] = meant, tuple(wanted)
        return Moved(gained=meant & ~before, lost=before & ~meant)

    def _means(self, reference: str, marks: Marks) -> bool:
        return any(wanted <= marks for wanted in self._wanted[reference])

    def _bearing(self, marks: Marks) -> int:
        clients = -1
        for mark in marks:
            clients &= self._bearers[mark]
        return clients

    def _release(self, mark: Mark, reference: str) -> None:
        self._askers[mark].discard(reference)
        if not self._askers[mark]:
            del self._askers[mark], self._bearers[mark]


def _all(wanted: Iterable[Marks]) -> set[Mark]:
    return {mark for marks in wanted for mark in marks}
