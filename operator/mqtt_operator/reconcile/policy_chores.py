"""Objects that are made for clients: generated Secrets and Certificates, written beside the passes, a few at a time.

Knows how a wish becomes a request, and that what failed is tried again; does not know what the objects are for. What
was written comes back through the registry; until then it is not written again. Certificates do not come back that way:
they are listed, once at first and again from time to time, so that an operator that starts anew writes none of them.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush

import msgspec
from msgspec import Struct

from mqtt_api.conditions import Reason
from mqtt_operator.desired.kinds import CERTIFICATE, MQTT_CLIENT
from mqtt_operator.desired.labels import client_children_selector
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import ConflictError, ForbiddenError, Kube, KubeError
from mqtt_operator.reconcile.event_writer import EventWriter
from mqtt_operator.reconcile.issued_secrets import own_issued_secret
from mqtt_operator.reconcile.keys import ObjectKey
from mqtt_operator.reconcile.policy_client import Wish
from mqtt_operator.status.verdict import Problem

log = logging.getLogger(__name__)

WRITES_MAX = 8  # at a time, of one broker
AGAIN_S = 30.0  # after a request that failed
LIST_S = 600.0  # a Certificate that somebody took away is made again within this time
DIGEST_BYTES = 16

Name = tuple[str, str, str]
"""Kind, namespace and name."""


class _Chore(Struct):
    """What is wished for, by whom, and what came of it. `is_done`: nothing is under way for it."""

    owner: ObjectKey
    wish: Wish
    digest: bytes
    is_done: bool = False
    problem: Problem | None = None


class _Listed(Struct, frozen=True):
    """The Certificates of clients of a namespace, by name, as they were then."""

    at: float
    found: Mapping[str, Manifest]


class Chores:
    """Of one broker. `wake`: something was finished. For one event loop; `stop` it in the end."""

    def __init__(self, kube: Kube, events: EventWriter, wake: Callable[[], None], seconds: Callable[[], float]) -> None:
        self._kube = kube
        self._events = events
        self._wake = wake
        self._seconds = seconds
        self._turns = asyncio.Semaphore(WRITES_MAX)
        self._chores: dict[Name, _Chore] = {}
        self._running: dict[Name, asyncio.Task[None]] = {}
        self._again: list[tuple[float, Name]] = []
        self._finished: set[ObjectKey] = set()
        self._certificates: dict[str, _Listed] = {}

    def want(self, owner: ObjectKey, wishes: Iterable[Wish], before: Iterable[Wish] = ()) -> None:
        """See to the wishes of this client, and not to those of `before` any more. Idempotent."""
        wanted = {name_of(wish.manifest): wish for wish in wishes}
        for name in {name_of(wish.manifest) for wish in before} - wanted.keys():
            self._chores.pop(name, None)
        for name, wish in wanted.items():
            known, digest = self._chores.get(name), _digest(wish)
            if known is None or known.digest != digest:
                self._chores[name] = _Chore(owner, wish, digest)
                self._start(name)

    def look(self) -> None:
        """Try again what is due."""
        while self._again and self._again[0][0] <= self._seconds():
            name = heappop(self._again)[1]
            chore = self._chores.get(name)
            if chore is not None and chore.is_done:
                chore.is_done = False
                self._start(name)

    def finished(self) -> set[ObjectKey]:
        """The clients of whom something else is to be told since this was asked last."""
        finished, self._finished = self._finished, set()
        return finished

    def problem(self, wish: Wish) -> Problem | None:
        """Why it is not done, if it failed."""
        chore = self._chores.get(name_of(wish.manifest))
        return None if chore is None else chore.problem

    @property
    def under_way(self) -> int:
        return len(self._running)

    async def stop(self) -> None:
        """End what is under way. It may have happened, or not."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, name: Name) -> None:
        if name not in self._running:
            self._running[name] = asyncio.create_task(self._run(name))

    async def _run(self, name: Name) -> None:
        """Until what is wished for now is done."""
        try:
            async with self._turns:
                while (chore := self._chores.get(name)) is not None and not chore.is_done:
                    await self._do(name, chore)
        finally:
            del self._running[name]
        self._wake()

    async def _do(self, name: Name, chore: _Chore) -> None:
        before, again_s = chore.problem, LIST_S if name[0] == CERTIFICATE.kind else None
        try:
            chore.problem = await self._ask(chore)
        except ConflictError:
            chore.problem = None  # another one is there now: it is looked at when the registry tells
        except KubeError as error:
            chore.problem, again_s = _in_words(error), AGAIN_S
            log.warning("%s %s/%s: %s", *name, error, extra={"event": "policy.object_failed"})
        chore.is_done = True
        if again_s is not None:
            heappush(self._again, (self._seconds() + again_s, name))
        if chore.problem != before:
            self._finished.add(chore.owner)

    async def _ask(self, chore: _Chore) -> Problem | None:
        """Why it could not even be asked for. Raises KubeError."""
        manifest, version = chore.wish.manifest, chore.wish.version
        if manifest["kind"] == CERTIFICATE.kind:
            return await self._ask_for_certificate(chore)
        if chore.wish.is_ownership:
            await own_issued_secret(self._kube, manifest)
        elif version == "":
            await self._kube.create(manifest)
        else:
            await self._kube.apply({**manifest, "metadata": {**manifest["metadata"], "resourceVersion": version}})
        self._tell(chore)
        return None

    async def _ask_for_certificate(self, chore: _Chore) -> Problem | None:
        manifest = chore.wish.manifest
        if not await self._kube.serves(CERTIFICATE):
            sentence = "An issuer is named, and cert-manager is not installed: its kinds are not known here."
            return Problem(Reason.CERT_MANAGER_NOT_INSTALLED, sentence)
        metadata = manifest["metadata"]
        found = (await self._listed(metadata["namespace"])).get(metadata["name"])
        if found is None or not _is_so(found, manifest):
            await self._kube.apply(manifest)
            self._tell(chore)
        return None

    def _tell(self, chore: _Chore) -> None:
        """It was written."""
        if chore.wish.news is not None:
            (owner,) = chore.wish.manifest["metadata"]["ownerReferences"]
            self._events.tell(MQTT_CLIENT, chore.owner, owner["uid"], chore.wish.news)

    async def _listed(self, namespace: str) -> Mapping[str, Manifest]:
        now = self._seconds()
        known = self._certificates.get(namespace)
        if known is None or now - known.at > LIST_S / 2:
            found = await self._kube.list(CERTIFICATE, namespace, client_children_selector())
            known = _Listed(now, {each["metadata"]["name"]: each for each in found})
            self._certificates[namespace] = known
        return known.found


def name_of(manifest: Manifest) -> Name:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata["namespace"], metadata["name"]


def _digest(wish: Wish) -> bytes:
    """Of what tells wishes apart. A password does not: of several for one version only the first is ever written."""
    told = wish.manifest if wish.version is None else wish.version
    return hashlib.blake2b(msgspec.json.encode(told, order="deterministic"), digest_size=DIGEST_BYTES).digest()


def _is_so(found: Manifest, wanted: Manifest) -> bool:
    """True if everything that is wanted is so; the API server and cert-manager may have added to it."""
    owners = [owner["uid"] for owner in found["metadata"].get("ownerReferences", ())]
    is_owned = all(owner["uid"] in owners for owner in wanted["metadata"]["ownerReferences"])
    return is_owned and all(found["spec"].get(field) == value for field, value in wanted["spec"].items())


def _in_words(error: KubeError) -> Problem:
    if isinstance(error, ForbiddenError):
        return Problem(Reason.FORBIDDEN, str(error))
    return Problem(Reason.REFUSED_BY_API_SERVER, str(error))
