"""Probes, status and metrics over TCP: what is answered, to whom nothing is, and every bound."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from mqtt_api.node_settings import HTTPSettings
from mqtt_api.policy import Policy
from mqtt_broker.node import http_door
from mqtt_broker.node.http_door import CONNECTIONS_MAX, HEAD_BYTES_MAX, Answer, HTTPDoor, text
from support.broker import Broker, get
from support.policies import PASSWORD, open_policy, policy
from support.processes import free_port
from support.waiting import eventually

PAGES = ("/startupz", "/livez", "/readyz", "/status", "/metrics")


async def ask(port: int, request: bytes, *, then_end: bool = False) -> bytes:
    """Everything that is answered until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        if then_end:
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def get_of(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: node\r\n\r\n".encode()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


# A node -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = make(tmp_path_factory.mktemp("node"), policy(users={"p": ()}))
    with broker:
        yield broker
        broker.assert_no_traceback()


def make(folder: Path, rules: Policy | None) -> Broker:
    broker = Broker(folder, rules)
    broker.settings = msgspec.structs.replace(broker.settings, http=HTTPSettings(host="127.0.0.1", port=free_port()))
    return broker


def door_of(broker: Broker) -> int:
    assert broker.settings.http is not None
    return broker.settings.http.port


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_of_the_admin_socket_is_answered_over_tcp_too(node: Broker, path: str) -> None:
    answer = await ask(door_of(node), get_of(path))
    assert status_of(answer) == 200
    body = answer.partition(b"\r\n\r\n")[2]
    here = get(Path(node.settings.admin_socket), path)
    assert body.splitlines()[:1] == here.splitlines()[:1] or path == "/status"
    assert b"Connection: close" in answer


async def test_the_status_names_version_and_readiness_and_no_secret(node: Broker) -> None:
    answer = await ask(door_of(node), get_of("/status"))
    said = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (said["node"], said["ready"], said["lacks"]) == ("node-0", True, "")
    assert said["version"]
    for page in PAGES:
        told = await ask(door_of(node), get_of(page))
        for secret in (PASSWORD, "argon2", str(node.folder)):
            assert secret.encode() not in told


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "get"])
async def test_nothing_but_get_is_answered(node: Broker, method: str) -> None:
    request = f"{method} /status HTTP/1.1\r\nHost: node\r\nContent-Length: 5\r\n\r\nhello".encode()
    answer = await ask(door_of(node), request)
    assert status_of(answer) == 405
    assert b"\r\nAllow: GET\r\n" in answer
    assert b"policy_revision" not in answer


async def test_a_node_without_a_policy_has_started_and_is_not_ready(tmp_path: Path) -> None:
    with make(tmp_path, None) as broker:
        assert status_of(await ask(door_of(broker), get_of("/startupz"))) == 200
        assert status_of(await ask(door_of(broker), get_of("/livez"))) == 200
        answer = await ask(door_of(broker), get_of("/readyz"))
        assert status_of(answer) == 503
        assert b"there is no policy yet" in answer
        broker.apply(open_policy())
        await eventually(lambda: is_ready(broker))


async def is_ready(broker: Broker) -> bool:
    return status_of(await ask(door_of(broker), get_of("/readyz"))) == 200


def test_a_port_that_is_in_use_is_said_and_the_node_ends(node: Broker, tmp_path: Path) -> None:
    other = Broker(tmp_path, open_policy())
    other.settings = msgspec.structs.replace(other.settings, http=node.settings.http)
    program = other.launch()
    assert program.wait() == 1
    assert "probes and metrics cannot be answered" in program.dump()
    other.assert_no_traceback()


# The door -----------------------------------------------------------------------------------------------------------


class Door:
    """One with pages of its own."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.door = HTTPDoor({"/ok": self._ok, "/slow": self._slow, "/broken": self._broken})
        self.port = 0

    async def _ok(self) -> Answer:
        return text("ok")

    async def _slow(self) -> Answer:
        await self.release.wait()
        return text("at last")

    async def _broken(self) -> Answer:
        raise RuntimeError("secret detail")


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    made.port = await made.door.listen_tcp("127.0.0.1", 0)
    yield made
    await made.door.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get_of("/ok"), 200),
        (get_of("/ok?x=1"), 200),
        (b"GET /ok HTTP/1.0\r\n\r\n", 200),
        (get_of("/other"), 404),
        (get_of("/../ok"), 404),
        (b"GET /\xff\xfe HTTP/1.1\r\n\r\n", 404),
        (b"GET /ok\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /ok HTTP/2.0\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00 anything at all\r\n\r\n", 400),
        (b"GET /ok HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n", 431),
        (b"G" * 4 * HEAD_BYTES_MAX, 431),
    ],
)
async def test_a_request_is_answered_by_its_first_line(door: Door, request_: bytes, status: int) -> None:
    answer = await ask(door.port, request_)
    assert status_of(answer) == status
    assert answer.partition(b"\r\n\r\n")[2].endswith(b"\n")


async def test_half_a_request_gets_no_answer_when_it_ends_there(door: Door) -> None:
    assert await ask(door.port, b"GET /ok HT", then_end=True) == b""


async def test_half_a_request_is_waited_for_only_so_long(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_door, "REQUEST_S_MAX", 0.05)
    assert status_of(await ask(door.port, b"GET /ok HT")) == 408


async def test_a_page_that_takes_too_long_is_given_up(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_door, "ANSWER_S_MAX", 0.05)
    assert status_of(await ask(door.port, get_of("/slow"))) == 503


async def test_a_page_that_fails_tells_the_log_and_nobody_else(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    answer = await ask(door.port, get_of("/broken"))
    assert status_of(answer) == 500
    assert b"secret" not in answer
    assert "/broken could not be answered" in caplog.text


async def test_only_so_many_are_served_at_once_and_the_place_of_one_that_ends_is_free(door: Door) -> None:
    waiting = [asyncio.create_task(ask(door.port, get_of("/slow"))) for _ in range(CONNECTIONS_MAX)]
    await eventually(lambda: len(door.door._serving) == CONNECTIONS_MAX)
    assert await ask(door.port, get_of("/ok")) == b""
    door.release.set()
    assert {status_of(answer) for answer in await asyncio.gather(*waiting)} == {200}
    await eventually(lambda: not door.door._serving)
    assert status_of(await ask(door.port, get_of("/ok"))) == 200


async def test_who_does_not_take_the_answer_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_door, "ANSWER_S_MAX", 0.2)

    async def much() -> Answer:
        return Answer(b"x" * 64 * 1024 * 1024)

    door = HTTPDoor({"/much": much})
    port = await door.listen_tcp("127.0.0.1", 0)
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(get_of("/much"))
    await eventually(lambda: bool(door._serving))
    await eventually(lambda: not door._serving)
    writer.transport.abort()
    await door.close()


async def test_a_door_that_closes_ends_what_is_under_way(door: Door) -> None:
    waiting = asyncio.create_task(ask(door.port, get_of("/slow")))
    await eventually(lambda: bool(door.door._serving))
    await door.door.close()
    assert await waiting == b""
