"""Which objects belong to a broker, and which user names are whose.

Knows references and namespaces; does not know rules or where objects come from. Pure.
"""

from collections import defaultdict
from collections.abc import Iterable

from mqtt_api.kinds.common import BrokerRef, ObjectMeta
from mqtt_api.resources import MQTTBroker, MQTTClient, TopicPermission


def names_broker(broker: MQTTBroker, metadata: ObjectMeta, ref: BrokerRef) -> bool:
    """True if the reference means this broker. Without a namespace it means that of the object itself."""
    wanted = (ref.namespace or metadata.namespace, ref.name)
    return wanted == (broker.metadata.namespace, broker.metadata.name)


def is_attached(broker: MQTTBroker, member: MQTTClient | TopicPermission) -> bool:
    """True if the object names this broker and lives in its namespace.

    Another namespace would need the owner's leave to log clients in or hand out topics here, and nothing gives that
    leave: whoever may write objects there would otherwise write rights here.
    """
    return member.metadata.namespace == broker.metadata.namespace and names_broker(
        broker, member.metadata, member.spec.broker_ref
    )


def claimed_usernames(clients: Iterable[MQTTClient]) -> dict[str, list[MQTTClient]]:
    """The clients of each user name. More than one: it belongs to nobody until people have settled it."""
    claims: defaultdict[str, list[MQTTClient]] = defaultdict(list)
    for client in clients:
        claims[client.username].append(client)
    return dict(claims)
