"""Verifiers of passwords in the store, by fingerprint: an operator that starts anew finds them there.

Knows how they lie beside the policy, where nodes may read and only the operator may write; does not know hashing.
Whoever reads them learns no more than from the policy: what a fingerprint stands for only the holder of its key knows.
"""

from collections.abc import Collection, Mapping
from itertools import islice

from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel.connection import connect, explained

VERIFIERS_KEY = "verifiers"  # where a part's digest stands: it has 64 characters, this has not
ENTRIES_PER_CALL_MAX = 2_000  # some 500 KiB


def read_verifiers(settings: RedisSettings) -> dict[str, bytes]:
    """All of them. Raises SharedStoreError."""
    found: dict[str, bytes] = {}
    with explained(settings), connect(settings) as client:
        for name, value in client.hscan_iter(_key(settings), count=ENTRIES_PER_CALL_MAX):
            found[name.decode("ascii", "replace")] = value
    return found


def change_verifiers(settings: RedisSettings, added: Mapping[str, bytes], gone: Collection[str]) -> None:
    """Idempotent. Raises SharedStoreError; some of it may be done then."""
    key = _key(settings)
    adding, going = iter(added.items()), iter(gone)
    with explained(settings), connect(settings) as client:
        while some := dict(islice(adding, ENTRIES_PER_CALL_MAX)):
            client.hset(key, mapping=some)
        while names := list(islice(going, ENTRIES_PER_CALL_MAX)):
            client.hdel(key, *names)


def _key(settings: RedisSettings) -> str:
    return StoreKeys(settings.key_prefix).policy_part(VERIFIERS_KEY)
