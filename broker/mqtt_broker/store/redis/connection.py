"""One ordered connection to the primary that comes back when it is lost.

Knows scripts by digest, replication (WAIT), back-off and the check that a new connection has to pass; does not know
what a script or the check is about. A call is sent once: repeating is the caller's, who knows whether it is safe.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeGuard

import hiredis

from mqtt_broker.store.ports import StoreError, StoreUnavailable
from mqtt_broker.store.redis.errors import NOSCRIPT, REOPENS, as_store_error, code
from mqtt_broker.store.redis.primary import Primary
from mqtt_broker.store.redis.script import Script, script
from mqtt_broker.store.redis.wire import Argument, Command, Reply, Wire

log = logging.getLogger("mqtt_broker.store")

OPEN_S_MAX = 3.0  # finding the primary, connecting and the check
CALL_S_MAX = 2.0  # one call, WAIT included; a lease lasts three of them
WAIT_S_MAX = 1.0  # for replicas to have a write
BACK_OFF_S_FIRST = 0.05
FAILURES_COUNTED_MAX = 16  # more would not make the delay longer
BACK_OFF_S_MAX = 2.0  # a store that is back is in use again within two seconds

_CONFIRM = script("confirm", "confirm", flags="allow-oom")

Check = Callable[[Wire], Awaitable[None]]


class Connection:
    """See the module's docstring. `key` is what every key that a script touches begins with: its KEYS[1].

    `check` sees each new connection before anything else is sent on it, and raises a StoreError if it will not do.
    `replicas` is how many must have a write before it counts.
    Calls may overlap; they are sent, and done by Redis, in the order of the calls.
    """

    def __init__(self, primary: Primary, key: str, check: Check, replicas: int = 0) -> None:
        self._primary = primary
        self._key = key
        self._check = check
        self._replicas = replicas
        self._wire: Wire | None = None
        self._opening = asyncio.Lock()
        self._failures = 0
        self._moves = 0
        self._retry_at = 0.0
        self._problem = ""
        self._kind: type[StoreError] = StoreUnavailable
        self._closed = False
        self.opened = 0  # how often

    async def call(
        self,
        script: Script,
        args: Sequence[Argument],
        *,
        writes: bool = False,
        confirms: bool = False,
        timeout_s: float = CALL_S_MAX,
    ) -> Reply:
        """Run a script: KEYS[1] is this connection's key, ARGV is `args`. One that Redis does not know is loaded first.

        `writes`: it counts only once the replicas asked for have it. `confirms`: so does what others wrote and this
        reads, which otherwise may be lost with the server after somebody has acted on it. Raises what
        errors.as_store_error makes of a refusal; StoreUnavailable when nothing came in time or too few replicas have
        it: the outcome is unknown then.
        """
        evaluate: Command = ("EVALSHA", script.digest, 1, self._key, *args)
        replies = await self._ask(evaluate, writes=writes, confirms=confirms, timeout_s=timeout_s)
        if _is_unknown(replies[0]):
            load = _load(script)
            loaded, *replies = await self._ask(load, evaluate, writes=writes, confirms=confirms, timeout_s=timeout_s)
            self._result(loaded)
        return self._result(replies[0])

    async def call_and(
        self, script: Script, args: Sequence[Argument], *command: Argument, timeout_s: float
    ) -> tuple[Reply, Reply]:
        """A script and, without waiting for its reply, a command. Both may be sent twice: they must bear that.

        What the command reads is confirmed, as in `call`.
        """
        evaluate: Command = ("EVALSHA", script.digest, 1, self._key, *args)
        replies = await self._ask(evaluate, command, confirms=True, timeout_s=timeout_s)
        if _is_unknown(replies[0]):
            loaded, *replies = await self._ask(_load(script), evaluate, command, confirms=True, timeout_s=timeout_s)
            self._result(loaded)
        return self._result(replies[0]), self._result(replies[1])

    async def read(self, *command: Argument, timeout_s: float) -> Reply:
        """One command whose answer is confirmed, as in `call`."""
        (reply,) = await self._ask(command, confirms=True, timeout_s=timeout_s)
        return self._result(reply)

    async def command(self, *command: Argument, timeout_s: float = CALL_S_MAX) -> Reply:
        """One command as it is. Errors as `call`."""
        (reply,) = await self._ask(command, timeout_s=timeout_s)
        return self._result(reply)

    async def close(self) -> None:
        """Break the connection; every call from now on raises StoreUnavailable. Idempotent."""
        self._closed = True
        if self._wire is not None:
            await self._wire.close()

    # Asking ---------------------------------------------------------------------------------------------------------

    async def _ask(
        self, *commands: Command, timeout_s: float, writes: bool = False, confirms: bool = False
    ) -> list[Reply]:
        """The replies, after what concerns the server rather than the call has been seen to."""
        replicas = self._replicas if writes else 0
        wire = await self._usable()
        confirmed: list[Reply] = []
        try:
            replies = await wire.ask(*commands, *self._wait(replicas), timeout_s=timeout_s)
            if confirms and self._replicas and _has_read(replies[-1]):
                confirmed = await self._confirm(wire, timeout_s)
        except StoreUnavailable as problem:
            self._failed(wire, str(problem))
            raise
        for reply in (*replies, *confirmed):
            if isinstance(reply, hiredis.ReplyError) and code(str(reply)) in REOPENS:
                self._failed(wire, str(reply))
        self._failures = 0 if self._wire is wire else self._failures
        if replicas:
            self._check_replicas(replies, replicas)
        if confirmed:
            for reply in confirmed:
                self._result(reply)
            self._check_replicas(confirmed, self._replicas)
        return replies

    async def _confirm(self, wire: Wire, timeout_s: float) -> list[Reply]:
        """Wait until enough replicas have all that this server told until now; for `_check_replicas`.

        On the wire that told it: another server may know nothing of it. WAIT waits for what its own connection wrote.
        """
        evaluate: Command = ("EVALSHA", _CONFIRM.digest, 1, self._key)
        wait = self._wait(self._replicas)
        replies = await wire.ask(evaluate, *wait, timeout_s=timeout_s)
        if _is_unknown(replies[0]):
            replies = await wire.ask(_load(_CONFIRM), evaluate, *wait, timeout_s=timeout_s)
        return replies

    @staticmethod
    def _wait(replicas: int) -> tuple[Command, ...]:
        return (("WAIT", replicas, int(WAIT_S_MAX * 1000)),) if replicas else ()

    @staticmethod
    def _result(reply: Reply) -> Reply:
        if isinstance(reply, hiredis.ReplyError):
            raise as_store_error(str(reply))
        return reply

    @staticmethod
    def _check_replicas(replies: list[Reply], wanted: int) -> None:
        *answers, have = replies
        if any(isinstance(answer, hiredis.ReplyError) for answer in answers):
            return  # the refusal says more
        if not isinstance(have, int) or have < wanted:
            raise StoreUnavailable(f"{have} of {wanted} replicas had the write within {WAIT_S_MAX:g} s")

    # Coming back ----------------------------------------------------------------------------------------------------

    async def _usable(self) -> Wire:
        if self._is_usable(self._wire) and not self._opening.locked():
            return self._wire
        async with self._opening:
            if self._closed:
                raise StoreUnavailable("the store was closed")
            if self._is_usable(self._wire):
                return self._wire
            if self._wire is not None:
                self._wire.abort("there is another primary")
            self._wire = None
            if asyncio.get_running_loop().time() < self._retry_at:
                raise self._kind(self._problem)
            self._wire = await self._open()
            self._moves = self._primary.moves
            return self._wire

    def _is_usable(self, wire: Wire | None) -> TypeGuard[Wire]:
        """False too where another connection of this node has found the primary elsewhere."""
        return wire is not None and not wire.is_lost and self._moves == self._primary.moves

    async def _open(self) -> Wire:
        try:
            async with asyncio.timeout(OPEN_S_MAX):
                wire = await self._primary.open()
                await self._checked(wire)
        except TimeoutError:
            self._failed(None, f"no usable connection within {OPEN_S_MAX:g} s")
            raise StoreUnavailable(self._problem) from None
        except StoreError as problem:
            self._failed(None, str(problem), type(problem))
            raise
        self.opened += 1
        if self._problem:
            log.info("the store is back: %s", wire.address)
            self._problem = ""
        return wire

    async def _checked(self, wire: Wire) -> None:
        try:
            await self._check(wire)
        except BaseException:
            wire.abort("did not pass the check")
            raise

    def _failed(self, wire: Wire | None, problem: str, kind: type[StoreError] = StoreUnavailable) -> None:
        """From now on calls fail at once until it is time to try again: now, for a connection that was in use."""
        if wire is not self._wire:
            return  # others who waited on the same connection have said so
        if wire is not None:
            wire.abort(problem)
        self._wire = None
        if problem != self._problem:
            log.warning("the store cannot be used: %s", problem)
        self._problem, self._kind = problem, kind
        self._retry_at = asyncio.get_running_loop().time()
        if self._failures or wire is None:
            delay_s = min(BACK_OFF_S_MAX, BACK_OFF_S_FIRST * 2**self._failures)
            self._retry_at += delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - so that nodes do not come all at once
        self._failures = min(self._failures + 1, FAILURES_COUNTED_MAX)


def _load(script: Script) -> Command:
    return ("SCRIPT", "LOAD", script.text)


def _has_read(reply: Reply) -> bool:
    return reply is not None and not isinstance(reply, hiredis.ReplyError)


def _is_unknown(reply: Reply) -> bool:
    """True if the server has never seen the script, or forgot it."""
    return isinstance(reply, hiredis.ReplyError) and code(str(reply)) == NOSCRIPT
