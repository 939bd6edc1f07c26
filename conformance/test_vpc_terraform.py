"""The VPC resources of Terraform's AWS provider, on simulated nodes: applied, planned empty, changed, destroyed to nothing."""

import os
import pathlib
import shutil
import subprocess

import pytest

from neargate import ROOT, Neargate

TERRAFORM = shutil.which("terraform")
MIRROR = next((p for p in ("/opt/tf-plugins", os.path.expanduser("~/.terraform.d/plugins")) if pathlib.Path(p).is_dir()), None)

pytestmark = pytest.mark.skipif(TERRAFORM is None, reason="terraform is not installed")


@pytest.fixture(scope="module")
def ng():
    with Neargate("--simulated-nodes", "1", "--vpc-cidr", "10.71.0.0/16", "--public-cidr", "198.19.71.0/24") as running:
        yield running


def there(ec2):
    """Whatever a person can see of the network, but deleted NAT gateways, which are shown for an hour."""
    left = {
        "vpcs": [v["VpcId"] for v in ec2.describe_vpcs()["Vpcs"]],
        "subnets": [s["SubnetId"] for s in ec2.describe_subnets()["Subnets"]],
        "tables": [(t["RouteTableId"], t["Routes"]) for t in ec2.describe_route_tables()["RouteTables"]],
        "gateways": [g["InternetGatewayId"] for g in ec2.describe_internet_gateways()["InternetGateways"]],
        "addresses": ec2.describe_addresses()["Addresses"],
        "interfaces": ec2.describe_network_interfaces()["NetworkInterfaces"],
        "groups": [g["GroupId"] for g in ec2.describe_security_groups()["SecurityGroups"]],
        "rules": [r["SecurityGroupRuleId"] for r in ec2.describe_security_group_rules()["SecurityGroupRules"]],
        "endpoints": ec2.describe_vpc_endpoints()["VpcEndpoints"],
        "lists": [p["PrefixListId"] for p in ec2.describe_managed_prefix_lists()["PrefixLists"]],
        "nat": [n["NatGatewayId"] for n in ec2.describe_nat_gateways()["NatGateways"] if n["State"] != "deleted"],
    }
    return {kind: sorted(items, key=str) for kind, items in left.items()}


@pytest.fixture()
def terraform(ng, tmp_path):
    """Runs Terraform where the test's files are; answers what it wrote on standard error."""
    config = tmp_path / "terraformrc"
    source = f'filesystem_mirror {{\n    path = "{MIRROR}"\n  }}' if MIRROR else "direct {}"
    config.write_text(f"provider_installation {{\n  {source}\n}}\n")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TF_"))}
    env = {**env, **ng.env, "TF_CLI_CONFIG_FILE": str(config), "TF_IN_AUTOMATION": "1"}

    def run(*args, fails=False):
        done = subprocess.run([TERRAFORM, *args, "-no-color"], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stderr

    return run


@pytest.mark.parametrize("stack", ["vpc", "vpc_parts"])
def test_a_stack_is_applied_planned_empty_changed_and_destroyed(ng, terraform, tmp_path, stack):
    shutil.copy(ROOT / f"conformance/terraform/{stack}.tf", tmp_path / "main.tf")
    ec2 = ng.client("ec2")
    before = there(ec2)
    terraform("init")
    for changed in ("false", "true"):
        terraform("apply", "-auto-approve", "-var", f"changed={changed}")
        terraform("plan", "-detailed-exitcode", "-var", f"changed={changed}")
    assert there(ec2) != before
    terraform("destroy", "-auto-approve", "-var", "changed=true")
    assert there(ec2) == before


def test_a_nat_gateway_that_fails_is_told_and_destroyed(ng, terraform, tmp_path):
    shutil.copy(ROOT / "conformance/terraform/vpc_failed_nat.tf", tmp_path / "main.tf")
    ec2 = ng.client("ec2")
    before = there(ec2)
    terraform("init")
    told = " ".join(terraform("apply", "-auto-approve", fails=True).replace("│", " ").split())
    assert "unexpected state 'failed', wanted target 'available'. last error: Gateway.NotAttached: Network vpc-" in told
    terraform("destroy", "-auto-approve")
    assert there(ec2) == before
