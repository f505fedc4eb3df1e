"""The framework as we tune it: what it writes into objects, and what it asks for."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import AsyncMock, Mock

import kopf
import pytest

from mqtt_operator.handlers.access import Accesses
from mqtt_operator.handlers.framework import END, BrokerStories, Framework, NoDiffBase, connection_info, tuned
from mqtt_operator.kube.port import Call, ForbiddenError
from mqtt_operator.kube.session import Login
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.seen import BOOKKEEPING
from support.waiting import eventually

LOGIN = Login("https://api:6443", "/ca.crt", "opensesame", None, None, verify=True, proxy=None)


def test_its_notes_are_under_our_name_and_it_keeps_no_copy_of_what_it_saw() -> None:
    persistence = tuned().persistence
    assert persistence.finalizer == "mqtt.stoa.dev/finalizer"
    assert isinstance(persistence.diffbase_storage, NoDiffBase)
    storage = persistence.progress_storage
    assert isinstance(storage, kopf.AnnotationsProgressStorage)
    patch = kopf.Patch()
    body = kopf.Body({"metadata": {}, "spec": {"password": "opensesame"}})
    storage.store(key=END, record={"started": "now"}, body=body, patch=patch)  # type: ignore[arg-type]
    storage.touch(body=body, patch=patch, value="now")
    persistence.diffbase_storage.store(body=body, patch=patch, essence=persistence.diffbase_storage.build(body=body))
    assert patch["metadata"]["annotations"].keys() <= BOOKKEEPING  # which wakes no story
    assert "opensesame" not in str(patch)
    assert persistence.diffbase_storage.fetch(body=body) is None


def test_it_posts_no_events_and_looks_for_no_kinds_and_no_namespaces() -> None:
    """Each of them would need rights that nothing else here does."""
    settings = tuned()
    assert not settings.posting.enabled
    assert not settings.posting.loggers
    assert settings.scanning.disabled


def test_nothing_that_it_waits_for_is_waited_for_without_end() -> None:
    settings = tuned()
    waits = [
        settings.networking.request_timeout,
        settings.networking.connect_timeout,
        settings.watching.connect_timeout,
        settings.watching.server_timeout,
        settings.watching.inactivity_timeout,
        settings.background.instant_exit_timeout,
    ]
    assert None not in waits
    assert settings.watching.inactivity_timeout >= 75  # bookmarks come once a minute


@pytest.mark.parametrize("verify", [True, False])
def test_it_logs_in_as_whoever_we_are(verify: bool) -> None:
    info = connection_info(LOGIN._replace(verify=verify, certificate_file="/tls.crt", key_file="/tls.key"))
    assert (info.server, info.ca_path, info.token) == ("https://api:6443", "/ca.crt", "opensesame")
    assert (info.certificate_path, info.private_key_path, info.insecure) == ("/tls.crt", "/tls.key", not verify)


async def test_it_handles_nothing_but_the_end_of_brokers() -> None:
    """A daemon would hold every broker by the finalizer."""
    registry = framework(Accesses(Mock(), ("mqtt",)))._registry(asyncio.get_running_loop())
    assert not registry._spawning.get_all_handlers()
    assert not registry._watching.get_all_handlers()
    assert not registry._indexing.get_all_handlers()
    (handler,) = registry._changing.get_all_handlers()
    assert (handler.id, handler.reason, handler.requires_finalizer) == (END, kopf.Reason.DELETE, True)
    assert handler.when is not None


class Kopf:
    """In kopf's place. `problem`: it gives up at once. `ends`: keys whose end it asks for."""

    def __init__(self, *ends: str) -> None:
        self.problem: Exception | None = None
        self.ends = ends
        self.begun: list[tuple[str, ...]] = []
        self.threads: list[threading.Thread] = []
        self.now: tuple[str, ...] | None = None

    async def operator(
        self,
        *,
        registry: kopf.OperatorRegistry,
        namespaces: tuple[str, ...],
        clusterwide: bool,
        stop_flag: asyncio.Event,
        **_: object,
    ) -> None:
        assert clusterwide == (not namespaces)
        self.begun.append(namespaces)
        self.threads.append(threading.current_thread())
        if self.problem is not None:
            raise self.problem
        self.now = namespaces
        ends = [asyncio.create_task(end_of(registry)(namespace="mqtt", name=name)) for name in self.ends]
        await stop_flag.wait()
        self.now = None
        for task in ends:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)


