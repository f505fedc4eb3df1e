"""The chart of one broker: values become objects that the models accept, and mistakes are told at once."""

import ast
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from mqtt_api.resources import KINDS
from mqtt_broker.wire.codec import decode
from mqtt_broker.wire.packets import Connect, Packet, ProtocolVersion, Publish
from support.charts import BROKER, HelmError, Manifest, Rendered, rendered, value_files, values_of

TLS: Manifest = {"tls": {"issuerRef": {"name": "ca"}}}
ONE_RULE: Manifest = {"name": "r", "effect": "Allow", "activity": "Publish", "topics": ["a"]}


def broker(values: Manifest) -> Manifest:
    spec: Manifest = rendered(BROKER, {**TLS, **values}).one("MQTTBroker")["spec"]
    return spec


@pytest.mark.parametrize("file", value_files(BROKER), ids=lambda file: file.stem)
def test_what_a_chart_makes_names_the_one_broker(file: Path) -> None:
    made = rendered(BROKER, values_of(file))
    assert made.one("MQTTBroker")["metadata"]["name"] == "plant"
    for each in [*made.all("MQTTClient"), *made.all("TopicPermission")]:
        assert each["spec"]["brokerRef"] == {"name": "plant"}
        assert each["metadata"]["namespace"] == "plant"


@pytest.mark.parametrize("file", value_files(BROKER), ids=lambda file: file.stem)
def test_the_models_accept_clients_and_permissions(file: Path) -> None:
    made = rendered(BROKER, values_of(file))
    for each in made.objects:
        if each["kind"] in KINDS:
            KINDS[each["kind"]].model_validate(each)


class TestListeners:
    def test_a_listener_without_a_certificate_is_refused_with_what_to_do(self) -> None:
        with pytest.raises(HelmError, match=r"listener mqtts has no certificate: name tls\.issuerRef"):
            rendered(BROKER)

    def test_issuer_and_secret_exclude_each_other(self) -> None:
        with pytest.raises(HelmError, match="exclude each other"):
            rendered(BROKER, {"tls": {"issuerRef": {"name": "ca"}, "secretName": "s"}})

    def test_listeners_share_the_issuer_and_its_names(self) -> None:
        values = {"tls": {"issuerRef": {"name": "ca"}, "dnsNames": ["mqtt.example.org"]}}
        (listener,) = broker(values)["listeners"]
        assert listener["tls"] == {"issuerRef": {"name": "ca"}, "dnsNames": ["mqtt.example.org"]}

    def test_a_secret_serves_as_well(self) -> None:
        (listener,) = rendered(BROKER, {"tls": {"secretName": "s"}}).one("MQTTBroker")["spec"]["listeners"]
        assert listener["tls"] == {"secretRef": {"name": "s"}}

    def test_a_listener_keeps_what_it_says_itself(self) -> None:
        own = {"name": "a", "port": 1, "tls": {"secretRef": {"name": "own"}}}
        plain = {"name": "b", "port": 2, "allowPlaintext": True}
        assert broker({"listeners": [own, plain]})["listeners"] == [own, plain]
        assert "WARNING: listener b is plain text" in rendered(BROKER, {"listeners": [own, plain]}).notes


class TestStore:
    @pytest.mark.parametrize(
        ("store", "declared"),
        [
            ({}, {"embedded": {"storage": "1Gi"}}),
            ({"type": "Managed", "storage": "2Gi"}, {"managed": {"storage": "2Gi"}}),
            (
                {"type": "Redis", "redis": {"addresses": ["r:6379"]}, "existingSecret": "n"},
                {
                    "redis": {
                        "addresses": ["r:6379"],
                        "credentialsRef": {"name": "n", "usernameKey": "username", "passwordKey": "password"},
                    }
                },
            ),
            (
                {"type": "Redis", "redis": {"addresses": ["r:6379"]}, "durability": {"level": "Memory"}},
                {"redis": {"addresses": ["r:6379"]}, "durability": {"level": "Memory"}},
            ),
        ],
    )
    def test_a_store_is_one_of_three(self, store: Manifest, declared: Manifest) -> None:
        assert broker({"store": store})["sessionStore"] == declared

    def test_the_operator_logs_in_as_itself(self) -> None:
        store = {"type": "Redis", "redis": {"addresses": ["r:6379"]}, "operatorExistingSecret": "o"}
        assert broker({"store": store})["sessionStore"]["redis"]["operatorCredentialsRef"]["name"] == "o"


