"""Whether a connection's proof still proves its principal after a change of policy."""

from mqtt_api.policy import CertificateMatch, Principal
from mqtt_broker.auth.credential import Credential, still_proves
from support.scram import scram_verifiers

OLD, NEW = (scram_verifiers("pump", password)[0] for password in ("old", "new"))


def test_a_scram_proof_holds_as_long_as_its_own_verifier() -> None:
    credential = Credential(had_object=True, scram=OLD)
    assert still_proves(credential, Principal(username="pump", scram=(NEW, OLD)))
    assert not still_proves(credential, Principal(username="pump", scram=(NEW,)))
    assert not still_proves(credential, Principal(username="pump"))


def test_neither_a_password_nor_a_certificate_makes_up_for_it() -> None:
    credential = Credential(had_object=True, scram=OLD, verifiers=("$argon2id$same",))
    match = CertificateMatch(common_name="pump")
    principal = Principal(username="pump", passwords=("$argon2id$same",), certificates=(match,))
    assert not still_proves(credential, principal)


def test_of_the_verifiers_of_a_password_one_is_enough() -> None:
    credential = Credential(had_object=True, verifiers=("a", "b"))
    assert still_proves(credential, Principal(username="pump", passwords=("b", "c")))
    assert not still_proves(credential, Principal(username="pump", passwords=("c",)))


def test_a_password_that_was_replaced_in_time_sends_nobody_away() -> None:
    by_password = Credential(had_object=True, verifiers=("old", "older"))
    assert still_proves(by_password, Principal(username="pump", passwords=("new",), retired=("old",)))
    assert not still_proves(by_password, Principal(username="pump", passwords=("new",), retired=("ancient",)))
    by_scram = Credential(had_object=True, scram=OLD)
    assert still_proves(by_scram, Principal(username="pump", scram=(NEW,), retired=(OLD,)))
    assert not still_proves(by_scram, Principal(username="pump", scram=(NEW,), retired=("old",)))
