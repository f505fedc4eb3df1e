"""Every mistake that people make in their files is told by file, line and field, all of them at once."""

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mqtt_api.policy import Activity
from mqtt_operator.credentials.certificates import issue_ca, issue_server
from mqtt_operator.errors import ExpectedError, FilesRefusedError, Mistake
from mqtt_operator.local.ask import Asked, ask
from mqtt_operator.local.folder import read_folder

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def mistakes_of(folder: Any) -> tuple[Mistake, ...]:
    with pytest.raises(FilesRefusedError) as refused:
        read_folder(folder.path)
    return refused.value.mistakes


def sole_mistake(folder: Any) -> Mistake:
    mistakes = mistakes_of(folder)
    assert len(mistakes) == 1, mistakes
    return mistakes[0]


def test_a_good_folder_gives_its_broker_clients_and_permissions(
    folder: Any, broker: Any, client: Any, permission: Any
) -> None:
    folder.put("broker.yaml", broker())
    folder.put("deeper/down/others.yml", client(), permission())
    declared = folder.read()
    assert declared.broker.reference == "default/plant"
    assert [each.username for each in declared.clients] == ["pump-7"]
    assert [each.reference for each in declared.permissions] == ["default/pumps"]
    assert declared.notes == ()


def test_broken_yaml_names_file_and_line(folder: Any) -> None:
    path = folder.write("broken.yaml", "kind: MQTTBroker\nspec: [1, 2\nother: 3\n")
    mistake = sole_mistake(folder)
    assert mistake.file == str(path)
    assert mistake.line == 3
    assert "is not YAML" in mistake.message


def test_an_unknown_field_names_file_line_and_field(folder: Any, broker: Any) -> None:
    path = folder.write(
        "broker.yaml",
        """\
        # a comment above
        apiVersion: mqtt.stoa.dev/v1alpha1
        kind: MQTTBroker
        metadata: {name: plant}
        spec:
          sessionStore: {embedded: {}}
          authentication: [{name: p, type: Password}]
          listeners:
          - name: mqtts
            prot: 8883
            port: 8883
            tls: {}
        """,
    )
    mistake = sole_mistake(folder)
    assert str(mistake).startswith(f"{path}:10: spec.listeners[0].prot: ")
    assert "port" in mistake.message


def test_a_wrong_type_names_the_field(folder: Any, broker: Any) -> None:
    folder.put("broker.yaml", broker(listeners=[{"name": "mqtts", "port": "8883", "tls": {}}]))
    mistake = sole_mistake(folder)
    assert mistake.field == "spec.listeners[0].port"
    assert mistake.message == "must be a whole number"


def test_the_line_of_a_second_document_counts_from_the_top_of_the_file(folder: Any) -> None:
    folder.write("two.yaml", "kind: ConfigMap\nmetadata: {name: a}\n---\nkind: MQTTClient\nmetadata: {name: B}\n")
    assert {mistake.line for mistake in mistakes_of(folder)} == {4, 5}


def test_all_mistakes_of_all_files_come_at_once(folder: Any, broker: Any, client: Any) -> None:
    folder.write("a.yaml", "kind: [")
    folder.put("b.yaml", broker(replicas="two"))
    folder.put("c.yaml", client(clientIDs=[]))
    assert {Path(mistake.file).name for mistake in mistakes_of(folder)} == {"a.yaml", "b.yaml", "c.yaml"}


def test_the_same_object_twice_names_both_places(folder: Any, broker: Any, client: Any) -> None:
    folder.put("a.yaml", broker())
    first = folder.put("b.yaml", client(username="one"))
    second = folder.put("c.yaml", client(username="two"))
    mistake = sole_mistake(folder)
    assert (mistake.file, mistake.field) == (str(second), "metadata.name")
    assert f"{first}:1" in mistake.message


def test_objects_of_two_namespaces_may_share_a_name(folder: Any, broker: Any, secret: Any) -> None:
    folder.put("a.yaml", broker(), secret("s", {"k": "v"}), secret("s", {"k": "v"}, namespace="other"))
    assert len(folder.read().data) == 2


