"""Real containers on this machine: what a task definition asks for is what the container sees."""

import http.client
import json
import os
import pathlib
import resource
import signal
import subprocess
import time

import pytest

from neargate import wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")


class Runner:
    """Runs tasks of one cluster and answers how they ended."""

    def __init__(self, real, cluster):
        self.real = real
        self.cluster = cluster
        self.ecs = real.client("ecs")
        self.logs = real.client("logs")
        self.subnet = real.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
        self.count = 0

    def register(self, containers, fargate=True, **more):
        self.count += 1
        family = f"{self.cluster}-{self.count}"
        settings = dict(networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512") if fargate else {}
        definition = {**settings, **more}
        done = []
        for container in containers:
            log = {"logDriver": "awslogs", "options": {"awslogs-group": self.group, "awslogs-region": "us-east-1",
                                                       "awslogs-stream-prefix": "t", "awslogs-create-group": "true"}}
            done.append({"image": "busybox:test", "logConfiguration": log, **({} if fargate else {"memory": 64}), **container})
        self.ecs.register_task_definition(family=family, containerDefinitions=done, **definition)
        return family

    @property
    def group(self):
        return f"/t/{self.cluster}"

    def run(self, containers, fargate=True, overrides=None, **more):
        family = self.register(containers, fargate, **more)
        ask = {"cluster": self.cluster, "taskDefinition": family, "launchType": "FARGATE" if fargate else "EC2"}
        if more.get("networkMode", "awsvpc" if fargate else "bridge") == "awsvpc":
            ask["networkConfiguration"] = {"awsvpcConfiguration": {"subnets": [self.subnet]}}
        if overrides:
            ask["overrides"] = overrides
        answer = self.ecs.run_task(**ask)
        assert not answer["failures"], answer["failures"]
        return answer["tasks"][0]["taskArn"]

    def describe(self, arn):
        return self.ecs.describe_tasks(cluster=self.cluster, tasks=[arn])["tasks"][0]

    def until(self, arn, status, limit=60):
        def there():
            task = self.describe(arn)
            if status == "RUNNING":
                assert task["lastStatus"] not in ("STOPPING", "DEPROVISIONING", "STOPPED"), (task.get("stoppedReason"), task["containers"])
            return task if task["lastStatus"] == status else None

        return wait_for(there, f"task {status}", limit)

    def output(self, arn, container="c"):
        """What a stopped task's container wrote."""
        stream = f"t/{container}/{arn.split('/')[-1]}"

        def lines():
            try:
                return self.logs.get_log_events(logGroupName=self.group, logStreamName=stream, startFromHead=True)["events"]
            except self.logs.exceptions.ResourceNotFoundException:
                return None

        return [e["message"] for e in wait_for(lines, "logs", 15)]

    def sh(self, script, fargate=True, overrides=None, containers=(), task=None, **container):
        """Runs a shell script to its end; (task, lines), both streams in one so that their order is the program's."""
        arn = self.run([{"name": "c", "command": ["sh", "-c", f"exec 2>&1; {script}"], **container}, *containers], fargate, overrides, **(task or {}))
        ended = self.until(arn, "STOPPED")
        # The node lets go of a task once all it wrote is stored.
        kept = self.real.data / "tasks" / arn.split("/")[-1]
        wait_for(lambda: not kept.exists(), "its lines are stored", 30)
        return ended, self.output(arn)


@pytest.fixture(scope="module")
def run(real):
    real.client("ecs").create_cluster(clusterName="engine")
    return Runner(real, "engine")


def test_a_command_runs_with_its_environment_and_exit_code(run):
    ended, lines = run.sh("echo $A $HOME; pwd; exit 7", environment=[{"name": "A", "value": "b c"}], workingDirectory="/tmp")
    assert lines == ["b c /root", "/tmp"]
    assert ended["containers"][0]["exitCode"] == 7
    assert ended["stopCode"] == "EssentialContainerExited"
    assert ended["stoppedReason"] == "Essential container in task exited"


def test_overrides_replace_command_and_environment(run):
    overrides = {"containerOverrides": [{"name": "c", "command": ["sh", "-c", "echo $A $B"], "environment": [{"name": "A", "value": "over"}]}]}
    _, lines = run.sh("echo no", environment=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], overrides=overrides)
    assert lines == ["over 2"]


