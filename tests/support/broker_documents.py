"""Brokers as people declare them in Kubernetes, and the Secrets that they name."""

import base64
from datetime import UTC, datetime, timedelta

from mqtt_operator.credentials.certificates import KeyPair, issue_ca, issue_server
from mqtt_operator.desired.manifest import Manifest
from support.resource_examples import BROKER, changed

CA = issue_ca("tests", datetime.now(UTC))

SHARED = changed(
    BROKER,
    {
        "spec.replicas": 3,
        "spec.sessionStore": {"redis": {"addresses": ["redis:6379"]}},
        "spec.listeners[0].tls": {"secretRef": {"name": "server"}},
    },
)
EMBEDDED = changed(BROKER, {"spec.listeners[0].tls": {"secretRef": {"name": "server"}}})
MANAGED = changed(SHARED, {"spec.sessionStore": {"managed": {}}})


def tls_secret(name: str = "server", *, begins: datetime | None = None, pair: KeyPair | None = None) -> Manifest:
    """A Secret of type kubernetes.io/tls; its certificate is valid for 90 days from `begins` on."""
    now = datetime.now(UTC) - timedelta(minutes=1)
    issued = pair or issue_server(CA, ["mqtt.example.org"], begins or now)
    return secret(name, {"tls.crt": issued.certificate, "tls.key": issued.key}, kind="kubernetes.io/tls")


def secret(name: str, data: dict[str, bytes], *, kind: str = "Opaque") -> Manifest:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "data": encoded}
