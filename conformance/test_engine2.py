"""More of the engine on this machine: network modes, namespaces, devices, volumes, order, and an OCI runtime from outside."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest
from botocore.exceptions import ClientError

import images
from neargate import Neargate, wait_for
from test_engine import Runner, pid_of_container

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")

BRIDGE = {"networkMode": "bridge"}


@pytest.fixture(scope="module")
def run(real):
    real.client("ecs").create_cluster(clusterName="engine2")
    return Runner(real, "engine2")


@pytest.fixture(scope="module")
def own_image(real, tmp_path_factory):
    """Loads a busybox with a configuration of its own; answers the manifest's digest."""

    def load(name, layers=None, **config):
        layout = tmp_path_factory.mktemp("layout") / "image"
        digest = images.write_layout(layout, name, [images.busybox_layer(), *(layers or [])], config)
        real.neargate("images", "load", str(layout))
        return digest

    return load


def failed(run, containers, fargate=True, **more):
    """The stopped reason of a task that cannot start."""
    ended = run.until(run.run(containers, fargate, **more), "STOPPED")
    assert ended["stopCode"] == "TaskFailedToStart", ended
    return ended["stoppedReason"]


def refused(run, containers, fargate=True, **more):
    with pytest.raises(ClientError) as told:
        run.register(containers, fargate, **more)
    assert told.value.response["Error"]["Code"] == "ClientException"
    return told.value.response["Error"]["Message"]


def test_host_mode_has_the_machines_network(run):
    _, lines = run.sh("readlink /proc/self/ns/net; hostname", fargate=False, task={"networkMode": "host"})
    assert lines == [os.readlink("/proc/self/ns/net"), os.uname().nodename]


def test_none_mode_has_loopback_only(run):
    _, lines = run.sh("ip -o link | grep -v 'lo:' || echo alone; ip route | grep . || echo no route; test -e /etc/resolv.conf || echo no resolver",
                      fargate=False, task={"networkMode": "none"})
    assert [l for l in lines if l in ("alone", "no route", "no resolver")] == ["alone", "no route", "no resolver"]


def test_links_name_other_containers_in_bridge_mode(run):
    web = {"name": "web", "essential": False, "command": ["sh", "-c", "trap exit TERM; echo linked > /tmp/x; httpd -p 8080 -h /tmp; while true; do sleep 0.1; done"]}
    _, lines = run.sh("until wget -q -O - http://alias:8080/x 2>/dev/null; do sleep 0.1; done; wget -q -O - http://web:8080/x",
                      fargate=False, links=["web:alias"], containers=[web], task=BRIDGE)
    assert lines == ["linked", "linked"]


def test_links_tell_ports_name_and_environment_of_other_containers(run, own_image):
    own_image("linked:test", Env=["PATH=/bin:/usr/bin", "SHADE=dark"], ExposedPorts={"9000/udp": {}})
    db = {"name": "db", "image": "linked:test", "essential": False, "command": ["sleep", "600"], "stopTimeout": 2,
          "portMappings": [{"containerPort": 8080}], "environment": [{"name": "COLOR", "value": "red"}]}
    told = "MY_DB_PORT MY_DB_PORT_8080_TCP_PORT MY_DB_PORT_9000_UDP_PROTO MY_DB_NAME MY_DB_ENV_COLOR MY_DB_ENV_SHADE"
    _, lines = run.sh(f"grep my-db /etc/hosts; for name in {told}; do eval echo \\$$name; done; echo ${{MY_DB_ENV_PATH:-no path}}",
                      fargate=False, links=["db:my-db"], containers=[db], task=BRIDGE,
                      environment=[{"name": "MY_DB_ENV_COLOR", "value": "mine"}])
    address = lines[0].split()[0]
    assert lines[1:] == [f"tcp://{address}:8080", "8080", "udp", "/c/my-db", "mine", "dark", "no path"]