def test_two_clients_of_one_username_name_each_other(folder: Any, broker: Any, client: Any) -> None:
    folder.put("a.yaml", broker())
    first = folder.put("b.yaml", client("pump-7"))
    second = folder.put("c.yaml", client("other", username="pump-7"))
    by_name, by_field = mistakes_of(folder)
    assert (by_name.file, by_name.field) == (str(first), "metadata.name")
    assert f"{second}:1" in by_name.message
    assert (by_field.file, by_field.field) == (str(second), "spec.username")
    assert f"{first}:1" in by_field.message


@pytest.mark.parametrize("make", ["client", "permission"])
def test_an_object_of_a_missing_broker_names_the_reference(
    folder: Any, broker: Any, client: Any, permission: Any, make: str
) -> None:
    member = {"client": client, "permission": permission}[make]
    folder.put("a.yaml", broker())
    folder.put("b.yaml", member(brokerRef={"name": "plnt"}))
    mistake = sole_mistake(folder)
    assert mistake.field == "spec.brokerRef.name"
    assert "MQTTBroker default/plnt, which no file declares (declared: default/plant)" in mistake.message


def test_an_object_of_another_namespace_cannot_attach_itself(folder: Any, broker: Any, permission: Any) -> None:
    folder.put("a.yaml", broker())
    folder.put(
        "b.yaml", permission(metadata={"namespace": "other"}, brokerRef={"name": "plant", "namespace": "default"})
    )
    mistake = sole_mistake(folder)
    assert mistake.field == "spec.brokerRef.namespace"
    assert "move this object to namespace default" in mistake.message


ATTACHMENT = {
    "namespaces": {"selector": {"matchLabels": {"team": "a"}}},
    "topics": ["team-a/#"],
    "clientIDPrefix": "team-a.",
    "usernamePrefix": "team-a.",
}
TEAM = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a", "labels": {"team": "a"}}}
OF_PLANT = {"name": "plant", "namespace": "default"}


def test_another_namespace_attaches_as_the_broker_hands_out(
    folder: Any, broker: Any, client: Any, permission: Any
) -> None:
    folder.put("a.yaml", broker(attachments=[ATTACHMENT]), TEAM)
    metadata = {"namespace": "team-a"}
    pump = client("team-a.pump", metadata=metadata, brokerRef=OF_PLANT)
    subjects = [{"kind": "MQTTClient", "name": "team-a.pump"}]
    own = permission(metadata=metadata, brokerRef=OF_PLANT, subjects=subjects, rule={"topics": ["team-a/x"]})
    folder.put("b.yaml", pump, own)
    declared = folder.read()
    assert declared.notes == ()
    assert [each.reference for each in declared.clients] == ["team-a/team-a.pump"]
    assert [each.reference for each in declared.permissions] == ["team-a/pumps"]
    asked = Asked(client="team-a.pump", activity=Activity.PUBLISH, topic="team-a/x")
    assert ask(declared, asked).allowed


def test_another_namespace_that_goes_beyond_its_attachment_is_told_the_field(
    folder: Any, broker: Any, permission: Any
) -> None:
    folder.put("a.yaml", broker(attachments=[ATTACHMENT]), TEAM)
    groups = [{"kind": "Group", "name": "all"}]
    folder.put("b.yaml", permission(metadata={"namespace": "team-a"}, brokerRef=OF_PLANT, subjects=groups))
    mistake = sole_mistake(folder)
    assert mistake.field == "spec.rules[0].topics[0]"
    assert "goes beyond what is handed to this namespace: team-a/#" in mistake.message


def test_a_namespace_whose_labels_nobody_declared_is_to_be_declared(folder: Any, broker: Any, permission: Any) -> None:
    folder.put("a.yaml", broker(attachments=[ATTACHMENT]))
    metadata = {"namespace": "team-a"}
    folder.put("b.yaml", permission(metadata=metadata, brokerRef=OF_PLANT, rule={"topics": ["team-a/x"]}))
    message = sole_mistake(folder).message
    assert message.startswith("needs a label on namespace team-a")
    assert message.endswith("declare that Namespace with it")


