"""One pass over one broker: look at everything, then change what has to be changed, and say what was seen.

Knows the order; does not know how any part is done (making.py is the second half). Everything is looked at before
anything is changed, so that a pass that fails half way has still seen all there is to tell. What is refused, or refers
to something that is missing, changes nothing.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

import msgspec

from mqtt_api.conditions import ConditionStatus, ConditionType, Reason
from mqtt_api.node_facts import NodeFacts
from mqtt_api.node_settings import RedisSettings
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import kinds, names
from mqtt_operator.desired.config_map import in_force
from mqtt_operator.desired.inputs import Inputs, ManagedStore
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.store_access import managed_access, redis_access
from mqtt_operator.observability.boards import BROKER_BOARDS, broker_board
from mqtt_operator.observability.rules import alert_groups
from mqtt_operator.reconcile import image
from mqtt_operator.reconcile.exchange import EmbeddedPlace
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.listener_certificates import (
    CertificatesView,
    source_problem,
    view_certificates,
    view_issuers,
)
from mqtt_operator.reconcile.making import Making
from mqtt_operator.reconcile.managed_store import ensure_material, read_material
from mqtt_operator.reconcile.material import Material, again_after, managed_store
from mqtt_operator.reconcile.means import Means
from mqtt_operator.reconcile.observe import Found, observe
from mqtt_operator.reconcile.problems import problem_of
from mqtt_operator.reconcile.resolving import Resolved, resolve
from mqtt_operator.reconcile.store import StoreView, claims_of, view_store, was_reached
from mqtt_operator.rollout.reading import read_pods, replicas_of
from mqtt_operator.rollout.snapshot import NodePod
from mqtt_operator.status.observation import NodeSeen, Observation, PolicySeen
from mqtt_operator.status.ready import was_ready
from mqtt_operator.status.verdict import Problem


class BrokerPass:
    """`run` once. `seen` is what is to be told, also after it raised; `making` did what was done, None: nothing was.

    `again`: look again then, at the latest.
    """

    def __init__(self, means: Means, key: BrokerKey, broker: MQTTBroker, status: Manifest, now: datetime) -> None:
        self._means = means
        self._key = key
        self._broker = broker
        self._status = status
        self._now = now
        self.seen = Observation(
            broker=broker,
            now=now,
            is_paused=broker.metadata.annotations.get(names.PAUSE_ANNOTATION) == "true",
            was_reached=was_reached(status),
            was_ready=was_ready(status, broker.metadata.generation or 0),
            release=means.surroundings.version,
        )
        self.making: Making | None = None
        self.again: timedelta | None = None

    async def run(self) -> None:
        """Raises ExpectedError for what people or the world have to mend, after it was noted in `seen`."""
        means, broker = self._means, self._broker
        resolved = resolve(broker, means.registry)
        self._note(refused=self._refusal(), unresolved=resolved.problems)
        found = await means.sights.look(self._key, self._now, self._observe)
        self._note_nodes(found, {}, told=None)
        chosen = self._choose(found)
        with means.turns.taken(self._key) if chosen.choice.is_upgrade else nullcontext():
            await self._go_on(resolved, found, chosen)

    async def _go_on(self, resolved: Resolved, found: Found, chosen: image.Chosen) -> None:
        means = self._means
        inputs = self._inputs(chosen, resolved, found)
        material = await self._material(inputs)
        if material is not None:
            inputs = msgspec.structs.replace(inputs, managed=managed_store(material, means.surroundings.store_image))
        view = await self._view_store(resolved, inputs.managed)
        pods = await self._view_nodes(found, view)
        certificates = await self._view_certificates(found, inputs.client_cas)
        self._view_policy()
        if self._may_act:
            await self._make(inputs, found, view, certificates, pods)
        else:
            self._note(is_programmed=self._was_programmed())
            means.turns.tell(self._key, is_upgrading=False)

    def fail(self, problem: Problem) -> None:
        """The pass did not get through: this is why."""
        self._note(failed=problem)

    @property
    def sentence(self) -> str:
        """What holds, where nothing was done."""
        seen = self.seen
        if seen.is_paused:
            return "Paused: nothing is changed."
        problem = seen.refused or next(iter((*seen.unresolved, *seen.pending)), None)
        if problem is not None:
            return problem.sentence
        return "Nothing is planned." if seen.step is None else seen.step.sentence

    # What is looked at

    @property
    def _may_act(self) -> bool:
        seen = self.seen
        return not (seen.is_paused or seen.refused or seen.unresolved)

    def _note(self, **facts: Any) -> None:
        self.seen = msgspec.structs.replace(self.seen, **facts)

    def _was_programmed(self) -> bool:
        """What was applied for this generation is not undone by being left alone."""
        if self._status.get("observedGeneration") != self.seen.generation:
            return False
        conditions = {each["type"]: each["status"] for each in self._status.get("conditions", ())}
        return conditions.get(ConditionType.PROGRAMMED) == ConditionStatus.TRUE

    def _refusal(self) -> Problem | None:
        return image.image_problem(self._broker, self._means.surroundings) or source_problem(self._broker)

    async def _observe(self) -> Found:
        found = await observe(self._means.kube, self._broker)
        return found._replace(issuers=await view_issuers(self._means.kube, self._broker, found))

    def _choose(self, found: Found) -> image.Chosen:
        means = self._means
        before_us = means.turns.before(self._key, means.registry.brokers)
        chosen = image.choose(self._broker, means.surroundings, found.stateful_set(self._broker), before_us)
        self._note(held=chosen.choice.held, held_for_turn=chosen.choice.waits_for_turn)
        return chosen

    def _inputs(self, chosen: image.Chosen, resolved: Resolved, found: Found) -> Inputs:
        around, name, namespace = self._means.surroundings, self._key.name, self._key.namespace
        settings = found.child(kinds.CONFIG_MAP, names.settings_config_map(name))
        marks = (pod["metadata"].get("annotations", {}).get(names.CONFIG_HASH_ANNOTATION) for pod in found.pods)
        return Inputs(
            image=chosen.choice.image,
            version=chosen.version,
            world=self._status["storeID"],
            operator_namespace=around.namespace,
            replicas=self._replicas(found),
            pull_policy=around.pull_policy,
            pull_secrets=around.pull_secrets,
            users=resolved.users,
            client_cas=resolved.client_cas,
            settings_in_force=in_force(settings, [mark for mark in marks if mark]),
            host=around.host,
            cluster_domain=around.cluster_domain,
            has_cert_manager=kinds.CERTIFICATE in found.served,
            has_service_monitors=kinds.SERVICE_MONITOR in found.served,
            has_prometheus_rules=kinds.PROMETHEUS_RULE in found.served,
            alert_groups=alert_groups(namespace, name),
            dashboards={board: broker_board(board, namespace, name) for board in BROKER_BOARDS},
        )

    def _replicas(self, found: Found) -> int:
        """As it is: the plan changes it, one at a time. A StatefulSet that is made anew keeps the pods there are."""
        stateful_set = found.stateful_set(self._broker)
        if stateful_set is not None:
            return replicas_of(stateful_set)
        numbers = [int(pod["metadata"]["name"].rpartition("-")[2]) + 1 for pod in found.pods]
        return max([self._broker.spec.replicas, *numbers])

    async def _material(self, inputs: Inputs) -> Material | None:
        broker, means = self._broker, self._means
        if broker.spec.session_store.managed is None:
            return None
        if not self._may_act:
            return await read_material(means.kube, broker)

        def is_told(material: Material) -> bool:
            return means.live.agrees(broker, managed_store(material, means.surroundings.store_image))

        material = await ensure_material(means.kube, broker, inputs, self._now, is_told)
        self.again = again_after(material, self._now)
        return material

    async def _view_store(self, resolved: Resolved, managed: ManagedStore | None) -> StoreView | None:
        """None: the one node has a store of its own, or nobody knows how to reach the shared one."""
        means, broker = self._means, self._broker
        if broker.spec.session_store.embedded is not None:
            means.exchange.tell_place(self._key, EmbeddedPlace(world=self._status["storeID"]))
            return None
        settings = self._store_settings(resolved, managed)
        if settings is None:
            means.exchange.tell_place(self._key, None, self.seen.refused or next(iter(self.seen.unresolved), None))
            return None
        others = ((key, seen.status) for key, seen in means.registry.brokers.items())
        claims = claims_of(self._key, self._status, others)
        view = await view_store(broker, settings, claims, means.look)
        means.exchange.tell_place(self._key, view.place, view.seen.problem if view.place is None else None)
        self._note(store=view.seen)
        problem = view.seen.problem
        if problem is not None and problem.reason is Reason.STORE_PREFIX_TAKEN:
            self._note(refused=self.seen.refused or problem)
        return view

    def _store_settings(self, resolved: Resolved, managed: ManagedStore | None) -> RedisSettings | None:
        if self._broker.spec.session_store.redis is not None:
            if resolved.secrets is None:
                return None
            return self._means.files.settings(self._key, "operator", redis_access(self._broker, resolved.secrets))
        if managed is None:
            return None
        entries = {names.PASSWORD_KEY: managed.operator.password.encode(), names.CA_KEY: managed.ca}
        return self._means.files.settings(self._key, "operator", managed_access(self._broker, entries))

    async def _view_nodes(self, found: Found, view: StoreView | None) -> tuple[NodePod, ...]:
        facts = await self._facts(found, view)
        told = None if view is None or view.look is None else facts  # a node with its own store has no lease to lack
        return self._note_nodes(found, facts, told)

    def _note_nodes(
        self, found: Found, facts: Mapping[str, NodeFacts], told: Mapping[str, NodeFacts] | None
    ) -> tuple[NodePod, ...]:
        """`told`: those without which no node counts as ready; None: the kubelet's word is enough."""
        stateful_set = found.stateful_set(self._broker)
        pods = () if stateful_set is None else read_pods(found.pods, stateful_set, self._now, told)
        nodes = tuple(NodeSeen(name=pod.name, is_ready=pod.is_ready, facts=facts.get(pod.name)) for pod in pods)
        services = {name.name: child for name, child in found.children.items() if name.kind == kinds.SERVICE.kind}
        has_leases = self._broker.spec.session_store.embedded is None
        self._note(nodes=nodes, services=services, hears_nodes=told is not None or not has_leases)
        return pods

    async def _facts(self, found: Found, view: StoreView | None) -> dict[str, NodeFacts]:
        if view is not None and view.look is not None:
            return {name: member.facts for name, member in view.look.members.nodes.items()}
        if self._broker.spec.session_store.embedded is None:
            return {}
        addresses = {pod["metadata"]["name"]: pod.get("status", {}).get("podIP") for pod in found.pods}
        answers = {name: await self._means.ask_node(address) for name, address in addresses.items() if address}
        told = {name: facts for name, facts in answers.items() if facts is not None}
        revisions = {name: facts.policy_revision for name, facts in told.items()}
        self._means.exchange.tell_nodes(self._key, revisions, [facts.purged for facts in told.values()])
        return told

    async def _view_certificates(self, found: Found, client_cas: Mapping[str, str]) -> CertificatesView:
        view = await view_certificates(self._means.kube, self._broker, self._means.registry, found, client_cas)
        self._note(certificates=view.seen, renewing=view.renewing)
        if view.issuers:
            self._note(unresolved=(*self.seen.unresolved, *view.issuers))
        return view

    def _view_policy(self) -> None:
        report = self._means.exchange.report(self._key)
        problem = None if report.problem is None else Problem(Reason.POLICY_NOT_WRITTEN, problem_of(report.problem)[1])
        known = self._status.get("policy", {}).get("revision")  # by an operator before us: what is in force stays so
        revision = report.revision if report.revision >= 0 else known
        self._note(policy=PolicySeen(revision=revision, problem=problem, stalled=report.stalled))
        self._note(lag=self._means.lags.look(self._key, self.seen, self._status))

    async def _make(
        self,
        inputs: Inputs,
        found: Found,
        view: StoreView | None,
        certificates: CertificatesView,
        pods: tuple[NodePod, ...],
    ) -> None:
        has_policy = self.seen.policy.revision is not None
        making = Making(
            self._means, self._key, self._broker, self._now, is_held=bool(self.seen.held), has_policy=has_policy
        )
        self.making = making
        try:
            await making.run(inputs, found, view, certificates, pods)
        finally:
            self._note(pending=making.pending, is_programmed=making.is_programmed, step=making.step)
            self.again = min((each for each in (self.again, making.again) if each is not None), default=None)
