"""The calls that `aws logs tail --follow` of AWS CLI version 2 makes, made by boto3: the CLI in `.venv` is version 1."""

import time
from collections import defaultdict


class Tail:
    """Pages of FilterLogEvents from the newest timestamp on, without the events of that timestamp already told."""

    def __init__(self, logs, group, since, **more):
        self.logs = logs
        self.asked = {"logGroupName": group, "interleaved": True, "startTime": since, **more}
        self.told = defaultdict(set)

    def new(self):
        """What one round prints, and how many pages it took."""
        lines, pages = [], 0
        while True:
            page = self.logs.filter_log_events(**self.asked)
            pages += 1
            for event in page["events"]:
                if event["eventId"] not in self.told[event["timestamp"]]:
                    self.told[event["timestamp"]].add(event["eventId"])
                    lines.append(event["message"])
            if "nextToken" in page:
                self.asked["nextToken"] = page["nextToken"]
                continue
            self.asked.pop("nextToken", None)
            if self.told:
                newest = max(self.told)
                self.told = defaultdict(set, {newest: self.told[newest]})
                self.asked["startTime"] = newest
            return lines, pages


def test_tail_follow_tells_every_line_once_also_late_ones(sim):
    logs = sim.client("logs")
    logs.create_log_group(logGroupName="/tail")
    for stream in ("a", "b"):
        logs.create_log_stream(logGroupName="/tail", logStreamName=stream)
    now = int(time.time() * 1000) - 60_000

    def put(stream, *events):
        logs.put_log_events(logGroupName="/tail", logStreamName=stream,
                            logEvents=[{"timestamp": now + at, "message": text} for at, text in events])

    put("a", (-5000, "before"), (0, "a0"), (2, "a2"), (4, "a4"))
    put("b", (1, "b1"), (3, "b3"))
    tail = Tail(logs, "/tail", now, limit=2)
    lines, pages = tail.new()
    assert lines == ["a0", "b1", "a2", "b3", "a4"] and pages >= 3
    assert tail.new()[0] == []
    put("b", (4, "late, of the newest timestamp"))
    assert tail.new()[0] == ["late, of the newest timestamp"]
    put("a", (9, "a9"), (9, "a9"))
    assert tail.new()[0] == ["a9", "a9"]
    assert tail.new()[0] == []
