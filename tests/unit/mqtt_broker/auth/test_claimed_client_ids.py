"""Which client ids belong to an MQTTClient."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_api.policy import Policy, Principal, client_id_allowed
from mqtt_broker.auth.client_ids import ClaimedClientIds


def claimed(**patterns: tuple[str, ...]) -> ClaimedClientIds:
    principals = {name: Principal(username=name, client_ids=ids) for name, ids in patterns.items()}
    return ClaimedClientIds(Policy(principals=principals))


@pytest.mark.parametrize("client_id", ["pump-7", "pump-7-a", "pump-7-", "fixed"])
def test_what_a_pattern_allows_is_claimed(client_id: str) -> None:
    claims = claimed(**{"pump-7": ("${username}", "${username}-*"), "other": ("fixed",)})
    assert claims.claims(client_id)


@pytest.mark.parametrize("client_id", ["", "pump", "pump-70", "Pump-7", "xpump-7", "fixed-1"])
def test_anything_else_is_free(client_id: str) -> None:
    claims = claimed(**{"pump-7": ("${username}", "${username}-*"), "other": ("fixed",)})
    assert not claims.claims(client_id)


def test_a_principal_that_names_no_client_id_claims_its_user_name() -> None:
    assert claimed(viewer=()).claims("viewer")
    assert not claimed(viewer=()).claims("viewer-2")


def test_a_pattern_that_begins_with_a_star_claims_what_ends_as_it_does() -> None:
    assert claimed(gateway=("*-gw",)).claims("north-gw")
    assert not claimed(gateway=("*-gw",)).claims("north")


def test_a_pattern_of_nothing_but_stars_claims_nothing() -> None:
    """It allows its principal any client id; were it a claim, nobody without a name could connect at all."""
    assert not claimed(admin=("*", "**")).claims("anything")


def test_a_star_in_a_user_name_is_a_character() -> None:
    claims = claimed(**{"a*b": ("${username}",)})
    assert claims.claims("a*b")
    assert not claims.claims("axb")


PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "${username}"]), min_size=1, max_size=4).map("".join)


@given(st.dictionaries(st.sampled_from(["a", "ab", "b*"]), st.tuples(PATTERNS)), st.text("ab*", max_size=5))
def test_the_index_agrees_with_asking_every_pattern(patterns: dict[str, tuple[str]], client_id: str) -> None:
    expected = any(
        client_id_allowed(ids, username, client_id) for username, ids in patterns.items() if ids[0].strip("*")
    )
    assert claimed(**patterns).claims(client_id) == expected
