"""hack/cluster: up, down, status, load-image, image and build, for a person at a terminal.

What the next command needs (a path) goes to standard output, everything else to standard error.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from support.kube import clusters, local, product_image
from support.kube.place import Backend, Place, Tier
from support.kube.problems import ClusterError

DEFAULT_NAME = "dev"


def main(arguments: list[str] | None = None) -> int:
    options, interrupt = _parser().parse_args(arguments), _Interrupt()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell that runs us beside it has SIGINT ignored
        signal.signal(number, interrupt)  # what is half up is taken down
    try:
        options.run(options)
        if interrupt.came:
            if options.run is _up:
                clusters.down(Place.named(options.name))
            raise KeyboardInterrupt
    except ClusterError as problem:
        _say(f"error: {problem}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted; what was started has been taken down")
        return 130
    return 0


class _Interrupt:
    """Raises KeyboardInterrupt, and remembers that: raised while an object is finalised it would reach nobody."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, *_: object) -> None:
        self.came = True
        raise KeyboardInterrupt


def _up(options: argparse.Namespace) -> None:
    place, started = Place.named(options.name), time.monotonic()
    if clusters.up(place, options.tier, options.backend):
        _say(f"Cluster '{place.name}' is ready, {time.monotonic() - started:.1f} s.")
    else:
        _say(f"Cluster '{place.name}' is up already.")
    kubectl = _short(place.kubectl)
    # Without pods there is no operator; its chart brings the definitions along, and must find none of others.
    first = "apply --server-side -f manifests/crds.yaml" if options.tier is Tier.FAST else "get pods -A"
    _say(f"    {kubectl} {first}", f"    ./hack/cluster down --name {place.name}")
    print(place.kubeconfig)


def _down(options: argparse.Namespace) -> None:
    for place in Place.all() if options.all else [Place.named(options.name)]:
        there = place.record() is not None
        clusters.down(place)
        _say(f"Cluster '{place.name}' is down." if there else f"There was no cluster '{place.name}'.")


def _status(options: argparse.Namespace) -> None:
    states = [state for place in Place.all() if (state := clusters.state(place))]
    if options.name:
        states = [state for state in states if state.place.name == options.name]
        if not states:
            raise ClusterError(f"there is no cluster '{options.name}'")
    if not states:
        _say("There is no cluster.")
    for state in states:
        place, record = state.place, state.record
        words = "ready" if state.ready else "not ready"
        print(f"{place.name}  {record.backend}  {record.tier}  {words}  {_short(place.kubeconfig)}")
        for pid, name in sorted(state.processes.items()):
            print(f"    {pid:>8}  {name}")


def _build(options: argparse.Namespace) -> None:
    local.build(options.tier)


def _load_image(options: argparse.Namespace) -> None:
    place = Place.named(options.name)
    for archive in [options.archive] if options.archive else [product_image.product(), product_image.redis()]:
        clusters.load_image(place, archive.resolve())
        _say(f"{_short(archive)} is in cluster '{place.name}'.")


def _image(options: argparse.Namespace) -> None:
    started = time.monotonic()
    archive = product_image.product(options.tag)
    size_mb, limit_mb = product_image.compressed_bytes() / 1e6, product_image.contents().bytes_compressed_max / 1e6
    _say(f"{options.tag}: {size_mb:.1f} MB compressed, of {limit_mb:.0f} at most, {time.monotonic() - started:.1f} s.")
    print(archive)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./hack/cluster", description=__doc__.partition("\n")[0])
    verbs = parser.add_subparsers(required=True, metavar="up|down|status|load-image|image|build")

    up = verbs.add_parser("up", help="start a cluster and print the path of its kubeconfig")
    up.add_argument("--backend", type=Backend, choices=list(Backend), help="default: kind where it is there")
    up.set_defaults(run=_up)

    build = verbs.add_parser("build", help="build now what `up` with plain processes would build first")
    build.set_defaults(run=_build)

    down = verbs.add_parser("down", help="end a cluster and take everything of it away")
    down.add_argument("--all", action="store_true", help="every cluster of this tree")
    down.set_defaults(run=_down)

    status = verbs.add_parser("status", help="which clusters there are, and their processes")
    status.add_argument("--name", default="")
    status.set_defaults(run=_status)

    load = verbs.add_parser("load-image", help="give a cluster an image from an archive, or those of this tree")
    load.add_argument("archive", type=Path, metavar="FILE.tar", nargs="?")
    load.set_defaults(run=_load_image)

    image = verbs.add_parser("image", help="make the image of this tree, and print the path of its archive")
    image.add_argument("--tag", default=product_image.TAG, help=f"default: {product_image.TAG}")
    image.set_defaults(run=_image)

    for verb in (up, build):
        tiers = verb.add_mutually_exclusive_group()
        tiers.add_argument("--fast", dest="tier", action="store_const", const=Tier.FAST, help="no node: an API server")
        tiers.add_argument("--full", dest="tier", action="store_const", const=Tier.FULL, help="with a node (default)")
        verb.set_defaults(tier=Tier.FULL)
    for verb in (up, down, load):
        verb.add_argument("--name", default=DEFAULT_NAME, help=f"which cluster (default: {DEFAULT_NAME})")
    return parser


def _short(path: Path) -> str:
    """Relative to where the person is, if that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