class TestMembers:
    def test_a_client_without_credentials_gets_a_generated_password(self) -> None:
        made = rendered(BROKER, {**TLS, "clients": {"a": {"groups": ["g"]}, "b": {"credentials": {}}}})
        passwords = [{"generate": {"secretName": "a-mqtt"}}]
        assert made.one("MQTTClient", "a")["spec"]["credentials"] == {"passwords": passwords}
        assert made.one("MQTTClient", "b")["spec"]["credentials"] == {}
        assert "kubectl get secret a-mqtt" in made.notes

    def test_notes_say_what_a_broker_without_members_is_good_for(self) -> None:
        notes = rendered(BROKER, TLS).notes
        assert "nobody can connect yet" in notes
        assert "whoever connects may do nothing" in notes

    def test_argo_cd_makes_the_broker_before_its_members(self) -> None:
        made = rendered(BROKER, values_of(BROKER / "ci" / "redis-values.yaml"))
        waves = {
            each["kind"]: each["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]
            for each in made.objects
            if "helm.sh/hook" not in each["metadata"].get("annotations", {})
        }
        assert waves == {"MQTTBroker": "5", "MQTTClient": "10", "TopicPermission": "10"}


class TestSpec:
    def test_what_the_values_do_not_know_goes_into_the_spec_and_wins(self) -> None:
        made = broker(
            {"spec": {"mqtt": {"maximumQoS": 1}, "replicas": 1, "authentication": [{"name": "x", "type": "X509"}]}}
        )
        assert made["mqtt"] == {"maximumQoS": 1}
        assert made["authentication"] == [{"name": "x", "type": "X509"}]

    def test_monitoring_is_asked_for_by_name(self) -> None:
        assert "monitoring" not in broker({})
        made = broker({"metrics": {"serviceMonitor": {"enabled": True}, "dashboards": {"enabled": True}}})
        assert made["monitoring"] == {"serviceMonitor": {"enabled": True}, "dashboards": {"enabled": True}}

    @pytest.mark.parametrize(
        ("values", "warning"),
        [
            ({"spec": {"authorization": {"defaultPolicy": "Allow"}}}, "authorization.defaultPolicy is Allow"),
            ({"authentication": [{"name": "anyone", "type": "Anonymous"}]}, "anybody may connect without a name"),
        ],
    )
    def test_notes_warn_of_unsafe_choices(self, values: Manifest, warning: str) -> None:
        assert f"WARNING: {warning}" in rendered(BROKER, {**TLS, **values}).notes
        assert "WARNING" not in rendered(BROKER, TLS).notes


class TestNames:
    @pytest.mark.parametrize(
        ("release", "values", "name"),
        [
            ("plant", {}, "plant"),
            ("plant", {"fullnameOverride": "line-2"}, "line-2"),
            ("plant", {"nameOverride": "line-2"}, "line-2"),
            ("p" * 53, {}, "p" * 40),
        ],
    )
    def test_the_broker_is_named_after_the_release(self, release: str, values: Manifest, name: str) -> None:
        made = rendered(BROKER, {**TLS, **values}, name=release)
        assert made.one("MQTTBroker")["metadata"]["name"] == name


class TestHelmTest:
    """The pod of `helm test`, and the script in it, which speaks MQTT itself: the image has no client."""

    def made(self, values: Manifest | None = None) -> Rendered:
        return rendered(BROKER, {**TLS, **(values or {})})

    def test_the_client_may_publish_to_one_topic_and_the_pod_waits_for_its_secret(self) -> None:
        made = self.made()
        (rule,) = made.one("TopicPermission", "plant-test")["spec"]["rules"]
        pod = made.one("Pod")["spec"]
        *_, host, port, allowed, denied = pod["containers"][0]["args"]
        assert (host, port) == ("plant.plant.svc", "8883")
        assert rule["topics"] == [allowed]
        assert denied not in rule["topics"]
        (volume,) = pod["volumes"]
        generated = made.one("MQTTClient", "plant-test")["spec"]["credentials"]["passwords"][0]["generate"]
        assert volume["secret"]["secretName"] == generated["secretName"]
        assert pod["automountServiceAccountToken"] is False

    def test_it_takes_the_first_listener_with_tls_that_is_no_web_socket(self) -> None:
        listeners = [
            {"name": "plain", "port": 1883, "allowPlaintext": True},
            {"name": "wss", "port": 8084, "protocol": "WebSocket"},
            {"name": "mqtts", "port": 8884},
        ]
        assert "8884" in self.made({"listeners": listeners}).one("Pod")["spec"]["containers"][0]["args"]
        plain = self.made({"listeners": listeners[:1]})
        assert not plain.all("Pod")
        assert "helm test" not in plain.notes

    def test_it_can_be_left_out(self) -> None:
        assert not self.made({"tests": {"enabled": False}}).all("Pod")


class Answers:
    """What a broker would answer, as the script reads it."""

    def __init__(self, *answers: bytes) -> None:
        self._unread = b"".join(answers)
        self.sent = b""

    def read(self, count: int) -> bytes:
        taken, self._unread = self._unread[:count], self._unread[count:]
        return taken

    def write(self, data: bytes) -> None:
        self.sent += data

    def flush(self) -> None: ...


def sent(data: bytes) -> list[Packet]:
    """As the broker reads it, which takes nothing that the standard forbids."""
    packets: list[Packet] = []
    start = 0
    while start < len(data):
        found = decode(data, start, ProtocolVersion.V5 if packets else None, len(data))
        assert found is not None
        packet, start = found
        packets.append(packet)
    return packets


class TestScript:
    CONNACK = b"\x20\x03\x00\x00\x00"

    def run(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answers: Answers) -> None:
        for name in ("ca.crt", "username", "password"):
            (tmp_path / name).write_text("x", encoding="utf-8")

        class Connection:
            def makefile(self, mode: str) -> Answers:
                return answers

            def version(self) -> str:
                return "TLSv1.3"

        class Context:
            def wrap_socket(self, *arguments: Any, **options: Any) -> Connection:
                return Connection()

        monkeypatch.setattr(ssl, "create_default_context", lambda **options: Context())
        monkeypatch.setattr("socket.create_connection", lambda *arguments: None)
        monkeypatch.setattr(sys, "argv", ["-c", str(tmp_path), "host", "8883", "yes", "no"])
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        script = (BROKER / "files" / "test.py").read_text(encoding="utf-8")
        exec(compile(script, "test.py", "exec"), {"__name__": "__main__"})

    @pytest.mark.parametrize(
        "acknowledged", [b"\x40\x02\x00\x01", b"\x40\x04\x00\x01\x10\x00", b"\x40\x03\x00\x01\x00"]
    )
    def test_it_succeeds_when_one_is_accepted_and_the_other_refused(
        self, acknowledged: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        answers = Answers(self.CONNACK, acknowledged, b"\x40\x04\x00\x02\x87\x00")
        self.run(monkeypatch, tmp_path, answers)
        assert "refused at no: 0x87, not authorized" in capsys.readouterr().out
        connect, allowed, denied = sent(answers.sent)
        assert isinstance(connect, Connect)
        assert (connect.username, connect.client_id) == ("x", "x")
        assert isinstance(allowed, Publish)
        assert isinstance(denied, Publish)
        assert [(each.topic, each.qos, each.packet_id) for each in (allowed, denied)] == [("yes", 1, 1), ("no", 1, 2)]

    @pytest.mark.parametrize("answer", [b"\x40\x02\x00\x02", b"\x40\x04\x00\x02\x10\x00", b"\x40\x04\x00\x02\x97\x00"])
    def test_it_fails_when_what_must_be_refused_is_not(
        self, answer: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with pytest.raises(SystemExit, match="publish to no was not refused"):
            self.run(monkeypatch, tmp_path, Answers(self.CONNACK, b"\x40\x02\x00\x01", answer))

    def test_it_waits_for_its_permission(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        refused, accepted = b"\x40\x04\x00\x01\x87\x00", b"\x40\x02\x00\x01"
        answers = Answers(self.CONNACK, refused, refused, accepted, b"\x40\x04\x00\x02\x87\x00")
        self.run(monkeypatch, tmp_path, answers)

    def test_it_needs_nothing_but_the_standard_library(self) -> None:
        tree = ast.parse((BROKER / "files" / "test.py").read_text(encoding="utf-8"))
        plain = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        named = {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert plain | named <= sys.stdlib_module_names
