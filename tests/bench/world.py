"""The world of a run, the same for every broker: one account for all load clients, its rights, certificates.

Knows names and rights in neutral words; how each broker writes them down is its peer's business.
"""

import ssl
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from support.certificates import Authority, Issued, trusting

HOST = "127.0.0.1"
USERNAME = "load"
PASSWORD = "load-and-measure"
CLIENT_IDS = "load-*"
# What `load` may do. {client} is the client id, for brokers whose rules have a word for it; the others get OWN_WIDE.
OWN = "bench/{client}/#"
OWN_WIDE = "bench/#"
READABLE = ("bench/#", "churn/#")
OTHER_USERS = 100  # they never connect: a policy of one user would be no policy


@dataclass(frozen=True)
class World:
    """A folder of this run's files. Certificates are made once, ECDSA P-256."""

    folder: Path

    @cached_property
    def authority(self) -> Authority:
        return Authority(self.folder / "pki", "bench-ca")

    @cached_property
    def server(self) -> Issued:
        return self.authority.server()

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """What load clients speak: TLS 1.3 and nothing older."""
        context = trusting(self.authority.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context


def other_user(number: int) -> str:
    return f"other-{number:03d}"
