"""The embedded store keeps the contract of every store: in a file, and in memory but for restarts."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from mqtt_broker.store.embedded import EmbeddedStore
from unit.mqtt_broker.store.contract import StoreContract
from unit.mqtt_broker.store.contract_durable import DurableStoreContract
from unit.mqtt_broker.store.harness import Clock, World


@pytest.fixture
async def file_world(tmp_path: Path) -> AsyncIterator[World]:
    clock = Clock()
    world = World(clock, partial(EmbeddedStore.open, f"sqlite:{tmp_path / 'store.db'}", clock))
    yield world
    await world.close()


@pytest.fixture
async def memory_world() -> AsyncIterator[World]:
    clock = Clock()
    world = World(clock, partial(EmbeddedStore.open, "sqlite::memory:", clock))
    yield world
    await world.close()


class TestInAFile(StoreContract, DurableStoreContract):
    @pytest.fixture
    def world(self, file_world: World) -> World:
        return file_world


class TestInMemory(StoreContract):
    @pytest.fixture
    def world(self, memory_world: World) -> World:
        return memory_world
