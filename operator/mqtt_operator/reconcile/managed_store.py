"""The secrets of a managed store: kept in one Secret that we made, and told to the server while it runs.

Knows that Secret and the server's two commands; does not know when material is replaced (material.py), or the objects
that are built of it.
"""

import asyncio
import secrets
from collections.abc import Callable
from datetime import datetime

import msgspec
from cryptography import x509
from msgspec import Struct

from mqtt_api import keys
from mqtt_api.conditions import Reason
from mqtt_api.node_settings import RedisSettings
from mqtt_api.resources import MQTTBroker
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel.managed import reload_certificate, served_certificate, set_users
from mqtt_operator.credentials.certificates import KeyPair, issue_ca, issue_server, why_new_server
from mqtt_operator.desired import names
from mqtt_operator.desired.inputs import Inputs, ManagedStore
from mqtt_operator.desired.kinds import SECRET
from mqtt_operator.desired.labels import Component
from mqtt_operator.desired.managed_store import dns_names
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import owned_secret
from mqtt_operator.desired.redis_conf import FOLDER
from mqtt_operator.desired.redis_settings import key_prefix
from mqtt_operator.desired.redis_users import user_rules
from mqtt_operator.kube.port import Kube
from mqtt_operator.reconcile.material import Generation, Making, Material, advanced, decode_material, encode_material
from mqtt_operator.reconcile.ownership import require_ours
from mqtt_operator.reconcile.problems import MendError

ROTATE_ANNOTATION = f"{keys.GROUP}/rotate-store-credentials"
"""Another value than the last time asks for new passwords and certificates of the managed store."""
MATERIAL_KEY = "material.json"
PASSWORD_BYTES = 32


def material_secret(broker: str) -> str:
    """The Secret that everything else about the managed store is made of. Nobody mounts it."""
    return f"{broker}-store-material"


async def ensure_material(
    kube: Kube, broker: MQTTBroker, inputs: Inputs, now: datetime, is_told: Callable[[Material], bool]
) -> Material:
    """Read it, make it if there is none, take the next step of a replacement if it is time; kept, then returned.

    `is_told`: whether the running server agrees with it. Idempotent. Raises MendError if a Secret of that name is
    somebody else's, or cannot be read; KubeError.
    """
    name, namespace = material_secret(broker.metadata.name), broker.metadata.namespace
    found = await kube.get(SECRET, namespace, name)
    kept = None if found is None else _read(found, broker)
    asked = broker.metadata.annotations.get(ROTATE_ANNOTATION, "")
    told = kept is not None and is_told(kept)
    material = advanced(kept, asked, now, _making(broker, inputs, now), is_told=told)
    if material is kept:
        return material
    manifest = owned_secret(broker, inputs, name, {MATERIAL_KEY: encode_material(material)}, component=Component.STORE)
    if found is None:
        await kube.create(manifest)
    else:
        version = {"uid": found["metadata"]["uid"], "resourceVersion": found["metadata"]["resourceVersion"]}
        await kube.apply({**manifest, "metadata": {**manifest["metadata"], **version}})
    return material


async def read_material(kube: Kube, broker: MQTTBroker) -> Material | None:
    """As it is kept; None: there is none yet. Raises MendError and KubeError as `ensure_material` does."""
    found = await kube.get(SECRET, broker.metadata.namespace, material_secret(broker.metadata.name))
    return None if found is None else _read(found, broker)


class Told(Struct, frozen=True):
    """What a running server has been told: `run` tells its starts apart."""

    run: str
    users: int
    serial: int


class LiveStores:
    """What the managed stores have been told, by uid of their broker; told again after each restart of either side."""

    def __init__(
        self,
        users: Callable[..., None] = set_users,
        reload: Callable[..., None] = reload_certificate,
        served: Callable[..., bytes] = served_certificate,
    ) -> None:
        self._told: dict[str, Told] = {}
        self._users, self._reload, self._served = users, reload, served

    async def tell(self, broker: MQTTBroker, admin: RedisSettings, managed: ManagedStore, run: str) -> bool:
        """Make the running server agree with the files it will start with the next time. True: it does by now.

        False: its certificate is on its way to its pod. Raises SharedStoreError.
        """
        uid = broker.metadata.uid or ""
        wanted = _wanted(broker, managed, run)
        told = self._told.get(uid)
        if told == wanted:
            return True
        if told is None or (told.run, told.users) != (wanted.run, wanted.users):
            await asyncio.to_thread(self._users, admin, user_rules(StoreKeys(key_prefix(broker)), managed))
        self._told[uid] = Told(run, wanted.users, await self._certificate(admin, wanted.serial))
        return self._told[uid] == wanted

    def agrees(self, broker: MQTTBroker, managed: ManagedStore) -> bool:
        """The running server was told all of this."""
        told = self._told.get(broker.metadata.uid or "")
        return told is not None and told == _wanted(broker, managed, told.run)

    def forget(self, uid: str) -> None:
        """The broker is gone."""
        self._told.pop(uid, None)

    async def _certificate(self, admin: RedisSettings, wanted: int) -> int:
        """The serial that is served in the end."""
        serving = x509.load_der_x509_certificate(await asyncio.to_thread(self._served, admin)).serial_number
        if serving == wanted:
            return serving
        await asyncio.to_thread(self._reload, admin, f"{FOLDER}/{names.CERTIFICATE_KEY}")
        return x509.load_der_x509_certificate(await asyncio.to_thread(self._served, admin)).serial_number


def _read(found: Manifest, broker: MQTTBroker) -> Material:
    require_ours(found, broker)
    try:
        return decode_material(msgspec.convert(found["data"][MATERIAL_KEY], bytes))
    except (KeyError, msgspec.MsgspecError):
        sentence = (
            f"Secret {found['metadata']['name']} does not hold the material of the store any more: bring it back, or "
            "delete it and the store's pod for a new one."
        )
        raise MendError(Reason.INVALID_CONTENT, sentence) from None


def _making(broker: MQTTBroker, inputs: Inputs, now: datetime) -> Making:
    hosts = dns_names(broker, inputs)

    def generation() -> Generation:
        ca = issue_ca(f"{broker.reference} store", now)
        passwords = {who: secrets.token_urlsafe(PASSWORD_BYTES) for who in ("node", "operator", "admin")}
        return Generation(ca_certificate=ca.certificate.decode(), ca_key=ca.key.decode(), **passwords)

    def server(ca: KeyPair) -> KeyPair:
        return issue_server(ca, hosts, now)

    def why_new(server: KeyPair, ca: KeyPair) -> str | None:
        return why_new_server(server, ca, hosts, now)

    return Making(generation, server, why_new)


def _wanted(broker: MQTTBroker, managed: ManagedStore, run: str) -> Told:
    rules = user_rules(StoreKeys(key_prefix(broker)), managed)
    serial = x509.load_pem_x509_certificate(managed.certificate).serial_number
    return Told(run, hash(tuple(rules.items())), serial)