def test_what_a_mode_cannot_have_is_refused_by_name(run):
    two = [{"name": "c", "portMappings": [{"containerPort": 80}]}, {"name": "d", "portMappings": [{"containerPort": 80}]}]
    assert "80 is mapped more than once" in refused(run, two)
    assert "Links are not supported" in refused(run, [{"name": "c", "links": ["d"]}, {"name": "d"}])
    assert "hostname" in refused(run, [{"name": "c", "hostname": "h"}])
    assert "privileged" in refused(run, [{"name": "c", "privileged": True}])
    assert "devices" in refused(run, [{"name": "c", "linuxParameters": {"devices": [{"hostPath": "/dev/zero"}]}}])
    assert "sourcePath" in refused(run, [{"name": "c"}], volumes=[{"name": "v", "host": {"sourcePath": "/tmp"}}])
    assert "pidMode" in refused(run, [{"name": "c"}], pidMode="host")


def test_environment_files_come_from_the_nodes_buckets(run, real):
    bucket = real.data / "s3/settings/app"
    bucket.mkdir(parents=True)
    (bucket / "one.env").write_text("# note\nA=file\nB=file value\n")
    file = {"type": "s3", "value": "arn:aws:s3:::settings/app/one.env"}
    _, lines = run.sh("echo $A, $B", environment=[{"name": "A", "value": "own"}], environmentFiles=[file])
    assert lines == ["own, file value"]
    missing = failed(run, [{"name": "c", "environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::settings/none.env"}]}])
    assert missing.startswith("ResourceInitializationError") and str(real.data / "s3/settings/none.env") in missing
    outside = failed(run, [{"name": "c", "environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::settings/../../x.env"}]}])
    assert "leads out" in outside


def test_the_images_entry_point_volume_user_and_directory_hold(run, own_image):
    own_image("own:test", Entrypoint=["sh", "-c"], Cmd=["echo image"], WorkingDir="/deep/dir", User="app:extra", Volumes={"/tmp/vol": {}})

    def lines(**container):
        arn = run.run([{"name": "c", "image": "own:test", **container}])
        assert run.until(arn, "STOPPED")["containers"][0]["exitCode"] == 0
        return run.output(arn)

    assert lines() == ["image"]
    assert lines(command=["id -u; id -g; pwd; grep -c ' /tmp/vol ' /proc/mounts"]) == ["1000", "2000", "/deep/dir", "1"]
    assert lines(entryPoint=["echo", "other"]) == ["other"]
    assert lines(entryPoint=["echo"], command=["both"]) == ["both"]


def test_whiteouts_hide_and_digests_name_an_image(run, own_image):
    below = images.layer({"d/": ("dir", None, 0o755), "d/gone": ("file", b"1", 0o644), "d/kept": ("file", b"2", 0o644),
                          "o/": ("dir", None, 0o755), "o/old": ("file", b"3", 0o644)})
    above = images.layer({"d/": ("dir", None, 0o755), "d/.wh.gone": ("file", b"", 0o644),
                          "o/": ("dir", None, 0o755), "o/.wh..wh..opq": ("file", b"", 0o644), "o/new": ("file", b"4", 0o644)})
    digest = own_image("white:test", [below, above])
    ended, lines = run.sh("ls /d /o", image=f"white@{digest}")
    assert [l for l in lines if l] == ["/d:", "kept", "/o:", "new"]
    assert ended["containers"][0]["imageDigest"] == digest


def test_the_images_stop_signal_is_sent(run, own_image):
    own_image("signal:test", StopSignal="SIGUSR1")
    arn = run.run([{"name": "c", "image": "signal:test", "command": ["sh", "-c", "trap 'exit 9' USR1; echo up; while true; do sleep 0.1; done"]}])
    run.until(arn, "RUNNING")
    wait_for(lambda: "up" in run.output(arn), "it traps")
    run.ecs.stop_task(cluster=run.cluster, task=arn)
    ended = run.until(arn, "STOPPED")
    assert (ended["stopCode"], ended["containers"][0]["exitCode"]) == ("UserInitiated", 9)


