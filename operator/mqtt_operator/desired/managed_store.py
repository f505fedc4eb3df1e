"""One small Redis that is run along with its broker: the pod, how it is found, its configuration, and the log-ins.

Knows the objects; does not know how passwords and certificates are made or replaced. Both change while it runs: only
its configuration and its image restart it.
"""

from hashlib import sha256

from mqtt_api.kinds import session_store
from mqtt_api.resources import MQTTBroker
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.desired import names
from mqtt_operator.desired.config_hash import HASH_CHARACTERS
from mqtt_operator.desired.inputs import Inputs, ManagedStore
from mqtt_operator.desired.kinds import SERVICE, STATEFUL_SET
from mqtt_operator.desired.labels import Component, labels, selector
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import as_written, owned, owned_secret
from mqtt_operator.desired.pod import CONTAINER_SECURITY, pod_basics
from mqtt_operator.desired.redis_conf import DATA_FOLDER, FOLDER, memory_bytes, redis_conf
from mqtt_operator.desired.redis_settings import key_prefix
from mqtt_operator.desired.redis_users import NODE_USER, OPERATOR_USER, users_acl
from mqtt_operator.desired.volume_claim import retention, volume_claim
from mqtt_operator.desired.volumes import Volume, secret_volume

_MOUNTED = (
    names.REDIS_CONF_KEY,
    names.USERS_ACL_KEY,
    names.CERTIFICATE_KEY,
    names.PRIVATE_KEY_KEY,
    names.CA_KEY,
)
GRACE_S = 60


def store_secrets(broker: MQTTBroker, inputs: Inputs) -> list[Manifest]:
    """The log-ins of nodes and operator, and what the server itself reads; none of them is in another one's hands."""
    managed = inputs.managed
    if managed is None:
        return []
    name = broker.metadata.name
    nodes = {**_log_in(NODE_USER, managed.node.password), names.CA_KEY: managed.ca}
    operator = {
        **_log_in(OPERATOR_USER, managed.operator.password),
        names.ADMIN_PASSWORD_KEY: managed.admin.password.encode(),
        names.CA_KEY: managed.ca,
    }
    contents = {
        names.store_credentials(name): nodes,
        names.operator_store_credentials(name): operator,
        names.store_server_secret(name): _server(broker, managed),
    }
    return [
        owned_secret(broker, inputs, secret, content, component=Component.STORE) for secret, content in contents.items()
    ]


def store_server(broker: MQTTBroker, inputs: Inputs) -> list[Manifest]:
    """The Service, and the StatefulSet of one pod; none unless the broker has a managed store."""
    store, managed = broker.spec.session_store.managed, inputs.managed
    if store is None or managed is None:
        return []
    return [_service(broker, inputs), _stateful_set(broker, inputs, store, managed)]


def dns_names(broker: MQTTBroker, inputs: Inputs) -> tuple[str, ...]:
    """What its certificate must name."""
    in_full = names.service_dns_name(names.store(broker.metadata.name), broker.metadata.namespace)
    return (in_full, f"{in_full}.{inputs.cluster_domain}")


def _log_in(username: str, password: str) -> dict[str, bytes]:
    return {names.USERNAME_KEY: username.encode(), names.PASSWORD_KEY: password.encode()}


def _server(broker: MQTTBroker, managed: ManagedStore) -> dict[str, bytes]:
    return {
        names.REDIS_CONF_KEY: redis_conf(broker).encode(),
        names.USERS_ACL_KEY: users_acl(StoreKeys(key_prefix(broker)), managed).encode(),
        names.CERTIFICATE_KEY: managed.certificate,
        names.PRIVATE_KEY_KEY: managed.private_key,
        names.CA_KEY: managed.ca,
    }


def _service(broker: MQTTBroker, inputs: Inputs) -> Manifest:
    name = broker.metadata.name
    port = {
        "name": names.REDIS_PORT_NAME,
        "port": names.REDIS_PORT,
        "targetPort": names.REDIS_PORT_NAME,
        "protocol": "TCP",
        "appProtocol": "redis",
    }
    spec = {"type": "ClusterIP", "selector": selector(name, Component.STORE), "ports": [port]}
    return owned(broker, inputs, SERVICE, names.store(name), component=Component.STORE, spec=spec)


def _stateful_set(
    broker: MQTTBroker, inputs: Inputs, store: session_store.ManagedStore, managed: ManagedStore
) -> Manifest:
    name = broker.metadata.name
    spec = {
        "replicas": 1,
        "serviceName": names.store(name),
        "selector": {"matchLabels": selector(name, Component.STORE)},
        "template": _template(broker, inputs, store, managed),
        "volumeClaimTemplates": [volume_claim(broker, Component.STORE, store)],
        "persistentVolumeClaimRetentionPolicy": retention(broker),
    }
    return owned(broker, inputs, STATEFUL_SET, names.store(name), component=Component.STORE, spec=spec)


def _template(broker: MQTTBroker, inputs: Inputs, store: session_store.ManagedStore, managed: ManagedStore) -> Manifest:
    name = broker.metadata.name
    secret = names.store_server_secret(name)
    volumes = [
        secret_volume("config", FOLDER, secret, {key: key for key in _MOUNTED}),
        Volume(names.DATA_VOLUME, DATA_FOLDER, None, read_only=False),
    ]
    # Its labels have no version: a new release of the operator is no reason to restart a store.
    return {
        "metadata": {
            "labels": labels(name, Component.STORE),
            "annotations": {names.CONFIG_HASH_ANNOTATION: _hash(redis_conf(broker))},
        },
        "spec": {
            **pod_basics(broker, inputs),
            "terminationGracePeriodSeconds": GRACE_S,
            "containers": [_container(inputs, store, managed, volumes)],
            "volumes": [volume.declaration for volume in volumes if volume.source is not None],
        },
    }


def _container(
    inputs: Inputs, store: session_store.ManagedStore, managed: ManagedStore, volumes: list[Volume]
) -> Manifest:
    return {
        "name": names.STORE_CONTAINER,
        "image": managed.image if store.image is None else store.image.reference,
        "imagePullPolicy": inputs.pull_policy,
        "command": ["redis-server", f"{FOLDER}/{names.REDIS_CONF_KEY}"],
        "workingDir": DATA_FOLDER,
        "ports": [{"name": names.REDIS_PORT_NAME, "containerPort": names.REDIS_PORT, "protocol": "TCP"}],
        "securityContext": CONTAINER_SECURITY,
        "resources": _usual_resources(store) if store.resources is None else as_written(store.resources),
        "volumeMounts": [volume.mount for volume in volumes],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        # Reading its file may take a while; until then it answers, if only that it is loading.
        "startupProbe": {**_PING, "periodSeconds": 2, "failureThreshold": 300},
        "readinessProbe": {**_PING, "periodSeconds": 10, "failureThreshold": 3},
        "livenessProbe": {**_PING, "periodSeconds": 20, "failureThreshold": 6},
    }


# Any answer will do, and "log in first" is one. A bare connection would leave a line in the log each time.
_PING: Manifest = {
    "exec": {
        "command": [
            "redis-cli",
            "--tls",
            "--cacert",
            f"{FOLDER}/{names.CA_KEY}",
            "-h",
            "127.0.0.1",
            "-p",
            str(names.REDIS_PORT),
            "ping",
        ]
    },
    "timeoutSeconds": 5,
}


def _usual_resources(store: session_store.ManagedStore) -> Manifest:
    memory = str(memory_bytes(store))
    return {"requests": {"cpu": "100m", "memory": memory}, "limits": {"memory": memory}}


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:HASH_CHARACTERS]
