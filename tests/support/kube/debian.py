"""Root file systems from the files of Debian packages, with neither a package manager nor a shell in them.

Knows apt and the layout of Debian; does not know what the packages are for. Scripts of packages do not run: the few
things that they would do and that a program misses are done here.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from support.kube.problems import ClusterError

MERGED = ("bin", "lib", "lib64", "sbin")  # links to their namesakes in /usr
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
NOBODY_ID = 65_532

# Nothing reads these in a container; licences stay.
_LEFT_OUT = (
    "usr/share/bug",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/info",
    "usr/share/python3",
    "usr/lib/python3.11/ensurepip",
    "usr/lib/python3.11/lib2to3",
    "usr/lib/python3.11/pydoc_data",
    "usr/lib/python3.11/test",
    "usr/sbin",
    "var/lib/dpkg",
)


def versions(packages: Sequence[str]) -> list[str]:
    """File name and digest of each package as apt would fetch it now: what a root of them is made from."""
    done = _download("--print-uris", *packages)
    found = sorted(" ".join(line.split()[1::2]) for line in done.stdout.splitlines() if line.startswith("'"))
    if len(found) != len(packages):
        raise ClusterError(f"apt has not all of these packages: {' '.join(packages)}")
    return found


def unpack(packages: Sequence[str], root: Path, folder: Path) -> None:
    """Fetch them into `folder` and make a root of their files. Raises ClusterError."""
    folder.mkdir(parents=True)
    _download("-qq", *packages, folder=folder)
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in sorted(folder.glob("*.deb")):
        _extract(package, root)
    _finish(root)


def missing() -> str | None:
    """Why no root can be made here; None if it can."""
    for program in ("apt-get", "dpkg-deb", "tar", "chroot"):
        if shutil.which(program) is None:
            return f"{program} is not here: images are made from Debian's packages"
    return None


def _extract(package: Path, root: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as files:
        command = ["tar", "--extract", "--keep-directory-symlink", f"--directory={root}"]
        done = subprocess.run(command, stdin=files.stdout, capture_output=True, text=True, check=False)
    if done.returncode or files.returncode:
        raise ClusterError(f"{package.name} cannot be unpacked: {done.stderr.strip()}")


def _finish(root: Path) -> None:
    _trust(root)
    for name in _LEFT_OUT:
        shutil.rmtree(root / name, ignore_errors=True)
    for document in (root / "usr" / "share" / "doc").glob("*/*"):
        if document.name != "copyright":
            document.unlink() if document.is_symlink() or document.is_file() else shutil.rmtree(document)
    (root / "usr" / "sbin").mkdir(exist_ok=True)
    _file(root / "etc/passwd", f"root:x:0:0:root:/root:\nnonroot:x:{NOBODY_ID}:{NOBODY_ID}:nonroot:/tmp:\n")
    _file(root / "etc/group", f"root:x:0:\nnonroot:x:{NOBODY_ID}:\n")
    _file(root / "etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)


def _trust(root: Path) -> None:
    """The bundle of certificates, which a script of its package would put together."""
    single = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    if not single:
        return
    _file(root / BUNDLE, "".join(path.read_text(encoding="ascii") for path in single))
    shutil.rmtree(root / "usr/share/ca-certificates")
    found_by_openssl = root / "usr/lib/ssl/cert.pem"
    found_by_openssl.parent.mkdir(parents=True, exist_ok=True)
    found_by_openssl.unlink(missing_ok=True)
    found_by_openssl.symlink_to(f"/{BUNDLE}")


def _file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _download(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Once more with new lists where there are none, or where what they name is not served any more."""
    done = _apt("download", *arguments, folder=folder)
    if done.returncode:
        _must(_apt("update", "-qq"))
        done = _must(_apt("download", *arguments, folder=folder))
    return done


def _apt(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = ["apt-get", "-o", "APT::Sandbox::User=root", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _must(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    if done.returncode:
        raise ClusterError(f"{' '.join(done.args)}: {done.stderr.strip()}")
    return done
