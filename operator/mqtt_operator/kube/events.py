"""Events as objects of the API, and which one is told again rather than anew.

Knows the shape of events.k8s.io/v1 and the window in which equal events are one; sends nothing.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from mqtt_operator.desired.kinds import EVENT
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import EventType

SAME_S_MAX = 600.0  # equal events within this are one series
EVENTS_MAX = 1_000  # that are remembered
NOTE_CHARACTERS_MAX = 1_024  # the API's own bound
NAME_CHARACTERS_MAX = 200  # of the object's name within that of the event; 253 in all


class EventSource(NamedTuple):
    """Who speaks: the program and the instance of it."""

    controller: str
    instance: str


class Entry(NamedTuple):
    """`series`: a patch for the event of that name, which says that it happened again. None: create `manifest`."""

    name: str
    manifest: Manifest
    series: Manifest | None


class _Key(NamedTuple):
    uid: str
    event_type: EventType
    reason: str
    note: str


class _Known(NamedTuple):
    name: str
    first_at: float
    times: int


class EventBook:
    """Remembers which events were told lately. `clock` in seconds, `wall` as the date that the event shows."""

    def __init__(
        self,
        source: EventSource,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source = source
        self._clock = clock
        self._wall = wall
        self._known: OrderedDict[_Key, _Known] = OrderedDict()

    def enter(self, about: Manifest, event_type: EventType, reason: str, message: str) -> Entry:
        """Write it down: as a new one, or once more."""
        key = _Key(about["metadata"].get("uid", ""), event_type, reason, message[:NOTE_CHARACTERS_MAX])
        known = self._known.get(key)
        if known is None or self._clock() - known.first_at > SAME_S_MAX:
            return self.renew(about, event_type, reason, message)
        self._known[key] = known._replace(times=known.times + 1)
        series = {"count": known.times + 1, "lastObservedTime": self._moment()}
        return Entry(known.name, {}, {"series": series})

    def renew(self, about: Manifest, event_type: EventType, reason: str, message: str) -> Entry:
        """Write it down as a new one, whatever was told before."""
        metadata = about["metadata"]
        key = _Key(metadata.get("uid", ""), event_type, reason, message[:NOTE_CHARACTERS_MAX])
        name = f"{metadata['name'][:NAME_CHARACTERS_MAX].rstrip('.-')}.{secrets.token_hex(8)}"
        self._known[key] = _Known(name, self._clock(), 1)
        self._known.move_to_end(key)
        while len(self._known) > EVENTS_MAX:
            self._known.popitem(last=False)
        return Entry(name, self._manifest(name, about, key), None)

    def _manifest(self, name: str, about: Manifest, key: _Key) -> Manifest:
        metadata = about["metadata"]
        regarding = {field: metadata[field] for field in ("name", "namespace", "uid") if field in metadata}
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"name": name, "namespace": metadata.get("namespace", "default")},
            "eventTime": self._moment(),
            "type": key.event_type.value,
            "reason": key.reason,
            "note": key.note,
            "action": key.reason,
            "regarding": {"apiVersion": about["apiVersion"], "kind": about["kind"], **regarding},
            "reportingController": self._source.controller,
            "reportingInstance": self._source.instance,
        }

    def _moment(self) -> str:
        return self._wall().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