def test_user_and_groups_are_resolved_in_the_image(run):
    _, lines = run.sh("id -u; id -g; id -G; cat /proc/sys/net/ipv4/ping_group_range", user="app")
    assert lines.pop().split() == ["0", "2147483647"], "everybody may ping, as with Docker"
    assert lines == ["1000", "1000", "1000 2000"]


def test_capabilities_are_dockers_default_set(run):
    _, lines = run.sh("grep CapEff /proc/self/status; grep -c . /proc/1/status; grep Seccomp: /proc/self/status")
    assert lines[0].split()[1] == "00000000a80425fb"
    assert lines[2].split()[1] == "2"


def test_dropped_and_readonly(run):
    _, lines = run.sh("touch /x || echo ro; grep CapEff /proc/self/status", readonlyRootFilesystem=True,
                      linuxParameters={"capabilities": {"drop": ["ALL"]}})
    assert lines[-2:] == ["ro", "CapEff:\t0000000000000000"], lines


def test_proc_and_sys_are_masked_and_no_device_can_be_made(run):
    _, lines = run.sh("test -s /proc/kcore && cat /proc/kcore | head -c 1 | wc -c || echo 0; echo x > /proc/sysrq-trigger || echo no; mknod /tmp/d b 8 0 && cat /tmp/d || echo nodev; mount -t tmpfs t /mnt || echo nomount")
    assert [line for line in lines if line in ("0", "1", "no", "nodev", "nomount")] == ["0", "no", "nodev", "nomount"], lines


def test_memory_limit_kills_as_aws_reports_it(run):
    ended, _ = run.sh("echo start; tail /dev/zero", memory=64)
    container = ended["containers"][0]
    assert container["exitCode"] == 137
    assert container["reason"].startswith("OutOfMemoryError: Container killed due to memory usage")


def test_ulimits_tmpfs_shm_hostname_and_hosts(run):
    _, lines = run.sh(
        "ulimit -n; df -k /scratch | tail -1; df -k /dev/shm | tail -1; cat /etc/hosts",
        ulimits=[{"name": "nofile", "softLimit": 512, "hardLimit": 1024}],
        linuxParameters={"tmpfs": [{"containerPath": "/scratch", "size": 8}], "sharedMemorySize": 32},
        extraHosts=[{"hostname": "db", "ipAddress": "10.1.2.3"}], fargate=False, task={"networkMode": "bridge"})
    assert lines[0] == "512"
    assert lines[1].split()[1] == "8192"
    assert lines[2].split()[1] == "32768"
    assert any(line.split() == ["10.1.2.3", "db"] for line in lines)


