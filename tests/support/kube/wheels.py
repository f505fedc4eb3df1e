"""The virtual environment of an image: the wheels that uv.lock names, and the one of this tree.

Knows uv; runs nothing of what it installs, so that the image's Python may be another one than this machine's.
"""

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from support.kube import layers
from support.kube.components import ROOT
from support.kube.problems import ClusterError

IMAGE = ROOT / "image"
SOURCES = ("crds", "broker", "operator")
OTHERS = ("pyproject.toml", "README.md", "LICENSE", "image/stoa", "image/pyvenv.cfg", "image/build-constraints.txt")
MINOR = "3.11"
EXTRA = "operator"
MIRRORS = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")  # as hack/lib.sh knows them


def missing() -> str | None:
    """Why nothing can be installed here; None if it can."""
    return None if _uv().is_file() else "uv is not here: ./hack/test makes an environment with it"


def locked_requirements() -> str:
    """Names, versions and hashes of all that the lock says the image needs."""
    arguments = ("--frozen", "--no-default-groups", f"--extra={EXTRA}", "--no-emit-project", "--no-header")
    return _run("export", "--quiet", *arguments, "--format=requirements-txt")


def install_locked(requirements: str, home: Path) -> None:
    """Wheels only, of the hashes that the lock names."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(requirements)
        file.flush()
        _install(home, "--require-hashes", "--requirement", file.name)
    shutil.rmtree(_packages(home) / "bin", ignore_errors=True)  # commands of others are for nobody there


def install_own(home: Path, tree: Path = ROOT) -> None:
    """The tree as a wheel, and its command."""
    with tempfile.TemporaryDirectory() as folder:
        constraints = ("--require-hashes", f"--build-constraints={IMAGE / 'build-constraints.txt'}")
        _run("build", "--quiet", "--wheel", *constraints, f"--out-dir={folder}", str(tree))
        (wheel,) = Path(folder).glob("*.whl")
        _install(home, str(wheel))
    shutil.rmtree(_packages(home) / "bin", ignore_errors=True)
    shutil.copyfile(IMAGE / "stoa", home / "bin" / "stoa")
    (home / "bin" / "stoa").chmod(0o755)


def own_files(tree: Path = ROOT) -> list[Path]:
    """Everything that our wheel is made from."""
    files = [tree / name for name in OTHERS]
    for folder in SOURCES:
        files += [path for path in (tree / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return files


def digest_of_own(tree: Path = ROOT) -> str:
    return layers.digest_of_files(own_files(tree), tree)


def make_home(home: Path, python: str) -> None:
    """An empty virtual environment for the Python at this path of the image."""
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").symlink_to(python)
    shutil.copyfile(IMAGE / "pyvenv.cfg", home / "pyvenv.cfg")
    _packages(home).mkdir(parents=True)


def _packages(home: Path) -> Path:
    return home / "lib" / f"python{MINOR}" / "site-packages"


def _install(home: Path, *arguments: str) -> None:
    machine = f"{platform.machine()}-manylinux_2_28"
    where = ("--target", str(_packages(home)), "--python-version", MINOR, "--python-platform", machine)
    index = [f"--index-url={url}"] if (url := _index()) else []
    _run(
        "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--link-mode=copy", *index, *where, *arguments
    )


def _index() -> str:
    """The same mirrors that hack/lib.sh knows."""
    return next(
        (url for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL") if (url := os.environ.get(name))), ""
    )


def _uv() -> Path:
    found = shutil.which("uv")
    return Path(found) if found else ROOT / ".uv" / "environment" / "bin" / "uv"


def _run(*arguments: str) -> str:
    done = subprocess.run([str(_uv()), *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"uv {' '.join(arguments)}: {done.stderr.strip()[-2_000:]}")
    return done.stdout
