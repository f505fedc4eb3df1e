"""The configuration of a Redis of our own: every write on its disk before it is answered, and nothing ever thrown out.

Knows the words of redis.conf and how much fits; does not know pods. Users stand in a file of their own.
"""

from mqtt_api.kinds.session_store import STORAGE_DEFAULT, DurabilityLevel, ManagedStore
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names

FOLDER = "/etc/redis"
DATA_FOLDER = "/data"
DATA_PARTS_OF_STORAGE = 4
"""The file holds the data, grows to twice of it, and is written anew beside the old one."""
MEMORY_PARTS_FOR_DATA = 2
"""While the file is written anew, what changes meanwhile is held twice."""
PROCESS_BYTES = 64 * 1024 * 1024


def redis_conf(broker: MQTTBroker) -> str:
    """The whole file. A change of it needs a restart; certificates and users do not stand in it."""
    store = broker.spec.session_store
    data_bytes_max = data_size_bytes_max(store.managed or ManagedStore())
    is_on_disk = store.durability.level is not DurabilityLevel.MEMORY
    lines = [
        "bind * -::*",
        "port 0",
        f"tls-port {names.REDIS_PORT}",
        f"tls-cert-file {FOLDER}/{names.CERTIFICATE_KEY}",
        f"tls-key-file {FOLDER}/{names.PRIVATE_KEY_KEY}",
        f"tls-ca-cert-file {FOLDER}/{names.CA_KEY}",
        "tls-auth-clients no",
        'tls-protocols "TLSv1.2 TLSv1.3"',
        "protected-mode yes",
        f"aclfile {FOLDER}/{names.USERS_ACL_KEY}",
        f"dir {DATA_FOLDER}",
        "daemonize no",
        'logfile ""',
        'save ""',
        "appendonly yes",
        f"appendfsync {'always' if is_on_disk else 'everysec'}",
        f"auto-aof-rewrite-min-size {data_bytes_max}",
        f"maxmemory {data_bytes_max}",
        "maxmemory-policy noeviction",
    ]
    return "\n".join([*lines, ""])


def data_size_bytes_max(store: ManagedStore) -> int:
    """How much it holds: what its volume has room for, and its memory if that is limited."""
    on_disk = (store.storage or STORAGE_DEFAULT).bytes // DATA_PARTS_OF_STORAGE
    limit = None if store.resources is None else store.resources.limits.get("memory")
    if limit is None:
        return on_disk
    return min(on_disk, int(limit.amount) // MEMORY_PARTS_FOR_DATA)


def memory_bytes(store: ManagedStore) -> int:
    """What its pod needs, where nobody said what it gets."""
    return data_size_bytes_max(store) * MEMORY_PARTS_FOR_DATA + PROCESS_BYTES