def test_system_controls_are_set_in_the_task_alone(run):
    before = pathlib.Path("/proc/sys/kernel/msgmax").read_text()
    _, lines = run.sh("cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/msgmax",
                      systemControls=[{"namespace": "net.ipv4.ip_local_port_range", "value": "10000 20000"}, {"namespace": "kernel.msgmax", "value": "4096"}])
    assert lines == ["10000\t20000", "4096"]
    assert pathlib.Path("/proc/sys/kernel/msgmax").read_text() == before


def test_standard_input_is_null_a_pipe_or_a_terminal(run):
    where = "readlink /proc/self/fd/0"
    assert run.sh(where)[1] == ["/dev/null"]
    assert run.sh(where, interactive=True)[1][0].startswith("pipe:")
    assert run.sh(f"{where}; echo $TERM", pseudoTerminal=True)[1] == ["/dev/pts/0", "xterm"]


def test_devices_are_there_as_asked_and_missing_ones_are_told(run):
    _, lines = run.sh("head -c 3 /dev/mine | wc -c; ls /dev/loop-control 2>/dev/null || echo no other", fargate=False, task=BRIDGE,
                      linuxParameters={"devices": [{"hostPath": "/dev/zero", "containerPath": "/dev/mine", "permissions": ["read"]}]})
    assert lines == ["3", "no other"]
    missing = failed(run, [{"name": "c", "linuxParameters": {"devices": [{"hostPath": "/dev/no-such"}]}}], fargate=False, **BRIDGE)
    assert "/dev/no-such" in missing


def test_privileged_containers_of_the_machine_may_mount(run):
    _, lines = run.sh("mount -t tmpfs t /tmp && echo mounted; grep Seccomp: /proc/self/status", fargate=False, task=BRIDGE, privileged=True)
    assert lines == ["mounted", "Seccomp:\t0"]


SIDE = {"name": "side", "essential": False, "command": ["sh", "-c", "trap exit TERM; echo x > /dev/shm/x; while true; do sleep 0.1; done"]}


def test_process_namespaces_are_private_shared_or_the_machines(run):
    look = "i=0; while [ $i -lt 20 ] && ! ps | grep -q '[t]ail'; do i=$((i+1)); sleep 0.05; done; ps | grep -c '[t]ail'"
    side = {"name": "side", "essential": False, "stopTimeout": 2, "command": ["tail", "-f", "/dev/null"]}
    assert run.sh(look, containers=[side], task={"pidMode": "task"})[1] == ["1"]
    assert run.sh(look, containers=[side])[1] == ["0"]
    assert run.sh("readlink /proc/self/ns/pid", fargate=False, task={**BRIDGE, "pidMode": "host"})[1] == [os.readlink("/proc/self/ns/pid")]


def test_shared_memory_is_private_shared_the_machines_or_none(run):
    look = "i=0; while [ $i -lt 20 ] && [ ! -e /dev/shm/x ]; do i=$((i+1)); sleep 0.05; done; cat /dev/shm/x 2>/dev/null || echo none"
    shared = {**BRIDGE, "ipcMode": "task"}
    assert run.sh(look, fargate=False, containers=[SIDE], task=shared)[1] == ["x"]
    assert run.sh(look, fargate=False, containers=[SIDE], task=BRIDGE)[1] == ["none"]
    assert run.sh("readlink /proc/self/ns/ipc", fargate=False, task={**BRIDGE, "ipcMode": "host"})[1] == [os.readlink("/proc/self/ns/ipc")]
    assert run.sh("test -e /dev/shm || echo none", fargate=False, task={**BRIDGE, "ipcMode": "none"})[1] == ["none"]


def test_a_container_waits_for_completion_whatever_the_code(run):
    point = [{"sourceVolume": "v", "containerPath": "/d"}]
    first = {"name": "first", "essential": False, "command": ["sh", "-c", "sleep 0.3; echo over > /d/x; exit 3"], "mountPoints": point}
    ended, lines = run.sh("cat /d/x", dependsOn=[{"containerName": "first", "condition": "COMPLETE"}], mountPoints=point,
                          containers=[first], task={"volumes": [{"name": "v"}]})
    assert lines == ["over"]
    assert {c["name"]: c["exitCode"] for c in ended["containers"]} == {"c": 0, "first": 3}


