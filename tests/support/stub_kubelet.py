"""Pods of nodes become real nodes, as processes of this machine, with the files that their volumes hold.

Knows volumes, probes and the end of a pod; does not know containers or machines. Paths and ports of a pod are mapped to
a folder and to free ports, for all pods share the machine. A pod is gone from the API when its process has ended.
"""

import base64
import signal
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mqtt_api.node_settings import HTTPSettings, NodeSettings
from mqtt_operator.desired import kinds, names
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import Kube
from support.mounted import Mounted
from support.processes import Program, free_port
from support.stub_workloads import StubWorkloads

HOLD = "tests.stoa.dev/kubelet"
ROOTS = ("/etc/stoa", names.RUN_FOLDER, names.DATA_FOLDER)


class RunningNode:
    """One pod's process. `ports`: by listener, those that were chosen here."""

    def __init__(self, folder: Path, pod: Manifest, volumes: Mapping[str, Mapping[str, bytes]]) -> None:
        self._folder = folder
        self.name: str = pod["metadata"]["name"]
        self.uid: str = pod["metadata"]["uid"]
        self.ports: dict[str, int] = {}
        self._run = tempfile.TemporaryDirectory(prefix="stoa-pod-")
        self._http = free_port()
        self._mounted = {
            path: Mounted(self._inside(path), self._mapped(path, files)) for path, files in volumes.items()
        }
        self._inside(names.DATA_FOLDER).mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-P", "-m", "mqtt_broker"]
        command += ["--settings", str(self._inside(names.SETTINGS_FILE)), "--node", self.name]
        self.program = Program(command)

    def refresh(self, volumes: Mapping[str, Mapping[str, bytes]]) -> None:
        """What the volumes hold now."""
        for path, files in volumes.items():
            self._mounted[path].swap(self._mapped(path, files))

    @property
    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._http}{names.READINESS_PATH}", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def end(self) -> None:
        """The process, if it still runs, and what only it had."""
        self.program.kill()
        self._run.cleanup()

    def _inside(self, path: str) -> Path:
        if path.startswith(names.RUN_FOLDER):  # the path of a Unix socket has at most 107 characters
            return Path(self._run.name) / path.removeprefix(names.RUN_FOLDER).lstrip("/")
        if path.startswith(names.DATA_FOLDER):  # the claim of a pod outlives it
            return self._folder.parent / f"{self.name}-data" / path.removeprefix(names.DATA_FOLDER).lstrip("/")
        return self._folder / path.lstrip("/")

    def _mapped(self, path: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
        if path != names.SETTINGS_FOLDER:
            return dict(files)
        text = files[names.SETTINGS_KEY].decode()
        for root in ROOTS:
            text = text.replace(f'"{root}', f'"{self._inside(root)}').replace(f":{root}", f":{self._inside(root)}")
        settings = msgspec.json.decode(text, type=NodeSettings)
        for listener in settings.listeners:
            self.ports.setdefault(listener.name, free_port())
        mapped = msgspec.structs.replace(
            settings,
            http=HTTPSettings(host="127.0.0.1", port=self._http),
            listeners=tuple(
                msgspec.structs.replace(each, host="127.0.0.1", port=self.ports[each.name])
                for each in settings.listeners
            ),
        )
        return {**files, names.SETTINGS_KEY: msgspec.json.encode(mapped)}


class StubKubelet:
    """The pods of one broker in one namespace. `act` again and again; `close` at the end."""

    def __init__(self, kube: Kube, namespace: str, broker: str, folder: Path) -> None:
        self._kube = kube
        self._namespace = namespace
        self._broker = broker
        self._folder = folder
        self._starts = 0
        self.workloads = StubWorkloads(kube, namespace, finalizers=(HOLD,))
        self.nodes: dict[str, RunningNode] = {}
        self.ended: list[str] = []

    async def act(self) -> None:
        """One round: make pods, start what is missing, bring new files, tell who is ready, let go of what has ended."""
        await self.workloads.act(ready=False)
        for pod in await self.workloads.pods(self._broker):
            name = pod["metadata"]["name"]
            if "deletionTimestamp" in pod["metadata"]:
                await self._end(pod)
            elif (volumes := await self._volumes(pod)) is not None:
                if name not in self.nodes:
                    self._starts += 1
                    self.nodes[name] = RunningNode(self._folder / f"{name}-{self._starts}", pod, volumes)
                self.nodes[name].refresh(volumes)
                await self.workloads.set_ready(name, ready=self.nodes[name].is_ready)

    def close(self) -> None:
        for node in self.nodes.values():
            node.end()

    async def _end(self, pod: Manifest) -> None:
        name = pod["metadata"]["name"]
        node = self.nodes.get(name)
        if node is not None and node.program.returncode() is None:
            node.program.signal(signal.SIGTERM)
            return
        if node is not None:
            self.nodes.pop(name).end()
        self.ended.append(name)
        body = {"metadata": {"uid": pod["metadata"]["uid"], "finalizers": None}}
        await self._kube.patch(kinds.POD, self._namespace, name, body)

    async def _volumes(self, pod: Manifest) -> dict[str, dict[str, bytes]] | None:
        """By the path where they lie, the files of each; None: something is missing, and a kubelet would wait."""
        (container,) = pod["spec"]["containers"]
        paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        found: dict[str, dict[str, bytes]] = {}
        for volume in pod["spec"]["volumes"]:
            sources = [volume] if "projected" not in volume else volume["projected"]["sources"]
            files: dict[str, bytes] = {}
            for source in sources:
                some = await self._files(source)
                if some is None:
                    return None
                files |= some
            if files:
                found[paths[volume["name"]]] = files
        return found

    async def _files(self, source: Manifest) -> dict[str, bytes] | None:
        if "configMap" in source:
            wanted, kind = source["configMap"], kinds.CONFIG_MAP
        elif "secret" in source:
            wanted, kind = source["secret"], kinds.SECRET
        else:
            return {}
        name = wanted.get("secretName") or wanted["name"]
        found = await self._kube.get(kind, self._namespace, name)
        data: dict[str, Any] = {} if found is None else found.get("data") or {}
        if any(item["key"] not in data for item in wanted["items"]):
            return None
        values = (
            data if kind is kinds.CONFIG_MAP else {key: base64.b64decode(value).decode() for key, value in data.items()}
        )
        return {item["path"]: values[item["key"]].encode() for item in wanted["items"]}
