"""What people see of a running broker, on a screen and as lines."""

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from rich.console import Console

from mqtt_api.node_settings import RedisTLSSettings
from mqtt_operator.cli import view
from mqtt_operator.cli.plain import PlainReporter
from mqtt_operator.cli.screen import REFUSALS_PER_STATUS_MAX, ScreenReporter
from mqtt_operator.credentials.certificates import issue_ca
from mqtt_operator.desired.redis_settings import RedisPlace
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.deploy import Deployment, Site, Surroundings
from mqtt_operator.local.deploy import deploy as deploy_step
from mqtt_operator.local.node_events import NodeEvent
from mqtt_operator.local.node_status import NodeStatus
from mqtt_operator.local.reconciler import Options, Reconciler
from mqtt_operator.local.world import World

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FOLDER = Path("my plant")
DENIAL = NodeEvent(
    ts="2026-01-01T12:34:56.789Z",
    event="authz.denied",
    message="DENIED pump-7 publish plant/[red]/x  rule: none (default deny)",
    fields={"client_id": "pump-7", "username": "pump-7", "action": "publish", "topic": "plant/[red]/x", "qos": 1},
)
READY = NodeEvent(event="node.ready", message="ready")


@pytest.fixture
def deploy(folder: Any, tmp_path: Path, cheap_hasher: PasswordHasher) -> Callable[[], Deployment]:
    def make() -> Deployment:
        data = DataFolder(tmp_path / "data")
        data.root.mkdir()
        reconciler = Reconciler(
            Options(folder=folder.path),
            data,
            [Site(admin_socket=tmp_path / "s")],
            now=lambda: datetime.now(UTC),
            hasher=cheap_hasher,
        )
        return reconciler.start(folder.read())

    return make


@pytest.fixture
def deployment(folder: Any, broker: Any, client: Any, permission: Any, deploy: Callable[[], Deployment]) -> Deployment:
    folder.put("a.yaml", broker(), client(), permission(), {"kind": "Deployment", "metadata": {"name": "x"}})
    return deploy()


def test_the_header_names_listeners_ca_policy_and_data(deployment: Deployment, tmp_path: Path) -> None:
    rows = dict(view.header(deployment))
    assert "mqtts  mqtts://127.0.0.1:8883  TLS1.2+, valid until" in rows["listener"]
    assert rows["CA"].startswith(f"{tmp_path / 'data' / 'ca' / 'ca.crt'}  SHA-256 ")
    assert rows["policy"] == "revision 1: 1 client, 1 rule"
    assert rows["data"] == str(tmp_path / "data")


def test_several_nodes_are_listed_with_their_ports_and_their_store(
    folder: Any, broker: Any, client: Any, permission: Any, tmp_path: Path, cheap_hasher: PasswordHasher
) -> None:
    folder.put("a.yaml", broker(), client(), permission())
    data = DataFolder(tmp_path / "data")
    data.root.mkdir()
    sites = tuple(Site(admin_socket=tmp_path / f"{n}", port_offset=n + 1) for n in range(2))
    around = Surroundings(host="::", hostname="here", sites=sites, hasher=cheap_hasher, has_front=True)
    place = RedisPlace(addresses=("a:1", "b:2"), master_name="main", tls=RedisTLSSettings())
    made = deploy_step(folder.read(), data, World(id="w"), around, NOW, place)
    rows = view.header(made)
    assert [text for label, text in rows if label == "node"] == [
        "plant-0  mqtts [::]:8884",
        "plant-1  mqtts [::]:8885",
    ]
    assert dict(rows)["store"] == "Redis at a:1, b:2, primary main as these sentinels say, TLS, durability Disk"
    assert "mqtts://[::]:8883" in dict(rows)["listener"]
    assert {node.settings.server_reference for node in made.nodes} == {"here:8883"}
    (line, *_) = [line for hint in view.what_to_type(made) for line in hint.lines]
    assert "-p 8883 " in line


