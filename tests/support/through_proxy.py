"""An API server behind a proxy, for tests of what a client makes of a bad network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from support.proxy import Proxy


@contextmanager
def through_proxy(kubeconfig: Path, folder: Path) -> Iterator[tuple[Proxy, Path]]:
    """The same kubeconfig, in `folder`, but with a proxy on the way."""
    config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    place = config["clusters"][0]["cluster"]
    server = urlsplit(place["server"])
    assert server.hostname is not None
    assert server.port is not None
    with Proxy((server.hostname, server.port)) as proxy:
        place["server"] = f"https://{proxy.address}"
        path = folder / "kubeconfig-through-proxy"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        yield proxy, path
