//! Every operation that ECS serves, in one table.

use crate::{Ecs, api, ops};
use neargate_core::RequestContext;
use neargate_wire::dispatch::{Running, ServiceDispatch, find};
use neargate_wire::schema::Service;
use serde_json::Value;

neargate_wire::routes! { Ecs;
    "CreateCluster" => ops::create_cluster::handle,
    "CreateService" => ops::create_service::handle,
    "DeleteAccountSetting" => ops::delete_account_setting::handle,
    "DeleteCluster" => ops::delete_cluster::handle,
    "DeleteService" => ops::delete_service::handle,
    "DeleteTaskDefinitions" => ops::delete_task_definitions::handle,
    "DeregisterTaskDefinition" => ops::deregister_task_definition::handle,
    "DescribeClusters" => ops::describe_clusters::handle,
    "DescribeContainerInstances" => ops::describe_container_instances::handle,
    "DescribeServiceDeployments" => ops::describe_service_deployments::handle,
    "DescribeServiceRevisions" => ops::describe_service_revisions::handle,
    "DescribeServices" => ops::describe_services::handle,
    "DescribeTaskDefinition" => ops::describe_task_definition::handle,
    "DescribeTasks" => ops::describe_tasks::handle,
    "GetTaskProtection" => ops::get_task_protection::handle,
    "ListAccountSettings" => ops::list_account_settings::handle,
    "ListClusters" => ops::list_clusters::handle,
    "ListContainerInstances" => ops::list_container_instances::handle,
    "ListServiceDeployments" => ops::list_service_deployments::handle,
    "ListServices" => ops::list_services::handle,
    "ListTagsForResource" => ops::list_tags_for_resource::handle,
    "ListTaskDefinitionFamilies" => ops::list_task_definition_families::handle,
    "ListTaskDefinitions" => ops::list_task_definitions::handle,
    "ListTasks" => ops::list_tasks::handle,
    "PutAccountSetting" => ops::put_account_setting::handle,
    "PutAccountSettingDefault" => ops::put_account_setting_default::handle,
    "PutClusterCapacityProviders" => ops::put_cluster_capacity_providers::handle,
    "RegisterTaskDefinition" => ops::register_task_definition::handle,
    "RunTask" => ops::run_task::handle,
    "StartTask" => ops::start_task::handle,
    "StopServiceDeployment" => ops::stop_service_deployment::handle,
    "StopTask" => ops::stop_task::handle,
    "TagResource" => ops::tag_resource::handle,
    "UntagResource" => ops::untag_resource::handle,
    "UpdateCluster" => ops::update_cluster::handle,
    "UpdateClusterSettings" => ops::update_cluster_settings::handle,
    "UpdateService" => ops::update_service::handle,
    "UpdateTaskProtection" => ops::update_task_protection::handle,
}

impl ServiceDispatch for Ecs {
    fn schema(&self) -> &'static Service {
        &api::schema::SERVICE
    }

    fn call<'a>(&'a self, operation: &str, cx: &'a RequestContext, input: Value) -> Option<Running<'a>> {
        find(routes(), operation).map(|route| (route.call)(self, cx, input))
    }
}
