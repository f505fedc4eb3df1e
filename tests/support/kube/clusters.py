"""One face for both backends: put a cluster up, take it down, ask how it is, give it an image."""

from dataclasses import dataclass
from pathlib import Path

from support.kube import daemons, kind, local
from support.kube.place import Backend, Place, Record, Tier
from support.kube.problems import ClusterError


@dataclass(frozen=True)
class State:
    """How a cluster is. `processes`: process id and name; a cluster of kind has its processes in containers."""

    place: Place
    record: Record
    ready: bool
    processes: dict[int, str]


def missing(tier: Tier, backend: Backend | None = None) -> str | None:
    """Why there can be no cluster here; None if there can."""
    return None if _choose(tier, backend) else _refusal(tier, backend)


def up(place: Place, tier: Tier, backend: Backend | None = None) -> bool:
    """Put it up; False if it was up already. What an `up` that was killed has left is taken away first.

    Raises ClusterError, and then nothing of it is left.
    """
    with place.locked():
        if place.record() is not None:
            if _is_what_is_asked_for(place, tier):
                return False
            _down(place)
        chosen = _choose(tier, backend)
        if chosen is None:
            raise ClusterError(_refusal(tier, backend))
        (kind.up if chosen is Backend.KIND else local.up)(place, tier)
        return True


def down(place: Place) -> None:
    """End it and everything of it. A cluster that is not there is down."""
    with place.locked():
        _down(place)


def load_image(place: Place, archive: Path) -> None:
    """Give it the image in this archive, as `docker save` and its like write it. Raises ClusterError."""
    record = place.record()
    if record is None:
        raise ClusterError(f"there is no cluster '{place.name}'")
    if not archive.is_file():
        raise ClusterError(f"{archive} is not there")
    (kind.load_image if record.backend is Backend.KIND else local.load_image)(place, archive)


def state(place: Place) -> State | None:
    """None if there is no such cluster."""
    record = place.record()
    if record is None:
        return None
    return State(place, record, local.is_ready(place), daemons.running(place))


def _is_what_is_asked_for(place: Place, tier: Tier) -> bool:
    record = place.record()
    if record is None or not local.is_ready(place):
        return False
    if record.tier is Tier.FAST and tier is Tier.FULL:
        raise ClusterError(f"cluster '{place.name}' is up without a node: take it down first, or use another --name")
    return True


def _down(place: Place) -> None:
    record = place.record()
    (kind.down if record and record.backend is Backend.KIND else local.down)(place)


def _choose(tier: Tier, wanted: Backend | None) -> Backend | None:
    """kind for a node if it is there: it is what most people know. Without a node plain processes are up sooner."""
    order = (Backend.KIND, Backend.LOCAL) if tier is Tier.FULL else (Backend.LOCAL, Backend.KIND)
    for backend in order:
        if wanted in (None, backend) and _missing(backend, tier) is None:
            return backend
    return None


def _missing(backend: Backend, tier: Tier) -> str | None:
    return kind.missing() if backend is Backend.KIND else local.missing(tier)


def _refusal(tier: Tier, wanted: Backend | None) -> str:
    backends = [backend for backend in Backend if wanted in (None, backend)]
    return "; ".join(f"{backend}: {_missing(backend, tier)}" for backend in backends)
