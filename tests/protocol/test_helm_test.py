"""The script that `helm test` runs in the image, against a real broker with TLS."""

import subprocess
import sys
from pathlib import Path

from mqtt_api.node_settings import TLSSettings
from support.broker import StartBroker, listener
from support.certificates import Authority
from support.policies import PASSWORD, allow, policy
from support.processes import ROOT

SCRIPT = ROOT / "charts" / "stoa" / "files" / "test.py"
RUN_S_MAX = 60
USER = "plant-test"


class Place:
    """A broker with TLS, and a folder like the Secret that the pod mounts."""

    def __init__(self, folder: Path, start_broker: StartBroker, *topics: str) -> None:
        authority = Authority(folder / "pki")
        server = authority.server()
        tls = TLSSettings(certificate_file=str(server.certificate_file), key_file=str(server.key_file))
        rules = [allow(topic) for topic in topics]
        self.broker = start_broker(policy(users={USER: rules}), listeners=(listener("mqtts", tls=tls),))
        self.log_in = folder / "log-in"
        self.log_in.mkdir()
        for name, text in {"username": USER, "password": PASSWORD}.items():
            (self.log_in / name).write_text(text, encoding="utf-8")
        (self.log_in / "ca.crt").write_bytes(authority.ca_file.read_bytes())

    def run(self) -> subprocess.CompletedProcess[str]:
        port = str(self.broker.port_of("mqtts"))
        command = [sys.executable, "-I", "-c", SCRIPT.read_text(encoding="utf-8"), str(self.log_in)]
        return subprocess.run(
            [*command, "localhost", port, "test/allowed", "test/denied"],
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_S_MAX,
        )


def test_it_publishes_where_it_may_and_is_refused_where_it_may_not(tmp_path: Path, start_broker: StartBroker) -> None:
    ran = Place(tmp_path, start_broker, "test/allowed").run()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "connected over TLSv1.3 as plant-test" in ran.stdout
    assert "published to test/allowed: 0x10" in ran.stdout
    assert "refused at test/denied: 0x87, not authorized" in ran.stdout


def test_it_fails_where_everything_is_allowed(tmp_path: Path, start_broker: StartBroker) -> None:
    ran = Place(tmp_path, start_broker, "#").run()
    assert ran.returncode == 1
    assert "publish to test/denied was not refused" in ran.stderr
