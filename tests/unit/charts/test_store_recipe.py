"""manifests/store-sentinel.yaml: its users are those that the code knows, and what brokers need of it is there."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mqtt_api.resources import MQTTBroker
from mqtt_api.store_keys import StoreKeys
from support.processes import ROOT

TEXT = (ROOT / "manifests" / "store-sentinel.yaml").read_text(encoding="utf-8")
OBJECTS: dict[str, dict[str, Any]] = {document["kind"]: document for document in yaml.safe_load_all(TEXT)}
FILES: dict[str, str] = OBJECTS["ConfigMap"]["data"]
SAMPLE = yaml.safe_load((ROOT / "manifests" / "samples" / "own-redis" / "broker.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def broker() -> MQTTBroker:
    return MQTTBroker.model_validate(SAMPLE)


def test_nodes_and_operator_have_the_rights_that_the_code_says(broker: MQTTBroker) -> None:
    redis = broker.spec.session_store.redis
    assert redis is not None
    assert redis.key_prefix is not None
    keys = StoreKeys(redis.key_prefix)
    lines = FILES["users.acl"].splitlines()
    assert f"user node on {' '.join(keys.broker_rules)}" in lines
    assert f"user operator on {' '.join(keys.operator_rules)}" in lines


def test_the_user_as_whom_redis_reads_its_file_back_keeps_its_rights() -> None:
    assert FILES["users.acl"].splitlines()[0] == "user default off resetpass ~* &* +@all"


def test_the_store_is_set_up_for_every_level_of_durability() -> None:
    lines = FILES["redis.conf"].splitlines()
    assert {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"} <= set(lines)


def test_the_sample_finds_sentinels_passwords_and_ca_by_their_names(broker: MQTTBroker) -> None:
    redis = broker.spec.session_store.redis
    assert redis is not None
    (pattern, _) = OBJECTS["Certificate"]["spec"]["dnsNames"]
    service = OBJECTS["Service"]["metadata"]["name"]
    hosts = [address.rpartition(":")[0] for address in redis.addresses]
    assert hosts == [f"{service}-{number}{pattern.removeprefix('*')}" for number in range(3)]
    assert f"sentinel monitor {redis.master_name} {hosts[0]} 6379 2" in FILES["sentinel.conf"]
    volumes = OBJECTS["StatefulSet"]["spec"]["template"]["spec"]["volumes"]
    secrets = {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}
    assert SAMPLE["spec"]["sessionStore"]["redis"]["credentialsRef"]["name"] in secrets
    assert SAMPLE["spec"]["sessionStore"]["redis"]["operatorCredentialsRef"]["name"] in secrets
    assert SAMPLE["spec"]["sessionStore"]["redis"]["sentinelCredentialsRef"]["name"] in secrets
    assert SAMPLE["spec"]["sessionStore"]["redis"]["tls"]["caRefs"][0]["name"] in secrets
    made = set(re.findall(r"for user in (.+); do", TEXT))
    assert {f"store-{user}" for users in made for user in users.split()} <= secrets


def test_its_pods_keep_to_the_restricted_standard() -> None:
    pod = OBJECTS["StatefulSet"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("script", ["start-redis.sh", "start-sentinel.sh"])
def test_its_scripts_are_clean(script: str, tmp_path: Path) -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    file = tmp_path / script
    file.write_text(FILES[script], encoding="utf-8")
    ran = subprocess.run([shellcheck, "--shell=sh", file], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
