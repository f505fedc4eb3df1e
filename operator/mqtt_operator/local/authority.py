"""The local CA and its certificates on disk: loads them, replaces what is due, writes nothing else.

Knows the files; does not know X.509 (certificates.py) or who serves the certificates.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from mqtt_operator.credentials import certificates
from mqtt_operator.credentials.certificates import KeyPair
from mqtt_operator.errors import DataFolderError
from mqtt_operator.local.files import make_private_folder, read_or_none, write_private

# The key is written first: a crash in between leaves a pair that does not fit and is replaced, never a served
# certificate whose key is lost.


def ensure_ca(folder: Path, broker: str, now: datetime) -> KeyPair:
    """The CA in `folder`, made or replaced if need be. Idempotent. Raises DataFolderError, also for a key that is none.

    A CA that was damaged is not replaced in silence: every client trusts the one it had.
    """
    ca = _load(folder, "ca")
    if ca is not None and (wrong := certificates.key_mistake(ca.key)):
        raise DataFolderError(
            f"The local CA cannot be used: {wrong}.",
            where=f"path: {folder / 'ca.key'}",
            to_do=f"Restore that file from a backup; or delete {folder} to have a new CA made, and give every client "
            "the new ca.crt.",
        )
    if ca is not None and certificates.why_new_ca(ca, now) is None:
        return ca
    return _save(folder, "ca", certificates.issue_ca(broker, now))


def ensure_server(folder: Path, ca: KeyPair, names: Sequence[str], now: datetime) -> KeyPair:
    """The server certificate in `folder`, made or replaced if need be. Idempotent. Raises DataFolderError."""
    server = _load(folder, "tls")
    if server is not None and certificates.why_new_server(server, ca, names, now) is None:
        return server
    return _save(folder, "tls", certificates.issue_server(ca, names, now))


def _load(folder: Path, stem: str) -> KeyPair | None:
    certificate, key = read_or_none(folder / f"{stem}.crt"), read_or_none(folder / f"{stem}.key")
    return None if certificate is None or key is None else KeyPair(certificate=certificate, key=key)


def _save(folder: Path, stem: str, pair: KeyPair) -> KeyPair:
    make_private_folder(folder)
    write_private(folder / f"{stem}.key", pair.key)
    write_private(folder / f"{stem}.crt", pair.certificate)
    return pair
