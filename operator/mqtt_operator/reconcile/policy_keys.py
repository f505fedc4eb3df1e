"""The Secret of a broker with the keys of its verifiers, made once: by them an operator that starts anew finds what was
hashed before. Of an embedded store it holds the verifiers too, as far as there is room.

Knows the entries of that Secret; does not know hashing. Whoever takes it away makes the operator hash everything again,
and nothing else.
"""

import secrets
from collections.abc import Mapping

import msgspec

from mqtt_api.resources import MQTTBroker
from mqtt_api.scram import SALT_KEY_BYTES
from mqtt_operator.credentials.verifiers import KEY_BYTES, Keys, Verifier
from mqtt_operator.desired import names
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.kinds import SECRET
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import owned_secret
from mqtt_operator.kube.port import ConflictError, Kube
from mqtt_operator.reconcile.ownership import require_ours

FINGERPRINT_ENTRY = "fingerprint.key"
SALT_ENTRY = "scram-salt.key"
VERIFIERS_ENTRY = "verifiers.json"
VERIFIERS_BYTES_MAX = 600 * 1024  # a Secret holds 1 MiB


async def load_keys(kube: Kube, broker: MQTTBroker, inputs: Inputs, salt_in_force: bytes) -> Keys:
    """The keys of this broker, made if there are none. `salt_in_force`: that of the policy, b"" = it has none.

    Idempotent. Raises KubeError; MendError if the Secret is somebody else's.
    """
    found = await _secret(kube, broker)
    if found is None:
        try:
            found = await kube.create(_manifest(broker, inputs, _new_keys(salt_in_force), {}))
        except ConflictError:  # another attempt of ours
            found = await _secret(kube, broker)
    keys = None if found is None else _keys(found)
    if keys is None:
        keys = _new_keys(salt_in_force)
        await kube.apply(_manifest(broker, inputs, keys, {}))
    return keys


async def load_cached(kube: Kube, broker: MQTTBroker) -> dict[str, Verifier]:
    """Those of an embedded store. Raises KubeError, MendError."""
    found = await _secret(kube, broker)
    try:
        return msgspec.json.decode(_entries(found or {}).get(VERIFIERS_ENTRY, b"{}"), type=dict[str, Verifier])
    except msgspec.DecodeError:
        return {}


async def keep_cached(
    kube: Kube, broker: MQTTBroker, inputs: Inputs, keys: Keys, verifiers: Mapping[str, Verifier]
) -> None:
    """Raises KubeError. Those for which there is no room are hashed again after a restart."""
    await kube.apply(_manifest(broker, inputs, keys, verifiers))


async def _secret(kube: Kube, broker: MQTTBroker) -> Manifest | None:
    name = names.verifiers_secret(broker.metadata.name)
    found = await kube.get(SECRET, broker.metadata.namespace, name)
    if found is not None:
        require_ours(found, broker)
    return found


def _new_keys(salt_in_force: bytes) -> Keys:
    """SCRAM verifiers of before stay good only with the salts of before."""
    salt = salt_in_force if len(salt_in_force) == SALT_KEY_BYTES else secrets.token_bytes(SALT_KEY_BYTES)
    return Keys(fingerprint=secrets.token_bytes(KEY_BYTES), salt=salt)


def _keys(found: Manifest) -> Keys | None:
    """None if somebody spoilt them."""
    entries = _entries(found)
    fingerprint, salt = entries.get(FINGERPRINT_ENTRY, b""), entries.get(SALT_ENTRY, b"")
    if len(fingerprint) != KEY_BYTES or len(salt) != SALT_KEY_BYTES:
        return None
    return Keys(fingerprint=fingerprint, salt=salt)


def _entries(secret: Manifest) -> dict[str, bytes]:
    return {name: msgspec.convert(text, bytes) for name, text in (secret.get("data") or {}).items()}


def _manifest(broker: MQTTBroker, inputs: Inputs, keys: Keys, verifiers: Mapping[str, Verifier]) -> Manifest:
    content = {FINGERPRINT_ENTRY: keys.fingerprint, SALT_ENTRY: keys.salt}
    if verifiers:
        content[VERIFIERS_ENTRY] = _fitting(verifiers)
    return owned_secret(broker, inputs, names.verifiers_secret(broker.metadata.name), content)


def _fitting(verifiers: Mapping[str, Verifier]) -> bytes:
    """As many as there is room for, the same ones each time."""
    lines: list[bytes] = []
    length = 2
    for name in sorted(verifiers):
        entry = b"%b:%b" % (msgspec.json.encode(name), msgspec.json.encode(verifiers[name]))
        length += len(entry) + 1
        if length > VERIFIERS_BYTES_MAX:
            break
        lines.append(entry)
    return b"{%b}" % b",".join(lines)
