"""What the operator is told on its command line and by its pod: read once, never changed.

Knows options and the two environment variables of a pod; does not know what they cause. No option is a secret.
"""

import argparse
import os
import re
import socket
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from mqtt_operator.errors import UsageError

LEASE_NAME = "stoa-operator"
METRICS_PORT = 8081
ANY_IPV4 = "0.0.0.0"  # noqa: S104 - within a pod, whose NetworkPolicy says who gets there
NAMESPACE_PATTERN = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
IMAGE_PATTERN = re.compile(r"[^\s,]{1,512}")


class LogFormat(StrEnum):
    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


class PullPolicy(StrEnum):
    IF_NOT_PRESENT = "IfNotPresent"
    ALWAYS = "Always"
    NEVER = "Never"


class OperatorSettings(NamedTuple):
    """`namespace`: where the operator itself is. `watched`: the namespaces whose objects it serves; () = all of them.

    `identity`: the name of this instance. `broker_image`, `store_image`: for brokers that name none.
    `allowed_image_repositories`: from where images may be, those of these two included; one that ends in "/" stands for
    all below it. `image_pull_secrets`: names of Secrets in the namespace of each broker. `node_host`: what nodes bind.
    """

    namespace: str
    identity: str
    watched: tuple[str, ...]
    broker_image: str
    store_image: str
    allowed_image_repositories: tuple[str, ...]
    image_pull_policy: PullPolicy
    image_pull_secrets: tuple[str, ...]
    node_host: str
    cluster_domain: str
    leader_election: bool
    metrics_host: str
    metrics_port: int
    log_format: LogFormat
    log_level: LogLevel

    @property
    def is_cluster_wide(self) -> bool:
        return not self.watched


def read_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> OperatorSettings:
    """From the command line. Raises UsageError for what makes no sense; --help and bad syntax end the program."""
    options = _parser().parse_args(arguments)
    namespace = options.namespace or environment.get("POD_NAMESPACE") or "default"
    watched = () if options.cluster_wide else _names(options.watch_namespaces) or (namespace,)
    for name in (namespace, *watched):
        if not NAMESPACE_PATTERN.fullmatch(name):
            raise UsageError(f"'{name}' cannot be a namespace.", to_do="Write names with commas between: a,b")
    store_image = options.store_image or options.broker_image
    images = (options.broker_image, store_image)
    for image in images:
        if not IMAGE_PATTERN.fullmatch(image):
            raise UsageError(f"'{image}' cannot be an image.")
    allowed = {*_names(options.allowed_image_repositories), *(repository_of(image) for image in images)}
    return OperatorSettings(
        namespace=namespace,
        identity=environment.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}",
        watched=watched,
        broker_image=options.broker_image,
        store_image=store_image,
        allowed_image_repositories=tuple(sorted(allowed)),
        image_pull_policy=PullPolicy(options.image_pull_policy),
        image_pull_secrets=_names(options.image_pull_secrets),
        node_host=options.node_host,
        cluster_domain=options.cluster_domain,
        leader_election=options.leader_election,
        metrics_host=options.metrics_host,
        metrics_port=options.metrics_port,
        log_format=LogFormat(options.log_format),
        log_level=LogLevel(options.log_level),
    )


def repository_of(image: str) -> str:
    """The image without its tag and digest: registry:5000/stoa@sha256:0a -> registry:5000/stoa."""
    name = image.partition("@")[0]
    front, slash, last = name.rpartition("/")
    return front + slash + last.partition(":")[0]


def _names(text: str) -> tuple[str, ...]:
    """What stands between commas, each once, in the order given."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mqtt_operator", description="Makes MQTTBroker, MQTTClient and TopicPermission objects come true."
    )
    parser.add_argument("--namespace", default="", help="where the operator is itself (default: $POD_NAMESPACE)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--watch-namespaces", default="", metavar="A,B", help="whose objects to serve (default: its own namespace)"
    )
    where.add_argument("--cluster-wide", action="store_true", help="serve the objects of all namespaces")
    parser.add_argument("--broker-image", required=True, help="the image of nodes")
    parser.add_argument("--store-image", default="", help="the image of managed Redis (default: the broker image)")
    parser.add_argument(
        "--allowed-image-repositories",
        default="",
        metavar="A,B",
        help="repositories from which brokers may take an image, besides those of the two above",
    )
    parser.add_argument("--image-pull-policy", choices=[*PullPolicy], default=PullPolicy.IF_NOT_PRESENT)
    parser.add_argument(
        "--image-pull-secrets",
        default="",
        metavar="A,B",
        help="Secrets in the namespaces of brokers to fetch images with",
    )
    parser.add_argument("--node-host", default=ANY_IPV4, help="what nodes bind (default: %(default)s; :: for IPv6)")
    parser.add_argument("--cluster-domain", default="cluster.local", help="as DNS calls it (default: %(default)s)")
    parser.add_argument(
        "--leader-election",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="several instances, of which one leads",
    )
    parser.add_argument("--metrics-host", default="", help="the address of probes and metrics (default: all)")
    parser.add_argument("--metrics-port", type=_port, default=METRICS_PORT, help="0: none is served")
    parser.add_argument("--log-format", choices=[*LogFormat], default=LogFormat.JSON)
    parser.add_argument("--log-level", choices=[*LogLevel], default=LogLevel.INFO)
    return parser


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65_535:
        raise argparse.ArgumentTypeError("must be a port, 0 to 65535")
    return number
