"""The certificates of a cluster: names as Kubernetes reads them, keys for nobody else."""

import ssl
import stat
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from support.kube.certificates import Authority


def test_a_user_and_the_groups_are_in_the_subject(tmp_path: Path) -> None:
    pair = Authority(tmp_path).client("system:node:one", ["system:nodes", "others"])
    subject = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).subject
    assert [name.value for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["system:node:one"]
    groups = [name.value for name in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    assert groups == ["system:nodes", "others"]


def test_a_server_shows_names_and_addresses(tmp_path: Path) -> None:
    pair = Authority(tmp_path).server("api", ["localhost", "127.0.0.1", "kubernetes.default.svc"])
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "kubernetes.default.svc"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    ssl.create_default_context().load_cert_chain(pair.certificate, pair.key)


def test_an_authority_that_was_made_before_is_read_again(tmp_path: Path) -> None:
    certificate = Authority(tmp_path).pair.certificate.read_bytes()
    assert Authority(tmp_path).pair.certificate.read_bytes() == certificate
    assert Authority(tmp_path).token_key().read_bytes() == Authority(tmp_path).token_key().read_bytes()


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.client("somebody")
    authority.token_key()
    keys = list(tmp_path.glob("*.key"))
    assert len(keys) == 3
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
