"""When an instance of the operator is ready."""

import pytest
from prometheus_client import CollectorRegistry

from mqtt_operator.handlers.health import HealthServer, Readiness


def test_it_is_ready_when_it_waits_for_nothing() -> None:
    readiness = Readiness()
    assert readiness.sentences() == []
    readiness.wait_for("definitions", "The kinds are missing.")
    readiness.wait_for("definitions", "The kinds are old.")
    readiness.wait_for("memory", "Nothing is known.")
    assert readiness.sentences() == ["The kinds are old.", "Nothing is known."]
    readiness.has("definitions")
    readiness.has("definitions")
    assert readiness.sentences() == ["Nothing is known."]


@pytest.mark.parametrize(("waits", "status", "text"), [(False, 200, "ok\n"), (True, 503, "The kinds are missing.\n")])
async def test_a_probe_says_what_it_waits_for(waits: bool, status: int, text: str) -> None:
    readiness = Readiness()
    if waits:
        readiness.wait_for("definitions", "The kinds are missing.")
    server = HealthServer(readiness, CollectorRegistry())
    answer = await server._ready(None)  # type: ignore[arg-type]
    assert (answer.status, answer.text) == (status, text)
    assert (await server._live(None)).status == 200  # type: ignore[arg-type]


async def test_what_a_person_should_know_is_said_and_it_is_ready() -> None:
    readiness = Readiness()
    readiness.remarks = ["Namespace team is not served."]
    answer = await HealthServer(readiness, CollectorRegistry())._ready(None)  # type: ignore[arg-type]
    assert (answer.status, answer.text) == (200, "ok\nNamespace team is not served.\n")


async def test_a_server_that_never_started_can_be_stopped() -> None:
    server = HealthServer(Readiness(), CollectorRegistry())
    await server.stop()
