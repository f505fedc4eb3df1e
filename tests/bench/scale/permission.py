"""One permission of a thousand changes: how long until the last node decides by it, and what others notice.

Knows the policy's shape and clients that ask; does not know how a policy travels.
"""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import msgspec

from bench import accounting
from bench.driver import frames
from bench.driver.crowd import Crowd, Member, Target
from bench.figures import percentile
from bench.nodes import ClusterNode, Place, start_node
from bench.scale import probe
from bench.scale.table import Figure
from bench.world import CLIENT_IDS, PASSWORD, USERNAME, World
from mqtt_api.node_settings import RedisSettings
from mqtt_api.policy import Activity, Effect, Policy, Principal, Rule, encode_policy
from mqtt_operator.channel.policy import write_policy
from mqtt_operator.channel.terms import Writer
from support.policies import verifier

TITLE = "{count:,} clients connected to two nodes, 1,000 permissions, one of them changed"
PERMISSIONS = 1_000
PER_CLIENT = 3  # permissions
CHANGES = 120
CHANGED = 500
NODES = 2
QUIET_S = 5.0
BETWEEN_S = 0.05
APPLIED_S_MAX = 20.0
TOLD_S_MAX, STALL_MS_MAX = 1.0, 50.0
JOINED_AT_ONCE = 500


def run(folder: Path, world: World, count: int) -> list[Figure]:
    """Raises BrokenError if a change does not arrive."""
    with ExitStack() as ends:
        place = ends.enter_context(Place(folder, "Memory"))
        documents = [encode_policy(policy(revision, count)) for revision in (1, 2)]
        place.write_policy(1, documents[0])
        nodes = []
        for number in range(NODES):
            nodes.append(start_node(number, folder, world, place))
            ends.callback(nodes[-1].stop)
        targets = [node.target(tls=False, version=frames.V5) for node in nodes]
        with Crowd(targets[0], 0) as crowd:
            connecting_s = _join_all(crowd, targets, count)
            askers = [_asker(crowd, target, number) for number, target in enumerate(targets)]
            operator = ends.enter_context(ProcessPoolExecutor(1, multiprocessing.get_context("spawn")))
            changes = Changes(place, crowd, askers, count, operator)
            figures = [
                Figure("the policy, as a document", f"{len(documents[0]) / 1e6:.1f} MB of JSON"),
                Figure("clients connected and subscribed", f"{connecting_s:.0f} s"),
            ]
            return figures + list(_measure(changes, nodes))


def _measure(changes: "Changes", nodes: Sequence[ClusterNode]) -> Iterator[Figure]:
    quiet = changes.quiet()
    changes.one()  # the first compares with nothing kept
    before = [accounting.memory_kib(node.pid) for node in nodes]
    cpu_s = sum(accounting.cpu_seconds(node.pid) for node in nodes)
    told_s, written_s = [], []
    for _ in range(CHANGES):
        told, written = changes.one()
        told_s.append(told)
        written_s.append(written)
    waits = changes.waits()
    cpu_s = sum(accounting.cpu_seconds(node.pid) for node in nodes) - cpu_s
    after = [accounting.memory_kib(node.pid) for node in nodes]
    yield Figure(
        "from the write's begin to the last node's decision",
        f"p50 {_ms(told_s, 0.5)}, p99 {_ms(told_s, 0.99)}, worst {_ms(told_s, 1)} ({CHANGES} changes)",
        f"<= {TOLD_S_MAX:g} s at p99",
    )
    yield Figure("of which the operator's write", f"p50 {_ms(written_s, 0.5)}, p99 {_ms(written_s, 0.99)}")
    for number, (one, calm) in enumerate(zip(waits, quiet, strict=True)):
        yield Figure(f"PUBACK of another client of node {number}", f"{one}; before: {calm}", f"<= {STALL_MS_MAX:g} ms")
    yield Figure("CPU of a node, a change", f"{cpu_s / CHANGES / len(nodes) * 1_000:.0f} ms")
    grown = ", ".join(f"{b / 1024:.0f} MiB ({(a - b) / 1024:+.1f})" for b, a in zip(before, after, strict=True))
    yield Figure(f"memory of each node, and what {CHANGES} changes added", grown)


