"""MQTTBroker: one broker, its listeners, who may try to connect, and the limits of the protocol.

Knows the shape and which combinations contradict each other; does not know how a broker is run.
"""

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from mqtt_api.kinds.attachments import ATTACHMENT_RULES, ATTACHMENTS_MAX, Attachment
from mqtt_api.kinds.broker_status import MQTTBrokerStatus
from mqtt_api.kinds.certificates import ISSUED_RULES, Issued
from mqtt_api.kinds.common import DataRef, DeletionPolicy, LabelName, Resource, SecretRef
from mqtt_api.kinds.images import Image
from mqtt_api.kinds.markers import Items, Text, cel_text
from mqtt_api.kinds.monitoring import Monitoring
from mqtt_api.kinds.network import CIDR, NetworkPolicyPeer
from mqtt_api.kinds.quantities import Bytes, BytesBetween, Duration, DurationBetween
from mqtt_api.kinds.services import SERVICES_MAX, Service
from mqtt_api.kinds.session_store import SessionStore
from mqtt_api.kinds.shape import Rule, Shape
from mqtt_api.kinds.workload import (
    CONNECTIONS_PER_NODE_MAX,
    REPLICAS_MAX,
    Autoscaling,
    PodDisruptionBudget,
    PodTemplate,
)
from mqtt_api.scram import ScramMechanism
from mqtt_api.topics import LEVELS_MAX

_BROKER_NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
BROKER_NAME_CHARACTERS_MAX = 40  # room for the suffixes of what is named after the broker, within 63
LISTENERS_MAX = 16
CHAIN_ENTRIES_MAX = 16
CLIENT_CAS_MAX = 16
DNS_NAMES_MAX = 32
CLIENT_ID_PATTERNS_MAX = 32
ALLOWED_ORIGINS_MAX = 32
TRUSTED_CIDRS_MAX = 64
CLIENT_ID_CHARACTERS_MAX = 256  # a pattern for client ids; client ids themselves may be longer
CONNECTION_RATE_MAX = 100_000
NETWORK_POLICY_PEERS_MAX = 32
IMAGE_PULL_SECRETS_MAX = 16

# What each node listens on besides: metrics and probes.
HTTP_PORT = 8081
HTTP_PORT_NAME = "http-metrics"


class TLSVersion(StrEnum):
    TLS_1_2 = "TLS1.2"
    TLS_1_3 = "TLS1.3"


class ClientAuth(StrEnum):
    NONE = "None"
    OPTIONAL = "Optional"
    REQUIRED = "Required"


class ListenerProtocol(StrEnum):
    MQTT = "MQTT"
    WEB_SOCKET = "WebSocket"


class AuthenticationType(StrEnum):
    X509 = "X509"
    PASSWORD = "Password"  # noqa: S105 - the name of a way to authenticate
    SCRAM = "SCRAM"
    ANONYMOUS = "Anonymous"


class UsernameFrom(StrEnum):
    COMMON_NAME = "CommonName"
    SAN_DNS = "SANDNS"
    SAN_URI = "SANURI"
    SAN_EMAIL = "SANEmail"
    SUBJECT = "Subject"


class Principals(StrEnum):
    OPEN = "Open"
    REQUIRE_MQTT_CLIENT = "RequireMQTTClient"


class DefaultPolicy(StrEnum):
    DENY = "Deny"
    ALLOW = "Allow"


class OnRevoke(StrEnum):
    MUTE = "Mute"
    DISCONNECT = "Disconnect"


class UpgradePolicy(StrEnum):
    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


class Overflow(StrEnum):
    DROP_OLDEST = "DropOldest"
    DROP_NEWEST = "DropNewest"
    REJECT = "Reject"


ClientIDPattern = Annotated[
    str,
    Text(
        "must be a client id that may hold '*' and ${username}, but no other ${...} and no control characters",
        pattern=r"^([^$\x00-\x1F\x7F]|\$+[^${\x00-\x1F\x7F]|\$*\$\{username\})*\$*$",
        characters_max=CLIENT_ID_CHARACTERS_MAX,
    ),
]
PortName = Annotated[
    str,
    Text(
        "must be at most 15 lower-case letters, digits and single '-', starting with a letter",  # a Service port's name
        pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
        characters_max=15,
    ),
]
DNSName = Annotated[
    str,
    Text(
        "must be a DNS name such as mqtt.example.org or *.example.org",
        pattern=r"^(\*\.)?([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)*[a-z]([-a-z0-9]*[a-z0-9])?$",
    ),
]


