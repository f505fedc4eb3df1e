"""Requests to the API server as they go over the wire: log-in, connections, JSON; one attempt each.

Knows `kubernetes.aio` and is the only one that does; does not know kinds, retries, or what an answer means.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
import yaml
from kubernetes.aio import config
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config.incluster_config import SERVICE_HOST_ENV_NAME, SERVICE_TOKEN_FILENAME

from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.errors import ExpectedError

USER_AGENT = "stoa-operator"
CONNECT_S_MAX = 10.0
CLOSING_TURNS = 3  # of the event loop, until connections that were ended have let go of their sockets
RELOAD_S_MIN = 5.0  # however many calls are refused at once, the log-in is read anew once

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML


class NoAnswerError(Exception):
    """The API server was not reached, or the answer did not come. The text holds no content."""


class NotTrustedError(NoAnswerError):
    """Its certificate is not one that we trust, or ours is not one that it does: either may have been replaced."""


class NoStreamError(Exception):
    """Instead of a stream there was this answer."""

    def __init__(self, answer: "Answer") -> None:
        super().__init__(f"code {answer.code}")
        self.answer = answer


class LoginError(ExpectedError):
    """Nothing says where the API server is and who we are."""


class Answer(NamedTuple):
    """`body`: what the API server sent, whatever the code."""

    code: int
    retry_after_s: float | None
    body: bytes

    def document(self) -> Manifest:
        """The body as JSON. Raises NoAnswerError if it is none: something between us and the API server answered."""
        try:
            document = msgspec.json.decode(self.body)
        except msgspec.DecodeError as error:
            raise NoAnswerError(f"an answer with code {self.code} that is no JSON") from error
        if not isinstance(document, dict):
            raise NoAnswerError(f"an answer with code {self.code} that is no object")
        return document


class Login(NamedTuple):
    """What another client needs to be who we are. Do not print it: `token` is a secret."""

    server: str
    ca_file: str | None
    token: str | None
    certificate_file: str | None
    key_file: str | None
    verify: bool
    proxy: str | None


class Request(NamedTuple):
    """`content_type` is of the body, and says which sort of patch it is."""

    method: str
    path: str
    query: Mapping[str, str] = {}
    body: Manifest | None = None
    content_type: str = JSON


Configure = Callable[[], Awaitable[Configuration]]

_NO_LOGIN = "The operator finds no API server."
_LOGIN_ADVICE = "Run it in a pod with a service account, or name a kubeconfig in KUBECONFIG."
_UNUSABLE = (config.ConfigException, yaml.YAMLError, AttributeError, TypeError, KeyError, ValueError)

_library: Any = config  # it carries a py.typed, and no types


async def find_configuration() -> Configuration:
    """The pod's service account, or else the kubeconfig of a person. Raises LoginError."""
    configuration = Configuration()
    try:
        if _is_in_a_pod():
            _library.load_incluster_config(configuration)
        else:
            await _library.load_kube_config(client_configuration=configuration, persist_config=False)
    except OSError as error:
        raise LoginError(_NO_LOGIN, where=str(error), to_do=_LOGIN_ADVICE) from error
    except _UNUSABLE:  # their texts may show what is in the file
        raise LoginError(_NO_LOGIN, where="what there is to log in with is not usable", to_do=_LOGIN_ADVICE) from None
    return configuration


def _is_in_a_pod() -> bool:
    return bool(os.environ.get(SERVICE_HOST_ENV_NAME)) and Path(SERVICE_TOKEN_FILENAME).exists()


class Session:
    """Open it with `open` before the first call, close it with `close` after the last."""

    def __init__(self, configure: Configure = find_configuration) -> None:
        self._configure = configure
        self._configuration: Configuration | None = None
        self._rest: Any = None  # a RESTClientObject while it is open
        self._reloading = asyncio.Lock()
        self._loaded_at = 0.0

    async def open(self) -> None:
        """Read who we are. Nothing is sent yet. Raises LoginError."""
        configuration = await self._configure()
        configuration.connection_pool_maxsize = 0  # callers bound themselves; watches hold one connection each
        configuration.retries = None
        self._configuration = configuration
        self._rest = RESTClientObject(configuration)
        self._loaded_at = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """End all connections. Idempotent."""
        if self._rest is not None:
            rest, self._rest = self._rest, None
            await rest.close()
            for _ in range(CLOSING_TURNS):
                await asyncio.sleep(0)

    async def reload(self) -> None:
        """Read who we are anew, as a token or a CA may have been replaced. At most once in RELOAD_S_MIN.

        Calls under way may end with NoAnswerError. Raises LoginError, and then all stays as it was.
        """
        async with self._reloading:
            if asyncio.get_running_loop().time() - self._loaded_at < RELOAD_S_MIN:
                return
            before = self._rest
            await self.open()
            if before is not None:
                await before.close()

    async def login(self) -> Login:
        """Who we are, for another client."""
        configuration = self._ready_configuration()
        header = await configuration.get_api_key_with_prefix("BearerToken")
        return Login(
            server=configuration.host,
            ca_file=configuration.ssl_ca_cert,
            token=header.partition(" ")[2] if header else None,
            certificate_file=configuration.cert_file,
            key_file=configuration.key_file,
            verify=bool(configuration.verify_ssl),
            proxy=configuration.proxy,
        )

    async def request(self, request: Request, *, seconds_max: float) -> Answer:
        """One attempt. Raises NoAnswerError, and then it may or may not have been carried out."""
        response = await self._send(
            request, aiohttp.ClientTimeout(total=seconds_max, sock_connect=min(CONNECT_S_MAX, seconds_max))
        )
        try:
            content = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NoAnswerError(_words(error)) from error
        finally:
            response.release()
        return Answer(response.status, _retry_after_s(response), content)

    async def lines(self, request: Request, *, silence_s_max: float) -> AsyncGenerator[bytes]:
        """The lines of an answer that goes on, until the API server ends it.

        Raises NoAnswerError when the connection breaks or nothing comes for `silence_s_max`, NoStreamError if the
        answer is no success.
        """
        response = await self._send(
            request, aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S_MAX, sock_read=silence_s_max)
        )
        try:
            if response.status != HTTPStatus.OK:
                raise NoStreamError(Answer(response.status, None, await response.read()))
            while line := await response.content.readline():
                yield line
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:  # ValueError: a line without end
            raise NoAnswerError(_words(error)) from error
        finally:
            response.close()

    async def _send(self, request: Request, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        configuration, rest = self._ready_configuration(), self._rest
        if rest is None:
            raise NoAnswerError("the connection is closed")
        headers = {"Accept": JSON, "Content-Type": request.content_type, "User-Agent": USER_AGENT}
        try:
            if header := await configuration.get_api_key_with_prefix("BearerToken"):
                headers["authorization"] = header
            query = f"?{urlencode(request.query, quote_via=quote)}" if request.query else ""
            answer = await rest.request(
                request.method,
                f"{configuration.host}{request.path}{query}",
                headers=headers,
                body=request.body,
                _request_timeout=limits,
            )
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise NotTrustedError(_words(error)) from error
        except (aiohttp.ClientError, OSError, TimeoutError, config.ConfigException) as error:
            raise NoAnswerError(_words(error)) from error
        response: aiohttp.ClientResponse = answer.response
        return response

    def _ready_configuration(self) -> Configuration:
        if self._configuration is None:
            raise NoAnswerError("the connection was never opened")
        return self._configuration


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
