"""The volumes of a node's pod, and where they lie in it: settings, TLS material, log-ins, policy, room to write.

Knows names of entries and paths; does not know any content. Everything but the last two is read-only, and followed by
the node when it changes: content never makes a pod be replaced.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mqtt_api.kinds.common import DataKind, DataRef
from mqtt_api.kinds.mqttbroker import Listener, ListenerTLS
from mqtt_api.kinds.session_store import RedisCredentialsRef, RedisStore
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.manifest import Manifest

GROUP_READS = 0o440
RUN_BYTES_MAX = "1Mi"  # a socket is in it
_SOURCES = {DataKind.SECRET: "secret", DataKind.CONFIG_MAP: "configMap"}


class Volume(NamedTuple):
    """`source` None: the StatefulSet makes the volume, by its template."""

    name: str
    path: str
    source: Manifest | None
    read_only: bool = True

    @property
    def declaration(self) -> Manifest:
        return {"name": self.name, **(self.source or {})}

    @property
    def mount(self) -> Manifest:
        return {"name": self.name, "mountPath": self.path, **({"readOnly": True} if self.read_only else {})}


def node_volumes(broker: MQTTBroker, settings_key: str) -> list[Volume]:
    """All of them. `settings_key`: the entry of the settings ConfigMap that is for this sort of pod."""
    volumes = [_settings(broker, settings_key), *_tls(broker), *_store(broker)]
    return [*volumes, Volume("run", names.RUN_FOLDER, {"emptyDir": {"sizeLimit": RUN_BYTES_MAX}}, read_only=False)]


def secret_volume(name: str, path: str, secret: str, items: dict[str, str]) -> Volume:
    """Some entries of a Secret; `items`: from the entry to the file."""
    content = {"secretName": secret, "defaultMode": GROUP_READS, "items": _items(items)}
    return Volume(name, path, {"secret": content})


def _settings(broker: MQTTBroker, key: str) -> Volume:
    name = names.settings_config_map(broker.metadata.name)
    content = {"name": name, "defaultMode": GROUP_READS, "items": _items({key: names.SETTINGS_KEY})}
    return Volume("settings", names.SETTINGS_FOLDER, {"configMap": content})


def _tls(broker: MQTTBroker) -> Iterator[Volume]:
    for listener in broker.spec.listeners:
        if listener.tls is not None:
            yield from _listener(broker, listener, listener.tls)


def _listener(broker: MQTTBroker, listener: Listener, tls: ListenerTLS) -> Iterator[Volume]:
    items = {key: key for key in (names.CERTIFICATE_KEY, names.PRIVATE_KEY_KEY)}
    secret = tls_secret(broker, listener)
    yield secret_volume(f"tls-{listener.name}", names.tls_folder(listener.name), secret, items)
    if tls.client_ca_refs is not None:
        yield _client_cas(broker, listener)
    if tls.crl is not None:
        source = _source(tls.crl.ref, names.CRL_KEY)
        yield _projected(f"crl-{listener.name}", names.crl_folder(listener.name), [source])


def _client_cas(broker: MQTTBroker, listener: Listener) -> Volume:
    """The same volume, whichever CAs the listener names."""
    items = _items({names.client_cas_key(listener.name): names.CA_KEY})
    content = {"name": names.client_cas(broker.metadata.name), "defaultMode": GROUP_READS, "items": items}
    return Volume(f"client-ca-{listener.name}", names.client_cas_folder(listener.name), {"configMap": content})


def tls_secret(broker: MQTTBroker, listener: Listener) -> str:
    """The Secret with the certificate of this listener: the named one, or the one that is issued for it."""
    ref = None if listener.tls is None else listener.tls.secret_ref
    return names.tls(broker.metadata.name, listener.name) if ref is None else ref.name


def _store(broker: MQTTBroker) -> Iterator[Volume]:
    name, store = broker.metadata.name, broker.spec.session_store
    if store.embedded is not None:
        yield secret_volume(
            "policy", names.POLICY_FOLDER, names.policy_secret(name), {names.POLICY_KEY: names.POLICY_KEY}
        )
        yield Volume(names.DATA_VOLUME, names.DATA_FOLDER, None, read_only=False)
    elif store.redis is not None:
        yield from _redis(store.redis)
    else:
        secret = names.store_credentials(name)
        yield secret_volume("store", names.STORE_FOLDER, secret, {names.PASSWORD_KEY: names.PASSWORD_KEY})
        ca = DataRef(kind=DataKind.SECRET, name=secret, key=names.CA_KEY)
        yield _cas("store-ca", names.STORE_CAS_FOLDER, [ca])


def _redis(redis: RedisStore) -> Iterator[Volume]:
    if redis.credentials_ref is not None:
        yield _password("store", names.STORE_FOLDER, redis.credentials_ref)
    if redis.sentinel_credentials_ref is not None:
        yield _password("sentinel", names.SENTINEL_FOLDER, redis.sentinel_credentials_ref)
    if redis.tls is not None and redis.tls.ca_refs is not None:
        yield _cas("store-ca", names.STORE_CAS_FOLDER, redis.tls.ca_refs)


def _password(name: str, folder: str, ref: RedisCredentialsRef) -> Volume:
    return secret_volume(name, folder, ref.name, {ref.password_key or names.PASSWORD_KEY: names.PASSWORD_KEY})


def _cas(name: str, folder: str, refs: Iterable[DataRef]) -> Volume:
    """Each CA in a folder of its own, by its place in the list."""
    return _projected(name, folder, [_source(ref, f"{number}/{names.CA_KEY}") for number, ref in enumerate(refs)])


def _projected(name: str, folder: str, sources: list[Manifest]) -> Volume:
    return Volume(name, folder, {"projected": {"defaultMode": GROUP_READS, "sources": sources}})


def _source(ref: DataRef, path: str) -> Manifest:
    return {_SOURCES[ref.kind]: {"name": ref.name, "items": _items({ref.key: path})}}


def _items(items: dict[str, str]) -> list[Manifest]:
    return [{"key": key, "path": path} for key, path in items.items()]
