"""What a node tells of itself with each renewal of its lease: read by the other nodes, and by the operator.

Knows names, types and what is assumed where one is missing; does not know leases or the store. Nodes and operators of
two versions read each other's: a field that is not known is skipped, one that is not there has its default, and no
field is ever given another meaning.
"""

import hashlib
from collections.abc import Iterable, Mapping

from msgspec import Struct

CLIENT_CAS_BYTES = 8


class ListenerCertificate(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The certificate that a listener shows to new clients. `serial`: lower-case hexadecimal, whole bytes.

    `not_after`: RFC 3339, UTC. `client_cas`: a word for the CAs that it verifies new clients by (`word_of_client_cas`),
    "" = it verifies none, or does not tell.
    """

    serial: str
    not_after: str
    client_cas: str = ""


def word_of_client_cas(files: Iterable[bytes]) -> str:
    """The same for the same PEM files in the same order."""
    content = hashlib.blake2b(digest_size=CLIENT_CAS_BYTES)
    for file in files:
        content.update(hashlib.blake2b(file).digest())
    return content.hexdigest()


class Purged(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far sessions of deleted clients have ended: of those that the policy of `revision` names, all that were due
    at `until`, in seconds since 1970 of the store's time.
    """

    revision: int = -1
    until: int = 0


NOTHING_PURGED = Purged()


class NodeFacts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`applied`: the feed position this node has applied. `started_at`: seconds since the epoch.

    `format`: the newest form of what nodes send each other that this one reads; they write the oldest that all read.
    `ready`: it takes new clients as declared. `version`: of the installed package, "" = not told.
    `certificates`: by listener, those with TLS. `totals` are for sums over the cluster, by $SYS name.
    `purged`: by the node that looks after that for all of them.
    """

    applied: int = 0
    policy_revision: int = -1
    connections: int = 0
    is_draining: bool = False
    format: int = 1
    started_at: float = 0.0
    server_reference: str = ""
    ready: bool = False
    version: str = ""
    certificates: Mapping[str, ListenerCertificate] = {}
    totals: Mapping[str, float] = {}
    purged: Purged = NOTHING_PURGED
