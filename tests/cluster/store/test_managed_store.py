"""The Redis that runs along with a broker, as it is configured, in a real server: who gets in, what changes live."""

import base64
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography import x509
from msgspec.structs import replace
from redis.backoff import NoBackoff
from redis.retry import Retry

from mqtt_api.resources import MQTTBroker
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.desired import redis_conf
from mqtt_operator.desired.inputs import ManagedStore, Passwords
from mqtt_operator.desired.managed_store import store_secrets, store_server
from mqtt_operator.desired.redis_settings import key_prefix
from mqtt_operator.desired.redis_users import digest, user_rules
from support.certificates import Authority, Issued
from support.desired_examples import INPUTS, MANAGED, example
from support.processes import Program, free_port
from support.redis_server import redis_binary
from support.waiting import wait_until

START_S_MAX = 10.0


class Managed:
    """A server with the files of the Secret, at another port and in another folder than in its pod."""

    def __init__(self, folder: Path) -> None:
        self.broker: MQTTBroker = example("trial")
        self.authority = Authority(folder / "ca")
        self.identity = self.authority.server()
        self.values = self.issued_to(self.identity)
        self.port = free_port()
        self._folder = folder
        self._program: Program | None = None

    def issued_to(self, identity: Issued) -> ManagedStore:
        return replace(
            MANAGED,
            certificate=identity.certificate_file.read_bytes(),
            private_key=identity.key_file.read_bytes(),
            ca=self.authority.ca_file.read_bytes(),
        )

    def write(self, values: ManagedStore) -> None:
        """As the kubelet brings the Secret into the pod."""
        secret = store_secrets(self.broker, replace(INPUTS, managed=values))[-1]
        for name, content in secret["data"].items():
            (self._folder / name).write_bytes(self.here(base64.b64decode(content)))

    def here(self, text: bytes) -> bytes:
        """Paths and port as they are on this machine."""
        text = text.replace(redis_conf.FOLDER.encode(), bytes(self._folder))
        text = text.replace(f"dir {redis_conf.DATA_FOLDER}".encode(), b"dir " + bytes(self._folder))
        return text.replace(b"port 6379", f"port {self.port}".encode())

    def start(self) -> None:
        self.write(self.values)
        program = redis_binary()
        if program is None:
            pytest.skip("there is no redis-server on this machine")
        self._program = Program([str(program), str(self._folder / "redis.conf")])
        wait_until(self._listens, START_S_MAX, "the managed store")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self._program is not None:
            self._program.kill()

    def connect(self, user: str, password: str) -> redis.Redis:
        return redis.Redis(
            host="localhost",
            port=self.port,
            username=user,
            password=password,
            ssl=True,
            ssl_ca_certs=str(self.authority.ca_file),
            retry=Retry(NoBackoff(), 0),
            single_connection_client=True,
        )

    def shown_serial(self) -> int:
        """Of the certificate that a new connection sees."""
        context = ssl.create_default_context(cafile=str(self.authority.ca_file))
        with (
            socket.create_connection(("127.0.0.1", self.port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            shown = tls.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number


@pytest.fixture
def managed(tmp_path: Path) -> Iterator[Managed]:
    managed = Managed(tmp_path)
    managed.start()
    yield managed
    managed.stop()


def execute(client: redis.Redis, *command: str) -> Any:
    return client.execute_command(*command)  # type: ignore[no-untyped-call]


def test_the_probe_of_the_pod_finds_it_alive(managed: Managed) -> None:
    _, stateful_set = store_server(managed.broker, replace(INPUTS, managed=managed.values))
    probe = stateful_set["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]
    command = [managed.here(word.encode()).decode() for word in probe["exec"]["command"]]
    command[command.index("6379")] = str(managed.port)
    assert subprocess.run(command, capture_output=True, check=False, timeout=5).returncode == 0
    managed.stop()
    assert subprocess.run(command, capture_output=True, check=False, timeout=5).returncode != 0


def test_nobody_gets_in_without_a_name_or_with_a_wrong_password(managed: Managed) -> None:
    for user, password in (("default", ""), ("default", "x"), ("broker", "x"), ("operator", "nodes-word")):
        with pytest.raises(redis.AuthenticationError):
            managed.connect(user, password)


def test_each_user_may_do_what_it_is_for_and_no_more(managed: Managed) -> None:
    keys = StoreKeys(key_prefix(managed.broker))
    nodes = managed.connect("broker", "nodes-word")
    operator = managed.connect("operator", "operators-word")
    admin = managed.connect("admin", "admins-word")
    assert execute(operator, "HSET", keys.policy, "revision", "1") == 1
    assert execute(nodes, "HSET", f"{keys.data}x", "a", "b") == 1
    for client, command in (
        (nodes, ("HSET", keys.policy, "revision", "2")),
        (nodes, ("ACL", "SETUSER", "broker", "+@all")),
        (operator, ("ACL", "SETUSER", "operator", "+@all")),
        (operator, ("CONFIG", "SET", "appendonly", "no")),
        (admin, ("HGETALL", keys.policy)),
        (admin, ("FLUSHALL",)),
    ):
        with pytest.raises(redis.exceptions.NoPermissionError):
            execute(client, *command)


def test_what_was_written_is_there_after_a_restart(managed: Managed) -> None:
    """Also what a script or a transaction wrote, which Redis reads again in the name of its default user."""
    keys = StoreKeys(key_prefix(managed.broker))
    with managed.connect("operator", "operators-word") as client, client.pipeline(transaction=True) as pipe:
        pipe.hset(keys.policy, "revision", "7")
        pipe.hset(keys.world, "id", "7d0a")
        pipe.execute()
    managed.stop()
    managed.start()
    with managed.connect("operator", "operators-word") as client:
        assert client.hget(keys.policy, "revision") == b"7"
        assert client.hget(keys.world, "id") == b"7d0a"


def test_a_password_is_replaced_and_nobody_is_disconnected(managed: Managed) -> None:
    living = managed.connect("broker", "nodes-word")
    both = Passwords(password="new-word", also_accepted=(digest("nodes-word"),))
    only = Passwords(password="new-word")
    for passwords, accepted in ((both, ("nodes-word", "new-word")), (only, ("new-word",))):
        values = replace(managed.values, node=passwords)
        managed.write(values)
        set_users(managed, values)
        assert living.ping()
        for password in accepted:
            assert managed.connect("broker", password).ping()
    with pytest.raises(redis.AuthenticationError):
        managed.connect("broker", "nodes-word")
    assert living.ping()


def set_users(managed: Managed, values: ManagedStore) -> None:
    """As the operator does beside writing the Secret."""
    with managed.connect("admin", "admins-word") as admin:
        for user, rules in user_rules(StoreKeys(key_prefix(managed.broker)), values).items():
            execute(admin, "ACL", "SETUSER", user, *rules)


def test_a_certificate_is_replaced_and_nobody_is_disconnected(managed: Managed) -> None:
    """[D10]"""
    living = managed.connect("broker", "nodes-word")
    assert managed.shown_serial() == managed.identity.serial
    other = managed.authority.server("other")
    managed.write(managed.issued_to(other))
    with managed.connect("admin", "admins-word") as admin:
        folder = managed.here(redis_conf.FOLDER.encode()).decode()
        execute(admin, "CONFIG", "SET", "tls-cert-file", f"{folder}/tls.crt", "tls-key-file", f"{folder}/tls.key")
    assert managed.shown_serial() == other.serial
    assert living.ping()
