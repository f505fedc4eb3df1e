"""What is told to a store server of our own while it runs: which passwords it accepts, and to read its certificate.

Knows the two commands; does not know how users are written, or where the files come from. No connection is closed.
"""

import socket
import ssl
from collections.abc import Mapping, Sequence

from mqtt_api.node_settings import RedisSettings
from mqtt_operator.channel.connection import CONNECT_S_MAX, connect, explained, split_address


def set_users(settings: RedisSettings, users: Mapping[str, Sequence[str]]) -> None:
    """Each user has these rules from now on, as ACL SETUSER takes them. Idempotent. Raises SharedStoreError."""
    with explained(settings), connect(settings) as client:
        for user, rules in users.items():
            client.execute_command("ACL", "SETUSER", user, *rules)


def reload_certificate(settings: RedisSettings, certificate_file: str) -> None:
    """Read certificate, key and CAs again from the files it was started with. Idempotent. Raises SharedStoreError."""
    with explained(settings), connect(settings) as client:
        client.config_set("tls-cert-file", certificate_file)


def served_certificate(settings: RedisSettings) -> bytes:
    """The certificate that it shows now, DER; nothing is checked. Raises SharedStoreError."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    address = split_address(settings.addresses[0])
    with (
        explained(settings),
        socket.create_connection(address, timeout=CONNECT_S_MAX) as plain,
        context.wrap_socket(plain) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""
