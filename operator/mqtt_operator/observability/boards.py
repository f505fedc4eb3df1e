"""The dashboards, as the files beside this one hold them, and bound to one broker.

Knows how Grafana tells boards apart and what a board's variables are called; does not know its panels. Reads
data of the package and nothing else.
"""

import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

BROKER_BOARDS = ("broker", "security")
"""The boards that make sense for one broker alone."""
BOARDS = (*BROKER_BOARDS, "operator")

_UID_DIGITS = 12  # with its prefix well within the 40 characters that Grafana takes


@cache
def board_file(name: str) -> str:
    """The text of one of BOARDS: for all brokers, chosen by its variables."""
    return (files(__package__) / "dashboards" / f"{name}.json").read_text("utf-8")


@cache
def broker_board(name: str, namespace: str, broker: str) -> str:
    """The text of one of BROKER_BOARDS for this broker: a uid and a title of its own, and its variables chosen.

    Equal arguments, equal text: a ConfigMap with it changes only with the release.
    """
    board = json.loads(board_file(name))
    digest = hashlib.sha256(f"{namespace}/{broker}".encode()).hexdigest()[:_UID_DIGITS]
    board["uid"] = f"{board['uid']}-{digest}"
    board["title"] = f"{board['title']}: {namespace}/{broker}"
    chosen = {"namespace": namespace, "broker": broker}
    board["templating"]["list"] = [_fixed(variable, chosen) for variable in board["templating"]["list"]]
    return json.dumps(board, indent=1) + "\n"


def _fixed(variable: dict[str, Any], chosen: dict[str, str]) -> dict[str, Any]:
    name = variable["name"]
    if name not in chosen:
        return variable
    return {"name": name, "type": "constant", "query": chosen[name], "hide": 2, "skipUrlSync": True}