class EndlessStories:
    """Ends that are never over."""

    def __init__(self) -> None:
        self.loops: list[object] = []
        self.cancelled = 0

    def holds(self, namespace: str, spec: Mapping[str, Any]) -> bool:
        return True

    async def end(self, key: BrokerKey) -> None:
        self.loops.append(asyncio.get_running_loop())
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1


def end_of(registry: kopf.OperatorRegistry) -> Any:
    (handler,) = registry._changing.get_all_handlers()
    return handler.fn


def framework(accesses: Accesses, stories: BrokerStories | None = None) -> Framework:
    return Framework(accesses, login=AsyncMock(), stories=stories or Mock())


def forbid(accesses: Accesses, namespace: str, *, is_so: bool = True) -> None:
    """As the access finds out."""
    access = accesses.of(namespace)
    assert access is not None
    access._note(ForbiddenError(Call("list", "", "mqttbrokers"), namespace) if is_so else None)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Kopf:
    fake = Kopf()
    monkeypatch.setattr(kopf, "operator", fake.operator)
    return fake


@pytest.fixture
def accesses() -> Accesses:
    return Accesses(Mock(), ("mqtt", "team"))


@asynccontextmanager
async def running(framework: Framework) -> AsyncIterator[None]:
    task = asyncio.create_task(framework.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_runs_in_a_thread_of_its_own_and_nothing_of_it_is_left(fake: Kopf, accesses: Accesses) -> None:
    fake.ends = ("plant",)
    stories = EndlessStories()
    async with running(framework(accesses, stories)):
        await eventually(lambda: stories.loops)
        assert fake.now == ("mqtt", "team")
        assert stories.loops == [asyncio.get_running_loop()]
    assert fake.threads != [threading.current_thread()]
    await eventually(lambda: not any(thread.is_alive() for thread in fake.threads))
    await eventually(lambda: stories.cancelled == 1)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_it_is_begun_anew_for_the_namespaces_that_are_served(fake: Kopf, accesses: Accesses) -> None:
    async with running(framework(accesses)):
        await eventually(lambda: fake.now == ("mqtt", "team"))
        forbid(accesses, "team")
        await eventually(lambda: fake.now == ("mqtt",))
        forbid(accesses, "mqtt")
        await eventually(lambda: fake.now is None)
        forbid(accesses, "team", is_so=False)
        await eventually(lambda: fake.now == ("team",))
    assert fake.begun == [("mqtt", "team"), ("mqtt",), ("team",)]
    await eventually(lambda: not any(thread.is_alive() for thread in fake.threads))


async def test_an_operator_of_the_whole_cluster_names_no_namespace(fake: Kopf) -> None:
    async with running(framework(Accesses(Mock(), ()))):
        await eventually(lambda: fake.begun == [()])


async def test_when_it_gives_up_that_is_told_once_and_it_is_begun_anew(
    fake: Kopf, accesses: Accesses, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqtt_operator.handlers.framework.AGAIN_S_MIN", 0.001)
    doubted = Mock()
    monkeypatch.setattr(accesses, "doubt", doubted)
    fake.problem = RuntimeError("a watch is forbidden")
    async with running(framework(accesses)):
        await eventually(lambda: len(fake.begun) >= 3)
        fake.problem = None
        await eventually(lambda: fake.now)
    (record,) = caplog.records
    assert "kopf gave up: RuntimeError: a watch is forbidden." in record.getMessage()
    assert doubted.call_count >= 3  # it may be that we were refused
