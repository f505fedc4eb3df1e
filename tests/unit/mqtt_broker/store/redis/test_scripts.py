"""How scripts are put together."""

import re
from collections import defaultdict

import pytest

from mqtt_broker.store.redis import operations, queries
from mqtt_broker.store.redis import script as scripts
from mqtt_broker.store.redis.script import Script, script

OURS = (operations.GROWING, operations.DRAINING, queries._DUE, queries._REAP, queries._LOAD, queries._READ_QUEUE)


def test_a_script_begins_with_its_flags_and_holds_its_parts_in_order() -> None:
    plain = script("plain", "names", "recall")
    flagged = script("flagged", "names", "recall", flags="no-writes")
    assert plain.text.startswith("#!lua\n-- Names of keys")
    assert flagged.text == plain.text.replace("#!lua\n", "#!lua flags=no-writes\n", 1)
    assert plain.digest != flagged.digest
    assert plain.text.index("local function ordinal()") < plain.text.index("HINCRBY")


def test_names_of_numbers_are_replaced_by_what_they_stand_for() -> None:
    text = "local ONE, MINUS = 1, -2 -- both\nlocal TEXT = 'ONE'\nreturn ONE + MINUS, TONE, 'MINUS' -- ONE\n"
    assert scripts._with_numbers(text) == "\nlocal TEXT = 'ONE'\nreturn 1 + -2, TONE, 'MINUS' -- ONE\n"


def test_text_without_such_names_stays_as_it_is() -> None:
    assert scripts._with_numbers("return 'A'\n") == "return 'A'\n"


def test_a_name_stands_for_one_number_in_all_files() -> None:
    """One text holds many of them: what two use differently would be wrong in one."""
    values: dict[str, set[str]] = defaultdict(set)
    for file in scripts._FOLDER.glob("*.lua"):
        for names, numbers in scripts._NUMBERS.findall(file.read_text(encoding="utf-8")):
            for name, number in zip(names.split(", "), numbers.split(", "), strict=True):
                values[name].add(number)
    assert len(values) > 40
    assert {name: found for name, found in values.items() if len(found) > 1} == {}


@pytest.mark.parametrize("ours", OURS, ids=lambda ours: ours.name)
def test_variables_of_the_main_chunk_stay_below_what_lua_allows(ours: Script) -> None:
    names = 0
    for declared in re.findall(r"^local (?:function (\w+)|([\w, ]+?)(?: =|$))", ours.text, re.MULTILINE):
        names += 1 if declared[0] else len(declared[1].split(","))
    assert names < 180
