"""What was seen of a broker in one pass, as far as its status tells it: an immutable value.

Knows what there is to see; does not know where it was read, or what follows from it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum, auto

from msgspec import Struct

from mqtt_api.node_facts import NodeFacts
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.rollout.plan import Step
from mqtt_operator.status.verdict import Problem


class Contact(Enum):
    """How the operator stands with the store.

    NEVER: it has not answered yet, so that nobody can have lost anything. LOST: it has, and does not now, or is not the
    one it was.
    """

    NEVER = auto()
    LOST = auto()
    REACHED = auto()


class StoreSeen(Struct, frozen=True, kw_only=True):
    """`problem`: why the store cannot be used. `durability`: what stands against the declared level, if it was asked.

    `rolled_back`: it lost what nodes knew, and waits for a person. `note`: what a person should know although it works.
    """

    contact: Contact
    id: str = ""
    problem: Problem | None = None
    durability: Problem | None = None
    rolled_back: Problem | None = None
    note: str = ""


class CertificateSeen(Struct, frozen=True, kw_only=True):
    """The newest certificate of a listener with TLS; without `serial` there is none. `problem`: why it cannot be used.

    `lifetime`: from its first to its last moment. `client_cas`: as in NodeFacts, of the newest list of CAs.
    """

    listener: str
    serial: str = ""
    not_after: datetime | None = None
    lifetime: timedelta = timedelta(0)
    client_cas: str = ""
    problem: Problem | None = None


class NodeSeen(Struct, frozen=True, kw_only=True):
    """A pod of the StatefulSet. `facts`: what the node says of itself, None: nothing."""

    name: str
    is_ready: bool
    facts: NodeFacts | None = None


class PolicySeen(Struct, frozen=True, kw_only=True):
    """`revision` of the policy in force; None: none was written yet. `problem`: what keeps the newest from being.

    `stalled`: a sentence, if a person has to decide first.
    """

    revision: int | None = None
    problem: Problem | None = None
    stalled: str = ""


class Lag(Struct, frozen=True, kw_only=True):
    """Some nodes have not decided by this revision, or a later one, since then.

    `is_next`: they had come as far as the one that was waited for before.
    """

    revision: int
    since: datetime
    is_next: bool = False


class Observation(Struct, frozen=True, kw_only=True):
    """One pass. What it did not come to look at is None, or empty.

    - `refused`: why the object is not accepted. `unresolved`: what it refers to and cannot be used. `failed`: what the
      world or the API server would not let us do. `pending`: what has to come about by itself before nodes are made.
      `renewing`: what it refers to and cannot be used either, but is needed only when a certificate is renewed.
    - `hears_nodes`: what nodes say of themselves could be read; else who says nothing may still be well.
    - `is_programmed`: everything that this generation asks for has been applied.
    - `was_reached`: the store has answered before this pass. `was_ready`: the broker was ready for this generation.
    - `lag`: how nodes that are behind the policy have fared; None: none is.
    - `step`: the one that the plan took; None: nothing was planned.
    - `held`: why the nodes do not run the operator's release, "" if they do; `held_for_turn`: and they will, by
      themselves. `release`: its version.
    - `services`: the Services for clients as they are.
    """

    broker: MQTTBroker
    now: datetime
    is_paused: bool = False
    refused: Problem | None = None
    unresolved: tuple[Problem, ...] = ()
    renewing: tuple[Problem, ...] = ()
    failed: Problem | None = None
    pending: tuple[Problem, ...] = ()
    is_programmed: bool = False
    store: StoreSeen | None = None
    was_reached: bool = False
    was_ready: bool = False
    certificates: tuple[CertificateSeen, ...] = ()
    nodes: tuple[NodeSeen, ...] = ()
    hears_nodes: bool = True
    policy: PolicySeen = PolicySeen()
    lag: Lag | None = None
    step: Step | None = None
    held: str = ""
    held_for_turn: bool = False
    release: str = ""
    services: Mapping[str, Manifest] = {}

    @property
    def generation(self) -> int:
        return self.broker.metadata.generation or 0

    @property
    def ready_nodes(self) -> int:
        return sum(node.is_ready for node in self.nodes)

    @property
    def told(self) -> tuple[NodeFacts, ...]:
        """What the nodes say of themselves, those that say something."""
        return tuple(node.facts for node in self.nodes if node.facts is not None)

    @property
    def awaits_nodes(self) -> bool:
        """Some of them have still to take up what is there for them."""
        return self.hears_nodes and self.current_nodes < len(self.nodes)

    @property
    def current_nodes(self) -> int:
        """How many decide by the policy in force."""
        revision = self.policy.revision
        return 0 if revision is None else self._deciding_by(revision)

    def has_reached(self, revision: int) -> bool:
        """Every node decides by this policy, or a later one."""
        return self._deciding_by(revision) == len(self.nodes)

    def _deciding_by(self, revision: int) -> int:
        return sum(facts.policy_revision >= revision for facts in self.told)
