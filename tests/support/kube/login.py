"""Reading a kubeconfig: which server, and the TLS context that proves who one is."""

import base64
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import yaml


class Login(NamedTuple):
    """`server` is a URL."""

    server: str
    context: ssl.SSLContext


def read(path: Path) -> Login:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    (cluster,), (user,) = document["clusters"], document["users"]
    authority = base64.b64decode(cluster["cluster"]["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    with _as_files(user["user"]) as (certificate, key):
        context.load_cert_chain(certificate, key)
    return Login(cluster["cluster"]["server"], context)


@contextmanager
def _as_files(user: Mapping[str, str]) -> Iterator[tuple[Path, Path]]:
    """The ssl module takes a client's certificate from files only."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder) / "user.crt", Path(folder) / "user.key"
        certificate.write_bytes(base64.b64decode(user["client-certificate-data"]))
        key.write_bytes(base64.b64decode(user["client-key-data"]))
        yield certificate, key
