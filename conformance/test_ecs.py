"""ECS in depth on simulated nodes: what newcomers who know AWS try, and what their tools read back."""

import collections
import datetime
import subprocess

import pytest

from neargate import AWS, wait_for
from test_api import code_of, fargate, network, subnets

CRASH = [{"name": "NEARGATE_SIM_EXIT_AFTER_MS", "value": "10"}, {"name": "NEARGATE_SIM_EXIT_CODE", "value": "1"}]
NOWHERE = "0" * 32


def on_machines(ecs, family, **more):
    """A task definition of launch type EC2."""
    return ecs.register_task_definition(
        family=family, containerDefinitions=[{"name": "app", "image": "any/image:1", "memory": 64}], **more,
    )["taskDefinition"]["taskDefinitionArn"]


class Service:
    """A service under test and what it looks like now."""

    def __init__(self, ecs, cluster, name="web", **ask):
        self.ecs, self.cluster, self.name = ecs, cluster, name
        self.created = ecs.create_service(cluster=cluster, serviceName=name, **ask)["service"]

    def now(self):
        return self.ecs.describe_services(cluster=self.cluster, services=[self.name])["services"][0]

    def settled(self):
        service = self.now()
        only = service["deployments"]
        return (len(only) == 1 and only[0]["rolloutState"] == "COMPLETED" and service["pendingCount"] == 0
                and service["runningCount"] == only[0]["desiredCount"])

    def settle(self):
        wait_for(self.settled, f"{self.name} settles")
        return self.now()

    def update(self, **ask):
        return self.ecs.update_service(cluster=self.cluster, service=self.name, **ask)["service"]

    def running(self, count):
        wait_for(lambda: self.now()["runningCount"] == count and self.now()["pendingCount"] == 0, f"{count} tasks run")

    def tasks(self):
        arns = self.ecs.list_tasks(cluster=self.cluster, serviceName=self.name)["taskArns"]
        return self.ecs.describe_tasks(cluster=self.cluster, tasks=arns, include=["TAGS"])["tasks"] if arns else []

    def messages(self):
        return [e["message"] for e in reversed(self.now()["events"])]

    def deployment(self, arn):
        return self.ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"][0]

    def delete(self):
        self.ecs.delete_service(cluster=self.cluster, service=self.name, force=True)
        wait_for(lambda: self.now()["status"] == "INACTIVE", f"{self.name} is INACTIVE")


@pytest.fixture()
def web(sim, ecs, cluster):
    """Makes Fargate services of the family `web`."""
    fargate(ecs, "web")

    def make(name="web", **ask):
        base = dict(taskDefinition="web", desiredCount=2, launchType="FARGATE", networkConfiguration=network(sim))
        return Service(ecs, cluster, name, **{k: v for k, v in {**base, **ask}.items() if v is not None})

    return make


# --- requests that are wrong -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("operation, ask, code, words", [
    ("create_cluster", {"clusterName": "a b"}, "InvalidParameterException", "cluster name"),
    ("create_cluster", {"clusterName": "x" * 256}, "InvalidParameterException", "cluster name"),
    ("create_cluster", {"clusterName": "x", "capacityProviders": ["nope"]}, "InvalidParameterException", "nope"),
    ("create_cluster", {"clusterName": "x", "settings": [{"name": "containerInsights", "value": "x"}]}, "InvalidParameterException", "containerInsights"),
    ("create_cluster", {"clusterName": "x", "tags": [{"key": "aws:x", "value": "1"}]}, "InvalidParameterException", "aws:"),
    ("create_cluster", {"clusterName": "x", "configuration": {"executeCommandConfiguration": {"logging": "DEFAULT"}}}, "ClientException", "executeCommandConfiguration"),
    ("describe_clusters", {"clusters": ["x"] * 101}, "InvalidParameterException", "100"),
    ("describe_clusters", {"include": ["BOGUS"]}, "InvalidParameterException", "BOGUS"),
    ("list_clusters", {"maxResults": 101}, "InvalidParameterException", "maxResults"),
    ("describe_task_definition", {"taskDefinition": "nowhere"}, "ClientException", "Unable to describe task definition."),
    ("deregister_task_definition", {"taskDefinition": "nowhere"}, "ClientException", "revision"),
    ("delete_task_definitions", {"taskDefinitions": ["x:1"] * 11}, "InvalidParameterException", "10"),
    ("list_task_definitions", {"sort": "UP"}, "InvalidParameterException", "sort"),
    ("list_task_definitions", {"nextToken": "bad"}, "InvalidParameterException", "token"),
    ("put_account_setting", {"name": "nope", "value": "on"}, "InvalidParameterException", "name"),
    ("put_account_setting", {"name": "containerInsights", "value": "on"}, "InvalidParameterException", "containerInsights"),
    ("put_account_setting_default", {"name": "taskLongArnFormat", "value": "disabled"}, "InvalidParameterException", "You can no longer disable"),
    ("tag_resource", {"resourceArn": "x", "tags": [{"key": "a", "value": "b"}]}, "InvalidParameterException", "ARN"),
    ("stop_service_deployment", {"serviceDeploymentArn": "x"}, "InvalidParameterException", "ARN"),
    ("describe_service_deployments", {"serviceDeploymentArns": ["x"] * 21}, "InvalidParameterException", "20"),
    ("describe_service_revisions", {"serviceRevisionArns": []}, "InvalidParameterException", "serviceRevisionArns"),
])
def test_wrong_requests_are_refused_by_name(sim, operation, ask, code, words):
    ecs = sim.client("ecs", parameter_validation=False)
    got = code_of(getattr(ecs, operation), **ask)
    assert got[0] == code and words in got[1], got