RequestPath = Annotated[
    str,
    Text(
        "must be a path such as /mqtt: '/', then letters, digits and any of '-._~/'",
        pattern=r"^/[-A-Za-z0-9._~/]*$",
    ),
]
Origin = Annotated[
    str,
    Text(
        "must be '*' or an origin such as https://app.example.org or http://localhost:3000, in lower case",
        pattern=r"^(\*|[a-z][-+.a-z0-9]*://([-a-z0-9.]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?)$",
    ),
]


class Authentication(Shape):
    """One way to prove who one is. It accepts, refuses, or says that the client is not its business."""

    name: LabelName = Field(description="Name of this entry, unique in its chain; logs and sessions cite it.")
    type: AuthenticationType = Field(
        description="X509: the client certificate of a listener with clientAuth. Password: the passwords of the "
        "MQTTClients, as user name and password. SCRAM: the same passwords, proved by MQTT 5 authentication and never "
        "sent. Anonymous: anybody without a user name, with the rights of {kind: Anonymous} only."
    )
    username_from: UsernameFrom = Field(
        default=UsernameFrom.COMMON_NAME,
        description="Only for X509: the field of the certificate that is the user name. An MQTTClient whose "
        "credentials.certificates match is found first.",
    )
    principals: Principals = Field(
        default=Principals.REQUIRE_MQTT_CLIENT,
        description="Only for X509. RequireMQTTClient: the user name must belong to an MQTTClient. Open: every valid "
        "certificate is somebody, with the rights of {kind: Authenticated}.",
    )
    client_ids: Annotated[tuple[ClientIDPattern, ...], Items(CLIENT_ID_PATTERNS_MAX, count_min=1, unique=True)] = Field(
        default=("${username}",),
        description="Only for X509 with principals: Open: the client ids such a client may use. '*' stands for any "
        "characters, ${username} for its user name.",
    )
    mechanisms: Annotated[tuple[ScramMechanism, ...], Items(len(ScramMechanism), count_min=1, unique=True)] = Field(
        default=tuple(ScramMechanism),
        description="Only for SCRAM: the authentication methods that are offered.",
    )

    invariants = (
        Rule(
            cel="self.type == 'X509' || !has(self.usernameFrom)",
            message="is only for type X509: leave it out",
            holds=lambda self: self.type == AuthenticationType.X509 or not self.given("username_from"),
            field="usernameFrom",
        ),
        Rule(
            cel="self.type == 'X509' || !has(self.principals)",
            message="is only for type X509: leave it out",
            holds=lambda self: self.type == AuthenticationType.X509 or not self.given("principals"),
            field="principals",
        ),
        Rule(
            cel="!has(self.clientIDs) || (has(self.principals) && self.principals == 'Open')",
            message="is only for principals: Open; otherwise each MQTTClient lists its own clientIDs",
            holds=lambda self: not self.given("client_ids") or self.principals == Principals.OPEN,
            field="clientIDs",
        ),
        Rule(
            cel="self.type == 'SCRAM' || !has(self.mechanisms)",
            message="is only for type SCRAM: leave it out",
            holds=lambda self: self.type == AuthenticationType.SCRAM or not self.given("mechanisms"),
            field="mechanisms",
        ),
    )


Chain = Annotated[tuple[Authentication, ...], Items(CHAIN_ENTRIES_MAX, count_min=1)]


def _unique_names(chain: tuple[Authentication, ...] | None) -> bool:
    names = [entry.name for entry in chain or ()]
    return len(names) == len(set(names))


# Not a map by name: the order of a chain matters, and only an atomic list keeps it as one person wrote it.
_UNIQUE_CHAIN_NAMES = Rule(
    cel="!has(self.authentication) || self.authentication.all(a, self.authentication.exists_one(b, b.name == a.name))",
    message="must not use one name twice",
    holds=lambda self: _unique_names(self.authentication),
    field="authentication",
)


class RevocationList(Shape):
    """Certificates that were withdrawn before their time."""

    ref: DataRef = Field(description="The entry that holds the CRLs of the client CAs, in PEM form.")


