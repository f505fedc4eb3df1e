"""`stoa can-i`: a question about the clients of a folder, put to the policy that the folder compiles to.

Knows how people name a client and what a listener's chain lets in; does not know terminals, and decides nothing itself.
"""

from collections.abc import Iterator

from msgspec import Struct

from mqtt_api.kinds.mqttbroker import Authentication, AuthenticationType, Principals, UsernameFrom
from mqtt_api.policy import Activity
from mqtt_api.resources import MQTTBroker, MQTTClient
from mqtt_operator.errors import UsageError
from mqtt_operator.local.folder import Declared
from mqtt_operator.policy.can_i import Answer, Question, Who, can_i
from mqtt_operator.policy.compile import compile_policy

ANONYMOUS = "anonymous"
NAMES_SHOWN_MAX = 20


class Asked(Struct, frozen=True, kw_only=True):
    """The words of the command line. `client`: an MQTTClient's name or user name, `namespace/name`, or `anonymous`."""

    client: str
    activity: Activity
    topic: str
    qos: int = 0
    retain: bool = False
    group: str | None = None
    client_id: str | None = None


def ask(declared: Declared, asked: Asked) -> Answer:
    """What the broker of this folder answers. Raises UsageError if there is no such client or topic."""
    policy = compile_policy(
        declared.broker, declared.clients, declared.permissions, {}, 0, namespaces=declared.namespaces
    )
    question = Question(
        who=_who(declared, asked.client),
        activity=asked.activity,
        topic=asked.topic,
        qos=asked.qos,
        retain=asked.retain,
        group=asked.group,
        client_id=asked.client_id,
    )
    return can_i(policy, question)


def _who(declared: Declared, name: str) -> Who:
    if name == ANONYMOUS:
        return _anonymous(declared.broker)
    meant = [client for client in declared.clients if name in {client.metadata.name, client.reference}]
    meant = meant or [client for client in declared.clients if client.username == name]
    if meant:
        return _declared(meant[0])
    for entry in _entries(declared.broker):
        if entry.type is AuthenticationType.X509 and entry.principals is Principals.OPEN:
            return _open(name, entry)
    known = ", ".join(sorted(client.metadata.name for client in declared.clients)[:NAMES_SHOWN_MAX]) or "none"
    raise UsageError(f"There is no MQTTClient {name!r} in the folder.", to_do=f"Known: {known}; or say {ANONYMOUS}.")


def _anonymous(broker: MQTTBroker) -> Who:
    if all(entry.type is not AuthenticationType.ANONYMOUS for entry in _entries(broker)):
        raise UsageError(
            "No listener of this broker lets anonymous clients in.",
            to_do="Name {name: anyone, type: Anonymous} in spec.authentication if that is meant.",
        )
    return Who()


def _declared(client: MQTTClient) -> Who:
    """One that has passwords is taken to log in with one: what its certificate says is unknown then."""
    if client.spec.credentials.passwords or not client.spec.credentials.certificates:
        return Who(username=client.username)
    match = client.spec.credentials.certificates[0].match
    if match is None:  # issued for it, in its name
        return Who(username=client.username, certificate_cn=client.username)
    return Who(
        username=client.username, certificate_cn=match.common_name or "", certificate_san_dns=match.san_dns or ""
    )


def _open(name: str, entry: Authentication) -> Who:
    return Who(
        username=name,
        certificate_cn=name if entry.username_from is UsernameFrom.COMMON_NAME else "",
        certificate_san_dns=name if entry.username_from is UsernameFrom.SAN_DNS else "",
        open_client_ids=entry.client_ids,
    )


def _entries(broker: MQTTBroker) -> Iterator[Authentication]:
    yield from broker.spec.authentication or ()
    for listener in broker.spec.listeners:
        yield from listener.authentication or ()
