"""Two nodes in one process: what is published at the near one reaches sessions of the far one through what they send.

Knows how a node tells another of sessions and messages; does not know a store that nodes share, or what a right answer
is. Nothing is lost on the way and nothing overtakes; messages arrive when `carry` is called.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mqtt_api.node_settings import MQTTSettings
from mqtt_api.policy import Policy
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.live import LiveSession
from mqtt_broker.node.peers import feed, inbox
from mqtt_broker.node.peers.port import Alone, Runs
from mqtt_broker.node.peers.runs import ReceivedRuns, run_head
from mqtt_broker.routing.delivery import Receiver
from mqtt_broker.session.message import Message
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.cluster import (
    Delivery,
    Forwarded,
    ForwardedRun,
    SessionEnded,
    SessionSubscribed,
    SessionUnsubscribed,
)
from mqtt_broker.store.ports import (
    Accept,
    Accepted,
    AcceptedRun,
    AcceptRun,
    Forward,
    Membership,
    Operation,
    Result,
    RunForward,
    Target,
)
from support.two_roads import Road, Seen

FAR = "node-far"
TOKEN = 7


class FarPeers(Alone):
    """The near node's view: one other node, which holds every session that has an owner. `sent` is on its way there."""

    changes = 1

    def __init__(self, hub: Hub, *, reads_runs: bool) -> None:
        self._hub = hub
        self._reads_runs = reads_runs
        self.sent: list[Delivery] = []

    def _targets(self, receivers: Iterable[Receiver], wanted: Callable[[Receiver, LiveSession], bool]) -> list[Target]:
        found = []
        for receiver in receivers:
            session = self._hub.sessions.get(receiver.client_id)
            if session is not None and session.owner == FAR and wanted(receiver, session):
                found.append(
                    Target(
                        client_id=receiver.client_id,
                        incarnation=session.incarnation,
                        qos=receiver.qos,
                        retain=receiver.retain,
                        identifiers=receiver.identifiers,
                    )
                )
        return found

    def _forward(self, targets: Sequence[Target]) -> tuple[Forward, ...]:
        return (Forward(node=FAR, token=TOKEN, targets=tuple(targets)),) if targets else ()

    def forwards(self, receivers: Iterable[Receiver]) -> tuple[Forward, ...]:
        return self._forward(self._targets(receivers, lambda receiver, s: receiver.qos > 0 and not s.is_persistent))

    def post(self, message: Message, receivers: Iterable[Receiver]) -> None:
        for forward in self._forward(self._targets(receivers, lambda receiver, _: receiver.qos == 0)):
            self.sent.append(Forwarded(message, forward))

    def runs(self, message: Message, receivers: Iterable[Receiver]) -> Runs | None:
        receivers = tuple(receivers)
        posts = self._forward(self._targets(receivers, lambda receiver, _: receiver.qos == 0))
        forwards = self.forwards(receivers)
        if (posts or forwards) and not self._reads_runs:
            return None
        return Runs(*(tuple(_run_of(message, each) for each in kind) for kind in (forwards, posts)))

    def post_runs(self, posts: Iterable[RunForward], payloads: Sequence[bytes]) -> None:
        self.sent += [ForwardedRun(each.head, list(payloads)) for each in posts]


def _run_of(message: Message, forward: Forward) -> RunForward:
    head = run_head(message, forward.targets)
    return RunForward(node=forward.node, token=forward.token, head=head, receivers=len(forward.targets))


class _Store:
    """The near node's own, which also sends on what a shared store would."""

    def __init__(self, store: Any, peers: FarPeers) -> None:
        self._store = store
        self._peers = peers

    async def commit(self, membership: Membership, number: int, operations: Sequence[Operation]) -> tuple[Result, ...]:
        results: tuple[Result, ...] = await self._store.commit(membership, number, operations)
        for operation, result in zip(operations, results, strict=True):
            self._send(operation, result)
        return results

    def _send(self, operation: Operation, result: Result) -> None:
        if isinstance(operation, Accept) and isinstance(result, Accepted):
            self._peers.sent += [Forwarded(operation.message, each) for each in operation.forwards]
        elif isinstance(operation, AcceptRun) and isinstance(result, AcceptedRun):
            payloads = list(operation.payloads[: len(operation.payloads) - result.refused])
            self._peers.sent += [ForwardedRun(each.head, payloads) for each in operation.forwards if payloads]


