"""The operator's own log-ins at stores, as files that only it can read: whoever connects reads them anew each time.

Knows files and where names are looked up; does not know Secrets, or a client of Redis. The folder is one of the
operator's own and should be in memory; what lies there is made again after a restart.
"""

import ipaddress
import shutil
from pathlib import Path

import msgspec

from mqtt_api.node_settings import RedisSettings
from mqtt_operator.desired.store_access import StoreAccess
from mqtt_operator.reconcile.keys import BrokerKey

PRIVATE_FILE_MODE = 0o600
PRIVATE_FOLDER_MODE = 0o700


class StoreFiles:
    """Below one folder, which exists. Raises OSError where the disk does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[BrokerKey, str], RedisSettings] = {}

    def settings(self, key: BrokerKey, who: str, access: StoreAccess) -> RedisSettings:
        """The same settings, with the secrets in files. `who` tells the users of one store apart. Idempotent."""
        folder = self._place(key)
        folder.mkdir(mode=PRIVATE_FOLDER_MODE, exist_ok=True)
        secrets, tls = access.secrets, access.settings.tls
        if tls is not None and secrets.ca_pem:
            ca = _written(folder / f"{who}.ca.pem", secrets.ca_pem)
            tls = msgspec.structs.replace(tls, ca_files=(ca,))
        sentinel = secrets.sentinel_password
        settings = self._known[key, who] = msgspec.structs.replace(
            access.settings,
            addresses=tuple(_from_elsewhere(address, key.namespace) for address in access.settings.addresses),
            password_file=None if secrets.password is None else _written(folder / f"{who}.password", secrets.password),
            sentinel_password_file=None if sentinel is None else _written(folder / f"{who}.sentinel", sentinel),
            tls=tls,
        )
        return settings

    def known(self, key: BrokerKey, who: str) -> RedisSettings | None:
        """As they were last, with the files that belong to them; None: nobody asked for them since the start."""
        return self._known.get((key, who))

    def forget(self, key: BrokerKey) -> None:
        """The broker is gone."""
        for known in [known for known in self._known if known[0] == key]:
            del self._known[known]
        shutil.rmtree(self._place(key), ignore_errors=True)

    def _place(self, key: BrokerKey) -> Path:
        return self._folder / f"{key.namespace}.{key.name}"  # neither name holds a dot


def _written(path: Path, content: str) -> str:
    """Replaced in one step, and private from its first byte."""
    data = content.encode()
    if not path.exists() or path.read_bytes() != data:
        new = path.with_name(f".{path.name}.new")
        new.unlink(missing_ok=True)
        new.touch(PRIVATE_FILE_MODE)
        new.write_bytes(data)
        new.replace(path)
    return str(path)


def _from_elsewhere(address: str, namespace: str) -> str:
    """A name without a dot is a Service of the broker's namespace, which pods there find and we would not."""
    host, _, port = address.rpartition(":")
    if "." in host or host == "localhost" or _is_address(host):
        return address
    return f"{host}.{namespace}.svc:{port}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
