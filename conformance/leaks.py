"""What test runs leave on the machine: found, taken down when its run is over, and told when it is this run's own.

`Neargate` claims its data directory for the test process that made it. A run that was killed leaves claims behind, and the next
run takes down what they name. Nothing of a run that is still going is touched.
"""

import ipaddress
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

PREFIX = "neargate-test-"
CLAIMS = pathlib.Path(tempfile.gettempdir()) / "neargate-test-claims"


def start_of(pid):
    """When a process started, in the kernel's ticks; a number that is used again starts later. None when it is over."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *rest = stat.rsplit(") ", 1)[1].split()
    return None if state in "ZX" else rest[18]


def boot():
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def log_of(data):
    return data.parent / f"{data.name}.log"


def claim_of(data, claims=CLAIMS):
    return claims / str(data).replace("/", "%")


def claim(data, own, claims=CLAIMS, pid=None):
    """Notes that a process, this one, works on `data`; `own` when the directory is to go with it."""
    pid = pid or os.getpid()
    claims.mkdir(exist_ok=True)
    text = json.dumps({"data": str(data), "own": own, "pid": pid, "start": start_of(pid), "boot": boot()})
    # Whole or not at all, for a run that starts this moment.
    draft = claims / f".{os.getpid()}"
    draft.write_text(text)
    draft.rename(claim_of(data, claims))


def release(data, own, claims=CLAIMS):
    """Gives up a data directory whose Neargate is down."""
    if own:
        shutil.rmtree(data, ignore_errors=True)
        log_of(data).unlink(missing_ok=True)
    claim_of(data, claims).unlink(missing_ok=True)


def left_over(claims=CLAIMS):
    """Claims of runs that are over."""
    found = []
    for file in sorted(claims.glob("%*")):
        try:
            held = json.loads(file.read_text())
        except FileNotFoundError:
            continue
        start = start_of(held["pid"])
        if start is None or (start, boot()) != (held["start"], held["boot"]):
            found.append(held)
    return found


def take_down_left_over(binary, claims=CLAIMS):
    """Takes down what runs that are over left; answers what could not be, each with the program's words."""
    stubborn = []
    for held in left_over(claims):
        data = pathlib.Path(held["data"])
        done = subprocess.run([binary, "down", "--grace", "0", "--data-dir", data], capture_output=True, text=True)
        if done.returncode == 0:
            release(data, held["own"], claims)
        else:
            stubborn.append(f"{data}: {done.stdout}{done.stderr}".strip())
    return stubborn


def instance_of(data):
    """The four hex digits in the names of everything an instance makes; None before it made anything."""
    try:
        return json.loads((data / "instance.json").read_text())["instance"]
    except FileNotFoundError:
        return None


def run(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    except FileNotFoundError:
        return []


def routes():
    return set(run("ip", "-4", "route", "show", "table", "all"))


def ranges(args):
    """The networks that a command line names."""
    return [ipaddress.ip_network(value, strict=False) for option, value in zip(args, args[1:]) if str(option).endswith("-cidr")]


def routes_within(routes, networks):
    """A route bears nobody's name: those that lead into the given networks."""

    def leads(route):
        for word in route.split():
            try:
                target = ipaddress.IPv4Network(word)
            except ValueError:
                continue
            return any(target.overlaps(network) for network in networks)
        return False

    return sorted(route for route in routes if leads(route))


def remains(instance, data):
    """Everything on the machine that bears an instance's name or works in its data directory."""
    own, left = f"neargate-{instance}", []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(data) in command and process.name != str(os.getpid()):
            left.append(f"process {process.name}: {command}")
    for folder, _, _ in os.walk("/sys/fs/cgroup"):
        if os.path.basename(folder) == own:
            left.append(f"cgroup {folder}")
    left += [f"mount {line}" for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if str(data) in line or own in line]
    left += [f"nftables {line}" for line in run("nft", "list", "tables") if f"neargate_{instance}" in line]
    left += [f"link {line}" for line in run("ip", "-o", "link") if f": ng{instance}" in line]
    # The handles of network namespaces.
    left += [f"file {path}" for path in pathlib.Path("/run").glob(f"{own}/**/*") if path.is_file()]
    return left


def remains_after(started, routes_before, patience=5):
    """What is left of the instances in `started` (instance, data, ranges), once what was on its way out had time to go."""
    until = time.monotonic() + patience
    while True:
        left = [f"{data}: {thing}" for instance, data, _ in started for thing in remains(instance, data)]
        networks = [network for *_, own in started for network in own]
        left += [f"route {route}" for route in routes_within(routes() - routes_before, networks)]
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.1)