def test_a_dependency_that_takes_too_long_is_told(run):
    slow = {"name": "slow", "essential": False, "startTimeout": 2, "stopTimeout": 2, "command": ["sleep", "600"]}
    reason = failed(run, [{"name": "c", "dependsOn": [{"containerName": "slow", "condition": "SUCCESS"}]}, slow])
    assert "container slow (SUCCESS) has timed out after 2 seconds" in reason


def test_an_exit_before_the_attempt_period_or_with_an_ignored_code_is_not_restarted(run):
    policy = {"enabled": True, "restartAttemptPeriod": 60, "ignoredExitCodes": [0]}
    point = [{"sourceVolume": "v", "containerPath": "/d"}]
    crash = {"name": "s", "essential": False, "command": ["sh", "-c", "echo once >> /d/x; exit 1"], "restartPolicy": policy, "mountPoints": point}
    _, lines = run.sh("sleep 1; cat /d/x", mountPoints=point, containers=[crash], task={"volumes": [{"name": "v"}]})
    assert lines == ["once"]


def test_volumes_of_the_machine_and_of_other_containers(run, tmp_path):
    (tmp_path / "f").write_text("kept\n")
    points = [{"sourceVolume": "h", "containerPath": "/ro", "readOnly": True}, {"sourceVolume": "h", "containerPath": "/rw"},
              {"sourceVolume": "new", "containerPath": "/new"}]
    volumes = [{"name": "h", "host": {"sourcePath": str(tmp_path)}}, {"name": "new", "host": {"sourcePath": str(tmp_path / "made")}}]
    from_it = {"name": "c", "volumesFrom": [{"sourceContainer": "s", "readOnly": True}], "dependsOn": [{"containerName": "s", "condition": "SUCCESS"}],
               "command": ["sh", "-c", "cat /rw/f; touch /rw/no 2>/dev/null || echo read-only"]}
    source = {"name": "s", "essential": False, "mountPoints": points,
              "command": ["sh", "-c", "touch /ro/no 2>/dev/null && exit 1; echo w > /rw/written && echo n > /new/n"]}
    arn = run.run([from_it, source], fargate=False, volumes=volumes, **BRIDGE)
    ended = run.until(arn, "STOPPED")
    assert [c["exitCode"] for c in ended["containers"]] == [0, 0], ended["containers"]
    assert run.output(arn) == ["kept", "read-only"]
    assert (tmp_path / "written").exists() and (tmp_path / "made/n").exists()


def test_limits_are_in_the_cgroups(run):
    arn = run.run([{"name": "c", "cpu": 100, "memory": 128, "memoryReservation": 64, "stopTimeout": 2, "command": ["sleep", "600"]}])
    run.until(arn, "RUNNING")
    groups = pathlib.Path(f"/proc/{pid_of_container(run.real, arn, 'c')}/cgroup").read_text().splitlines()

    def read(controller, *names):
        """The first of the files that there is, at the container's group and at its task's."""
        for line in groups:
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(",") or (not controllers and not any(controller in g.split(":")[1].split(",") for g in groups)):
                place = pathlib.Path("/sys/fs/cgroup") / (controller if controllers else "") / path.lstrip("/")
                return [next(((p / n).read_text().split() for n in names if (p / n).exists()), None) for p in (place, place.parent)]
        raise AssertionError(f"no cgroup of {controller}")

    own, task = read("memory", "memory.max", "memory.limit_in_bytes")
    assert (own, task) == ([str(128 << 20)], [str(512 << 20)])
    assert read("memory", "memory.low", "memory.soft_limit_in_bytes")[0] == [str(64 << 20)]
    assert read("cpu", "cpu.max", "cpu.cfs_quota_us")[1][0] == "25000"
    run.ecs.stop_task(cluster=run.cluster, task=arn)
    ended = run.until(arn, "STOPPED")
    assert (ended["stoppedReason"], ended["containers"][0]["exitCode"]) == ("Task stopped by user", 137)