def test_fargates_limit_of_open_files_is_not_the_machines(run):
    # Where this machine lets nobody raise its own limit (no CAP_SYS_RESOURCE), it is as high as it can be.
    raising = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (1024, 1048576))"
    may = subprocess.run(["python3", "-c", raising], capture_output=True).returncode == 0
    most = 65535 if may else min(65535, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    _, lines = run.sh("ulimit -Sn; ulimit -Hn")
    assert lines == [str(most)] * 2


def test_init_process_reaps_and_forwards(run):
    _, lines = run.sh("cat /proc/1/comm; echo $$", linuxParameters={"initProcessEnabled": True})
    assert lines[1] != "1"


def test_containers_of_a_task_share_their_network_and_volumes(run):
    ended, lines = run.sh(
        "while ! cat /data/hello 2>/dev/null; do sleep 0.1; done; wget -q -O - http://127.0.0.1:8080/index.html",
        mountPoints=[{"sourceVolume": "shared", "containerPath": "/data"}],
        containers=[{"name": "side", "essential": False, "mountPoints": [{"sourceVolume": "shared", "containerPath": "/data"}],
                     "command": ["sh", "-c", "echo page > /tmp/index.html; echo hi > /data/hello.tmp; httpd -p 8080 -h /tmp; mv /data/hello.tmp /data/hello; sleep 60"]}],
        task={"volumes": [{"name": "shared"}]})
    assert lines == ["hi", "page"]
    assert ended["containers"][0]["exitCode"] == 0


def test_depends_on_runs_in_order(run):
    _, lines = run.sh(
        "cat /data/order", dependsOn=[{"containerName": "first", "condition": "SUCCESS"}, {"containerName": "well", "condition": "HEALTHY"}],
        mountPoints=[{"sourceVolume": "v", "containerPath": "/data"}],
        containers=[
            {"name": "first", "essential": False, "command": ["sh", "-c", "sleep 0.3; echo first >> /data/order"],
             "mountPoints": [{"sourceVolume": "v", "containerPath": "/data"}]},
            {"name": "well", "essential": False, "command": ["sh", "-c", "touch /tmp/ok; sleep 60"],
             "healthCheck": {"command": ["CMD-SHELL", "test -f /tmp/ok"], "interval": 5, "timeout": 2, "retries": 2}},
        ],
        task={"volumes": [{"name": "v"}]})
    assert lines == ["first"]


def test_a_failed_dependency_stops_the_task(run):
    arn = run.run([
        {"name": "c", "command": ["echo", "never"], "dependsOn": [{"containerName": "bad", "condition": "SUCCESS"}]},
        {"name": "bad", "essential": False, "command": ["sh", "-c", "exit 3"]},
    ])
    ended = run.until(arn, "STOPPED")
    assert ended["stopCode"] == "TaskFailedToStart"
    assert {c["name"]: c.get("exitCode") for c in ended["containers"]}["bad"] == 3


def test_stop_sends_sigterm_then_sigkill(run):
    polite = run.run([{"name": "c", "command": ["sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while true; do sleep 0.1; done"]}])
    stubborn = run.run([{"name": "c", "stopTimeout": 2, "command": ["sh", "-c", "trap '' TERM; echo up; while true; do sleep 0.1; done"]}])
    for arn in (polite, stubborn):
        run.until(arn, "RUNNING")
        wait_for(lambda: "up" in run.output(arn), "it traps")
        run.ecs.stop_task(cluster=run.cluster, task=arn, reason="test")
    assert run.until(polite, "STOPPED")["containers"][0]["exitCode"] == 5
    assert run.output(polite) == ["up", "bye"]
    assert run.until(stubborn, "STOPPED")["containers"][0]["exitCode"] == 137


def test_a_task_is_reached_on_its_own_address_and_resolves_names(run):
    arn = run.run([{"name": "c", "portMappings": [{"containerPort": 80}],
                    "command": ["sh", "-c", "hostname > /tmp/index.html; cat /etc/resolv.conf; httpd -f -p 80 -h /tmp"]}])
    task = run.until(arn, "RUNNING")
    details = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}
    # Until a rule admits it, this machine is a stranger like any other.
    with pytest.raises(OSError):
        http.client.HTTPConnection(details["privateIPv4Address"], 80, timeout=0.5).connect()
    ec2 = run.real.client("ec2")
    group = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])["SecurityGroups"][0]["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0")

    def page():
        try:
            connection = http.client.HTTPConnection(details["privateIPv4Address"], 80, timeout=2)
            connection.request("GET", "/index.html")
            return connection.getresponse().read().decode().strip()
        except OSError:
            return None

    assert wait_for(page, "the task answers") == details["privateDnsName"]
    assert "nameserver 10.62.0.2" in wait_for(lambda: run.output(arn), "resolv.conf")
    run.ecs.stop_task(cluster=run.cluster, task=arn)
    run.until(arn, "STOPPED")


