"""A broker's story at the API server of the fast tier."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from mqtt_operator.kube.api import ApiKube
from mqtt_operator.kube.events import EventSource
from mqtt_operator.kube.session import Session
from support.broker_rig import BrokerRig
from support.kube.place import Place
from support.policy_api_rig import PolicyApiRig
from support.resource_examples import BROKER


@pytest_asyncio.fixture
async def kube(cluster: Place) -> AsyncIterator[ApiKube]:
    """The door to the API server, as an administrator."""

    async def configure() -> Configuration:
        configuration = Configuration()
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            str(cluster.kubeconfig), client_configuration=configuration, persist_config=False
        )
        return configuration

    session = Session(configure)
    await session.open()
    yield ApiKube(session, EventSource("stoa-operator", "test"))
    await session.close()


@pytest_asyncio.fixture
async def rig(kube: ApiKube, namespace: str, tmp_path: Path) -> BrokerRig:
    return BrokerRig(kube, namespace, tmp_path)


@pytest_asyncio.fixture
async def policy_rig(kube: ApiKube, namespace: str) -> AsyncIterator[PolicyApiRig]:
    rig = PolicyApiRig(kube, namespace)
    await rig.declare(BROKER, "plant", spec__listeners=[{"name": "mqtt", "port": 1883, "allowPlaintext": True}])
    yield rig
    await rig.operator.close()