def test_a_namespace_with_labels_that_are_none_is_a_mistake(folder: Any, broker: Any) -> None:
    folder.put("a.yaml", broker(), {**TEAM, "metadata": {"name": "team-a", "labels": {"a b": "c"}}})
    assert sole_mistake(folder).field == "metadata.labels"


def test_what_refers_to_an_object_with_a_mistake_is_not_blamed(folder: Any, broker: Any, client: Any) -> None:
    folder.put("a.yaml", broker(replicas="two"))
    folder.put("b.yaml", client())
    assert sole_mistake(folder).field == "spec.replicas"


def test_what_may_be_in_an_unreadable_file_is_not_called_missing(folder: Any, client: Any) -> None:
    folder.write("broker.yaml", "kind: [")
    folder.put("b.yaml", client())
    assert Path(sole_mistake(folder).file).name == "broker.yaml"


def test_a_missing_secret_names_the_reference(folder: Any, broker: Any, client: Any) -> None:
    credentials = {"passwords": [{"secretRef": {"name": "gone", "key": "password"}}]}
    folder.put("a.yaml", broker(), client(credentials=credentials))
    mistake = sole_mistake(folder)
    assert mistake.field == "spec.credentials.passwords[0].secretRef.name"
    assert mistake.message == "names Secret default/gone, which no file declares"


def test_a_secret_of_another_namespace_is_missing(folder: Any, broker: Any, client: Any, secret: Any) -> None:
    credentials = {"passwords": [{"secretRef": {"name": "s", "key": "password"}}]}
    folder.put("a.yaml", broker(), client(credentials=credentials), secret("s", {"password": "x"}, namespace="other"))
    assert sole_mistake(folder).field == "spec.credentials.passwords[0].secretRef.name"


@pytest.mark.parametrize("key", ["key", "hashKey"])
def test_a_missing_key_of_a_secret_names_the_reference(
    folder: Any, broker: Any, client: Any, secret: Any, key: str
) -> None:
    credentials = {"passwords": [{"secretRef": {"name": "s", key: "pasword"}}]}
    folder.put("a.yaml", broker(), client(credentials=credentials), secret("s", {"password": "x"}))
    mistake = sole_mistake(folder)
    assert mistake.field == f"spec.credentials.passwords[0].secretRef.{key}"
    assert "has no key pasword" in mistake.message


def test_an_empty_password_is_refused(folder: Any, broker: Any, client: Any, secret: Any) -> None:
    credentials = {"passwords": [{"secretRef": {"name": "s", "key": "password"}}]}
    folder.put("a.yaml", broker(), client(credentials=credentials), secret("s", {"password": ""}))
    assert "empty" in sole_mistake(folder).message


def test_a_password_that_ends_with_a_line_break_is_noted(folder: Any, broker: Any, client: Any, secret: Any) -> None:
    credentials = {"passwords": [{"secretRef": {"name": "s", "key": "password"}}]}
    folder.put("a.yaml", broker(), client(credentials=credentials), secret("s", {"password": "x\n"}))
    (note,) = folder.read().notes
    assert "ends with a line break" in note


