"""A place of its own on a server that several tests use."""

from msgspec import Struct

from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from support.redis_server import RedisServer


class Place(Struct, frozen=True):
    """A prefix of its own on the server, and how nodes and operator log in there."""

    server: RedisServer
    keys: StoreKeys
    node: RedisSettings
    operator: RedisSettings
