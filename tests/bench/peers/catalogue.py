"""Every peer there is a recipe for, by name; this broker first, as the others are compared with it.

Clusters are apart: they run the workloads that need several nodes, and nobody else does.
"""

from bench.peers.aedes_js import Aedes
from bench.peers.amqtt_py import AMQTT
from bench.peers.base import Peer
from bench.peers.hivemq_ce import HiveMQ
from bench.peers.mochi_mqtt import Mochi
from bench.peers.mosquitto import Mosquitto
from bench.peers.rumqttd_rs import Rumqttd
from bench.peers.stoa import Stoa
from bench.peers.stoa_cluster import StoaCluster
from bench.peers.stoa_redis import StoaOnRedis

ALL: tuple[Peer, ...] = (Stoa(), StoaOnRedis(), Mosquitto(), Mochi(), Aedes(), AMQTT(), HiveMQ(), Rumqttd())
CLUSTERS: tuple[Peer, ...] = (StoaCluster("Memory"), StoaCluster("Disk"))
BY_NAME = {peer.name: peer for peer in (*ALL, *CLUSTERS)}