@pytest.mark.parametrize(
    ("verifier", "words"),
    [
        ("plain", "not an Argon2id hash"),
        ("$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "is not Argon2id"),
        ("$argon2id$v=19$m=4096,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "memory m=4096"),
        ("$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "memory m=4194304"),
        ("$argon2id$v=19$m=19456,t=99,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "time cost t=99"),
        ("$argon2id$v=19$m=19456,t=2,p=99$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "parallelism p=99"),
    ],
)
def test_a_hash_that_nodes_should_not_verify_is_refused(
    folder: Any, broker: Any, client: Any, secret: Any, verifier: str, words: str
) -> None:
    credentials = {"passwords": [{"secretRef": {"name": "s", "hashKey": "hash"}}]}
    folder.put("a.yaml", broker(), client(credentials=credentials), secret("s", {"hash": verifier}))
    mistake = sole_mistake(folder)
    assert mistake.field == "spec.credentials.passwords[0].secretRef.hashKey"
    assert words in mistake.message


def test_a_generated_secret_must_not_be_a_declared_one(folder: Any, broker: Any, client: Any, secret: Any) -> None:
    folder.put("a.yaml", broker(), client(), secret("pump-7-mqtt", {"password": "mine"}))
    mistake = sole_mistake(folder)
    assert mistake.field == "spec.credentials.passwords[0].generate.secretName"
    assert "use secretRef" in mistake.message


def test_two_clients_must_not_share_a_generated_secret(folder: Any, broker: Any, client: Any) -> None:
    shared = {"passwords": [{"generate": {"secretName": "shared"}}]}
    folder.put("a.yaml", broker(), client("one", credentials=shared), client("two", credentials=shared))
    mistake = sole_mistake(folder)
    assert mistake.field == "spec.credentials.passwords[0].generate.secretName"
    assert "each password needs its own" in mistake.message


def with_server(folder: Any, broker: Any, secret: Any, values: dict[str, str]) -> None:
    listeners = [{"name": "mqtts", "port": 8883, "tls": {"secretRef": {"name": "server"}}}]
    folder.put("a.yaml", broker(listeners=listeners), secret("server", values))


def test_a_certificate_that_does_not_fit_its_key_names_the_reference(folder: Any, broker: Any, secret: Any) -> None:
    ca = issue_ca("x", NOW)
    one, other = issue_server(ca, ["a"], NOW), issue_server(ca, ["a"], NOW)
    with_server(folder, broker, secret, {"tls.crt": one.certificate.decode(), "tls.key": other.key.decode()})
    mistake = sole_mistake(folder)
    assert mistake.field == "spec.listeners[0].tls.secretRef.name"
    assert "the certificate does not fit its key" in mistake.message


def test_a_certificate_that_clients_may_refuse_is_noted(folder: Any, broker: Any, secret: Any) -> None:
    ca = issue_ca("x", NOW)
    pair = issue_server(ca, ["a"], NOW)
    values = {"tls.crt": pair.certificate.decode(), "tls.key": pair.key.decode(), "ca.crt": ca.certificate.decode()}
    with_server(folder, broker, secret, values)
    (note,) = folder.read().notes
    words = "names Secret default/server, whose certificate names a, so clients that connect to localhost refuse it."
    assert note.endswith(f"spec.listeners[0].tls.secretRef.name: {words}")


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [("junk", None, "the certificate is not PEM"), (None, "junk", "the key is not a PEM private key")],
)
def test_certificate_and_key_must_be_pem(
    folder: Any, broker: Any, secret: Any, certificate: str | None, key: str | None, words: str
) -> None:
    pair = issue_server(issue_ca("x", NOW), ["a"], NOW)
    values = {"tls.crt": certificate or pair.certificate.decode(), "tls.key": key or pair.key.decode()}
    with_server(folder, broker, secret, values)
    assert words in sole_mistake(folder).message


def test_a_tls_secret_without_a_key_names_what_is_missing(folder: Any, broker: Any, secret: Any) -> None:
    with_server(folder, broker, secret, {"tls.crt": "x"})
    assert sole_mistake(folder).message == "names Secret default/server, which has no key tls.key"


def test_client_cas_and_crls_must_exist_and_be_pem(folder: Any, broker: Any) -> None:
    tls = {
        "clientAuth": "Required",
        "clientCARefs": [
            {"kind": "ConfigMap", "name": "ca", "key": "ca.crt"},
            {"kind": "Secret", "name": "no", "key": "k"},
        ],
        "crl": {"ref": {"kind": "ConfigMap", "name": "ca", "key": "crl"}},
    }
    authorities = {"kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": "junk", "crl": "junk"}}
    folder.put("a.yaml", broker(listeners=[{"name": "mqtts", "port": 8883, "tls": tls}]), authorities)
    found = {mistake.field: mistake.message for mistake in mistakes_of(folder)}
    prefix = "spec.listeners[0].tls"
    assert "holds no PEM certificate" in found[f"{prefix}.clientCARefs[0].key"]
    assert "no file declares" in found[f"{prefix}.clientCARefs[1].name"]
    assert "is not a certificate revocation list" in found[f"{prefix}.crl.ref.key"]


def test_secret_values_may_be_base64_and_plain_text_wins(folder: Any, broker: Any) -> None:
    data = {"a": base64.b64encode(b"\x00\xff").decode(), "b": base64.b64encode(b"old").decode()}
    folder.put(
        "a.yaml", broker(), {"kind": "Secret", "metadata": {"name": "s"}, "data": data, "stringData": {"b": "new"}}
    )
    (values,) = folder.read().data.values()
    assert values.data == {"a": b"\x00\xff", "b": b"new"}


def test_what_is_not_base64_is_told_without_repeating_it(folder: Any, broker: Any) -> None:
    folder.put("a.yaml", broker(), {"kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "hunter2!"}})
    mistake = sole_mistake(folder)
    assert (mistake.field, mistake.message) == ("data.k", "is not base64; for plain text use stringData")


def test_a_number_in_a_secret_needs_quotes(folder: Any, broker: Any) -> None:
    folder.put("a.yaml", broker(), {"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": 1234}})
    mistake = sole_mistake(folder)
    assert (mistake.field, mistake.message) == ("stringData.k", "must be text; put it in quotes")


def test_data_that_is_no_mapping_is_told(folder: Any, broker: Any) -> None:
    folder.put("a.yaml", broker(), {"kind": "ConfigMap", "metadata": {"name": "s"}, "data": ["k"]})
    assert sole_mistake(folder).field == "data"


def test_a_wrong_value_is_one_mistake_not_two(folder: Any, broker: Any, client: Any) -> None:
    credentials = {"passwords": [{"secretRef": {"name": "s", "key": "k"}}]}
    wrong = {"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": 1}}
    folder.put("a.yaml", broker(), client(credentials=credentials), wrong)
    assert sole_mistake(folder).field == "stringData.k"


def test_a_secret_needs_a_name_that_is_no_path(folder: Any, broker: Any) -> None:
    folder.put("a.yaml", broker(), {"kind": "Secret", "metadata": {"name": "../../etc"}, "stringData": {}})
    assert sole_mistake(folder).field == "metadata.name"


@pytest.mark.parametrize(
    ("topic", "words"),
    [("a/${clientId}", "${clientId} is none, did you mean ${clientid}?"), ("${clientid}/${x}", "${x} is none")],
)
def test_an_unknown_placeholder_is_named(
    folder: Any, broker: Any, client: Any, permission: Any, topic: str, words: str
) -> None:
    folder.put("a.yaml", broker(), client(), permission(rule={"topics": [topic]}))
    assert sole_mistake(folder).message.endswith(f"; {words}")


def test_a_document_without_kind_is_told(folder: Any, broker: Any) -> None:
    folder.put("a.yaml", broker(), {"metadata": {"name": "x"}})
    assert sole_mistake(folder).field == "kind"


def test_other_kinds_are_ignored_with_a_note(folder: Any, broker: Any) -> None:
    path = folder.put("a.yaml", broker(), {"kind": "Deployment", "metadata": {"name": "x"}})
    (note,) = folder.read().notes
    assert note.startswith(str(path))
    assert note.endswith("kind Deployment means nothing here; ignored.")


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("TopicPermision", "did you mean TopicPermission?"),
        ("mqttclient", "did you mean MQTTClient?"),
        ("Gateway", "known: MQTTBroker, MQTTClient, TopicPermission"),
    ],
)
def test_a_misspelt_kind_of_ours_is_a_mistake(
    folder: Any, broker: Any, client: Any, permission: Any, kind: str, advice: str
) -> None:
    """Ignored, a permission that denies would protect nobody."""
    folder.put("a.yaml", broker(), client())
    folder.put("b.yaml", {**permission(), "kind": kind})
    mistake = sole_mistake(folder)
    assert (mistake.line, mistake.field) == (2, "kind")
    assert mistake.message == f"is not a kind of mqtt.stoa.dev; {advice}"


def test_what_refers_to_an_object_of_a_misspelt_kind_is_not_blamed(folder: Any, broker: Any, client: Any) -> None:
    folder.put("a.yaml", {**broker(), "kind": "MQTTBrocker"}, client())
    assert sole_mistake(folder).field == "kind"


def test_a_denial_for_an_unknown_client_is_a_mistake(folder: Any, broker: Any, permission: Any) -> None:
    """It protects nothing: the one whose name was meant goes unhindered."""
    folder.put("a.yaml", broker(), permission(rule={"effect": "Deny"}))
    mistake = sole_mistake(folder)
    assert mistake.field == "spec.subjects[0].name"
    assert mistake.message == "names MQTTClient pump-7, which no file declares."


def test_a_denial_for_a_client_with_a_mistake_is_not_blamed(
    folder: Any, broker: Any, client: Any, permission: Any
) -> None:
    folder.put("a.yaml", broker(), client(nonsense=1), permission(rule={"effect": "Deny"}))
    assert sole_mistake(folder).field == "spec.nonsense"


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ({"kind": "Group", "name": "pmups"}, "spec.subjects[0].name: names group pmups, which no MQTTClient lists."),
        (
            {"kind": "MQTTClient", "selector": {"matchLabels": {"a": "b"}}},
            "spec.subjects[0].selector: selects no MQTTClient.",
        ),
    ],
)
def test_subjects_that_mean_nobody_are_noted(
    folder: Any, broker: Any, client: Any, permission: Any, subject: dict[str, Any], words: str
) -> None:
    folder.put("a.yaml", broker(), client(groups=["pumps"]), permission(subjects=[subject]))
    (note,) = folder.read().notes
    assert note.endswith(words)


