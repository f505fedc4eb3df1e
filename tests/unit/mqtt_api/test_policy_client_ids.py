"""Patterns of client ids."""

import re
import timeit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_api.policy import client_id_allowed


@pytest.mark.parametrize(
    ("pattern", "client_id"),
    [
        ("pump-7", "pump-7"),
        ("pump-*", "pump-"),
        ("pump-*", "pump-7-a"),
        ("*", ""),
        ("*", "anything"),
        ("*-a", "pump-a"),
        ("a*b*c", "abc"),
        ("a*b*c", "axbxbxc"),
        ("**", "x"),
        ("${username}", "u1"),
        ("${username}-*", "u1-x"),
        ("x-${username}-${username}", "x-u1-u1"),
        ("", ""),
        ("a.c", "a.c"),
        ("[ab]?", "[ab]?"),
    ],
)
def test_client_id_that_fits_is_allowed(pattern: str, client_id: str) -> None:
    assert client_id_allowed([pattern], "u1", client_id)


@pytest.mark.parametrize(
    ("pattern", "client_id"),
    [
        ("pump-7", "pump-70"),
        ("pump-7", "xpump-7"),
        ("pump-*", "pump"),
        ("a*a", "a"),
        ("ab*ba", "aba"),
        ("a*b*c", "acb"),
        ("a*bb*b", "abb"),
        ("${username}", "u2"),
        ("${username}", "${username}"),
        ("${clientid}", "u1"),
        ("", "x"),
        ("a.c", "abc"),
        ("[ab]", "a"),
        ("Pump", "pump"),
    ],
)
def test_client_id_that_does_not_fit_is_refused(pattern: str, client_id: str) -> None:
    assert not client_id_allowed([pattern], "u1", client_id)


def test_one_pattern_of_several_is_enough_and_none_allows_nothing() -> None:
    assert client_id_allowed(["a", "b*"], "u", "bc")
    assert not client_id_allowed([], "u", "u")


@pytest.mark.parametrize("username", ["*", "a*", "${username}", "a.c", "[ab]"])
def test_user_name_is_never_read_as_a_pattern(username: str) -> None:
    assert client_id_allowed(["x-${username}-*"], username, f"x-{username}-1")
    assert not client_id_allowed(["x-${username}-*"], username, "x-abc-1")
    assert not client_id_allowed(["${username}"], username, "victim")


def test_client_without_a_user_name_fits_no_pattern_that_asks_for_one() -> None:
    assert not client_id_allowed(["${username}*", "${username}", "-${username}"], "", "")
    assert not client_id_allowed(["${username}*"], "", "anything")


@settings(max_examples=300, deadline=None)
@given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
def test_pattern_means_what_the_regular_expression_would(pattern: str, client_id: str) -> None:
    expected = re.fullmatch(pattern.replace("*", ".*"), client_id) is not None
    assert client_id_allowed([pattern], "u", client_id) is expected


def test_pattern_of_many_stars_takes_no_exponential_time() -> None:
    """The same as a backtracking expression would not end within the age of the universe."""
    client_id = "a" * 65_535
    seconds = timeit.timeit(lambda: client_id_allowed(["*a" * 500 + "b", "a*" * 500 + "b*c"], "u", client_id), number=1)
    assert seconds < 1
