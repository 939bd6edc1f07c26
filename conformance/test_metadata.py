"""The task metadata endpoint, asked from inside containers as their programs ask it."""

import json
import os
import signal
import subprocess

import pytest

import images
import leaks
from neargate import Neargate, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")

ASK = """
b=$ECS_CONTAINER_METADATA_URI_V4
for path in "" /task /taskWithTags /stats /task/stats /nothing; do
  echo "$path $(wget -q -O - "$b$path" 2>/dev/null || echo null)"
done
echo "v3 $(wget -q -O - "$ECS_CONTAINER_METADATA_URI/task")"
echo "v2 $(wget -q -O - http://169.254.170.2/v2/metadata 2>/dev/null || echo null)"
echo "agent \\"$ECS_AGENT_URI\\""
echo "id \\"${b##*/}\\""
exec sleep 600
"""


@pytest.fixture(scope="module")
def ng(tmp_path_factory):
    with Neargate("--vpc-cidr", "10.78.0.0/16", "--bridge-cidr", "198.18.78.0/24",
                  "--public-cidr", "198.19.78.0/24", "--load-balancer-listen", "127.78.0.1") as running:
        layout = tmp_path_factory.mktemp("images") / "busybox"
        images.busybox(layout)
        running.neargate("images", "load", str(layout))
        running.client("ecs").create_cluster(clusterName="meta")
        running.client("logs").create_log_group(logGroupName="/meta")
        yield running


def run(ng, family, network_mode, launch_type, **more):
    """A task that asks for everything; what it was told, by path, and the task as ECS describes it."""
    ecs = ng.client("ecs")
    options = {"awslogs-group": "/meta", "awslogs-region": "us-east-1", "awslogs-stream-prefix": family}
    fargate = {"requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512"} if launch_type == "FARGATE" else {}
    ecs.register_task_definition(
        family=family, networkMode=network_mode, **fargate,
        containerDefinitions=[{
            "name": "app", "image": "busybox:test", "command": ["sh", "-c", ASK], "stopTimeout": 2, "memory": 64,
            "dockerLabels": {"tier": "web"}, "logConfiguration": {"logDriver": "awslogs", "options": options}}])
    answer = ecs.run_task(cluster="meta", taskDefinition=family, launchType=launch_type,
                          tags=[{"key": "team", "value": "blue"}], **more)
    assert not answer["failures"], answer["failures"]
    arn = answer["tasks"][0]["taskArn"]

    def described():
        task = ecs.describe_tasks(cluster="meta", tasks=[arn])["tasks"][0]
        assert task["lastStatus"] != "STOPPED", task.get("stoppedReason")
        return task if task["lastStatus"] == "RUNNING" else None

    task = wait_for(described, "task RUNNING", 60)
    return told_to(ng, family, arn), task


def told_to(ng, family, arn):
    """What a task was told, by path."""
    logs = ng.client("logs")

    def told():
        streams = logs.describe_log_streams(logGroupName="/meta", logStreamNamePrefix=f"{family}/app/{arn.split('/')[-1]}")
        names = [s["logStreamName"] for s in streams["logStreams"]]
        if not names:
            return None
        events = logs.get_log_events(logGroupName="/meta", logStreamName=names[0], startFromHead=True)["events"]
        lines = [e["message"].partition(" ") for e in events]
        return {path: json.loads(text) for path, _, text in lines} if lines and lines[-1][0] == "id" else None

    return wait_for(told, "what the task was told", 30)


def from_inside(ng, arn, *curl):
    """Status and body of what curl is answered in the task's network."""
    namespace = f"/run/neargate-{leaks.instance_of(ng.data)}/netns/{arn.split('/')[-1]}"
    command = ["nsenter", f"--net={namespace}", "curl", "-s", "-m", "10", "-w", "\n%{http_code}", *curl]
    body, _, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rpartition("\n")
    return int(status), json.loads(body)


def awsvpc(ng):
    subnet = ng.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    return {"networkConfiguration": {"awsvpcConfiguration": {"subnets": [subnet]}}}


def test_a_fargate_task_is_told_what_ecs_tells_it(ng):
    told, task = run(ng, "fargate", "awsvpc", "FARGATE", **awsvpc(ng))
    container, whole = told[""], told["/task"]
    described = task["containers"][0]
    details = {d["name"]: d["value"] for a in task["attachments"] for d in a["details"]}
    assert container["DockerId"] == told["id"] == described["runtimeId"]
    assert container["ContainerARN"] == described["containerArn"]
    assert (container["Name"], container["Image"]) == ("app", "busybox:test")
    assert container["ImageID"] == described["imageDigest"]
    assert container["KnownStatus"] == container["DesiredStatus"] == "RUNNING"
    assert container["Limits"]["Memory"] == 64
    assert container["Labels"]["tier"] == "web"
    assert container["Labels"]["com.amazonaws.ecs.task-arn"] == task["taskArn"]
    assert container["LogOptions"]["awslogs-group"] == "/meta"
    network = container["Networks"][0]
    assert network["IPv4Addresses"] == [details["privateIPv4Address"]]
    assert network["MACAddress"] == details["macAddress"]
    assert whole["TaskARN"] == task["taskArn"] and whole["Cluster"] == task["clusterArn"]
    assert (whole["Family"], whole["Revision"]) == ("fargate", "1")
    assert whole["AvailabilityZone"] == task["availabilityZone"]
    assert whole["Limits"] == {"CPU": 0.25, "Memory": 512}
    assert whole["LaunchType"] == "FARGATE" and "TaskTags" not in whole
    assert told["/taskWithTags"]["TaskTags"] == {"team": "blue"}
    stats = told["/stats"]
    assert stats["memory_stats"]["usage"] > 0 and stats["memory_stats"]["limit"] == 64 << 20
    assert stats["cpu_stats"]["cpu_usage"]["total_usage"] > 0 and stats["pids_stats"]["current"] >= 1
    assert stats["networks"]["eth0"]["tx_bytes"] > 0
    # Which device the data directory is on, and whether its cgroup counts, is the machine's.
    for entry in stats["blkio_stats"]["io_service_bytes_recursive"]:
        assert set(entry) == {"major", "minor", "op", "value"}, entry
    storage = whole["EphemeralStorageMetrics"]
    assert storage["Reserved"] == 20496 and 0 <= storage["Utilized"] < 20, storage
    assert list(told["/task/stats"]) == [told["id"]]
    assert told["v3"]["TaskARN"] == told["v2"]["TaskARN"] == task["taskArn"]
    assert told["/nothing"] is None


