"""The TLS files of each listener: from a Secret that is declared, or from the local CA.

Knows which file a node reads for what; does not know X.509 or how the node serves them.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from mqtt_api.kinds.common import DataKind, DataRef
from mqtt_api.kinds.mqttbroker import Listener, ListenerTLS
from mqtt_operator.credentials.certificates import LOCAL_NAMES, KeyPair, is_ca, is_name
from mqtt_operator.desired.node_settings import TLSFiles
from mqtt_operator.local.authority import ensure_ca, ensure_server
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.files import make_private_folder, write_private_if_changed
from mqtt_operator.local.folder import Declared
from mqtt_operator.local.objects import DataKey

CA_KEY = "ca.crt"


class ListenerFiles(Struct, frozen=True, kw_only=True):
    """`files` for the node; `ca` is what clients verify the server by, for people; None if nobody said."""

    files: TLSFiles
    ca: Path | None


def write_tls_files(declared: Declared, data: DataFolder, hostname: str, now: datetime) -> dict[str, ListenerFiles]:
    """One entry for each listener with TLS, by its name. Idempotent. Raises DataFolderError."""
    return {
        listener.name: _write(declared, data, listener, listener.tls, hostname, now)
        for listener in declared.broker.spec.listeners
        if listener.tls is not None
    }


def server_names(tls: ListenerTLS, hostname: str) -> tuple[str, ...]:
    """The names of a certificate from the local CA: those of this machine, then those that were asked for."""
    names = [*LOCAL_NAMES, *([hostname] if hostname and is_name(hostname) else []), *(tls.dns_names or ())]
    return tuple(dict.fromkeys(names))


def _write(
    declared: Declared, data: DataFolder, listener: Listener, tls: ListenerTLS, hostname: str, now: datetime
) -> ListenerFiles:
    folder = make_private_folder(data.listener(listener.name))
    if tls.secret_ref is not None:
        ca = _copy_server(declared, tls.secret_ref.name, folder)
    else:
        authority = ensure_ca(data.ca, declared.broker.reference, now)
        ensure_server(folder, authority, server_names(tls, hostname), now)
        ca = data.ca / CA_KEY
    crls: Sequence[DataRef] = [] if tls.crl is None else [tls.crl.ref]
    files = TLSFiles(
        certificate=str(folder / "tls.crt"),
        key=str(folder / "tls.key"),
        client_cas=_copy(declared, tls.client_ca_refs or (), folder, "client-ca"),
        crls=_copy(declared, crls, folder, "crl"),
    )
    return ListenerFiles(files=files, ca=ca)


def _copy_server(declared: Declared, secret: str, folder: Path) -> Path | None:
    values = declared.data[DataKey(DataKind.SECRET, declared.broker.metadata.namespace, secret)].data
    pair = KeyPair(certificate=values["tls.crt"], key=values["tls.key"])
    write_private_if_changed(folder / "tls.key", pair.key)
    write_private_if_changed(folder / "tls.crt", pair.certificate)
    # A Secret may bring its CA along, as cert-manager's do; a certificate that is no CA verifies nothing.
    ca = values.get(CA_KEY) or (pair.certificate if is_ca(pair.certificate) else None)
    if ca is None:
        return None
    write_private_if_changed(folder / CA_KEY, ca)
    return folder / CA_KEY


def _copy(declared: Declared, refs: Sequence[DataRef], folder: Path, stem: str) -> tuple[str, ...]:
    paths = []
    for number, ref in enumerate(refs):
        path = folder / f"{stem}-{number}.pem"
        key = DataKey(ref.kind, declared.broker.metadata.namespace, ref.name)
        write_private_if_changed(path, declared.value(key, ref.key))
        paths.append(str(path))
    return tuple(paths)