def test_a_web_socket_listener_is_shown_as_an_address_for_web_sockets(
    folder: Any, broker: Any, deploy: Callable[[], Deployment]
) -> None:
    web = {"name": "wss", "port": 8084, "tls": {}, "protocol": "WebSocket", "webSocket": {"path": "/mqtt"}}
    folder.put("a.yaml", broker(listeners=[{**web, "proxyProtocol": {"trustedCIDRs": ["10.0.0.0/8"]}}]))
    assert "wss  wss://127.0.0.1:8084/mqtt  behind a PROXY header  TLS1.2+" in dict(view.header(deploy()))["listener"]


def test_plain_text_is_called_by_its_name(
    folder: Any, broker: Any, permission: Any, deploy: Callable[[], Deployment]
) -> None:
    folder.put(
        "a.yaml",
        broker(
            authentication=[{"name": "anyone", "type": "Anonymous"}],
            listeners=[{"name": "mqtt", "port": 1883, "allowPlaintext": True}],
        ),
        permission(subjects=[{"kind": "Anonymous"}], rule={"activity": "All", "topics": ["#"]}),
    )
    deployment = deploy()
    assert "PLAIN TEXT" in dict(view.header(deployment))["listener"]
    assert [hint.title for hint in view.what_to_type(deployment)][:2] == ["subscribe as anybody", "publish as anybody"]


def test_where_scram_alone_is_spoken_that_is_what_is_told(
    folder: Any, broker: Any, client: Any, permission: Any, deploy: Callable[[], Deployment]
) -> None:
    listeners = [{"name": "mqtt", "port": 1883, "allowPlaintext": True}]
    chain = [{"name": "scram", "type": "SCRAM"}]
    folder.put("a.yaml", broker(authentication=chain, listeners=listeners), client(), permission())
    (hint,) = view.what_to_type(deploy())
    assert hint.title.startswith("log in by SCRAM as pump-7")


def test_where_certificates_are_asked_for_that_is_what_is_told(
    folder: Any, broker: Any, client: Any, permission: Any, deploy: Callable[[], Deployment]
) -> None:
    ca = {"kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": issue_ca("x", NOW).certificate.decode()}}
    tls = {"clientAuth": "Required", "clientCARefs": [{"kind": "ConfigMap", "name": "ca", "key": "ca.crt"}]}
    listeners = [{"name": "mqtts", "port": 8883, "tls": tls}]
    chain = [{"name": "devices", "type": "X509"}]
    credentials = {"certificates": [{"match": {"issuer": "CN=ca", "commonName": "cn-7"}}]}
    folder.put(
        "a.yaml",
        broker(authentication=chain, listeners=listeners),
        client(credentials=credentials),
        permission(rule={"topics": ["p/${cert.cn}"]}),
        ca,
    )
    (line,) = [line for hint in view.what_to_type(deploy()) for line in hint.lines if line.startswith("mosquitto_pub")]
    assert "--cert '<certificate file of pump-7>'" in line
    assert "-t p/cn-7 " in line


def test_a_listener_without_client_certificates_is_told_first(
    folder: Any, broker: Any, client: Any, permission: Any, deploy: Callable[[], Deployment]
) -> None:
    listeners = [
        {"name": "mqtt", "port": 1883, "allowPlaintext": True},
        {"name": "mqtts", "port": 8883, "tls": {}},
    ]
    folder.put("a.yaml", broker(listeners=listeners), client(), permission())
    hints = view.what_to_type(deploy())
    assert all("-p 8883" in line for hint in hints for line in hint.lines if line.startswith("mosquitto"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "stoa can-i pump-7 publish a/b -f 'my plant'"),
        ({"qos": 2, "retain": True}, "stoa can-i pump-7 publish a/b --qos 2 --retain -f 'my plant'"),
        ({"action": "will"}, "stoa can-i pump-7 publish a/b -f 'my plant'"),
        ({"action": "receive", "retain": True}, "stoa can-i pump-7 subscribe a/b -f 'my plant'"),
        ({"action": "subscribe", "group": "w"}, "stoa can-i pump-7 subscribe a/b --share w -f 'my plant'"),
        ({"username": "", "client_id": "x"}, "stoa can-i anonymous publish a/b --client-id x -f 'my plant'"),
        ({"topic": "$(rm -rf /)"}, "stoa can-i pump-7 publish '$(rm -rf /)' -f 'my plant'"),
        ({"action": "connect"}, None),
        ({"topic": None}, None),
    ],
)
def test_a_denial_comes_with_the_question_that_explains_it(fields: dict[str, Any], expected: str | None) -> None:
    usual = {"client_id": "pump-7", "username": "pump-7", "action": "publish", "topic": "a/b"}
    assert view.ask_about(NodeEvent(event="authz.denied", fields={**usual, **fields}), FOLDER) == expected


