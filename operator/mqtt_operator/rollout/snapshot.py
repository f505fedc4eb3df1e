"""One moment of a broker's nodes, as far as rollouts look at it: an immutable value.

Knows what there is to know; does not know where it was read, or what follows from it.
"""

from enum import StrEnum

from msgspec import Struct


class Health(StrEnum):
    """READY: it takes clients. STARTING: not yet, or not just now. FAILING: it will not, unless somebody acts."""

    READY = "ready"
    STARTING = "starting"
    FAILING = "failing"


class NodePod(Struct, frozen=True, kw_only=True):
    """The pod of one node. `revision`: the one of its template. `is_leaving`: its deletion has begun.

    `is_overdue`: it should have ended long ago. `problem`: why it is not ready, in words that continue its name, "" if
    it is, or if nobody knows.
    """

    name: str
    uid: str
    ordinal: int
    revision: str
    health: Health
    problem: str = ""
    is_leaving: bool = False
    is_overdue: bool = False

    @property
    def is_ready(self) -> bool:
        """It takes clients, and goes on to."""
        return self.health is Health.READY and not self.is_leaving


class Snapshot(Struct, frozen=True, kw_only=True):
    """`wanted`: how many nodes the broker is to have; `replicas`: how many its StatefulSet is told to have.

    `revision`: the one that new pods get; None: the StatefulSet's controller has not looked at the template yet.
    `is_overdue`: nothing has moved for so long that somebody should look.
    """

    wanted: int
    replicas: int
    revision: str | None
    pods: tuple[NodePod, ...]
    store_answers: bool
    is_paused: bool = False
    is_overdue: bool = False

    @property
    def leaving(self) -> tuple[NodePod, ...]:
        """Those that are going away, or are about to: a StatefulSet ends the pods beyond its replicas by itself."""
        return tuple(pod for pod in self.pods if pod.is_leaving or pod.ordinal >= self.replicas)

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers that have no pod and should."""
        return tuple(sorted(set(range(self.replicas)) - {pod.ordinal for pod in self.pods}))

    @property
    def outdated(self) -> tuple[NodePod, ...]:
        """Those of another revision than the one in force, the highest number first."""
        outdated = (pod for pod in self.pods if self.revision is not None and pod.revision != self.revision)
        return tuple(sorted(outdated, key=lambda pod: -pod.ordinal))

    def with_health(self, health: Health) -> tuple[NodePod, ...]:
        """The highest number first."""
        return tuple(sorted((pod for pod in self.pods if pod.health is health), key=lambda pod: -pod.ordinal))
