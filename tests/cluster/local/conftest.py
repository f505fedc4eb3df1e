"""A real server with the two users of one broker, for tests of the operator's way to the store."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from cluster.local.places import Place
from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from support.redis_server import RedisServer, ServerOptions
from support.tools import require

_prefixes = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    require("redis-server")
    options = ServerOptions(password="of-the-default-user", appendfsync="always")
    with RedisServer(tmp_path_factory.mktemp("redis") / "server", options) as running:
        yield running


@pytest.fixture
def place(server: RedisServer, tmp_path: Path) -> Place:
    prefix = f"mqtt.local{next(_prefixes)}"
    keys = StoreKeys(prefix)
    settings = []
    for user, rules in ((f"{prefix}-node", keys.broker_rules), (f"{prefix}-operator", keys.operator_rules)):
        password = tmp_path / user
        password.write_text(f"secret-of-{user}\n")
        server.execute("ACL", "SETUSER", user, "on", f">secret-of-{user}", *rules)
        settings.append(
            RedisSettings(addresses=(server.address,), key_prefix=prefix, username=user, password_file=str(password))
        )
    return Place(server, keys, *settings)
