"""What a node with a store of its own says of itself: asked over HTTP, as there is no lease to read.

Knows the document at /status; does not know what follows from it.
"""

from collections.abc import Mapping

import aiohttp
import msgspec
from msgspec import Struct

from mqtt_api.node_facts import NOTHING_PURGED, ListenerCertificate, NodeFacts, Purged
from mqtt_operator.desired import names

ANSWER_S_MAX = 3.0


class _Listener(Struct, frozen=True):
    serial: str | None = None
    not_after: str | None = None
    client_cas: str = ""


class _Status(Struct, frozen=True):
    ready: bool = False
    draining: bool = False
    policy_revision: int = -1
    connections: int = 0
    version: str = ""
    listeners: Mapping[str, _Listener] = {}
    purged: Purged = NOTHING_PURGED


async def ask_node(pod_ip: str) -> NodeFacts | None:
    """None: it does not answer, or not so that it can be understood."""
    host = f"[{pod_ip}]" if ":" in pod_ip else pod_ip
    timeout = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://{host}:{names.HTTP_PORT}{names.STATUS_PATH}") as response,
        ):
            return decode_status(await response.read()) if response.status == 200 else None
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None


def decode_status(document: bytes) -> NodeFacts | None:
    """The same as a lease would tell; None if it is no such document."""
    try:
        told = msgspec.json.decode(document, type=_Status)
    except msgspec.DecodeError:
        return None
    certificates = {
        name: ListenerCertificate(serial=each.serial, not_after=each.not_after or "", client_cas=each.client_cas)
        for name, each in told.listeners.items()
        if each.serial is not None
    }
    return NodeFacts(
        ready=told.ready,
        is_draining=told.draining,
        policy_revision=told.policy_revision,
        connections=told.connections,
        version=told.version,
        certificates=certificates,
        purged=told.purged,
    )
