"""A broker with thousands of clients and permissions as objects of a real API server, its nodes, and its operator.

Knows what the objects look like and how they are written; does not know what is measured.
"""

import base64
import http.client
import json
import queue
import secrets
import shutil
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from argon2 import PasswordHasher
from prometheus_client.parser import text_string_to_metric_families

from bench import accounting
from bench.nodes import KEYS, WORLD_ID, ClusterNode, Place, launch_node
from bench.nodes import NODE_USER as NODE
from bench.nodes import PASSWORD as STORE_PASSWORD
from bench.world import PASSWORD, World
from support.kube import clusters, kubectl
from support.kube.api import Api
from support.kube.place import Backend, Tier
from support.kube.place import Place as ClusterPlace
from support.processes import ROOT, Program, environment, free_port

Document = dict[str, Any]

NAMESPACE = "bench"
BROKER = "plant"
PERMISSIONS = 1_000
GROUPS = 100
LABELS = 50  # values of the label that selectors ask for
WRITERS = 20
SLOTS = 32  # attributes of the asker
ASKER = "asker"
API = "/apis/mqtt.stoa.dev/v1alpha1/namespaces/bench"
SECRETS = "/api/v1/namespaces/bench/secrets"
ANSWER_S_MAX = 30.0
MERGE = "application/merge-patch+json"


