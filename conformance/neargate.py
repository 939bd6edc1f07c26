"""A running Neargate for tests: started on a data directory of its own, taken down afterwards whatever happened."""

import json
import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import time

import boto3
from botocore.config import Config

import leaks

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = pathlib.Path(os.environ.get("NEARGATE_BINARY", ROOT / "target/debug/neargate"))
AWS = ROOT / ".venv/bin/aws"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(question, what, limit=30.0):
    """Asks until the answer is true; the answer."""
    until = time.monotonic() + limit
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < until, f"{what}: not within {limit} s"
        time.sleep(0.05)


class Neargate:
    """`neargate up` with its clients."""

    # Of all that this process started: instance, data directory, ranges.
    started = []

    def __init__(self, *args, data=None, env=None):
        self.own = data is None
        self.data = pathlib.Path(data or tempfile.mkdtemp(prefix=leaks.PREFIX))
        self.args = args
        self.port = free_port()
        self.extra_env = env or {}
        self.process = None
        self.log = None
        self.env = {}

    def start(self):
        leaks.claim(self.data, self.own)
        self.log = open(leaks.log_of(self.data), "a+b")
        self.process = subprocess.Popen(
            [BINARY, "up", "--listen", f"127.0.0.1:{self.port}", "--data-dir", self.data, *self.args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, **self.extra_env},
        )
        ready = threading.Event()

        def read(stream):
            for line in stream:
                if b"Neargate is up" in line:
                    ready.set()

        threading.Thread(target=read, args=(self.process.stdout,), daemon=True).start()
        up = wait_for(lambda: ready.is_set() or self.process.poll() is not None, "neargate up", 40)
        assert up and ready.is_set(), f"neargate did not come up:\n{self.log_text()}"
        self.env = self.read_env()
        self.started.append((leaks.instance_of(self.data), self.data, leaks.ranges(self.args)))
        return self

    def log_text(self):
        self.log.flush()
        return pathlib.Path(self.log.name).read_text()

    def read_env(self):
        out = subprocess.run([BINARY, "env", "--data-dir", self.data], check=True, capture_output=True, text=True).stdout
        pairs = (line[len("export "):].split("=", 1) for line in out.splitlines() if line.startswith("export "))
        return {k: v.strip("'\"") for k, v in pairs}

    def client(self, service, **config):
        return boto3.client(
            service,
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            aws_access_key_id=config.pop("key", self.env["AWS_ACCESS_KEY_ID"]),
            aws_secret_access_key=config.pop("secret", self.env["AWS_SECRET_ACCESS_KEY"]),
            region_name=config.pop("region", "us-east-1"),
            config=Config(retries={"max_attempts": 1}, inject_host_prefix=False, **config),
        )

    def aws(self, *args, check=True):
        """The AWS CLI; its JSON answer, or the finished process with check=False."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        done = subprocess.run([AWS, *args, "--output", "json"], capture_output=True, text=True, env={**env, **self.env, "AWS_PAGER": ""})
        if not check:
            return done
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def neargate(self, *args, check=True):
        return subprocess.run([BINARY, *args, "--data-dir", self.data], check=check, capture_output=True, text=True)

    def pid_of(self, role):
        return int((self.data / f"{role}.lock").read_text())

    def stop(self):
        """Ends `up` as Ctrl-C does: containers stay."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def down(self):
        self.stop()
        done = subprocess.run([BINARY, "down", "--grace", "0", "--data-dir", self.data], capture_output=True, text=True)
        # Its folder stays then: it is all that a later `down` has to find what was left.
        assert done.returncode == 0, f"neargate down of {self.data} left things behind:\n{done.stdout}{done.stderr}\n{self.log and self.log_text()}"
        leaks.release(self.data, self.own)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.down()
            raise

    def __exit__(self, *_):
        self.down()
