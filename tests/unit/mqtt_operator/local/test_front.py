"""The front's configuration: one entrance for each listener, and a node behind it only while it calls itself ready."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.deploy import Deployment, Site, Surroundings, deploy
from mqtt_operator.local.front import front_configuration, parse_front_line, prepare_front
from mqtt_operator.local.world import World

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def deployment(folder: Any, broker: Any, tmp_path: Path, cheap_hasher: PasswordHasher) -> Deployment:
    listeners = [
        {"name": "mqtts", "port": 8883, "tls": {}},
        {"name": "ws", "port": 9001, "protocol": "WebSocket", "allowPlaintext": True},
    ]
    folder.put("a.yaml", broker(listeners=listeners))
    sites = tuple(Site(admin_socket=Path(f"/my plant/{n}.sock"), port_offset=n + 1) for n in range(2))
    around = Surroundings(host="0.0.0.0", hostname="here", sites=sites, hasher=cheap_hasher, has_front=True)
    data = DataFolder(tmp_path / "data")
    data.root.mkdir()
    return deploy(folder.read(), data, World(id="w"), around, NOW)


def test_each_listener_has_an_entrance_at_its_declared_port_and_all_nodes_behind_it(deployment: Deployment) -> None:
    lines = [line.strip() for line in front_configuration(deployment).splitlines()]
    assert [line for line in lines if line.startswith("bind ")] == ["bind 0.0.0.0:8883", "bind 0.0.0.0:9001"]
    assert [line for line in lines if line.startswith("server ")] == [
        r"server plant-0 127.0.0.1:8884 check addr unix@/my\ plant/0.sock",
        r"server plant-1 127.0.0.1:8885 check addr unix@/my\ plant/1.sock",
        r"server plant-0 127.0.0.1:9002 check addr unix@/my\ plant/0.sock",
        r"server plant-1 127.0.0.1:9003 check addr unix@/my\ plant/1.sock",
    ]
    assert "option httpchk GET /readyz" in lines


def test_without_haproxy_it_says_what_to_install(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExpectedError, match="no haproxy") as refused:
        prepare_front(deployment)
    assert "leave --front out" in refused.value.to_do


@pytest.mark.parametrize(
    ("line", "event", "level"),
    [
        (b"[ALERT]    (7) : Starting frontend mqtts: cannot bind socket\n", "front.line", "error"),
        (b"[WARNING]  (7) : Server mqtts-nodes/plant-1 is DOWN\n", "front.line", "debug"),
        (b'{"level": "info", "event": "guard.started", "message": "started"}\n', "guard.started", "info"),
    ],
)
def test_its_complaints_are_kept_apart_from_its_talk(line: bytes, event: str, level: str) -> None:
    parsed = parse_front_line(line)
    assert parsed is not None
    assert (parsed.event, parsed.level) == (event, level)


def test_an_empty_line_of_it_is_nothing() -> None:
    assert parse_front_line(b"\n") is None
