"""10,000 clients and 1,000 permissions at a real API server: how long until nodes decide by them, and by one change.

Knows what is changed when, and how the last node's decision is seen; does not know how a policy travels.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import redis

from bench import accounting
from bench.figures import percentile
from bench.nodes import KEYS, ClusterNode, Place
from bench.nodes import PASSWORD as STORE_PASSWORD
from bench.scale import plant
from bench.scale.asking import Askers, Question
from bench.scale.table import Figure, plain
from bench.world import World
from mqtt_api.policy import decode_policy
from mqtt_operator.channel.shared_store import SharedStore
from support.kube.api import Api
from support.kube.place import Place as ClusterPlace

TITLE = "{count:,} MQTTClients with a Secret each and 1,000 TopicPermissions at an API server, three nodes"
NODES = 3
CHANGES = 500
PER_SECOND = 20.0
COLD_S_MAX, TOLD_S_MAX, MEMORY_MIB_MAX = 30.0, 1.0, 400
START_S_MAX, ARRIVED_S_MAX = 900.0, 60.0
QUIET_S = 2.0
SILENT_S = 5.0  # who has written no status for so long writes none any more
LOOK_S = 0.2
COUNT_S = 1.0  # between two looks at counters, which cost the operator some milliseconds
ALL_TIMES = 5


@dataclass(frozen=True)
class Rig:
    """Everything but an operator."""

    cluster: ClusterPlace
    store: Place
    nodes: Sequence[ClusterNode]
    clients: int

    @property
    def objects(self) -> int:
        """How many have a status that the operator writes, but for the broker: the asker is one of them."""
        return self.clients + 1 + plant.PERMISSIONS

    def is_whole(self) -> bool:
        """Everybody is in the policy, with a password, and all nodes decide by it."""
        parts = SharedStore(self.store.settings()).read_parts()
        if parts is None:
            return False
        policy = decode_policy(parts)
        is_everybody = len(policy.principals) == self.clients + 1 and len(policy.permissions) == plant.PERMISSIONS
        return (
            is_everybody
            and all(each.passwords for each in policy.principals.values())
            and policy.revision <= min(map(plant.node_revision, self.nodes))
        )


def run(folder: Path, world: World, count: int) -> list[Figure]:
    """Raises RuntimeError if something does not arrive."""
    with ExitStack() as ends:
        cluster = ends.enter_context(plant.api_server("bench-policy"))
        store = ends.enter_context(Place(folder, "Memory"))
        plant.declare_broker(cluster, store)
        created_s = plant.declare_fleet(cluster, count)
        nodes = [ends.enter_context(_node(number, folder, world, store)) for number in range(NODES)]
        rig = Rig(cluster, store, nodes, count)
        figures = [Figure("objects created", f"{created_s:.0f} s, over {plant.WRITERS} connections")]
        begin = time.monotonic()
        with plant.operator(cluster, folder) as operator:
            figures += _first_start(rig, operator, begin)
        begin = time.monotonic()
        operator = ends.enter_context(plant.operator(cluster, folder))
        figures += _second_start(rig, operator, begin)
        askers = ends.enter_context(Askers(nodes, plant.ASKER))
        writes = ends.enter_context(Writes(store))
        try:
            figures += _changes(rig, askers, writes, operator)
            return [*figures, _memory(operator)]
        except RuntimeError as problem:
            found = plain("until then", figures)
            raise RuntimeError(f"{problem}\n{found}\n{operator.program.dump()[-4_000:]}") from problem


@contextmanager
def _node(number: int, folder: Path, world: World, store: Place) -> Iterator[ClusterNode]:
    node = plant.start_node(number, folder, world, store)
    try:
        yield node
    finally:
        node.stop()


# Starts


def _first_start(rig: Rig, operator: plant.Operator, begin: float) -> Iterator[Figure]:
    """Nothing is there but what people declared."""
    api_cpu_s = plant.api_cpu_s(rig.cluster)
    cold_s = _await_policy(rig, operator, begin)
    words = f"{cold_s:.1f} s; {_spent(operator)}"
    yield Figure("first start: until the policy is in force on all nodes", words, f"<= {COLD_S_MAX:g} s")
    told_s, written = _await_statuses(rig, operator, begin)
    share = (plant.api_cpu_s(rig.cluster) - api_cpu_s) / (time.monotonic() - begin)
    words = f"{told_s:.0f} s, {written:,} writes; {_spent(operator)}; API server and etcd {share:.1f} cores"
    yield Figure("and until every status says so", words)
    yield _memory(operator)


def _second_start(rig: Rig, operator: plant.Operator, begin: float) -> Iterator[Figure]:
    """Nothing has changed."""
    before = plant.node_revision(rig.nodes[0])
    while not operator.knows_all():
        if time.monotonic() - begin > START_S_MAX:
            raise RuntimeError(f"no pass gets through:\n{operator.program.dump()[-4_000:]}")
        time.sleep(LOOK_S)
    known_s = time.monotonic() - begin
    spent = _spent(operator)
    _, written = _silence(operator, begin)
    revisions = plant.node_revision(rig.nodes[0]) - before
    words = f"{known_s:.1f} s; {spent}; {written} statuses and {revisions} revisions written"
    yield Figure("start again, with nothing new: until it has looked at everything", words)


def _await_policy(rig: Rig, operator: plant.Operator, begin: float) -> float:
    """Seconds until every node decides by a policy with everybody in it."""
    looked_at = -1
    while True:
        now, revision = time.monotonic(), min(map(plant.node_revision, rig.nodes))
        if revision > looked_at and rig.is_whole():
            return now - begin
        looked_at = revision
        if now - begin > START_S_MAX:
            raise RuntimeError(f"the clients are not in force:\n{operator.program.dump()[-4_000:]}")
        time.sleep(LOOK_S)


def _await_statuses(rig: Rig, operator: plant.Operator, begin: float) -> tuple[float, int]:
    """Seconds until every status says that its object is in force, and how many were written until then."""
    while True:
        told_s, written = _silence(operator, begin)
        if written >= rig.objects and _are_all_told(rig):
            return told_s, written
        if time.monotonic() - begin > START_S_MAX:
            raise RuntimeError(f"{written} statuses are written, and not all are as they should be")


def _silence(operator: plant.Operator, begin: float) -> tuple[float, int]:
    """Until it writes no statuses any more: when the last one was written, and how many there were."""
    last, since = -1, time.monotonic()
    while time.monotonic() - since < SILENT_S:
        written = operator.status_writes()
        if written != last:
            last, since = written, time.monotonic()
        time.sleep(COUNT_S)
    return since - begin, last


def _are_all_told(rig: Rig) -> bool:
    api = Api(rig.cluster.kubeconfig)
    found = [each for plural in ("mqttclients", "topicpermissions") for each in plant.everything(api, plural)]
    api.close()
    return len(found) == rig.objects and all("appliedRevision" in each.get("status", {}) for each in found)


def _spent(operator: plant.Operator) -> str:
    cpu_s, waited_s = accounting.cpu_seconds(operator.pid), operator.waited_s()
    return f"operator: CPU {cpu_s:.1f} s, without a core {waited_s:.1f} s"


def _memory(operator: plant.Operator) -> Figure:
    now, most = plant.resident_mib(operator.pid)
    return Figure("memory of the operator", f"{now:.0f} MiB resident, {most:.0f} at most", f"<= {MEMORY_MIB_MAX} MiB")


# Changes


def _changes(rig: Rig, askers: Askers, writes: "Writes", operator: plant.Operator) -> Iterator[Figure]:
    api = Api(rig.cluster.kubeconfig)
    pids = {"operator": operator.pid, **{f"node-{number}": node.pid for number, node in enumerate(rig.nodes)}}
    cpu = {name: accounting.cpu_seconds(pid) for name, pid in pids.items()}
    statuses = operator.status_writes()
    changes = _many(api, askers)
    cpu = {name: accounting.cpu_seconds(pid) - cpu[name] for name, pid in pids.items()}
    told = [each.told_s for each in changes]
    yield Figure(
        f"one of {CHANGES} changes at {PER_SECOND:g}/s, from the API server's answer to the last node's decision",
        f"p50 {_ms(told, 0.5)}, p99 {_ms(told, 0.99)}, worst {_ms(told, 1)}",
        f"p99 <= {TOLD_S_MAX:g} s",
    )
    after = [min(each.told_s, written_s) for each in changes if (written_s := writes.since(each.question)) is not None]
    yield Figure("of which from the write to the store on", f"p50 {_ms(after, 0.5)}, p99 {_ms(after, 0.99)}")
    yield Figure("CPU a change", ", ".join(f"{name} {used / CHANGES * 1_000:.0f} ms" for name, used in cpu.items()))
    time.sleep(QUIET_S)
    yield Figure("written for them", f"{writes.count} revisions, {operator.status_writes() - statuses} statuses")
    yield _for_all(rig, api, askers, operator)
    api.close()


def _for_all(rig: Rig, api: Api, askers: Askers, operator: plant.Operator) -> Figure:
    statuses = operator.status_writes()
    times = [_one_for_all(rig, api, askers) for _ in range(ALL_TIMES)]
    decided_s, told_s = (max(column) for column in zip(*times, strict=True))
    written = operator.status_writes() - statuses
    words = f"worst of {ALL_TIMES}: {decided_s * 1_000:.0f} ms; its status {told_s * 1_000:.0f} ms; {written} statuses"
    return Figure("one change that matches all clients", words, f"<= {TOLD_S_MAX:g} s")


class Change:
    """`told_s`: until the last node decided by it, from the API server's answer on."""

    def __init__(self, question: Question, answered_at: float) -> None:
        self.question = question
        self.answered_at = answered_at

    @property
    def told_s(self) -> float:
        return max(0.0, max(self.question.turned.values()) - self.answered_at)


