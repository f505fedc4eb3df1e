"""Secrets that a client asks to be generated: folders in the shape of a service binding, beside the broker.

Knows names, modes and what is never overwritten; does not know who may log in, or hashing.

`DATA/secrets/NAMESPACE/NAME/` holds type, host, port, username, password and ca.crt, each a file of mode 0600. The
password is made once and then never written again, so that devices which hold it keep working; the address and the CA
follow the broker.
"""

import secrets
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from mqtt_operator.errors import DataFolderError
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.files import make_private_folder, read_or_none, write_private, write_private_if_changed

PASSWORD_BYTES = 32


class Endpoint(Struct, frozen=True, kw_only=True):
    """Where a client finds the broker. `ca` is PEM, None for plain text."""

    host: str
    port: int
    ca: bytes | None


class Binding(Struct, frozen=True, kw_only=True):
    """One generated Secret on disk."""

    folder: Path
    password: bytes

    @property
    def password_file(self) -> Path:
        return self.folder / "password"


def _new_password() -> str:
    return secrets.token_urlsafe(PASSWORD_BYTES)


def ensure_binding(
    data: DataFolder, namespace: str, name: str, username: str, new_password: Callable[[], str] = _new_password
) -> Binding:
    """The Secret's folder with its password, made if it is not there.

    Raises DataFolderError, also if the folder belongs to another user name: two clients must not share a Secret.
    """
    folder = make_private_folder(data.secret(namespace, name))
    owner = read_or_none(folder / "username")
    if owner and owner != username.encode():
        raise DataFolderError(
            f"The generated Secret {namespace}/{name} belongs to user name {owner.decode(errors='replace')!r}, "
            f"not to {username!r}.",
            where=f"path: {folder}",
            to_do="Choose another secretName, or delete that folder to have a new password made.",
        )
    if not owner:
        write_private(folder / "username", username.encode(), durable=False)
    password = read_or_none(folder / "password")
    if not password:
        password = new_password().encode()
        write_private(folder / "password", password)
    return Binding(folder=folder, password=password)


def describe_endpoint(binding: Binding, endpoint: Endpoint) -> None:
    """Write where the broker is beside the password. Idempotent. Raises DataFolderError."""
    described = {
        "type": b"mqtt",
        "host": endpoint.host.encode(),
        "port": str(endpoint.port).encode(),
        "ca.crt": endpoint.ca,
    }
    for name, content in described.items():
        if content is not None:
            write_private_if_changed(binding.folder / name, content, durable=False)
