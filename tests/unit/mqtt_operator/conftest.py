"""What the operator's unit tests share: folders of YAML made of small parts, and a hasher that costs nothing."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mqtt_operator.local.folder import Declared, read_broker

API_VERSION = "mqtt.stoa.dev/v1alpha1"


class YAMLFolder:
    """A folder under test. Every `write` replaces one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), "utf-8")
        return path

    def put(self, name: str, *objects: dict[str, Any]) -> Path:
        return self.write(name, yaml.safe_dump_all(objects, sort_keys=False))

    def read(self) -> Declared:
        return read_broker(self.path)


Make = Callable[..., dict[str, Any]]


def _object(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


@pytest.fixture
def folder(tmp_path: Path) -> YAMLFolder:
    path = tmp_path / "folder"
    path.mkdir()
    return YAMLFolder(path)


@pytest.fixture
def broker() -> Make:
    """An MQTTBroker `plant` with passwords and one TLS listener; arguments replace parts of its spec."""

    def make(name: str = "plant", metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
        usual: dict[str, Any] = {
            "sessionStore": {"embedded": {}},
            "authentication": [{"name": "passwords", "type": "Password"}],
            "listeners": [{"name": "mqtts", "port": 8883, "tls": {}}],
        }
        return _object("MQTTBroker", name, {**usual, **spec}, **(metadata or {}))

    return make


@pytest.fixture
def client() -> Make:
    """An MQTTClient of `plant` whose password is generated; arguments replace parts of its spec."""

    def make(name: str = "pump-7", metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
        usual: dict[str, Any] = {
            "brokerRef": {"name": "plant"},
            "credentials": {"passwords": [{"generate": {"secretName": f"{name}-mqtt"}}]},
        }
        return _object("MQTTClient", name, {**usual, **spec}, **(metadata or {}))

    return make


@pytest.fixture
def permission() -> Make:
    """A TopicPermission of `plant` with one rule; `rule` replaces parts of it, arguments parts of the spec."""

    def make(
        name: str = "pumps",
        metadata: dict[str, Any] | None = None,
        rule: dict[str, Any] | None = None,
        **spec: Any,
    ) -> dict[str, Any]:
        rules = [
            {"name": "own", "effect": "Allow", "activity": "Publish", "topics": ["plant/${clientid}/#"]} | (rule or {})
        ]
        usual: dict[str, Any] = {
            "brokerRef": {"name": "plant"},
            "subjects": [{"kind": "MQTTClient", "name": "pump-7"}],
            "rules": rules,
        }
        return _object("TopicPermission", name, {**usual, **spec}, **(metadata or {}))

    return make


@pytest.fixture
def secret() -> Make:
    """A Secret with plain text values."""

    def make(name: str, values: dict[str, str], **metadata: Any) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, **metadata}, "stringData": values}

    return make


@pytest.fixture(scope="session")
def cheap_hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture(scope="session")
def crl() -> str:
    """An empty certificate revocation list in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device-ca")])
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer)
    signed = builder.last_update(moment).next_update(moment + timedelta(days=30)).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()