def test_ill_users_directories_programs_and_references_are_told(run):
    def told(**container):
        return failed(run, [{"name": "c", "command": ["true"], **container}])

    assert "unable to find user nobody-here" in told(user="nobody-here")
    assert "unable to find group none-here" in told(user="app:none-here")
    assert "/etc/passwd: not a directory" in told(workingDirectory="/etc/passwd")
    assert "needs to be an absolute path" in told(workingDirectory="relative")
    assert "permission denied" in told(command=["/etc/passwd"])
    assert "executable file not found in $PATH" in told(command=["no-such-program"])
    assert told(image="UPPER/Case:1").startswith("CannotPullContainerError: invalid image reference")
    assert run.sh("id -u; id -g; pwd", user="4242:99", workingDirectory="/made/new")[1] == ["4242", "99", "/made/new"]


def test_a_non_essential_container_may_run_out_of_memory(run):
    greedy = {"name": "greedy", "essential": False, "memory": 32, "command": ["tail", "/dev/zero"]}
    point = {"containerName": "greedy", "condition": "COMPLETE"}
    ended, lines = run.sh("echo fine", dependsOn=[point], containers=[greedy])
    assert lines == ["fine"]
    container = next(c for c in ended["containers"] if c["name"] == "greedy")
    assert container["exitCode"] == 137 and container["reason"].startswith("OutOfMemoryError")


def test_start_task_runs_on_the_machine_asked_for(run):
    machine = run.ecs.list_container_instances(cluster=run.cluster)["containerInstanceArns"][0]
    family = run.register([{"name": "c", "command": ["echo", "no"]}], fargate=False, **BRIDGE)
    overrides = {"containerOverrides": [{"name": "c", "command": ["echo", "started"]}]}
    answer = run.ecs.start_task(cluster=run.cluster, taskDefinition=family, containerInstances=[machine], overrides=overrides)
    assert not answer["failures"]
    ended = run.until(answer["tasks"][0]["taskArn"], "STOPPED")
    assert (ended["containerInstanceArn"], ended["launchType"]) == (machine, "EC2")
    assert run.output(ended["taskArn"]) == ["started"]


def test_an_unknown_name_fails_fast(run):
    _, lines = run.sh("A=$(date +%s); nslookup no-such.invalid >/dev/null 2>&1 && echo found; B=$(date +%s); test $((B-A)) -le 6 && echo fast")
    assert lines == ["fast"]


def test_a_resolver_address_that_somebody_removed_comes_back(run):
    subprocess.run(["ip", "addr", "del", "10.62.0.2/32", "dev", "lo"], check=True)
    _, lines = run.sh("echo runs")
    assert lines == ["runs"]
    assert "10.62.0.2" in subprocess.run(["ip", "addr", "show", "lo"], capture_output=True, text=True).stdout


@pytest.mark.skipif(shutil.which("runc") is None, reason="no runc")
def test_runc_runs_many_at_once(tmp_path_factory):
    with Neargate("--runtime", "runc", "--vpc-cidr", "10.65.0.0/16", "--bridge-cidr", "198.18.65.0/24", "--public-cidr", "198.19.65.0/24") as own:
        layout = tmp_path_factory.mktemp("runc") / "busybox"
        images.busybox(layout)
        own.neargate("images", "load", str(layout))
        own.client("ecs").create_cluster(clusterName="runc")
        runner = Runner(own, "runc")
        family = runner.register([{"name": "c", "command": ["sh", "-c", "ip -o addr show eth0 | grep -q 10.65 && echo routed"]}])
        network = {"awsvpcConfiguration": {"subnets": [runner.subnet]}}
        tasks = runner.ecs.run_task(cluster="runc", taskDefinition=family, count=10, launchType="FARGATE", networkConfiguration=network)["tasks"]
        ends = [runner.until(t["taskArn"], "STOPPED") for t in tasks]
        assert [e["containers"][0].get("exitCode") for e in ends] == [0] * 10, json.dumps([e["stoppedReason"] for e in ends])
        _, lines = runner.sh("cat /proc/1/comm; [ $$ = 1 ] || echo behind it", linuxParameters={"initProcessEnabled": True})
        assert lines == ["init", "behind it"]
