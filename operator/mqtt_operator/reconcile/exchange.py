"""What the two stories of a broker tell each other: where its store is, and which policy is in force there.

Knows values and who wants to hear of them; does not know how either story comes to know. Nothing here is kept: both
stories tell everything again after a restart.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from msgspec import Struct

from mqtt_api.node_facts import Purged
from mqtt_api.node_settings import RedisSettings
from mqtt_operator.channel.terms import Members
from mqtt_operator.errors import ExpectedError
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.status.verdict import Problem

Wake = Callable[[], None]


class SharedPlace(Struct, frozen=True, kw_only=True):
    """A store that nodes share.

    `world` is the identity that it must have; `may_be_new`: it has not been seen with it yet, so it may be empty.
    `is_inherited`: no policy of this broker has been written there yet: one that is there is of a broker before it.
    `accepts`: if it lost acknowledged writes, it is served again nevertheless. `settings` are the operator's own, with
    its user.
    """

    world: str
    may_be_new: bool
    accepts: bool
    settings: RedisSettings
    is_inherited: bool = False


class EmbeddedPlace(Struct, frozen=True, kw_only=True):
    """The one node has a store of its own, and reads the policy from a Secret."""

    world: str


Place = SharedPlace | EmbeddedPlace


class PolicyReport(Struct, frozen=True, kw_only=True):
    """How far the policy of a broker has come.

    `revision` is in force in the store, -1 = none is, or nobody knows yet. `established`: the store has its identity
    from now on. `nodes_current` of `nodes_total` decide by that revision. `stalled`: a sentence, if a person has to
    decide first. `problem` keeps the newest objects out of force. `is_rolled_back`: the store lost acknowledged writes
    and waits to be accepted; `generation_accepted` is that of the last time it was, else 0. `members` are the leases as
    they were read last.
    """

    revision: int = -1
    established: bool = False
    clients: int = 0
    permissions: int = 0
    nodes_current: int = 0
    nodes_total: int = 0
    stalled: str = ""
    problem: ExpectedError | None = None
    is_rolled_back: bool = False
    generation_accepted: int = 0
    members: Members | None = None


class Exchange:
    """One for the process. For one event loop; nothing here waits."""

    def __init__(self) -> None:
        self._places: dict[BrokerKey, Place] = {}
        self._obstacles: dict[BrokerKey, Problem] = {}
        self._reports: dict[BrokerKey, PolicyReport] = {}
        self._nodes: dict[BrokerKey, Mapping[str, int]] = {}
        self._purged: dict[BrokerKey, tuple[Purged, ...]] = {}
        self._forgetters: list[Callable[[BrokerKey], None]] = []
        self._place_listeners: defaultdict[BrokerKey, list[Wake]] = defaultdict(list)
        self._report_listeners: defaultdict[BrokerKey, list[Wake]] = defaultdict(list)

    def place(self, key: BrokerKey) -> Place | None:
        """None: nobody knows yet, or it cannot be reached as it is declared."""
        return self._places.get(key)

    def obstacle(self, key: BrokerKey) -> Problem | None:
        """Why there is no place, if somebody has to mend that."""
        return self._obstacles.get(key)

    def tell_place(self, key: BrokerKey, place: Place | None, obstacle: Problem | None = None) -> None:
        """Where the store is now; None: it is not known any more, and nothing is written until it is."""
        if (place, obstacle) == (self._places.get(key), self._obstacles.get(key)):
            return
        _put(self._places, key, place)
        _put(self._obstacles, key, obstacle)
        _call(self._place_listeners, key)

    def report(self, key: BrokerKey) -> PolicyReport:
        """An empty one at first."""
        return self._reports.get(key, PolicyReport())

    def tell_report(self, key: BrokerKey, report: PolicyReport) -> None:
        """How far the policy has come."""
        if report != self.report(key):
            self._reports[key] = report
            _call(self._report_listeners, key)

    def nodes(self, key: BrokerKey) -> Mapping[str, int]:
        """The revision that each node decides by, where nodes have stores of their own; -1 = none."""
        return self._nodes.get(key, {})

    def purged(self, key: BrokerKey) -> tuple[Purged, ...]:
        """How far sessions of deleted clients have ended, as the same nodes tell."""
        return self._purged.get(key, ())

    def tell_nodes(self, key: BrokerKey, revisions: Mapping[str, int], purged: Iterable[Purged] = ()) -> None:
        """By the name of the node. Only for nodes with stores of their own: others are read from their leases."""
        self._purged[key] = tuple(purged)
        if revisions != self._nodes.get(key):
            self._nodes[key] = dict(revisions)
            _call(self._place_listeners, key)

    def nudge(self, key: BrokerKey) -> None:
        """The policy's story has something to do that no change tells: what went on beside it was finished."""
        _call(self._place_listeners, key)

    def forget(self, key: BrokerKey) -> None:
        """The broker is gone."""
        for forgotten in self._forgetters:
            forgotten(key)
        self._nodes.pop(key, None)
        self._purged.pop(key, None)
        self._places.pop(key, None)
        self._obstacles.pop(key, None)
        self._reports.pop(key, None)

    def on_place(self, key: BrokerKey, wake: Wake) -> Callable[[], None]:
        """Call `wake` after another place, other revisions, or a nudge; until the returned function is called."""
        return _listen(self._place_listeners, key, wake)

    def on_forget(self, forgotten: Callable[[BrokerKey], None]) -> None:
        """Call this for each broker that is gone."""
        self._forgetters.append(forgotten)

    def on_report(self, key: BrokerKey, wake: Wake) -> Callable[[], None]:
        """Call `wake` after each other report, until the returned function is called."""
        return _listen(self._report_listeners, key, wake)


_Listeners = defaultdict[BrokerKey, list[Wake]]
V = TypeVar("V")


def _put(values: dict[BrokerKey, V], key: BrokerKey, value: V | None) -> None:
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value


def _listen(listeners: _Listeners, key: BrokerKey, wake: Wake) -> Callable[[], None]:
    listeners[key].append(wake)

    def stop() -> None:
        if wake in listeners[key]:
            listeners[key].remove(wake)

    return stop


def _call(listeners: _Listeners, key: BrokerKey) -> None:
    for wake in tuple(listeners.get(key, ())):
        wake()
