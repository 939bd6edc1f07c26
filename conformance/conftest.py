import pytest

import images
from neargate import Neargate


@pytest.fixture(scope="session")
def sim():
    """Three simulated nodes: the API without containers."""
    with Neargate("--simulated-nodes", "3", "--healthy-after", "1", "--vpc-cidr", "10.61.0.0/16") as running:
        yield running


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """Real containers on this machine; the image busybox:test is loaded."""
    accounts = tmp_path_factory.mktemp("docker") / "config.json"
    with Neargate("--healthy-after", "1", "--vpc-cidr", "10.62.0.0/16", "--bridge-cidr", "198.18.62.0/24",
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
