# SPDX-License-Identifier: MIT
"""One user connects, asks, or leaves unread more than there is room for; the others must not notice."""

import contextlib
import json
import os
import resource
import signal
import socket
import time

import pytest
from harness import DEADLINE, Varlink, demote, is_sanitized


def raise_open_files():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connect_many(daemon, number):
    """In a process of a user: how many of so many connections are served, and what the others are told."""
    links, told = [], set()
    for _ in range(number):
        link = Varlink(daemon.socket)
        links.append(link)
    served = 0
    for link in links:
        with contextlib.suppress(BrokenPipeError):
            link.send("org.varlink.service.GetInfo")
        reply = link.receive()
        if reply and "error" not in reply:
            served += 1
        else:
            told.add(reply["parameters"]["message"] if reply else None)
    return served, sorted(told), links


@contextlib.contextmanager
def crowd(daemon, user, prepare):
    """A process of a user that did prepare() and keeps what it returned; yields what else it returned (JSON)."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            ours.close()
            raise_open_files()
            demote(user)()
            *result, kept = prepare()
            theirs.sendall(json.dumps(result).encode() + b"\n")
            theirs.recv(1)
            del kept
        os._exit(0)
    theirs.close()
    ours.settimeout(3 * DEADLINE)
    try:
        with ours.makefile("r") as pipe:
            line = pipe.readline()
            assert line, "the process of the user failed"
            yield json.loads(line)
    finally:
        ours.close()
        os.waitpid(pid, 0)


def assert_served_in_time(daemon, user=None):
    start = time.monotonic()
    lease = daemon.reserve("--no-wait", user=user)
    daemon.dibs("release", lease["id"], user=user)
    daemon.dibs("status", user=user)
    assert time.monotonic() - start < (5 if is_sanitized() else 1)


def test_two_thousand_connections_of_one_user_leave_room_for_others(daemon, alice, bob):
    if raise_open_files() < 5000:
        pytest.skip("too few open files are allowed here")
    with crowd(daemon, alice, lambda: connect_many(daemon, 2000)) as (served, told):
        assert served == 200
        assert told == ["you have too many connections to dibsd; end some of your clients first"]
        assert_served_in_time(daemon, bob)
        assert_served_in_time(daemon)
        refused = daemon.dibs("status", user=alice, code=3).stderr
        assert "too many connections" in refused
    assert_served_in_time(daemon, alice)


def test_when_all_connections_are_taken_root_still_gets_in(make_daemon, alice, bob):
    daemon = make_daemon(config="[limits]\nconnections = 60\nconnections-per-user = 50\n").start()
    with crowd(daemon, alice, lambda: connect_many(daemon, 100)) as (served, told):
        assert served <= 50 and len(told) == 1
        assert "too many clients" in daemon.dibs("status", user=bob, code=3).stderr
        assert_served_in_time(daemon)
    assert_served_in_time(daemon, bob)


def ask_many(daemon, number):
    """In a process of a user: (how many wait, how many were refused, with what) of so many requests."""
    waiting, refused = [], {}
    link = Varlink(daemon.socket)
    for _ in range(number):
        link.send("org.dibs.Request", {"kind": "hold"}, more=True)
        reply = link.receive()
        if "error" in reply:
            text = reply["parameters"]["message"]
            refused[text] = refused.get(text, 0) + 1
            continue
        assert reply["continues"]
        waiting.append(link)
        link = Varlink(daemon.socket)
    return len(waiting), refused, [link, *waiting]


def test_ten_thousand_requests_of_one_user_leave_room_for_others(make_daemon, alice, bob):
    if raise_open_files() < 5000:
        pytest.skip("too few open files are allowed here")
    daemon = make_daemon(config="[limits]\nconnections-per-user = 1100\n").start()
    blocker = daemon.reserve("--gpu", "0,1,2,3,4,5,6,7")
    with crowd(daemon, alice, lambda: ask_many(daemon, 10000)) as (waiting, refused):
        assert waiting == 1000
        assert list(refused.values()) == [9000] and "at most 1000" in list(refused)[0]
        start = time.monotonic()
        assert daemon.dibs("reserve", "--no-wait", user=bob, code=4)
        daemon.dibs("release", blocker["id"])
        assert time.monotonic() - start < (5 if is_sanitized() else 1)
        assert len(daemon.wait_leases(8, state="active")) == 8
    daemon.wait_leases(0, state="waiting")


def memory_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_clients_that_never_read_harm_nobody(make_daemon, alice, bob):
    """They ask for a big answer again and again, or to be told about every change, and read nothing of it."""
    daemon = make_daemon(sim="64xA100-80G").start()
    status = b'{"method":"org.dibs.GetStatus"}\0'
    with contextlib.ExitStack() as stack:
        before = memory_kib(daemon.process.pid)
        for number in range(60):
            link = stack.enter_context(daemon.varlink())
            link.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    link.socket.send(status if number % 2 else status[:-2] + b',"more":true}\0')
        for _ in range(20):
            assert_served_in_time(daemon, bob)
        if not is_sanitized():
            assert memory_kib(daemon.process.pid) - before < 30 * 1024
    assert_served_in_time(daemon)


def test_watchers_are_told_ten_times_a_second_at_most(daemon):
    with daemon.varlink() as watcher, daemon.varlink() as busy:
        watcher.send("org.dibs.GetStatus", more=True)
        start, told, number = time.monotonic(), 0, 0
        while number < 400:
            busy.call("org.dibs.Drain", {"gpu": "0", "reason": f"{number}"})
            number += 1
        busy.call("org.dibs.Drain", {"gpu": "0", "reason": "last"})
        while watcher.receive()["parameters"]["gpus"][0]["reason"] != "last":
            told += 1
        assert told <= 2 + 10 * (time.monotonic() - start)


def test_a_watcher_that_did_not_read_for_a_while_sees_the_present_in_the_end(make_daemon):
    quiet = "[sensor]\ninterval = 1h\ndeadline = 2h\n"  # nothing else is to wake the daemon
    daemon = make_daemon(sim="256xA100-80G", config=quiet).start()
    with daemon.varlink() as slow, daemon.varlink() as fast:
        for watcher in (slow, fast):
            watcher.send("org.dibs.GetStatus", more=True)
        for number in range(5):  # more than a socket takes
            daemon.dibs("admin", "drain", number, "--reason", "slow")
            while fast.receive()["parameters"]["gpus"][number]["state"] != "draining":
                pass
        while slow.receive()["parameters"]["gpus"][4]["state"] != "draining":
            pass


def test_too_many_changes_within_an_hour_are_refused_but_never_giving_back(make_daemon, alice, bob):
    daemon = make_daemon(config="[limits]\nchanges-per-hour = 3\n").start()
    first = daemon.reserve(user=alice)
    daemon.dibs("extend", first["id"], "1h", user=alice)
    second = daemon.reserve(user=alice)
    said = daemon.dibs("reserve", user=alice, code=3).stderr
    assert "more than 3 changes within an hour" in said
    daemon.dibs("extend", first["id"], "1h", user=alice, code=3)
    assert len(daemon.leases(state="active")) == 2
    for arguments in (["status"], ["show", first["id"]], ["release", first["id"]], ["release", second["id"]]):
        daemon.dibs(*arguments, user=alice)
    assert daemon.leases() == []
    daemon.reserve(user=bob)
    for _ in range(4):
        daemon.reserve()


def test_more_changes_are_allowed_after_a_reload(make_daemon, alice):
    daemon = make_daemon(config="[limits]\nchanges-per-hour = 1\n").start()
    daemon.reserve(user=alice)
    daemon.dibs("reserve", user=alice, code=3)
    daemon.write_config("[limits]\nchanges-per-hour = 2\n")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log("was read again")
    daemon.reserve(user=alice)
