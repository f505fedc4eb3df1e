"""Follows all objects of one kind in one place: a complete list, then each change, and a list again after a gap.

Knows the API's lists, watches and bookmarks; does not know what an object means. An object that is absent from a new
list is told as gone: a deletion that happened while we were cut off must not be overlooked.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.errors import ExpectedError
from mqtt_operator.kube.place import Change, ExpiredError, Page, Place, UnservedError
from mqtt_operator.kube.port import KubeAwayError, KubeError
from mqtt_operator.kube.session import NoAnswerError

log = logging.getLogger(__name__)

WATCH_S_MIN, WATCH_S_MAX = 240, 360  # spread, so that not all begin anew at one time
BACKOFF_S_MIN = 0.5
BACKOFF_S_MAX = 30.0
UNSERVED_S = 60.0  # how often to look whether a kind is served by now

Sleep = Callable[[float], Awaitable[None]]


class Source(Protocol):
    """Where objects come from: see ApiKube."""

    def pages(self, place: Place) -> AsyncGenerator[Page]: ...

    def changes(self, place: Place, version: str, *, seconds_max: int) -> AsyncGenerator[Change]: ...


class Follower(Protocol):
    """Who is told. Nothing here raises, and nothing but `fail` waits."""

    def see(self, document: Manifest) -> None:
        """The object is there, like this. May come again with nothing new."""
        ...

    def forget(self, document: Manifest) -> None:
        """The object is gone. Sure to be there: its kind, and in its metadata name, namespace, uid, labels, owners."""
        ...

    def complete(self) -> None:
        """Everything that is there has been told. Comes after each list."""
        ...

    async def fail(self, problem: ExpectedError) -> bool:
        """Nobody knows for now what is there; it is tried again when this returns.

        True: somebody has been told, and it has been waited for until it may be otherwise.
        """
        ...


class _Identity(NamedTuple):
    namespace: str
    name: str


class _Trace(NamedTuple):
    """What is kept of an object, so that it can be said whose it was when it is gone."""

    uid: str
    labels: Mapping[str, str]
    owners: Sequence[Mapping[str, Any]]


class Following:
    """One place and one follower. `run` it until it is cancelled."""

    def __init__(self, source: Source, place: Place, follower: Follower, *, sleep: Sleep = asyncio.sleep) -> None:
        self._source = source
        self._place = place
        self._follower = follower
        self._sleep = sleep
        self._known: dict[_Identity, _Trace] = {}
        self._backoff_s = BACKOFF_S_MIN
        self._complaint = ""

    async def run(self) -> None:
        """List, follow, and begin anew whenever that ends."""
        while True:
            try:
                version = await self._list()
                while True:
                    version = await self._watch(version)
            except ExpiredError:
                self._complaint = ""
            except KubeError as problem:
                await self._wait_after(problem)

    async def _list(self) -> str:
        present: set[_Identity] = set()
        version = ""
        async for page in self._source.pages(self._place):
            version = page.version
            for document in page.documents:
                present.add(self._see(document))
        self._forget_all_but(present)
        self._follower.complete()
        return version

    async def _watch(self, version: str) -> str:
        """The version up to which everything was told. Raises ExpiredError if there is a gap behind it."""
        seconds = random.randint(WATCH_S_MIN, WATCH_S_MAX)  # noqa: S311 - spreads load, guards nothing
        try:
            async with aclosing(self._source.changes(self._place, version, seconds_max=seconds)) as changes:
                async for change in changes:
                    version = self._take(change)
                    self._backoff_s = BACKOFF_S_MIN
                    self._complaint = ""
        except NoAnswerError:
            await self._pause()
        return version

    def _take(self, change: Change) -> str:
        if change.type == "ERROR":
            if change.document.get("code") == HTTPStatus.GONE:
                raise ExpiredError
            raise KubeAwayError(f"The API server ended a watch of {self._place.kind.plural}.")
        if change.type == "DELETED":
            self._forget(_identity(change.document))
        elif change.type != "BOOKMARK":
            self._see(change.document)
        version: str = change.document["metadata"]["resourceVersion"]
        return version

    def _see(self, document: Manifest) -> _Identity:
        metadata = document["metadata"]
        metadata.pop("managedFields", None)  # half of an object, and nobody's business here
        identity = _identity(document)
        self._known[identity] = _Trace(metadata["uid"], metadata.get("labels", {}), metadata.get("ownerReferences", ()))
        self._follower.see(document)
        return identity

    def _forget_all_but(self, present: Collection[_Identity]) -> None:
        for identity in [identity for identity in self._known if identity not in present]:
            self._forget(identity)

    def _forget(self, identity: _Identity) -> None:
        trace = self._known.pop(identity, None)
        if trace is None:
            return
        kind = self._place.kind
        within = {"namespace": identity.namespace} if identity.namespace else {}
        whose = {"uid": trace.uid, "labels": trace.labels, "ownerReferences": trace.owners}
        metadata = {"name": identity.name, **within, **whose}
        self._follower.forget({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata})

    async def _wait_after(self, problem: KubeError) -> None:
        if isinstance(problem, UnservedError) and self._place.optional:
            self._forget_all_but(frozenset())
            self._follower.complete()
            await self._sleep(random.uniform(UNSERVED_S / 2, UNSERVED_S))  # noqa: S311
            return
        if await self._follower.fail(problem):
            self._backoff_s = BACKOFF_S_MIN
        else:
            self._complain(problem.what)
            await self._pause()

    def _complain(self, what: str) -> None:
        """Once for each thing that is wrong: it is tried again for as long as it stays so."""
        if what != self._complaint:
            self._complaint = what
            log.warning("Cannot follow %s: %s", self._place.kind.plural, what, extra={"event": "kube.follow"})

    async def _pause(self) -> None:
        await self._sleep(random.uniform(self._backoff_s / 2, self._backoff_s))  # noqa: S311
        self._backoff_s = min(self._backoff_s * 2, BACKOFF_S_MAX)


def _identity(document: Manifest) -> _Identity:
    metadata = document["metadata"]
    return _Identity(metadata.get("namespace", ""), metadata["name"])
