"""Images of programs that tests run in pods: MQTT clients of others, and Prometheus. Files of Debian packages."""

from pathlib import Path

from support.kube import debian, images, product_image

CLIENTS_TAG = "localhost/stoa/clients:1"
PROMETHEUS_TAG = "localhost/stoa/prometheus:1"

_CLIENT_PACKAGES = (
    "base-files",
    "busybox-static",
    "ca-certificates",
    "libatomic1",
    "libc6",
    "libcap2",
    "libcjson1",
    "libgcc-s1",
    "libgcrypt20",
    "libgpg-error0",
    "libjemalloc2",
    "liblz4-1",
    "liblzf1",
    "liblzma5",
    "libmosquitto1",
    "libssl3",
    "libstdc++6",
    "libsystemd0",
    "libzstd1",
    "mosquitto-clients",
    "netbase",
    "openssl",
    "redis-tools",
)
_PROMETHEUS_PACKAGES = ("base-files", "ca-certificates", "libc6", "netbase", "prometheus")
_NOBODY = f"{debian.NOBODY_ID}:{debian.NOBODY_ID}"


def clients() -> Path:
    """A shell, mosquitto's clients, redis-cli and openssl. It waits until somebody has something to do for it."""
    start = images.Start(["/usr/bin/busybox", "sleep", "infinity"], _NOBODY, {"PATH": "/usr/bin"}, "/tmp")
    return product_image.of_packages(CLIENTS_TAG, "clients", _CLIENT_PACKAGES, start)


def prometheus() -> Path:
    """Prometheus, told the rest by its arguments."""
    start = images.Start(["/usr/bin/prometheus"], _NOBODY, {"PATH": "/usr/bin"}, "/tmp")
    return product_image.of_packages(PROMETHEUS_TAG, "prometheus", _PROMETHEUS_PACKAGES, start)