@pytest.mark.parametrize("change, code, words", [
    ({"serviceName": "a b"}, "InvalidParameterException", "service name"),
    ({"desiredCount": None}, "InvalidParameterException", "desiredCount"),
    ({"desiredCount": -1}, "InvalidParameterException", "desiredCount"),
    ({"taskDefinition": "nowhere"}, "ClientException", "Unable to describe task definition."),
    ({"schedulingStrategy": "DAEMON"}, "InvalidParameterException", "desired count"),
    ({"schedulingStrategy": "DAEMON", "desiredCount": None}, "InvalidParameterException", "FARGATE"),
    ({"launchType": "EXTERNAL"}, "UnsupportedFeatureException", "EXTERNAL"),
    ({"launchType": "MOON"}, "InvalidParameterException", "launchType"),
    ({"platformVersion": "9.9.9"}, "PlatformUnknownException", "9.9.9"),
    ({"clientToken": "x" * 37}, "InvalidParameterException", "clientToken"),
    ({"role": "r"}, "InvalidParameterException", "role"),
    ({"serviceRegistries": [{"registryArn": "x"}]}, "UnsupportedFeatureException", "serviceRegistries"),
    ({"serviceConnectConfiguration": {"enabled": True}}, "UnsupportedFeatureException", "serviceConnectConfiguration"),
    ({"volumeConfigurations": [{"name": "v"}]}, "UnsupportedFeatureException", "volumeConfigurations"),
    ({"vpcLatticeConfigurations": [{"roleArn": "r", "targetGroupArn": "t", "portName": "p"}]}, "UnsupportedFeatureException", "vpcLattice"),
    ({"enableExecuteCommand": True}, "UnsupportedFeatureException", "enableExecuteCommand"),
    ({"deploymentController": {"type": "CODE_DEPLOY"}}, "UnsupportedFeatureException", "CODE_DEPLOY"),
    ({"deploymentConfiguration": {"strategy": "BLUE_GREEN"}}, "UnsupportedFeatureException", "BLUE_GREEN"),
    ({"deploymentConfiguration": {"bakeTimeInMinutes": 5}}, "UnsupportedFeatureException", "bakeTimeInMinutes"),
    ({"deploymentConfiguration": {"alarms": {"enable": True, "rollback": True, "alarmNames": ["a"]}}}, "UnsupportedFeatureException", "alarms"),
    ({"deploymentConfiguration": {"minimumHealthyPercent": 100, "maximumPercent": 100}}, "InvalidParameterException", "will block deployments"),
    ({"deploymentConfiguration": {"maximumPercent": 99}}, "InvalidParameterException", "maximumPercent"),
    ({"deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": True}}}, "InvalidParameterException", "rollback"),
    ({"launchType": None, "capacityProviderStrategy": [{"capacityProvider": "nope"}]}, "InvalidParameterException", "nope"),
    ({"capacityProviderStrategy": [{"capacityProvider": "FARGATE"}]}, "InvalidParameterException", "both a launch type and capacity provider"),
    ({"placementConstraints": [{"type": "distinctInstance"}]}, "InvalidParameterException", "FARGATE"),
    ({"placementStrategy": [{"type": "random"}]}, "InvalidParameterException", "FARGATE"),
    ({"networkConfiguration": None}, "InvalidParameterException", "Network Configuration must be provided"),
    ({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-0"]}}}, "InvalidParameterException", "subnet-0"),
    ({"tags": [{"key": str(i), "value": ""} for i in range(51)]}, "InvalidParameterException", "tags"),
])
def test_services_that_cannot_be_are_refused_by_name(sim, ecs, cluster, change, code, words):
    fargate(ecs, "web")
    unchecked = sim.client("ecs", parameter_validation=False)
    ask = dict(cluster=cluster, serviceName="web", taskDefinition="web", desiredCount=1, launchType="FARGATE", networkConfiguration=network(sim))
    ask = {k: v for k, v in {**ask, **change}.items() if v is not None}
    got = code_of(unchecked.create_service, **ask)
    assert got[0] == code and words.lower() in got[1].lower(), got
    assert unchecked.list_services(cluster=cluster)["serviceArns"] == []


# --- clusters and task definitions -----------------------------------------------------------------------------------

