//! Is anybody there: answered without a signature, to people, probes and load balancers.

use neargate_wire::Request;
use neargate_wire::codec::Encoded;
use serde_json::json;

/// The answer, when `request` asks for it: `GET /` or `GET /_neargate/health` without signature and without action.
pub fn health(request: &Request<'_>) -> Option<Encoded> {
    let asks = matches!(request.method, "GET" | "HEAD") && matches!(request.path, "/" | "/_neargate/health");
    let bare = request.query.is_empty() && request.header("authorization").is_none();
    (asks && bare && request.header("x-amz-target").is_none()).then(|| {
        let body = json!({"status": "ok", "service": "neargate", "version": env!("CARGO_PKG_VERSION")});
        Encoded {
            status: 200,
            content_type: "application/json",
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
        }
    })
}
