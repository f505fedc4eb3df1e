"""The names of everything that is made for a broker: objects, keys in them, ports, paths in a pod, annotations.

Knows words only; does not know what stands in the objects. `broker` is always metadata.name of the MQTTBroker.
"""

from mqtt_api import keys
from mqtt_api.kinds import mqttbroker

FIELD_MANAGER = "stoa-operator"
STATUS_FIELD_MANAGER = "stoa-operator-status"
OWNER_FIELD_MANAGER = "stoa-operator-owner"  # of Secrets whose content is not ours
FINALIZER = f"{keys.GROUP}/finalizer"

# Annotations of an MQTTBroker, written by people; restartedAt is copied to the pods.
PAUSE_ANNOTATION = f"{keys.GROUP}/pause-reconciliation"
RESTARTED_AT_ANNOTATION = f"{keys.GROUP}/restartedAt"
RECONCILE_REQUESTED_AT_ANNOTATION = f"{keys.GROUP}/reconcile-requested-at"
ACCEPT_STORE_ANNOTATION = f"{keys.GROUP}/accept-store"
ACCEPT_MASS_REMOVAL_ANNOTATION = f"{keys.GROUP}/accept-mass-removal"
# Annotations of pods, written by the operator. The latter two only make a kubelet refresh the pod's volumes at once.
CONFIG_HASH_ANNOTATION = f"{keys.GROUP}/config-hash"
POLICY_REVISION_ANNOTATION = f"{keys.GROUP}/policy-revision"
CERTIFICATES_ANNOTATION = f"{keys.GROUP}/certificates"

SETTINGS_KEY = "settings.json"
POLICY_KEY = "policy.json"
USERNAME_KEY = "username"
PASSWORD_KEY = "password"  # noqa: S105 - the name of an entry
CERTIFICATE_KEY = "tls.crt"
PRIVATE_KEY_KEY = "tls.key"
CA_KEY = "ca.crt"
CRL_KEY = "crl.pem"
ADMIN_PASSWORD_KEY = "admin-password"  # noqa: S105 - the name of an entry
REDIS_CONF_KEY = "redis.conf"
USERS_ACL_KEY = "users.acl"

HTTP_PORT_NAME, HTTP_PORT = mqttbroker.HTTP_PORT_NAME, mqttbroker.HTTP_PORT
STARTUP_PATH, READINESS_PATH, LIVENESS_PATH = "/startupz", "/readyz", "/livez"
METRICS_PATH = "/metrics"
STATUS_PATH = "/status"
REDIS_PORT_NAME = "redis"
REDIS_PORT = 6379

SETTINGS_FOLDER = "/etc/stoa/settings"
POLICY_FOLDER = "/etc/stoa/policy"
STORE_FOLDER = "/etc/stoa/store"
SENTINEL_FOLDER = "/etc/stoa/sentinel"
STORE_CAS_FOLDER = "/etc/stoa/store-ca"
RUN_FOLDER = "/run/stoa"
DATA_FOLDER = "/var/lib/stoa"
SETTINGS_FILE = f"{SETTINGS_FOLDER}/{SETTINGS_KEY}"
POLICY_FILE = f"{POLICY_FOLDER}/{POLICY_KEY}"
ADMIN_SOCKET = f"{RUN_FOLDER}/admin.sock"
STORE_FILE = f"{DATA_FOLDER}/store.sqlite"
DATA_VOLUME = "data"

NODE_PLACEHOLDER = "{node}"
"""Stands in the settings, which all nodes share, where each puts its own name."""

USER_ID = 65_532
NODE_CONTAINER = "broker"
STORE_CONTAINER = "redis"


def stateful_set(broker: str) -> str:
    """The nodes. Its pods are called like this with a number behind it."""
    return broker


def pod(broker: str, ordinal: int) -> str:
    """The pod, and the name, of one node."""
    return f"{broker}-{ordinal}"


def headless_service(broker: str) -> str:
    """The Service that gives each node a DNS name."""
    return f"{broker}-nodes"


