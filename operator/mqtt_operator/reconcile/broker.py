"""The story of a broker, but for rights: from an MQTTBroker to objects, rollouts and a status that tells.

Knows how a pass begins and ends; what happens in it stands in broker_pass.py, the end of a broker in deletion.py.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from mqtt_api.conditions import ConditionType, Reason
from mqtt_api.kinds.mqttbroker import MQTTBroker
from mqtt_operator.channel.look import look
from mqtt_operator.desired.kinds import MQTT_BROKER
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.errors import ExpectedError
from mqtt_operator.kube.port import ConflictError, EventType, Kube, KubeAwayError, NamespaceEndsError
from mqtt_operator.reconcile.apply import Applier
from mqtt_operator.reconcile.broker_pass import BrokerPass
from mqtt_operator.reconcile.deletion import Ending
from mqtt_operator.reconcile.events import Happenings, Said, of_conditions
from mqtt_operator.reconcile.exchange import Exchange
from mqtt_operator.reconcile.identity import accepted_identity, new_identity
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.lags import Lags
from mqtt_operator.reconcile.loop import Outcome
from mqtt_operator.reconcile.managed_store import LiveStores
from mqtt_operator.reconcile.means import AskNode, Means
from mqtt_operator.reconcile.node_door import ask_node
from mqtt_operator.reconcile.problems import problem_of
from mqtt_operator.reconcile.progress import Progress
from mqtt_operator.reconcile.registry import Registry, UnseenError
from mqtt_operator.reconcile.seen import Seen, see
from mqtt_operator.reconcile.sights import Sights
from mqtt_operator.reconcile.store import Looker
from mqtt_operator.reconcile.store_files import StoreFiles
from mqtt_operator.reconcile.surroundings import Surroundings
from mqtt_operator.reconcile.turns import Turns
from mqtt_operator.rollout.plan import Rest
from mqtt_operator.status.broker import broker_status
from mqtt_operator.status.certificates import awaits_nodes
from mqtt_operator.status.observation import Observation
from mqtt_operator.status.refused import mistakes_sentence, refused_status
from mqtt_operator.status.stalled import why_stalled
from mqtt_operator.status.verdict import Problem

BUSY_S = 2.0
IDLE_S = 15.0  # leases, certificates and the store change without a wake-up
LEFT_ALONE_S = 60.0

# After these nothing is known to be otherwise than the status says.
_TELLS_NOTHING = (UnseenError, KubeAwayError, ConflictError, NamespaceEndsError)
_OURS = frozenset(kind.value for kind in ConditionType)


class BrokerReconciler:
    """See reconcile.loop.Reconciler. One for the process."""

    def __init__(
        self,
        kube: Kube,
        registry: Registry,
        exchange: Exchange,
        surroundings: Surroundings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        looker: Looker = look,
        ask: AskNode = ask_node,
        live: LiveStores | None = None,
        ending: Ending | None = None,
    ) -> None:
        """`surroundings.private_folder` must exist."""
        self._kube = kube
        self._clock = clock
        self._happenings = Happenings()
        self._seen: dict[BrokerKey, Seen[MQTTBroker]] = {}
        self._means = Means(
            kube=kube,
            registry=registry,
            exchange=exchange,
            surroundings=surroundings,
            applier=Applier(kube),
            sights=Sights(registry),
            turns=Turns(),
            progress=Progress(),
            lags=Lags(),
            live=live or LiveStores(),
            files=StoreFiles(surroundings.private_folder),
            look=looker,
            ask_node=ask,
        )
        self._ending = ending or Ending(kube, registry, self._means.files)

    async def reconcile(self, key: BrokerKey) -> Outcome:
        """See reconcile.loop.Reconciler."""
        document = await self._kube.get(MQTT_BROKER, key.namespace, key.name)
        if document is None:
            self.forget(key)
            return Outcome("There is no such broker.", is_over=True)
        seen: Seen[MQTTBroker] = see(document, self._seen.get(key))
        self._seen[key] = seen
        if seen.deleting or self._means.registry.ending_since(key.namespace) is not None:
            return await self._end(key, seen, document)
        if seen.resource is None:
            return await self._refuse(key, seen, document)
        try:
            return await self._pass(key, seen.resource, document)
        except NamespaceEndsError as error:  # it takes the broker along: nobody has anything to mend
            return Outcome(error.what, LEFT_ALONE_S)

    async def _pass(self, key: BrokerKey, broker: MQTTBroker, document: Manifest) -> Outcome:
        now = self._clock()
        status = await self._introduced(broker, document, now)
        run = BrokerPass(self._means, key, broker, status, now)
        try:
            await run.run()
        except _TELLS_NOTHING:
            self._means.sights.spoil(key)
            raise
        except ExpectedError as error:
            self._means.sights.spoil(key)
            run.fail(problem_of(error))
            await self._tell(key, document, status, run)
            raise
        finally:
            self._means.turns.tell_first(key)
        await self._tell(key, document, status, run)
        return _outcome(run)

    async def _introduced(self, broker: MQTTBroker, document: Manifest, now: datetime) -> Manifest:
        """The status, which has the store's identity from the first one on: before any store has it."""
        status: Manifest = document.get("status", {})
        known = {"storeID": new_identity(broker), **status}
        identity = accepted_identity(broker, known)
        if status.get("storeID") == identity:
            return status
        first = broker_status(Observation(broker=broker, now=now), {**known, "storeID": identity})
        written = await self._write(document, first)
        return first if written is None else written

    async def _tell(self, key: BrokerKey, document: Manifest, before: Manifest, run: BrokerPass) -> None:
        seen = run.seen
        status = broker_status(seen, before)
        if _normal(status) != _normal(before):
            await self._write(document, status)
        said = [
            *(
                [Said(EventType.NORMAL, "Created", "The nodes are being started.")]
                if run.making is not None and run.making.has_created
                else []
            ),
            *self._happenings.of_step(key, seen.step),
            *self._happenings.of_certificates(key, status["certificates"]),
            *of_conditions(before.get("conditions", ()), status["conditions"]),
        ]
        await self._say(document, said)

    async def _say(self, document: Manifest, said: Iterable[Said]) -> None:
        about = {field: document[field] for field in ("apiVersion", "kind", "metadata")}
        for event in said:
            await self._kube.event(about, event.type, event.reason, event.message)

    async def _write(self, document: Manifest, status: Manifest) -> Manifest | None:
        metadata = document["metadata"]
        written = await self._kube.patch_status(MQTT_BROKER, metadata["namespace"], metadata["name"], status)
        return None if written is None else written.get("status", {})

    async def _refuse(self, key: BrokerKey, seen: Seen[MQTTBroker], document: Manifest) -> Outcome:
        """Mistakes that no schema could refuse. Nodes that run go on."""
        self._means.turns.tell(key, is_upgrading=False)
        before: Manifest = document.get("status", {})
        problem = Problem(Reason.INVALID_SPEC, mistakes_sentence(seen.mistakes))
        status = refused_status(before, problem, seen.generation, self._clock())
        if _normal(status) != _normal(before):
            await self._write(document, status)
            await self._say(document, of_conditions(before.get("conditions", ()), status["conditions"]))
        return Outcome(f"The broker is not accepted: {problem.sentence}")

    async def _end(self, key: BrokerKey, seen: Seen[MQTTBroker], document: Manifest) -> Outcome:
        self._means.exchange.tell_place(key, None)
        now, ending_since = self._clock(), self._means.registry.ending_since(key.namespace)
        if ending_since is not None:
            return await self._ending.leave(key, seen.resource, document, now - ending_since)
        if seen.resource is None:
            outcome = Outcome("The broker is gone; it never made sense.", is_over=True)
        else:
            outcome = await self._ending.step(key, seen.resource, document, now)
        if outcome.is_over:
            self.forget(key)
        return outcome

    def forget(self, key: BrokerKey) -> None:
        """The broker is gone, or another one of its name has come: nothing is remembered of it. Idempotent."""
        means, seen = self._means, self._seen.pop(key, None)
        for memory in (means.exchange, means.sights, means.turns, means.progress, means.lags, means.files):
            memory.forget(key)
        self._happenings.forget(key)
        if seen is not None:
            means.applier.forget(seen.uid)
            means.live.forget(seen.uid)


def _outcome(run: BrokerPass) -> Outcome:
    seen, did = run.seen, [] if run.making is None else run.making.did
    sentence = " ".join(did) or run.sentence
    if run.again is not None:
        return Outcome(sentence, min(run.again.total_seconds(), IDLE_S))
    if seen.is_paused or seen.refused is not None:
        return Outcome(sentence, LEFT_ALONE_S)
    if did or seen.held_for_turn or seen.awaits_nodes or awaits_nodes(seen):
        return Outcome(sentence, BUSY_S)
    return Outcome(sentence, IDLE_S if isinstance(seen.step, Rest) or why_stalled(seen) else BUSY_S)


def _normal(status: Manifest) -> dict[str, Any]:
    """What of it we say, in one order: the API server keeps lists that are maps in an order of its own."""
    conditions = [each for each in status.get("conditions", ()) if each["type"] in _OURS]
    return {
        **status,
        "conditions": sorted(conditions, key=lambda each: str(each["type"])),
        "certificates": sorted(status.get("certificates", ()), key=lambda each: str(each["listener"])),
        "endpoints": list(status.get("endpoints", ())),
    }
