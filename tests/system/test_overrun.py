# SPDX-License-Identifier: MIT
"""Holds that go on for a while after their time ([lease] hold-grace)."""

import signal

import pytest
from harness import wait_exit


@pytest.fixture
def late(make_daemon):
    """A daemon whose holds are given an hour more, and a hold whose time was over."""
    def make(user, grace="1h"):
        daemon = make_daemon(config=f"[lease]\nhold-grace = {grace}\n").start()
        number = daemon.reserve("--duration", "1s", user=user)["id"]
        return daemon, number
    return make


def kinds(daemon, number):
    return [event["kind"] for event in daemon.lease(number)["events"]]


def wait_warned(daemon, number):
    daemon.wait_status(lambda _: "warned" in kinds(daemon, number))


def test_it_goes_on_and_its_owner_is_warned(late, alice, bob):
    daemon, number = late(alice)
    wait_warned(daemon, number)
    assert [lease["state"] for lease in daemon.leases()] == ["active"]
    refused = daemon.dibs("reserve", "--gpu", "0", "--no-wait", user=bob, code=None)
    assert refused.returncode != 0 and alice in refused.stderr
    daemon.dibs("extend", str(number), "2h", user=alice)
    assert kinds(daemon, number) == ["granted", "warned", "extended"]
    daemon.dibs("release", str(number), user=alice)
    assert daemon.leases() == []


def test_then_it_ends(late, alice):
    daemon, number = late(alice, "1s")
    daemon.wait_leases(0)
    assert daemon.lease(number)["end"] == "expired" and kinds(daemon, number) == ["granted", "warned", "ended"]


def test_a_crash_gives_it_no_second_grace(late, alice):
    daemon, number = late(alice, "2s")
    wait_warned(daemon, number)
    daemon.process.send_signal(signal.SIGKILL)
    wait_exit(daemon.process)
    daemon.start()
    daemon.wait_leases(0)
    assert kinds(daemon, number) == ["granted", "warned", "ended"]
