"""The one writer of the statuses of clients and permissions: ten thousand of them, a few at a time, the newest each.

Knows what each status should be and how it was last seen; does not know what it says. Nothing is written that is so
already: an operator that starts anew works out the same statuses, and writes none. A change that was written may be
worth an event: `events` tells it, and nobody waits for that.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from mqtt_api.conditions import ConditionType
from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import Kube, KubeAwayError, KubeError
from mqtt_operator.reconcile.event_writer import EventWriter
from mqtt_operator.reconcile.keys import ObjectKey
from mqtt_operator.reconcile.member_events import Troubles
from mqtt_operator.reconcile.seen import Seen

log = logging.getLogger(__name__)

WRITES_MAX = 20  # at a time
REST_S = 1.0  # between two writes of one object: a count of clients that grows is not told client by client
AGAIN_S = 5.0  # after the API server did not answer
_OUR_CONDITIONS = frozenset(ConditionType)
CATCHES_UP_S_MAX = 30.0  # within which the memory has seen what was written


class Subject(NamedTuple):
    """Whose status it is."""

    kind: Kind
    key: ObjectKey


class _Wanted(Struct):
    """`uid`: of the very object that is meant. `before`: the status it had then."""

    uid: str
    status: Manifest
    before: Manifest


class _Written(Struct):
    """What was written last, until the memory has caught up."""

    uid: str
    status: Manifest
    resource_version: str
    at: float


class StatusWriter:
    """One for the process. `run` it until it is cancelled; `want` may be called before."""

    def __init__(self, kube: Kube, *, writes_max: int = WRITES_MAX, rest_s: float = REST_S) -> None:
        self._kube = kube
        self._writes_max = writes_max
        self._rest_s = rest_s
        self._wanted: dict[Subject, _Wanted] = {}
        self._written: dict[Subject, _Written] = {}
        self._resting: set[Subject] = set()
        self._queue: asyncio.Queue[Subject] = asyncio.Queue()
        self._queued: set[Subject] = set()
        self._complaint = ""
        self._troubles = Troubles[Subject]()
        self.events = EventWriter(kube)
        """Of clients and permissions; it runs when this does."""

    def known(self, subject: Subject, seen: Seen[Any]) -> Manifest:
        """The status as it is, as far as anybody knows: what was written last, or what was seen."""
        written = self._written.get(subject)
        if written is None:
            return seen.status
        is_seen = written.uid != seen.uid or written.resource_version == seen.resource_version
        if is_seen or asyncio.get_running_loop().time() - written.at > CATCHES_UP_S_MAX:
            del self._written[subject]
            return seen.status
        return written.status

    def want(self, subject: Subject, seen: Seen[Any], status: Manifest) -> None:
        """This is what the status should be from now on; whatever was wanted before is not any more."""
        wanted, before = self._wanted.get(subject), self.known(subject, seen)
        if wanted is None and _content(before) == _content(status):
            return
        self._wanted[subject] = _Wanted(seen.uid, status, before)
        self._enqueue(subject)

    def forget(self, subject: Subject) -> None:
        """The object is gone, or nobody here knows its status any more."""
        self._wanted.pop(subject, None)
        self._written.pop(subject, None)
        self._troubles.forget(subject)

    @property
    def waiting(self) -> int:
        """How many are wanted and not written."""
        return len(self._wanted)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as writers:
            for _ in range(self._writes_max):
                writers.create_task(self._write_all())
            writers.create_task(self.events.run())

    async def _write_all(self) -> None:
        while True:
            subject = await self._queue.get()
            self._queued.discard(subject)
            wanted = self._wanted.get(subject)
            if wanted is not None:
                await self._write(subject, wanted)

    async def _write(self, subject: Subject, wanted: _Wanted) -> None:
        self._resting.add(subject)
        pause_s = self._rest_s
        try:
            written = await self._kube.patch_status(subject.kind, *subject.key, wanted.status)
        except KubeAwayError as problem:
            pause_s = AGAIN_S
            self._complain(problem)
        except KubeError as problem:  # trying the same again gives the same answer
            self._complain(problem)
            self._done(subject, wanted)
        else:
            self._complaint = ""
            if written is not None:
                self._tell(subject, wanted)
                version, now = written["metadata"]["resourceVersion"], asyncio.get_running_loop().time()
                self._written[subject] = _Written(wanted.uid, wanted.status, version, now)
            self._done(subject, wanted)
        finally:
            asyncio.get_running_loop().call_later(pause_s, self._rested, subject)

    def _tell(self, subject: Subject, wanted: _Wanted) -> None:
        """What was written of it after `wanted.before` was told then."""
        latest = self._written.get(subject)
        before = wanted.before if latest is None or latest.uid != wanted.uid else latest.status
        said = self._troubles.news(subject, before, wanted.status)
        if said is not None:
            self.events.tell(subject.kind, subject.key, wanted.uid, said)

    def _done(self, subject: Subject, wanted: _Wanted) -> None:
        if self._wanted.get(subject) is wanted:
            del self._wanted[subject]

    def _rested(self, subject: Subject) -> None:
        self._resting.discard(subject)
        if subject in self._wanted:
            self._enqueue(subject)

    def _enqueue(self, subject: Subject) -> None:
        if subject not in self._queued and subject not in self._resting:
            self._queued.add(subject)
            self._queue.put_nowait(subject)

    def _complain(self, problem: KubeError) -> None:
        """Once: thousands may meet the same."""
        if str(problem) != self._complaint:
            self._complaint = str(problem)
            log.warning("Statuses cannot be written: %s", problem, extra={"event": "status.failed"})


def _content(status: Mapping[str, Any]) -> Manifest:
    """What we say in it, without since when. Conditions of other types are other people's."""
    conditions = [
        {name: value for name, value in condition.items() if name != "lastTransitionTime"}
        for condition in status.get("conditions", ())
        if condition.get("type") in _OUR_CONDITIONS
    ]
    return {**status, "conditions": sorted(conditions, key=lambda each: str(each.get("type")))}