def test_a_cluster_is_named_by_name_and_by_arn_everywhere(sim, ecs, web, cluster):
    arn = ecs.describe_clusters(clusters=[cluster])["clusters"][0]["clusterArn"]
    service = web(desiredCount=1)
    service.settle()
    for reference in (cluster, arn):
        tasks = ecs.list_tasks(cluster=reference)["taskArns"]
        assert len(tasks) == 1
        assert ecs.describe_tasks(cluster=reference, tasks=tasks)["failures"] == []
        assert ecs.list_services(cluster=reference)["serviceArns"] == [service.created["serviceArn"]]
        assert ecs.describe_services(cluster=reference, services=[service.created["serviceArn"]])["failures"] == []
        assert len(ecs.list_container_instances(cluster=reference)["containerInstanceArns"]) == 3
    assert code_of(ecs.list_tasks, cluster="nowhere")[0] == "ClusterNotFoundException"
    assert code_of(ecs.delete_cluster, cluster=arn)[0] == "ClusterContainsServicesException"


def test_putting_capacity_providers_keeps_to_what_the_cluster_has(ecs, cluster):
    put = ecs.put_cluster_capacity_providers
    both = ["FARGATE", "FARGATE_SPOT"]
    made = put(cluster=cluster, capacityProviders=both, defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT"}])["cluster"]
    assert made["capacityProviders"] == both
    assert made["defaultCapacityProviderStrategy"] == [{"capacityProvider": "FARGATE_SPOT", "weight": 0, "base": 0}]
    stray = dict(cluster=cluster, capacityProviders=["FARGATE"], defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT", "weight": 1}])
    assert "not associated with the cluster" in code_of(put, **stray)[1]


RICH = {
    "name": "app", "image": "any/image:1", "cpu": 10, "memory": 100, "memoryReservation": 50,
    "portMappings": [{"containerPort": 80, "name": "http", "appProtocol": "http"}, {"containerPort": 81, "protocol": "udp"}],
    "entryPoint": ["a"], "command": ["b"], "environment": [{"name": "Z", "value": "1"}, {"name": "A", "value": "2"}],
    "mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}], "volumesFrom": [{"sourceContainer": "side"}],
    "linuxParameters": {"initProcessEnabled": True, "capabilities": {"drop": ["ALL"]}},
    "dependsOn": [{"containerName": "side", "condition": "START"}], "startTimeout": 10, "stopTimeout": 10,
    "user": "1000", "workingDirectory": "/w", "readonlyRootFilesystem": True, "dockerLabels": {"a": "b"},
    "ulimits": [{"name": "nofile", "softLimit": 10, "hardLimit": 20}], "healthCheck": {"command": ["CMD-SHELL", "true"]},
    "systemControls": [{"namespace": "net.core.somaxconn", "value": "100"}], "restartPolicy": {"enabled": True},
    "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"}},
}


def test_a_definition_registered_from_its_description_is_the_same(ecs):
    register = ecs.register_task_definition
    first = register(
        family="rich", containerDefinitions=[RICH, {"name": "side", "image": "any/side:1"}], volumes=[{"name": "v"}],
        networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu=".25 vCPU", memory="0.5 GB", pidMode="task",
        executionRoleArn="arn:aws:iam::000000000000:role/e", taskRoleArn="r", ephemeralStorage={"sizeInGiB": 30},
        runtimePlatform={"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"})["taskDefinition"]
    described = ecs.describe_task_definition(taskDefinition=first["taskDefinitionArn"])["taskDefinition"]
    assert described == first
    assert (first["cpu"], first["memory"], first["compatibilities"]) == ("256", "512", ["EC2", "FARGATE"])
    members = set(ecs.meta.service_model.operation_model("RegisterTaskDefinition").input_shape.members)
    again = register(**{k: v for k, v in described.items() if k in members})["taskDefinition"]
    own = ("taskDefinitionArn", "revision", "registeredAt")
    assert {k: v for k, v in again.items() if k not in own} == {k: v for k, v in first.items() if k not in own}
    assert again["revision"] == first["revision"] + 1


def test_definitions_end_by_deregistration_then_deletion(ecs):
    arns = [on_machines(ecs, "ending") for _ in range(5)]
    assert code_of(ecs.deregister_task_definition, taskDefinition="ending")[0] == "ClientException"
    pages = ecs.get_paginator("list_task_definitions").paginate(familyPrefix="ending", sort="DESC", PaginationConfig={"PageSize": 2})
    assert [a for p in pages for a in p["taskDefinitionArns"]] == arns[::-1]
    gone = ecs.deregister_task_definition(taskDefinition=arns[0])["taskDefinition"]
    assert gone["status"] == "INACTIVE" and isinstance(gone["deregisteredAt"], datetime.datetime)
    assert ecs.list_task_definitions(familyPrefix="ending", status="INACTIVE")["taskDefinitionArns"] == [arns[0]]
    ended = ecs.delete_task_definitions(taskDefinitions=[arns[0], arns[1], "ending:99"])
    assert [d["status"] for d in ended["taskDefinitions"]] == ["DELETE_IN_PROGRESS"]
    reasons = {f["arn"]: f["reason"] for f in ended["failures"]}
    assert "still in ACTIVE status" in reasons[arns[1]] and "does not exist" in reasons["ending:99"]
    assert "ending" in ecs.list_task_definition_families(familyPrefix="endi", status="ACTIVE")["families"]


