"""What no MQTTBroker says, and its objects are built from nevertheless: one value, gathered before anything is built.

Knows names and meanings; does not know where any of it was found. Holds secrets, which no representation shows.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from mqtt_operator.desired.manifest import Manifest

ANY_PROMETHEUS: Manifest = {
    "namespaceSelector": {},
    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},  # as Prometheus' own operator labels it
}


class StoreUsers(Struct, frozen=True, kw_only=True):
    """The user names that the Secrets of a Redis of the people's own hold. None = Redis' user named default."""

    node: str | None = None
    operator: str | None = None
    sentinel: str | None = None


class Passwords(Struct, frozen=True, kw_only=True):
    """The password of one user of the managed store, and the SHA-256 (hexadecimal) of others that it accepts as well.

    While one replaces the other, both are accepted; only the one in use is ever written down.
    """

    password: str
    also_accepted: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "Passwords(...)"


class ManagedStore(Struct, frozen=True, kw_only=True):
    """What the managed store needs. `image` by digest; certificate, key and CAs are PEM.

    The certificate must name all of `managed_store.dns_names`. `ca` holds two CAs while one replaces the other.
    """

    image: str
    node: Passwords
    operator: Passwords
    admin: Passwords
    certificate: bytes
    private_key: bytes
    ca: bytes

    def __repr__(self) -> str:
        return f"ManagedStore(image={self.image!r}, ...)"


class Inputs(Struct, frozen=True, kw_only=True):
    """Everything that is not in the broker.

    - `image`: of the nodes, by digest; `version`: the release in it. `pull_policy`, `pull_secrets`: how it is fetched.
    - `world`: the identity of the store.
    - `replicas`: how many nodes there are to be for now, on the way to what the broker declares; None = that.
    - `users`: only for a Redis of the people's own. `managed`: only for the managed store. `policy`: the document, only
      for the embedded store.
    - `client_cas`: by listener, the CAs that certificates of clients are verified by: PEM, one after the other.
    - `settings_in_force`: entries of the settings ConfigMap that pods still read, by key (config_map.in_force).
    - `host`: what nodes bind: "0.0.0.0", or "::" where pods have IPv6 addresses. `cluster_domain`: as DNS calls it.
    - `operator_namespace`: where the operator's own pods are.
    - `has_cert_manager`, `has_service_monitors`, `has_prometheus_rules`: the API server knows these kinds.
    - `metrics_peers`: who may read metrics, as peers of a NetworkPolicy. `alert_groups`, `dashboards`: as
      observability.rules.alert_groups and, by name, observability.boards.broker_board give them for this broker.
    """

    image: str
    version: str
    world: str
    operator_namespace: str
    replicas: int | None = None
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    users: StoreUsers = StoreUsers()
    managed: ManagedStore | None = None
    policy: bytes | None = None
    client_cas: Mapping[str, str] = {}
    settings_in_force: Mapping[str, str] = {}
    host: str = "0.0.0.0"  # noqa: S104 - within a pod, whose NetworkPolicy says who gets there
    cluster_domain: str = "cluster.local"
    has_cert_manager: bool = True
    has_service_monitors: bool = True
    has_prometheus_rules: bool = True
    metrics_peers: tuple[Manifest, ...] = (ANY_PROMETHEUS,)
    alert_groups: Sequence[Manifest] = ()
    dashboards: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"Inputs(image={self.image!r}, version={self.version!r}, ...)"
