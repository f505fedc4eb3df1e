"""The settings of one broker node: the document that an operator renders and a node reads.

Knows the shape and base units (seconds, bytes, counts); does not know who writes it, where it lies, or what is done
with it. Paths are absolute. No secret stands in it: keys and passwords are files or verifiers elsewhere.
"""

from msgspec import Struct

from mqtt_api.scram import ScramMechanism


class TLSSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS of one listener. `client_auth`: None, Optional or Required. Files are PEM and are watched for changes."""

    certificate_file: str
    key_file: str
    min_version: str = "TLS1.2"
    client_auth: str = "None"
    client_ca_files: tuple[str, ...] = ()
    crl_files: tuple[str, ...] = ()


class AuthenticationSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of a chain. `type`: X509, Password, SCRAM or Anonymous.

    `principals`: RequireMQTTClient (the user name must belong to an MQTTClient) or Open (X509 only: every valid
    certificate is a principal of its own). `client_ids` are the patterns an Open principal may use. `mechanisms` (SCRAM
    only) are the authentication methods that are offered.
    """

    name: str
    type: str
    username_from: str = "CommonName"
    principals: str = "RequireMQTTClient"
    client_ids: tuple[str, ...] = ("${username}",)
    mechanisms: tuple[str, ...] = tuple(ScramMechanism)


class WebSocketSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """MQTT inside WebSocket. `path` None = any. `allowed_origins`: scheme://host[:port], or "*" for any.

    `allowed_origins` None = a browser's page must come from the very host and port that it connects to.
    """

    path: str | None = None
    allowed_origins: tuple[str, ...] | None = None


class ProxyProtocolSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every connection starts with a PROXY header. `trusted_cidrs`: the proxies' networks; nobody else gets in."""

    trusted_cidrs: tuple[str, ...]


class ConnectionRateSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast connections are accepted: `per_s` on average, `burst` at once."""

    per_s: int
    burst: int


class ListenerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One listening port. `tls` absent = plain text. `authentication` absent = the node's chain; empty = nobody.

    `protocol`: MQTT or WebSocket; `web_socket` counts for the latter only. `proxy_protocol` absent = no PROXY header.
    """

    name: str
    host: str
    port: int
    protocol: str = "MQTT"
    web_socket: WebSocketSettings = WebSocketSettings()
    proxy_protocol: ProxyProtocolSettings | None = None
    tls: TLSSettings | None = None
    authentication: tuple[AuthenticationSettings, ...] | None = None
    max_connections: int = 20_000
    connection_rate: ConnectionRateSettings | None = None


class QueueSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of what waits for one session. `overflow`: DropOldest, DropNewest or Reject."""

    messages_max: int = 1_000
    bytes_max: int = 16 * 1024 * 1024
    overflow: str = "DropOldest"


class MQTTSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of the protocol. Units last in the name. `sys_interval_s`: how often $SYS is published, 0 = never."""

    packet_bytes_max: int = 1024 * 1024
    session_expiry_s_max: int = 86_400
    message_expiry_s_max: int = 86_400
    keep_alive_s_max: int = 600
    receive_maximum: int = 100
    topic_alias_maximum: int = 32
    maximum_qos: int = 2
    retain_available: bool = True
    wildcard_subscription_available: bool = True
    shared_subscription_available: bool = True
    validate_payload_format: bool = False
    topic_levels_max: int = 32
    subscriptions_per_client_max: int = 1_000
    sys_interval_s: int = 10
    queue: QueueSettings = QueueSettings()


class RedisTLSSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS to Redis. `ca_files` empty = the system's trust. Certificate and key, PEM, only if Redis asks for them."""

    ca_files: tuple[str, ...] = ()
    certificate_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None


class RedisSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A store that nodes share: Redis 7 or Valkey 8.

    `addresses` are host:port; those of the sentinels where `master_name` is given. The password is in a file, which is
    read again for each new connection. `durability`: Memory, Disk or Replicated (`replicas` must then have each write
    before it counts); `verification`: Required checks the server's settings at start, Declared believes.
    `outage_s_max`: how long a node whose lease has run out keeps its connections, frozen. `lease_s`: who saw a node's
    lease stand still for so long may fence it; the holder itself stops a second earlier.
    """

    addresses: tuple[str, ...]
    key_prefix: str
    master_name: str | None = None
    username: str | None = None
    password_file: str | None = None
    sentinel_username: str | None = None
    sentinel_password_file: str | None = None
    tls: RedisTLSSettings | None = None
    durability: str = "Disk"
    verification: str = "Required"
    replicas: int = 0
    lease_s: float = 6.0
    outage_s_max: float = 60.0
    inbox_bytes_max: int = 64 * 1024 * 1024


class DrainSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A polite end: `connections_per_s` are asked to go elsewhere; a will waits `will_grace_s` for its client's return.

    `grace_s`: so long after SIGTERM the process has ended, whatever its pace; whoever starts it must not end it before.
    `server_reference`: MQTT 5 clients are told where to go instead.
    """

    connections_per_s: int = 200
    will_grace_s: int = 30
    grace_s: int = 15
    server_reference: bool = False


class RebalanceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node with `tolerance_percent` more connections than the average sends some away. 0 a second: never."""

    connections_per_s: int = 50
    tolerance_percent: int = 20


class HTTPSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where probes and metrics are answered over TCP, in plain text and to everybody who gets there."""

    host: str
    port: int


class NodeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything one node needs to know. `on_revoke`: Mute or Disconnect. `log_level`: debug, info or warning.

    `broker` is "namespace/name". `world` is the identity of the store: one of another world is refused, and
    a Redis that is empty; an empty file becomes this world, for nothing tells it from the first start.
    `store` is "sqlite:/absolute/path" or "sqlite::memory:" for a node of its own (`store_bytes_max` bounds its size,
    None = the disk does), or where Redis is. `policy_file` is for a node of its own; where nodes share a store, the
    policy lies there, and the name is empty.
    `server_reference`: where clients find this node (MQTT 5.0, 4.11); "{node}" in it stands for its name.
    `admin_socket`: path of a Unix socket. `http`: what is answered there, over TCP too; absent = not.
    """

    node: str
    broker: str
    world: str
    store: str | RedisSettings
    store_bytes_max: int | None = None
    policy_file: str = ""
    admin_socket: str
    http: HTTPSettings | None = None
    listeners: tuple[ListenerSettings, ...]
    authentication: tuple[AuthenticationSettings, ...] = ()
    on_revoke: str = "Mute"
    drain: DrainSettings = DrainSettings()
    rebalance: RebalanceSettings = RebalanceSettings()
    server_reference: str = ""
    mqtt: MQTTSettings = MQTTSettings()
    log_level: str = "info"
    log_format: str = "json"
