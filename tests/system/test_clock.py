# SPDX-License-Identifier: MIT
"""Time: who sets the clock, boots the machine or stops the daemon neither ends nor prolongs a hold."""

import struct
import time

import pytest
from harness import preload, read_line

SECOND = 1_000_000
DAY = 86400
HOUR = 3600
NEAR = SECOND / 2  # two looks at the clock, and what a slewed clock of the machine may add


class Wall:
    """The wall clock of a daemon, to be set."""

    def __init__(self, directory):
        self.path = directory / "offset"
        self.set(0)

    def set(self, offset):
        self.path.touch()
        with open(self.path, "r+b") as file:
            file.write(struct.pack("q", offset))

    def environment(self):
        return preload("shift-clock", DIBS_CLOCK_OFFSET=self.path)


@pytest.fixture
def wall(tmp_path):
    return Wall(tmp_path)


@pytest.fixture
def daemon(make_daemon, wall):
    return make_daemon(environment=wall.environment()).start()


def hold(daemon, seconds, **parameters):
    with daemon.varlink() as link:
        reply = link.call("org.dibs.Request", {"kind": "hold", "duration_us": int(seconds * SECOND), **parameters})
    return reply["parameters"]["lease"]


def show(daemon, lease):
    with daemon.varlink() as link:
        reply = link.call("org.dibs.Show", {"id": lease["id"]})["parameters"]
    return reply["lease"], reply["events"]


@pytest.mark.parametrize("offset", [DAY, -DAY])
def test_a_hold_is_shown_by_the_clock_but_does_not_live_by_it(daemon, wall, offset):
    lease = hold(daemon, 8 * HOUR)
    for restart in (lambda: None, daemon.restart, daemon.crash_and_restart):
        wall.set(offset)
        restart()
        now, _ = show(daemon, lease)
        assert now["state"] == "active"
        assert abs(now["until"] - lease["until"] - offset * SECOND) < NEAR
        assert abs(now["since"] - lease["since"] - offset * SECOND) < NEAR
        wall.set(0)
        assert abs(show(daemon, lease)[0]["until"] - lease["until"]) < NEAR


@pytest.mark.parametrize("offset", [DAY, -DAY])
def test_a_hold_of_a_second_lasts_a_second_whoever_sets_the_clock(daemon, wall, offset):
    start = time.monotonic()
    lease = hold(daemon, 1)
    wall.set(offset)
    daemon.crash_and_restart()
    assert show(daemon, lease)[0]["state"] == "active"
    daemon.wait_leases(0, id=lease["id"])
    assert 1 <= time.monotonic() - start < 5
    assert show(daemon, lease)[0]["end"] == "expired"


@pytest.mark.parametrize("offset", [DAY, -DAY])
def test_waiting_for_a_second_takes_a_second_whoever_sets_the_clock(daemon, wall, offset):
    hold(daemon, HOUR, count=8)
    start = time.monotonic()
    with daemon.varlink() as link:
        link.send("org.dibs.Request", {"kind": "hold", "wait_us": SECOND}, more=True)
        assert link.receive()["continues"]
        wall.set(offset)
        reply = link.receive()
    assert reply["error"] == "org.dibs.NotFree", reply
    assert 1 <= time.monotonic() - start < 5


def test_a_hold_that_expires_while_no_daemon_runs_ends_at_its_time(daemon):
    lease = hold(daemon, 0.2)
    later = hold(daemon, HOUR)
    daemon.kill()
    time.sleep(0.5)
    daemon.start()
    ended, events = show(daemon, lease)
    assert (ended["state"], ended["end"]) == ("ended", "expired")
    assert abs(ended["ended"] - lease["until"]) < NEAR / 5
    assert events[-1]["kind"] == "ended" and abs(events[-1]["time"] - lease["until"]) < NEAR / 5
    assert show(daemon, later)[0]["state"] == "active"


def test_a_reboot_ends_runs_and_keeps_holds(daemon, reboot, alice, bob):
    kept = hold(daemon, 8 * HOUR, count=2)
    run = daemon.popen("run", "-g", "6", "--", "sh", "-c", "echo; exec sleep 1000", user=alice)
    read_line(run.stdout)
    waiting = daemon.popen("reserve", user=bob)
    daemon.wait_leases(1, state="waiting")
    leases = {lease["state"] + lease["kind"]: lease for lease in daemon.status()["leases"]}
    daemon.kill()
    for process in (run, waiting):
        process.kill()
        process.wait()
    daemon.start(wrapper=reboot())

    now, events = show(daemon, kept)
    assert now["state"] == "active" and now["gpus"] == kept["gpus"]
    assert abs(now["until"] - kept["until"]) < NEAR
    assert [event["kind"] for event in events] == ["granted"]
    assert show(daemon, leases["activerun"])[0]["end"] == "reboot"
    assert show(daemon, leases["waitinghold"])[0]["end"] == "gone"
    states = [gpu["state"] for gpu in daemon.status()["gpus"]]
    assert states.count("leased") == 2 and states.count("free") == 6


def test_time_goes_on_while_the_machine_is_off(daemon, reboot, wall):
    over = hold(daemon, HOUR)
    kept = hold(daemon, 2 * DAY)
    daemon.kill()
    wall.set(DAY)
    daemon.start(wrapper=reboot())
    ended, _ = show(daemon, over)
    assert ended["end"] == "expired" and abs(ended["ended"] - over["until"]) < NEAR
    assert abs(show(daemon, kept)[0]["until"] - kept["until"]) < NEAR


def test_a_clock_that_was_lost_with_the_power_does_not_prolong_a_hold(daemon, reboot, wall):
    """The machine comes up yesterday: how long it was off is not known, so no time at all is taken for it."""
    kept = hold(daemon, 2 * HOUR)
    daemon.kill()
    wall.set(-DAY)
    daemon.start(wrapper=reboot())
    now, _ = show(daemon, kept)
    assert now["state"] == "active"
    assert abs(now["until"] - (kept["until"] - DAY * SECOND)) < NEAR
