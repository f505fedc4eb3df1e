"""The clients of one broker on their way into the policy: those that changed are looked at again, and no others.

Knows what makes a client worth another look, and what goes into the compiler then; does not know how one is looked at
(policy_client.py), or when a policy is written.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from heapq import heappop, heappush

from msgspec import Struct
from msgspec.structs import replace

from mqtt_api.conditions import Reason
from mqtt_api.node_facts import Purged
from mqtt_api.policy import Policy, Principal, ScramVerifier
from mqtt_api.resources import MQTTClient
from mqtt_operator.credentials.verifiers import jobs_of
from mqtt_operator.desired.kinds import MQTT_CLIENT
from mqtt_operator.policy.attachment import why_name_not_held
from mqtt_operator.policy.compile import NO_PROOF, Proof, principal_of
from mqtt_operator.policy.removal_guard import RemovalGuard
from mqtt_operator.reconcile.keys import DataKey, ObjectKey
from mqtt_operator.reconcile.member_status import ClientView, Progress, mistakes_as_problems, refusal_as_problem
from mqtt_operator.reconcile.policy_client import Examined, Wish, examine
from mqtt_operator.reconcile.policy_frame import Frame
from mqtt_operator.reconcile.policy_means import Means, Work
from mqtt_operator.reconcile.policy_purges import Purges
from mqtt_operator.reconcile.seen import Seen
from mqtt_operator.reconcile.statuses import Subject
from mqtt_operator.status.verdict import Problem

RETIRED_MAX = 12  # of a client, three for each password: whoever stays connected for longer is sent away one day
AT_ONCE_MAX = 200  # looked at before others get a turn: some 10 ms


class _Record(Struct):
    """A client as it was looked at. `proof` None: it takes no part. `fingerprints` of the verifiers it needs; those
    that are not made yet are `lacking`. `wanted`: those of its wishes that are seen to.
    """

    seen: Seen[MQTTClient]
    resource: MQTTClient | None
    uid: str
    examined: Examined
    proof: Proof | None = None
    fingerprints: frozenset[str] = frozenset()
    lacking: frozenset[str] = frozenset()
    wanted: tuple[Wish, ...] = ()


class Clients:
    """`in_force`: the policy that was there before us, None = none."""

    def __init__(self, means: Means, work: Work, in_force: Policy | None) -> None:
        self._means = means
        self._work = work
        self._before: Mapping[str, Principal] = {} if in_force is None else in_force.principals
        self._records: dict[ObjectKey, _Record] = {}
        self._readers: defaultdict[DataKey, set[ObjectKey]] = defaultdict(set)
        self._lacking: defaultdict[str, set[ObjectKey]] = defaultdict(set)
        self._due: list[tuple[datetime, ObjectKey]] = []
        self._stale: set[ObjectKey] = set()
        self._unsettled: set[ObjectKey] = set()  # whose wishes have to be looked at: a user name may be another's now
        self._guard = RemovalGuard()
        self.purges = Purges(in_force)
        """Whose sessions are to end."""

    def __len__(self) -> int:
        return len(self._records)

    def has(self, key: ObjectKey) -> bool:
        """There is such a client, whether it takes part or not."""
        return key in self._records

    @property
    def held(self) -> int:
        """How many are gone whose principals stay until a person confirms it."""
        return self._work.compiler.kept

    # What is worth another look

    def look_again(self) -> None:
        """At all of them in the next `take`."""
        self._stale.update(self._records)

    def look_again_at_awaiting(self, keys: Iterable[ObjectKey]) -> None:
        """Nodes know these as they were looked at last: a password that waited for that can be told, or forgotten."""
        records = self._records
        self._stale.update(key for key in keys if key in records and records[key].examined.awaits_nodes)

    def note_purged(self, told: Iterable[Purged]) -> None:
        """Nodes tell how far they are with sessions that are to end: whoever waits for such a user name can have it."""
        free = self.purges.ended(told)
        if free:
            records = self._records.items()
            self._stale.update(key for key, each in records if each.resource and each.resource.username in free)

    def note_data(self, changed: Iterable[DataKey]) -> None:
        """These Secrets are others now."""
        for key in changed:
            self._stale |= self._readers.get(key, set())

    async def take(
        self,
        clients: Mapping[ObjectKey, Seen[MQTTClient]],
        changed: Iterable[ObjectKey],
        frame: Frame,
        *,
        accepts_removal: bool,
    ) -> set[ObjectKey]:
        """Bring the compiler to where the clients are, of which these have changed.

        Returns those of whom something else is to be told. Nothing is lost when it is cancelled.
        """
        told = self._remove(self._gone(clients, changed), accepts_removal=accepts_removal)
        self._note_time()
        self._note_verifiers()
        self._work.chores.look()
        told |= self._work.chores.finished()
        for count, key in enumerate(sorted(self._stale), 1):
            self._stale.discard(key)
            if key in clients and not clients[key].deleting:
                told |= self._look(key, clients[key], frame)
            if count % AT_ONCE_MAX == 0:
                await asyncio.sleep(0)
        await self._settle_wishes()
        return told & self._records.keys()

    async def _settle_wishes(self) -> None:
        """After all have been looked at: whoever does not get its user name gets nothing made for it."""
        for count, key in enumerate(sorted(self._unsettled), 1):
            self._unsettled.discard(key)
            record = self._records.get(key)
            if record is not None:
                is_refused = record.resource is not None and self._refusals(record.resource, record.examined)
                wanted = () if is_refused else record.examined.wishes
                self._work.chores.want(key, wanted, record.wanted)
                record.wanted = wanted
            if count % AT_ONCE_MAX == 0:
                await asyncio.sleep(0)

    def _gone(self, clients: Mapping[ObjectKey, Seen[MQTTClient]], changed: Iterable[ObjectKey]) -> set[ObjectKey]:
        """Of those that changed; all others that have to be looked at are stale now."""
        gone = set()
        for key in changed:
            seen, record = clients.get(key), self._records.get(key)
            if seen is None or seen.deleting:
                gone.add(key)
            elif record is None or record.resource is not seen.resource or record.uid != seen.uid:
                self._stale.add(key)
            else:
                record.seen = seen
        return gone & self._records.keys()

    def _note_time(self) -> None:
        now = self._means.clock()
        while self._due and self._due[0][0] <= now:
            self._stale.add(heappop(self._due)[1])

    def _note_verifiers(self) -> None:
        for fingerprint, verifier in self._work.jobs.take().items():
            self._work.book.add(fingerprint, verifier)
            self._stale |= self._lacking.pop(fingerprint, set())

    @property
    def has_stale(self) -> bool:
        """Somebody is to be looked at again in the next `take`."""
        return bool(self._stale)

    @property
    def due_at(self) -> datetime | None:
        """When somebody's password has to be looked at again."""
        return self._due[0][0] if self._due else None

    # One client

    def _look(self, key: ObjectKey, seen: Seen[MQTTClient], frame: Frame) -> set[ObjectKey]:
        before = self._records.get(key)
        now = self._examined(key, seen, frame, before)
        self._records[key] = now
        self._note_reads(key, before, now)
        client = seen.resource
        affected = self._rivals(key, before)
        if client is None or now.proof is None:
            self._leave(key)
        else:
            self._work.compiler.put_client(client, now.proof)
            if before is None or _is_news(before, now):
                self._work.ledger.touch(Subject(MQTT_CLIENT, key), self._means.seconds())
        now.wanted = () if before is None else before.wanted
        affected |= self._rivals(key, now)
        self._unsettled |= affected
        return affected

    def _examined(self, key: ObjectKey, seen: Seen[MQTTClient], frame: Frame, before: _Record | None) -> _Record:
        client = seen.resource
        record = _Record(seen=seen, resource=client, uid=seen.uid, examined=Examined())
        if client is None:
            return record

        def is_accepted(password: bytes) -> bool | None:
            (job,) = jobs_of(frame.keys, client.username, [password], ())
            is_applied = self._work.ledger.is_applied(Subject(MQTT_CLIENT, key))
            if before is None or not is_applied or job.fingerprint in before.lacking:
                return None
            return job.fingerprint in before.fingerprints

        record.examined = examine(client, frame, self._means.registry, self._means.clock(), is_accepted)
        if record.examined.refusal is None and self.purges.makes_way(client, self._means.clock().timestamp()):
            self._prove(client, frame, record, before)
        if record.examined.due_at is not None:
            heappush(self._due, (record.examined.due_at, key))
        return record

    def _prove(self, client: MQTTClient, frame: Frame, record: _Record, before: _Record | None) -> None:
        """What proves the client, as far as it is known."""
        examined = record.examined
        known = self._known_proof(client, before)
        if examined.is_unseen and known is not None:
            record.proof = known
            return
        jobs = jobs_of(frame.keys, client.username, examined.passwords, frame.mechanisms)
        retired = self._retired(client, frame, examined, known or NO_PROOF)
        fetched = self._work.book.need(client.reference, jobs)
        record.fingerprints = frozenset(job.fingerprint for job in jobs)
        record.lacking = frozenset(job.fingerprint for job in fetched.missing)
        proof = Proof(
            passwords=(*fetched.argon2, *examined.brought),
            scram=fetched.scram,
            issued=examined.issued,
            retired=retired,
        )
        if fetched.missing:
            earlier = self._before.get(client.username)
            tried = earlier.passwords if earlier is not None and earlier.uid == client.metadata.uid else ()
            self._work.jobs.ask(fetched.missing, frame.keys, tried)
            proof = _beside(proof, known or NO_PROOF)
        record.proof = proof

    def _retired(
        self, client: MQTTClient, frame: Frame, examined: Examined, known: Proof
    ) -> tuple[str | ScramVerifier, ...]:
        """The verifiers of passwords that were replaced in time, the last ones first."""
        if not examined.rotates:
            return ()
        jobs = jobs_of(frame.keys, client.username, examined.expired, frame.mechanisms)
        expired = (self._work.book.find(job.fingerprint) for job in jobs)
        retired = dict.fromkeys((*(each for each in expired if each is not None), *known.retired))
        return tuple(retired)[:RETIRED_MAX]

    def _known_proof(self, client: MQTTClient, before: _Record | None) -> Proof | None:
        """That of the last look, or of the policy that was there before us."""
        if before is not None and before.proof is not None and before.uid == client.metadata.uid:
            return before.proof
        earlier = self._before.get(client.username)
        if earlier is None or earlier.uid != client.metadata.uid:
            return None
        described = principal_of(client, NO_PROOF).certificates
        issued = tuple(each for each in earlier.certificates if each not in described)
        return Proof(passwords=earlier.passwords, scram=earlier.scram, issued=issued, retired=earlier.retired)

    def _rivals(self, key: ObjectKey, record: _Record | None) -> set[ObjectKey]:
        """The client, and those that claim the same user name."""
        if record is None or record.resource is None:
            return {key}
        claimants = self._work.compiler.claimants(record.resource.username).values()
        return {key, *(ObjectKey(each.metadata.namespace, each.metadata.name) for each in claimants)}

    def _leave(self, key: ObjectKey) -> None:
        """It takes no part."""
        self._work.compiler.drop_client(str(key))
        self._work.book.need(str(key), ())
        self._work.ledger.forget(Subject(MQTT_CLIENT, key))

    def _note_reads(self, key: ObjectKey, before: _Record | None, now: _Record | None) -> None:
        read = frozenset[DataKey]() if now is None else now.examined.reads
        for each in (frozenset[DataKey]() if before is None else before.examined.reads) - read:
            self._readers[each].discard(key)
            if not self._readers[each]:
                del self._readers[each]
        for each in read:
            self._readers[each].add(key)
        for fingerprint in () if before is None else before.lacking:
            self._lacking[fingerprint].discard(key)
        for fingerprint in () if now is None else now.lacking:
            self._lacking[fingerprint].add(key)

    # Those that are gone

    def _remove(self, gone: Iterable[ObjectKey], *, accepts_removal: bool) -> set[ObjectKey]:
        compiler, told = self._work.compiler, set[ObjectKey]()
        if accepts_removal:
            self._purge_later(compiler.let_go())
        gone = list(gone)
        leaving = {key: principal for key in gone if (principal := self._principal(key)) is not None}
        now = self._means.seconds()
        is_allowed = accepts_removal or self._guard.allows(now, compiler.count, len(leaving))
        for key in gone:
            record = self._records.pop(key)
            self._note_reads(key, record, None)
            told |= self._rivals(key, record)
            self._leave(key)
            self._work.chores.want(key, (), record.wanted)
            self._means.statuses.forget(Subject(MQTT_CLIENT, key))
            if not is_allowed and key in leaving:
                compiler.keep(leaving[key])
        self._unsettled |= told
        if is_allowed:
            self._guard.note(now, len(leaving))
            self._purge_later(leaving.values())
        return told

    def keep_absent(self, *, accepts_removal: bool) -> None:
        """Of the policy that was there before us: who is in it and has no object any more.

        Call it after the first take, before the first draft.
        """
        there = {record.uid for record in self._records.values()}
        absent = [each for each in self._before.values() if each.uid not in there]
        now = self._means.seconds()
        if accepts_removal or self._guard.allows(now, len(self._before), len(absent)):
            self._guard.note(now, len(absent))
            self._purge_later(absent)
            return
        for principal in absent:
            self._work.compiler.keep(principal)

    def _purge_later(self, gone: Iterable[Principal]) -> None:
        """Of those that asked for it. Whoever claims such a user name already may have to wait for it."""
        now = self._means.clock().timestamp()
        for principal in gone:
            if principal.purge:
                self.purges.ask(principal, now)
                for client in list(self._work.compiler.claimants(principal.username).values()):
                    if not self.purges.makes_way(client, now):
                        self._wait(ObjectKey(client.metadata.namespace, client.metadata.name))

    def _wait(self, key: ObjectKey) -> None:
        """It took part, and does not until its user name is free."""
        self._leave(key)
        self._records[key].proof = None
        self._unsettled.add(key)

    def forget_before(self) -> None:
        """What was there before us has been looked at."""
        self._before = {}

    def _principal(self, key: ObjectKey) -> Principal | None:
        """What the policy says of this client; None: somebody else has its user name, or nobody."""
        record = self._records[key]
        if record.resource is None or record.proof is None:
            return None
        holder = self._work.compiler.holder_of(record.resource.username)
        is_it = holder is not None and holder.reference == str(key)
        return self._work.compiler.principal(record.resource.username) if is_it else None

    # What is to be told

    def believe(self, in_force: Policy, revision: int) -> None:
        """Those whose status says that all nodes know them as they were in force before us, and as they are now.

        Not those whose passwords wait for nodes: what they wait for came after that status.
        """
        for key, record in self._records.items():
            if record.resource is None or record.proof is None or record.examined.awaits_nodes:
                continue
            told = _told_revision(record.seen)
            earlier = in_force.principals.get(record.resource.username)
            now = self._work.compiler.principal(record.resource.username)
            if told is None or told > revision or earlier is None or now is None:
                continue
            if replace(earlier, permissions=()) == replace(now, permissions=()):
                self._work.ledger.believe(Subject(MQTT_CLIENT, key), told)

    def seen(self, key: ObjectKey) -> Seen[MQTTClient]:
        return self._records[key].seen

    def view(self, key: ObjectKey, obstacle: Problem | None) -> ClientView:
        """What there is to tell of this client. `obstacle`: what keeps every change from the nodes."""
        record, subject = self._records[key], Subject(MQTT_CLIENT, key)
        client, examined = record.resource, record.examined
        if client is None:
            problems = mistakes_as_problems(record.seen.mistakes)
            return ClientView(generation=record.seen.generation, refusals=problems)
        if record.lacking:
            obstacle = Problem(Reason.PENDING, "Its passwords are being hashed.")
        refusals = self._refusals(client, examined)
        failed = (self._work.chores.problem(wish) for wish in record.wanted)
        unresolved = (*examined.problems, *(problem for problem in failed if problem is not None))
        proof = record.proof or NO_PROOF
        return ClientView(
            generation=record.seen.generation,
            refusals=refusals,
            unresolved=() if refusals else unresolved,
            progress=Progress(
                revision=self._work.ledger.revision(subject),
                is_applied=self._work.ledger.is_applied(subject),
                obstacle=obstacle,
            ),
            username=client.username,
            binding=examined.binding,
            is_suspended=client.spec.suspended,
            has_credentials=bool(
                proof.passwords
                or proof.issued
                or record.lacking
                or any(each.match is not None for each in client.spec.credentials.certificates)
            ),
        )

    def _refusals(self, client: MQTTClient, examined: Examined) -> tuple[Problem, ...]:
        if examined.refusal is not None:
            return (refusal_as_problem(examined.refusal),)
        waits = self.purges.refusal(client)
        if waits is not None:
            return (waits,)
        compiler = self._work.compiler
        holder = compiler.holder_of(client.username)
        holds = "" if holder is None else holder.metadata.uid or ""
        refusal = why_name_not_held(client, list(compiler.claimants(client.username).values()), holds)
        return () if refusal is None else (refusal_as_problem(refusal),)


def _is_news(before: _Record, now: _Record) -> bool:
    """Nodes are to be asked whether they know it. A staged password may be in force before we know it for one."""
    is_same = before.resource is now.resource and before.uid == now.uid and before.proof == now.proof
    return not is_same or (now.examined.awaits_nodes and bool(before.lacking - now.lacking))


def _beside(proof: Proof, known: Proof) -> Proof:
    """With what is known, until all verifiers are made: a new password must not take the old one's place too early."""
    return replace(
        proof,
        passwords=tuple(dict.fromkeys((*proof.passwords, *known.passwords))),
        scram=tuple(dict.fromkeys((*proof.scram, *known.scram))),
    )


def _told_revision(seen: Seen[MQTTClient]) -> int | None:
    """The revision that the status names, if it speaks of this generation."""
    status = seen.status
    is_this = status.get("observedGeneration") == seen.generation
    return status.get("appliedRevision") if is_this else None
