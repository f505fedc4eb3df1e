"""HiveMQ Community Edition, embedded in a small Java program."""

import shutil
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from cryptography.x509 import load_pem_x509_certificate

from bench.peers.base import Peer, Running, cache_folder, call, ports, spawn
from bench.world import HOST, PASSWORD, USERNAME, World

VERSION = "2025.5"
SOURCE = Path(__file__).parent / "hivemq" / "Broker.java"
KEY_STORE_PASSWORD = "only-for-this-run"
PROJECT = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>bench</groupId><artifactId>hivemq</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>com.hivemq</groupId><artifactId>hivemq-community-edition-embedded</artifactId><version>{VERSION}</version>
  </dependency></dependencies>
</project>
"""


class HiveMQ(Peer):
    name = "hivemq"
    title = "HiveMQ CE"
    warm_s_min = 10.0

    def install(self) -> None:
        folder = cache_folder(self.name)
        (folder / "pom.xml").write_text(PROJECT, encoding="utf-8")
        call("mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={folder / 'lib'}", cwd=folder)
        shutil.copy(SOURCE, folder / SOURCE.name)
        call("javac", "-cp", f"{folder / 'lib'}/*", SOURCE.name, cwd=folder)

    def installed(self) -> bool:
        return (cache_folder(self.name) / "Broker.class").exists()

    def version(self) -> str:
        return VERSION

    def conditions(self) -> str:
        return "embedded, in-memory persistence, 1 GiB heap; 10 s of load before its first measurement"

    def start(self, folder: Path, world: World, core: int | None) -> Running:
        port, tls_port = ports()
        for name in ("conf", "data", "extensions"):
            (folder / name).mkdir()
        _write_key_store(world, folder / "server.p12")
        (folder / "conf" / "config.xml").write_text(_config(port, tls_port, folder / "server.p12"), encoding="utf-8")
        home = cache_folder(self.name)
        folders = [folder / name for name in ("conf", "data", "extensions")]
        command: list[str | Path] = [
            "java",
            "-Xmx1g",
            "-cp",
            f"{home}:{home / 'lib'}/*",
            "Broker",
            *folders,
            USERNAME,
            PASSWORD,
        ]
        process, log = spawn(command, folder, core)
        running = Running(world, process.pid, port, tls_port, log, process)
        running.await_answer()
        return running


def _write_key_store(world: World, path: Path) -> None:
    key = serialization.load_pem_private_key(world.server.key_file.read_bytes(), None)
    certificate = load_pem_x509_certificate(world.server.certificate_file.read_bytes())
    encryption = BestAvailableEncryption(KEY_STORE_PASSWORD.encode())
    data = pkcs12.serialize_key_and_certificates(b"server", key, certificate, None, encryption)  # type: ignore[arg-type]  # an EC key
    path.touch(mode=0o600)
    path.write_bytes(data)


def _config(port: int, tls_port: int, key_store: Path) -> str:
    return f"""<?xml version="1.0"?>
<hivemq>
  <listeners>
    <tcp-listener><port>{port}</port><bind-address>{HOST}</bind-address></tcp-listener>
    <tls-tcp-listener>
      <port>{tls_port}</port><bind-address>{HOST}</bind-address>
      <tls>
        <protocols><protocol>TLSv1.3</protocol></protocols>
        <keystore>
          <path>{key_store}</path><password>{KEY_STORE_PASSWORD}</password>
          <private-key-password>{KEY_STORE_PASSWORD}</private-key-password>
        </keystore>
      </tls>
    </tls-tcp-listener>
  </listeners>
  <persistence><mode>in-memory</mode></persistence>
  <anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>
</hivemq>
"""
