"""From the passwords that clients declare to verifiers and Secrets on disk.

Knows the two sources of a password; does not know hashing (verifiers.py), files (secrets.py) or who may do what.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from argon2 import PasswordHasher
from msgspec import Struct

from mqtt_api.kinds.common import DataKind
from mqtt_api.kinds.mqttclient import PasswordSource
from mqtt_api.resources import MQTTClient
from mqtt_operator.credentials.scram import mechanisms_of
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.folder import Declared
from mqtt_operator.local.objects import DataKey
from mqtt_operator.local.secrets import Binding, ensure_binding
from mqtt_operator.local.verifiers import verifiers_of
from mqtt_operator.policy.compile import Proof


class Credentials(Struct, frozen=True, kw_only=True):
    """`proofs` by the client's reference, passwords in the declared order; `bindings` are the generated Secrets of each
    user name. `salt_key` is what SCRAM salts were derived with, empty where no chain asks for SCRAM.
    """

    proofs: Mapping[str, Proof]
    salt_key: bytes
    bindings: Mapping[str, tuple[Binding, ...]]

    def password_file(self, username: str) -> Path | None:
        """A file with a password of this client, if one was generated."""
        return next((binding.password_file for binding in self.bindings.get(username, ())), None)


def prepare_credentials(declared: Declared, data: DataFolder, hasher: PasswordHasher) -> Credentials:
    """Make the Secrets that are missing, hash what is new. Idempotent. Raises DataFolderError."""
    bindings: dict[str, tuple[Binding, ...]] = {}
    plain: dict[str, tuple[bytes, ...]] = {}
    for client in declared.clients:
        made = {
            index: ensure_binding(data, client.metadata.namespace, source.generate.secret_name, client.username)
            for index, source in enumerate(client.spec.credentials.passwords)
            if source.generate is not None
        }
        bindings[client.username] = tuple(made.values())
        plain[client.username] = tuple(
            made[index].password if index in made else password
            for index, password in enumerate(_declared_passwords(declared, client))
            if index in made or password
        )
    hashed = verifiers_of(data, plain, hasher, mechanisms_of(declared.broker))
    return Credentials(
        proofs={
            client.reference: Proof(
                passwords=(*hashed.argon2[client.username], *_brought(declared, client)),
                scram=hashed.scram[client.username],
            )
            for client in declared.clients
        },
        salt_key=hashed.salt_key,
        bindings=bindings,
    )


def _declared_passwords(declared: Declared, client: MQTTClient) -> Sequence[bytes]:
    """The password of each source, empty where it is generated or only its hash is known."""
    return [_value(declared, client, source, hashed=False) for source in client.spec.credentials.passwords]


def _brought(declared: Declared, client: MQTTClient) -> tuple[str, ...]:
    """The verifiers that people made themselves."""
    values = (_value(declared, client, source, hashed=True) for source in client.spec.credentials.passwords)
    return tuple(value.decode().strip() for value in values if value)


def _value(declared: Declared, client: MQTTClient, source: PasswordSource, *, hashed: bool) -> bytes:
    ref = source.secret_ref
    key = None if ref is None else ref.hash_key if hashed else ref.key
    if ref is None or key is None:
        return b""
    return declared.value(DataKey(DataKind.SECRET, client.metadata.namespace, ref.name), key)
