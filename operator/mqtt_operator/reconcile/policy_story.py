"""The policy of one broker, pass after pass: from the objects that declare it to the nodes that decide by it.

Knows the order: look at what changed, compile, see how far nodes are, write, tell. Does not know how any of it is done.
A pass waits for the store and for nothing else: hashing, Secrets and statuses go on beside it. What fails leaves the
policy in force as it is.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from mqtt_api.conditions import Reason
from mqtt_api.policy import Effect
from mqtt_api.resources import MQTTBroker
from mqtt_operator.channel.terms import RolledBackError
from mqtt_operator.credentials.book import VerifierBook
from mqtt_operator.credentials.verifiers import Keys
from mqtt_operator.desired.kinds import MQTT_CLIENT, TOPIC_PERMISSION
from mqtt_operator.desired.names import ACCEPT_MASS_REMOVAL_ANNOTATION
from mqtt_operator.errors import ExpectedError
from mqtt_operator.policy.incremental import Compiler, Draft
from mqtt_operator.reconcile.exchange import Place, PolicyReport, SharedPlace
from mqtt_operator.reconcile.journal import Changes
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.loop import Outcome
from mqtt_operator.reconcile.policy_chores import Chores
from mqtt_operator.reconcile.policy_clients import Clients
from mqtt_operator.reconcile.policy_embedded import EmbeddedPen, PolicyTooLargeError
from mqtt_operator.reconcile.policy_frame import Frame, frame_of
from mqtt_operator.reconcile.policy_hashing import Jobs
from mqtt_operator.reconcile.policy_keys import load_keys
from mqtt_operator.reconcile.policy_ledger import Ledger
from mqtt_operator.reconcile.policy_means import Means, Work
from mqtt_operator.reconcile.policy_pen import InForce, Nodes, SharedPen
from mqtt_operator.reconcile.policy_permissions import Permissions
from mqtt_operator.reconcile.policy_telling import FACTS_S_MAX, Telling
from mqtt_operator.reconcile.problems import problem_of
from mqtt_operator.reconcile.registry import HiddenError
from mqtt_operator.reconcile.seen import Seen
from mqtt_operator.reconcile.statuses import Subject
from mqtt_operator.status.verdict import Problem

NODES_S = 0.5  # between two looks at nodes that somebody waits for
NODES_IDLE_S = 5.0  # and if nobody does
KEEP_S = 10.0  # it is written again, should it be there no more; a store that was set back waits for that

AnyPen = SharedPen | EmbeddedPen


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """We write from now on. `in_force`: what was there before us."""

    pen: AnyPen
    in_force: InForce
    keys: Keys


async def begin(means: Means, broker: MQTTBroker, place: Place) -> Begun:
    """Be the one who writes the policy of this broker. Raises ExpectedError."""
    pen: AnyPen
    if isinstance(place, SharedPlace):
        pen = SharedPen(place, means.open_store)
    else:
        pen = EmbeddedPen(means.kube, means.registry, means.exchange, broker, means.inputs)
    in_force = await pen.begin()
    salt = b"" if in_force.policy is None else in_force.policy.scram_salt_key
    keys = await load_keys(means.kube, broker, means.inputs, salt)
    if isinstance(pen, EmbeddedPen):
        pen.keys = keys
    return Begun(pen=pen, in_force=in_force, keys=keys)


async def open_story(
    means: Means, key: BrokerKey, broker: MQTTBroker, place: Place, wake: Callable[[], None]
) -> "PolicyStory":
    """`wake`: something that goes on beside the passes was finished. Raises ExpectedError."""
    begun = await begin(means, broker, place)
    principals = {} if begun.in_force.policy is None else begun.in_force.policy.principals
    work = Work(
        compiler=Compiler({username: each.uid for username, each in principals.items()}),
        ledger=Ledger(),
        book=VerifierBook(await begun.pen.load_verifiers()),
        jobs=Jobs(means.hashing, wake),
        chores=Chores(means.kube, means.statuses.events, wake, means.seconds),
    )
    return PolicyStory(means, key, place, begun, work)


class PolicyStory:
    """Made by `open_story`; `stop` it in the end."""

    def __init__(self, means: Means, key: BrokerKey, place: Place, begun: Begun, work: Work) -> None:
        self._means = means
        self._key = key
        self._place = place
        self._pen: AnyPen | None = begun.pen
        self._keys = begun.keys
        self._work = work
        self._clients = Clients(means, work, begun.in_force.policy)
        self._permissions = Permissions(means, work, self._clients)
        self._telling = Telling(means, work, self._clients, self._permissions)
        self._before: InForce | None = begun.in_force  # until the first draft has been compared with it
        self._revision = begun.in_force.revision
        self._digest = _digest_of(begun.in_force)
        self._frame: Frame | None = None
        self._untold: set[Subject] = set()
        self._nodes = Nodes(revisions={})
        self._nodes_at = self._kept_at = float("-inf")
        self._report = PolicyReport()

    @property
    def under_way(self) -> int:
        """How much goes on beside the passes."""
        return self._work.jobs.under_way + self._work.chores.under_way

    async def stop(self) -> None:
        """End what goes on beside the passes."""
        await self._work.jobs.stop()
        await self._work.chores.stop()

    async def step(self, seen: Seen[MQTTBroker], broker: MQTTBroker, place: Place) -> Outcome:
        """One pass. Raises ExpectedError after it was told; UnseenError without, unless it stays so."""
        try:
            self._untold |= await self._take(seen, broker)
        except HiddenError as problem:
            self._tell_problem(problem)
            raise
        draft = self._compiled()
        try:
            pen = await self._pen_at(broker, place)
            await self._look_at_nodes(pen)
            await self._write(pen, draft)
            await pen.keep_verifiers(self._work.book)
        except ExpectedError as problem:
            self._hinder(problem)
            self._tell(set())
            raise
        self._telling.hinder(_no_nodes() if self._work.ledger.waiting and not self._nodes.revisions else None)
        self._tell(self._arrived())
        is_more = self._telling.tell_facts()
        self._tell_report()
        return Outcome(self._sentence(), FACTS_S_MAX if is_more else self._again_s())

    # Take

    async def _take(self, seen: Seen[MQTTBroker], broker: MQTTBroker) -> set[Subject]:
        """Those of whom something else is to be told."""
        registry, clients, permissions = self._means.registry, self._clients, self._permissions
        # Absence is not an order: these raise while somebody may be unseen.
        seen_clients, seen_permissions = registry.clients_of(self._key), registry.permissions_of(self._key)
        changes = registry.changes(self._key)
        if self._before is not None:
            changes = Changes(set(seen_clients), set(seen_permissions), set())
        frame = frame_of(broker, seen.status, self._keys, self._namespaces, registry)
        if not frame.is_like(self._frame):
            clients.look_again()
            permissions.look_again()
            self._frame = frame
        clients.note_data(changes.data)
        told_permissions = permissions.take(seen_permissions, changes.permissions, frame)
        accepts = ACCEPT_MASS_REMOVAL_ANNOTATION in broker.metadata.annotations
        told_clients = await clients.take(seen_clients, changes.clients, frame, accepts_removal=accepts)
        if self._before is not None:
            is_inherited = isinstance(self._place, SharedPlace) and self._place.is_inherited
            clients.keep_absent(accepts_removal=accepts or is_inherited)
        salt_key = self._keys.salt if frame.mechanisms else b""
        self._work.compiler.set_frame(Effect(broker.spec.authorization.default_policy), salt_key, clients.purges.wanted)
        return {
            *(Subject(MQTT_CLIENT, key) for key in told_clients),
            *(Subject(TOPIC_PERMISSION, key) for key in told_permissions),
        }

    def _namespaces(self) -> set[str]:
        """Those that clients and permissions of this broker are in."""
        registry = self._means.registry
        return {each.namespace for each in (*registry.clients_of(self._key), *registry.permissions_of(self._key))}

    def _compiled(self) -> Draft:
        draft = self._work.compiler.draft()
        before, self._before = self._before, None
        if before is not None:
            if before.policy is not None:
                self._clients.believe(before.policy, before.revision)
                self._permissions.believe(before.policy, before.revision)
            self._clients.forget_before()
            self._work.book.sweep()
        return draft

    # Write

    async def _pen_at(self, broker: MQTTBroker, place: Place) -> AnyPen:
        """The pen, made anew after something went wrong."""
        if self._pen is None:
            begun = await begin(self._means, broker, place)
            self._pen, self._keys = begun.pen, begun.keys
            self._digest = _digest_of(begun.in_force) if begun.in_force.revision >= self._revision else ""
            self._revision = max(self._revision, begun.in_force.revision)
        elif isinstance(self._pen, SharedPen) and isinstance(place, SharedPlace) and place != self._place:
            self._pen.move(place)
        elif isinstance(self._pen, EmbeddedPen):
            self._pen.broker = broker
        self._place = place
        return self._pen

    async def _look_at_nodes(self, pen: AnyPen) -> None:
        now = self._means.seconds()
        if now - self._nodes_at < (NODES_S if self._work.ledger.waiting else NODES_IDLE_S):
            return
        self._nodes_at = now
        self._nodes = await pen.nodes()
        self._clients.note_purged(self._nodes.purged)
        newest = max(self._nodes.revisions.values(), default=-1)
        if newest > self._revision:  # of a store that was set back, or lost: nodes never take a lower one
            self._revision, self._digest = newest, ""

    async def _write(self, pen: AnyPen, draft: Draft) -> None:
        now = self._means.seconds()
        if self._revision < 0 or draft.digest != self._digest:
            written = await pen.write(self._revision + 1, draft.at)
        elif now - self._kept_at >= KEEP_S:
            written = await pen.write(self._revision, draft.at)
        else:
            self._note_written(self._revision)
            return
        self._kept_at = now
        self._revision, self._digest = written.revision, draft.digest
        self._note_written(written.revision)
        if written.generation_accepted:
            self._note_report(generation_accepted=written.generation_accepted)

    def _note_written(self, revision: int) -> None:
        """It holds everything that is known by now."""
        self._work.ledger.written(revision)
        self._clients.purges.written(revision)

    def _hinder(self, problem: ExpectedError) -> None:
        """Nothing new reaches the nodes; the next pass begins with the store anew, unless that would not help."""
        is_too_large = isinstance(problem, PolicyTooLargeError)
        if not is_too_large:
            self._pen = None
        reason = Reason.POLICY_TOO_LARGE if is_too_large else Reason.POLICY_NOT_WRITTEN
        self._telling.hinder(Problem(reason, problem_of(problem).sentence))
        self._tell_problem(problem)

    def _tell_problem(self, problem: ExpectedError) -> None:
        self._note_report(problem=problem, is_rolled_back=isinstance(problem, RolledBackError))
        self._means.exchange.tell_report(self._key, self._report)

    # Tell

    def _tell(self, more: set[Subject]) -> None:
        self._telling.tell(self._untold | more)
        self._untold.clear()

    def _arrived(self) -> set[Subject]:
        """Those that every node decides by now."""
        if not self._nodes.revisions:
            return set()
        arrived = self._work.ledger.reached(min(self._nodes.revisions.values()))
        self._clients.look_again_at_awaiting(each.key for each in arrived if each.kind is MQTT_CLIENT)
        return arrived

    def _tell_report(self) -> None:
        held = self._clients.held
        stalled = (
            f"{held} clients are gone at once: they stay in force until that is confirmed. If it is meant, annotate "
            f"the broker with {ACCEPT_MASS_REMOVAL_ANNOTATION}=true, and take the annotation away again."
        )
        self._note_report(
            revision=self._revision,
            established=True,
            clients=len(self._clients),
            permissions=len(self._permissions),
            nodes_current=self._nodes.current(self._revision),
            nodes_total=len(self._nodes.revisions),
            stalled=stalled if held else "",
            problem=None,
            is_rolled_back=False,
            members=self._nodes.members,
        )
        self._means.exchange.tell_report(self._key, self._report)

    def _note_report(self, **changes: Any) -> None:
        self._report = msgspec.structs.replace(self._report, **changes)

    def _sentence(self) -> str:
        counts = f"{len(self._clients)} clients and {len(self._permissions)} permissions"
        held = f"; {self._clients.held} that are gone wait for a person" if self._clients.held else ""
        return f"Policy revision {self._revision} is in force: {counts}{held}."

    def _again_s(self) -> float:
        wait_s = NODES_S if self._work.ledger.waiting or self._clients.has_stale else NODES_IDLE_S
        due_at = self._clients.due_at
        if due_at is None:
            return wait_s
        return max(0.0, min(wait_s, (due_at - self._means.clock()).total_seconds()))


def _digest_of(in_force: InForce) -> str:
    return "" if in_force.policy is None else in_force.policy.digest


def _no_nodes() -> Problem:
    return Problem(Reason.NO_NODES, "There is no node that could decide by it.")