class Crossing:
    """Two nodes; the near one with the fast lane or without. `reads_runs`: of the far one. `close` when done."""

    def __init__(self, mqtt: MQTTSettings, policy: Policy, *, has_lane: bool, reads_runs: bool = True) -> None:
        def connect(hub: Hub) -> None:
            peers = FarPeers(hub, reads_runs=reads_runs)
            hub.peers = peers
            hub.pump._store = _Store(hub.pump._store, peers)

        self.near = Road(mqtt, policy, has_lane=has_lane, gathers_writes=False, configure=connect)
        self.far = Road(mqtt, policy, has_lane=True, gathers_writes=False, configure=lambda _: None)
        self._runs = ReceivedRuns(self.far.node.hub)
        self._told: dict[str, tuple[int, int, dict[tuple[str, str | None], Subscription]]] = {}

    @property
    def peers(self) -> FarPeers:
        peers = self.near.node.hub.peers
        assert isinstance(peers, FarPeers)
        return peers

    def settle(self, seconds: float = 0.0) -> None:
        """Time passes at both; all messages arrive, and the near node knows the far one's sessions."""
        with self.near.at_work():
            self.near.node.advance(seconds)
        self.carry()
        with self.far.at_work():
            self.far.node.advance(seconds)
        self._tell()

    def carry(self) -> None:
        """What is on its way arrives, in order."""
        sent, self.peers.sent = self.peers.sent, []
        with self.far.at_work():
            for delivery in sent:
                self._arrive(delivery)

    def _arrive(self, delivery: Delivery) -> None:
        self.far.in_loop(lambda: _deliver(self.far.node.hub, self._runs, delivery))

    def _tell(self) -> None:
        """As the feed does."""
        hub = self.near.node.hub
        sessions = {name: s for name, s in self.far.node.hub.sessions.items() if s.outlet is not None}
        with self.near.at_work():
            for name in [name for name in self._told if name not in sessions]:
                feed.apply_session(hub, SessionEnded(client_id=name, incarnation=self._told.pop(name)[0]))
            for name, session in sessions.items():
                own = (session.incarnation, session.expiry_interval_s, dict(session.subscriptions))
                known = self._told.get(name)
                if known != own:
                    self._tell_session(session, known)
                    self._told[name] = own
            self.near.node.settle()

    def _tell_session(
        self, session: LiveSession, known: tuple[int, int, dict[tuple[str, str | None], Subscription]] | None
    ) -> None:
        hub, incarnation = self.near.node.hub, session.incarnation
        if known is not None and known[:2] != (incarnation, session.expiry_interval_s):
            feed.apply_session(hub, SessionEnded(client_id=session.client_id, incarnation=known[0]))
            known = None
        gone = tuple(key for key in (known[2] if known else {}) if key not in session.subscriptions)
        if gone:
            feed.apply_session(
                hub, SessionUnsubscribed(client_id=session.client_id, incarnation=incarnation, keys=gone)
            )
        feed.apply_session(
            hub,
            SessionSubscribed(
                client_id=session.client_id,
                incarnation=incarnation,
                epoch=session.epoch,
                owner=FAR,
                expiry_interval_s=session.expiry_interval_s,
                facts=session.facts,
                subscriptions=tuple(session.subscriptions.values()),
            ),
        )

    def seen(self) -> dict[str, Seen]:
        """What every connection of both nodes was sent since the last call."""
        return {name: road.seen(name) for road in (self.near, self.far) for name in road.wires}

    def close(self) -> None:
        try:
            self.near.node.close()
        finally:
            self.far.node.close()


def _deliver(hub: Hub, runs: ReceivedRuns, delivery: Delivery) -> None:
    inbox.deliver(hub, runs, delivery)