# --- tasks -----------------------------------------------------------------------------------------------------------

def test_tasks_are_found_by_id_and_by_every_form_of_arn(sim, ecs, cluster):
    fargate(ecs, "found")
    task = ecs.run_task(cluster=cluster, taskDefinition="found", launchType="FARGATE", networkConfiguration=network(sim))["tasks"][0]
    arn = task["taskArn"]
    head, short = arn.rsplit("/", 1)
    for reference in (arn, short, f"{head.rsplit('/', 1)[0]}/{short}"):
        assert [t["taskArn"] for t in ecs.describe_tasks(cluster=cluster, tasks=[reference])["tasks"]] == [arn], reference
    elsewhere = arn.replace(cluster, "other")
    failures = ecs.describe_tasks(cluster=cluster, tasks=[elsewhere, NOWHERE])["failures"]
    assert [(f["arn"], f["reason"]) for f in failures] == [(elsewhere, "MISSING"), (f"{head}/{NOWHERE}", "MISSING")]
    assert code_of(ecs.describe_tasks, cluster=cluster, tasks=["bad"]) == ("InvalidParameterException", "taskId length should be one of [32,36]")
    assert code_of(ecs.describe_tasks, cluster=cluster, tasks=[])[0] == "InvalidParameterException"
    assert code_of(ecs.describe_tasks, cluster=cluster, tasks=[short] * 101)[0] == "InvalidParameterException"
    assert code_of(ecs.stop_task, cluster=cluster, task=NOWHERE) == ("InvalidParameterException", "The referenced task was not found.")
    assert code_of(ecs.stop_task, cluster=cluster, task=short, reason="x" * 1025)[0] == "InvalidParameterException"
    ecs.stop_task(cluster=cluster, task=short, reason="enough")
    ecs.get_waiter("tasks_stopped").wait(cluster=cluster, tasks=[short], WaiterConfig={"Delay": 1})
    stopped = ecs.describe_tasks(cluster=cluster, tasks=[short])["tasks"][0]
    assert (stopped["stopCode"], stopped["stoppedReason"]) == ("UserInitiated", "enough")
    assert stopped["attachments"][0]["status"] == "DELETED"


def test_list_tasks_filters_alone_and_together(sim, ecs, cluster):
    fargate(ecs, "fa")
    on_machines(ecs, "ma")
    ask = dict(cluster=cluster, networkConfiguration=network(sim), launchType="FARGATE", taskDefinition="fa")
    mine = [t["taskArn"] for t in ecs.run_task(**ask, count=3, startedBy="me")["tasks"]]
    machine = ecs.run_task(cluster=cluster, taskDefinition="ma")["tasks"][0]

    def listed(**filters):
        pages = ecs.get_paginator("list_tasks").paginate(cluster=cluster, **filters, PaginationConfig={"PageSize": 1})
        return {arn for page in pages for arn in page["taskArns"]}

    assert listed(family="fa") == set(mine) == listed(startedBy="me") == listed(launchType="FARGATE", family="fa")
    assert listed(launchType="EC2") == {machine["taskArn"]}
    assert listed(containerInstance=machine["containerInstanceArn"], family="ma") == {machine["taskArn"]}
    assert listed(desiredStatus="PENDING") == set()
    ecs.stop_task(cluster=cluster, task=mine[0])
    assert listed(desiredStatus="STOPPED") == {mine[0]} and mine[0] not in listed(family="fa")
    assert code_of(ecs.run_task, **ask, startedBy="me@home")[0] == "InvalidParameterException"
    assert code_of(ecs.list_tasks, cluster=cluster, startedBy="me", family="fa")[0] == "InvalidParameterException"
    assert code_of(ecs.list_tasks, cluster=cluster, serviceName="nowhere")[0] == "ServiceNotFoundException"
    assert code_of(ecs.list_tasks, cluster=cluster, containerInstance="nowhere")[0] == "InvalidParameterException"
    assert code_of(ecs.list_tasks, cluster=cluster, daemonName="d")[1].startswith("daemonName")
    token = ecs.list_tasks(cluster=cluster, maxResults=1)["nextToken"]
    assert code_of(ecs.list_tasks, cluster=cluster, family="fa", nextToken=token)[0] == "InvalidParameterException"


def test_a_repeated_run_task_answers_the_same_task_whatever_became_of_its_definition(sim, ecs, cluster):
    arn = fargate(ecs, "repeat")
    ask = dict(cluster=cluster, taskDefinition=arn, launchType="FARGATE", networkConfiguration=network(sim), clientToken="t")
    first = ecs.run_task(**ask)["tasks"][0]["taskArn"]
    ecs.deregister_task_definition(taskDefinition=arn)
    assert ecs.run_task(**ask)["tasks"][0]["taskArn"] == first
    by_arn = ecs.describe_clusters(clusters=[cluster])["clusters"][0]["clusterArn"]
    assert ecs.run_task(**{**ask, "cluster": by_arn})["tasks"][0]["taskArn"] == first
    assert code_of(ecs.run_task, **{**ask, "clientToken": "u"}) == ("ClientException", "TaskDefinition is inactive")


