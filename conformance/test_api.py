"""The API by boto3, on simulated nodes: shapes, states, errors, paging."""

import datetime
import json
import time
import urllib.error
import urllib.request

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from neargate import wait_for

CONTAINER = {"name": "app", "image": "any/image:1", "essential": True}


def code_of(call, **kwargs):
    with pytest.raises(ClientError) as caught:
        call(**kwargs)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def subnets(sim):
    return [s["SubnetId"] for s in sim.client("ec2").describe_subnets()["Subnets"]]


def network(sim):
    return {"awsvpcConfiguration": {"subnets": subnets(sim), "assignPublicIp": "ENABLED"}}


def fargate(ecs, family, **container):
    return ecs.register_task_definition(
        family=family, networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
        containerDefinitions=[{**CONTAINER, **container}],
    )["taskDefinition"]["taskDefinitionArn"]


def test_caller_identity_is_the_accounts_root(sim):
    identity = sim.client("sts").get_caller_identity()
    assert identity["Arn"] == "arn:aws:iam::000000000000:root"
    assert identity["Account"] == "000000000000"


def test_a_cluster_is_created_described_listed_and_deleted(ecs):
    made = ecs.create_cluster(clusterName="life", tags=[{"key": "team", "value": "a"}],
                              settings=[{"name": "containerInsights", "value": "disabled"}])["cluster"]
    assert made["clusterArn"] == "arn:aws:ecs:us-east-1:000000000000:cluster/life"
    assert made["status"] == "ACTIVE"
    described = ecs.describe_clusters(clusters=["life", "nowhere"], include=["TAGS", "SETTINGS", "STATISTICS"])
    assert described["clusters"][0]["tags"] == [{"key": "team", "value": "a"}]
    assert described["clusters"][0]["settings"] == [{"name": "containerInsights", "value": "disabled"}]
    assert described["failures"][0]["reason"] == "MISSING"
    assert made["clusterArn"] in ecs.list_clusters()["clusterArns"]
    assert ecs.delete_cluster(cluster="life")["cluster"]["status"] == "INACTIVE"
    assert made["clusterArn"] not in ecs.list_clusters()["clusterArns"]
    assert code_of(ecs.delete_cluster, cluster="neverwas")[0] == "ClusterNotFoundException"


def test_clusters_page_with_opaque_tokens(ecs):
    names = {f"page-{i}" for i in range(7)}
    for name in names:
        ecs.create_cluster(clusterName=name)
    seen = [arn for page in ecs.get_paginator("list_clusters").paginate(PaginationConfig={"PageSize": 2}) for arn in page["clusterArns"]]
    assert len(seen) == len(set(seen))
    assert names <= {arn.split("/")[-1] for arn in seen}
    assert code_of(ecs.list_clusters, nextToken="nonsense")[0] == "InvalidParameterException"
    for name in names:
        ecs.delete_cluster(cluster=name)