def test_an_attribute_that_nobody_has_is_noted(folder: Any, broker: Any, client: Any, permission: Any) -> None:
    rule = {"topics": ["a/${attr.line}", "b/${attr.lnie}"]}
    folder.put("a.yaml", broker(), client(attributes={"line": "1"}), permission(rule=rule))
    (note,) = folder.read().notes
    words = "spec.rules[0].topics[1]: holds ${attr.lnie}, an attribute that no MQTTClient it is for has."
    assert note.endswith(words)


def test_a_permission_for_an_unknown_client_is_noted(folder: Any, broker: Any, permission: Any) -> None:
    folder.put("a.yaml", broker(), permission())
    (note,) = folder.read().notes
    assert "spec.subjects[0].name: names MQTTClient pump-7, which no file declares." in note


def test_a_folder_without_broker_cannot_run(folder: Any) -> None:
    with pytest.raises(ExpectedError, match="no MQTTBroker"):
        folder.read()


def test_two_brokers_cannot_run_from_one_folder_and_both_are_named(folder: Any, broker: Any) -> None:
    first = folder.put("a.yaml", broker())
    second = folder.put("b.yaml", broker("other"))
    with pytest.raises(ExpectedError) as refused:
        folder.read()
    assert f"{first}:1: metadata.name: default/plant" in str(refused.value)
    assert f"{second}:1: metadata.name: default/other" in str(refused.value)


