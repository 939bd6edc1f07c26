"""Bad input, tried for real: each gets a clear error or stopped reason, and nothing else is harmed."""

import base64
import json
import os
import pathlib
import subprocess
import time

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

import images
from neargate import Neargate, wait_for
from registry import Registry
from test_engine import Runner, pid_of_container

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")


@pytest.fixture(scope="module")
def run(real):
    real.client("ecs").create_cluster(clusterName="hostile")
    return Runner(real, "hostile")


@pytest.mark.parametrize("name, files", [
    ("dotdot", {"../../../../../../tmp/neargate-escaped": ("file", b"x", 0o644)}),
    ("absolute", {"/tmp/neargate-escaped": ("file", b"x", 0o644)}),
    ("symlink", {"out": ("link", "/tmp", 0o777), "out/neargate-escaped": ("file", b"x", 0o644)}),
    ("relative-symlink", {"out": ("link", "../../../../../../../../../../tmp", 0o777), "out/neargate-escaped": ("file", b"x", 0o644)}),
    ("hardlink", {"shadow": ("hard", "/etc/shadow", 0o644)}),
    ("hardlink-dotdot", {"shadow": ("hard", "../../../../../../../../../etc/shadow", 0o644)}),
])
def test_layers_cannot_write_outside_the_image(real, tmp_path, name, files):
    images.write_layout(tmp_path / "layout", f"evil-{name}:1", [images.layer(files)])
    loaded = real.neargate("images", "load", str(tmp_path / "layout"), check=False)
    assert not pathlib.Path("/tmp/neargate-escaped").exists()
    if loaded.returncode == 0:
        # What is taken stays inside: the layer's own tree.
        for found in (real.data / "images").rglob("shadow"):
            assert not os.path.samefile(found, "/etc/shadow")
    else:
        assert "neargate:" in loaded.stderr and len(loaded.stderr) > 30