def test_task_definitions_count_revisions_and_come_back_as_registered(ecs):
    first = fargate(ecs, "family")
    second = fargate(ecs, "family", command=["a", "b"], environment=[{"name": "A", "value": "1"}])
    revision = int(first.rsplit(":", 1)[1])
    assert second.endswith(f"family:{revision + 1}")
    described = ecs.describe_task_definition(taskDefinition="family", include=["TAGS"])
    definition = described["taskDefinition"]
    assert definition["taskDefinitionArn"] == second
    assert definition["containerDefinitions"][0]["command"] == ["a", "b"]
    assert "FARGATE" in definition["compatibilities"]
    assert definition["status"] == "ACTIVE"
    assert {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"} in definition["requiresAttributes"]
    ecs.deregister_task_definition(taskDefinition=first)
    assert ecs.describe_task_definition(taskDefinition=first)["taskDefinition"]["status"] == "INACTIVE"
    assert second in ecs.list_task_definitions(familyPrefix="family")["taskDefinitionArns"]
    assert first not in ecs.list_task_definitions(familyPrefix="family")["taskDefinitionArns"]


@pytest.mark.parametrize("change, words", [
    ({"cpu": "300"}, "No Fargate configuration exists for given values"),
    ({"networkMode": "bridge"}, "awsvpc"),
    ({"containerDefinitions": [CONTAINER, CONTAINER]}, "app"),
    ({"containerDefinitions": [{**CONTAINER, "essential": False}]}, "essential"),
    ({"containerDefinitions": [{**CONTAINER, "privileged": True}]}, "privileged"),
    ({"containerDefinitions": [{**CONTAINER, "links": ["x"]}]}, "links"),
    ({"containerDefinitions": [{**CONTAINER, "secrets": [{"name": "S", "valueFrom": "arn:aws:ssm:us-east-1:000000000000:parameter/x"}]}]}, "secrets"),
    ({"containerDefinitions": [{**CONTAINER, "firelensConfiguration": {"type": "fluentbit"}}]}, "firelens"),
    ({"containerDefinitions": [
        {**CONTAINER, "name": "a", "dependsOn": [{"containerName": "b", "condition": "START"}]},
        {**CONTAINER, "name": "b", "dependsOn": [{"containerName": "a", "condition": "START"}]}]}, "cyc"),
    ({"containerDefinitions": [
        {**CONTAINER, "name": "a", "portMappings": [{"containerPort": 80}]},
        {**CONTAINER, "name": "b", "portMappings": [{"containerPort": 80}]}]}, "port"),
    ({"volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]}, "efs"),
])
def test_what_cannot_be_is_refused_by_name(ecs, change, words):
    base = dict(family="refused", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
                containerDefinitions=[CONTAINER])
    code, message = code_of(ecs.register_task_definition, **{**base, **change})
    assert code in ("ClientException", "InvalidParameterException"), (code, message)
    assert words.lower() in message.lower(), message
    assert not ecs.list_task_definitions(familyPrefix="refused")["taskDefinitionArns"]


def test_a_task_runs_and_stops_with_every_timestamp(sim, ecs, cluster):
    fargate(ecs, "runs")
    task = ecs.run_task(cluster=cluster, taskDefinition="runs", launchType="FARGATE", networkConfiguration=network(sim),
                        startedBy="me", tags=[{"key": "k", "value": "v"}])["tasks"][0]
    assert task["lastStatus"] in ("PROVISIONING", "PENDING")
    ecs.get_waiter("tasks_running").wait(cluster=cluster, tasks=[task["taskArn"]], WaiterConfig={"Delay": 1})
    running = ecs.describe_tasks(cluster=cluster, tasks=[task["taskArn"]], include=["TAGS"])["tasks"][0]
    assert running["tags"] == [{"key": "k", "value": "v"}]
    assert running["startedBy"] == "me"
    assert running["group"] == "family:runs"
    details = {d["name"]: d["value"] for d in running["attachments"][0]["details"]}
    assert running["attachments"][0]["type"] == "ElasticNetworkInterface"
    assert details["privateIPv4Address"].startswith("10.61.")
    assert details["networkInterfaceId"].startswith("eni-")
    assert running["containers"][0]["networkInterfaces"][0]["privateIpv4Address"] == details["privateIPv4Address"]
    for name in ("createdAt", "pullStartedAt", "pullStoppedAt", "startedAt", "connectivityAt"):
        assert isinstance(running[name], datetime.datetime), name
    ecs.stop_task(cluster=cluster, task=task["taskArn"], reason="enough")
    ecs.get_waiter("tasks_stopped").wait(cluster=cluster, tasks=[task["taskArn"]], WaiterConfig={"Delay": 1})
    stopped = ecs.describe_tasks(cluster=cluster, tasks=[task["taskArn"]])["tasks"][0]
    assert stopped["stoppedReason"] == "enough"
    assert stopped["stopCode"] == "UserInitiated"
    for name in ("stoppingAt", "stoppedAt", "executionStoppedAt"):
        assert isinstance(stopped[name], datetime.datetime), name


def test_run_task_is_idempotent_by_client_token(sim, ecs, cluster):
    fargate(ecs, "token")
    ask = dict(cluster=cluster, taskDefinition="token", launchType="FARGATE", networkConfiguration=network(sim), clientToken="abc")
    first = ecs.run_task(**ask)["tasks"][0]["taskArn"]
    assert ecs.run_task(**ask)["tasks"][0]["taskArn"] == first
    assert code_of(ecs.run_task, **{**ask, "count": 2})[0] == "ConflictException"


def test_run_task_refuses_what_cannot_run(sim, ecs, cluster):
    fargate(ecs, "norun")
    ask = dict(cluster=cluster, taskDefinition="norun", launchType="FARGATE", networkConfiguration=network(sim))
    assert code_of(ecs.run_task, **{**ask, "cluster": "nowhere"})[0] == "ClusterNotFoundException"
    assert code_of(ecs.run_task, **{**ask, "count": 11})[0] == "InvalidParameterException"
    assert code_of(ecs.run_task, **{**ask, "taskDefinition": "nowhere"})[0] in ("ClientException", "InvalidParameterException")
    assert code_of(ecs.run_task, cluster=cluster, taskDefinition="norun", launchType="FARGATE")[0] == "InvalidParameterException"
    bad = {"awsvpcConfiguration": {"subnets": ["subnet-00000000000000000"]}}
    assert code_of(ecs.run_task, **{**ask, "networkConfiguration": bad})[0] == "InvalidParameterException"


def test_a_service_gets_steady_and_holds_its_count(sim, ecs, cluster):
    fargate(ecs, "svc")
    ecs.create_service(cluster=cluster, serviceName="web", taskDefinition="svc", desiredCount=3, launchType="FARGATE",
                       networkConfiguration=network(sim))
    ecs.get_waiter("services_stable").wait(cluster=cluster, services=["web"], WaiterConfig={"Delay": 1})
    service = ecs.describe_services(cluster=cluster, services=["web"])["services"][0]
    assert (service["runningCount"], service["desiredCount"], service["pendingCount"]) == (3, 3, 0)
    assert len(service["deployments"]) == 1
    wait_for(lambda: any("has reached a steady state" in e["message"] for e in
                         ecs.describe_services(cluster=cluster, services=["web"])["services"][0]["events"]), "steady", 20)
    before = set(ecs.list_tasks(cluster=cluster, serviceName="web")["taskArns"])
    victim = sorted(before)[0]
    ecs.stop_task(cluster=cluster, task=victim)

    def healed():
        now = ecs.list_tasks(cluster=cluster, serviceName="web")["taskArns"]
        described = ecs.describe_tasks(cluster=cluster, tasks=now)["tasks"] if now else []
        running = {t["taskArn"] for t in described if t["lastStatus"] == "RUNNING"}
        return victim not in running and len(running) == 3

    wait_for(healed, "the task is replaced")


def test_a_rolling_update_replaces_every_task_and_completes(sim, ecs, cluster):
    fargate(ecs, "roll")
    ecs.create_service(cluster=cluster, serviceName="web", taskDefinition="roll", desiredCount=4, launchType="FARGATE",
                       networkConfiguration=network(sim),
                       deploymentConfiguration={"minimumHealthyPercent": 50, "maximumPercent": 150})
    ecs.get_waiter("services_stable").wait(cluster=cluster, services=["web"], WaiterConfig={"Delay": 1})
    new = fargate(ecs, "roll", command=["v2"])
    ecs.update_service(cluster=cluster, service="web", taskDefinition="roll")

    def done():
        service = ecs.describe_services(cluster=cluster, services=["web"])["services"][0]
        deployments = service["deployments"]
        return len(deployments) == 1 and deployments[0]["rolloutState"] == "COMPLETED" and deployments[0]["taskDefinition"] == new

    wait_for(done, "the deployment completes", 60)
    tasks = ecs.describe_tasks(cluster=cluster, tasks=ecs.list_tasks(cluster=cluster, serviceName="web")["taskArns"])["tasks"]
    assert {t["taskDefinitionArn"] for t in tasks} == {new}
    arns = ecs.list_service_deployments(cluster=cluster, service="web")["serviceDeployments"]
    assert arns[0]["status"] == "SUCCESSFUL"
    detail = ecs.describe_service_deployments(serviceDeploymentArns=[arns[0]["serviceDeploymentArn"]])["serviceDeployments"][0]
    revision = ecs.describe_service_revisions(serviceRevisionArns=[detail["targetServiceRevision"]["arn"]])["serviceRevisions"][0]
    assert revision["taskDefinition"] == new


def test_the_circuit_breaker_rolls_back(sim, ecs, cluster):
    good = fargate(ecs, "breaker")
    ecs.create_service(cluster=cluster, serviceName="web", taskDefinition="breaker", desiredCount=2, launchType="FARGATE",
                       networkConfiguration=network(sim),
                       deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": True}})

    def completed():
        deployments = ecs.describe_services(cluster=cluster, services=["web"])["services"][0]["deployments"]
        return len(deployments) == 1 and deployments[0]["rolloutState"] == "COMPLETED"

    wait_for(completed, "a deployment to roll back to")
    fargate(ecs, "breaker", environment=[{"name": "NEARGATE_SIM_EXIT_AFTER_MS", "value": "10"}, {"name": "NEARGATE_SIM_EXIT_CODE", "value": "1"}])
    ecs.update_service(cluster=cluster, service="web", taskDefinition="breaker")

    def rolled_back():
        service = ecs.describe_services(cluster=cluster, services=["web"])["services"][0]
        return service["taskDefinition"] == good and len(service["deployments"]) == 1 and service["runningCount"] == 2

    wait_for(rolled_back, "rolled back", 120)
    statuses = [d["status"] for d in ecs.list_service_deployments(cluster=cluster, service="web")["serviceDeployments"]]
    assert any(s.startswith("ROLLBACK") for s in statuses), statuses


def test_deleting_a_service_drains_it(sim, ecs, cluster):
    fargate(ecs, "gone")
    ecs.create_service(cluster=cluster, serviceName="web", taskDefinition="gone", desiredCount=2, launchType="FARGATE",
                       networkConfiguration=network(sim))
    ecs.get_waiter("services_stable").wait(cluster=cluster, services=["web"], WaiterConfig={"Delay": 1})
    assert code_of(ecs.delete_service, cluster=cluster, service="web")[0] == "InvalidParameterException"
    assert ecs.delete_service(cluster=cluster, service="web", force=True)["service"]["status"] == "DRAINING"
    ecs.get_waiter("services_inactive").wait(cluster=cluster, services=["web"], WaiterConfig={"Delay": 1})
    assert ecs.list_tasks(cluster=cluster)["taskArns"] == []


def test_tags_protection_and_settings(sim, ecs, cluster):
    fargate(ecs, "tags")
    service = ecs.create_service(cluster=cluster, serviceName="web", taskDefinition="tags", desiredCount=1, launchType="FARGATE",
                                 networkConfiguration=network(sim), tags=[{"key": "a", "value": "1"}], propagateTags="SERVICE",
                                 enableECSManagedTags=True)["service"]
    ecs.get_waiter("services_stable").wait(cluster=cluster, services=["web"], WaiterConfig={"Delay": 1})
    task = ecs.list_tasks(cluster=cluster)["taskArns"][0]
    tags = {t["key"]: t["value"] for t in ecs.list_tags_for_resource(resourceArn=task)["tags"]}
    assert tags == {"a": "1", "aws:ecs:clusterName": cluster, "aws:ecs:serviceName": "web"}
    ecs.tag_resource(resourceArn=service["serviceArn"], tags=[{"key": "b", "value": "2"}])
    ecs.untag_resource(resourceArn=service["serviceArn"], tagKeys=["a"])
    assert ecs.list_tags_for_resource(resourceArn=service["serviceArn"])["tags"] == [{"key": "b", "value": "2"}]
    protected = ecs.update_task_protection(cluster=cluster, tasks=[task], protectionEnabled=True, expiresInMinutes=5)
    assert protected["protectedTasks"][0]["protectionEnabled"] is True
    assert ecs.get_task_protection(cluster=cluster, tasks=[task])["protectedTasks"][0]["protectionEnabled"] is True
    ecs.put_account_setting_default(name="containerInsights", value="disabled")
    pages = ecs.get_paginator("list_account_settings").paginate(effectiveSettings=True)
    names = {s["name"] for page in pages for s in page["settings"]}
    assert "taskLongArnFormat" in names


def test_unserved_operations_name_themselves(sim, ecs):
    code, message = code_of(ecs.create_capacity_provider, name="x", autoScalingGroupProvider={"autoScalingGroupArn": "a"})
    assert "CreateCapacityProvider" in message, (code, message)
    code, message = code_of(sim.client("ec2").describe_instances)
    assert "DescribeInstances" in message, (code, message)
    code, message = code_of(sim.client("sqs").list_queues)
    assert "sqs" in message.lower(), (code, message)


def test_default_vpc_subnets_and_group(sim):
    ec2 = sim.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]
    assert vpc["IsDefault"] and vpc["CidrBlock"] == "10.61.0.0/16"
    zones = {s["AvailabilityZone"] for s in ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]}
    assert zones == {"us-east-1a", "us-east-1b", "us-east-1c"}
    assert ec2.describe_security_groups()["SecurityGroups"][0]["GroupName"] == "default"
    assert code_of(ec2.describe_subnets, SubnetIds=["subnet-00000000000000000"])[0] == "InvalidSubnetID.NotFound"
    assert code_of(ec2.describe_vpcs, Filters=[{"Name": "no-such-filter", "Values": ["x"]}])[0] == "InvalidParameterValue"


def test_every_region_is_served_and_apart(sim):
    there = sim.client("ecs", region="eu-central-1")
    arn = there.create_cluster(clusterName="far")["cluster"]["clusterArn"]
    assert arn == "arn:aws:ecs:eu-central-1:000000000000:cluster/far"
    assert arn not in sim.client("ecs").list_clusters()["clusterArns"]
    there.delete_cluster(cluster="far")


def test_forged_and_stale_signatures_get_awss_errors(sim):
    assert code_of(sim.client("ecs", secret="wrong").list_clusters)[0] == "InvalidSignatureException"
    assert code_of(sim.client("ecs", key="AKIAXXXXXXXXXXXXXXXX").list_clusters)[0] == "UnrecognizedClientException"
    assert code_of(sim.client("sts", secret="wrong").get_caller_identity)[0] == "SignatureDoesNotMatch"
    assert code_of(sim.client("sts", key="AKIAXXXXXXXXXXXXXXXX").get_caller_identity)[0] == "InvalidClientTokenId"
    assert code_of(sim.client("ec2", secret="wrong").describe_vpcs)[0] in ("AuthFailure", "SignatureDoesNotMatch")


def raw(sim, body, target="AmazonEC2ContainerServiceV20141113.ListClusters", when=None, headers=None, service="ecs"):
    """A request signed by botocore, sent as it is; (status, decoded error type, message)."""
    url = sim.env["AWS_ENDPOINT_URL"] + "/"
    request = AWSRequest("POST", url, data=body, headers={"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target, **(headers or {})})
    auth = SigV4Auth(Credentials(sim.env["AWS_ACCESS_KEY_ID"], sim.env["AWS_SECRET_ACCESS_KEY"]), service, "us-east-1")
    auth.add_auth(request)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body, headers=dict(request.headers))) as reply:
            return reply.status, "", reply.read().decode()
    except urllib.error.HTTPError as e:
        answer = json.loads(e.read() or b"{}")
        return e.code, answer.get("__type", "").split("#")[-1], answer.get("message") or answer.get("Message", "")


@pytest.mark.parametrize("body, target, expected", [
    (b"{", "AmazonEC2ContainerServiceV20141113.ListClusters", "SerializationException"),
    (b"[]", "AmazonEC2ContainerServiceV20141113.ListClusters", "SerializationException"),
    (b'{"maxResults":"x"}', "AmazonEC2ContainerServiceV20141113.ListClusters", "SerializationException"),
    (b"{}", "AmazonEC2ContainerServiceV20141113.NoSuchThing", "UnknownOperationException"),
    (b"{}", "Nonsense", "UnknownOperationException"),
])
def test_malformed_requests_are_told_apart(sim, body, target, expected):
    status, kind, _ = raw(sim, body, target)
    assert (status, kind) == (400, expected)


def test_unknown_members_are_named(sim):
    status, _, message = raw(sim, b'{"bogusMember":1}')
    assert status == 400 and "bogusMember" in message


def test_oversized_bodies_are_refused_and_the_server_lives(sim):
    try:
        status, _, _ = raw(sim, b'{"a":"' + b"x" * (20 << 20) + b'"}')
        assert status in (400, 413)
    except (urllib.error.URLError, ConnectionError):
        pass
    assert raw(sim, b"{}")[0] == 200


def test_logs_put_get_filter_and_tail(sim):
    logs = sim.client("logs")
    logs.create_log_group(logGroupName="/t/one", tags={"a": "b"})
    logs.create_log_stream(logGroupName="/t/one", logStreamName="s")
    now = int(time.time() * 1000)
    events = [{"timestamp": now + i, "message": json.dumps({"n": i, "level": "ERROR" if i % 2 else "INFO"})} for i in range(10)]
    logs.put_log_events(logGroupName="/t/one", logStreamName="s", logEvents=events)
    got = logs.get_log_events(logGroupName="/t/one", logStreamName="s", startFromHead=True, limit=4)
    assert [e["message"] for e in got["events"]] == [e["message"] for e in events[:4]]
    more = logs.get_log_events(logGroupName="/t/one", logStreamName="s", nextToken=got["nextForwardToken"])
    assert len(more["events"]) == 6
    end = logs.get_log_events(logGroupName="/t/one", logStreamName="s", nextToken=more["nextForwardToken"])
    assert end["events"] == [] and end["nextForwardToken"] == more["nextForwardToken"]
    assert len(logs.filter_log_events(logGroupName="/t/one", filterPattern="ERROR")["events"]) == 5
    assert len(logs.filter_log_events(logGroupName="/t/one", filterPattern='{ $.n > 3 && $.level = "INFO" }')["events"]) == 3
    assert code_of(logs.filter_log_events, logGroupName="/t/one", filterPattern="{ $.n > }")[0] == "InvalidParameterException"
    assert code_of(logs.create_log_group, logGroupName="/t/one")[0] == "ResourceAlreadyExistsException"
    assert code_of(logs.put_retention_policy, logGroupName="/t/one", retentionInDays=2)[0] == "InvalidParameterException"
    logs.put_retention_policy(logGroupName="/t/one", retentionInDays=7)
    assert logs.describe_log_groups(logGroupNamePrefix="/t/one")["logGroups"][0]["retentionInDays"] == 7
    logs.delete_log_group(logGroupName="/t/one")
    assert code_of(logs.describe_log_streams, logGroupName="/t/one")[0] == "ResourceNotFoundException"


def test_the_aws_cli_works_unchanged(sim):
    assert sim.aws("sts", "get-caller-identity")["Account"] == "000000000000"
    sim.aws("ecs", "create-cluster", "--cluster-name", "cli")
    assert sim.aws("ecs", "describe-clusters", "--clusters", "cli")["clusters"][0]["status"] == "ACTIVE"
    refused = sim.aws("ecs", "delete-service", "--cluster", "cli", "--service", "x", check=False)
    assert "ServiceNotFoundException" in refused.stderr
    sim.aws("ecs", "delete-cluster", "--cluster", "cli")