def _many(api: Api, askers: Askers) -> list[Change]:
    """Permissions and clients in turn, one every so often, whether those before have arrived or not."""
    changes, slots = [], _Slots(askers)
    begin = time.monotonic()
    for number in range(CHANGES):
        time.sleep(max(0.0, begin + number / PER_SECOND - time.monotonic()))
        half = number // 2
        if number % 2 == 0:
            rules = {"rules": plant.probe_rules(half, is_on=True)}
            answered_at = plant.change(api, "topicpermissions", plant.probe_name(half), rules)
            question = askers.ask(f"probe/{half}")
        else:
            answered_at = plant.change(api, "mqttclients", plant.ASKER, {"attributes": slots.attributes(half)})
            question = slots.ask(half)
        changes.append(Change(question, answered_at))
    askers.wait([each.question for each in changes if not slots.is_replaced(each.question)], ARRIVED_S_MAX)
    slots.settle()
    return changes


class _Slots:
    """The values of the asker's attributes, a new one for the next slot each time.

    A node that is so late that it never had a value counts as having had it when it had the one that came after.
    """

    def __init__(self, askers: Askers) -> None:
        self._askers = askers
        self._values: dict[int, str] = {}
        self._newest: dict[int, Question] = {}
        self._replaced: list[tuple[Question, Question]] = []

    def attributes(self, number: int) -> dict[str, str]:
        self._values[number % plant.SLOTS] = f"v{number}"
        return plant.attributes(self._values)

    def ask(self, number: int) -> Question:
        before, now = self._newest.get(number % plant.SLOTS), self._askers.ask(f"slot/v{number}")
        self._newest[number % plant.SLOTS] = now
        if before is not None:
            self._askers.withdraw(before)
            self._replaced.append((before, now))
        return now

    def is_replaced(self, question: Question) -> bool:
        return any(before is question for before, _ in self._replaced)

    def settle(self) -> None:
        for before, now in reversed(self._replaced):
            before.turned = {**now.turned, **before.turned}