@pytest.mark.parametrize("mode", ["bridge", "host"])
def test_tasks_in_other_network_modes_are_told_too(ng, mode):
    told, task = run(ng, mode, mode, "EC2")
    assert told["/task"]["TaskARN"] == task["taskArn"] and told["/task"]["LaunchType"] == "EC2"
    assert "EphemeralStorageMetrics" not in told["/task"]
    assert told[""]["Networks"][0]["NetworkMode"] == mode
    assert told["v2"] is None


def test_nobody_is_told_of_another_task(ng):
    told, first = run(ng, "one", "awsvpc", "FARGATE", **awsvpc(ng))
    _, second = run(ng, "two", "awsvpc", "FARGATE", **awsvpc(ng))

    def ask(task, container):
        namespace = f"/run/neargate-{leaks.instance_of(ng.data)}/netns/{task['taskArn'].split('/')[-1]}"
        command = ["nsenter", f"--net={namespace}", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
                   f"http://169.254.170.2/v4/{container}/task"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert ask(first, told["id"]) == "200"
    assert ask(second, told["id"]) == "404"


def test_a_restarted_node_still_tells(ng):
    told, task = run(ng, "again", "awsvpc", "FARGATE", **awsvpc(ng))
    os.kill(ng.pid_of("node"), signal.SIGKILL)
    namespace = f"/run/neargate-{leaks.instance_of(ng.data)}/netns/{task['taskArn'].split('/')[-1]}"
    command = ["nsenter", f"--net={namespace}", "curl", "-s", "-m", "2", f"http://169.254.170.2/v4/{told['id']}/task"]

    def asked():
        answer = subprocess.run(command, capture_output=True, text=True).stdout
        return json.loads(answer) if answer.startswith("{") else None

    assert wait_for(asked, "an answer", 20)["TaskARN"] == task["taskArn"]


def test_a_task_protects_itself_and_nobody_else(ng):
    ecs = ng.client("ecs")
    told, alone = run(ng, "guarded", "awsvpc", "FARGATE", **awsvpc(ng))
    state = told["agent"] + "/task-protection/v1/state"
    status, answer = from_inside(ng, alone["taskArn"], state)
    assert status == 200 and answer["failure"]["Arn"] == alone["taskArn"], answer
    assert answer["failure"]["Reason"] == "TASK_NOT_VALID"

    ecs.create_service(cluster="meta", serviceName="guarded", taskDefinition="guarded", desiredCount=1, launchType="FARGATE", **awsvpc(ng))
    arn = wait_for(lambda: ecs.list_tasks(cluster="meta", serviceName="guarded")["taskArns"], "a task of the service", 30)[0]
    state = told_to(ng, "guarded", arn)["agent"] + "/task-protection/v1/state"

    def put(body, asking=arn):
        return from_inside(ng, asking, "-X", "PUT", "-H", "Content-Type: application/json", "-d", json.dumps(body), state)

    def protected():
        return ecs.get_task_protection(cluster="meta", tasks=[arn])["protectedTasks"][0]["protectionEnabled"]

    assert from_inside(ng, arn, state) == (200, {"protection": {"ExpirationDate": None, "ProtectionEnabled": False, "TaskArn": arn}})
    status, answer = put({"ProtectionEnabled": True, "ExpiresInMinutes": 60})
    assert status == 200 and answer["protection"]["ProtectionEnabled"] is True and answer["protection"]["TaskArn"] == arn
    assert answer["protection"]["ExpirationDate"].endswith("Z") and protected()

    # Its token is of no use to another task, nor is what others see of it.
    status, answer = put({"ProtectionEnabled": False}, asking=alone["taskArn"])
    assert status == 404 and answer["error"]["Code"] == "ResourceNotFoundException"
    seen = ecs.describe_tasks(cluster="meta", tasks=[arn])["tasks"][0]["containers"][0]["runtimeId"]
    assert from_inside(ng, arn, f"http://169.254.170.2/api/{seen}/task-protection/v1/state")[0] == 404
    for body in ({}, {"ProtectionEnabled": "yes"}, {"ProtectionEnabled": True, "ExpiresInMinutes": 0}):
        status, answer = put(body)
        assert (status, answer["error"]["Code"]) == (400, "InvalidParameterException"), answer
    assert protected()
    status, answer = put({"ProtectionEnabled": False})
    assert status == 200 and answer["protection"]["ProtectionEnabled"] is False and not protected()
    ecs.delete_service(cluster="meta", service="guarded", force=True)
