"""10,000 clients and 1,000 permissions at a real API server: how long until nodes decide by them, and by one change.

Knows what is changed when, and how the last node's decision is seen; does not know how a policy travels.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import redis

from bench import accounting
from bench.figures import percentile
from bench.nodes import KEYS, ClusterNode, Place
from bench.nodes import PASSWORD as STORE_PASSWORD
from bench.scale import plant
from bench.scale.asking import Askers, Question
from bench.scale.table import Figure
from bench.world import World
from support.kube.api import Api
from support.processes import Program

TITLE = "{count:,} MQTTClients and 1,000 TopicPermissions at an API server, three nodes"
NODES = 3
CHANGES = 500
PER_SECOND = 20.0
COLD_S_MAX, TOLD_S_MAX, MEMORY_MIB_MAX = 30.0, 1.0, 400
START_S_MAX, ARRIVED_S_MAX = 480.0, 60.0
QUIET_S = 2.0
ALL_TIMES = 5


def run(folder: Path, world: World, count: int) -> list[Figure]:
    """Raises RuntimeError if something does not arrive."""
    with ExitStack() as ends:
        cluster = ends.enter_context(plant.api_server("bench-policy"))
        store = ends.enter_context(Place(folder, "Memory"))
        plant.declare_broker(cluster, store)
        created_s = plant.declare_fleet(cluster, count)
        nodes = []
        for number in range(NODES):
            nodes.append(plant.start_node(number, folder, world, store))
            ends.callback(nodes[-1].stop)
        start = time.monotonic()
        operator = ends.enter_context(plant.operator(cluster, folder))
        cold_s = _await_policy(nodes, operator, count, start)
        figures = [
            Figure("objects created", f"{created_s:.0f} s, over {plant.WRITERS} connections"),
            Figure("from the operator's start to the policy in force on all nodes", f"{cold_s:.1f} s", "<= 30 s"),
        ]
        told_s = _await_statuses(cluster.kubeconfig, count, start)
        cpu_s = accounting.cpu_seconds(operator.pid)
        figures.append(Figure("and until every client's status says so", f"{told_s:.0f} s; operator CPU {cpu_s:.0f} s"))
        askers = ends.enter_context(Askers(nodes, plant.ASKER))
        writes = ends.enter_context(Writes(store))
        try:
            return [*figures, *_changes(cluster.kubeconfig, askers, writes, operator, nodes)]
        except RuntimeError as problem:
            raise RuntimeError(f"{problem}\n{operator.dump()[-4_000:]}") from problem


def _changes(
    kubeconfig: Path, askers: Askers, writes: "Writes", operator: Program, nodes: Sequence[ClusterNode]
) -> Iterator[Figure]:
    api = Api(kubeconfig)
    memory = accounting.memory_kib(operator.pid)
    cpu = {name: accounting.cpu_seconds(pid) for name, pid in _pids(operator, nodes)}
    changes = _many(api, askers)
    cpu = {name: accounting.cpu_seconds(pid) - cpu[name] for name, pid in _pids(operator, nodes)}
    told = [each.told_s for each in changes]
    yield Figure(
        f"one of {CHANGES} changes at {PER_SECOND:g}/s, from the API server's answer to the last node's decision",
        f"p50 {_ms(told, 0.5)}, p99 {_ms(told, 0.99)}, worst {_ms(told, 1)}",
        f"p99 <= {TOLD_S_MAX:g} s",
    )
    after = [min(each.told_s, written_s) for each in changes if (written_s := writes.since(each.question)) is not None]
    yield Figure("of which from the write to the store on", f"p50 {_ms(after, 0.5)}, p99 {_ms(after, 0.99)}")
    yield Figure("CPU a change", ", ".join(f"{name} {used / CHANGES * 1_000:.0f} ms" for name, used in cpu.items()))
    yield Figure("revisions written", f"{writes.count}")
    matching = [_one_for_all(api, askers, is_on=number % 2 == 0) for number in range(ALL_TIMES * 2)]
    worst = max(each for each in matching if each is not None)
    yield Figure("one change that matches all clients", f"worst of {ALL_TIMES}: {worst * 1_000:.0f} ms", "<= 1 s")
    peak = max(memory, accounting.memory_kib(operator.pid))
    words = f"{memory / 1024:.0f} MiB after the start, {peak / 1024:.0f} MiB in the end"
    yield Figure("memory of the operator", words, f"<= {MEMORY_MIB_MAX} MiB")
    api.close()


# One change after the other


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
    changes, values = [], dict[int, str]()
    begin = time.monotonic()
    for number in range(CHANGES):
        time.sleep(max(0.0, begin + number / PER_SECOND - time.monotonic()))
        half = number // 2
        if number % 2 == 0:
            rules = {"rules": plant.probe_rules(half, is_on=True)}
            answered_at = plant.change(api, "topicpermissions", plant.probe_name(half), rules)
            question = askers.ask(f"probe/{half}")
        else:
            values[half % plant.SLOTS] = f"v{half}"
            answered_at = plant.change(api, "mqttclients", plant.ASKER, {"attributes": plant.attributes(values)})
            question = askers.ask(f"slot/v{half}")
        changes.append(Change(question, answered_at))
    askers.wait([each.question for each in changes], ARRIVED_S_MAX)
    return changes


def _one_for_all(api: Api, askers: Askers, *, is_on: bool) -> float | None:
    """Seconds until the last node decided by it; switching it off is not timed."""
    subjects = {"subjects": plant.everybody_subjects(is_on)}
    answered_at = plant.change(api, "topicpermissions", "everybody", subjects)
    if not is_on:
        time.sleep(QUIET_S)
        return None
    change = Change(askers.ask("everybody"), answered_at)
    askers.wait([change.question], ARRIVED_S_MAX)
    time.sleep(QUIET_S)
    return change.told_s


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


# What is waited for


def _await_policy(nodes: Sequence[ClusterNode], operator: Program, count: int, start: float) -> float:
    """Seconds until every node decides by a policy with all clients in it."""
    while True:
        if all(plant.node_revision(node) >= 0 for node in nodes):
            return time.monotonic() - start
        if time.monotonic() - start > START_S_MAX:
            raise RuntimeError(f"{count} clients are not in force:\n{operator.dump()[-4_000:]}")
        time.sleep(0.1)


def _await_statuses(kubeconfig: Path, count: int, start: float) -> float:
    api = Api(kubeconfig)
    waiting = [f"device-{number:05d}" for number in range(count)]
    while waiting:  # one by one: lists of ten thousand would cost the API server more than what is waited for
        status = api.call("GET", f"{plant.API}/mqttclients/{waiting[-1]}").body["status"]
        if "appliedRevision" in status:
            waiting.pop()
        elif time.monotonic() - start > START_S_MAX:
            raise RuntimeError("statuses are not written")
        else:
            time.sleep(0.5)
    api.close()
    return time.monotonic() - start


def _pids(operator: Program, nodes: Sequence[ClusterNode]) -> list[tuple[str, int]]:
    return [("operator", operator.pid), *((f"node-{number}", node.pid) for number, node in enumerate(nodes))]


def _ms(values_s: Sequence[float], share: float) -> str:
    return f"{percentile(values_s, share) * 1_000:.0f} ms"
