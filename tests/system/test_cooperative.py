# SPDX-License-Identifier: MIT
"""dibsd as an ordinary user: no cgroups, no power over others, but the same queue and the same rules."""

import os
import signal
from pathlib import Path

import pytest
from harness import DEADLINE, read_line, wait_exit


@pytest.fixture
def daemon(make_daemon, carol):
    """Carol's daemon; the clients are others."""
    return make_daemon(user=carol, config="[lease]\nkill-grace = 1s\n").start()


def sleeper(daemon, user, *options, script="echo up; exec sleep 1000"):
    process = daemon.popen("run", *options, "--", "sh", "-c", script, user=user)
    assert read_line(process.stdout) == "up\n"
    return process


def test_it_runs_without_any_privilege(daemon):
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    assert daemon.status()["guard"] == "off"


def test_run_reserve_release_and_queue_work_for_everybody(daemon, alice, bob):
    run = daemon.dibs("run", "-g", "2", "--", "sh", "-c", "echo $DIBS_GPUS; exit 3", user=alice, code=3)
    assert run.stdout == "0,1\n"
    daemon.wait_leases(0)
    hold = daemon.reserve("-g", "8", user=alice)["id"]
    waiting = daemon.popen("run", "--", "echo", "started", user=bob)
    daemon.wait_leases(1, state="waiting")
    assert daemon.dibs("release", hold, user=bob, code=3).stderr.startswith(f"dibs: hold #{hold} belongs to {alice}")
    assert f" {bob} " in daemon.dibs("queue", user=alice).stdout
    daemon.dibs("release", hold, user=alice)
    assert waiting.communicate(timeout=DEADLINE)[0] == b"started\n"
    daemon.wait_leases(0)


def test_run_ends_with_its_leader(daemon, alice):
    process = daemon.popen("run", "--", "sh", "-c", "sleep 1000 & echo $!", user=alice)
    child = int(read_line(process.stdout))
    assert wait_exit(process) == 0
    daemon.wait_leases(0)
    assert Path(f"/proc/{child}").exists()
    os.kill(child, signal.SIGKILL)


def test_run_of_a_killed_leader_ends_at_once(daemon, alice):
    process = sleeper(daemon, alice)
    process.kill()
    daemon.wait_leases(0, deadline=5)


def test_who_dies_while_waiting_leaves_the_queue(daemon, alice, bob):
    daemon.reserve("-g", "8", user=alice)
    waiting = daemon.popen("run", "--", "true", user=bob)
    daemon.wait_leases(1, state="waiting")
    waiting.kill()
    daemon.wait_leases(0, state="waiting", deadline=5)


def test_limit_for_others_is_refused_with_the_reason(daemon, alice):
    result = daemon.dibs("run", "-t", "1h", "--", "true", user=alice, code=3)
    assert result.stderr == ("dibs: this dibsd does not run as root, so it cannot end your command at a limit; "
                             "leave the limit out\n")
    assert daemon.leases() == []


def test_limit_for_its_own_user_ends_the_command(daemon, carol):
    process = sleeper(daemon, carol, "-t", "1s")
    assert wait_exit(process) == -signal.SIGTERM
    daemon.wait_leases(0)
    assert daemon.lease(1)["end"] == "limit"


def test_limit_for_its_own_user_kills_who_ignores_term(daemon, carol):
    process = sleeper(daemon, carol, "-t", "1s", script="trap '' TERM; echo up; while :; do sleep 100; done")
    daemon.wait_leases(1, state="grace")
    assert wait_exit(process) == -signal.SIGKILL
    daemon.wait_leases(0)


def test_release_of_a_run_that_it_cannot_end_is_refused_with_the_reason(daemon, alice):
    process = sleeper(daemon, alice)
    sentence = f"dibs: this dibsd does not run as root, so it cannot end run #1; end process {process.pid} instead\n"
    assert daemon.dibs("release", 1, user=alice, code=3).stderr == sentence
    assert daemon.dibs("release", "--all", user=alice, code=3).stderr == sentence
    assert daemon.dibs("admin", "release", 1, "--reason", "test", code=3).stderr == sentence
    assert daemon.dibs("release", user=alice).stdout == "nothing to release\n"
    assert [lease["state"] for lease in daemon.leases()] == ["active"]
    assert process.poll() is None
    process.kill()
    daemon.wait_leases(0)


def test_only_its_own_user_and_root_administer(daemon, alice, carol):
    daemon.reserve(user=alice)
    assert "only administrators" in daemon.dibs("admin", "drain", "0", "--reason", "fan", user=alice, code=3).stderr
    daemon.dibs("admin", "drain", "0", "--reason", "fan")
    daemon.dibs("admin", "undrain", "0")


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_restarted_daemon_finds_runs_and_holds_again(daemon, alice, bob, how):
    process = sleeper(daemon, alice)
    hold = daemon.reserve(user=bob)["id"]
    ended = sleeper(daemon, bob)
    before = [(lease["id"], lease["state"], lease["gpus"]) for lease in daemon.leases()]
    if how == "restart":
        daemon.stop()
    else:
        daemon.kill()
    ended.kill()
    ended.wait()
    daemon.start()
    daemon.wait_leases(2)
    assert [(lease["id"], lease["state"], lease["gpus"]) for lease in daemon.leases()] == before[:2]
    process.kill()
    assert [lease["id"] for lease in daemon.wait_leases(1)] == [hold]


def test_waiting_client_keeps_its_place_over_a_restart(daemon, alice, bob):
    hold = daemon.reserve("-g", "8", user=alice)["id"]
    waiting = daemon.popen("run", "--", "echo", "started", user=bob)
    daemon.wait_leases(1, state="waiting")
    daemon.crash_and_restart()
    daemon.dibs("release", hold, user=alice)
    assert waiting.communicate(timeout=DEADLINE)[0] == b"started\n"
