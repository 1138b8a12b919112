# SPDX-License-Identifier: MIT
"""When a run ends: with the last of its processes, at its limit, or when its owner says so.

Most of it needs cgroups; test_cooperative.py has what is left without them.
"""

import os
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
from harness import cgroup2_mount, demote, process_with_pid, read_line, wait_exit

needs_cgroup = pytest.mark.skipif(not cgroup2_mount(), reason="no cgroup v2")

SHORT_GRACE = "[lease]\nkill-grace = 1s\n"
LONG_GRACE = "[lease]\nkill-grace = 1h\n"


def start(daemon, script, user, *options, lines=1, **popen):
    """dibs run -- bash -c script; returns the process and the first lines that it printed."""
    process = daemon.popen("run", *options, "--", "bash", "-c", script, user=user, **popen)
    return process, [read_line(process.stdout).strip() for _ in range(lines)]


def members(daemon, lease_id):
    """The processes of a run."""
    path = daemon.cgroup_root / f"lease-{lease_id}" / "cgroup.procs"
    return [int(pid) for pid in path.read_text().split()]


# The last of its processes

SURVIVORS = {
    "background child": "sleep 1000 & echo $!",
    "double fork": "( (echo $BASHPID; exec sleep 1000) & )",
    "setsid": "setsid bash -c 'echo $$; exec sleep 1000' &",
    "daemon": "setsid -f bash -c 'cd /; umask 0; echo $$; exec sleep 1000 <&- >&- 2>&-'",
    "ignores hang-up": "nohup bash -c 'echo $$; exec sleep 1000' & disown",
    "stopped": "bash -c 'echo $$; kill -STOP $$' & sleep 0.01",
}


@needs_cgroup
@pytest.mark.parametrize("how", SURVIVORS)
def test_run_lasts_until_the_last_process_ends(daemon, alice, how):
    process, [pid] = start(daemon, SURVIVORS[how], alice, stdin=None)
    assert wait_exit(process) == 0
    [lease] = daemon.wait_leases(1, kind="run", state="active")
    assert members(daemon, lease["id"]) == [int(pid)]
    os.kill(int(pid), signal.SIGKILL)
    daemon.wait_leases(0, deadline=5)
    assert daemon.lease(1)["end"] == "exited"


@needs_cgroup
def test_process_that_becomes_root_inside_a_run_is_counted(daemon, base_directory, alice):
    sudo = base_directory / "sudo"
    shutil.copy(shutil.which("setpriv"), sudo)
    sudo.chmod(0o4755)
    script = f"{sudo} --reuid 0 --regid 0 --clear-groups bash -c 'echo $$ $UID; exec sleep 1000' &"
    process, [line] = start(daemon, script, alice)
    pid, uid = map(int, line.split())
    assert uid == 0
    assert wait_exit(process) == 0
    daemon.wait_leases(1, kind="run", state="active")
    daemon.dibs("release", 1, user=alice)
    wait_exit(pid)
    daemon.wait_leases(0, deadline=5)


@needs_cgroup
def test_process_of_another_user_inside_a_run_is_counted(daemon, alice):
    script = f"exec runuser -u {alice} -- bash -c 'sleep 1000 & echo $! $UID'"
    process, [line] = start(daemon, script, None)
    pid, uid = map(int, line.split())
    assert wait_exit(process) == 0 and uid != 0
    [lease] = daemon.wait_leases(1, kind="run", state="active")
    assert lease["uid"] == 0
    os.kill(pid, signal.SIGKILL)
    daemon.wait_leases(0, deadline=5)


@pytest.mark.parametrize("cgroups", [True, False], ids=["cgroup", "pidfd"])
def test_zombie_leader_that_nobody_waits_for_does_not_hold_the_lease(make_daemon, alice, cgroups):
    daemon = make_daemon(cgroups=cgroups).start()
    process, _ = start(daemon, "echo ready", alice)
    daemon.wait_leases(0, deadline=5)
    assert Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "Z"
    assert daemon.lease(1)["end"] == "exited"