class Changes:
    """Writes one revision after the other, and knows when each node decides by it."""

    def __init__(
        self, place: Place, crowd: Crowd, askers: Sequence[probe.Asker], count: int, operator: Executor
    ) -> None:
        self._place = place
        self._crowd = crowd
        self._askers = askers
        self._policies = [policy(2, count), policy(3, count)]
        self._revision = 1
        self._operator = operator

    def quiet(self) -> list[probe.Waits]:
        """What a question takes with nothing going on."""
        end = time.monotonic() + QUIET_S
        probe.watch(self._crowd.loop, self._askers, lambda: time.monotonic() > end, 2 * QUIET_S)
        return self.waits()

    def waits(self) -> list[probe.Waits]:
        return [asker.take() for asker in self._askers]

    def one(self) -> tuple[float, float]:
        """Seconds until the last node decided by it, and until the write had returned, both from its begin."""
        self._revision += 1
        probe.settle(self._crowd.loop, self._askers, APPLIED_S_MAX)
        document = encode_policy(msgspec.structs.replace(self._policies[self._revision % 2], revision=self._revision))
        for asker in self._askers:
            asker.expect(refused=is_withdrawn(self._revision))
        writing = self._operator.submit(_write, self._place.settings(), self._place.writer, self._revision, document)
        probe.watch(
            self._crowd.loop, self._askers, lambda: all(a.turned_at is not None for a in self._askers), APPLIED_S_MAX
        )
        start, written_at = writing.result()
        last = max(asker.turned_at or 0.0 for asker in self._askers)
        end = time.monotonic() + BETWEEN_S
        probe.watch(self._crowd.loop, self._askers, lambda: time.monotonic() > end, APPLIED_S_MAX)
        return last - start, written_at - start


def _write(settings: RedisSettings, writer: Writer, revision: int, document: bytes) -> tuple[float, float]:
    """The operator's part, in a process of its own. When it began and when it was done; one clock for all processes."""
    began = time.monotonic()
    write_policy(settings, writer, revision, document)
    return began, time.monotonic()


# The world -----------------------------------------------------------------------------------------------------------


def policy(revision: int, count: int) -> Policy:
    """`count` clients with PER_CLIENT of the permissions each. Permission CHANGED is another one with each revision."""
    rules = [_rule(number, revision) for number in range(PERMISSIONS)]
    permissions = {rule.permission: (rule,) for rule in rules}
    principals = {_name(number): _principal(_name(number), _permissions(number)) for number in range(count)}
    principals[USERNAME] = _principal(USERNAME, (), CLIENT_IDS)  # who looks whether a node answers
    for number in range(NODES):
        principals[f"asker-{number}"] = _principal(f"asker-{number}", (CHANGED, CHANGED + 1))
    return Policy(revision=revision, digest=f"bench-{revision}", permissions=permissions, principals=principals)


def is_withdrawn(revision: int) -> bool:
    """Whether this revision lets nobody publish by permission CHANGED."""
    return revision % 2 == 0


def _rule(number: int, revision: int) -> Rule:
    is_closed = number == CHANGED and is_withdrawn(revision)
    return Rule(
        permission=_permission(number),
        name="area",
        effect=Effect.ALLOW,
        activity=Activity.SUBSCRIBE if is_closed else Activity.ALL,
        topics=(f"area/{number:04d}/#", f"site/${{clientid}}/{number:04d}/#"),
    )


def _principal(name: str, permissions: tuple[int, ...], client_ids: str | None = None) -> Principal:
    return Principal(
        username=name,
        uid=f"uid-{name}",
        namespace="bench",
        client_ids=(client_ids or name,),
        passwords=(verifier(PASSWORD),),
        permissions=tuple(_permission(number) for number in permissions),
    )


def _permissions(number: int) -> tuple[int, ...]:
    return tuple(sorted({(number + step * 331) % PERMISSIONS for step in range(PER_CLIENT)}))


def _permission(number: int) -> str:
    return f"bench/permission-{number:04d}"


def _name(number: int) -> str:
    return f"device-{number:05d}"


def _join_all(crowd: Crowd, targets: Sequence[Target], count: int) -> float:
    start = time.monotonic()
    for first in range(0, count, JOINED_AT_ONCE):
        for place, target in enumerate(targets):
            numbers = [n for n in range(first, min(count, first + JOINED_AT_ONCE)) if n % len(targets) == place]
            crowd.join([_member(number) for number in numbers], replace(target, password=PASSWORD))
    return time.monotonic() - start


def _member(number: int) -> Member:
    return Member(_name(number), (f"area/{_permissions(number)[0]:04d}/state",), 1, username=_name(number))


def _asker(crowd: Crowd, target: Target, number: int) -> probe.Asker:
    name = f"asker-{number}"
    link = crowd.join([Member(name, username=name)], target)[0]
    return probe.Asker(link, f"area/{CHANGED:04d}/asked")


def _ms(values_s: Sequence[float], share: float) -> str:
    return f"{percentile(values_s, share) * 1_000:.0f} ms"
