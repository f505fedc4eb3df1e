"""The command line: exit codes, plain sentences, never a traceback."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result

from mqtt_api.node_settings import RedisSettings
from mqtt_operator.channel.terms import StoreAwayError
from mqtt_operator.cli import crds as crds_command
from mqtt_operator.cli.few_mistakes import MISTAKES_SHOWN_MAX
from mqtt_operator.cli.main import COMMANDS, stoa
from mqtt_operator.cli.nodes import told
from mqtt_operator.cli.options import EXIT_DENIED, EXIT_FAILED, EXIT_USAGE
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.members import Look, NodeView, State
from mqtt_operator.local.run_document import Run, RunNode


def run(*arguments: str | Path, **env: str) -> Result:
    result = CliRunner(env=env).invoke(stoa, [str(argument) for argument in arguments], prog_name="stoa")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def plant(folder: Any, broker: Any, client: Any, permission: Any) -> Path:
    folder.put("plant.yaml", broker(), client(), permission())
    return Path(folder.path)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Usage: stoa {command}" in result.output


def test_help_lists_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(command in result.output for command in COMMANDS)


def test_an_unknown_command_is_a_usage_error() -> None:
    assert run("upp").exit_code == EXIT_USAGE


def test_version_names_the_release() -> None:
    result = run("version")
    assert result.exit_code == 0
    assert result.output.startswith("stoa ")


def test_crds_prints_one_definition_for_each_kind() -> None:
    result = run("crds")
    assert result.exit_code == 0
    kinds = [document["spec"]["names"]["kind"] for document in yaml.safe_load_all(result.output)]
    assert kinds == ["MQTTBroker", "MQTTClient", "TopicPermission"]


def test_crds_come_from_the_package_where_it_holds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crds").mkdir()
    (tmp_path / "crds" / "a.yaml").write_text("packaged: true\n")
    monkeypatch.setattr(crds_command, "files", lambda _: tmp_path)
    assert run("crds").output == "packaged: true\n"


def test_an_installation_without_crds_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crds_command, "_places", lambda: iter([tmp_path]))
    result = run("crds")
    assert result.exit_code == EXIT_FAILED
    assert "holds no CRDs" in result.stderr


def test_validate_counts_what_is_good(plant: Path) -> None:
    result = run("validate", plant)
    assert result.exit_code == 0
    assert result.stdout == "ok: 1 broker, 1 client, 1 permission\n"


def test_validate_lists_every_mistake_with_file_line_and_field(plant: Path, folder: Any, client: Any) -> None:
    folder.put("more.yaml", client("a", username=7), client("b", nonsense=True))
    result = run("validate", plant)
    assert result.exit_code == EXIT_FAILED
    assert "error: 2 mistakes in the files:" in result.stderr
    assert f"{plant / 'more.yaml'}:12: spec.username: must be text" in result.stderr
    assert "spec.nonsense: is not a known field" in result.stderr


def test_validate_says_how_much_it_did_not_check(plant: Path, folder: Any) -> None:
    folder.put("more.yaml", {"kind": "Deployment", "metadata": {"name": "x"}}, {"replicas": 3})
    result = run("validate", plant)
    assert result.exit_code == 0
    assert result.stderr == "note: not checked: 2 documents of other kinds.\n"


def test_validate_of_an_object_without_kind_fails(plant: Path, folder: Any, client: Any) -> None:
    folder.put("more.yaml", {**client("a"), "kind": ""})
    result = run("validate", plant)
    assert result.exit_code == EXIT_FAILED
    assert "kind: is missing" in result.stderr


def test_what_is_in_kubernetes_already_is_a_note_and_with_strict_a_mistake(
    plant: Path, folder: Any, client: Any
) -> None:
    brought = {"passwords": [{"secretRef": {"name": "brought", "key": "password"}}]}
    folder.put("more.yaml", client("a", credentials=brought), client("b", credentials=brought))
    result = run("validate", plant)
    assert result.exit_code == 0
    names = "names Secret default/brought, which no file declares"
    assert f"{names}; it must exist when this is applied. (and 1 more)\n" in result.stderr
    strict = run("validate", "--strict", plant)
    assert strict.exit_code == EXIT_FAILED
    assert strict.stderr.count(f"{names}\n") == 2
    assert "which no file declares" in run("up", plant).stderr


def test_a_key_that_a_declared_secret_lacks_is_a_mistake(plant: Path, folder: Any, client: Any, secret: Any) -> None:
    brought = {"passwords": [{"secretRef": {"name": "brought", "key": "pasword"}}]}
    folder.put("more.yaml", client("a", credentials=brought), secret("brought", {"password": "x"}))
    assert run("validate", plant).exit_code == EXIT_FAILED


def test_a_broker_that_is_elsewhere_is_a_note_and_another_name_than_the_declared_one_a_mistake(
    folder: Any, broker: Any, client: Any
) -> None:
    folder.put("clients.yaml", client("a", brokerRef={"name": "plnat"}))
    result = run("validate", folder.path)
    assert result.exit_code == 0
    assert "names MQTTBroker default/plnat, which no file declares; it must exist" in result.stderr
    assert run("validate", "--strict", folder.path).exit_code == EXIT_FAILED
    folder.put("broker.yaml", broker())
    result = run("validate", folder.path)
    assert result.exit_code == EXIT_FAILED
    assert "which no file declares (declared: default/plant)" in result.stderr


def test_a_denial_for_a_client_that_is_elsewhere_is_a_note_unless_clients_are_declared(
    folder: Any, broker: Any, client: Any, permission: Any
) -> None:
    deny = [{"name": "no", "effect": "Deny", "activity": "Publish", "topics": ["#"]}]
    folder.put("plant.yaml", broker(), permission(subjects=[{"kind": "MQTTClient", "name": "pump"}], rules=deny))
    result = run("validate", folder.path)
    assert result.exit_code == 0
    assert "names MQTTClient pump, which no file declares. It must exist when this is applied." in result.stderr
    assert run("validate", "--strict", folder.path).exit_code == EXIT_FAILED
    folder.put("clients.yaml", client("pump-7"))
    assert run("validate", folder.path).exit_code == EXIT_FAILED


@pytest.mark.parametrize(("username", "code"), [("team-a.sensor", 0), ("sensor", EXIT_FAILED)])
def test_labels_that_a_namespace_may_have_are_a_note_and_what_no_label_allows_a_mistake(
    folder: Any, broker: Any, client: Any, username: str, code: int
) -> None:
    attachment = {
        "namespaces": {"selector": {"matchLabels": {"example.org/team": "a"}}},
        "topics": ["team-a/#"],
        "clientIDPrefix": "team-a.",
        "usernamePrefix": "team-a.",
    }
    elsewhere = {"name": "plant", "namespace": "default"}
    folder.put(
        "plant.yaml",
        broker(attachments=[attachment]),
        client("sensor", {"namespace": "team-a"}, brokerRef=elsewhere, username=username),
    )
    result = run("validate", folder.path)
    assert result.exit_code == code
    assert ("needs a label on namespace team-a" in result.stderr) is (code == 0)
    assert run("validate", "--strict", folder.path).exit_code == EXIT_FAILED


def test_validate_takes_files_and_folders_and_each_of_them_once(plant: Path) -> None:
    files = sorted(plant.glob("*.yaml"))
    for places in (files, [plant, *files]):
        result = run("validate", *places)
        assert (result.exit_code, result.stdout) == (0, "ok: 1 broker, 1 client, 1 permission\n")


SAMPLES = Path(__file__).parents[4] / "manifests" / "samples"


@pytest.mark.parametrize(
    "place",
    [SAMPLES.parent / "quickstart.yaml", *sorted(SAMPLES.iterdir()), *sorted(SAMPLES.glob("*/*.yaml"))],
    ids=lambda place: str(place.relative_to(SAMPLES.parent)),
)
def test_every_sample_and_every_file_of_one_is_right(place: Path) -> None:
    result = run("validate", place)
    assert result.exit_code == 0, result.stderr


def test_validate_of_nothing_fails(tmp_path: Path) -> None:
    result = run("validate", tmp_path)
    assert result.exit_code == EXIT_FAILED
    assert "nothing to check" in result.stderr


def test_a_folder_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    for arguments in (["validate"], ["up"], ["can-i", "a", "publish", "t", "-f"]):
        assert run(*arguments, tmp_path / "gone").exit_code == EXIT_USAGE


def test_can_i_says_yes_with_the_rule_and_the_walk(plant: Path) -> None:
    result = run("can-i", "pump-7", "publish", "plant/pump-7/temp", "--qos", "1", "-f", plant)
    assert result.exit_code == 0
    assert result.stdout.startswith(
        "allowed: pump-7 publish plant/pump-7/temp (QoS 1)\n  rule:      default/pumps/own\n"
    )
    assert "  walk:\n    default/pumps/own  " in result.stdout


def test_can_i_names_the_permissions_that_are_for_others(
    plant: Path, folder: Any, client: Any, permission: Any
) -> None:
    others = [permission(f"b{number:02}", subjects=[{"kind": "Group", "name": "g"}]) for number in range(12)]
    folder.put("more.yaml", client("other", groups=["g"]), *others)
    result = run("can-i", "pump-7", "publish", "plant/pump-7/temp", "-f", plant)
    assert "    default/b00 is for other subjects\n" in result.stdout
    assert "    default/b09 is for other subjects\n    ... and 2 more are\n" in result.stdout
    assert "default/pumps is for" not in result.stdout
    result = run("can-i", "other", "publish", "elsewhere", "-f", plant)
    assert "    default/pumps is for other subjects\n" in result.stdout


def test_can_i_names_them_even_if_no_rule_was_asked(plant: Path, folder: Any, client: Any) -> None:
    folder.put("more.yaml", client("other"))
    result = run("can-i", "other", "publish", "elsewhere", "-f", plant)
    assert result.stdout.endswith("  walk:\n    default/pumps is for other subjects\n")


def test_can_i_says_no_with_its_own_exit_code(plant: Path) -> None:
    result = run("can-i", "pump-7", "publish", "plant/pump-8/temp", "--retain", "-f", plant)
    assert result.exit_code == EXIT_DENIED
    assert result.stdout.startswith("DENIED: pump-7 publish plant/pump-8/temp (QoS 0, retained)\n  rule:      none\n")


def test_can_i_asks_about_shared_subscriptions_and_client_ids(plant: Path) -> None:
    result = run("can-i", "pump-7", "subscribe", "a", "--share", "w", "--client-id", "other", "-f", plant)
    assert result.exit_code == EXIT_DENIED
    assert "(QoS 0, shared group w)" in result.stdout
    assert "client id 'other' is not one it may use" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["nobody", "publish", "t"],
        ["pump-7", "publish", "t/#"],
        ["pump-7", "eat", "t"],
        ["pump-7", "publish", "t", "--qos", "3"],
        ["pump-7", "publish"],
    ],
)
def test_can_i_without_sense_is_a_usage_error(plant: Path, arguments: list[str]) -> None:
    assert run("can-i", *arguments, "-f", plant).exit_code == EXIT_USAGE


def test_can_i_in_a_folder_with_mistakes_fails(plant: Path, folder: Any) -> None:
    folder.write("broken.yaml", "[")
    result = run("can-i", "pump-7", "publish", "t", "-f", plant)
    assert result.exit_code == EXIT_FAILED
    assert "broken.yaml" in result.stderr


def test_can_i_in_a_folder_full_of_mistakes_shows_some_and_asks_for_the_folder(folder: Any, client: Any) -> None:
    folder.put("many.yaml", *(client(f"c{number}", nonsense=True) for number in range(30)))
    result = run("can-i", "pump-7", "publish", "t", "-f", Path(folder.path))
    assert result.exit_code == EXIT_FAILED
    assert result.stderr.count("spec.nonsense") == MISTAKES_SHOWN_MAX
    assert "more\n  Name the folder with -f; `stoa validate FOLDER` lists all mistakes" in result.stderr


@pytest.mark.parametrize(
    ("question", "naming"),
    [(["nodes"], "as in `stoa nodes FOLDER`"), (["drain", "plant-0", "-f"], "with -f")],
    ids=["nodes", "drain"],
)
def test_who_asks_about_nodes_from_a_folder_full_of_mistakes_is_shown_some_and_asked_for_the_folder(
    folder: Any, client: Any, question: list[str | Path], naming: str
) -> None:
    folder.put("many.yaml", *(client(f"c{number}", nonsense=True) for number in range(30)))
    result = run(*question, Path(folder.path))
    assert result.exit_code == EXIT_FAILED
    assert result.stderr.count("spec.nonsense") == MISTAKES_SHOWN_MAX
    assert f"more\n  Name the folder {naming};" in result.stderr


@pytest.mark.parametrize(("written", "meant"), [("--hst", "--host"), ("--node", "--nodes")])
def test_an_option_that_is_a_slip_of_another_is_recognized(plant: Path, written: str, meant: str) -> None:
    result = run("up", plant, written, "1")
    assert result.exit_code == EXIT_USAGE
    assert f"Did you mean {meant}?" in result.stderr.replace("'", "")


def test_an_option_like_no_other_is_not_taken_for_another(plant: Path) -> None:
    result = run("up", plant, "--portt", "1")
    assert result.exit_code == EXIT_USAGE
    assert "No such option '--portt'." in result.stderr
    assert "Did you mean" not in result.stderr


def test_up_says_what_several_nodes_need(plant: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    result = run("up", plant, "--nodes", "2", "--data", data)
    assert result.exit_code == EXIT_FAILED
    assert "2 nodes need a store that they share" in result.stderr
    assert "--store auto" in result.stderr
    assert not data.exists()


def test_up_refuses_a_store_that_is_none(plant: Path, tmp_path: Path) -> None:
    result = run("up", plant, "--store", "postgres://localhost", "--data", tmp_path / "data")
    assert result.exit_code == EXIT_USAGE
    assert "redis+sentinel://" in result.stderr


def test_up_repeats_no_password(plant: Path, tmp_path: Path) -> None:
    result = run("up", plant, "--store", "redis://me:s3cret@localhost", "--data", tmp_path / "data")
    assert result.exit_code == EXIT_USAGE
    assert "s3cret" not in result.output


def test_without_a_program_for_it_auto_says_what_to_install(
    plant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("up", plant, "--store", "auto", "--data", tmp_path / "data")
    assert result.exit_code == EXIT_FAILED
    assert "apt install redis-server" in result.stderr


def test_nodes_and_drain_say_that_nothing_ever_ran(plant: Path, tmp_path: Path) -> None:
    questions: list[list[str | Path]] = [["nodes", plant], ["drain", "plant-0", "-f", plant]]
    for arguments in questions:
        result = run(*arguments, "--data", tmp_path / "data")
        assert result.exit_code == EXIT_FAILED
        assert "No `stoa up` has run from this data folder" in result.stderr


def a_run(data: Path, store: RedisSettings | None) -> Path:
    """A data folder with a run of two nodes, none of which answers."""
    names = ["plant-0", "plant-1"] if store is not None else ["plant-0"]
    nodes = tuple(
        RunNode(node=name, admin_socket=str(data / f"{name}.sock"), host="127.0.0.1", ports={"mqtts": 8883})
        for name in names
    )
    data.mkdir()
    run_document = Run(broker="default/plant", nodes=nodes, store=store)
    DataFolder(data).run.write_bytes(msgspec.json.encode(run_document))
    return data


def test_nodes_that_do_not_answer_are_shown_and_the_exit_code_says_so(plant: Path, tmp_path: Path) -> None:
    result = run("nodes", plant, "--data", a_run(tmp_path / "data", None))
    assert result.exit_code == EXIT_FAILED
    title, line = result.stdout.splitlines()
    assert title.split() == ["NODE", "STATE", "CONNECTIONS", "SESSIONS", "FEED", "LAG", "POLICY", "LISTENERS"]
    assert line.split() == ["plant-0", "away", "-", "-", "-", "-", "-", "mqtts", "127.0.0.1:8883"]


def test_nodes_as_json(plant: Path, tmp_path: Path) -> None:
    result = run("nodes", plant, "--data", a_run(tmp_path / "data", None), "-o", "json")
    (node,) = json.loads(result.stdout)
    assert (node["node"], node["state"], node["lag"]) == ("plant-0", "away", None)


def test_a_store_that_cannot_be_asked_is_told_beside_the_nodes(plant: Path, tmp_path: Path) -> None:
    store = RedisSettings(
        addresses=("redis:6379",), key_prefix="p", username="o", password_file=str(tmp_path / "no-password")
    )
    result = run("nodes", plant, "--data", a_run(tmp_path / "data", store))
    assert result.exit_code == EXIT_FAILED
    assert "plant-1  away" in result.stdout
    assert f"path: {tmp_path / 'no-password'}" in result.stderr


def test_a_store_that_ended_with_its_nodes_is_nothing_to_start_by_hand() -> None:
    look = Look(
        nodes=(NodeView(node="plant-0", state=State.AWAY, address=""),),
        problem=StoreAwayError("The store does not answer.", to_do="Start it."),
    )
    assert told(look) == ["No node runs: run `stoa up` again."]
    answering = Look(nodes=(NodeView(node="plant-0", state=State.READY, address=""),), problem=look.problem)
    assert told(answering) == [str(look.problem)]


def test_a_single_node_is_not_drained_for_nobody_would_take_its_clients(plant: Path, tmp_path: Path) -> None:
    result = run("drain", "plant-0", "-f", plant, "--data", a_run(tmp_path / "data", None))
    assert result.exit_code == EXIT_USAGE
    assert "there is nobody to take its clients" in result.stderr


def test_draining_a_node_that_nobody_knows_lists_those_that_are(plant: Path, tmp_path: Path) -> None:
    store = RedisSettings(addresses=("redis:6379",), key_prefix="p")
    result = run("drain", "plant-7", "-f", plant, "--data", a_run(tmp_path / "data", store))
    assert result.exit_code == EXIT_USAGE
    assert "Known: plant-0, plant-1." in result.stderr


@pytest.mark.parametrize("number", ["x", "0", "1.5"])
def test_the_number_of_nodes_is_a_whole_number(plant: Path, number: str) -> None:
    result = run("up", plant, "--nodes", number)
    assert result.exit_code == EXIT_USAGE
    assert f"'{number}' must be a whole number, 1 or more." in result.stderr


def test_up_with_mistakes_names_them_and_touches_nothing(plant: Path, folder: Any, tmp_path: Path) -> None:
    folder.write("broken.yaml", "[")
    data = tmp_path / "data"
    result = run("up", plant, "--data", data)
    assert result.exit_code == EXIT_FAILED
    assert "broken.yaml" in result.stderr
    assert not data.exists()


def test_up_on_an_unusable_data_folder_names_the_path(plant: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = run("up", plant, "--data", tmp_path / "file" / "data")
    assert result.exit_code == EXIT_FAILED
    assert f"path: {tmp_path / 'file' / 'data'}" in result.stderr
    assert "--data" in result.stderr


def test_colours_are_left_out_on_request(plant: Path) -> None:
    arguments = ["can-i", "pump-7", "publish", "plant/pump-7/temp", "-f", str(plant)]
    coloured = CliRunner().invoke(stoa, arguments, color=True)
    plain = CliRunner(env={"NO_COLOR": "1"}).invoke(stoa, arguments, color=True)
    assert "\x1b[" in coloured.stdout
    assert "\x1b[" not in plain.stdout
