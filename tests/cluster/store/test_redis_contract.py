"""The Redis store keeps the contract of every store, on Redis and on Valkey."""

from collections.abc import AsyncIterator, Iterator

import pytest

from cluster.store.servers import RedisWorld, redis_server, running, valkey_server
from support.redis_server import RedisServer
from unit.mqtt_broker.store.contract import StoreContract
from unit.mqtt_broker.store.contract_durable import DurableStoreContract


class _OnAServer(StoreContract, DurableStoreContract):
    @pytest.fixture
    async def world(self, server: RedisServer) -> AsyncIterator[RedisWorld]:
        world = RedisWorld(server)
        yield world
        await world.close()


class TestOnRedis(_OnAServer):
    @pytest.fixture(scope="class")
    @staticmethod
    def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
        yield from running(redis_server(tmp_path_factory.mktemp("redis")))


class TestOnValkey(_OnAServer):
    @pytest.fixture(scope="class")
    @staticmethod
    def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
        yield from running(valkey_server(tmp_path_factory.mktemp("valkey")))
