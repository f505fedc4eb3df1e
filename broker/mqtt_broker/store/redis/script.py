"""The Lua scripts that run inside Redis: put together from their pieces, and named by their digest.

Knows which pieces make a script, in which order; does not know what they do, connections or prefixes.
"""

import hashlib
import re
from pathlib import Path

from msgspec import Struct

_FOLDER = Path(__file__).parent / "scripts"

_NUMBERS = re.compile(r"^local ([A-Z][A-Z0-9_, ]*) = (-?[0-9][0-9., -]*?)(?: --.*)?$", re.MULTILINE)


class Script(Struct, frozen=True):
    """`text` is what SCRIPT LOAD takes, `digest` what EVALSHA calls it by. One key: what all keys start with."""

    name: str
    text: str
    digest: str


def script(name: str, *parts: str, flags: str = "") -> Script:
    """The script of these files, in this order. `flags` as in Redis' script flags: "no-writes", "allow-oom".

    Without a flag, a server that is out of memory refuses the script as a whole, before its first line.
    """
    head = f"#!lua flags={flags}" if flags else "#!lua"
    text = "\n".join((_FOLDER / f"{part}.lua").read_text(encoding="utf-8") for part in parts)
    text = f"{head}\n{_with_numbers(text)}"
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _with_numbers(text: str) -> str:
    """Put in the value of each name in capitals that is declared as a number, outside of strings and comments.

    Lua 5.1 knows no constants: each would be a variable that every function captures anew with every call, which took a
    third of the time of a small batch.
    """
    values: dict[str, str] = {}
    for names, numbers in _NUMBERS.findall(text):
        values.update(zip(names.split(", "), numbers.split(", "), strict=True))
    if not values:
        return text
    token = re.compile(r"'[^'\n]*'|--.*|\b(?:" + "|".join(values) + r")\b")
    return token.sub(lambda found: values.get(found[0], found[0]), _NUMBERS.sub("", text))
