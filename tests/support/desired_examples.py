"""Brokers as people write them, what they are built with, and what they become: for tests of desired objects.

`python -m support.desired_examples` writes the golden files anew; look at what has changed before keeping it.
"""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from mqtt_api.kinds.mqttbroker import Listener
from mqtt_api.resources import MQTTBroker, parse_document
from mqtt_operator.desired.inputs import Inputs, ManagedStore, Passwords, StoreUsers
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.objects import build

GOLDEN = Path(__file__).parents[1] / "unit/mqtt_operator/desired/golden"
UID = "0c7be9fb-5f3c-4a3a-9a4e-0b6f6a1f7d11"

MANAGED = ManagedStore(
    image="registry.example.org/redis@sha256:" + "2" * 64,
    node=Passwords(password="nodes-word", also_accepted=("ab" * 32,)),
    operator=Passwords(password="operators-word"),
    admin=Passwords(password="admins-word"),
    certificate=b"the store's certificate",
    private_key=b"the store's key",
    ca=b"the store's CA",
)
CLIENT_CAS = "the CAs of devices"
_ALERT = {"alert": "NodeDown", "expr": 'up{namespace="mqtt",broker="plant"} == 0', "for": "1m"}
ALERT_GROUPS: tuple[Manifest, ...] = ({"name": "nodes", "rules": [_ALERT]},)
INPUTS = Inputs(
    image="registry.example.org/stoa@sha256:" + "3" * 64,
    version="0.1.0",
    world="7d0a",
    operator_namespace="stoa-system",
    users=StoreUsers(node="plant-nodes", operator="plant-operator", sentinel="watcher"),
    alert_groups=ALERT_GROUPS,
    dashboards={"broker": '{"title": "Broker"}'},
)


def _read() -> dict[str, Manifest]:
    text = Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
    documents = [document for document in yaml.safe_load_all(text) if document is not None]
    return {document["metadata"]["name"]: document for document in documents}


DOCUMENTS = _read()


def read_broker(document: Manifest, *, uid: str = UID, namespace: str = "mqtt") -> MQTTBroker:
    """The broker as it would be read from a server."""
    metadata = {**document["metadata"], "uid": uid, "namespace": namespace}
    broker = parse_document({**document, "metadata": metadata})
    assert isinstance(broker, MQTTBroker)
    return broker


def example(name: str, **changes: Any) -> MQTTBroker:
    """One of the brokers; `changes` are parts of its spec, in the words of YAML, None = without that part."""
    document = DOCUMENTS[name]
    spec = {key: value for key, value in {**document["spec"], **changes}.items() if value is not None}
    return read_broker({**document, "spec": spec})


def _verifies_clients(listener: Listener) -> bool:
    return listener.tls is not None and listener.tls.client_ca_refs is not None


def inputs_for(broker: MQTTBroker, **changes: Any) -> Inputs:
    """What fits this broker."""
    store = broker.spec.session_store
    fitting = {
        "managed": None if store.managed is None else MANAGED,
        "client_cas": {each.name: CLIENT_CAS for each in broker.spec.listeners if _verifies_clients(each)},
        "policy": None if store.embedded is None else b'{"the": "policy"}',
    }
    return msgspec.structs.replace(INPUTS, **{**fitting, **changes})


def built(name: str) -> list[Manifest]:
    """What an example becomes."""
    broker = example(name)
    return build(broker, inputs_for(broker))


def as_golden(manifests: list[Manifest]) -> str:
    """As a person reads it. What two objects share is written twice."""
    return yaml.dump_all(manifests, Dumper=_Plain, sort_keys=False, width=120)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _Plain.represent_text)


if __name__ == "__main__":
    for name in DOCUMENTS:
        (GOLDEN / f"{name}.yaml").write_text(as_golden(built(name)), encoding="utf-8")