@needs_cgroup
def test_run_that_was_killed_as_a_whole_ends(daemon, alice):
    process, _ = start(daemon, "sleep 1000 & sleep 1001 & echo ready; wait", alice)
    for pid in members(daemon, 1):
        os.kill(pid, signal.SIGKILL)
    daemon.wait_leases(0, deadline=5)
    assert wait_exit(process) == -signal.SIGKILL


@needs_cgroup
def test_nothing_is_left_of_a_run_that_ended(daemon, alice):
    daemon.dibs("run", "--", "true", user=alice)
    daemon.wait_leases(0)
    daemon.stop()
    assert not list(daemon.cgroup_root.glob("lease-*"))


@pytest.mark.parametrize("cgroups", [True, False], ids=["cgroup", "pidfd"])
def test_recycled_pid_is_not_taken_for_the_run(make_daemon, alice, cgroups):
    daemon = make_daemon(cgroups=cgroups).start()
    process, _ = start(daemon, "echo ready; exec sleep 1000", alice)
    daemon.wait_leases(1, kind="run", state="active")
    daemon.kill()
    process.kill()
    process.wait()
    with process_with_pid(process.pid):
        daemon.start()
        daemon.wait_leases(0, deadline=5)
        assert daemon.lease(1)["end"] == "exited"
        assert Path(f"/proc/{process.pid}").exists()
        assert "lease-1" not in Path(f"/proc/{process.pid}/cgroup").read_text()


# At its limit


def test_limit_sends_term_and_the_command_has_time_to_clean_up(daemon, alice):
    script = "trap 'echo cleaning; exit 7' TERM; echo ready; while :; do read -t 0.01 <> <(:); done"
    began = time.monotonic()
    process, _ = start(daemon, script, alice, "-t", "1s")
    assert read_line(process.stdout) == "cleaning\n"
    assert 0.9 < time.monotonic() - began < 3
    assert wait_exit(process) == 7
    daemon.wait_leases(0)
    shown = daemon.lease(1)
    assert shown["end"] == "limit"
    assert [event["kind"] for event in shown["events"]] == ["granted", "warned", "ended"]


@needs_cgroup
def test_limit_ends_all_processes_also_those_in_other_sessions(daemon, alice):
    script = ("sleep 1000 & echo $!; setsid sleep 1001 & echo $!; (sleep 1002 & echo $!); "
              "bash -c 'kill -STOP $$' & echo $!; wait $!")
    process, pids = start(daemon, script, alice, "-t", "1s", lines=4)
    for pid in map(int, pids):
        wait_exit(pid, 5)
    assert wait_exit(process) == -signal.SIGTERM
    daemon.wait_leases(0)


def test_who_ignores_term_is_in_grace_and_then_killed(make_daemon, alice):
    daemon = make_daemon(config=SHORT_GRACE).start()
    process, _ = start(daemon, "trap '' TERM; echo ready; while :; do sleep 100; done", alice, "-t", "1s")
    [lease] = daemon.wait_leases(1, state="grace")
    assert daemon.status()["gpus"][0]["state"] == "leased"
    assert lease["gpus"] == [0]
    assert wait_exit(process) == -signal.SIGKILL
    daemon.wait_leases(0)
    assert daemon.lease(1)["end"] == "limit"
    with daemon.varlink() as link:
        _, warned, ended = link.call("org.dibs.Show", {"id": 1})["parameters"]["events"]
    assert 1_000_000 <= ended["time"] - warned["time"] < 3_000_000


def test_stopped_process_gets_to_see_its_term(make_daemon, alice):
    daemon = make_daemon(config=LONG_GRACE).start()
    script = "trap 'echo cleaning; exit 3' TERM; echo ready; while :; do read -t 0.01 <> <(:); done"
    process, _ = start(daemon, script, alice, "-t", "1s")
    process.send_signal(signal.SIGSTOP)
    assert read_line(process.stdout) == "cleaning\n"
    assert wait_exit(process) == 3


