"""One step of the local reconciler: what the files declare becomes files that a node reads.

Knows the order in which they are written; does not know processes, watching or terminals. Idempotent: the same declared
state writes nothing.

Order: TLS and credentials first, then the policy, then the settings that name them all; a crash in between leaves a
node with files that exist.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec
from argon2 import PasswordHasher
from msgspec import Struct

from mqtt_api.kinds.mqttbroker import AuthenticationType, ListenerProtocol
from mqtt_api.node_settings import AuthenticationSettings, ListenerSettings, NodeSettings
from mqtt_api.policy import Policy, encode_policy
from mqtt_api.resources import MQTTClient
from mqtt_operator.desired.node_settings import NodePlace, build_node_settings
from mqtt_operator.local.credentials import Credentials, prepare_credentials
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.files import make_private_folder, read_or_none, write_private_if_changed
from mqtt_operator.local.folder import Declared
from mqtt_operator.local.hints import Account
from mqtt_operator.local.revision import load_revision, next_revision, save_revision
from mqtt_operator.local.secrets import Endpoint, describe_endpoint
from mqtt_operator.local.tls_files import ListenerFiles, write_tls_files
from mqtt_operator.local.world import World
from mqtt_operator.policy.compile import compile_policy


class Surroundings(Struct, frozen=True, kw_only=True):
    """What a deployment depends on beyond the files: the machine, and choices made on the command line."""

    host: str
    hostname: str
    admin_socket: Path
    hasher: PasswordHasher


class Deployment(Struct, frozen=True, kw_only=True):
    """What was written. `listener_cas`: the file by which clients verify a TLS listener, by the listener's name,
    where there is one.
    """

    declared: Declared
    data: DataFolder
    settings: NodeSettings
    settings_file: Path
    policy: Policy
    listener_cas: Mapping[str, Path]
    credentials: Credentials

    @property
    def chain(self) -> tuple[AuthenticationSettings, ...]:
        """How clients of the listener that is easiest to reach prove who they are."""
        own = best_listener(self.settings.listeners).authentication
        return self.settings.authentication if own is None else own

    @property
    def accounts(self) -> list[Account]:
        """Those whose log-in can be written down: with a password file first, then anonymous, then the others."""
        types = {entry.type for entry in self.chain}
        accounts: list[Account] = []
        if AuthenticationType.PASSWORD in types:  # nobody is told to send a password where it is not asked for
            accounts += self.password_accounts
        if AuthenticationType.X509 in types:
            accounts += [_certificate_account(client) for client in self.declared.clients if _only_certificates(client)]
        if AuthenticationType.ANONYMOUS in types:
            accounts.append(Account(username=""))
        return sorted(accounts, key=lambda each: (each.password_file is None, each.username != "", each.username))

    @property
    def password_accounts(self) -> list[Account]:
        clients = sorted(self.declared.clients, key=lambda client: client.username)
        return [account for client in clients if (account := self._account(client)) is not None]

    def _account(self, client: MQTTClient) -> Account | None:
        generated = self.credentials.password_file(client.username)
        if generated is not None:
            return Account(username=client.username, password_file=generated)
        for source in client.spec.credentials.passwords:
            if source.secret_ref is not None:
                words = f"the password of Secret {client.metadata.namespace}/{source.secret_ref.name}"
                return Account(username=client.username, password_words=words)
        return None


def _only_certificates(client: MQTTClient) -> bool:
    credentials = client.spec.credentials
    return bool(credentials.certificates) and not credentials.passwords


def _certificate_account(client: MQTTClient) -> Account:
    match = client.spec.credentials.certificates[0].match
    return Account(
        username=client.username,
        certificate=True,
        certificate_cn=match.common_name or "",
        certificate_san_dns=match.san_dns or "",
    )


def node_name(declared: Declared) -> str:
    return f"{declared.broker.metadata.name}-0"


def deploy(declared: Declared, data: DataFolder, world: World, surroundings: Surroundings, now: datetime) -> Deployment:
    """Write everything that the declared state asks for. Raises DataFolderError; what stood before stands then."""
    node = node_name(declared)
    tls = write_tls_files(declared, data, surroundings.hostname, now)
    credentials = prepare_credentials(declared, data, surroundings.hasher)
    policy = _write_policy(declared, data, credentials)
    place = NodePlace(
        node=node,
        world=world.id,
        store=f"sqlite:{data.store}",
        policy_file=str(data.policy),
        admin_socket=str(surroundings.admin_socket),
        host=surroundings.host,
        tls={name: each.files for name, each in tls.items()},
    )
    settings = build_node_settings(declared.broker, place)
    _describe_endpoint(credentials, settings.listeners, tls)
    settings_file = data.node_settings(node)
    make_private_folder(settings_file.parent)
    write_private_if_changed(settings_file, msgspec.json.format(msgspec.json.encode(settings)))
    return Deployment(
        declared=declared,
        data=data,
        settings=settings,
        settings_file=settings_file,
        policy=policy,
        listener_cas={name: each.ca for name, each in tls.items() if each.ca is not None},
        credentials=credentials,
    )


def best_listener(listeners: tuple[ListenerSettings, ...]) -> ListenerSettings:
    """The one to tell people: reached without a proxy, MQTT over TCP, TLS, no client certificate asked for; in that
    order, and the first of equals.
    """
    return min(
        listeners,
        key=lambda each: (
            each.proxy_protocol is not None,
            each.protocol != ListenerProtocol.MQTT,
            each.tls is None,
            each.tls is not None and each.tls.client_auth == "Required",
        ),
    )


def _write_policy(declared: Declared, data: DataFolder, credentials: Credentials) -> Policy:
    last = load_revision(data)
    content = compile_policy(
        declared.broker,
        declared.clients,
        declared.permissions,
        credentials.verifiers,
        last.number,
        scram=credentials.scram,
    )
    revision = next_revision(last, content.digest)
    policy = msgspec.structs.replace(content, revision=revision.number)
    if revision != last:
        save_revision(data, revision)
    write_private_if_changed(data.policy, encode_policy(policy))
    return policy


def _describe_endpoint(
    credentials: Credentials, listeners: tuple[ListenerSettings, ...], tls: Mapping[str, ListenerFiles]
) -> None:
    listener = best_listener(listeners)
    ca_file = tls[listener.name].ca if listener.name in tls else None
    ca = None if ca_file is None else read_or_none(ca_file)
    endpoint = Endpoint(host="localhost", port=listener.port, ca=ca)
    for bindings in credentials.bindings.values():
        for binding in bindings:
            describe_endpoint(binding, endpoint)
