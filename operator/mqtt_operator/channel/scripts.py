"""The Lua of the operator: read from the package, sent once, called by its digest.

Knows files and EVALSHA; does not know what a script does.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import redis


@cache
def source(name: str) -> str:
    """The text of scripts/NAME.lua."""
    return (files("mqtt_operator.channel") / "scripts" / f"{name}.lua").read_text("utf-8")


def call(client: redis.Redis, name: str, keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> Any:
    """Run it; a server that does not know it yet is given it."""
    return client.register_script(source(name))(keys=list(keys), args=list(arguments))