def test_bridge_mode_publishes_a_dynamic_port_on_the_host(run):
    arn = run.run([{"name": "c", "portMappings": [{"containerPort": 80, "hostPort": 0}, {"containerPortRange": "90-92"}],
                    "command": ["sh", "-c", "echo bridged > /tmp/index.html; httpd -p 80 -h /tmp; httpd -f -p 92 -h /tmp"]}],
                  fargate=False, networkMode="bridge")
    task = run.until(arn, "RUNNING")
    one, several = task["containers"][0]["networkBindings"]
    port, range_ = one["hostPort"], several["hostPortRange"]
    assert several["containerPortRange"] == "90-92" and "hostPort" not in several
    first, last = map(int, range_.split("-"))
    assert last - first == 2

    def page(port):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/index.html")
            return connection.getresponse().read().decode().strip()
        except OSError:
            return None

    assert wait_for(lambda: page(port), "the port answers") == "bridged"
    assert wait_for(lambda: page(last), "the last port of the range answers") == "bridged"
    run.ecs.stop_task(cluster=run.cluster, task=arn)
    run.until(arn, "STOPPED")


def test_an_image_that_does_not_exist_is_told(run):
    arn = run.run([{"name": "c", "image": "127.0.0.1:1/no/such:1"}])
    ended = run.until(arn, "STOPPED", 90)
    assert ended["stopCode"] == "TaskFailedToStart"
    assert "CannotPullContainerError" in ended["stoppedReason"] + ended["containers"][0].get("reason", "")


def test_a_missing_program_is_told(run):
    arn = run.run([{"name": "c", "command": ["/no/such/program"]}])
    ended = run.until(arn, "STOPPED")
    assert ended["stopCode"] == "TaskFailedToStart"
    assert "CannotStartContainerError" in ended["stoppedReason"] + ended["containers"][0].get("reason", "")


def test_health_check_replaces_an_unhealthy_service_task(run):
    family = run.register([{"name": "c", "command": ["sh", "-c", "touch /tmp/ok; sleep 600"],
                            "healthCheck": {"command": ["CMD", "test", "-f", "/tmp/ok"], "interval": 5, "timeout": 2, "retries": 1}}])
    net = {"awsvpcConfiguration": {"subnets": [run.subnet]}}
    run.ecs.create_service(cluster=run.cluster, serviceName="healthy", taskDefinition=family, desiredCount=1, launchType="FARGATE", networkConfiguration=net)

    def healthy(besides=None):
        arns = run.ecs.list_tasks(cluster=run.cluster, serviceName="healthy")["taskArns"]
        tasks = run.ecs.describe_tasks(cluster=run.cluster, tasks=arns)["tasks"] if arns else []
        return next((t for t in tasks if t["healthStatus"] == "HEALTHY" and t["taskArn"] != besides), None)

    first = wait_for(healthy, "healthy", 30)
    pid = pid_of_container(run.real, first["taskArn"], "c")
    subprocess.run(["nsenter", "-t", str(pid), "-m", "rm", "/tmp/ok"], check=False)
    # Within the grace period nobody is replaced for it.
    change = lambda **what: run.ecs.update_service(cluster=run.cluster, service="healthy", **what)
    change(healthCheckGracePeriodSeconds=3600)
    subprocess.run(["rm", "-f", f"/proc/{pid}/root/tmp/ok"], check=True)
    sick = lambda: run.ecs.describe_tasks(cluster=run.cluster, tasks=[first["taskArn"]])["tasks"][0]
    wait_for(lambda: sick()["healthStatus"] == "UNHEALTHY", "the check fails", 30)
    change(desiredCount=2)
    wait_for(lambda: healthy(besides=first["taskArn"]), "one more", 30)
    assert (sick()["lastStatus"], sick()["desiredStatus"]) == ("RUNNING", "RUNNING")
    change(healthCheckGracePeriodSeconds=0)
    wait_for(lambda: sick()["desiredStatus"] == "STOPPED", "replaced", 60)
    run.ecs.delete_service(cluster=run.cluster, service="healthy", force=True)
    run.ecs.get_waiter("services_inactive").wait(cluster=run.cluster, services=["healthy"], WaiterConfig={"Delay": 1})


