//! Rules: priorities, actions, limits.

use super::*;

fn path(pattern: &str) -> Value {
    json!([{ "Field": "path-pattern", "Values": [pattern] }])
}

fn forward(group: &str) -> Value {
    json!([{ "Type": "forward", "TargetGroupArn": group }])
}

async fn rule(world: &World, listener: &str, group: &str, priority: u32) -> String {
    let input = json!({
        "ListenerArn": listener, "Priority": priority, "Conditions": path("/x"), "Actions": forward(group),
    });
    text(&world.call("CreateRule", input).await["Rules"][0]["RuleArn"])
}

async fn order(world: &World, listener: &str) -> Vec<String> {
    let all = world.call("DescribeRules", json!({ "ListenerArn": listener })).await;
    all["Rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| text(&r["Priority"]))
        .collect()
}

#[tokio::test]
async fn rules_stand_by_priority_with_the_default_last() {
    let world = World::new().await;
    let (_, listener, group) = world.web().await;
    let first = rule(&world, &listener, &group, 10).await;
    let second = rule(&world, &listener, &group, 5).await;
    assert_eq!(order(&world, &listener).await, ["5", "10", "default"]);
    let input = json!({ "ListenerArn": listener, "Priority": 5, "Conditions": path("/y"), "Actions": forward(&group) });
    let (code, message) = world.refused("CreateRule", input).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("PriorityInUse", "Priority '5' is currently in use")
    );

    let swap =
        json!({ "RulePriorities": [{ "RuleArn": first, "Priority": 5 }, { "RuleArn": second, "Priority": 10 }] });
    world.call("SetRulePriorities", swap).await;
    let table = world.table();
    let arns: Vec<&str> = table.balancers[0].listeners[0]
        .rules
        .iter()
        .map(|r| r.arn.as_str())
        .collect();
    assert_eq!(arns[..2], [first.as_str(), second.as_str()]);
    let clash = json!({ "RulePriorities": [{ "RuleArn": first, "Priority": 10 }] });
    assert_eq!(world.refused("SetRulePriorities", clash).await.0, "PriorityInUse");
    let gone = json!({ "RulePriorities": [{ "RuleArn": format!("{first}0"), "Priority": 1 }] });
    assert_eq!(world.refused("SetRulePriorities", gone).await.0, "RuleNotFound");
}

#[tokio::test]
async fn the_default_rule_stays() {
    let world = World::new().await;
    let (_, listener, group) = world.web().await;
    let all = world.call("DescribeRules", json!({ "ListenerArn": listener })).await;
    let default = text(&all["Rules"][0]["RuleArn"]);
    assert_eq!(all["Rules"][0]["IsDefault"], true);
    assert_eq!(
        world.refused("DeleteRule", json!({ "RuleArn": default })).await.0,
        "OperationNotPermitted"
    );
    let input = json!({ "RuleArn": default, "Actions": forward(&group) });
    assert_eq!(world.refused("ModifyRule", input).await.0, "OperationNotPermitted");
    let input = json!({ "RulePriorities": [{ "RuleArn": default, "Priority": 1 }] });
    assert_eq!(
        world.refused("SetRulePriorities", input).await.0,
        "OperationNotPermitted"
    );
}

