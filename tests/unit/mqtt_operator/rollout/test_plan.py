"""The one step that may be taken now: a table of moments, and what follows from each."""

from typing import Any

import pytest

from mqtt_operator.rollout.plan import DeletePod, Rest, SetReplicas, Step, Wait, Why, plan
from mqtt_operator.rollout.snapshot import Health, Snapshot
from unit.mqtt_operator.rollout.nodes import OLD, moment, pod

STARTING, FAILING = Health.STARTING, Health.FAILING
CRASHES: dict[str, Any] = {"health": FAILING, "problem": "ends again and again"}


def wait(why: Why, sentence: str, *, stalled: bool = False) -> Wait:
    return Wait(why=why, sentence=sentence, is_stalled=stalled)


def delete(number: int, sentence: str) -> DeletePod:
    return DeletePod(name=f"plant-{number}", uid=f"uid-{number}", sentence=sentence)


def replicas(count: int, sentence: str) -> SetReplicas:
    return SetReplicas(replicas=count, sentence=sentence)


AT_REST = [
    pytest.param(moment(pod(0)), Rest(sentence="The node is ready and current."), id="one node"),
    pytest.param(moment(pod(0), pod(1)), Rest(sentence="All 2 nodes are ready and current."), id="two nodes"),
]

LEFT_ALONE = [
    pytest.param(
        moment(pod(0, OLD), wanted=3, is_paused=True),
        wait(Why.PAUSED, "Paused: nothing is changed."),
        id="a paused broker is neither rolled nor scaled",
    ),
    pytest.param(
        moment(pod(0, OLD), wanted=3, store_answers=False),
        wait(Why.STORE_UNREACHABLE, "The store does not answer: nodes are left as they are."),
        id="without its store a broker is neither rolled nor scaled",
    ),
    pytest.param(
        moment(pod(0), revision=None),
        wait(Why.REVISION_PENDING, "The StatefulSet's controller has not seen the newest template yet."),
        id="an unknown revision",
    ),
    pytest.param(
        moment(pod(0), revision=None, is_overdue=True),
        wait(Why.REVISION_PENDING, "The StatefulSet's controller has not seen the newest template yet.", stalled=True),
        id="an unknown revision for too long",
    ),
    pytest.param(
        moment(pod(0, OLD), pod(1, is_leaving=True)),
        wait(Why.NODE_LEAVING, "plant-1 is leaving."),
        id="somebody else deleted a node",
    ),
    pytest.param(
        moment(pod(0), pod(1), pod(2), replicas=2, wanted=1),
        wait(Why.NODE_LEAVING, "plant-2 is leaving."),
        id="the node before is still on its way out",
    ),
    pytest.param(
        moment(pod(0, OLD), pod(1, is_leaving=True, is_overdue=True)),
        wait(
            Why.NODE_LEAVING,
            "plant-1 should have ended long ago; its machine may be gone. If it is, delete the pod by force, and "
            "its place is filled again.",
            stalled=True,
        ),
        id="a node that does not end",
    ),
    pytest.param(
        moment(pod(0, OLD), pod(2, OLD), replicas=3),
        wait(Why.NODE_MISSING, "The StatefulSet has no pod yet with number 1."),
        id="a pod that was not made again yet",
    ),
    pytest.param(
        moment(pod(0), replicas=3, is_overdue=True),
        wait(Why.NODE_MISSING, "The StatefulSet has no pod yet with number 1, 2; its events say why.", stalled=True),
        id="pods that are not made",
    ),
    pytest.param(
        moment(pod(0), pod(1, health=STARTING)),
        wait(Why.NODE_STARTING, "Waiting for plant-1 to become ready."),
        id="a node that starts",
    ),
    pytest.param(
        moment(pod(0), pod(1, health=STARTING), is_overdue=True),
        wait(Why.NODE_STARTING, "Waiting for plant-1 to become ready.", stalled=True),
        id="a node that starts for too long",
    ),
    pytest.param(
        moment(pod(0), pod(1, **CRASHES)),
        wait(Why.NODE_FAILING, "Waiting: plant-1 ends again and again.", stalled=True),
        id="a node that fails",
    ),
]

