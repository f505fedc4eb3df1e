"""Whether a namespace ends is asked where a finalizer holds a broker, and nowhere else."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from mqtt_operator.desired import kinds
from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import Call, ForbiddenError
from mqtt_operator.reconcile.ending_namespaces import LONG_AGO, EndingNamespaces
from mqtt_operator.reconcile.registry import Registry
from unit.mqtt_operator.reconcile.documents import broker

SINCE = datetime(2026, 1, 31, 12, tzinfo=UTC)
HELD: dict[str, Any] = {"metadata__finalizers": ["mqtt.stoa.dev/finalizer"]}


class Cluster:
    """Namespaces, by name; those that are not there are gone."""

    def __init__(self) -> None:
        self.namespaces: dict[str, Manifest] = {name: {"metadata": {"name": name}} for name in ("mqtt", "team")}
        self.asked: list[str] = []
        self.problem: ForbiddenError | None = None

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        assert (kind, namespace) == (kinds.NAMESPACE, "")
        self.asked.append(name)
        if self.problem is not None:
            raise self.problem
        return self.namespaces.get(name)

    def end(self, name: str) -> None:
        self.namespaces[name]["metadata"]["deletionTimestamp"] = SINCE.strftime("%Y-%m-%dT%H:%M:%SZ")


async def look(cluster: Any, registry: Registry, times: int = 1) -> None:
    """So many looks, without the time between them."""
    left = times

    async def sleep(_: float) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await EndingNamespaces(cluster, registry, sleep=sleep).run()


async def test_only_namespaces_of_brokers_that_are_held_are_asked_about() -> None:
    cluster, registry = Cluster(), Registry()
    registry.see(broker(metadata__namespace="team"))
    await look(cluster, registry)
    assert cluster.asked == []
    registry.see(broker(**HELD))
    await look(cluster, registry)
    assert cluster.asked == ["mqtt"]
    assert registry.ending_since("mqtt") is None


@pytest.mark.parametrize("gone", [False, True])
async def test_one_that_is_being_deleted_stays_known_when_nothing_holds_a_broker_in_it_any_more(*, gone: bool) -> None:
    """Else the finalizer would be put on again."""
    cluster, registry = Cluster(), Registry()
    registry.see(broker(**HELD))
    cluster.end("mqtt")
    if gone:
        del cluster.namespaces["mqtt"]
    since = LONG_AGO if gone else SINCE
    await look(cluster, registry)
    assert registry.ending_since("mqtt") == since
    registry.see(broker())
    await look(cluster, registry)
    assert registry.ending_since("mqtt") == since
    registry.forget(broker())
    await look(cluster, registry)
    assert registry.ending_since("mqtt") is None  # another one of this name may come


async def test_without_an_answer_it_is_as_it_was_known_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    cluster, registry = Cluster(), Registry()
    registry.see(broker(**HELD))
    cluster.problem = ForbiddenError(Call("get", "", "namespaces"), "mqtt")
    await look(cluster, registry, times=3)
    assert registry.ending_since("mqtt") is None
    assert caplog.text.count("may not get namespaces") == 1
    registry.see_ending({"mqtt": SINCE})  # and then our rights went as well
    await look(cluster, registry)
    assert registry.ending_since("mqtt") == SINCE