def test_rates_are_per_second_and_none_after_a_restart() -> None:
    before = NodeStatus(messages_received=100, messages_sent=1000)
    after = NodeStatus(messages_received=150, messages_sent=1200)
    assert view.rates(before, after, 2.0) == view.Rates(received=25.0, sent=100.0)
    assert (
        view.rates(after, before, 2.0) == view.rates(None, after, 2.0) == view.rates(before, after, 0.0) == view.Rates()
    )


def test_the_time_of_an_event_is_its_own() -> None:
    assert view.clock(DENIAL) == "12:34:56"
    assert len(view.clock(NodeEvent())) == len("12:34:56")


def test_lines_for_a_start_a_denial_a_change_and_a_refused_change(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = PlainReporter(FOLDER)
    reporter.event(READY)
    reporter.ready(deployment, READY)
    reporter.event(DENIAL)
    reporter.status(NodeStatus())
    reporter.changed(deployment, "Applied: policy revision 2.")
    reporter.refused(ExpectedError("1 mistake in the files:", where="a.yaml:3: spec.x: is wrong"))
    reporter.event(NodeEvent(level="error", event="node.stderr", message="ouch"))
    reporter.stopping()
    out, err = capsys.readouterr()
    assert out.count("READY default/plant") == 1
    assert "mosquitto_pub -h localhost -p 8883" in out
    assert "12:34:56 DENIED pump-7 publish plant/[red]/x" in out
    assert "try: stoa can-i pump-7 publish 'plant/[red]/x' --qos 1 -f 'my plant'" in out
    assert "Applied: policy revision 2." in out
    assert "Stopping." in out
    assert "NOT APPLIED, what was before still holds: 1 mistake in the files:\n  a.yaml:3: spec.x: is wrong" in err
    assert "ouch" in err
    assert "kind Deployment means nothing here" in out


def plain(text: str) -> str:
    """Without colours and movements of the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


class Screen:
    """A ScreenReporter that draws into a string, and the time it believes in."""

    def __init__(self, width: int = 160) -> None:
        self.now = 100.0
        self.paper = io.StringIO()
        console = Console(file=self.paper, force_terminal=True, width=width)
        self.reporter = ScreenReporter(FOLDER, console, monotonic=lambda: self.now)

    def drawn(self, width: int = 160) -> str:
        paper = io.StringIO()
        Console(file=paper, width=width).print(self.reporter.render())
        return paper.getvalue()


def test_the_screen_shows_counters_and_rates() -> None:
    screen = Screen()
    assert "No counters" in screen.drawn()
    screen.reporter.status(NodeStatus(messages_received=100, messages_sent=7))
    screen.now += 2
    screen.reporter.status(
        NodeStatus(
            connections=3,
            sessions=4,
            messages_received=142,
            messages_sent=27,
            messages_dropped=5,
            denials=6,
            policy_revision=9,
        )
    )
    titles, counters = (line.split() for line in screen.drawn().splitlines())
    assert dict(zip(titles, counters, strict=True)) == {
        "online": "3",
        "sessions": "4",
        "subs": "0",
        "retained": "0",
        "in/s": "21",
        "out/s": "10",
        "dropped": "5",
        "denied": "6",
        "policy": "r9",
    }
    screen.reporter.status(None)
    assert "No counters" in screen.drawn()


def test_the_screen_counts_the_nodes_that_answer() -> None:
    screen = Screen()
    screen.reporter.status(NodeStatus(nodes=2, nodes_wanted=3))
    titles, counters = (line.split() for line in screen.drawn().splitlines())
    assert (titles[0], counters[0]) == ("nodes", "2/3")


def test_the_screen_tells_each_refusal_once_and_reads_no_markup_in_it() -> None:
    screen = Screen()
    for _ in range(3):
        screen.reporter.event(DENIAL)
        screen.reporter.status(NodeStatus())
    text = plain(screen.paper.getvalue())
    assert text.count("DENIED pump-7 publish plant/[red]/x") == 1
    assert "try: stoa can-i pump-7 publish 'plant/[red]/x'" in text


def test_a_refusal_that_comes_again_after_a_change_is_told_again(deployment: Deployment) -> None:
    screen = Screen()
    screen.reporter.event(DENIAL)
    screen.reporter.status(NodeStatus())
    screen.reporter.changed(deployment, "Applied.")
    screen.reporter.event(DENIAL)
    screen.reporter.status(NodeStatus())
    assert plain(screen.paper.getvalue()).count("12:34:56 DENIED pump-7") == 2


def test_a_storm_of_refusals_is_counted() -> None:
    screen = Screen()
    for number in range(REFUSALS_PER_STATUS_MAX + 2):
        screen.reporter.event(NodeEvent(event="connect.refused", message=f"REFUSED {number}"))
    screen.reporter.status(NodeStatus())
    text = plain(screen.paper.getvalue())
    assert text.count("REFUSED") == REFUSALS_PER_STATUS_MAX
    assert "... and 2 more refusals" in text


def test_on_a_narrow_terminal_headings_stay_whole_and_lines_can_be_copied() -> None:
    screen = Screen(width=80)
    topic = "plant/" + "x" * 100
    message = f"DENIED pump-7 publish {topic}"
    with screen.reporter as reporter:
        reporter.event(NodeEvent(event="authz.denied", message=message, fields={**DENIAL.fields, "topic": topic}))
        reporter.status(NodeStatus(messages_received=123_456, messages_sent=123_456, retained=123_456))
    text = plain(screen.paper.getvalue())
    assert message in text
    assert f"try: stoa can-i pump-7 publish {topic} --qos 1 -f 'my plant'" in text
    titles = screen.drawn(width=80).splitlines()[0].split()
    assert titles == ["online", "sessions", "subs", "retained", "in/s", "out/s", "dropped", "denied", "policy"]


def test_late_success_of_settings_is_shown() -> None:
    screen = Screen()
    screen.reporter.event(NodeEvent(event="settings.applied", message="Applied: the node has all its settings."))
    assert "Applied: the node has all its settings." in plain(screen.paper.getvalue())


def test_the_screen_tells_the_story_of_a_run(deployment: Deployment) -> None:
    screen = Screen()
    with screen.reporter as reporter:
        reporter.ready(deployment, READY)
        reporter.changed(deployment, "Applied: policy revision 2.")
        reporter.refused(ExpectedError("1 mistake"))
        reporter.event(NodeEvent(level="info", event="client.connected", message="somebody connected"))
        reporter.event(NodeEvent(level="warning", event="node.died", message="plant-0 ended"))
        reporter.stopping()
    text = screen.paper.getvalue()
    for words in (
        "default/plant",
        "SHA-256",
        "mosquitto_pub",
        "Applied: policy",
        "NOT APPLIED",
        "plant-0 ended",
        "Stopping",
        "stopped",
    ):
        assert words in text
    assert "somebody connected" not in text


def test_the_screen_obeys_no_color(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen()
    with screen.reporter as reporter:
        reporter.ready(deployment, READY)
        reporter.event(DENIAL)
        reporter.status(NodeStatus())
    assert "\x1b[31m" not in screen.paper.getvalue()


def test_leaving_the_screen_before_the_start_is_quiet() -> None:
    screen = Screen()
    with screen.reporter:
        pass
    assert "Starting" in screen.paper.getvalue()