class ListenerTLS(Issued):
    """TLS of one listener. Its certificate is issued by cert-manager, or is in a Secret of yours.

    Without either, `stoa up` issues one from a CA of its own; in Kubernetes nobody does, and the broker says so.
    """

    secret_ref: SecretRef | None = Field(
        default=None,
        description="Instead of issuerRef: a Secret of type kubernetes.io/tls (tls.crt, tls.key). Neither: `stoa up` "
        "has a CA of its own; in Kubernetes one of the two is needed.",
    )
    dns_names: Annotated[tuple[DNSName, ...], Items(DNS_NAMES_MAX, count_min=1, unique=True)] | None = Field(
        default=None,
        description="Not with secretRef: more names for the certificate that is issued, besides those of the Services: "
        "those by which clients reach the broker.",
    )
    min_version: TLSVersion = Field(
        default=TLSVersion.TLS_1_2, description="The oldest version of TLS that is accepted: TLS1.2 or TLS1.3."
    )
    client_auth: ClientAuth = Field(
        default=ClientAuth.NONE,
        description="Client certificates. None: not asked for. Optional: checked if sent. Required: no connection "
        "without a valid one.",
    )
    client_ca_refs: Annotated[tuple[DataRef, ...], Items(CLIENT_CAS_MAX, count_min=1)] | None = Field(
        default=None,
        description="The CAs whose client certificates are accepted, in PEM form; two while one replaces the other.",
    )
    crl: RevocationList | None = Field(default=None, description="Client certificates that are refused all the same.")

    invariants = (
        *ISSUED_RULES,
        Rule(
            cel="!has(self.secretRef) || !has(self.issuerRef)",
            message="contradicts secretRef: leave one of the two out",
            holds=lambda self: self.secret_ref is None or self.issuer_ref is None,
            field="issuerRef",
        ),
        Rule(
            cel="!has(self.secretRef) || !has(self.dnsNames)",
            message="is for a certificate that is issued: leave it out, the one in secretRef has its own names",
            holds=lambda self: self.secret_ref is None or self.dns_names is None,
            field="dnsNames",
        ),
        Rule(
            cel="(has(self.clientAuth) && self.clientAuth != 'None') == has(self.clientCARefs)",
            message="goes with clientAuth: Optional or Required: those need clientCARefs, None must not have any",
            holds=lambda self: (self.client_auth != ClientAuth.NONE) == (self.client_ca_refs is not None),
            field="clientCARefs",
        ),
        Rule(
            cel="!has(self.crl) || (has(self.clientAuth) && self.clientAuth != 'None')",
            message="needs clientAuth: Optional or Required: without it no client certificate is looked at",
            holds=lambda self: self.crl is None or self.client_auth != ClientAuth.NONE,
            field="crl",
        ),
    )


class WebSocket(Shape):
    """MQTT inside WebSocket."""

    path: RequestPath | None = Field(
        default=None, description="The path that clients ask for, such as /mqtt. Absent: any."
    )
    allowed_origins: Annotated[tuple[Origin, ...], Items(ALLOWED_ORIGINS_MAX, count_min=1, unique=True)] | None = Field(
        default=None,
        description="Pages that may connect from a browser, such as https://app.example.org; '*' allows any. Absent: "
        "only pages of the host and port they connect to. Clients that send no Origin header are not asked for one.",
    )


class ProxyProtocol(Shape):
    """A load balancer in front that tells the client's address in a PROXY header, version 1 or 2."""

    trusted_cidrs: Annotated[tuple[CIDR, ...], Items(TRUSTED_CIDRS_MAX, count_min=1, unique=True)] = Field(
        description="The networks of the load balancers. From them the header is mandatory; any other peer is refused."
    )


class ConnectionRate(Shape):
    """How fast one node accepts connections."""

    per_second: Annotated[int, Field(strict=True, ge=1, le=CONNECTION_RATE_MAX)] = Field(
        description="Connections a second on average. Those above it wait in the kernel's queue, unheard."
    )
    burst: Annotated[int, Field(strict=True, ge=1, le=CONNECTION_RATE_MAX)] | None = Field(
        default=None, description="How many may come at once. Absent: one second's worth."
    )


