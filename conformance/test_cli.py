"""The program at the terminal: starts that work, starts that cannot, images from files, the front door byte by byte."""

import gzip
import http.client
import os
import pathlib
import shutil
import socket
import subprocess
import threading

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

import images
from neargate import BINARY, Neargate, free_port, wait_for

ECS = {"X-Amz-Target": "AmazonEC2ContainerServiceV20141113.ListClusters", "Content-Type": "application/x-amz-json-1.1"}
QUERY = {"Content-Type": "application/x-www-form-urlencoded"}
NOBODY = 65534


def run(*args, env=None, **more):
    """The program, to its end: exit code and everything it said."""
    env = {**{k: v for k, v in os.environ.items() if not k.startswith("NEARGATE_ROOT")}, **(env or {})}
    done = subprocess.run([BINARY, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, env=env, **more)
    return done.returncode, done.stdout


def signed(running, body=b"", headers=None, method="POST", path="/", service="ecs", token=None, sent=None):
    """Sends a request signed for `body`, with `sent` in its place if given; status and text."""
    key = Credentials(running.env["AWS_ACCESS_KEY_ID"], running.env["AWS_SECRET_ACCESS_KEY"], token)
    request = AWSRequest(method=method, url=running.env["AWS_ENDPOINT_URL"] + path, data=body, headers=dict(headers or {}))
    SigV4Auth(key, service, "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    try:
        connection.request(method, path, body=body if sent is None else sent, headers=dict(request.headers.items()))
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("command", [[], ["up"], ["env"], ["doctor"], ["down"], ["images"], ["images", "load"], ["images", "remove"]])
def test_help_says_what_a_command_does_and_hides_the_inner_ones(command):
    code, said = run(*command, "--help")
    assert code == 0 and "Usage: neargate" in said
    assert not any(line.strip().startswith(("shim", "control", "node ", "gateway")) for line in said.splitlines())


@pytest.mark.parametrize(
    "flags, names",
    [
        (["--listen", "4566"], "--listen 4566"),
        (["--listen", "127.0.0.1:99999"], "--listen 127.0.0.1:99999"),
        (["--account", "12"], "--account 12"),
        (["--quota", "rules-per-security-group=5000"], "--quota rules-per-security-group=5000"),
        (["--quota", "rules=70"], "--quota rules=70"),
        (["--region", "US East"], "--region US East"),
        (["--vpc-cidr", "10.0.0.1/16"], "did you mean 10.0.0.0/16"),
        (["--vpc-cidr", "10.0.0.0/30"], "--vpc-cidr 10.0.0.0/30"),
        (["--simulated-nodes", "0"], "--simulated-nodes"),
        # TEST-NET-3: no machine has it.
        (["--load-balancer-listen", "203.0.113.9"], "--load-balancer-listen 203.0.113.9"),
    ],
)
def test_a_flag_that_cannot_be_is_named_and_nothing_is_kept(tmp_path, flags, names):
    nodes = [] if "--simulated-nodes" in flags else ["--simulated-nodes", "1"]
    code, said = run("up", "--data-dir", tmp_path / "data", *nodes, *flags)
    assert code != 0 and names in said and "is up" not in said
    code, said = run("env", "--data-dir", tmp_path / "data")
    assert code == 1 and "run `neargate up` first" in said


def test_commands_before_any_start_say_so(tmp_path):
    code, said = run("env", "--data-dir", tmp_path)
    assert code == 1 and "no Neargate was started" in said
    code, said = run("down", "--data-dir", tmp_path)
    assert code == 0 and "Nothing to stop" in said


def test_a_folder_of_other_files_is_left_as_it_is(tmp_path):
    (tmp_path / "letter").write_text("dear")
    tmp_path.chmod(0o755)
    for command in (["up", "--simulated-nodes", "1"], ["images", "list"]):
        code, said = run(*command, "--data-dir", tmp_path)
        assert code == 1 and "not Neargate's" in said
    assert [p.name for p in tmp_path.iterdir()] == ["letter"] and tmp_path.stat().st_mode & 0o777 == 0o755


def test_half_a_root_key_is_refused_and_a_whole_one_taken_and_kept(tmp_path):
    given = {"NEARGATE_ROOT_ACCESS_KEY_ID": "AKIACHOSEN", "NEARGATE_ROOT_SECRET_ACCESS_KEY": "chosen-secret"}
    for name in given:
        code, said = run("up", "--data-dir", tmp_path / "half", "--simulated-nodes", "1", env={name: given[name]})
        assert code == 1 and "set both or neither" in said
    data = tmp_path / "data"
    data.mkdir()
    for extra in (given, {}):
        with Neargate("--simulated-nodes", "1", data=data, env=extra) as running:
            assert running.env["AWS_ACCESS_KEY_ID"] == "AKIACHOSEN"
            assert running.client("sts").get_caller_identity()["Account"] == "000000000000"
    assert (data / "credentials.json").stat().st_mode & 0o077 == 0


def test_a_second_up_a_used_port_and_another_account_are_refused(sim, tmp_path):
    code, said = run("up", "--data-dir", sim.data, "--simulated-nodes", "1")
    assert code == 1 and "already runs with the data directory" in said
    code, said = run("up", "--data-dir", tmp_path, "--simulated-nodes", "1", "--listen", f"127.0.0.1:{sim.port}")
    assert code == 1 and "choose another with --listen" in said
    with Neargate("--simulated-nodes", "1", data=tmp_path):
        pass
    code, said = run("up", "--data-dir", tmp_path, "--simulated-nodes", "1", "--account", "123456789012")
    assert code == 1 and "belongs to account 000000000000" in said


def test_any_free_port_is_found_and_told(tmp_path):
    up = subprocess.Popen([BINARY, "up", "--data-dir", tmp_path, "--simulated-nodes", "1", "--listen", "localhost:0"], stdout=subprocess.PIPE, text=True)
    try:
        url = up.stdout.readline().split()[-1]
        assert not url.endswith(":0")
        assert f"AWS_ENDPOINT_URL={url}\n" in run("env", "--data-dir", tmp_path)[1]
    finally:
        up.terminate()
        assert up.wait(30) == 0
        up.stdout.close()


def test_a_clash_of_networks_is_told_at_start(tmp_path):
    route = ["unreachable", "10.99.0.0/16", "metric", "4999"]
    subprocess.run(["ip", "route", "add", *route], check=True)
    try:
        code, said = run("up", "--data-dir", tmp_path, "--listen", f"127.0.0.1:{free_port()}", "--vpc-cidr", "10.99.0.0/16", "--bridge-cidr", "198.18.63.0/24",
                         "--public-cidr", "198.19.63.0/24")
    finally:
        subprocess.run(["ip", "route", "del", *route], check=True)
    assert code == 1 and "overlaps 10.99.0.0/16" in said and "--vpc-cidr 10." in said
    assert "is up" not in said and said.count("overlaps") == 1
    assert run("env", "--data-dir", tmp_path)[0] == 1


def test_a_runtime_that_is_not_there_is_told_at_start_and_down_needs_none(tmp_path):
    ranges = ["--vpc-cidr", "10.64.0.0/16", "--bridge-cidr", "198.18.64.0/24", "--public-cidr", "198.19.64.0/24"]
    up = ["up", "--data-dir", tmp_path / "data", "--listen", f"127.0.0.1:{free_port()}", *ranges]
    code, said = run(*up, "--runtime", "nonesuch")
    assert code == 1 and "--runtime nonesuch: no such program" in said and "is up" not in said
    code, said = run(*up, "--runtime", "/bin/true")
    assert code == 1 and "--runtime /bin/true: it is not an OCI runtime" in said and "is up" not in said
    assert run("env", "--data-dir", tmp_path / "data")[0] == 1
    gone = tmp_path / "runtime"
    gone.symlink_to(shutil.which("runc"))
    with Neargate("--runtime", str(gone), *ranges, data=tmp_path / "data") as running:
        running.stop()
        gone.unlink()
        assert running.neargate("down").returncode == 0


def test_simulated_nodes_need_no_root():
    # The test's own folder is closed to others.
    home = pathlib.Path(f"/tmp/neargate-nobody-{os.getpid()}")
    home.mkdir()
    binary = home / "program"
    try:
        shutil.copy(BINARY, binary)
        os.chown(home, NOBODY, NOBODY)
        env = {"PATH": os.environ["PATH"], "XDG_DATA_HOME": str(home)}
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": [], "env": env, "text": True}
        without = subprocess.run([binary, "up"], capture_output=True, **user)
        assert without.returncode == 1 and "--simulated-nodes" in without.stderr
        up = subprocess.Popen([binary, "up", "--simulated-nodes", "2", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, **user)
        try:
            assert "Neargate is up" in up.stdout.readline()
            assert subprocess.run([binary, "env"], capture_output=True, **user).returncode == 0
            assert subprocess.run([binary, "down"], capture_output=True, **user).returncode == 0
            assert up.wait(30) == 0
        finally:
            up.kill()
            up.wait()
            up.stdout.close()
    finally:
        shutil.rmtree(home)


def test_a_range_with_tasks_in_it_stays_until_they_are_stopped(tmp_path):
    running = Neargate("--simulated-nodes", "1", "--vpc-cidr", "10.64.0.0/16", data=tmp_path).start()
    try:
        ecs, subnets = running.client("ecs"), running.client("ec2").describe_subnets()["Subnets"]
        ecs.create_cluster(clusterName="c")
        ecs.register_task_definition(family="t", networkMode="awsvpc", containerDefinitions=[{"name": "a", "image": "any", "memory": 16}])
        network = {"awsvpcConfiguration": {"subnets": [subnets[0]["SubnetId"]]}}
        task = ecs.run_task(cluster="c", taskDefinition="t", networkConfiguration=network)["tasks"][0]["taskArn"]
        running.stop()
        other = ["up", "--data-dir", tmp_path, "--simulated-nodes", "1", "--listen", f"127.0.0.1:{running.port}", "--vpc-cidr", "10.65.0.0/16"]
        code, said = run(*other)
        assert code == 1 and "start with --vpc-cidr 10.64.0.0/16" in said
        # What the refused start asked for is forgotten.
        running.args = ("--simulated-nodes", "1")
        running.start()
        ecs, ec2 = running.client("ecs"), running.client("ec2")
        assert ec2.describe_vpcs()["Vpcs"][0]["CidrBlock"] == "10.64.0.0/16"
        ecs.stop_task(cluster="c", task=task)
        wait_for(lambda: ecs.describe_tasks(cluster="c", tasks=[task])["tasks"][0]["lastStatus"] == "STOPPED", "the task to stop")
        running.stop()
        running.args = ("--simulated-nodes", "1", "--vpc-cidr", "10.65.0.0/16")
        running.start()
        assert running.client("ec2").describe_vpcs()["Vpcs"][0]["CidrBlock"] == "10.65.0.0/16"
    finally:
        running.down()


def test_up_starts_at_once_after_it_was_killed(tmp_path):
    running = Neargate("--simulated-nodes", "2", data=tmp_path).start()
    try:
        running.client("ecs").create_cluster(clusterName="kept")
        running.process.kill()
        running.process.wait()
        running.start()
        assert running.client("ecs").describe_clusters(clusters=["kept"])["clusters"][0]["status"] == "ACTIVE"
    finally:
        running.down()


def test_run_task_is_acknowledged_once_while_control_is_killed(sim, cluster):
    ecs = sim.client("ecs")
    ecs.register_task_definition(family="killed", containerDefinitions=[{"name": "a", "image": "any", "memory": 16}])
    acknowledged, done = [], threading.Event()

    def start_all():
        # A call cut off by the kill is sent again with its token, which must not run it twice.
        for n in range(40):
            for _ in range(10):
                try:
                    answer = sim.client("ecs", read_timeout=30).run_task(cluster=cluster, taskDefinition="killed", clientToken=f"{cluster[:20]}-{n}")
                except Exception:
                    continue
                acknowledged.extend(task["taskArn"] for task in answer["tasks"])
                break
        done.set()

    caller = threading.Thread(target=start_all)
    caller.start()
    for seen in (5, 15, 25):
        wait_for(lambda: len(acknowledged) >= seen or done.is_set(), f"{seen} tasks")
        os.kill(sim.pid_of("control"), 9)
    caller.join(60)
    assert len(set(acknowledged)) == 40
    listed = [arn for page in ecs.get_paginator("list_tasks").paginate(cluster=cluster) for arn in page["taskArns"]]
    assert sorted(listed) == sorted(set(acknowledged))


def test_images_come_from_layouts_and_archives(tmp_path):
    data = tmp_path / "data"
    images.busybox(tmp_path / "layout", "my/app:1")
    said = run("images", "load", tmp_path / "layout", "--data-dir", data)
    assert said[0] == 0 and "Loaded docker.io/my/app:1  sha256:" in said[1]
    subprocess.run(["tar", "cf", tmp_path / "oci.tar", "-C", tmp_path / "layout", "."], check=True)
    assert run("images", "load", tmp_path / "oci.tar", "--name", "my/oci:2", "--data-dir", data)[0] == 0
    if shutil.which("skopeo"):
        archive = tmp_path / "docker.tar"
        subprocess.run(["skopeo", "copy", "-q", f"oci:{tmp_path}/layout:my/app:1", f"docker-archive:{archive}:my/docker:3"], check=True)
        (tmp_path / "docker.tar.gz").write_bytes(gzip.compress(archive.read_bytes(), 1))
        assert "my/docker:3" in run("images", "load", tmp_path / "docker.tar.gz", "--data-dir", data)[1]
    listed = run("images", "list", "--data-dir", data)[1]
    assert "my/app:1" in listed and "my/oci:2" in listed
    assert run("images", "remove", "my/app:1", "--data-dir", data)[0] == 0
    code, said = run("images", "remove", "my/app:1", "--data-dir", data)
    assert code == 1 and "images list" in said


def test_files_that_are_no_images_are_told_apart(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("hello " * 1000)
    images.busybox(tmp_path / "layout")
    next(p for p in (tmp_path / "layout/blobs/sha256").iterdir() if p.stat().st_size > 100_000).unlink()
    for path, words in (("none", "No such file"), ("empty", "neither an OCI layout"), ("text", "no tar archive"), ("layout", "lacks blobs/sha256/")):
        code, said = run("images", "load", tmp_path / path, "--data-dir", tmp_path / "data")
        assert code == 1 and words in said, said


def test_presigned_calls_are_verified_whole(sim):
    url = sim.client("sts").generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    path = url[len(sim.env["AWS_ENDPOINT_URL"]):]

    def get(path):
        connection = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    assert get(path)[0] == 200
    for changed in (path.replace("Expires=60", "Expires=61"), path.replace("GetCallerIdentity", "GetSessionToken")):
        status, text = get(changed)
        assert status == 403 and "SignatureDoesNotMatch" in text


@pytest.mark.parametrize(
    "more, status, code",
    [
        ({}, 200, "clusterArns"),
        ({"body": gzip.compress(b"{}"), "headers": {**ECS, "Content-Encoding": "gzip"}}, 200, "clusterArns"),
        ({"body": b"no gzip", "headers": {**ECS, "Content-Encoding": "gzip"}}, 400, "SerializationException"),
        ({"body": gzip.compress(bytes(50_000_000), 1), "headers": {**ECS, "Content-Encoding": "gzip"}}, 413, "RequestEntityTooLarge"),
        ({"sent": b"[]"}, 400, "InvalidSignatureException"),
        ({"headers": {**ECS, "X-Amz-Content-SHA256": "0" * 64}}, 400, "InvalidSignatureException"),
        ({"token": "session"}, 400, "UnrecognizedClientException"),
        ({"service": "logs"}, 400, "InvalidSignatureException"),
        ({"headers": {**ECS, "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.Frob"}}, 400, "UnknownOperationException"),
        ({"service": "sts", "headers": QUERY, "body": b"Action=Frob&Version=2011-06-15"}, 400, "InvalidAction"),
        ({"service": "ec2", "headers": QUERY, "body": b"Action=RunInstances&Version=2016-11-15"}, 400, "UnsupportedOperation"),
        ({"service": "s3", "headers": {}, "body": b"", "method": "GET", "path": "/bucket"}, 400, "NotImplemented"),
    ],
)
def test_the_front_door_answers_as_aws_does(sim, more, status, code):
    got, text = signed(sim, **{"body": b"{}", "headers": ECS, **more})
    assert (got, code in text) == (status, True), text


def test_one_connection_carries_pipelined_and_chunked_requests(sim):
    key = Credentials(sim.env["AWS_ACCESS_KEY_ID"], sim.env["AWS_SECRET_ACCESS_KEY"])
    request = AWSRequest(method="POST", url=sim.env["AWS_ENDPOINT_URL"] + "/", data=b"{}", headers=dict(ECS))
    SigV4Auth(key, "ecs", "us-east-1").add_auth(request)
    head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{sim.port}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in request.headers.items() if k.lower() != "content-length")
    whole = (head + "Content-Length: 2\r\n\r\n{}").encode()
    chunked = (head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n").encode()
    with socket.create_connection(("127.0.0.1", sim.port), timeout=10) as connection:
        connection.sendall(whole * 3 + chunked)
        got = b""
        while got.count(b"clusterArns") < 4:
            part = connection.recv(65536)
            assert part, got
            got += part
    assert got.count(b"HTTP/1.1 200") == 4


def test_health_needs_no_signature(sim):
    connection = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=10)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.status == 200 and b'"status":"ok"' in answer.read()
    connection.close()


def test_quotas_are_raised_at_start_and_stay_raised(tmp_path):
    def authorized(ec2, group, count):
        rules = [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "10.9.0.0/16"}]} for port in range(1, count + 1)]
        try:
            ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rules)
        except ClientError as error:
            return error.response["Error"]["Code"]
        return "authorized"

    raised = ["--quota", "rules-per-security-group=70", "--quota", "rules-per-application-load-balancer=120"]
    for flags, most in [([], 60), (raised, 70), ([], 70)]:
        with Neargate("--simulated-nodes", "1", "--vpc-cidr", "10.64.0.0/16", *flags, data=tmp_path) as running:
            ec2 = running.client("ec2")
            group = ec2.create_security_group(GroupName=f"of-{most}-{len(flags)}", Description="many rules")["GroupId"]
            assert authorized(ec2, group, most + 1) == "RulesPerSecurityGroupLimitExceeded"
            assert authorized(ec2, group, most) == "authorized"
            limits = {limit["Name"]: limit["Max"] for limit in running.client("elbv2").describe_account_limits()["Limits"]}
            assert limits["rules-per-application-load-balancer"] == ("120" if most == 70 else "100")
