"""The quickstart, as a newcomer meets it: one command, a TLS broker with default deny, a fleet, and live changes."""

import asyncio
import shutil
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mqtt_broker.wire.packets import Properties
from mqtt_broker.wire.reasons import ReasonCode
from support.certificates import trusting
from support.client import Client, dial
from support.processes import ROOT, Program, environment, free_port, run
from support.up import Up, stoa
from support.waiting import eventually, wait_until

QUICKSTART = ROOT / "manifests" / "samples" / "quickstart"
NAMESPACE = "mqtt"
COMMENTED_RULE = """\
  # - name: stop-neighbour
  #   effect: Allow
  #   activity: Publish
  #   topics: ["plant/pump-8/stop"]
"""


def replace(path: Path, old: str, new: str) -> None:
    """Edit a file as an editor does: write beside it and rename."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path} does not hold:\n{old}"
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text.replace(old, new), encoding="utf-8")
    beside.replace(path)


def quickstart_copy(folder: Path) -> tuple[Path, int]:
    """The quickstart on a port of its own."""
    port = free_port()
    copy = folder / "quickstart"
    shutil.copytree(QUICKSTART, copy)
    replace(copy / "broker.yaml", "port: 8883", f"port: {port}")
    return copy, port


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    copy, _ = quickstart_copy(tmp_path)
    with Up(copy, tmp_path / "data") as running:
        yield running


async def log_in(up: Up, name: str, client_id: str | None = None) -> Client:
    """With the credentials as they were issued, files and all."""
    secret = f"{name}-mqtt"
    ca_file = up.data / "secrets" / NAMESPACE / secret / "ca.crt"
    async with AsyncExitStack() as refused:
        client = await dial(int(up.credential(secret, "port", NAMESPACE)), tls=trusting(ca_file))
        await refused.enter_async_context(client)
        answer = await client.connect(
            client_id or name,
            username=up.credential(secret, "username", NAMESPACE),
            password=up.credential(secret, "password", NAMESPACE).encode(),
            properties=Properties(session_expiry_interval=60),
        )
        assert answer.reason is ReasonCode.SUCCESS
        refused.pop_all()
    return client


async def test_an_allowed_publish_arrives_and_a_forbidden_one_is_refused_and_explained(up: Up) -> None:
    async with await log_in(up, "viewer") as viewer, await log_in(up, "pump-7") as pump:
        await viewer.subscribe("plant/#", qos=1)
        assert await pump.publish("plant/pump-7/temperature", b"21.5", qos=1) is ReasonCode.SUCCESS
        assert (await viewer.receive_message()).payload == b"21.5"
        assert await pump.publish("plant/pump-8/stop", b"1", qos=1) is ReasonCode.NOT_AUTHORIZED
        await viewer.expect_silence()
    line = await asyncio.to_thread(up.program.wait_for_line, "DENIED pump-7 publish plant/pump-8/stop")
    assert "none" in line
    await asyncio.to_thread(up.program.wait_for_line, "stoa can-i pump-7 publish plant/pump-8/stop")


async def test_a_deleted_rule_is_gone_within_a_second_and_comes_back_without_a_new_subscribe(up: Up) -> None:
    rule = """\
  - name: watch
    effect: Allow
    activity: Subscribe
    topics: ["plant/#"]