class Listener(Shape):
    """One port where clients connect."""

    name: PortName = Field(description="Name of the listener, unique in this broker.")
    port: Annotated[int, Field(strict=True, ge=1, le=65_535)] = Field(description="TCP port; 8883 is usual for TLS.")
    protocol: ListenerProtocol = Field(
        default=ListenerProtocol.MQTT,
        description="What is spoken. MQTT: MQTT over TCP. WebSocket: MQTT inside WebSocket, for browsers.",
    )
    web_socket: WebSocket = Field(
        default=WebSocket(), description="Only for protocol: WebSocket: its path, and who may connect from a browser."
    )
    proxy_protocol: ProxyProtocol | None = Field(
        default=None, description="A PROXY header comes first, ahead of TLS. Absent: there is none, and none is taken."
    )
    tls: ListenerTLS | None = Field(
        default=None, description="TLS of this listener; with {}, `stoa up` issues a certificate. Absent: plain text."
    )
    allow_plaintext: StrictBool = Field(
        default=False, description="Must be true on a listener without TLS: anybody on the way can read and change it."
    )
    authentication: Chain | None = Field(
        default=None, description="A chain of this listener's own. Absent: that of the broker."
    )
    max_connections_per_node: Annotated[int, Field(strict=True, ge=1, le=CONNECTIONS_PER_NODE_MAX)] = Field(
        default=20_000, description="How many connections one node accepts on this listener at a time."
    )
    connection_rate: ConnectionRate | None = Field(
        default=None, description="How fast one node accepts connections on this listener. Absent: as fast as it can."
    )
    network_policy_peers: (
        Annotated[tuple[NetworkPolicyPeer, ...], Items(NETWORK_POLICY_PEERS_MAX, count_min=1)] | None
    ) = Field(
        default=None,
        description="Who may reach this port at all, where the cluster enforces NetworkPolicies. Absent: everybody.",
    )

    invariants = (
        Rule(
            cel=f"self.name != '{HTTP_PORT_NAME}'",
            message="is taken: each node serves metrics and probes under that name",
            holds=lambda self: self.name != HTTP_PORT_NAME,
            field="name",
        ),
        Rule(
            cel=f"self.port != {HTTP_PORT}",
            message=f"must not be {HTTP_PORT}: each node serves metrics and probes there",
            holds=lambda self: self.port != HTTP_PORT,
            field="port",
        ),
        Rule(
            cel="has(self.tls) || (has(self.allowPlaintext) && self.allowPlaintext)",
            message="is missing, so this is plain text: add tls: {}, or allowPlaintext: true if that is meant",
            holds=lambda self: self.tls is not None or self.allow_plaintext,
            field="tls",
        ),
        Rule(
            cel="!has(self.tls) || !has(self.allowPlaintext) || !self.allowPlaintext",
            message="contradicts tls: leave one of the two out",
            holds=lambda self: self.tls is None or not self.allow_plaintext,
            field="allowPlaintext",
        ),
        Rule(
            cel="!has(self.webSocket) || (has(self.protocol) && self.protocol == 'WebSocket')",
            message="is only for protocol: WebSocket: leave it out",
            holds=lambda self: self.protocol == ListenerProtocol.WEB_SOCKET or not self.given("web_socket"),
            field="webSocket",
        ),
        _UNIQUE_CHAIN_NAMES,
    )


class Authorization(Shape):
    """What holds where no TopicPermission says anything, and what becomes of rights that go away."""

    default_policy: DefaultPolicy = Field(
        default=DefaultPolicy.DENY,
        description="Deny: what no rule allows is refused. Allow: what no rule denies is granted; weakens the broker.",
    )
    on_revoke: OnRevoke = Field(
        default=OnRevoke.MUTE,
        description="When a client loses the right to a subscription. Mute: it gets nothing more from it until the "
        "right returns. Disconnect: its connection is closed.",
    )


class Queue(Shape):
    """Bounds of what waits for one session."""

    max_messages: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = Field(
        default=1_000, description="How many messages wait for one session at most."
    )
    max_bytes: Annotated[Bytes, BytesBetween("64Ki", "16Gi")] = Field(
        default=Bytes("16Mi"), description="How many bytes of messages wait for one session at most."
    )
    overflow: Overflow = Field(
        default=Overflow.DROP_OLDEST,
        description="When the queue is full. DropOldest and DropNewest: that message is lost, and counted. Reject: the "
        "publisher is told that its quota is exceeded.",
    )