def test_run_task_says_why_no_machine_fits(sim, ecs, cluster):
    on_machines(ecs, "fit")
    ask = dict(cluster=cluster, taskDefinition="fit")
    nowhere = ecs.run_task(**ask, placementConstraints=[{"type": "memberOf", "expression": "attribute:color == red"}])
    assert nowhere["tasks"] == [] and {f["reason"] for f in nowhere["failures"]} == {"MemberOf placement constraint unsatisfied."}
    huge = ecs.run_task(**ask, overrides={"containerOverrides": [{"name": "app", "memory": 10_000_000}]})
    assert {f["reason"] for f in huge["failures"]} == {"RESOURCE:MEMORY"} and len(huge["failures"]) == 3
    apart = ecs.run_task(**ask, count=5, placementConstraints=[{"type": "distinctInstance"}])
    assert len({t["containerInstanceArn"] for t in apart["tasks"]}) == len(apart["tasks"]) == 3 and apart["failures"]
    packed = ecs.run_task(**ask, count=3, placementStrategy=[{"type": "binpack", "field": "memory"}])["tasks"]
    assert len({t["containerInstanceArn"] for t in packed}) == 1
    spread = ecs.run_task(**ask, count=3, group="fresh", placementStrategy=[{"type": "spread", "field": "attribute:ecs.availability-zone"}])["tasks"]
    assert len({t["availabilityZone"] for t in spread}) == len({t["availabilityZone"] for t in apart["tasks"]})


def test_start_task_puts_tasks_where_asked(ecs, cluster):
    on_machines(ecs, "there")
    machine = ecs.list_container_instances(cluster=cluster)["containerInstanceArns"][0]
    started = ecs.start_task(cluster=cluster, taskDefinition="there", containerInstances=[machine, "nowhere"], startedBy="me")
    assert [t["containerInstanceArn"] for t in started["tasks"]] == [machine]
    assert [f["reason"] for f in started["failures"]] == ["MISSING"]
    assert code_of(ecs.start_task, cluster=cluster, taskDefinition="there", containerInstances=[])[0] == "InvalidParameterException"
    assert code_of(ecs.start_task, cluster=cluster, taskDefinition="there", containerInstances=[machine] * 11)[0] == "InvalidParameterException"
    holding = ecs.list_container_instances(cluster=cluster, filter="task:group == family:there")["containerInstanceArns"]
    assert holding == [machine]


def test_container_instances_are_listed_filtered_and_described(ecs, cluster):
    pages = ecs.get_paginator("list_container_instances").paginate(cluster=cluster, PaginationConfig={"PageSize": 1})
    arns = [arn for page in pages for arn in page["containerInstanceArns"]]
    assert len(arns) == 3
    listed = lambda **ask: ecs.list_container_instances(cluster=cluster, **ask)["containerInstanceArns"]
    assert listed(filter="attribute:ecs.os-type == linux and agentConnected == true") == arns
    assert listed(filter="attribute:ecs.os-type != linux") == listed(status="DRAINING") == []
    assert code_of(ecs.list_container_instances, cluster=cluster, filter="(((")[0] == "InvalidParameterException"
    described = ecs.describe_container_instances(cluster=cluster, containerInstances=[arns[0], "nowhere"], include=["TAGS", "CONTAINER_INSTANCE_HEALTH"])
    machine = described["containerInstances"][0]
    assert (machine["status"], machine["agentConnected"], machine["healthStatus"]["overallStatus"]) == ("ACTIVE", True, "OK")
    assert {r["name"] for r in machine["registeredResources"]} >= {"CPU", "MEMORY", "PORTS", "PORTS_UDP"}
    assert described["failures"][0]["reason"] == "MISSING"


# --- services --------------------------------------------------------------------------------------------------------

def test_a_service_reads_back_what_it_was_asked(ecs, web, sim):
    service = web(tags=[{"key": "a", "value": "b"}])
    made = service.created
    assert made["networkConfiguration"]["awsvpcConfiguration"] == {"subnets": subnets(sim), "securityGroups": [], "assignPublicIp": "ENABLED"}
    assert (made["platformVersion"], made["schedulingStrategy"], made["deploymentController"]) == ("LATEST", "REPLICA", {"type": "ECS"})
    assert made["deploymentConfiguration"]["deploymentCircuitBreaker"] == {"enable": False, "rollback": False}
    assert made["deployments"][0]["rolloutStateReason"] == f"ECS deployment {made['deployments'][0]['id']} in progress."
    now = service.settle()
    assert "tags" not in now and now["createdAt"] == made["createdAt"]
    name, told = service.name, service.messages()
    assert told[0].startswith(f"(service {name}) has started 2 tasks: (task ")
    assert told[-1] == f"(service {name}) has reached a steady state."
    assert now["deployments"][0]["rolloutStateReason"] == f"ECS deployment {now['deployments'][0]['id']} completed."
    again = service.update(desiredCount=2)
    assert len(again["deployments"]) == 1
    forced = service.update(forceNewDeployment=True)
    assert [d["status"] for d in forced["deployments"]] == ["PRIMARY", "ACTIVE"]
    assert service.settle()["taskDefinition"] == made["taskDefinition"]


