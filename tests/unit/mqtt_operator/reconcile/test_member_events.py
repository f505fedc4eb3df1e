"""What people are told of a client or a permission: what is theirs to mend, that it is mended, and what was made."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from mqtt_api.kinds.common import DataKind
from mqtt_operator.credentials.rotation import Generated
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.reconcile.keys import DataKey
from mqtt_operator.reconcile.member_events import Troubles, certificate_news, password_news

SECRET = DataKey(DataKind.SECRET, "mqtt", "pump-7-mqtt")
MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)


def status(**conditions: str) -> Manifest:
    """By type: the status, and the reason behind a blank."""
    return {
        "conditions": [
            {"type": kind, "status": told.split()[0], "reason": told.split()[1], "message": f"{kind} is {told}."}
            for kind, told in conditions.items()
        ]
    }


NEW = status(Ready="Unknown Pending")
WELL = status(Accepted="True Accepted", ResolvedRefs="True Resolved", Programmed="True Programmed", Ready="True Synced")
REFUSED = status(Accepted="False UsernameTaken", Programmed="False NotAccepted", Ready="False NotAccepted")
MISSING = status(ResolvedRefs="False SecretNotFound", Programmed="True Programmed", Ready="False RefsNotResolved")
NO_ENTRY = status(ResolvedRefs="False KeyNotFound", Programmed="True Programmed", Ready="False RefsNotResolved")
BEHIND = status(ResolvedRefs="True Resolved", Programmed="False NodesBehind", Ready="False NotProgrammed")
SUSPENDED = status(Ready="True Suspended")
NO_BROKER = status(ResolvedRefs="False BrokerNotFound", Ready="False RefsNotResolved")
NO_CREDENTIALS = status(ResolvedRefs="True Resolved", Ready="False NoCredentials")


def told(*statuses: Manifest) -> list[tuple[str, str]]:
    troubles = Troubles[str]()
    said = [troubles.news("pump-7", *pair) for pair in pairwise(statuses)]
    return [(each.type.value, each.reason) for each in said if each is not None]


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        pytest.param([NEW, WELL], [], id="a first start"),
        pytest.param([{}, WELL], [], id="a first status"),
        pytest.param([NEW, BEHIND, WELL], [], id="a first start that takes long"),
        pytest.param([WELL, BEHIND, WELL], [], id="nodes that are behind are a matter of the broker"),
        pytest.param([NEW, REFUSED], [("Warning", "UsernameTaken")], id="refused"),
        pytest.param([WELL, MISSING], [("Warning", "SecretNotFound")], id="what it refers to went"),
        pytest.param([NEW, NO_BROKER], [("Warning", "BrokerNotFound")], id="no such broker"),
        pytest.param([NEW, NO_CREDENTIALS], [("Warning", "NoCredentials")], id="nothing to log in with"),
        pytest.param([NEW, REFUSED, REFUSED], [("Warning", "UsernameTaken")], id="still refused"),
        pytest.param(
            [WELL, MISSING, NO_ENTRY], [("Warning", "SecretNotFound"), ("Warning", "KeyNotFound")], id="another cause"
        ),
        pytest.param([REFUSED, WELL], [("Normal", "Ready")], id="mended while another operator took over"),
        pytest.param(
            [NEW, REFUSED, BEHIND, WELL], [("Warning", "UsernameTaken"), ("Normal", "Ready")], id="mended slowly"
        ),
        pytest.param([NEW, REFUSED, WELL, WELL], [("Warning", "UsernameTaken"), ("Normal", "Ready")], id="told once"),
        pytest.param([NEW, SUSPENDED], [], id="made suspended"),
        pytest.param([WELL, SUSPENDED, WELL], [("Normal", "Suspended"), ("Normal", "Resumed")], id="suspended"),
    ],
)
def test_each_change_that_somebody_cares_about_is_told_once(
    statuses: list[Manifest], said: list[tuple[str, str]]
) -> None:
    assert told(*statuses) == said


@pytest.mark.parametrize("reason", ["Pending", "CertificatePending", "BrokerNotAccepted"])
def test_what_passes_by_itself_or_with_the_broker_is_no_trouble_of_the_object(reason: str) -> None:
    assert told(NEW, status(ResolvedRefs=f"False {reason}", Ready="False RefsNotResolved"), WELL) == []


def test_what_keeps_all_objects_of_a_broker_waiting_is_no_trouble_of_each() -> None:
    waiting = status(ResolvedRefs="False SecretNotFound", Programmed="False SecretNotFound", Ready="False R")
    for condition in waiting["conditions"]:
        condition["message"] = "MQTTBroker mqtt/plant has no store to keep it in yet."
    assert told(NEW, waiting, WELL) == []


def test_the_warning_is_the_sentence_of_the_cause_and_its_end_that_of_ready() -> None:
    troubles = Troubles[str]()
    warning, end = troubles.news("pump-7", NEW, REFUSED), troubles.news("pump-7", REFUSED, WELL)
    assert warning is not None
    assert end is not None
    assert (warning.message, end.message) == ("Accepted is False UsernameTaken.", "Ready is True Synced.")


def test_of_an_object_that_is_gone_nothing_is_remembered() -> None:
    troubles = Troubles[str]()
    troubles.news("pump-7", NEW, REFUSED)
    troubles.forget("pump-7")
    assert troubles.news("pump-7", NEW, WELL) is None


def test_a_password_is_news_when_it_is_made_and_when_it_is_replaced_and_is_in_neither() -> None:
    first = Generated(password=b"opensesame", made_at=MADE_AT)
    second = Generated(password=b"mellon", made_at=MADE_AT, former=b"opensesame", former_until=MADE_AT)
    made, replaced = password_news(SECRET, None, first), password_news(SECRET, first, second)
    assert made is not None
    assert replaced is not None
    assert (made.type.value, made.reason) == ("Normal", "PasswordGenerated")
    assert (replaced.type.value, replaced.reason) == ("Normal", "PasswordRotated")
    assert "Secret mqtt/pump-7-mqtt" in made.message
    assert "good until 2026-01-01T00:00:00Z" in replaced.message
    for said in (made, replaced):
        assert "opensesame" not in repr(said)
        assert "mellon" not in repr(said)


def test_another_password_that_is_only_staged_is_no_news_nor_is_one_that_is_forgotten() -> None:
    known = Generated(password=b"a", made_at=MADE_AT)
    staged = Generated(password=b"a", made_at=MADE_AT, staged=b"b")
    assert password_news(SECRET, known, staged) is None
    assert password_news(SECRET, staged, known) is None


def test_a_password_without_an_overlap_has_no_end_to_tell_of() -> None:
    known, wanted = (Generated(password=each, made_at=MADE_AT) for each in (b"a", b"b"))
    said = password_news(SECRET, known, wanted)
    assert said is not None
    assert said.message == "Secret mqtt/pump-7-mqtt holds a new password."


def test_whoever_waits_for_a_certificate_is_told_where_to_look() -> None:
    assert "see Certificate pump-7-mqtt" in certificate_news(SECRET).message
