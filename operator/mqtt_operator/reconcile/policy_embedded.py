"""The other place that a policy is written to: a Secret that the one node mounts, where its store is its own.

Knows that Secret, its bound, and how a kubelet is made to look at once; does not know what a policy says.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from mqtt_api.kinds.common import DataKind
from mqtt_api.policy import Policy, decode_policy
from mqtt_api.policy_lines import Part
from mqtt_api.resources import MQTTBroker
from mqtt_operator.credentials.book import VerifierBook
from mqtt_operator.credentials.verifiers import Keys, Verifier
from mqtt_operator.desired import names
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.kinds import POD, SECRET
from mqtt_operator.desired.labels import pods_selector
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.policy_secret import policy_secret
from mqtt_operator.errors import ExpectedError
from mqtt_operator.kube.port import Kube
from mqtt_operator.reconcile.exchange import Exchange
from mqtt_operator.reconcile.keys import BrokerKey, DataKey
from mqtt_operator.reconcile.ownership import require_ours
from mqtt_operator.reconcile.policy_keys import keep_cached, load_cached
from mqtt_operator.reconcile.policy_pen import InForce, Nodes, Written
from mqtt_operator.reconcile.registry import Registry, UnseenError

DOCUMENT_BYTES_MAX = 900 * 1024  # a Secret holds 1 MiB


class PolicyTooLargeError(ExpectedError):
    """The policy does not fit into a Secret; the one before it stays in force."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(
            f"The policy has {size_bytes // 1024} KiB, and an embedded store takes {DOCUMENT_BYTES_MAX // 1024} KiB.",
            to_do="Let nodes share a store (spec.sessionStore.redis or managed), or declare fewer clients and rules.",
        )


class EmbeddedPen:
    """`broker` is changed by whoever uses it when the object changes."""

    def __init__(self, kube: Kube, registry: Registry, exchange: Exchange, broker: MQTTBroker, inputs: Inputs) -> None:
        self.broker = broker
        self.keys: Keys | None = None
        self._kube = kube
        self._registry = registry
        self._exchange = exchange
        self._inputs = inputs

    async def begin(self) -> InForce:
        name = names.policy_secret(self.broker.metadata.name)
        found = await self._kube.get(SECRET, self.broker.metadata.namespace, name)
        if found is None:
            return InForce()
        require_ours(found, self.broker)
        policy = _policy(found)
        return InForce() if policy is None else InForce(revision=policy.revision, policy=policy)

    async def write(self, revision: int, document: Callable[[int], Sequence[Part]]) -> Written:
        content = b"".join(part.line for part in document(revision))
        if len(content) > DOCUMENT_BYTES_MAX:
            raise PolicyTooLargeError(len(content))
        if not self._is_so(content):
            (manifest,) = policy_secret(self.broker, msgspec.structs.replace(self._inputs, policy=content))
            await self._kube.apply(manifest)
            await self._hurry(revision)
        return Written(revision=revision)

    async def nodes(self) -> Nodes:
        key = BrokerKey(self.broker.metadata.namespace, self.broker.metadata.name)
        return Nodes(revisions=self._exchange.nodes(key), purged=self._exchange.purged(key))

    async def load_verifiers(self) -> Mapping[str, Verifier]:
        return await load_cached(self._kube, self.broker)

    async def keep_verifiers(self, book: VerifierBook) -> None:
        if book.change() and self.keys is not None:
            await keep_cached(self._kube, self.broker, self._inputs, self.keys, book.verifiers)

    def _is_so(self, content: bytes) -> bool:
        """The Secret is there with this content, as far as anybody knows."""
        metadata = self.broker.metadata
        key = DataKey(DataKind.SECRET, metadata.namespace, names.policy_secret(metadata.name))
        try:
            found = self._registry.data(key)
        except UnseenError:
            return False
        return found is not None and found.data.get(names.POLICY_KEY) == content

    async def _hurry(self, revision: int) -> None:
        """A pod that changes is looked at by its kubelet at once, with its volumes."""
        metadata = self.broker.metadata
        for pod in await self._kube.list(POD, metadata.namespace, pods_selector(metadata.name)):
            body = {"metadata": {"annotations": {names.POLICY_REVISION_ANNOTATION: str(revision)}}}
            await self._kube.patch(POD, metadata.namespace, pod["metadata"]["name"], body)


def _policy(secret: Manifest) -> Policy | None:
    """None if it cannot be read: then it is written anew."""
    try:
        return decode_policy(msgspec.convert(secret["data"][names.POLICY_KEY], bytes))
    except (KeyError, ValueError):
        return None