def test_scaling_in_spares_protected_tasks(ecs, cluster, web):
    service = web(desiredCount=3)
    service.settle()
    arns = [t["taskArn"] for t in service.tasks()]
    protect = lambda tasks, on, **more: ecs.update_task_protection(cluster=cluster, tasks=tasks, protectionEnabled=on, **more)
    kept = protect(arns[:2], True)["protectedTasks"]
    left = kept[0]["expirationDate"] - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(minutes=119) < left <= datetime.timedelta(minutes=120)
    service.update(desiredCount=0)
    service.running(2)
    assert {t["taskArn"] for t in service.tasks()} == set(arns[:2])
    assert protect([arns[2], NOWHERE], True)["failures"][1]["reason"] == "MISSING"
    for wrong in ({"expiresInMinutes": 0}, {"expiresInMinutes": 2881}):
        assert code_of(protect, tasks=arns[:1], on=True, **wrong)[0] == "InvalidParameterException"
    assert code_of(protect, tasks=[NOWHERE] * 11, on=True)[0] == "InvalidParameterException"
    assert [p["protectionEnabled"] for p in protect(arns[:2], False)["protectedTasks"]] == [False, False]
    service.running(0)


@pytest.mark.parametrize("kind, value, threshold", [("COUNT", 2, 2), ("BOUNDED_PERCENT", 50, 3), ("UNBOUNDED_PERCENT", 100, 2)])
def test_the_breaker_trips_at_its_threshold_and_rolls_back(ecs, web, kind, value, threshold):
    breaker = {"enable": True, "rollback": True, "thresholdConfiguration": {"type": kind, "value": value}}
    service = web(deploymentConfiguration={"deploymentCircuitBreaker": breaker})
    good = service.settle()
    fargate(ecs, "web", environment=CRASH)
    arn = service.update(taskDefinition="web")["currentServiceDeployment"]
    wait_for(lambda: service.deployment(arn)["status"] == "ROLLBACK_SUCCESSFUL", "rolled back")
    told = service.deployment(arn)
    assert told["deploymentCircuitBreaker"]["status"] == "TRIGGERED"
    assert told["deploymentCircuitBreaker"]["threshold"] == threshold <= told["deploymentCircuitBreaker"]["failureCount"]
    assert told["rollback"]["serviceRevisionArn"] == good["currentServiceRevisions"][0]["arn"]
    now = service.settle()
    assert now["taskDefinition"] == good["taskDefinition"]
    failed = next(i for i, m in enumerate(service.messages()) if m.endswith("deployment failed: tasks failed to start."))
    assert service.messages()[failed + 1] == f"(service web) rolling back to deployment {good['deployments'][0]['id']}."


def test_without_rollback_the_failed_deployment_stays_until_the_next(ecs, web):
    breaker = {"enable": True, "rollback": False, "thresholdConfiguration": {"type": "COUNT", "value": 1}}
    service = web(deploymentConfiguration={"deploymentCircuitBreaker": breaker})
    good = service.settle()
    bad = fargate(ecs, "web", environment=CRASH)
    service.update(taskDefinition="web")
    wait_for(lambda: service.now()["deployments"][0]["rolloutState"] == "FAILED", "failed")
    primary, active = service.now()["deployments"]
    assert (primary["taskDefinition"], primary["rolloutStateReason"]) == (bad, "ECS deployment circuit breaker: tasks failed to start.")
    assert (active["taskDefinition"], active["runningCount"]) == (good["taskDefinition"], 2)
    service.update(taskDefinition=good["taskDefinition"])
    assert service.settle()["taskDefinition"] == good["taskDefinition"]


@pytest.mark.parametrize("how, status", [("ROLLBACK", "ROLLBACK_SUCCESSFUL"), ("ABORT", "STOPPED")])
def test_a_deployment_is_stopped_by_request(ecs, web, how, status):
    service = web()
    good = service.settle()
    over = good["currentServiceDeployment"]
    assert code_of(ecs.stop_service_deployment, serviceDeploymentArn=over)[0] == "ConflictException"
    fargate(ecs, "web", environment=CRASH)
    arn = service.update(taskDefinition="web")["currentServiceDeployment"]
    assert ecs.stop_service_deployment(serviceDeploymentArn=arn, stopType=how)["serviceDeploymentArn"] == arn
    wait_for(lambda: service.deployment(arn)["status"] == status, status)
    if how == "ROLLBACK":
        assert service.settle()["taskDefinition"] == good["taskDefinition"]
    listed = ecs.list_service_deployments(cluster=service.cluster, service="web", status=[status])["serviceDeployments"]
    assert [d["serviceDeploymentArn"] for d in listed] == [arn]


