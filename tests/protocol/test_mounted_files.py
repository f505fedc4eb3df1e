"""A node as a pod runs it: files from mounted volumes that are swapped while it runs, and a root that is read-only."""

import sys
from pathlib import Path

import msgspec
import pytest

from mqtt_api.node_settings import HTTPSettings, NodeSettings, TLSSettings
from mqtt_api.policy import encode_policy
from support.broker import Broker, get, listener
from support.certificates import Authority, Issued
from support.mounted import Mounted
from support.policies import allow, open_policy, policy
from support.processes import Program, environment, free_port
from support.waiting import eventually

# Refuses to open for writing, make, move or remove anything outside of the folders that are named first.
GUARD = """
import os, runpy, sys

count = int(sys.argv[1])
writable = tuple(sys.argv[2 : 2 + count])
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod",
           "socket.bind", "sqlite3.connect"}

def check(event, args):
    if event == "open" and not args[2] & WRITES:
        return
    if event != "open" and event not in CHANGES:
        return
    for path in args[1:2] if event == "socket.bind" else args[: 2 if event == "os.rename" else 1]:
        path = os.fsdecode(path) if isinstance(path, bytes) else str(path)
        if os.path.isabs(path) and not path.startswith(writable + ("/dev/null", "/proc/self/")):
            raise OSError(30, f"read-only file system: {event} {path}")

sys.addaudithook(check)
sys.argv = ["mqtt_broker", *sys.argv[2 + count :]]
runpy.run_module("mqtt_broker", run_name="__main__")
"""


class Pod:
    """One node with mounted settings, policy and certificate. `run` and `data` are its only writable folders."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "pki")
        self.run, self.data = folder / "run", folder / "data"
        for writable in (self.run, self.data):
            writable.mkdir()
        self.tls = Mounted(folder / "tls", secret_of(self.authority.server("first")))
        self.policy = Mounted(folder / "policy", {"policy.json": encode_policy(open_policy(1))})
        files = TLSSettings(certificate_file=str(self.tls / "tls.crt"), key_file=str(self.tls / "tls.key"))
        template = Broker(folder / "template", None)
        self.settings = msgspec.structs.replace(
            template.settings,
            node="from-the-file",
            store=f"sqlite:{self.data / 'store.db'}",
            policy_file=str(self.policy / "policy.json"),
            admin_socket=str(self.run / "admin.sock"),
            http=HTTPSettings(host="127.0.0.1", port=free_port()),
            listeners=(listener(), listener("mqtts", tls=files)),
        )
        self.mounted_settings = Mounted(folder / "settings", {"settings.json": msgspec.json.encode(self.settings)})
        command = [sys.executable, "-c", GUARD, "2", str(self.run), str(self.data)]
        command += ["--settings", str(self.mounted_settings / "settings.json"), "--node", "plant-3"]
        self.program = Program(command, environment(PYTHONDONTWRITEBYTECODE="1"))
        self.program.wait_for_line('"node.ready"')

    def change(self, settings: NodeSettings) -> None:
        self.settings = settings
        self.mounted_settings.swap({"settings.json": msgspec.json.encode(settings)})

    def status(self) -> dict[str, object]:
        found: dict[str, object] = msgspec.json.decode(get(Path(self.settings.admin_socket), "/status"))
        return found

    def logged(self, event: str) -> int:
        return sum(f'"event": "{event}"' in line for line in list(self.program.err))


def secret_of(issued: Issued) -> dict[str, bytes]:
    return {"tls.crt": issued.certificate_file.read_bytes(), "tls.key": issued.key_file.read_bytes()}


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


async def test_what_is_mounted_is_followed_and_nothing_is_written_elsewhere(pod: Pod) -> None:
    with pod.program:
        assert pod.status()["node"] == "plant-3"

        pod.policy.swap({"policy.json": encode_policy(policy(2, anonymous=[allow("a/#")]))})
        await eventually(lambda: pod.status()["policy_revision"] == 2, what="the policy")

        renewed = pod.authority.server("second")
        pod.tls.swap(secret_of(renewed))
        await eventually(lambda: pod.logged("tls.reloaded"), what="the certificate")
        listeners = pod.status()["listeners"]
        assert isinstance(listeners, dict)
        assert int(listeners["mqtts"]["serial"], 16) == renewed.serial

        mqtt = msgspec.structs.replace(pod.settings.mqtt, receive_maximum=7)
        pod.change(msgspec.structs.replace(pod.settings, mqtt=mqtt))
        await eventually(lambda: pod.logged("settings.applied"), what="the settings")

        for lines in (pod.program.out, pod.program.err):
            assert all(msgspec.json.decode(line) for line in list(lines))
        assert pod.program.stop() == 0
    assert not [line for line in pod.program.lines if "read-only" in line or "Traceback" in line], pod.program.dump()


async def test_a_name_that_is_given_stays_when_the_settings_change(pod: Pod) -> None:
    with pod.program:
        pod.change(msgspec.structs.replace(pod.settings, node="another", log_level="debug"))
        await eventually(lambda: pod.logged("settings.applied"), what="the settings")
        assert pod.status()["node"] == "plant-3"


async def test_where_probes_are_answered_cannot_change_while_a_node_runs(pod: Pod) -> None:
    with pod.program:
        pod.change(msgspec.structs.replace(pod.settings, http=None))
        await eventually(lambda: pod.logged("settings.rejected"), what="a refusal")
        assert "http cannot change while the node runs" in pod.program.dump()


def test_a_node_without_a_name_is_refused(tmp_path: Path) -> None:
    program = Program([sys.executable, "-m", "mqtt_broker", "--settings", str(tmp_path / "x"), "--node", ""])
    assert program.wait() == 2
    assert "a node needs a name" in program.dump()
