//! Requests that botocore 1.44.5 signed at 2026-11-21T08:40:00Z with `AKIAEXAMPLE` and `secret/KEY+1`, recorded.

use super::{Claim, SigningKey};
use crate::request::Request;
use neargate_core::Timestamp;

const SECRET: &str = "secret/KEY+1";

fn holds(service: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &str) {
    let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = Request {
        method,
        path,
        query,
        headers: &headers,
        body: body.as_bytes(),
    };
    let now = Timestamp::parse_iso8601("2026-11-21T08:40:00Z").unwrap();
    let claim = Claim::read(&request).unwrap();
    assert_eq!(claim.access_key, "AKIAEXAMPLE");
    let key = SigningKey::derive(SECRET, &claim.scope);
    claim.verify(&request, service, now, &key).unwrap();
    let wrong = SigningKey::derive("secret/KEY+2", &claim.scope);
    assert!(claim.verify(&request, service, now, &wrong).is_err());
}

#[test]
fn an_ecs_call() {
    holds(
        "ecs",
        "POST",
        "/",
        &[
            ("host", "127.0.0.1:4566"),
            ("x-amz-target", "AmazonEC2ContainerServiceV20141113.RunTask"),
            ("content-type", "application/x-amz-json-1.1"),
            ("user-agent", "Boto3/1"),
            ("x-amz-test", "  two   spaces "),
            ("x-amz-date", "20261121T084000Z"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20261121/eu-central-1/ecs/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target;x-amz-test, Signature=b426497595556b71c9085336727503e3af405d203a046c4cace77dfc21e166bf",
            ),
        ],
        "{\"taskDefinition\":\"web:1\"}",
    );
}

#[test]
fn an_sts_call() {
    holds(
        "sts",
        "POST",
        "/",
        &[
            ("host", "localhost:4566"),
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("x-amz-date", "20261121T084000Z"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20261121/us-east-1/sts/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=c019754a99259da8c528ae9835ffc895c81e3bd3a4c0483765a2254b55df7eb8",
            ),
        ],
        "Action=GetCallerIdentity&Version=2011-06-15",
    );
}

#[test]
fn a_presigned_sts_url() {
    holds(
        "sts",
        "GET",
        "/?Action=GetCallerIdentity&Version=2011-06-15&Note=a%20b%2Fc~%2B&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE%2F20261121%2Fus-east-1%2Fsts%2Faws4_request&X-Amz-Date=20261121T084000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature=b210a840e6ef43ca9cf98748312023a18fb48af6826c9fc88d889f47195493b8",
        &[("host", "localhost:4566")],
        "",
    );
}

#[test]
fn a_call_with_a_session_token() {
    holds(
        "logs",
        "POST",
        "/",
        &[
            ("host", "localhost"),
            ("x-amz-target", "Logs_20140328.PutLogEvents"),
            ("x-amz-date", "20261121T084000Z"),
            ("x-amz-security-token", "TOKEN=="),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20261121/cn-north-1/logs/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token;x-amz-target, Signature=ebde8e834e9bd8b6b7fc222c93c1d959bbf01c18ff1bea6bf1e65d571749b55d",
            ),
        ],
        "{}",
    );
}

#[test]
fn a_rest_path_encoded_twice() {
    holds(
        "lambda",
        "GET",
        "/2015-03-31/functions/arn%3Aaws%3Alambda/x%20y/?Qualifier=%24LATEST&Z=&A=1&A=0",
        &[
            ("host", "localhost"),
            ("x-amz-date", "20261121T084000Z"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20261121/us-east-1/lambda/aws4_request, SignedHeaders=host;x-amz-date, Signature=34322dde102124cdefba5261d16ddd53b95dbeea5c2c423703e7e94b6b131087",
            ),
        ],
        "",
    );
}

#[test]
fn an_s3_path_encoded_once() {
    holds(
        "s3",
        "GET",
        "/bucket//k%20e%2By/../%C3%A9?list-type=2&prefix=a%2Fb",
        &[
            ("host", "localhost"),
            ("x-amz-date", "20261121T084000Z"),
            (
                "x-amz-content-sha256",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20261121/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=744e7f75524cc125bf23d1e095a2aedb37a019c408ca7daedec64c157ee4603a",
            ),
        ],
        "",
    );
}

#[test]
fn a_presigned_s3_url() {
    holds(
        "s3",
        "GET",
        "/bucket/k%20e%2By?versionId=1&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE%2F20261121%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20261121T084000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=cc4288d8496f3d491f6c4f8065c088e2f137037e0ff7e79379cef6f8b22f8549",
        &[("host", "localhost")],
        "",
    );
}
