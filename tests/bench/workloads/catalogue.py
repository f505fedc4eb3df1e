"""Every workload by name, in the order of the report."""

from bench.workloads.base import Workload
from bench.workloads.connections import Connects, Idle
from bench.workloads.crossing import AcrossNodes, AddedLatency
from bench.workloads.sparse import Sparse
from bench.workloads.storm import Storm
from bench.workloads.stream import Stream

DEEP = 4_000  # messages in flight

_ALL: tuple[Workload, ...] = (
    Stream(name="stream-qos0", title="QoS 0 stream, 1 to 1"),
    Stream(name="stream-qos1", title="QoS 1 stream, 1 to 1", qos=1),
    Stream(name="stream-qos2", title="QoS 2 stream, 1 to 1", qos=2),
    Stream(name="saturating-qos0", title="QoS 0, 1 to 1, as fast as the socket takes it", saturating=True),
    Stream(name="fan-out", title="fan-out 1 to 50, QoS 0", subscribers=50),
    Stream(name="fan-in", title="fan-in 10 to 1, QoS 1", publishers=10, qos=1),
    Stream(name="tls-stream-qos0", title="TLS 1.3: QoS 0 stream, 1 to 1", tls=True),
    Stream(name="tls-stream-qos1", title="TLS 1.3: QoS 1 stream, 1 to 1", qos=1, tls=True),
    Stream(name="tls-fan-out", title="TLS 1.3: fan-out 1 to 50, QoS 0", subscribers=50, tls=True),
    Sparse(
        name="sparse-fan-in", title="sparse: 1,000 publishers at 10/s, one subscriber", publishers=1_000, rate_per_s=10
    ),
    Sparse(name="sparse-pairs", title="sparse: 400 pairs at 20/s", publishers=400, rate_per_s=20, pairs=True),
    Sparse(
        name="tls-sparse-fan-in",
        title="TLS 1.3: sparse, 200 publishers at 20/s, one subscriber",
        publishers=200,
        rate_per_s=20,
        tls=True,
    ),
    Stream(name="topics-10", title="QoS 0 over 10 topics in turn, no runs", topics=10),
    Stream(name="topics-10-qos1", title="QoS 1 over 10 topics in turn, no runs", topics=10, qos=1),
    Stream(name="topics-10000", title="QoS 0 over 10,000 topics in turn", topics=10_000),
    Stream(name="mqtt5-alias", title="MQTT 5, QoS 1, topic alias, two user properties", qos=1, aliased=True),
    Stream(name="churn", title="QoS 0 stream beside 500 subscribes/s and 5 policies/s", churn=True),
    Storm(name="subscribe-storm", title="QoS 0 at 1,000/s beside 10,000 filters subscribed to at once"),
    Storm(name="subscribe-storm-wide", title="the same storm, 1,000 filters in each SUBSCRIBE", per_packet=1_000),
    Stream(name="persistent-qos1", title="QoS 1 to a persistent session, connected", qos=1, persistent=True),
    Idle(name="idle", title="idle connections, memory each"),
    Idle(name="tls-idle", title="TLS 1.3: idle connections, memory each", tls=True),
    Connects(name="connects", title="connections a second, password"),
    Connects(name="tls-connects", title="TLS 1.3: connections a second, password", tls=True),
)
# These need several nodes on one store.
CLUSTER: tuple[Workload, ...] = (
    AddedLatency(name="cross-latency", title="QoS 0 to the other node at 100/s, latency added"),
    AddedLatency(
        name="cross-latency-1000", title="QoS 0 to the other node at 1,000/s, latency added", rate_per_s=1_000
    ),
    AcrossNodes(name="nodes-local-1", title="QoS 1, 8 to 8, all on one node", nodes=1, receivers=1),
    AcrossNodes(name="nodes-local-2", title="QoS 1, 8 to 8, on two nodes, all local", receivers=1),
    AcrossNodes(name="nodes-remote", title="QoS 1, 8 to 8, on two nodes, all remote", receivers=1, remote=1),
    AcrossNodes(name="nodes-both", title="QoS 1, 8 to 8 x 2, all on one node", nodes=1, receivers=2),
    AcrossNodes(name="nodes-half", title="QoS 1, 8 to 8 x 2, on two nodes, half remote", receivers=2, remote=1),
    # Deep: enough under way for two nodes to be busy all the time, which lets a node take more at once.
    AcrossNodes(
        name="nodes-local-1-deep", title="QoS 1, 8 to 8, all on one node, deep", nodes=1, receivers=1, window=DEEP
    ),
    AcrossNodes(name="nodes-remote-deep", title="QoS 1, 8 to 8, all remote, deep", receivers=1, remote=1, window=DEEP),
    AcrossNodes(
        name="nodes-both-deep", title="QoS 1, 8 to 8 x 2, all on one node, deep", nodes=1, receivers=2, window=DEEP
    ),
    AcrossNodes(
        name="nodes-half-deep", title="QoS 1, 8 to 8 x 2, half remote, deep", receivers=2, remote=1, window=DEEP
    ),
    AcrossNodes(name="nodes-fan-local", title="QoS 1, 8 to 8 x 20, all on one node", nodes=1, receivers=20),
    AcrossNodes(name="nodes-fan-half", title="QoS 1, 8 to 8 x 20, half remote", receivers=20, remote=10),
)
ALONE = _ALL
BY_NAME = {workload.name: workload for workload in (*ALONE, *CLUSTER)}