def test_a_corrupt_layer_is_refused(real, tmp_path):
    images.busybox(tmp_path / "layout", "corrupt:1", unlike=True)
    biggest = max((tmp_path / "layout/blobs/sha256").iterdir(), key=lambda p: p.stat().st_size)
    data = bytearray(biggest.read_bytes())
    data[len(data) // 2] ^= 0xFF
    biggest.write_bytes(data)
    loaded = real.neargate("images", "load", str(tmp_path / "layout"), check=False)
    assert loaded.returncode != 0
    assert "digest" in loaded.stderr.lower(), loaded.stderr
    assert "corrupt:1" not in real.neargate("images", "list").stdout


@pytest.mark.parametrize("fault, words", [
    ("missing", ["not found", "manifest unknown"]),
    ("rate", ["rate limit"]),
    ("corrupt", ["digest"]),
    ("denied", ["denied", "authentication", "unauthorized", "credentials"]),
])
def test_a_registry_that_refuses_is_told_plainly(run, tmp_path, fault, words):
    images.busybox(tmp_path / "layout", "x:1", unlike=True)
    with Registry(tmp_path / "layout", fault) as registry:
        arn = run.run([{"name": "c", "image": f"{registry.host}/app/{fault}:1", "command": ["true"]}])
        ended = run.until(arn, "STOPPED", 60)
    assert ended["stopCode"] == "TaskFailedToStart"
    reason = ended["stoppedReason"] + ended["containers"][0].get("reason", "")
    assert "CannotPullContainerError" in reason
    assert any(word in reason.lower() for word in words), reason


def test_a_registry_that_stalls_harms_no_other_task(run, tmp_path):
    images.busybox(tmp_path / "layout", "x:1", unlike=True)
    with Registry(tmp_path / "layout", "stall") as registry:
        stuck = run.run([{"name": "c", "image": f"{registry.host}/app/stall:1", "command": ["true"]}])
        other, lines = run.sh("echo fine")
        assert lines == ["fine"]
        run.ecs.stop_task(cluster=run.cluster, task=stuck, reason="waited long enough")
        ended = run.until(stuck, "STOPPED", 30)
        assert ended["stoppedReason"] == "waited long enough"


def test_an_image_is_pulled_from_a_registry(run, tmp_path):
    images.busybox(tmp_path / "layout", "x:1", unlike=True)
    with Registry(tmp_path / "layout") as registry:
        ended, lines = run.sh("echo pulled", image=f"{registry.host}/app/good:1")
        assert lines == ["pulled"]
        assert ended["containers"][0]["imageDigest"].startswith("sha256:")
        assert ended["pullStartedAt"] <= ended["pullStoppedAt"]


def test_a_docker_login_is_used(run, tmp_path):
    images.busybox(tmp_path / "layout", "x:1", unlike=True)
    with Registry(tmp_path / "layout", account=("me", "s3cret")) as registry:
        image = f"{registry.host}/private/app:1"
        ended = run.until(run.run([{"name": "c", "image": image, "command": ["true"]}]), "STOPPED")
        assert "CannotPullContainerError" in ended["stoppedReason"] + ended["containers"][0].get("reason", "")
        auth = base64.b64encode(b"me:s3cret").decode()
        run.real.registry_accounts.write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
        _, lines = run.sh("echo private", image=image)
        assert lines == ["private"]
        assert "s3cret" not in run.real.log_text()


def test_forks_without_end_are_bounded(run):
    bomb = run.run([{"name": "c", "command": ["sh", "-c", "f() { f | f & }; f; sleep 600"]}])
    other, lines = run.sh("echo alive")
    assert lines == ["alive"]
    begin = time.monotonic()
    run.ecs.describe_clusters(clusters=[run.cluster])
    assert time.monotonic() - begin < 5
    run.ecs.stop_task(cluster=run.cluster, task=bomb)
    # Half a minute of it is the time that the shell has to heed SIGTERM.
    run.until(bomb, "STOPPED", 90)


def test_a_flooded_log_fills_no_disk_and_harms_no_other(run):
    flood = run.run([{"name": "c", "command": ["yes", "a line that is repeated without end"]}])
    run.until(flood, "RUNNING")
    other, lines = run.sh("echo still here")
    assert lines == ["still here"]
    size = sum(p.stat().st_size for p in (run.real.data / "logs").rglob("*") if p.is_file())
    assert size < 200 << 20
    run.ecs.stop_task(cluster=run.cluster, task=flood)
    run.until(flood, "STOPPED", 60)


def test_a_full_disk_refuses_writes_and_recovers(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], check=True)
    try:
        with Neargate("--simulated-nodes", "1", "--vpc-cidr", "10.64.0.0/16", data=disk / "data") as own:
            ecs = own.client("ecs")
            for name in ("before", "ended"):
                ecs.create_cluster(clusterName=name)
            filler = disk / "filler"
            with open(filler, "wb") as f:
                try:
                    while True:
                        f.write(b"\0" * (1 << 20))
                        f.flush()
                except OSError:
                    pass
            refused = 0
            for i in range(400):
                try:
                    ecs.create_cluster(clusterName=f"full-{i}", tags=[{"key": "k", "value": "v" * 200}])
                except ClientError as e:
                    assert e.response["ResponseMetadata"]["HTTPStatusCode"] >= 500, e
                    assert "Free space on its disk" in e.response["Error"]["Message"], e
                    refused += 1
                    break
                except (EndpointConnectionError, ReadTimeoutError) as e:
                    pytest.fail(f"no answer on a full disk: {e}")
            assert refused, "the disk was not full"
            # What ends something goes on in the room that is kept for it.
            ecs.delete_cluster(cluster="ended")
            assert ecs.describe_clusters(clusters=["before"])["clusters"][0]["status"] == "ACTIVE"
            filler.unlink()
            wait_for(lambda: ecs.create_cluster(clusterName="after"), "works again")
            own.stop()
            own.start()
            listed = own.client("ecs").list_clusters(maxResults=100)["clusterArns"]
            names = {arn.split("/")[1] for arn in listed}
            assert {"before", "after"} <= names
            assert f"full-{i}" not in names
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_task_cannot_reach_the_control_endpoint_or_host_services(run):
    port = run.real.port
    _, lines = run.sh(f"nc -w 2 10.62.0.2 {port} </dev/null && echo reached || echo refused; nc -w 2 127.0.0.1 {port} </dev/null && echo reached || echo refused")
    assert [line for line in lines if line in ("reached", "refused")] == ["refused", "refused"]


def test_secrets_are_private_on_disk(real):
    assert (real.data / "credentials.json").stat().st_mode & 0o077 == 0
    assert real.data.stat().st_mode & 0o077 == 0
    secret = real.env["AWS_SECRET_ACCESS_KEY"]
    assert secret not in real.log_text()
