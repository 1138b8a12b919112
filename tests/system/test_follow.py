# SPDX-License-Identifier: MIT
"""Holds that end with a process, and the journal as programs follow it."""

import contextlib
import json
import signal
import sqlite3
import subprocess

import pytest
from harness import Varlink, demote, wait_exit
from jobs import acting_as

HOLD = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); " \
       "s.sendall(sys.argv[2].encode() + b'\\0'); print(s.recv(65536).decode(), flush=True); s.close(); " \
       "sys.stdin.read()"


class Holder:
    """A process that holds GPUs while it lives."""

    def __init__(self, daemon, user, parameters='"kind":"hold","with_process":true,"wait_us":0'):
        call = '{"method":"org.dibs.Request","parameters":{' + parameters + "}}"
        self.process = subprocess.Popen(
            ["/usr/bin/python3", "-c", HOLD, str(daemon.socket), call],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=demote(user))
        self.answer = json.loads(self.process.stdout.readline().decode().rstrip("\n\0"))
        self.lease = self.answer["parameters"].get("lease")

    def kill(self):
        self.process.kill()
        self.close()

    def close(self):
        self.process.stdin.close()
        wait_exit(self.process)
        self.process.stdout.close()


@pytest.fixture
def holder(daemon, alice):
    holder = Holder(daemon, alice)
    yield holder
    if holder.process.poll() is None:
        holder.kill()


def test_a_hold_ends_with_its_process(daemon, holder):
    assert holder.lease["state"] == "active" and holder.lease["until"] is None
    assert holder.lease["with_process"] == holder.process.pid
    holder.kill()
    daemon.wait_leases(0)
    assert daemon.lease(holder.lease["id"])["end"] == "exited"


def test_such_a_hold_may_have_a_limit_too(make_daemon, alice):
    daemon = make_daemon(config="[lease]\ndefault-hold = 1h\nmax-hold = 1h\n").start()
    holder = Holder(daemon, alice, '"kind":"hold","with_process":true,"duration_us":1000000')
    daemon.wait_leases(0)
    assert daemon.lease(holder.lease["id"])["end"] == "expired"
    assert holder.process.poll() is None
    too_long = Holder(daemon, alice, '"kind":"hold","with_process":true,"duration_us":7200000000')
    assert too_long.answer["parameters"]["id"] == "limit.hold-too-long"
    for each in (holder, too_long):
        each.close()


def test_its_owner_can_give_it_back_while_the_process_lives(daemon, holder, alice, bob):
    number = str(holder.lease["id"])
    assert "ends with process" in daemon.dibs("give", number, bob, user=alice, code=None).stderr
    assert "no time limit" in daemon.dibs("extend", number, "1h", user=alice, code=None).stderr
    daemon.dibs("release", user=alice, code=None)  # all holds, but a program that uses its own
    assert len(daemon.leases()) == 1
    daemon.dibs("release", number, user=alice)
    daemon.wait_leases(0)
    assert holder.process.poll() is None


@pytest.mark.parametrize("alive", [True, False])
def test_a_crash_of_the_daemon_changes_nothing(daemon, holder, alive):
    daemon.process.send_signal(signal.SIGKILL)
    wait_exit(daemon.process)
    if not alive:
        holder.kill()
    daemon.start()
    if alive:
        assert [lease["id"] for lease in daemon.leases()] == [holder.lease["id"]]
        holder.kill()
    daemon.wait_leases(0)
    assert daemon.lease(holder.lease["id"])["end"] == "exited"


def test_after_a_boot_it_has_ended(daemon, holder, reboot):
    daemon.process.send_signal(signal.SIGKILL)
    wait_exit(daemon.process)
    daemon.start(wrapper=reboot())
    daemon.wait_leases(0)
    assert daemon.lease(holder.lease["id"])["end"] == "reboot"


def test_only_holds_can_be_bound(daemon, alice):
    run = Holder(daemon, alice, '"kind":"run","with_process":true')
    assert run.answer["parameters"]["id"] == "request.bound-without-hold"
    run.close()


# The journal


def kinds(reply):
    return [event["kind"] for event in reply["parameters"]["events"]]


def test_the_journal_from_a_line_on(daemon, alice, bob):
    first, second = (daemon.reserve(user=user)["id"] for user in (alice, bob))
    with daemon.varlink() as link:
        everything = link.call("org.dibs.Events", {"after": 0})["parameters"]["events"]
        granted = [event for event in everything if event["kind"] == "granted"]
        assert [event["lease"] for event in granted] == [first, second]
        assert [event["id"] for event in everything] == sorted(event["id"] for event in everything)
        later = link.call("org.dibs.Events", {"after": granted[0]["id"]})["parameters"]["events"]
        assert later == [event for event in everything if event["id"] > granted[0]["id"]]
        of_one = link.call("org.dibs.Events", {"after": 0, "lease": second})["parameters"]["events"]
        assert of_one == [event for event in everything if event["lease"] == second]
        assert link.call("org.dibs.Events")["parameters"] == {"events": [], "last": everything[-1]["id"]}
        assert "error" in link.call("org.dibs.Events", {"after": -1})


def test_who_follows_is_told_of_what_is_new(daemon, alice):
    daemon.reserve(user=alice)
    with daemon.varlink() as link:
        link.send("org.dibs.Events", {}, more=True)
        assert kinds(link.receive()) == []
        daemon.reserve(user=alice)
        told = link.receive()
        assert told["continues"] and "granted" in kinds(told)
        daemon.dibs("release", user=alice)
        assert kinds(link.receive()) == ["ended", "ended"]


def test_who_does_not_read_misses_nothing(daemon, alice):
    """The replies fill the socket; what comes after is read when there is room again."""
    rounds = 40
    with Varlink(daemon.socket) as reader, acting_as(alice), Varlink(daemon.socket) as writer:
        reader.send("org.dibs.Events", {}, more=True)
        assert kinds(reader.receive()) == []
        for _ in range(rounds):
            for _ in range(25):
                writer.call("org.dibs.Request", {"kind": "hold", "note": "n" * 400, "command": "c"})
                writer.call("org.dibs.Release", {"all": True})
        found = []
        while len(found) < rounds * 25 * 2:
            found += [e for e in reader.receive()["parameters"]["events"] if e["kind"] in ("granted", "ended")]
        assert [e["kind"] for e in found] == ["granted", "ended"] * rounds * 25
        assert [e["id"] for e in found] == sorted(e["id"] for e in found)


def test_who_is_far_behind_gets_all_pages(daemon):
    """Each fits into the socket, so that nothing but the pages themselves asks for the next."""
    lines = 4500
    daemon.stop()
    with contextlib.closing(sqlite3.connect(daemon.state / "dibs.db")) as db, db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(event)") if row[1] != "id"]
        first = db.execute(f"SELECT {', '.join(columns)} FROM event WHERE kind = 'started'").fetchone()
        db.executemany(f"INSERT INTO event ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                       [first] * lines)
    daemon.start()
    daemon.dibs("admin", "sensor", "pause")  # whose samples would ask for them, a second each
    with daemon.varlink() as link:
        link.send("org.dibs.Events", {"after": 0}, more=True)
        found = 0
        while found < lines:
            found += kinds(link.receive()).count("started")
