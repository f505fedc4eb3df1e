"""What clients and permissions are told whose broker is not there, or makes no sense.

Knows who names a broker; does not know why it cannot be used.
"""

from mqtt_operator.desired.kinds import MQTT_CLIENT, TOPIC_PERMISSION
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.member_status import (
    ClientView,
    PermissionView,
    Progress,
    client_status,
    mistakes_as_problems,
    permission_status,
)
from mqtt_operator.reconcile.policy_means import Means
from mqtt_operator.reconcile.statuses import Subject
from mqtt_operator.status.verdict import Problem


def tell_members(means: Means, key: BrokerKey, problem: Problem) -> int:
    """Everybody who names this broker; how many they are. Idempotent. Raises UnseenError."""
    clients, permissions = means.registry.clients_of(key), means.registry.permissions_of(key)
    waiting, now = Progress(obstacle=problem), means.clock()
    for name, client in clients.items():
        of_client = ClientView(
            generation=client.generation,
            refusals=mistakes_as_problems(client.mistakes),
            unresolved=(problem,),
            progress=waiting,
            username="" if client.resource is None else client.resource.username,
        )
        subject = Subject(MQTT_CLIENT, name)
        status = client_status(of_client, means.statuses.known(subject, client), now)
        means.statuses.want(subject, client, status)
    for name, permission in permissions.items():
        of_permission = PermissionView(
            generation=permission.generation,
            refusals=mistakes_as_problems(permission.mistakes),
            unresolved=(problem,),
            progress=waiting,
        )
        subject = Subject(TOPIC_PERMISSION, name)
        status = permission_status(of_permission, means.statuses.known(subject, permission), now)
        means.statuses.want(subject, permission, status)
    return len(clients) + len(permissions)
