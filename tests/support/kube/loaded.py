"""The images that tests run in pods, given to a cluster once for all the processes that share it."""

import fcntl
from collections.abc import Callable, Iterable
from pathlib import Path

from support.kube import clusters, images, layers, product_image, releases, tool_images
from support.kube.place import Place

SHELL_TAG = "localhost/stoa/busybox:1"
NEXT_TAG = "localhost/stoa/stoa:next"  # the same again under another name: what a rollout needs to be one
EARLIER_TAG = "localhost/stoa/stoa:earlier"
FOREIGN_TAG = "localhost/stoa/stoa:foreign"


def shell() -> Path:
    path = layers.cache() / "busybox-1.archive"
    images.write(images.busybox(SHELL_TAG), path)
    return path


def next_product() -> Path:
    return product_image.product(NEXT_TAG)


def earlier_product() -> Path:
    """The release before this one."""
    with releases.tree(releases.EARLIER) as tree:
        return product_image.product(EARLIER_TAG, tree)


def foreign_product() -> Path:
    """A release that lays out stores in another way."""
    with releases.tree(releases.FOREIGN) as tree:
        return product_image.product(FOREIGN_TAG, tree)


TOOLS = (shell, tool_images.clients)
PRODUCT = (product_image.product, product_image.redis)


def load(place: Place, which: Iterable[Callable[[], Path]]) -> None:
    """Make what is not made, and load what is not loaded. Raises ClusterError."""
    folder = place.root / "loaded"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for make in which:
            mark = folder / make.__qualname__
            if not mark.exists():
                clusters.load_image(place, make())
                mark.touch()