def _one_for_all(rig: Rig, api: Api, askers: Askers) -> tuple[float, float]:
    """Seconds until the last node decided by it, and until its status says so; switching it off is not timed."""
    answered_at = plant.change(api, "topicpermissions", "everybody", {"subjects": plant.everybody_subjects(is_on=True)})
    change = Change(askers.ask("everybody"), answered_at)
    askers.wait([change.question], ARRIVED_S_MAX)
    while not plant.is_told(api, "everybody", matched=rig.clients + 1):
        if time.monotonic() - answered_at > ARRIVED_S_MAX:
            raise RuntimeError("the status does not follow")
        time.sleep(LOOK_S / 10)
    told_s = time.monotonic() - answered_at
    plant.change(api, "topicpermissions", "everybody", {"subjects": plant.everybody_subjects(is_on=False)})
    time.sleep(QUIET_S)
    return change.told_s, told_s


class Writes:
    """When each revision was written to the store. Use as `with`."""

    def __init__(self, store: Place) -> None:
        host, _, port = store.server.address.rpartition(":")
        self._client = redis.Redis(host=host, port=int(port), password=STORE_PASSWORD)
        self._times: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    @property
    def count(self) -> int:
        return len(self._times)

    def since(self, question: Question) -> float | None:
        """Seconds from the write that the first node decided by to the last node's decision."""
        first, last = min(question.turned.values()), max(question.turned.values())
        before = [moment for moment in self._times if moment <= first]
        return last - before[-1] if before else None

    def _run(self) -> None:
        last: Any = "$"
        while not self._stop.is_set():
            answer: Any = self._client.xread({KEYS.feed: last}, block=200)
            for name, fields in (entry for _, entries in answer for entry in entries):
                last = name
                if fields.get(b"o") == b"":  # an operator's
                    self._times.append(time.monotonic())


def _ms(values_s: Sequence[float], share: float) -> str:
    return f"{percentile(values_s, share) * 1_000:.0f} ms"