def test_a_deleted_service_is_inactive_and_its_name_free(ecs, cluster, web):
    service = web(desiredCount=1, clientToken="once")
    service.settle()
    same = web(desiredCount=1, clientToken="once")
    assert same.created["createdAt"] == service.created["createdAt"]
    assert code_of(web, desiredCount=2, clientToken="once")[0] == "InvalidParameterException"
    assert code_of(web, desiredCount=2) == ("InvalidParameterException", "Creation of service was not idempotent.")
    scaled = "The service cannot be stopped while it is scaled above 0."
    assert code_of(ecs.delete_service, cluster=cluster, service="web") == ("InvalidParameterException", scaled)
    service.delete()
    gone = service.now()
    assert (gone["status"], gone["desiredCount"], gone["runningCount"]) == ("INACTIVE", 0, 0)
    assert ecs.list_services(cluster=cluster)["serviceArns"] == []
    assert code_of(service.update, desiredCount=1)[0] == "ServiceNotActiveException"
    assert code_of(ecs.delete_service, cluster=cluster, service="web")[0] == "ServiceNotFoundException"
    fresh = web(desiredCount=0, clientToken="once")
    assert fresh.created["status"] == "ACTIVE" and fresh.created["events"] == []
    assert ecs.delete_service(cluster=cluster, service="web")["service"]["status"] in ("DRAINING", "INACTIVE")


def test_spot_shares_follow_base_and_weight(ecs, cluster, web):
    ecs.put_cluster_capacity_providers(cluster=cluster, capacityProviders=["FARGATE", "FARGATE_SPOT"], defaultCapacityProviderStrategy=[])
    strategy = [{"capacityProvider": "FARGATE", "base": 2, "weight": 1}, {"capacityProvider": "FARGATE_SPOT", "weight": 3}]
    service = web(desiredCount=10, launchType=None, capacityProviderStrategy=strategy)
    assert service.created["capacityProviderStrategy"][1] == {"capacityProvider": "FARGATE_SPOT", "weight": 3, "base": 0}
    assert "launchType" not in service.settle()
    assert collections.Counter(t["capacityProviderName"] for t in service.tasks()) == {"FARGATE": 4, "FARGATE_SPOT": 6}
    assert code_of(ecs.put_cluster_capacity_providers, cluster=cluster, capacityProviders=["FARGATE"], defaultCapacityProviderStrategy=[])[0] == "ResourceInUseException"


def test_a_daemon_runs_once_on_every_machine_that_fits(ecs, cluster):
    on_machines(ecs, "daemon")
    daemon = Service(ecs, cluster, "daemon", taskDefinition="daemon", launchType="EC2", schedulingStrategy="DAEMON")
    daemon.running(3)
    assert daemon.now()["desiredCount"] == 3
    assert len({t["containerInstanceArn"] for t in daemon.tasks()}) == 3
    assert code_of(daemon.update, desiredCount=1)[0] == "InvalidParameterException"
    on_machines(ecs, "daemon")
    new = daemon.update(taskDefinition="daemon")["taskDefinition"]
    wait_for(lambda: daemon.settled() and {t["taskDefinitionArn"] for t in daemon.tasks()} == {new}, "daemons are replaced", 40)
    assert ecs.delete_service(cluster=cluster, service="daemon")["service"]["status"] == "DRAINING"


def test_machine_services_keep_constraints_and_strategies(ecs, cluster):
    on_machines(ecs, "apart")
    apart = Service(ecs, cluster, "apart", taskDefinition="apart", desiredCount=4, launchType="EC2", placementConstraints=[{"type": "distinctInstance"}])
    wait_for(lambda: any("was unable to place a task" in m for m in apart.messages()), "the fourth finds no machine")
    assert len({t["containerInstanceArn"] for t in apart.tasks() if "containerInstanceArn" in t}) == 3
    packed = Service(ecs, cluster, "packed", taskDefinition="apart", desiredCount=3, launchType="EC2", placementStrategy=[{"type": "binpack", "field": "memory"}])
    packed.settle()
    assert len({t["containerInstanceArn"] for t in packed.tasks()}) == 1
    assert packed.update(placementStrategy=[])["placementStrategy"] == []


@pytest.mark.parametrize("source, expected", [("SERVICE", {"s": "1"}), ("TASK_DEFINITION", {"d": "1"}), ("NONE", {})])
def test_tags_come_from_where_the_service_says(sim, ecs, cluster, web, source, expected):
    ecs.register_task_definition(family="tagged", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
                                 containerDefinitions=[{"name": "app", "image": "any/image:1"}], tags=[{"key": "d", "value": "1"}])
    service = web(taskDefinition="tagged", desiredCount=1, propagateTags=source, tags=[{"key": "s", "value": "1"}], enableECSManagedTags=True)
    service.settle()
    managed = {"aws:ecs:clusterName": cluster, "aws:ecs:serviceName": "web"}
    assert {t["key"]: t["value"] for t in service.tasks()[0]["tags"]} == {**expected, **managed}


