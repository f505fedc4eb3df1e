"""The way to the primary: which server it is, with which credentials and trust to come.

Knows addresses, sentinels, password files and TLS files; does not know what is asked of the primary. Everything is read
and asked anew for each connection: a rotated password, a renewed certificate and a new primary need no restart.
"""

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

import hiredis

from mqtt_api.node_settings import RedisSettings, RedisTLSSettings
from mqtt_broker.store.ports import StoreUnavailable
from mqtt_broker.store.redis.errors import as_store_error
from mqtt_broker.store.redis.wire import Reply, Wire, open_wire

SENTINEL_S_MAX = 0.5  # a sentinel that is slower is passed over: there are others
HANDSHAKE_S_MAX = 1.5  # TCP and TLS of one server; then AUTH, and ROLE, each


class Primary:
    """Finds the primary of `settings` and opens connections to it."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._addresses = [_host_and_port(address) for address in settings.addresses]
        self._last = ""
        self.moves = 0
        """How often the primary was found at another address. Who came to an earlier one must come anew."""

    async def open(self) -> Wire:
        """A connection that is logged in, to a server that says it is the primary.

        Raises StoreUnavailable, which names each address that was tried and why it would not do.
        """
        tls = await asyncio.to_thread(_tls_context, self._settings.tls)
        problems: list[str] = []
        for host, port in await self._candidates(tls):
            try:
                wire = await self._logged_in(host, port, tls)
                self._note(wire.address)
                return wire
            except StoreUnavailable as problem:
                problems.append(str(problem))
        raise StoreUnavailable("; ".join(problems))

    def _note(self, address: str) -> None:
        if address != self._last:
            self._last = address
            self.moves += 1

    async def _candidates(self, tls: ssl.SSLContext | None) -> Sequence[tuple[str, int]]:
        if self._settings.master_name is None:
            return self._addresses
        return [await self._ask_sentinels(self._settings.master_name, tls)]

    async def _logged_in(self, host: str, port: int, tls: ssl.SSLContext | None) -> Wire:
        settings = self._settings
        wire = await self._open(host, port, tls, settings.username, settings.password_file, HANDSHAKE_S_MAX)
        try:
            (role,) = await wire.ask(("ROLE",), timeout_s=HANDSHAKE_S_MAX)
            _check_role(wire.address, role)
        except BaseException:
            wire.abort("not the primary")
            raise
        return wire

    async def _ask_sentinels(self, master_name: str, tls: ssl.SSLContext | None) -> tuple[str, int]:
        problems: list[str] = []
        for number, (host, port) in enumerate(self._addresses):
            try:
                answer = await self._ask_sentinel(host, port, tls, master_name)
            except StoreUnavailable as problem:
                problems.append(str(problem))
                continue
            self._addresses.insert(0, self._addresses.pop(number))  # the one that answers is asked first next time
            return answer
        raise StoreUnavailable(f"no sentinel names a primary: {'; '.join(problems)}")

    async def _ask_sentinel(
        self, host: str, port: int, tls: ssl.SSLContext | None, master_name: str
    ) -> tuple[str, int]:
        settings = self._settings
        user, file = settings.sentinel_username, settings.sentinel_password_file
        wire = await self._open(host, port, tls, user, file, SENTINEL_S_MAX)
        try:
            command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", master_name)
            (answer,) = await wire.ask(command, timeout_s=SENTINEL_S_MAX)
        finally:
            wire.abort("asked")
        match answer:
            case [bytes() as name, bytes() as number] if number.isdigit():
                return name.decode(), int(number)
            case None:
                raise StoreUnavailable(f"sentinel {wire.address} knows no primary named {master_name!r}")
        raise StoreUnavailable(f"sentinel {wire.address} answered: {answer}")

    async def _open(
        self, host: str, port: int, tls: ssl.SSLContext | None, user: str | None, file: str | None, timeout_s: float
    ) -> Wire:
        """Connected and logged in."""
        password = None if file is None else await asyncio.to_thread(_read_password, file)
        server_name = None if self._settings.tls is None else self._settings.tls.server_name
        try:
            async with asyncio.timeout(timeout_s):
                wire = await open_wire(host, port, tls, server_name)
        except TimeoutError:
            raise StoreUnavailable(f"{host}:{port}: no connection within {timeout_s:g} s") from None
        if password is not None:
            await _log_in(wire, user, password, timeout_s)
        return wire


async def _log_in(wire: Wire, user: str | None, password: str, timeout_s: float) -> None:
    command = ("AUTH", password) if user is None else ("AUTH", user, password)
    try:
        (answer,) = await wire.ask(command, timeout_s=timeout_s)
        if isinstance(answer, hiredis.ReplyError):
            raise StoreUnavailable(f"{wire.address}: {as_store_error(str(answer))}")
    except BaseException:
        wire.abort("not logged in")
        raise


def _check_role(address: str, role: Reply) -> None:
    """A replica would answer reads from the past, and refuse what is to be kept."""
    if isinstance(role, hiredis.ReplyError):
        raise StoreUnavailable(f"{address}: {as_store_error(str(role))}")
    if not isinstance(role, list) or not role or role[0] != b"master":
        raise StoreUnavailable(f"{address} is not the primary")


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _read_password(file: str) -> str:
    try:
        return Path(file).read_text("utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as problem:
        raise StoreUnavailable(f"the store's password file cannot be read: {problem}") from problem


def _tls_context(settings: RedisTLSSettings | None) -> ssl.SSLContext | None:
    """Trust in exactly the authorities named, where any are."""
    if settings is None:
        return None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        for file in settings.ca_files:
            context.load_verify_locations(file)
        if not settings.ca_files:
            context.load_default_certs()
        if settings.certificate_file is not None:
            context.load_cert_chain(settings.certificate_file, settings.key_file)
    except OSError as problem:  # ssl.SSLError is one
        raise StoreUnavailable(f"the TLS files of the store cannot be used: {problem}") from problem
    return context
