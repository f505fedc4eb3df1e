"""Live copies of what the API server has, for the processes that play a part of the cluster.

Knows list and watch; does not know what the objects mean. A lost connection is opened again and everything listed anew.
"""

import asyncio
import json
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import aiohttp

from support.kube import login

Manifest = Mapping[str, Any]

LINE_BYTES_MAX = 4 * 1024 * 1024
RETRY_S = 0.3


class Cluster:
    """The API server, as whoever the kubeconfig names. Use as `async with`."""

    def __init__(self, kubeconfig: Path) -> None:
        self._server, self._context = login.read(kubeconfig)

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._context)
        timeout = aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(
            self._server, connector=connector, timeout=timeout, read_bufsize=LINE_BYTES_MAX
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Manifest | None = None, kind: str = "application/json") -> Any:
        """One request. Returns the object; None when there is no such thing. Raises ClientError for other refusals."""
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, path, data=data, headers={"Content-Type": kind}) as response:
            if response.status in {404, 409}:
                return None
            response.raise_for_status()
            return await response.json()

    async def text(self, path: str) -> str:
        """What a server behind the API server says. Raises ClientError."""
        async with self._session.get(path) as response:
            response.raise_for_status()
            return await response.text()

    def stream(self, path: str) -> Any:
        return self._session.get(path)


class Mirror:
    """All objects of one kind in all namespaces, by namespace and name. `path`: of its collection."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.is_complete = False

    async def follow(self, cluster: Cluster, changed: asyncio.Event) -> None:
        """Keep up until cancelled; set `changed` whenever something did."""
        while True:
            try:
                await self._list(cluster, changed)
            except (aiohttp.ClientError, ConnectionError, TimeoutError, ssl.SSLError) as problem:
                print(f"{self.path}: {problem!r}", file=sys.stderr, flush=True)
            await asyncio.sleep(RETRY_S)

    async def _list(self, cluster: Cluster, changed: asyncio.Event) -> None:
        listed = await cluster.call("GET", self.path)
        self.objects = {_key(item): item for item in listed["items"]}
        self.is_complete = True
        changed.set()
        version = listed["metadata"]["resourceVersion"]
        async with cluster.stream(f"{self.path}?watch=1&resourceVersion={version}") as response:
            response.raise_for_status()
            async for line in response.content:
                if not self._take(json.loads(line)):
                    return
                changed.set()

    def _take(self, event: Mapping[str, Any]) -> bool:
        """False: what was watched is too old, and has to be listed again."""
        if event["type"] == "ERROR":
            return False
        item = event["object"]
        if event["type"] == "DELETED":
            self.objects.pop(_key(item), None)
        else:
            self.objects[_key(item)] = item
        return True


async def follow_all(cluster: Cluster, mirrors: Sequence[Mirror], changed: asyncio.Event) -> None:
    """All of them, until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for mirror in mirrors:
            tasks.create_task(mirror.follow(cluster, changed))


def _key(item: Manifest) -> tuple[str, str]:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