SCALED = [
    pytest.param(
        moment(pod(0), wanted=3),
        replicas(3, "Adding nodes: 1 were wanted, 3 are now."),
        id="nodes are added at once",
    ),
    pytest.param(
        moment(pod(0, OLD), pod(1, health=STARTING), wanted=3),
        replicas(3, "Adding nodes: 2 were wanted, 3 are now."),
        id="nodes are added while others are not ready or of an old revision",
    ),
    pytest.param(
        moment(pod(0), pod(1), pod(2), wanted=1),
        replicas(2, "Removing plant-2: 1 nodes are wanted, 3 are there."),
        id="one node at a time is taken away",
    ),
    pytest.param(
        moment(pod(0, OLD), pod(1, OLD), pod(2, OLD), wanted=1),
        replicas(2, "Removing plant-2: 1 nodes are wanted, 3 are there."),
        id="a node that goes away is not replaced before",
    ),
    pytest.param(
        moment(pod(0), pod(1, health=STARTING), pod(2), wanted=1),
        wait(Why.NODE_STARTING, "Removing plant-2 waits for plant-1 to become ready."),
        id="no node is taken away while another one is not ready",
    ),
    pytest.param(
        moment(pod(0), pod(1, **CRASHES), pod(2), wanted=1),
        wait(Why.NODE_FAILING, "Removing plant-2 waits: plant-1 ends again and again.", stalled=True),
        id="no node is taken away while another one fails",
    ),
    pytest.param(
        moment(pod(0), pod(1), pod(2, health=STARTING), wanted=1),
        replicas(2, "Removing plant-2: 1 nodes are wanted, 3 are there."),
        id="a node that is not ready yet is taken away",
    ),
    pytest.param(
        moment(pod(0), pod(1, health=FAILING), pod(2, health=FAILING), wanted=1),
        replicas(2, "Removing plant-2: 1 nodes are wanted, 3 are there."),
        id="a node that fails is taken away though others fail too",
    ),
]

REPLACED = [
    pytest.param(
        moment(pod(0, OLD), pod(1, OLD), pod(2, OLD)),
        delete(2, "Replacing plant-2: 0 of 3 nodes are of the newest revision."),
        id="the highest number first",
    ),
    pytest.param(
        moment(pod(0, OLD), pod(1, OLD), pod(2)),
        delete(1, "Replacing plant-1: 1 of 3 nodes are of the newest revision."),
        id="the next one when it is back",
    ),
    pytest.param(
        moment(pod(0, OLD), pod(1, OLD), pod(2, health=STARTING, problem="has no lease in the store yet")),
        wait(Why.NODE_STARTING, "Replacing plant-1 waits: plant-2 has no lease in the store yet."),
        id="not before it is ready",
    ),
    pytest.param(
        moment(pod(0, OLD), pod(1, OLD), pod(2, **CRASHES)),
        wait(Why.NODE_FAILING, "Replacing plant-1 waits: plant-2 ends again and again.", stalled=True),
        id="a revision that fails is given to one node only",
    ),
    pytest.param(
        moment(pod(0, OLD, **CRASHES), pod(1, OLD), pod(2, OLD)),
        delete(0, "Replacing plant-0 first: it ends again and again."),
        id="a node that fails first",
    ),
    pytest.param(
        moment(pod(0, OLD, health=FAILING), pod(1, OLD, health=FAILING)),
        delete(1, "Replacing plant-1 first: it fails."),
        id="a broken revision is mended by a new one",
    ),
    pytest.param(
        moment(pod(0, OLD, health=FAILING), pod(1, health=FAILING), pod(2)),
        wait(Why.NODE_FAILING, "Replacing plant-0 waits for plant-1, plant-0 to become ready.", stalled=True),
        id="a new revision that fails too is given to no other node",
    ),
    pytest.param(
        moment(pod(0, OLD, **CRASHES), pod(1, OLD), pod(2, OLD), wanted=2),
        delete(0, "Replacing plant-0 first: it ends again and again."),
        id="a node that fails and keeps another one from being taken away",
    ),
    pytest.param(
        moment(pod(0, OLD)),
        delete(0, "Replacing plant-0: 0 of 1 nodes are of the newest revision."),
        id="a node that is alone",
    ),
]


@pytest.mark.parametrize(("now", "step"), [*AT_REST, *LEFT_ALONE, *SCALED, *REPLACED])
def test_each_moment_has_one_step_and_one_sentence(now: Snapshot, step: Step) -> None:
    assert plan(now) == step