class MQTT(Shape):
    """The limits of the protocol that the broker announces and enforces."""

    max_packet_size: Annotated[Bytes, BytesBetween("1Ki", "256Mi")] = Field(
        default=Bytes("1Mi"), description="The largest packet that is accepted, its header included."
    )
    max_session_expiry: Annotated[Duration, DurationBetween("0s", "87600h")] = Field(
        default=Duration("24h"), description="How long a session is kept at most after its client went away."
    )
    max_message_expiry: Annotated[Duration, DurationBetween("1s", "87600h")] = Field(
        default=Duration("24h"),
        description="The longest lifetime a publisher may give a message; a longer one is cut to it.",
    )
    max_keep_alive: Annotated[Duration, DurationBetween("1s", "18h12m15s")] = Field(
        default=Duration("10m"), description="The longest keep-alive; MQTT 5 clients that ask for more are told this."
    )
    receive_maximum: Annotated[int, Field(strict=True, ge=1, le=65_535)] = Field(
        default=100, description="How many QoS 1 and 2 messages a client may have under way to the broker at a time."
    )
    topic_alias_maximum: Annotated[int, Field(strict=True, ge=0, le=65_535)] = Field(
        default=32, description="How many topic aliases a client may use towards the broker."
    )
    maximum_qos: Annotated[int, Field(strict=True, ge=0, le=2)] = Field(
        default=2, description="The highest QoS that is accepted and granted: 0, 1 or 2."
    )
    retain_available: StrictBool = Field(default=True, description="Whether messages may be retained.")
    wildcard_subscription_available: StrictBool = Field(
        default=True, description="Whether subscriptions may hold the wildcards + and #."
    )
    shared_subscription_available: StrictBool = Field(
        default=True, description="Whether clients may share a subscription ($share/GROUP/FILTER)."
    )
    validate_payload_format: StrictBool = Field(
        default=False,
        description="Whether payloads that say they are UTF-8 (payload format indicator 1 of MQTT 5) must be. One that "
        "is not is refused with reason 0x99; at QoS 0 it is dropped, and counted.",
    )
    max_topic_levels: Annotated[int, Field(strict=True, ge=1, le=LEVELS_MAX)] = Field(
        default=32, description="How many levels (parts between slashes) topics and filters have at most."
    )
    max_subscriptions_per_client: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = Field(
        default=1_000, description="How many subscriptions one client holds at most."
    )
    sys_interval: Annotated[Duration, DurationBetween("0s", "1h")] = Field(
        default=Duration("10s"),
        description="How often the broker publishes figures of its own below $SYS; 0s switches them off. Clients read "
        "them with a right to subscribe to $SYS/#, which # alone does not grant; no client may publish there.",
    )
    queue: Queue = Field(default=Queue(), description="Bounds of what waits for one session.")


class Drain(Shape):
    """How a node leaves: on a restart, when the broker shrinks, or when it is told to."""

    connections_per_second: Annotated[int, Field(strict=True, ge=1, le=CONNECTION_RATE_MAX)] = Field(
        default=200, description="How many clients a second are asked to connect elsewhere."
    )
    will_grace: Annotated[Duration, DurationBetween("0s", "1h")] = Field(
        default=Duration("30s"),
        description="A client that is sent away has this long to come back before its will is published.",
    )
    server_reference: StrictBool = Field(
        default=False,
        description="Tell MQTT 5 clients where to go instead. Only where they can reach the nodes by those addresses.",
    )


class Rebalance(Shape):
    """How nodes even out their connections after one came back or was added."""

    connections_per_second: Annotated[int, Field(strict=True, ge=0, le=CONNECTION_RATE_MAX)] = Field(
        default=50, description="How many clients a second a node with too many sends away; 0: none, ever."
    )
    tolerance_percent: Annotated[int, Field(strict=True, ge=1, le=1_000)] = Field(
        default=20, description="How far above the average of all nodes is too many, in percent."
    )


def _services_lead_to_listeners(spec: "MQTTBrokerSpec") -> bool:
    names = {listener.name for listener in spec.listeners}
    return all(names.issuperset(service.listeners) for service in spec.services)


