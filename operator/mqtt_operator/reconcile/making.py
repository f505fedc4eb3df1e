"""The second half of a pass over a broker: make what differs, look after its store, take one step.

Knows the order; does not know how any part is done. Nodes come last: not before the store has the broker's identity,
and not while a certificate that they mount is missing.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from mqtt_api.conditions import Reason
from mqtt_api.resources import MQTTBroker
from mqtt_operator.channel.terms import LogInRefusedError, SharedStoreError
from mqtt_operator.desired import kinds, names
from mqtt_operator.desired.inputs import Inputs, ManagedStore
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.objects import build, no_longer_wanted, removable_kinds
from mqtt_operator.desired.store_access import managed_admin_access
from mqtt_operator.reconcile import held
from mqtt_operator.reconcile.issued_secrets import own_issued_secrets
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.listener_certificates import CertificatesView
from mqtt_operator.reconcile.means import Means
from mqtt_operator.reconcile.observe import Found
from mqtt_operator.reconcile.refresh import mark_of, refresh
from mqtt_operator.reconcile.resolving import mounted
from mqtt_operator.reconcile.store import StoreView
from mqtt_operator.reconcile.volumes import make_way
from mqtt_operator.rollout.plan import DeletePod, Rest, SetReplicas, Step, plan
from mqtt_operator.rollout.reading import read_time, replicas_of, revision_of
from mqtt_operator.rollout.snapshot import NodePod, Snapshot
from mqtt_operator.status.verdict import Problem

STORE_LIVES_AT_LEAST = timedelta(minutes=2)
LOOK_AFTER_STORE_S = 10.0

_NO_POLICY = Problem(Reason.POLICY_NOT_WRITTEN, "The policy is about to be written to the store, before nodes read it.")


class Making:
    """`run` once; what it came to stands here, also after it raised.

    `did`: a sentence for each change. `pending`: what nodes wait for. `is_programmed`: everything has been applied.
    `step`: the one that was taken. `has_created`: there were no nodes before. `again`: look again then, at the latest.
    """

    def __init__(
        self, means: Means, key: BrokerKey, broker: MQTTBroker, now: datetime, *, is_held: bool, has_policy: bool
    ) -> None:
        """`is_held`: nodes are kept from the operator's release. `has_policy`: this broker has written one once."""
        self._means = means
        self._key = key
        self._broker = broker
        self._now = now
        self._is_held = is_held
        self._has_policy = has_policy
        self.did: list[str] = []
        self.pending: tuple[Problem, ...] = ()
        self.is_programmed = False
        self.step: Step | None = None
        self.has_created = False
        self.again: timedelta | None = None

    async def run(
        self,
        inputs: Inputs,
        found: Found,
        view: StoreView | None,
        certificates: CertificatesView,
        pods: tuple[NodePod, ...],
    ) -> None:
        """Raises ExpectedError."""
        self.pending = self._pending(found, view, certificates)
        stateful_set = await self._make(inputs, found)
        self.is_programmed = not self.pending
        if inputs.managed is not None and view is not None:
            await self._look_after_store(inputs.managed, view)
        marked = await refresh(self._means.kube, found.pods, mark_of(mounted(self._broker, self._means.registry)))
        if marked:
            self._did(f"Told the kubelets of {marked} pods that files of theirs have changed.")
        if stateful_set is not None:
            await self._take_step(stateful_set, pods, store_answers=view is None or view.is_ours)

    def _did(self, sentence: str) -> None:
        self.did.append(sentence)
        self._means.sights.spoil(self._key)

    # Objects

    def _pending(self, found: Found, view: StoreView | None, certificates: CertificatesView) -> tuple[Problem, ...]:
        """Nodes that run go on without the store; new ones would refuse one without an identity, and go by a policy
        of a broker before this one that a kept store still holds.
        """
        if found.stateful_set(self._broker) is not None or view is None:
            return certificates.pending
        if not view.is_ours:
            assert view.seen.problem is not None
            return (view.seen.problem, *certificates.pending)
        return certificates.pending if self._has_policy else (_NO_POLICY, *certificates.pending)

    async def _make(self, inputs: Inputs, found: Found) -> Manifest | None:
        """Apply what differs, remove what is left over; the StatefulSet of the nodes as it is then, if it is there."""
        broker, nodes = self._broker, found.stateful_set(self._broker)
        wanted = [held.marked(each, broker) for each in build(broker, inputs)]
        kept = [each for each in wanted if self._is_held and held.stays(each, broker, nodes)]
        for manifest in wanted:
            if held.is_stateful_set(manifest, broker):
                nodes = nodes if manifest in kept or self.pending else await self._make_nodes(manifest, found)
            elif manifest not in kept:
                await self._apply(manifest, found)
        await self._prune(wanted, inputs, found)
        for sentence in await own_issued_secrets(self._means.kube, broker, found):
            self._did(sentence)
        return nodes

    async def _make_nodes(self, manifest: Manifest, found: Found) -> Manifest | None:
        """None: it makes way for one with larger volumes, which the next pass applies."""
        before = found.stateful_set(self._broker)
        way = await make_way(self._means.kube, manifest, before)
        if way:
            self._did(way)
            return None
        applied = await self._apply(manifest, found)
        self.has_created = before is None and not found.pods
        return applied or before

    async def _apply(self, manifest: Manifest, found: Found) -> Manifest | None:
        """The object as it is then; None if it was so already."""
        applied = await self._means.applier.apply(self._broker, manifest, found)
        if applied is not None:
            self._did(f"Applied {manifest['kind']} {manifest['metadata']['name']}.")
        return applied

    async def _prune(self, wanted: Iterable[Manifest], inputs: Inputs, found: Found) -> None:
        looked_at = {kind.kind: kind for kind in removable_kinds(inputs)}
        candidates = [
            child for each, child in found.children.items() if each.kind in looked_at and not _is_kept_secret(child)
        ]
        for left_over in no_longer_wanted(self._broker, wanted, candidates):
            metadata = left_over["metadata"]
            kind = looked_at[left_over["kind"]]
            if await self._means.kube.delete(kind, metadata["namespace"], metadata["name"], uid=metadata["uid"]):
                self._did(f"Removed {kind.kind} {metadata['name']}, which nobody asks for any more.")

    # The managed store

    async def _look_after_store(self, managed: ManagedStore, view: StoreView) -> None:
        """Passwords and certificate of the running server. One that lets nobody in any more is restarted."""
        if view.look is not None:
            await self._tell_store(managed, view.look.run)
        elif view.seen.problem is not None and view.seen.problem.reason is Reason.STORE_LOGIN_REFUSED:
            await self._restart_store()

    async def _tell_store(self, managed: ManagedStore, run: str) -> None:
        means, broker = self._means, self._broker
        entries = {names.ADMIN_PASSWORD_KEY: managed.admin.password.encode(), names.CA_KEY: managed.ca}
        admin = means.files.settings(self._key, "admin", managed_admin_access(broker, entries))
        try:
            is_told = await means.live.tell(broker, admin, managed, run)
        except LogInRefusedError:
            await self._restart_store()
        except SharedStoreError:
            is_told = False
        else:
            self.again = None if is_told else timedelta(seconds=LOOK_AFTER_STORE_S)

    async def _restart_store(self) -> None:
        """It accepts none of the passwords that we have: a new pod reads those that are in its files.

        One that has just been made gets time: its files may be newer than what it started with.
        """
        kube, namespace, name = self._means.kube, self._key.namespace, names.store_pod(self._key.name)
        pod = await kube.get(kinds.POD, namespace, name)
        if pod is None or self._now < read_time(pod["metadata"]["creationTimestamp"]) + STORE_LIVES_AT_LEAST:
            return
        await kube.delete(kinds.POD, namespace, name, uid=pod["metadata"]["uid"])
        self._did(f"Restarting {name}: it accepts none of our passwords, and reads the new ones when it starts.")

    # Nodes

    async def _take_step(self, stateful_set: Manifest, pods: tuple[NodePod, ...], *, store_answers: bool) -> None:
        replicas, revision = replicas_of(stateful_set), revision_of(stateful_set)
        looks = (pods, replicas, revision, self._broker.spec.replicas)
        snapshot = Snapshot(
            wanted=self._broker.spec.replicas,
            replicas=replicas,
            revision=revision,
            pods=pods,
            store_answers=store_answers,
            is_overdue=self._means.progress.is_overdue(self._key, looks, self._now),
        )
        self.step = plan(snapshot)
        self._tell_turn(self.step, snapshot)
        await self._carry_out(self.step, stateful_set)

    def _tell_turn(self, step: Step, snapshot: Snapshot) -> None:
        follows_release = self._broker.spec.image is None and not self._is_held
        is_rolling = snapshot.revision is None or bool(snapshot.outdated) or not isinstance(step, Rest)
        self._means.turns.tell(self._key, is_upgrading=follows_release and is_rolling)

    async def _carry_out(self, step: Step, stateful_set: Manifest) -> None:
        kube, metadata = self._means.kube, stateful_set["metadata"]
        match step:
            case DeletePod(name=name, uid=uid, sentence=sentence):
                await kube.delete(kinds.POD, metadata["namespace"], name, uid=uid)
                self._did(sentence)
            case SetReplicas(replicas=replicas, sentence=sentence):
                body = {"metadata": {"uid": metadata["uid"]}, "spec": {"replicas": replicas}}
                await kube.patch(kinds.STATEFUL_SET, metadata["namespace"], metadata["name"], body)
                self._did(sentence)


def _is_kept_secret(child: Manifest) -> bool:
    """Secrets that somebody of ours made are looked after by whoever did; those of cert-manager nobody controls."""
    owners = child["metadata"].get("ownerReferences", ())
    return child["kind"] == kinds.SECRET.kind and any(owner.get("controller") for owner in owners)