def test_services_page_and_filter(ecs, cluster, web):
    for i in range(5):
        web(f"s{i}", desiredCount=0)
    pages = ecs.get_paginator("list_services").paginate(cluster=cluster, PaginationConfig={"PageSize": 2})
    assert [arn.rsplit("/", 1)[1] for page in pages for arn in page["serviceArns"]] == [f"s{i}" for i in range(5)]
    assert len(ecs.list_services(cluster=cluster, launchType="FARGATE", schedulingStrategy="REPLICA")["serviceArns"]) == 5
    assert ecs.list_services(cluster=cluster, launchType="EC2")["serviceArns"] == []
    described = ecs.describe_services(cluster=cluster, services=["s1", "nowhere"])
    assert [s["serviceName"] for s in described["services"]] == ["s1"] and described["failures"][0]["reason"] == "MISSING"
    assert code_of(ecs.describe_services, cluster=cluster, services=["s"] * 11)[0] == "InvalidParameterException"


def test_account_settings_hold_for_those_they_were_put_for(ecs):
    user = "arn:aws:iam::000000000000:user/somebody"
    put = ecs.put_account_setting(name="containerInsights", value="enhanced", principalArn=user)["setting"]
    assert put == {"name": "containerInsights", "value": "enhanced", "principalArn": user, "type": "user"}
    listed = lambda **ask: ecs.list_account_settings(name="containerInsights", principalArn=user, **ask)["settings"]
    assert listed()[0]["value"] == "enhanced"
    ecs.delete_account_setting(name="containerInsights", principalArn=user)
    assert listed() == [] and listed(effectiveSettings=True)[0]["value"] in ("disabled", "enabled")
    assert "managed by AWS" in code_of(ecs.put_account_setting, name="guardDutyActivate", value="on")[1]


def test_the_clis_waiters_end_as_on_aws(sim, ecs, cluster, web):
    service = web(desiredCount=1)
    service.settle()
    task = service.tasks()[0]["taskArn"]
    env = {**sim.env, "PATH": "/usr/bin:/bin", "AWS_PAGER": ""}
    start = lambda *ask: subprocess.Popen([AWS, "ecs", *ask, "--cluster", cluster], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ends(process, code, words=""):
        out, err = process.communicate(timeout=60)
        assert process.returncode == code and words in err, (out, err)

    good = [start("wait", "services-stable", "--services", "web"), start("wait", "tasks-running", "--tasks", task)]
    for process in good:
        ends(process, 0)
    service.delete()
    wait_for(lambda: ecs.describe_tasks(cluster=cluster, tasks=[task])["tasks"][0]["lastStatus"] == "STOPPED", "stopped")
    good = [start("wait", "services-inactive", "--services", "web"), start("wait", "tasks-stopped", "--tasks", task)]
    bad = [(start("wait", "services-stable", "--services", "web"), "INACTIVE"),
           (start("wait", "tasks-running", "--tasks", task), "STOPPED"),
           (start("wait", "services-stable", "--services", "nowhere"), "MISSING")]
    for process in good:
        ends(process, 0)
    for process, words in bad:
        ends(process, 255, words)


def test_a_count_beyond_the_machines_stays_bounded(ecs, web):
    service = web(desiredCount=1_000_000)
    wait_for(lambda: any("was unable to place a task" in m for m in service.messages()), "no room is told")
    full = service.now()
    assert full["runningCount"] + full["pendingCount"] < 3000
    ecs.stop_task(cluster=service.cluster, task=service.tasks()[0]["taskArn"])
    assert service.now()["pendingCount"] <= full["pendingCount"] + 100
    service.delete()


def test_a_deployment_waits_for_a_protected_task_and_a_newer_one_stops_it(ecs, web):
    service = web()
    service.settle()
    kept = service.tasks()[0]["taskArn"]
    protect = lambda on: ecs.update_task_protection(cluster=service.cluster, tasks=[kept], protectionEnabled=on)
    protect(True)
    fargate(ecs, "web", command=["2"])
    second = service.update(taskDefinition="web")["currentServiceDeployment"]
    left = lambda: [(d["status"], d["desiredCount"], d["runningCount"]) for d in service.now()["deployments"]]
    wait_for(lambda: left() == [("PRIMARY", 2, 2), ("ACTIVE", 0, 1)], "only the protected task is left")
    assert service.now()["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    fargate(ecs, "web", command=["3"])
    third = service.update(taskDefinition="web")["currentServiceDeployment"]
    stopped = service.deployment(second)
    assert (stopped["status"], kept in [t["taskArn"] for t in service.tasks()]) == ("STOPPED", True)
    protect(False)
    service.settle()
    wait_for(lambda: service.deployment(third)["status"] == "SUCCESSFUL", "the third is done")
    assert kept not in [t["taskArn"] for t in service.tasks()]


def test_a_service_moves_between_launch_type_and_capacity_providers(ecs, cluster, web):
    ecs.put_cluster_capacity_providers(cluster=cluster, capacityProviders=["FARGATE_SPOT"], defaultCapacityProviderStrategy=[])
    service = web(desiredCount=1)
    service.settle()
    moved = service.update(capacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT", "weight": 1}], forceNewDeployment=True)
    assert "launchType" not in moved and len(moved["deployments"]) == 2
    service.settle()
    assert [t["capacityProviderName"] for t in service.tasks()] == ["FARGATE_SPOT"]
    back = service.update(capacityProviderStrategy=[])
    assert back["launchType"] == "FARGATE" and "capacityProviderStrategy" not in back