@contextmanager
def api_server(name: str) -> Iterator[ClusterPlace]:
    """One of our own, with our definitions."""
    place = ClusterPlace.named(name)
    clusters.up(place, Tier.FAST, Backend.LOCAL)
    try:
        kubectl.apply_files(place, sorted((ROOT / "crds").glob("*.yaml")))
        kubectl.call(place, "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        kubectl.apply(place, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
        yield place
    finally:
        clusters.down(place)


def declare_broker(cluster: ClusterPlace, store: Place) -> None:
    """The broker with its Secrets. Its store has the identity that the nodes were given."""
    kubectl.apply(cluster, [_secret("store", username=NODE, password=STORE_PASSWORD), _broker(store)])
    kubectl.apply(cluster, [_secret("store-op", password=STORE_PASSWORD), _secret(ASKER, hash=_verifier())])
    api = Api(cluster.kubeconfig)
    answer = api.call("PATCH", f"{API}/mqttbrokers/{BROKER}/status", {"status": {"storeID": WORLD_ID}}, kind=MERGE)
    assert answer.code == 200, answer
    api.close()


def declare_fleet(cluster: ClusterPlace, count: int) -> float:
    """Seconds that it took to create `count` clients with a Secret each, and PERMISSIONS permissions."""
    clients, permissions = f"{API}/mqttclients", f"{API}/topicpermissions"
    documents = [(SECRETS, _secret(client_name(number), hash=_some_verifier())) for number in range(count)]
    documents += [(clients, client(number)) for number in range(count)]
    documents += [(permissions, permission(number)) for number in range(PERMISSIONS - probes())]
    documents += [(permissions, probe(number, is_on=False)) for number in range(probes() - 2)]
    documents += [(permissions, slots()), (permissions, everybody(is_on=False)), (clients, asker())]
    start = time.monotonic()
    in_parallel(cluster, [partial(_create, *each) for each in documents])
    return time.monotonic() - start


def in_parallel(cluster: ClusterPlace, calls: Sequence[Callable[[Api], None]]) -> None:
    """All of them, over WRITERS connections."""
    waiting: queue.SimpleQueue[Callable[[Api], None]] = queue.SimpleQueue()
    for call in calls:
        waiting.put(call)
    problems: list[Exception] = []

    def work() -> None:
        api = Api(cluster.kubeconfig)
        try:
            while not problems:
                waiting.get_nowait()(api)
        except queue.Empty:
            pass
        except Exception as problem:  # noqa: BLE001 - told to whoever waits for us
            problems.append(problem)
        finally:
            api.close()

    threads = [threading.Thread(target=work) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def start_node(number: int, folder: Path, world: World, store: Place) -> ClusterNode:
    """A node that waits for its first policy."""
    return launch_node(number, folder, world, store)


class Operator(NamedTuple):
    """The operator's process, and the port of its metrics."""

    program: Program
    port: int

    @property
    def pid(self) -> int:
        return self.program.pid

    def waited_s(self) -> float:
        """How long its main thread could have run, and other processes had the cores; 0 where nobody counts that."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
        except OSError:
            return 0.0

    def status_writes(self) -> int:
        """How many statuses of clients and permissions it has asked the API server to write."""
        resources = [f"{plural}/status.mqtt.stoa.dev" for plural in ("mqttclients", "topicpermissions")]
        return sum(self._sample("stoa_operator_api_calls_total", verb="patch", resource=each) for each in resources)

    def knows_all(self) -> bool:
        """It has looked at every object, and what they say is in force."""
        return any('"policy.pass"' in line and "is in force" in line for line in self.program.err)

    def _sample(self, name: str, **labels: str) -> int:
        """0 if there is none, or nobody listens yet."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=ANSWER_S_MAX) as answer:
                families = list(text_string_to_metric_families(answer.read().decode()))
        except OSError:
            return 0
        samples = (sample for family in families for sample in family.samples)
        return sum(int(each.value) for each in samples if (each.name, each.labels) == (name, labels))


@contextmanager
def operator(cluster: ClusterPlace, folder: Path) -> Iterator[Operator]:
    """The operator as a process.

    In a session of its own: systems that share cores out by sessions give it the share of one, as it has in a pod.
    """
    port = free_port()
    command = ["setsid"] if shutil.which("setsid") else []
    command += [sys.executable, "-P", "-m", "mqtt_operator", "--namespace", NAMESPACE, "--broker-image", "stoa:bench"]
    command += ["--metrics-host", "127.0.0.1", "--metrics-port", str(port), "--no-leader-election"]
    surroundings = environment(KUBECONFIG=str(cluster.kubeconfig), POD_NAME="operator-0")
    with Program(command, surroundings, cwd=folder) as program:
        yield Operator(program, port)


def api_cpu_s(cluster: ClusterPlace) -> float:
    """Of the API server and of what it keeps its objects in."""
    state = clusters.state(cluster)
    assert state is not None
    pids = [pid for pid, name in state.processes.items() if name in ("kube-apiserver", "etcd")]
    assert pids, state
    return sum(accounting.cpu_seconds(pid) for pid in pids)


def change(api: Api, plural: str, name: str, spec: Document) -> float:
    """When the API server had answered."""
    answer = api.call("PATCH", f"{API}/{plural}/{name}", {"spec": spec}, kind=MERGE)
    if answer.code != 200:
        raise RuntimeError(str(answer))
    return time.monotonic()


def everything(api: Api, plural: str) -> Iterator[Document]:
    """All objects, page by page."""
    following = ""
    while True:
        query = urlencode({"limit": "500", "continue": following})
        body = api.call("GET", f"{API}/{plural}?{query}").body
        yield from body["items"]
        following = body["metadata"].get("continue", "")
        if not following:
            return


def is_told(api: Api, permission: str, *, matched: int) -> bool:
    """Its status is of this generation, says that it is in force, and means so many clients."""
    document = api.call("GET", f"{API}/topicpermissions/{permission}").body
    status = document.get("status", {})
    is_new = status.get("observedGeneration") == document["metadata"]["generation"]
    return is_new and "appliedRevision" in status and status.get("matchedClients") == matched


def resident_mib(pid: int) -> tuple[float, float]:
    """Resident memory now, and the most there ever was; where the system does not tell, now for both."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return (now := accounting.memory_kib(pid) / 1024), now
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest}
    return kib["VmRSS"] / 1024, kib["VmHWM"] / 1024


# Objects


def probes() -> int:
    """How many of the permissions are there to be changed."""
    return PERMISSIONS // 4 + 2


def client_name(number: int) -> str:
    return f"device-{number:05d}"


def client(number: int) -> Document:
    """It proves itself by a certificate, or by a password whose hash lies in a Secret of its own."""
    name = client_name(number)
    return _object(
        "MQTTClient",
        name,
        {
            "groups": [f"group-{number % GROUPS}"],
            "attributes": {"line": str(number % 7)},
            "credentials": {
                "certificates": [{"match": {"issuer": "CN=device-ca", "commonName": name}}],
                "passwords": [{"secretRef": {"name": name, "hashKey": "hash"}}],
            },
        },
        line=f"line-{number % LABELS}",
        fleet="yes",
    )


def asker() -> Document:
    """Who asks nodes what holds: with a password, so that no TLS is measured."""
    spec = {
        "clientIDs": [f"{ASKER}-*"],
        "credentials": {"passwords": [{"secretRef": {"name": ASKER, "hashKey": "hash"}}]},
        "attributes": attributes({}),
    }
    return _object("MQTTClient", ASKER, spec, fleet="yes")


def attributes(values: dict[int, str]) -> dict[str, str]:
    return {f"s{slot:02d}": values.get(slot, "none") for slot in range(SLOTS)}


def permission(number: int) -> Document:
    """One of ten is for a label, the others are for a client and a group."""
    by_label = {"kind": "MQTTClient", "selector": {"matchLabels": {"line": f"line-{number % LABELS}"}}}
    by_name = {"kind": "MQTTClient", "name": client_name(number)}
    by_group = {"kind": "Group", "name": f"group-{number % GROUPS}"}
    rules = [
        _rule("area", f"area/{number:04d}/#", f"site/${{clientid}}/{number:04d}/#"),
        _rule("secret", f"area/{number:04d}/secret", effect="Deny"),
    ]
    subjects = [by_label] if number % 10 == 0 else [by_name, by_group]
    return _object("TopicPermission", f"permission-{number:04d}", {"subjects": subjects, "rules": rules})


def probe(number: int, *, is_on: bool) -> Document:
    """Lets the asker publish to probe/NUMBER, or to nothing that it asks for."""
    subjects = [{"kind": "MQTTClient", "name": ASKER}]
    return _object("TopicPermission", probe_name(number), {"subjects": subjects, "rules": probe_rules(number, is_on)})


def probe_name(number: int) -> str:
    return f"probe-{number:04d}"


def probe_rules(number: int, is_on: bool) -> list[Document]:
    return [_rule("probe", f"probe/{number}" if is_on else f"off/{number}")]


def slots() -> Document:
    """Lets the asker publish to slot/VALUE, where VALUE is one of its attributes."""
    topics = [f"slot/${{attr.s{slot:02d}}}" for slot in range(SLOTS)]
    rules = [_rule("low", *topics[:16]), _rule("high", *topics[16:])]
    return _object("TopicPermission", "slots", {"subjects": [{"kind": "MQTTClient", "name": ASKER}], "rules": rules})


def everybody(*, is_on: bool) -> Document:
    return _object(
        "TopicPermission", "everybody", {"subjects": everybody_subjects(is_on), "rules": [_rule("all", "everybody")]}
    )


def everybody_subjects(is_on: bool) -> list[Document]:
    return [{"kind": "MQTTClient", "selector": {"matchLabels": {"fleet": "yes" if is_on else "no"}}}]


def _rule(name: str, *topics: str, effect: str = "Allow") -> Document:
    return {"name": name, "effect": effect, "activity": "All", "topics": list(topics)}


def _object(kind: str, name: str, spec: Document, **labels: str) -> Document:
    return {
        "apiVersion": "mqtt.stoa.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "spec": {"brokerRef": {"name": BROKER}, **spec},
    }


def _broker(store: Place) -> Document:
    document = _object(
        "MQTTBroker",
        BROKER,
        {
            "replicas": 3,
            "sessionStore": {
                "redis": {
                    "addresses": [store.server.address],
                    "keyPrefix": KEYS.prefix,
                    "credentialsRef": {"name": "store", "usernameKey": "username", "passwordKey": "password"},
                    "operatorCredentialsRef": {"name": "store-op", "passwordKey": "password"},
                },
                "durability": {"level": store.durability, "verification": "Declared"},
            },
            "authentication": [{"name": "passwords", "type": "Password"}, {"name": "devices", "type": "X509"}],
            "listeners": [{"name": "plain", "port": 1883, "allowPlaintext": True}],
        },
    )
    del document["spec"]["brokerRef"]
    document["metadata"]["namespace"] = NAMESPACE
    return document


def _secret(name: str, **values: str) -> Document:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


def _verifier() -> str:
    """As cheap as an operator takes it."""
    return PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PASSWORD)


def _some_verifier() -> str:
    """Of a password that nobody knows: hashing ten thousand would take longer than what is measured."""
    salt, tag = (base64.b64encode(secrets.token_bytes(length)).decode().rstrip("=") for length in (16, 32))
    return f"$argon2id$v=19$m={8 * 1024},t=1,p=1${salt}${tag}"


def _create(path: str, document: Document, api: Api) -> None:
    answer = api.call("POST", path, document)
    if answer.code != 201:
        raise RuntimeError(str(answer))


class _Door(http.client.HTTPConnection):
    """To a node's admin socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def node_revision(node: ClusterNode) -> int:
    """The policy that it decides by, as it says itself; -1 = none, or it says nothing yet."""
    door = _Door(node.admin_socket)
    try:
        door.request("GET", "/status")
        return int(json.loads(door.getresponse().read())["policy_revision"])
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return -1
    finally:
        door.close()
