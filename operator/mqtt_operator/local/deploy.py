"""One step of the local reconciler: what the files declare becomes files that nodes read.

Knows the order in which they are written; does not know processes, watching or terminals. Idempotent: the same declared
state writes nothing.

Order: TLS and credentials first, then the policy, then the settings that name them all; a crash in between leaves a
node with files that exist.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

import msgspec
from argon2 import PasswordHasher
from msgspec import Struct

from mqtt_api.kinds.mqttbroker import AuthenticationType
from mqtt_api.node_settings import AuthenticationSettings, ListenerSettings, NodeSettings, RedisSettings
from mqtt_api.policy import Policy, encode_policy
from mqtt_api.resources import MQTTClient
from mqtt_operator.desired.entrance import best_listener
from mqtt_operator.desired.node_settings import NodePlace, build_node_settings
from mqtt_operator.desired.redis_settings import RedisPlace, build_redis_settings
from mqtt_operator.local.credentials import Credentials, prepare_credentials
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.files import make_private_folder, read_or_none, write_private_if_changed
from mqtt_operator.local.folder import Declared
from mqtt_operator.local.hints import Account
from mqtt_operator.local.ports import Wanted, check_distinct
from mqtt_operator.local.revision import load_revision, next_revision, save_revision
from mqtt_operator.local.secrets import Endpoint, describe_endpoint
from mqtt_operator.local.tls_files import ListenerFiles, write_tls_files
from mqtt_operator.local.world import World
from mqtt_operator.policy.compile import compile_policy

FRONT = "the front"
ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - what a person may have asked for


class Site(Struct, frozen=True, kw_only=True):
    """Where one node lives: its admin socket, and how far its ports are from the declared ones."""

    admin_socket: Path
    port_offset: int = 0


class Surroundings(Struct, frozen=True, kw_only=True):
    """What a deployment depends on beyond the files: the machine, and choices made on the command line.

    One node for each site. `has_front`: something else listens at the declared ports.
    """

    host: str
    hostname: str
    sites: tuple[Site, ...]
    hasher: PasswordHasher
    has_front: bool = False

    @property
    def reachable_host(self) -> str:
        """What other machines may call this one."""
        return self.hostname if self.host in ANY_ADDRESS else self.host


class NodeFiles(Struct, frozen=True, kw_only=True):
    """What was written for one node."""

    settings: NodeSettings
    settings_file: Path


class Deployment(Struct, frozen=True, kw_only=True):
    """What was written. `entrance`: the listeners where people connect, those of the front or of the first node.

    `listener_cas`: the file by which clients verify a TLS listener, by the listener's name, where there is one.
    `store`: how the operator reaches the store that nodes share, if they do.
    """

    declared: Declared
    data: DataFolder
    nodes: tuple[NodeFiles, ...]
    entrance: tuple[ListenerSettings, ...]
    store: RedisSettings | None
    policy: Policy
    listener_cas: Mapping[str, Path]
    credentials: Credentials

    @property
    def settings(self) -> NodeSettings:
        """Those of the first node; the others differ in name and ports only."""
        return self.nodes[0].settings

    @property
    def chain(self) -> tuple[AuthenticationSettings, ...]:
        """How clients of the listener that is easiest to reach prove who they are."""
        own = best_listener(self.entrance).authentication
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
        certificate_cn=client.username if match is None else match.common_name or "",
        certificate_san_dns="" if match is None else match.san_dns or "",
    )


def node_name(declared: Declared, number: int = 0) -> str:
    return f"{declared.broker.metadata.name}-{number}"


def deploy(
    declared: Declared,
    data: DataFolder,
    world: World,
    surroundings: Surroundings,
    now: datetime,
    store: RedisPlace | None = None,
) -> Deployment:
    """Write everything that the declared state asks for. Raises DataFolderError, and ExpectedError if nodes would need
    one port twice; what stood before stands then.

    `store` None: the one node has a file of its own, for its data and for the policy.
    """
    tls = write_tls_files(declared, data, surroundings.hostname, now)
    shared = None if store is None else build_redis_settings(declared.broker, store, store.node)
    entrance = NodePlace(
        node="",
        world=world.id,
        store=f"sqlite:{data.store}" if shared is None else shared,
        policy_file=str(data.policy) if shared is None else "",
        admin_socket="",
        host=surroundings.host,
        tls={name: each.files for name, each in tls.items()},
    )
    listeners = build_node_settings(declared.broker, entrance).listeners
    places = _places(declared, surroundings, entrance, best_listener(listeners).port)
    settings = [build_node_settings(declared.broker, place) for place in places]
    _check_distinct(settings, listeners if surroundings.has_front else ())
    credentials = prepare_credentials(declared, data, surroundings.hasher)
    _describe_endpoint(credentials, listeners, tls)
    policy = _write_policy(declared, data, credentials)
    nodes = tuple(_write_settings(data, each) for each in settings)
    return Deployment(
        declared=declared,
        data=data,
        nodes=nodes,
        entrance=listeners,
        store=None if store is None else build_redis_settings(declared.broker, store, store.operator),
        policy=policy,
        listener_cas={name: each.ca for name, each in tls.items() if each.ca is not None},
        credentials=credentials,
    )


def _check_distinct(nodes: Iterable[NodeSettings], front: Iterable[ListenerSettings]) -> None:
    wanted = [Wanted(node.node, each) for node in nodes for each in node.listeners]
    check_distinct([*wanted, *(Wanted(FRONT, each) for each in front)])


def _places(declared: Declared, surroundings: Surroundings, entrance: NodePlace, port: int) -> list[NodePlace]:
    """`port`: the declared one of the listener that is easiest to reach."""
    return [
        msgspec.structs.replace(
            entrance,
            node=node_name(declared, number),
            admin_socket=str(site.admin_socket),
            port_offset=site.port_offset,
            server_reference=_reference(surroundings, site, port),
        )
        for number, site in enumerate(surroundings.sites)
    ]


def _reference(surroundings: Surroundings, site: Site, port: int) -> str:
    """Where clients that other nodes send away find this one: through the front, or directly (MQTT 5.0, 4.11)."""
    if len(surroundings.sites) == 1:
        return ""
    host = surroundings.reachable_host
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port if surroundings.has_front else port + site.port_offset}"


def _write_settings(data: DataFolder, settings: NodeSettings) -> NodeFiles:
    settings_file = data.node_settings(settings.node)
    make_private_folder(settings_file.parent)
    write_private_if_changed(settings_file, msgspec.json.format(msgspec.json.encode(settings)))
    return NodeFiles(settings=settings, settings_file=settings_file)


def _write_policy(declared: Declared, data: DataFolder, credentials: Credentials) -> Policy:
    last = load_revision(data)
    content = compile_policy(
        declared.broker,
        declared.clients,
        declared.permissions,
        credentials.proofs,
        last.number,
        salt_key=credentials.salt_key,
        namespaces=declared.namespaces,
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
