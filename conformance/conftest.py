import pytest

import images
import leaks
from neargate import BINARY, Neargate


@pytest.fixture(scope="session", autouse=True)
def nothing_left():
    """Takes down what killed runs left, and fails the run that leaves something itself."""
    stubborn = leaks.take_down_left_over(BINARY)
    assert not stubborn, "earlier test runs left what `neargate down` cannot remove:\n" + "\n".join(stubborn)
    before = leaks.routes()
    yield
    left = leaks.remains_after(Neargate.started, before)
    assert not left, "this test run left on the machine:\n" + "\n".join(left)


@pytest.fixture(scope="session")
def sim():
    """Three simulated nodes: the API without containers."""
    with Neargate("--simulated-nodes", "3", "--healthy-after", "1", "--vpc-cidr", "10.61.0.0/16") as running:
        yield running


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """Real containers on this machine; the image busybox:test is loaded."""
    accounts = tmp_path_factory.mktemp("docker") / "config.json"
    with Neargate("--healthy-after", "1", "--vpc-cidr", "10.62.0.0/16", "--bridge-cidr", "198.18.62.0/24", "--public-cidr", "198.19.62.0/24",
                  "--registry-auth", str(accounts)) as running:
        running.registry_accounts = accounts
        layout = tmp_path_factory.mktemp("images") / "busybox"
        images.busybox(layout)
        running.neargate("images", "load", str(layout))
        yield running


@pytest.fixture(scope="session")
def ecs(sim):
    return sim.client("ecs")


@pytest.fixture()
def cluster(ecs, request):
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:80]
    ecs.create_cluster(clusterName=name)
    yield name
    for service in ecs.list_services(cluster=name, maxResults=100)["serviceArns"]:
        ecs.delete_service(cluster=name, service=service, force=True)
    for status in ("RUNNING", "PENDING"):
        for task in ecs.list_tasks(cluster=name, desiredStatus=status)["taskArns"]:
            ecs.stop_task(cluster=name, task=task)
