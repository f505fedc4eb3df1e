"""The parts that tell the stories of brokers, put together as the operator's settings say.

Knows which parts there are and how they end; does not know what any of them does.
"""

import shutil
import tempfile
from contextlib import AsyncExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mqtt_operator.errors import ExpectedError
from mqtt_operator.handlers.stories import Stories
from mqtt_operator.kube.port import Kube
from mqtt_operator.reconcile.broker import BrokerReconciler
from mqtt_operator.reconcile.ending_namespaces import EndingNamespaces
from mqtt_operator.reconcile.exchange import Exchange
from mqtt_operator.reconcile.policy import PolicyReconciler
from mqtt_operator.reconcile.registry import Registry
from mqtt_operator.reconcile.statuses import StatusWriter
from mqtt_operator.reconcile.surroundings import Surroundings
from mqtt_operator.settings import OperatorSettings

DISTRIBUTION = "stoa-mqtt"


async def make_stories(kube: Kube, registry: Registry, settings: OperatorSettings, stack: AsyncExitStack) -> Stories:
    """The stories; what has to be ended goes on the stack."""
    folder = private_folder(Path(tempfile.gettempdir()), settings.identity)
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    around = surroundings(settings, folder)
    exchange = Exchange()
    statuses = StatusWriter(kube)
    policy = PolicyReconciler(registry, kube, exchange, statuses, around)
    stack.push_async_callback(policy.close)
    beside = [statuses.run, EndingNamespaces(kube, registry).run]
    return Stories(BrokerReconciler(kube, registry, exchange, around), policy, exchange, beside)


def private_folder(parent: Path, identity: str) -> Path:
    """An empty folder for passwords that are in use: nobody else may look into it.

    What an instance of this name left that was killed is removed. Raises ExpectedError if the place is somebody else's.
    """
    folder = parent / f"stoa-operator-{identity}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise ExpectedError(
            f"The folder {folder} cannot be made: {error.strerror}.", to_do="Remove it, or set TMPDIR to another place."
        ) from error
    return folder


def surroundings(settings: OperatorSettings, private_folder: Path) -> Surroundings:
    """What the stories need to know of the settings."""
    return Surroundings(
        namespace=settings.namespace,
        image=settings.broker_image,
        version=_release(),
        store_image=settings.store_image,
        private_folder=private_folder,
        allowed_repositories=settings.allowed_image_repositories,
        pull_policy=settings.image_pull_policy.value,
        pull_secrets=settings.image_pull_secrets,
        host=settings.node_host,
        cluster_domain=settings.cluster_domain,
    )


def _release() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:  # a source tree
        return "unreleased"