def test_log_ins_and_cas_of_a_redis_must_exist(folder: Any, broker: Any, secret: Any) -> None:
    redis = {
        "addresses": ["redis:6379"],
        "credentialsRef": {"name": "r", "usernameKey": "user"},
        "operatorCredentialsRef": {"name": "nowhere", "usernameKey": "user"},
        "tls": {"caRefs": [{"kind": "Secret", "name": "r", "key": "ca.crt"}]},
    }
    folder.put("a.yaml", broker(sessionStore={"redis": redis}), secret("r", {"word": "x", "ca.crt": "no PEM"}))
    told = {mistake.field: mistake.message for mistake in mistakes_of(folder)}
    field = "spec.sessionStore.redis"
    assert told.keys() == {
        f"{field}.credentialsRef.passwordKey",
        f"{field}.credentialsRef.usernameKey",
        f"{field}.operatorCredentialsRef.name",
        f"{field}.tls.caRefs[0].key",
    }
    assert "has no key password" in told[f"{field}.credentialsRef.passwordKey"]
    assert "which no file declares" in told[f"{field}.operatorCredentialsRef.name"]


def test_a_redis_whose_secrets_are_there_is_right(folder: Any, broker: Any, secret: Any) -> None:
    redis = {"addresses": ["redis:6379"], "credentialsRef": {"name": "r"}, "tls": {}}
    folder.put("a.yaml", broker(sessionStore={"redis": redis}), secret("r", {"password": "x"}))
    assert folder.read().broker.spec.session_store.redis is not None