def pid_of_container(real, arn, _container):
    """The first process of a task: the child of its shim."""
    task_id = arn.split("/")[-1]
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            groups = (entry / "cgroup").read_text()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if task_id in groups and b"shim" not in command:
            return int(entry.name)
    raise AssertionError(f"no process of {task_id}")


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def kept(run, arns):
    return {arn: pid_of_container(run.real, arn, "c") for arn in arns}


@pytest.mark.parametrize("victims", [["control"], ["node"], ["control", "node"], ["up"], ["up", "control", "node", "gateway"]], ids="+".join)
def test_kill_minus_nine_harms_nothing(run, victims):
    script = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.05; done"
    family = run.register([{"name": "c", "command": ["sh", "-c", script]}])
    net = {"awsvpcConfiguration": {"subnets": [run.subnet]}}
    name = "crash-" + "-".join(victims)
    run.ecs.create_service(cluster=run.cluster, serviceName=name, taskDefinition=family, desiredCount=2, launchType="FARGATE", networkConfiguration=net)

    def running():
        arns = run.ecs.list_tasks(cluster=run.cluster, serviceName=name)["taskArns"]
        tasks = run.ecs.describe_tasks(cluster=run.cluster, tasks=arns)["tasks"] if arns else []
        up = sorted(t["taskArn"] for t in tasks if t["lastStatus"] == "RUNNING")
        return up if len(up) == 2 else None

    before = wait_for(running, "two tasks", 30)
    pids = kept(run, before)
    for victim in victims:
        os.kill(run.real.pid_of(victim), signal.SIGKILL)
    if "up" in victims:
        run.real.process.wait(30)
        run.real.start()
    run.ecs.create_cluster(clusterName=f"after-{name}")
    after = wait_for(running, "two tasks again", 30)
    assert after == before, "tasks were replaced"
    assert kept(run, after) == pids, "containers were touched"

    def lines():
        events = []
        for page in run.logs.get_paginator("filter_log_events").paginate(logGroupName=run.group, logStreamNames=[f"t/c/{before[0].split('/')[-1]}"]):
            events += page["events"]
        return [e["message"] for e in events]

    count = len(lines())
    wait_for(lambda: len(lines()) > count + 20, "logs go on", 20)
    got = lines()
    assert got == [f"line {i + 1}" for i in range(len(got))], "log lines were lost or doubled"
    run.ecs.delete_service(cluster=run.cluster, service=name, force=True)
    run.ecs.get_waiter("services_inactive").wait(cluster=run.cluster, services=[name], WaiterConfig={"Delay": 1})


def test_a_killed_container_is_replaced(run):
    family = run.register([{"name": "c", "command": ["sleep", "600"]}])
    net = {"awsvpcConfiguration": {"subnets": [run.subnet]}}
    run.ecs.create_service(cluster=run.cluster, serviceName="heal", taskDefinition=family, desiredCount=1, launchType="FARGATE", networkConfiguration=net)

    def running(besides=None):
        arns = run.ecs.list_tasks(cluster=run.cluster, serviceName="heal")["taskArns"]
        tasks = run.ecs.describe_tasks(cluster=run.cluster, tasks=arns)["tasks"] if arns else []
        return next((t["taskArn"] for t in tasks if t["lastStatus"] == "RUNNING" and t["taskArn"] != besides), None)

    first = wait_for(running, "running", 30)
    os.kill(pid_of_container(run.real, first, "c"), signal.SIGKILL)
    wait_for(lambda: running(besides=first), "replaced", 30)
    ended = run.until(first, "STOPPED")
    assert ended["containers"][0]["exitCode"] == 137
    run.ecs.delete_service(cluster=run.cluster, service="heal", force=True)


def test_node_files_are_cri_lines(run):
    arn = run.run([{"name": "c", "command": ["sh", "-c", "echo one; echo two >&2; sleep 60"], "logConfiguration": {"logDriver": "json-file"}}],
                  fargate=False, networkMode="none")
    run.until(arn, "RUNNING")
    task_id = arn.split("/")[-1]

    def files():
        found = [p for p in (run.real.data / "logs").rglob("*") if p.is_file() and task_id in str(p)]
        text = "".join(p.read_text() for p in found)
        return text if "two" in text else None

    text = wait_for(files, "log file")
    stamp, stream, flag, message = text.splitlines()[0].split(" ", 3)
    assert (stream, flag, message) == ("stdout", "F", "one")
    assert stamp.endswith("Z")
    run.ecs.stop_task(cluster=run.cluster, task=arn)