def pod_dns_name(broker: str, namespace: str, pod_name: str) -> str:
    """Where one node is found within the cluster, whatever the domain of the cluster is called."""
    return f"{pod_name}.{headless_service(broker)}.{namespace}.svc"


def service(broker: str) -> str:
    """The Service for clients within the cluster, with all listeners."""
    return broker


def extra_service(broker: str, entry: str) -> str:
    """The Service of one entry of spec.services."""
    return f"{broker}-{entry}"


def service_dns_name(service_name: str, namespace: str) -> str:
    """Where a Service is found within the cluster, whatever the domain of the cluster is called."""
    return f"{service_name}.{namespace}.svc"


def settings_config_map(broker: str) -> str:
    """The settings of the nodes, one document for all of them."""
    return f"{broker}-settings"


def client_cas(broker: str) -> str:
    """The CAs for client certificates, of all listeners."""
    return f"{broker}-client-cas"


def client_cas_key(listener: str) -> str:
    """The entry of one listener."""
    return f"{listener}.crt"


def service_account(broker: str) -> str:
    """Who the pods are towards Kubernetes: nobody with any right."""
    return broker


def disruption_budget(broker: str) -> str:
    """How many nodes may be away at a time."""
    return broker


def autoscaler(broker: str) -> str:
    """The HorizontalPodAutoscaler."""
    return broker


def nodes_network_policy(broker: str) -> str:
    """Who reaches the nodes, and whom they reach."""
    return f"{broker}-nodes"


def store_network_policy(broker: str) -> str:
    """Who reaches the managed store."""
    return f"{broker}-store"


def tls(broker: str, listener: str) -> str:
    """The Certificate of a listener, and the Secret that it is written to."""
    return f"{broker}-{listener}-tls"


def store_credentials(broker: str) -> str:
    """The Secret with which nodes log in to the managed store."""
    return f"{broker}-store"


def operator_store_credentials(broker: str) -> str:
    """The Secret with which the operator logs in to the managed store. No pod mounts it."""
    return f"{broker}-store-operator"


def store(broker: str) -> str:
    """The managed store: its StatefulSet, and the Service by which it is found. Short, for a StatefulSet adds 11 more
    characters to make a label of at most 63.
    """
    return f"{broker}-store"


def store_pod(broker: str) -> str:
    """The one pod of the managed store."""
    return f"{store(broker)}-0"


def store_server_secret(broker: str) -> str:
    """Configuration, users and certificate of the managed store. Only its own pod mounts it."""
    return f"{broker}-store-server"


def policy_secret(broker: str) -> str:
    """The policy, for a node that has a store of its own."""
    return f"{broker}-policy"


def verifiers_secret(broker: str) -> str:
    """What verifiers of passwords are found again by. No pod mounts it."""
    return f"{broker}-verifiers"


def service_monitor(broker: str) -> str:
    """What Prometheus is to read."""
    return broker


def prometheus_rule(broker: str) -> str:
    """The alerts."""
    return broker


def dashboard(broker: str, board: str) -> str:
    """The ConfigMap of one dashboard."""
    return f"{broker}-dashboard-{board}"


def tls_folder(listener: str) -> str:
    """Where certificate and key of a listener lie in a pod."""
    return f"/etc/stoa/tls/{listener}"


def client_cas_folder(listener: str) -> str:
    """Where the CAs for client certificates lie in a pod."""
    return f"/etc/stoa/client-ca/{listener}"


def client_cas_file(listener: str) -> str:
    """All of them, one after the other."""
    return f"{client_cas_folder(listener)}/{CA_KEY}"


def crl_folder(listener: str) -> str:
    """Where the CRL of a listener lies in a pod."""
    return f"/etc/stoa/crl/{listener}"


def store_ca_file(number: int) -> str:
    """One CA of the store, by its place in the list."""
    return f"{STORE_CAS_FOLDER}/{number}/{CA_KEY}"
