//! Account settings.

use super::*;

const ROOT: &str = "arn:aws:iam::000000000000:root";
const ALICE: &str = "arn:aws:iam::000000000000:user/alice";

#[tokio::test]
async fn a_principals_own_setting_goes_before_the_accounts_and_that_before_aws() {
    let f = Fixture::new();
    let of_alice =
        |effective: bool| json!({"name": "containerInsights", "principalArn": ALICE, "effectiveSettings": effective});
    let setting = |value: &str, principal: &str| json!([{"name": "containerInsights", "value": value, "principalArn": principal, "type": "user"}]);
    let list = |input: Value| async { f.ok("ListAccountSettings", input).await["settings"].clone() };
    assert_eq!(list(of_alice(false)).await, json!([]));
    assert_eq!(list(of_alice(true)).await, setting("disabled", ROOT));

    let out = f
        .ok(
            "PutAccountSettingDefault",
            json!({"name": "containerInsights", "value": "enabled"}),
        )
        .await;
    assert_eq!(out["setting"], setting("enabled", ROOT)[0]);
    assert_eq!(list(of_alice(true)).await, setting("enabled", ROOT));
    let put = json!({"name": "containerInsights", "value": "enhanced", "principalArn": ALICE});
    f.ok("PutAccountSetting", put).await;
    assert_eq!(list(of_alice(false)).await, setting("enhanced", ALICE));
    let made = f.ok("CreateCluster", json!({})).await;
    assert_eq!(made["cluster"]["settings"][0]["value"], "enabled");

    let out = f
        .ok(
            "DeleteAccountSetting",
            json!({"name": "containerInsights", "principalArn": ALICE}),
        )
        .await;
    assert_eq!(out["setting"]["value"], "enabled");
    assert_eq!(list(of_alice(false)).await, json!([]));
}

#[tokio::test]
async fn all_eleven_settings_hold_for_everyone_and_pages_have_ten() {
    let f = Fixture::new();
    let first = f.ok("ListAccountSettings", json!({"effectiveSettings": true})).await;
    assert_eq!(first["settings"].as_array().unwrap().len(), 10);
    let token = first["nextToken"].clone();
    let rest = f
        .ok(
            "ListAccountSettings",
            json!({"effectiveSettings": true, "nextToken": token}),
        )
        .await;
    assert_eq!(rest["settings"].as_array().unwrap().len(), 1);
    assert!(rest.get("nextToken").is_none());
    let named = f
        .ok(
            "ListAccountSettings",
            json!({"effectiveSettings": true, "name": "guardDutyActivate"}),
        )
        .await;
    assert_eq!(named["settings"][0]["type"], "aws_managed");
}

#[tokio::test]
async fn values_and_principals_are_checked() {
    let mut f = Fixture::new();
    for (name, value, expected) in [
        (
            "containerInsights",
            "on",
            "InvalidParameterException: Invalid value for account setting containerInsights: on.",
        ),
        (
            "colour",
            "on",
            "InvalidParameterException: Unknown account setting name: colour",
        ),
        (
            "guardDutyActivate",
            "on",
            "InvalidParameterException: The account setting guardDutyActivate is managed by AWS",
        ),
        (
            "taskLongArnFormat",
            "disabled",
            "InvalidParameterException: You can no longer disable Long Arn settings",
        ),
        (
            "fargateFIPSMode",
            "enabled",
            "ClientException: fargateFIPSMode enabled is not supported",
        ),
        (
            "fargateTaskRetirementWaitPeriod",
            "8",
            "InvalidParameterException: Invalid value",
        ),
    ] {
        let error = f.err("PutAccountSetting", json!({"name": name, "value": value})).await;
        assert!(error.starts_with(expected), "{error}");
    }
    for (name, value) in [
        ("serviceLongArnFormat", "enabled"),
        ("awsvpcTrunking", "enabled"),
        ("tagResourceAuthorization", "off"),
        ("fargateTaskRetirementWaitPeriod", "0"),
        ("defaultLogDriverMode", "blocking"),
        ("fargateEventWindows", "disabled"),
    ] {
        f.ok("PutAccountSetting", json!({"name": name, "value": value})).await;
    }
    let error = f.err("ListAccountSettings", json!({"value": "on"})).await;
    assert!(error.starts_with("InvalidParameterException"), "{error}");
    let error = f
        .err("ListAccountSettings", json!({"principalArn": "arn:aws:iam::1:user/x"}))
        .await;
    assert!(
        error.starts_with("InvalidParameterException: Invalid principalArn"),
        "{error}"
    );
    f.cx.caller_arn = ALICE.to_owned();
    let error = f.err("ListAccountSettings", json!({"principalArn": ROOT})).await;
    assert!(error.starts_with("AccessDeniedException"), "{error}");
    f.ok(
        "PutAccountSetting",
        json!({"name": "containerInsights", "value": "enabled"}),
    )
    .await;
    let own = f.ok("ListAccountSettings", json!({})).await;
    assert_eq!(own["settings"][0]["principalArn"], ALICE);
}
