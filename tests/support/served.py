"""A TLS broker for other people's clients: one user who may do everything, one who may do little.

Knows what such a client is given: a port, an authority, a name and a password; does not know the clients.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mqtt_api.node_settings import TLSSettings
from support.broker import PASSWORDS, Broker, listener
from support.certificates import Authority
from support.policies import allow, policy

USER = "guest"
LIMITED_USER = "limited"  # may use ok/# and nothing else


@dataclass(frozen=True)
class Served:
    """A running TLS broker and what a client needs to use it."""

    broker: Broker
    ca_file: Path


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """The broker runs until the context ends. Fails at the end if the broker logged a traceback."""
    authority = Authority(folder / "pki")
    server = authority.server()
    tls = TLSSettings(certificate_file=str(server.certificate_file), key_file=str(server.key_file))
    rules = policy(users={USER: [allow("#")], LIMITED_USER: [allow("ok/#")]})
    with Broker(folder / "broker", rules, listeners=(listener("tls", tls=tls),), authentication=(PASSWORDS,)) as broker:
        yield Served(broker, authority.ca_file)
        broker.assert_no_traceback()