"""
    file = up.folder / "permissions.yaml"
    loop = asyncio.get_running_loop()
    async with await log_in(up, "viewer") as viewer, await log_in(up, "pump-7") as pump:
        await viewer.subscribe("plant/#", qos=1)

        async def heard() -> bool:
            reason = await pump.publish("plant/pump-7/temperature", b"x", qos=1)
            return reason is ReasonCode.SUCCESS

        assert await heard()
        replace(file, rule, "")
        written = loop.time()
        while await heard():
            assert loop.time() - written < 1
        await viewer.ping()
        replace(file, "  rules:\n  # The viewer sees", "  rules:\n" + rule + "  # The viewer sees")
        await eventually(heard)
        await viewer.ping()


async def test_a_new_client_may_connect_and_a_removed_one_is_disconnected(up: Up) -> None:
    file = up.folder / "more.yaml"
    text = (up.folder / "clients.yaml").read_text(encoding="utf-8")
    document = next(part for part in text.split("---\n") if "name: pump-8\n" in part)
    file.write_text(document.replace("pump-8", "pump-9"), encoding="utf-8")
    password = up.data / "secrets" / NAMESPACE / "pump-9-mqtt" / "password"
    await eventually(password.exists)

    async def connected() -> Client | None:
        try:
            return await log_in(up, "pump-9")
        except (AssertionError, OSError, ValueError):
            return None  # the password is written first, the broker learns of it a moment later

    client = await eventually(connected)
    assert client is not None
    async with client:
        file.unlink()
        goodbye = await client.expect_closed()
    assert goodbye is not None
    assert goodbye.reason in (ReasonCode.NOT_AUTHORIZED, ReasonCode.ADMINISTRATIVE_ACTION)


def test_what_is_secret_can_be_read_by_its_owner_only(up: Up) -> None:
    secrets = [path for path in up.data.rglob("*") if path.is_file() and path.name in ("password", "ca.key")]
    assert len(secrets) >= 10
    for path in secrets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert not any(up.credential(f"pump-{n}-mqtt", "password", NAMESPACE) in up.program.dump() for n in range(1, 9))


async def test_credentials_and_sessions_survive_a_restart(up: Up) -> None:
    before = up.credential("viewer-mqtt", "password", NAMESPACE)
    async with await log_in(up, "viewer") as viewer:
        await viewer.subscribe("plant/#", qos=1)
        await viewer.disconnect(properties=Properties(session_expiry_interval=60))
    async with await log_in(up, "pump-1") as pump:
        await pump.publish("plant/pump-1/temperature", b"kept", qos=1)
    assert up.program.stop() == 0
    up.start()
    assert up.credential("viewer-mqtt", "password", NAMESPACE) == before
    ca_file = up.data / "secrets" / NAMESPACE / "viewer-mqtt" / "ca.crt"
    async with await dial(int(up.credential("viewer-mqtt", "port", NAMESPACE)), tls=trusting(ca_file)) as viewer:
        answer = await viewer.connect("viewer", username="viewer", password=before.encode(), clean_start=False)
        assert answer.session_present
        assert (await viewer.receive_message()).payload == b"kept"


def test_a_second_start_on_the_same_data_says_so(up: Up) -> None:
    second = Up(up.folder, up.data).launch()
    assert second.wait() == 1
    assert "Another" in second.dump()
    assert "Traceback" not in second.dump()


def test_two_nodes_without_redis_are_refused_with_advice(tmp_path: Path) -> None:
    program = run(stoa("up", QUICKSTART, "--data", tmp_path / "data", "--nodes", "2"))
    assert program.returncode() == 1
    assert "Redis" in program.dump()
    assert "Traceback" not in program.dump()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    copy, port = quickstart_copy(tmp_path)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        program = run(stoa("up", copy, "--data", tmp_path / "data"))
    assert program.returncode() == 1
    assert str(port) in program.dump()
    assert "Traceback" not in program.dump()


def test_a_mistake_in_the_folder_is_told_by_file_and_field_and_changes_nothing(up: Up) -> None:
    replace(up.folder / "permissions.yaml", "qos: [0, 1]", "qos: [0, 7]")
    line = up.program.wait_for_line("permissions.yaml")
    assert line
    assert up.program.returncode() is None
    validated = run(stoa("validate", up.folder))
    assert validated.returncode() == 1
    assert any("qos" in line for line in validated.lines)


# The fleet and hack/run ----------------------------------------------------------------------------------------------


@pytest.fixture
def hack_run(tmp_path: Path) -> Iterator[Callable[[], tuple[Program, Path]]]:
    """Start ./hack/run with the fleet on a copy of the quickstart."""
    started: list[Program] = []

    def start() -> tuple[Program, Path]:
        copy, _ = quickstart_copy(tmp_path)
        command: list[str | Path] = [ROOT / "hack" / "run", copy, "--data", tmp_path / "data"]
        program = Program(command, environment(STOA_FLEET="on", STOA_VENV=sys.prefix))
        started.append(program)
        program.wait_for_line("READY", deadline_s=60)
        return program, copy

    yield start
    for program in started:
        if program.returncode() is None:
            program.stop()


def test_the_fleets_denial_disappears_when_the_rule_is_added(hack_run: Callable[[], tuple[Program, Path]]) -> None:
    program, copy = hack_run()
    program.wait_for_line("fleet: 8 pumps", deadline_s=30)
    denied = program.wait_for_line("fleet: DENIED pump-7", deadline_s=30)
    assert "0x87" in denied
    replace(copy / "permissions.yaml", COMMENTED_RULE, COMMENTED_RULE.replace("  # ", "  "))
    program.wait_for_line("fleet: allowed pump-7", deadline_s=30)
    assert sum("fleet: DENIED" in line for line in program.lines) == 1


@pytest.mark.parametrize(
    ("arguments", "words"), [([], "Another `stoa up` uses this data folder"), (["--nonsense"], "No such option")]
)
def test_a_second_run_that_cannot_start_leaves_the_first_alone(
    hack_run: Callable[[], tuple[Program, Path]], arguments: list[str], words: str
) -> None:
    """Neither does it bring a fleet of its own, whose devices would take the place of the first one's."""
    first, copy = hack_run()
    first.wait_for_line("fleet: 8 pumps", deadline_s=30)
    log = copy.parent / "data" / "fleet.log"
    log.write_text("of the first\n", encoding="utf-8")
    command: list[str | Path] = [ROOT / "hack" / "run", copy, "--data", copy.parent / "data", *arguments]
    second = run(command, env=environment(STOA_FLEET="on", STOA_VENV=sys.prefix))
    assert second.returncode() not in (0, None)
    assert any(words in line for line in second.lines), second.dump()
    assert not any("fleet:" in line for line in second.lines), second.dump()
    assert log.read_text(encoding="utf-8") == "of the first\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_stays_behind(hack_run: Callable[[], tuple[Program, Path]], number: signal.Signals) -> None:
    program, _ = hack_run()
    program.wait_for_line("fleet: 8 pumps", deadline_s=30)
    family = descendants(program.pid)
    assert len(family) >= 2
    program.signal(number)
    assert program.wait() == 0
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), what=f"{family} to be gone")


def descendants(pid: int) -> list[int]:
    """The process ids below this one."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text(encoding="ascii").split():
            found += [int(child), *descendants(int(child))]
    return found
