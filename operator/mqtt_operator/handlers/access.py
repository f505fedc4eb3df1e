"""Whether we may look into the namespaces that are watched: found out where somebody was refused, and told once.

Knows how to ask, and when to ask again; does not know who follows what there. A namespace that is deleted takes our
Role along, so one that is gone and one that is forbidden look the same from here. Either is no answer about another.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from mqtt_operator.handlers.places import DECLARED
from mqtt_operator.kube.follow import Sleep, Source
from mqtt_operator.kube.place import ExpiredError, Place
from mqtt_operator.kube.port import ForbiddenError, KubeError
from mqtt_operator.reconcile.registry import EVERYWHERE

log = logging.getLogger(__name__)

AGAIN_S_MIN, AGAIN_S_MAX = 1.0, 30.0  # until a namespace that is back is noticed
NO_OBJECT = "metadata.name=-"  # nothing is called so: it is asked for the right, not for objects
SERVED, FORBIDDEN = "served", "forbidden"
TO_DO = (
    "If it is gone, create it again, and its Role with `helm upgrade`; or watch fewer namespaces. Until then nothing "
    "in it is served, and brokers that admit its clients keep the policy that they have."
)


class Access:
    """To one namespace. `run` it until it is cancelled. `changed` is called after each change of `problem`.

    `problem`: why we may not look into it, None = we may, or nobody was refused yet.
    """

    def __init__(
        self, source: Source, namespace: str, changed: Callable[[], None], *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self.problem: ForbiddenError | None = None
        self._source = source
        self._namespace = namespace
        self._changed = changed
        self._sleep = sleep
        self._doubted = asyncio.Event()
        self._waiting: list[asyncio.Future[bool]] = []

    def doubt(self) -> None:
        """Somebody may have been refused: find out."""
        self._doubted.set()

    async def regained(self) -> bool:
        """Somebody was refused. Returns once we may look into it: False = we may all the time, True = again."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self.doubt()
        return await answer

    async def run(self) -> None:
        """Answer doubts."""
        while True:
            await self._doubted.wait()
            was_refused = await self._until_allowed()
            self._doubted.clear()
            waiting, self._waiting = self._waiting, []
            for answer in waiting:
                if not answer.done():
                    answer.set_result(was_refused)

    async def _until_allowed(self) -> bool:
        """Whether we were refused at all."""
        problem = await self._refusal()
        if problem is None:
            return False
        self._note(problem)
        wait_s = AGAIN_S_MIN
        while problem is not None:
            await self._sleep(random.uniform(wait_s / 2, wait_s))  # noqa: S311 - spreads load, guards nothing
            wait_s = min(wait_s * 2, AGAIN_S_MAX)
            problem = await self._refusal(problem)
        self._note(None)
        return True

    async def _refusal(self, known: ForbiddenError | None = None) -> ForbiddenError | None:
        """Why we may not list what people declare there. Where there is no answer, it is as far as `known`."""
        for kind in DECLARED:
            try:
                async for _ in self._source.pages(Place(kind, self._namespace, fields=NO_OBJECT)):
                    pass
            except ForbiddenError as problem:
                return problem
            except (KubeError, ExpiredError):
                return known
        return None

    def _note(self, problem: ForbiddenError | None) -> None:
        self.problem = problem
        where = f"Namespace {self._namespace}" if self._namespace else "The cluster"
        fields = {"watched": self._namespace}
        if problem is None:
            log.info("%s is served again.", where, extra={"event": "namespace.served", "fields": fields})
        else:
            log.warning("%s", self.sentence, extra={"event": "namespace.forbidden", "fields": fields})
        self._changed()

    @property
    def sentence(self) -> str:
        """What is wrong and what to do about it; "" if we may look into it."""
        if self.problem is None:
            return ""
        if self._namespace == EVERYWHERE:
            return f"{self.problem.what} {self.problem.to_do}"
        return f"Namespace {self._namespace} is not served: {self.problem.what} {TO_DO}"


class Accesses:
    """To all that is watched: the namespaces, or if there are none named, all of them as one. `run` it."""

    def __init__(self, source: Source, watched: Iterable[str], *, sleep: Sleep = asyncio.sleep) -> None:
        self.watched = tuple(watched)
        self._observers: list[Callable[[], None]] = []
        namespaces = self.watched or (EVERYWHERE,)
        self._of = {namespace: Access(source, namespace, self._tell, sleep=sleep) for namespace in namespaces}

    def of(self, namespace: str) -> Access | None:
        """None: it is not watched by itself."""
        return self._of.get(namespace)

    def observe(self, changed: Callable[[], None]) -> None:
        """Call it whenever a namespace is forbidden, or allowed again."""
        self._observers.append(changed)

    def doubt(self) -> None:
        """Somebody may have been refused somewhere: find out."""
        for access in self._of.values():
            access.doubt()

    @property
    def served(self) -> tuple[str, ...]:
        """Those that we may look into, as far as is known. EVERYWHERE stands for all that there are."""
        return tuple(namespace for namespace, access in self._of.items() if access.problem is None)

    @property
    def sentences(self) -> list[str]:
        """Of those that we may not look into, why."""
        return [access.sentence for access in self._of.values() if access.problem is not None]

    def counts(self) -> Mapping[str, int]:
        """How many are served, and how many are forbidden."""
        counts = Counter(SERVED if access.problem is None else FORBIDDEN for access in self._of.values())
        return {state: counts[state] for state in (SERVED, FORBIDDEN)}

    async def run(self) -> None:
        """Answer doubts, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for access in self._of.values():
                group.create_task(access.run())

    def _tell(self) -> None:
        for changed in self._observers:
            changed()
