# SPDX-License-Identifier: MIT
"""What other tools knew, as Import takes it over."""

import json
import signal
import time
from datetime import datetime, timezone

import pytest
from harness import uid_of, wait_exit
from jobs import acting_as
from test_store import fill

SECOND = 1_000_000
HOUR = 3600 * SECOND


def now():
    return time.time_ns() // 1000


def record(origin, user, gpus=(0,), kind="run", since=-2 * HOUR, until=-HOUR, **more):
    return {"origin": origin, "kind": kind, "uid": uid_of(user), "gpus": list(gpus), "since": now() + since,
            "until": now() + until, "active": False, **more}


def take_over(daemon, *records):
    with daemon.varlink() as link:
        reply = link.call("org.dibs.Import", {"records": list(records)})
        assert "error" not in reply, reply
        return reply["parameters"]


def history(daemon):
    return json.loads(daemon.dibs("history", "--all", "--json").stdout)


def rows(daemon):
    report = json.loads(daemon.dibs("report", "--days", "1", "--json").stdout)
    return {row["name"]: row for row in report["rows"]}


def test_what_has_ended_is_history(daemon, alice, bob):
    result = take_over(daemon, record("a", alice, (0, 3)), record("b", bob, kind="hold", note="night\x1b[2J"))
    assert result == {"imported": 2, "known": 0, "skipped": []}
    found = {lease["user"]: lease for lease in history(daemon)}
    assert (found[alice]["gpus"], found[alice]["kind"], found[alice]["end"]) == ([0, 3], "run", "exited")
    assert (found[bob]["gpus"], found[bob]["kind"], found[bob]["end"]) == ([0], "hold", "released")
    assert "\x1b" not in found[bob]["note"] and "night" in found[bob]["note"]
    assert daemon.leases() == []


def test_the_report_knows_what_was_held_but_not_whether_it_was_used(daemon, alice):
    take_over(daemon, record("a", alice, (0, 3)))
    row = rows(daemon)[alice]
    assert row["held_us"] == pytest.approx(2 * HOUR, abs=SECOND)
    assert (row["used_us"], row["idle_us"]) == (0, 0)


def test_a_hold_goes_on(daemon, alice):
    result = take_over(daemon, record("a", alice, (2, 5), "hold", -HOUR, HOUR, active=True, note="mine"))
    assert result == {"imported": 1, "known": 0, "skipped": []}
    lease, = daemon.leases()
    assert (lease["uid"], lease["gpus"], lease["kind"], lease["note"]) == (uid_of(alice), [2, 5], "hold", "mine")
    left = datetime.fromisoformat(lease["until"]) - datetime.now(timezone.utc)
    assert left.total_seconds() == pytest.approx(3600, abs=20)
    assert rows(daemon)[alice]["held_us"] == pytest.approx(2 * HOUR, abs=20 * SECOND)
    daemon.restart()
    assert [each["id"] for each in daemon.leases()] == [lease["id"]]
    daemon.dibs("release", str(lease["id"]), user=alice)
    assert daemon.leases() == []


def test_nothing_is_taken_over_twice(daemon, alice):
    records = [record("a", alice), record("b", alice, (1,), "hold", -HOUR, HOUR, active=True), record("a", alice)]
    assert take_over(daemon, *records) == {"imported": 2, "known": 1, "skipped": []}
    daemon.process.send_signal(signal.SIGKILL)
    wait_exit(daemon.process)
    daemon.start()
    assert take_over(daemon, *records) == {"imported": 0, "known": 3, "skipped": []}
    assert len(daemon.leases()) == 1 and len(history(daemon)) == 2


def test_what_cannot_be_is_skipped_with_a_reason(daemon, alice, bob):
    daemon.dibs("reserve", "--gpu", "1", user=bob)
    result = take_over(
        daemon, record("gpu", alice, (77,)), record("none", alice, ()), record("future", alice, until=HOUR),
        record("backwards", alice, since=-HOUR, until=-2 * HOUR), record("run", alice, until=HOUR, active=True),
        record("taken", alice, (1,), "hold", until=HOUR, active=True),
        record("fine", alice, (2,), "hold", until=HOUR, active=True),
        record("twice", alice, (2,), "hold", until=HOUR, active=True))
    assert result["imported"] == 1
    reasons = dict(line.split(": ", 1) for line in result["skipped"])
    assert sorted(reasons) == ["backwards", "future", "gpu", "none", "run", "taken", "twice"]
    assert "there is no GPU 77" in reasons["gpu"] and f"uid {uid_of(bob)}" in reasons["taken"]
    assert f"uid {uid_of(alice)}" in reasons["twice"]


def test_a_bad_record_refuses_all(daemon, alice):
    good = record("a", alice)
    for bad in ({**good, "kind": "job"}, {**good, "origin": ""}, {**good, "uid": -1}, {**good, "more": 1},
                {**good, "gpus": "0"}, {**good, "origin": "x" * 201}, {**good, "since": None}):
        with daemon.varlink() as link:
            reply = link.call("org.dibs.Import", {"records": [good, bad]})
            assert reply["error"] == "org.dibs.Invalid" and "record 1" in reply["parameters"]["message"], reply
    with daemon.varlink() as link:
        assert "error" in link.call("org.dibs.Import", {"records": [good] * 501})
        assert "error" in link.call("org.dibs.Import", {"records": [1]})
    assert history(daemon) == []


def test_only_administrators_may(daemon, alice):
    with acting_as(alice), daemon.varlink() as link:
        assert link.call("org.dibs.Import", {"records": [record("a", alice)]})["error"] == "org.dibs.Refused"


def test_a_full_disk_takes_over_nothing(disk_daemon, alice):
    """And the same records again when there is room."""
    disk_daemon.start()
    records = [record(f"r{i}", alice, (i % 8,), note="n" * 400) for i in range(100)]
    records.append(record("hold", alice, (1,), "hold", until=HOUR, active=True))
    fill(disk_daemon)
    with disk_daemon.varlink() as link:
        reply = link.call("org.dibs.Import", {"records": records})
        assert reply.get("error") == "org.dibs.Fault", reply
    assert disk_daemon.leases() == []
    (disk_daemon.state / "filler").unlink()
    with disk_daemon.varlink() as link:
        reply = link.call("org.dibs.Import", {"records": records})
    assert reply["parameters"]["known"] == 0, reply
    assert reply["parameters"]["imported"] == len(records)
    assert len(disk_daemon.leases()) == 1