def test_multiline_events_and_nonblocking(run):
    log = {"logDriver": "awslogs", "options": {"awslogs-group": run.group, "awslogs-region": "us-east-1", "awslogs-stream-prefix": "t",
                                               "awslogs-create-group": "true", "awslogs-multiline-pattern": "^START", "mode": "non-blocking", "max-buffer-size": "1m"}}
    _, lines = run.sh("echo START a; echo b; echo START c", logConfiguration=log)
    assert lines == ["START a\nb", "START c"]


@pytest.mark.parametrize("fargate, reason", [
    (True, "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create "
           "Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist. : exit status 1"),
    (False, "CannotStartContainerError: Error response from daemon: failed to initialize logging driver: failed to create "
            "Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist."),
])
def test_a_task_does_not_start_without_its_log_group(run, fargate, reason):
    log = {"logDriver": "awslogs", "options": {"awslogs-group": "/t/nowhere", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "t"}}
    arn = run.run([{"name": "c", "command": ["sleep", "600"], "logConfiguration": log}], fargate)
    ended = run.until(arn, "STOPPED")
    assert ended["stopCode"] == "TaskFailedToStart"
    assert ended["stoppedReason"] == reason
    assert "startedAt" not in ended and "exitCode" not in ended["containers"][0]
    assert not run.logs.describe_log_groups(logGroupNamePrefix="/t/nowhere")["logGroups"]


def test_a_container_that_writes_nothing_has_an_empty_stream_once_it_runs(run):
    arn = run.run([{"name": "c", "command": ["sleep", "600"]}])
    run.until(arn, "RUNNING")
    stream = f"t/c/{arn.split('/')[-1]}"
    found = run.logs.describe_log_streams(logGroupName=run.group, logStreamNamePrefix=stream)["logStreams"]
    assert [s["logStreamName"] for s in found] == [stream]
    assert not run.logs.get_log_events(logGroupName=run.group, logStreamName=stream)["events"]
    run.ecs.stop_task(cluster=run.cluster, task=arn)


def test_down_leaves_nothing_and_can_be_repeated(tmp_path_factory):
    import images
    from neargate import Neargate

    with Neargate("--vpc-cidr", "10.63.0.0/16", "--bridge-cidr", "198.18.63.0/24", "--public-cidr", "198.19.63.0/24") as own:
        layout = tmp_path_factory.mktemp("down") / "busybox"
        images.busybox(layout)
        own.neargate("images", "load", str(layout))
        own.client("ecs").create_cluster(clusterName="down")
        runner = Runner(own, "down")
        polite = "trap 'echo asked to end; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
        arn = runner.run([{"name": "c", "command": ["sleep", "600"]}, {"name": "polite", "command": ["sh", "-c", polite]}])
        runner.until(arn, "RUNNING")
        pid = pid_of_container(own, arn, "c")

        def said():
            return "".join(f.read_text() for f in own.data.glob("logs/containers/*/polite/0.log"))

        wait_for(lambda: "ready" in said(), "the trap is set")
        own.stop()
        assert alive(pid), "Ctrl-C stopped a container"
        instance = json.loads((own.data / "instance.json").read_text())["instance"]
        own.neargate("down")
        assert not alive(pid) and "asked to end" in said()
        own.neargate("down")
        routes = subprocess.run(["ip", "route"], capture_output=True, text=True).stdout
        assert "10.63." not in routes
        mounts = pathlib.Path("/proc/self/mountinfo").read_text()
        assert str(own.data) not in mounts and f"neargate-{instance}" not in mounts
        cgroups = [p for p in pathlib.Path("/sys/fs/cgroup").rglob(f"neargate-{instance}*")]
        assert not cgroups
        tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
        assert f"neargate_{instance}" not in tables
