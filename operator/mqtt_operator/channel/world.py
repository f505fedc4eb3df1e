"""The identity of a store that nodes share: written once, and compared each time the operator begins.

Knows where it stands; does not know when a store may be new: the caller does.
"""

from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel import scripts
from mqtt_operator.channel.connection import connect, explained
from mqtt_operator.channel.terms import Found, Identity


def found_world(settings: RedisSettings, world: str, *, may_be_new: bool) -> Found:
    """Give the store its identity if it has none and may be new; else compare. Atomic.

    If it is ours, whoever began before us can write no more. Raises SharedStoreError.
    """
    keys = StoreKeys(settings.key_prefix)
    with explained(settings), connect(settings) as client:
        answer = scripts.call(client, "found", (keys.world, keys.policy), (world, 1 if may_be_new else 0))
    identity, found, fence, revision = answer
    return Found(identity=Identity(identity.decode()), id=found.decode(), fence=fence, revision=revision)
