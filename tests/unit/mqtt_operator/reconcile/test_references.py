"""Which Secrets and ConfigMaps an object names."""

from typing import Any

import pytest

from mqtt_api.kinds.common import DataKind
from mqtt_api.resources import parse_document
from mqtt_operator.reconcile.keys import DataKey
from mqtt_operator.reconcile.references import references
from unit.mqtt_operator.reconcile.documents import broker, client, permission

PASSWORD = {"secretRef": {"name": "own", "key": "password"}}
GENERATED = {"generate": {"secretName": "made"}}
TLS = {
    "secretRef": {"name": "server"},
    "clientAuth": "Required",
    "clientCARefs": [{"kind": "ConfigMap", "name": "devices", "key": "ca.crt"}],
    "crl": {"ref": {"kind": "Secret", "name": "revoked", "key": "crl"}},
}
REDIS = {
    "addresses": ["redis:6379"],
    "credentialsRef": {"name": "node"},
    "operatorCredentialsRef": {"name": "operator"},
    "tls": {"caRefs": [{"kind": "Secret", "name": "store-ca", "key": "ca.crt"}]},
}


@pytest.mark.parametrize(
    ("document", "named"),
    [
        (permission(), []),
        (client(), []),
        (client(spec__credentials={"passwords": [PASSWORD, GENERATED]}), ["Secret own", "Secret made"]),
        (
            broker(spec__listeners=[{"name": "mqtts", "port": 8883, "tls": TLS}]),
            [
                "Secret server",
                "ConfigMap devices",
                "Secret revoked",
            ],
        ),
        (broker(spec__sessionStore={"redis": REDIS}), ["Secret node", "Secret operator", "Secret store-ca"]),
    ],
    ids=["permission", "client without", "client", "listener", "store"],
)
def test_every_reference_is_found_and_nothing_else(document: dict[str, Any], named: list[str]) -> None:
    found = references(parse_document(document))
    wanted = {DataKey(DataKind(kind), "mqtt", name) for kind, name in (each.split() for each in named)}
    assert {key for key in found if not key.name.startswith(("plant", "mqtts"))} == wanted
