"""What the node knows of itself beyond its counters, also when the store or the system does not tell."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from mqtt_broker.node import readings
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.metrics import NodeCollector
from mqtt_broker.store.ports import Kept, StoreUnavailable
from support.inprocess import InProcessNode


class _Store:
    async def kept(self) -> Kept:
        return Kept(2, 30)


class _Unavailable(_Store):
    async def kept(self) -> Kept:
        raise StoreUnavailable("away")


class _Silent(_Store):
    async def kept(self) -> Kept:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")


class _Hub:
    def __init__(self, store: _Store) -> None:
        self.store = store


async def kept(store: _Store) -> Kept | None:
    return await readings.kept(cast("Hub", _Hub(store)))


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    node = InProcessNode()
    yield node
    node.close()


async def test_what_the_store_holds_is_asked_of_it() -> None:
    assert await kept(_Store()) == Kept(2, 30)


async def test_a_store_that_is_away_or_silent_gives_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "KEPT_S_MAX", 0.0)
    assert await kept(_Unavailable()) is None
    assert await kept(_Silent()) is None


def test_metrics_leave_out_what_the_store_did_not_tell(node: InProcessNode) -> None:
    collector = NodeCollector(node.hub, list)
    about_store = {"stoa_store_messages", "stoa_store_message_bytes"}
    assert not about_store & {metric.name for metric in collector.collect()}
    collector.kept = Kept(2, 30)
    assert about_store <= {metric.name for metric in collector.collect()}


def test_resident_memory_is_told_or_else_the_highest_so_far(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert readings.memory_bytes() > 0
    monkeypatch.setattr(readings, "_STATM", tmp_path / "missing")
    assert readings.memory_bytes() == readings.memory_bytes_max() > 0
