"""A registry for tests on loopback: serves one OCI layout, and misbehaves as told."""

import base64
import http.server
import json
import pathlib
import threading


class Registry:
    """Serves the image of an OCI layout under any name. `fault` is one of: None, 'stall', 'rate', 'missing', 'corrupt', 'denied'.
    With `account` (user, password) only who signs in gets anything."""

    def __init__(self, layout, fault=None, account=None):
        layout = pathlib.Path(layout)
        index = json.loads((layout / "index.json").read_text())
        entry = index["manifests"][0]
        blobs = layout / "blobs/sha256"
        manifest = (blobs / entry["digest"].split(":")[1]).read_bytes()
        layers = {layer["digest"] for layer in json.loads(manifest)["layers"]}
        release = self.release = threading.Event()
        requests = self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, status, body=b"", **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_HEAD(self):
                self.do_GET()

            def do_GET(self):
                requests.append(self.path)
                if account:
                    wanted = "Basic " + base64.b64encode(":".join(account).encode()).decode()
                    if self.headers.get("Authorization") != wanted:
                        return self.answer(401, b"{}", WWW_Authenticate='Basic realm="test"')
                if fault == "rate":
                    body = {"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit."}]}
                    return self.answer(429, json.dumps(body).encode(), Content_Type="application/json")
                if fault == "denied":
                    body = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
                    return self.answer(401, json.dumps(body).encode(), WWW_Authenticate='Basic realm="test"')
                if self.path == "/v2/":
                    return self.answer(200, b"{}")
                if "/manifests/" in self.path:
                    if fault == "missing":
                        body = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
                        return self.answer(404, json.dumps(body).encode())
                    return self.answer(200, manifest, Content_Type=entry["mediaType"], Docker_Content_Digest=entry["digest"])
                digest = self.path.rsplit("/", 1)[1]
                body = (blobs / digest.split(":")[1]).read_bytes()
                if digest in layers and fault == "stall":
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body[: len(body) // 2])
                    self.wfile.flush()
                    release.wait(120)
                    self.close_connection = True
                    return
                if digest in layers and fault == "corrupt":
                    body = body[:-1] + bytes([body[-1] ^ 1])
                return self.answer(200, body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