@needs_cgroup
def test_fork_storm_that_ignores_term_is_ended(make_daemon, carol):
    daemon = make_daemon(config=SHORT_GRACE).start()
    become = demote(carol)

    def limited():
        resource.setrlimit(resource.RLIMIT_NPROC, (150, 150))
        become()

    storm = "trap '' TERM; echo ready; storm() { while :; do (storm) & done 2> /dev/null; sleep 0.01; storm; }; storm"
    process, _ = start(daemon, storm, None, "-t", "1s", preexec_fn=limited, stderr=-3)
    assert wait_exit(process) == -signal.SIGKILL
    daemon.wait_leases(0)
    daemon.stop()
    assert not list(daemon.cgroup_root.glob("lease-*"))


def test_run_can_be_extended_before_its_limit(daemon, alice):
    process, _ = start(daemon, "echo ready; exec sleep 1000", alice, "-t", "2s")
    daemon.dibs("extend", 1, "1h", user=alice)
    [until] = [lease["until"] for lease in daemon.leases(state="active")]
    began = time.monotonic()
    with pytest.raises(AssertionError):
        daemon.wait_leases(0, deadline=2.5)  # not at the old limit
    assert time.monotonic() - began > 2 and process.poll() is None
    assert [lease["until"] for lease in daemon.leases(state="active")] == [until]
    process.kill()


# When its owner says so


def test_release_of_a_run_ends_it_as_its_limit_would(make_daemon, alice):
    daemon = make_daemon(config=LONG_GRACE).start()
    script = "trap 'echo asked' TERM; echo ready; while ! read -t 0.01 <&3; do :; done 3<> <(:)"
    process, _ = start(daemon, script, alice)
    out = daemon.dibs("release", 1, user=alice).stdout
    assert out == "run 1: its processes on GPU 0 were told to end\n"
    assert read_line(process.stdout) == "asked\n"
    daemon.wait_leases(1, state="grace")
    process.kill()
    daemon.wait_leases(0)
    assert daemon.lease(1)["end"] == "released"


def test_nothing_but_time_passes_in_grace(make_daemon, alice):
    """Whatever else is asked of a run that was told to end, it is told once."""
    daemon = make_daemon(config=LONG_GRACE).start()
    script = "trap 'echo asked' TERM; trap 'echo again' USR1; echo ready; while :; do sleep 0.01 & wait $!; done"
    process, _ = start(daemon, script, alice, "-t", "1h")
    daemon.dibs("release", 1, user=alice)
    assert read_line(process.stdout) == "asked\n"
    daemon.dibs("extend", 1, "1h", user=alice, code=3)
    daemon.dibs("release", 1, user=alice)
    daemon.dibs("admin", "release", 1, "--reason", "again")
    daemon.wait_leases(1, state="grace")
    process.send_signal(signal.SIGUSR1)
    assert read_line(process.stdout) == "again\n"
    process.kill()
    daemon.wait_leases(0)


def test_run_of_another_is_not_ended(daemon, alice, bob):
    process, _ = start(daemon, "echo ready; exec sleep 1000", alice)
    result = daemon.dibs("release", 1, user=bob, code=3)
    assert result.stderr == (f"dibs: run #1 belongs to {alice}, only they can release it; "
                             "ask them, or an administrator\n")
    assert "nothing to release" in daemon.dibs("release", "--all", user=bob).stdout
    daemon.wait_leases(1, state="active")
    process.kill()


def test_plain_release_is_for_holds_and_leaves_runs_alone(daemon, alice):
    process, _ = start(daemon, "echo ready; exec sleep 1000", alice)
    hold = daemon.reserve(user=alice)
    assert daemon.dibs("release", user=alice).stdout == f"hold {hold['id']}: GPU 1 released\n"
    assert [lease["kind"] for lease in daemon.leases()] == ["run"]
    process.kill()