#[tokio::test]
async fn a_load_balancer_has_a_hundred_rules_besides_the_defaults() {
    let world = World::new().await;
    let (balancer, listener, group) = world.web().await;
    let second = world.listener(&balancer, &group, 81).await;
    for priority in 1..=50 {
        rule(&world, &listener, &group, priority).await;
        rule(&world, &second, &group, priority).await;
    }
    let input = |listener: &str| json!({ "ListenerArn": listener, "Priority": 101, "Conditions": path("/y"), "Actions": forward(&group) });
    for listener in [&listener, &second] {
        assert_eq!(world.refused("CreateRule", input(listener)).await.0, "TooManyRules");
    }
    let other = world.balancer("other", json!({})).await;
    let group = world.group("other", json!({})).await;
    let elsewhere = world.listener(&other, &group, 80).await;
    rule(&world, &elsewhere, &group, 1).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_rule_is_told_before_a_priority_in_use() {
    let world = World::new().await;
    let (_, listener, group) = world.web().await;
    rule(&world, &listener, &group, 1).await;
    let input = json!({ "ListenerArn": listener, "Priority": 1, "Conditions": [{ "Field": "nonsense" }], "Actions": forward(&group) });
    assert_eq!(world.refused("CreateRule", input).await.0, "ValidationError");
}

#[tokio::test]
async fn rules_are_changed_in_part_and_deleted() {
    let world = World::new().await;
    let (_, listener, group) = world.web().await;
    let other = world.group("other", json!({})).await;
    let arn = rule(&world, &listener, &group, 1).await;
    let rewrite =
        json!([{ "Type": "url-rewrite", "UrlRewriteConfig": { "Rewrites": [{ "Regex": "^/x", "Replace": "/" }] } }]);
    let input = json!({ "RuleArn": arn, "Actions": forward(&other), "Transforms": rewrite });
    let changed = world.call("ModifyRule", input).await["Rules"][0].clone();
    assert_eq!(changed["Conditions"][0]["Values"], json!(["/x"]));
    assert_eq!(changed["Transforms"], rewrite);
    assert!(crate::in_use(&world.snapshot(), &other));
    let redirect = json!([{ "Type": "redirect", "RedirectConfig": { "Protocol": "HTTPS", "StatusCode": "HTTP_301" } }]);
    let input = json!({ "RuleArn": arn, "Actions": redirect });
    assert_eq!(world.refused("ModifyRule", input.clone()).await.0, "ValidationError");
    let reset = with(input, json!({ "ResetTransforms": true }));
    let changed = world.call("ModifyRule", reset).await["Rules"][0].clone();
    assert_eq!(changed["Transforms"], Value::Null);
    let config = json!({
        "Protocol": "HTTPS", "Host": "#{host}", "Port": "#{port}", "Path": "/#{path}", "Query": "#{query}",
        "StatusCode": "HTTP_301",
    });
    assert_eq!(changed["Actions"][0]["RedirectConfig"], config);
    assert!(!crate::in_use(&world.snapshot(), &other));
    world.call("DeleteRule", json!({ "RuleArn": arn })).await;
    assert_eq!(
        world.refused("DescribeRules", json!({ "RuleArns": [arn] })).await.0,
        "RuleNotFound"
    );
}

#[tokio::test]
async fn what_no_action_may_be_is_refused() {
    let world = World::new().await;
    let (_, listener, group) = world.web().await;
    let groups = |count: usize| -> Vec<Value> { vec![json!({ "TargetGroupArn": group }); count] };
    let gone = group.replace("/web/", "/gone/");
    for (actions, code) in [
        (json!([]), "ValidationError"),
        (json!([{ "Type": "forward" }]), "ValidationError"),
        (forward(&gone), "TargetGroupNotFound"),
        (
            json!([{ "Type": "forward", "ForwardConfig": { "TargetGroups": groups(2) } }]),
            "ValidationError",
        ),
        (
            json!([{ "Type": "forward", "ForwardConfig": { "TargetGroups": groups(6) } }]),
            "TooManyTargetGroups",
        ),
        (
            json!([{ "Type": "forward", "ForwardConfig": { "TargetGroups": [{ "TargetGroupArn": group, "Weight": 1000 }] } }]),
            "ValidationError",
        ),
        (
            json!([{ "Type": "forward", "ForwardConfig": {
                "TargetGroups": groups(1), "TargetGroupStickinessConfig": { "Enabled": true } } }]),
            "ValidationError",
        ),
        (
            json!([{ "Type": "redirect", "RedirectConfig": { "StatusCode": "HTTP_301" } }]),
            "InvalidLoadBalancerAction",
        ),
        (
            json!([{ "Type": "redirect", "RedirectConfig": { "StatusCode": "HTTP_301", "Port": "99999" } }]),
            "ValidationError",
        ),
        (
            json!([{ "Type": "redirect", "RedirectConfig": { "StatusCode": "HTTP_301", "Path": "x" } }]),
            "ValidationError",
        ),
        (
            json!([{ "Type": "fixed-response", "FixedResponseConfig": { "StatusCode": "302" } }]),
            "ValidationError",
        ),
        (
            json!([{ "Type": "fixed-response", "FixedResponseConfig": { "StatusCode": "200", "ContentType": "a/b" } }]),
            "ValidationError",
        ),
        (
            json!([{ "Type": "fixed-response", "FixedResponseConfig": { "StatusCode": "200" } }, forward(&group)[0]]),
            "TooManyActions",
        ),
        (
            json!([{ "Type": "jwt-validation", "JwtValidationConfig": { "Issuer": "a", "JwksEndpoint": "b" } }, forward(&group)[0]]),
            "InvalidConfigurationRequest",
        ),
    ] {
        let input = json!({ "ListenerArn": listener, "Priority": 1, "Conditions": path("/x"), "Actions": actions });
        assert_eq!(world.refused("CreateRule", input).await.0, code, "{actions}");
    }
}
