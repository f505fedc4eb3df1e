"""Container images as archives for `load-image`: a configuration, and layers that are tar files.

Knows the archive format of `docker save`; needs neither a registry nor Docker. Small images are made here of programs
that are there; what the product's image consists of, product_image.py knows.
"""

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Start:
    """How a container of an image starts when its pod says nothing else."""

    entrypoint: Sequence[str]
    user: str = ""
    env: Mapping[str, str] = field(default_factory=lambda: {"PATH": "/bin"})
    workdir: str = "/"


@dataclass(frozen=True)
class Image:
    """`files` maps paths inside to files here, `links` paths inside to what they point at."""

    tag: str
    entrypoint: Sequence[str]
    files: Mapping[str, Path]
    links: Mapping[str, str] = field(default_factory=dict)
    user: str = ""


def write(image: Image, path: Path) -> None:
    """The archive of one image with one layer."""
    layer = path.with_suffix(".layer")
    layer.write_bytes(_layer(image))
    try:
        write_layers(image.tag, Start(image.entrypoint, image.user), [layer], path)
    finally:
        layer.unlink()


def write_layers(tag: str, start: Start, layers: Sequence[Path], path: Path) -> None:
    """The archive of an image with these layers, the lowest first. The same layers make the same image."""
    digests = [_digest(layer) for layer in layers]
    config = _configuration(start, digests)
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    names = [f"{digest}.tar" for digest in digests]
    manifest = [{"Config": config_name, "RepoTags": [tag], "Layers": names}]
    with tarfile.open(path, "w") as archive:
        for name, layer in zip(names, layers, strict=True):
            entry = tarfile.TarInfo(name)
            entry.size = layer.stat().st_size
            with layer.open("rb") as file:
                archive.addfile(entry, file)
        _add(archive, config_name, config)
        _add(archive, "manifest.json", json.dumps(manifest).encode())


def busybox(tag: str, entrypoint: Sequence[str] = ("/bin/sh",)) -> Image:
    """A shell with all that busybox has, from the static one of the system."""
    program = Path("/bin/busybox")
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = {f"bin/{name}": "busybox" for name in listed if name != "busybox"}
    return Image(tag, entrypoint, {"bin/busybox": program}, links)


def _configuration(start: Start, digests: Sequence[str]) -> bytes:
    return json.dumps(
        {
            "architecture": ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": {
                "Entrypoint": list(start.entrypoint),
                "User": start.user,
                "Env": [f"{name}={value}" for name, value in sorted(start.env.items())],
                "WorkingDir": start.workdir,
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        }
    ).encode()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _layer(image: Image) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, source in image.files.items():
            _add(archive, name, source.read_bytes(), mode=0o755)
        for name, target in image.links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(folder)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))
