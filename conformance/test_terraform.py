"""Terraform with the real AWS provider: the example that lies in examples/terraform, from nothing to nothing."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

import images
from neargate import ROOT, Neargate, wait_for

TERRAFORM = shutil.which("terraform")
MIRROR = next((p for p in ("/opt/tf-plugins", os.path.expanduser("~/.terraform.d/plugins")) if pathlib.Path(p).is_dir()), None)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
    pytest.mark.skipif(TERRAFORM is None, reason="terraform is not installed"),
]

LOOPBACK = "127.77.0.1"
WEB = b'#!/bin/sh\necho "version $VERSION" > /tmp/index.html\nexec httpd -f -p 80 -h /tmp\n'


@pytest.fixture(scope="module")
def ng(tmp_path_factory):
    with Neargate("--healthy-after", "1", "--vpc-cidr", "10.77.0.0/16", "--bridge-cidr", "198.18.77.0/24",
                  "--public-cidr", "198.19.77.0/24", "--load-balancer-listen", LOOPBACK) as running:
        for version in ("1", "2"):
            layout = tmp_path_factory.mktemp("images") / version
            layers = [images.busybox_layer({"start": ("file", WEB, 0o755)})]
            images.write_layout(layout, f"web:{version}", layers, {"Cmd": ["/start"], "Env": [f"VERSION={version}", "PATH=/bin"]})
            running.neargate("images", "load", str(layout))
        yield running


class Terraform:
    def __init__(self, ng, folder):
        self.folder = folder
        shutil.copy(ROOT / "examples/terraform/main.tf", folder)
        config = folder / "terraformrc"
        mirror = f'filesystem_mirror {{ path = "{MIRROR}" }}\n  ' if MIRROR else "direct {}\n"
        config.write_text(f"provider_installation {{\n  {mirror}}}\n")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TF_"))}
        self.env = {**env, **ng.env, "TF_CLI_CONFIG_FILE": str(config), "TF_IN_AUTOMATION": "1"}

    def __call__(self, *args, ok=(0,)):
        done = subprocess.run([TERRAFORM, *args, "-no-color"], cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert done.returncode in ok, done.stdout[-4000:] + done.stderr[-4000:]
        return done


def answer(url):
    host = url.removeprefix("http://")
    done = subprocess.run(["curl", "-sS", "--max-time", "5", "--connect-to", f"{host}:80:{LOOPBACK}:80", url], capture_output=True, text=True)
    return done.stdout.strip()


def test_a_stack_is_applied_planned_empty_rolled_out_and_destroyed(ng, tmp_path):
    terraform = Terraform(ng, tmp_path)
    terraform("init")
    terraform("apply", "-auto-approve", "-var", "image=web:1")
    url = json.loads(terraform("output", "-json").stdout)["url"]["value"]
    wait_for(lambda: answer(url) == "version 1", "the service answers", 30)
    again = terraform("plan", "-detailed-exitcode", "-var", "image=web:1", ok=(0, 2))
    assert again.returncode == 0, again.stdout[-4000:]
    terraform("apply", "-auto-approve", "-var", "image=web:2")
    wait_for(lambda: answer(url) == "version 2", "the new image answers", 30)
    terraform("destroy", "-auto-approve", "-var", "image=web:2")
    ec2, elb, ecs = ng.client("ec2"), ng.client("elbv2"), ng.client("ecs")
    assert [v["CidrBlock"] for v in ec2.describe_vpcs()["Vpcs"]] == ["10.77.0.0/16"]
    assert not elb.describe_load_balancers()["LoadBalancers"] and not elb.describe_target_groups()["TargetGroups"]
    assert not ecs.list_clusters()["clusterArns"]
    assert not ec2.describe_addresses()["Addresses"]
    wait_for(lambda: not ec2.describe_network_interfaces()["NetworkInterfaces"], "every interface is gone", 30)