class MQTTBrokerSpec(Shape):
    """What is wanted of the broker."""

    image: Image | None = Field(
        default=None, description="What the nodes run. Absent: what the operator itself runs, as upgradePolicy says."
    )
    image_pull_secrets: Annotated[tuple[SecretRef, ...], Items(IMAGE_PULL_SECRETS_MAX, key="name")] = Field(
        default=(), description="Secrets of type kubernetes.io/dockerconfigjson with which images are fetched."
    )
    upgrade_policy: UpgradePolicy = Field(
        default=UpgradePolicy.AUTOMATIC,
        description="When the operator itself is upgraded, and image is absent. Automatic: the nodes follow, one at a "
        "time, and one broker at a time. Manual: they stay as they are until this is Automatic; "
        "status.availableVersion says what waits.",
    )
    replicas: Annotated[int, Field(strict=True, ge=1, le=REPLICAS_MAX)] = Field(
        default=1, description="How many nodes the broker has. The embedded store serves exactly one."
    )
    session_store: SessionStore = Field(description="Where sessions, queues and retained messages are kept.")
    authentication: Chain | None = Field(
        default=None,
        description="The ways to prove who one is, asked in this order by every listener that has no chain of its own. "
        "Whom none of them accepts is refused.",
    )
    listeners: Annotated[tuple[Listener, ...], Items(LISTENERS_MAX, count_min=1, key="name")] = Field(
        description="The ports where clients connect."
    )
    services: Annotated[tuple[Service, ...], Items(SERVICES_MAX, key="name")] = Field(
        default=(),
        description="What clients outside the cluster connect to. Inside, a Service with the broker's name leads to "
        "all listeners.",
    )
    authorization: Authorization = Field(
        default=Authorization(), description="What holds where no TopicPermission says anything."
    )
    attachments: Annotated[tuple[Attachment, ...], Items(ATTACHMENTS_MAX)] = Field(
        default=(), description="What MQTTClients and TopicPermissions of other namespaces may do with this broker."
    )
    mqtt: MQTT = Field(default=MQTT(), description="The limits of the protocol.")
    drain: Drain = Field(default=Drain(), description="How a node leaves without harm.")
    rebalance: Rebalance = Field(default=Rebalance(), description="How nodes even out their connections.")
    autoscaling: Autoscaling | None = Field(
        default=None, description="What sets replicas instead of you. Absent: nobody."
    )
    pod_disruption_budget: PodDisruptionBudget = Field(
        default=PodDisruptionBudget(), description="How many nodes may be away when machines are emptied."
    )
    pod_template: PodTemplate | None = Field(default=None, description="Where the nodes run, and with how much.")
    monitoring: Monitoring = Field(default=Monitoring(), description="What is made for Prometheus and Grafana.")
    deletion_policy: DeletionPolicy = Field(
        default=DeletionPolicy.RETAIN,
        description="When this object is deleted. Retain: sessions, queues and retained messages stay in the store, "
        "and its volume stays. Delete: they go with it.",
    )

    invariants = (
        Rule(
            cel="!has(self.sessionStore.embedded) || !has(self.autoscaling)",
            message="is not for the embedded store, which serves one node: leave it out",
            holds=lambda self: self.session_store.embedded is None or self.autoscaling is None,
            field="autoscaling",
        ),
        Rule(
            cel="!has(self.services) || self.services.all(s, s.listeners.all(name, self.listeners.exists(l, l.name == "
            "name)))",
            message="must lead to listeners that exist",
            holds=_services_lead_to_listeners,
            field="services",
        ),
        *ATTACHMENT_RULES,
        Rule(
            cel="!has(self.sessionStore.embedded) || self.replicas == 1",
            message="must be 1 with the embedded store: it serves one node",
            holds=lambda self: self.session_store.embedded is None or self.replicas == 1,
            field="replicas",
        ),
        Rule(
            cel="self.listeners.all(a, self.listeners.exists_one(b, b.port == a.port))",
            message="must not use one port twice",
            holds=lambda self: len({listener.port for listener in self.listeners}) == len(self.listeners),
            field="listeners",
        ),
        Rule(
            cel="has(self.authentication) || self.listeners.all(a, has(a.authentication))",
            message="is missing, so nobody could connect: name a way, such as {name: passwords, type: Password}",
            holds=lambda self: (
                self.authentication is not None
                or all(listener.authentication is not None for listener in self.listeners)
            ),
            field="authentication",
        ),
        _UNIQUE_CHAIN_NAMES,
    )


class MQTTBroker(Resource):
    """An MQTT broker: its nodes, its store, its listeners, and who may connect."""

    kind: Literal["MQTTBroker"]
    spec: MQTTBrokerSpec = Field(description="What is wanted of the broker.")
    status: MQTTBrokerStatus = Field(default=MQTTBrokerStatus(), description="What was seen of the broker.")

    invariants = (
        Rule(
            cel=f"size(self.metadata.name) <= {BROKER_NAME_CHARACTERS_MAX}"
            f" && self.metadata.name.matches({cel_text(_BROKER_NAME_PATTERN)})",
            message=f"metadata.name must be at most {BROKER_NAME_CHARACTERS_MAX} lower-case letters, digits and '-', "
            "starting with a letter: Services are named after it",
            holds=lambda self: (
                len(self.metadata.name) <= BROKER_NAME_CHARACTERS_MAX
                and re.fullmatch(_BROKER_NAME_PATTERN, self.metadata.name) is not None
            ),
        ),
    )
