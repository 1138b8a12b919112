# SPDX-License-Identifier: MIT
"""Jobs at moments that are hard to hit: answers that cross, commits that fail, daemons that die half way."""

import contextlib
import os
import select
import signal
import socket
import sqlite3
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from harness import DEADLINE, cgroup2_mount, small_disk
from jobs import QUICK, SECOND
from test_jobs_crash import fill, supervisors
from test_suspend import Site, wait_for


@pytest.fixture
def new_site(base_directory, make_daemon, sessions, devices):
    """Its daemon is not started yet."""
    directory = Path(tempfile.mkdtemp(dir=base_directory))
    directory.chmod(0o755)
    return Site(directory, make_daemon, sessions, devices)


@pytest.fixture
def site(new_site):
    new_site.daemon.start()
    return new_site


@contextlib.contextmanager
def stored(daemon):
    """The database of a daemon that does not run, to be changed."""
    with contextlib.closing(sqlite3.connect(daemon.state / "dibs.db")) as db:
        yield db
        db.commit()


def kill_tools(site):
    """Those that hang."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(path / "exe") == str(site.tool.path):
                os.kill(int(path.name), signal.SIGKILL)


def rounds(daemon):
    """How often it has waited for something to happen."""
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("voluntary_ctxt_switches")).split()[1])


def ask_together(daemon, asks):
    """Calls of several connections that are handled in one round of the loop; the connections."""
    links = [daemon.varlink() for _ in asks]
    daemon.process.send_signal(signal.SIGSTOP)
    for link, (method, parameters) in zip(links, asks):
        link.send(f"org.dibs.{method}", parameters, more=method == "WaitJobs")
    daemon.process.send_signal(signal.SIGCONT)
    return links


def answers(link):
    """All of one call."""
    found = []
    while True:
        reply = link.receive()
        assert reply, found
        found.append(reply)
        if not reply.get("continues"):
            return found


# WaitJobs


def test_who_does_not_read_answers_does_no_harm(jobs, alice):
    """Security: the first of several answers to one call finds the connection shut."""
    numbers = [jobs.submit(alice, "true") for _ in range(3)]
    jobs.wait(*numbers)
    for _ in range(3):
        with jobs.daemon.varlink() as link:
            link.socket.shutdown(socket.SHUT_RD)
            link.send("org.dibs.WaitJobs", {"ids": [str(n) for n in numbers]}, more=True)
            jobs.demand(None, "GetStatus")
    jobs.daemon.stop()


def test_answers_come_in_order_and_the_last_is_the_last(jobs, alice):
    """One job has ended, the other ends in the commit that answers."""
    ended = jobs.submit(alice, "true")
    jobs.wait_one(ended)
    for _ in range(10):
        blocker = jobs.demand(None, "Submit", jobs.order(None, "true", held=True))["lease"]["id"]
        links = ask_together(jobs.daemon, [("WaitJobs", {"ids": [str(ended), str(blocker)]}),
                                           ("ControlJobs", {"action": "cancel", "ids": [str(blocker)]})])
        found = answers(links[0])
        assert [r["parameters"]["lease"]["id"] for r in found] == [ended, blocker]
        for link in links:
            link.close()


# An end that is under way


def leave_behind(jobs, alice, **parameters):
    """A job whose command has failed, but not all of what it started ends."""
    up, gate = jobs.up(alice), jobs.fifo(alice, "gate")
    number = jobs.submit(alice, "setsid sh -c 'trap \"\" TERM; echo $$ >up; while :; do sleep 1000; done' & "
                                ": <gate; exit 2", grace_us=2 * SECOND, **parameters)
    up.line()
    gate.open()
    jobs.wait_state(number, "grace")
    return number


def test_what_is_cancelled_while_it_ends_is_not_tried_again(jobs, alice):
    number = leave_behind(jobs, alice, retries=1)
    jobs.control(alice, "cancel", number)
    lease = jobs.wait_one(number)
    assert (lease["state"], lease["job"]["restarts"]) == ("ended", 0)


def test_a_boot_does_not_bring_back_what_was_cancelled(jobs, reboot, alice):
    up = jobs.up(alice)
    numbers = [jobs.submit(alice, "trap '' TERM; echo >up; while :; do sleep 1000; done", grace_us=600 * SECOND,
                           **parameters) for parameters in ({"retries": 1}, {"on_limit": "requeue"})]
    for _ in numbers:
        up.line()
    jobs.control(alice, "cancel", *numbers)
    jobs.daemon.kill()
    for _, _, pid, _ in supervisors(jobs):
        os.kill(pid, signal.SIGKILL)
    for number in numbers:
        (jobs.daemon.cgroup_root / f"lease-{number}" / "cgroup.kill").write_text("1")
    jobs.daemon.start(wrapper=reboot())
    assert [lease["end"] for lease in jobs.wait(*numbers)] == ["released"] * 2
    jobs.wait_nothing_left()


def test_a_daemon_that_dies_before_it_asks_a_job_to_end_asks_when_it_is_back(jobs, alice):
    up = jobs.up(alice)
    number = jobs.submit(alice, "trap 'echo term >>said; exit 3' TERM; echo >up; while :; do sleep 0.1; done")
    up.line()
    jobs.daemon.kill()
    with stored(jobs.daemon) as db:
        db.execute("UPDATE lease SET state = 'grace', ended_by = 'released', kill_us = ? WHERE id = ?", (2 ** 62, number))
    jobs.daemon.start()
    assert jobs.wait_one(number)["end"] == "released"
    assert jobs.lines(alice, "said") == ["term"]


def test_a_job_that_was_to_end_before_it_was_started_ends(jobs, alice):
    up = jobs.up(alice)
    number = jobs.submit(alice, "echo >up; exec sleep 1000")
    up.line()
    jobs.daemon.kill()
    (jobs.daemon.cgroup_root / f"lease-{number}" / "cgroup.kill").write_text("1")
    for path in (jobs.daemon.state / "jobs").iterdir():
        path.unlink()
    with stored(jobs.daemon) as db:
        db.execute("UPDATE lease SET state = 'grace', ended_by = 'released', kill_us = ? WHERE id = ?", (2 ** 62, number))
    jobs.daemon.start()
    assert jobs.wait_one(number)["end"] == "released"
    jobs.wait_nothing_left()


# Suspending


def test_a_limit_that_is_reached_while_it_is_suspended_by_hand_does_not_keep_the_daemon_busy(site, alice):
    job = site.submit(alice, "-t", "2s", "--on-limit", "suspend")
    pid = site.pid()
    site.tell(0, pid)
    site.tool.rule("hang lock *")
    client = site.daemon.popen("suspend", job, user=alice)
    site.tool.wait_call("lock")
    until = datetime.fromisoformat(site.daemon.lease(job)["until"])
    wait_for(lambda: datetime.now(timezone.utc) > until)
    before = rounds(site.daemon)
    wait_for(lambda: datetime.now(timezone.utc) > until + timedelta(seconds=2))
    assert rounds(site.daemon) - before < 200
    site.tool.rule("")
    kill_tools(site)
    client.wait(timeout=DEADLINE)
    wait_for(lambda: site.daemon.lease(job)["job"]["suspended"])
    site.daemon.dibs("cancel", job, user=alice)


def test_who_suspends_a_job_that_ends_meanwhile_is_told(site, alice):
    job = site.submit(alice)
    pid = site.pid()
    site.tell(0, pid)
    site.tool.rule("hang lock *")
    client = site.daemon.popen("suspend", job, user=alice)
    site.tool.wait_call("lock")
    (site.daemon.cgroup_root / f"lease-{job}" / "cgroup.kill").write_text("1")
    site.daemon.wait_leases(0, id=job)
    site.tool.rule("")
    kill_tools(site)
    _, stderr = client.communicate(timeout=DEADLINE)
    assert client.returncode == 3 and b"could not be suspended" in stderr


def test_a_daemon_that_dies_while_the_limit_suspends_a_job_does_not_forget_the_limit(site, alice):
    job = site.submit(alice, "-t", "2s", "--on-limit", "suspend")
    pid = site.pid()
    site.tell(0, pid)
    site.tool.rule("hang lock *")
    site.tool.wait_call("lock")
    site.daemon.kill()
    site.tool.rule("")
    kill_tools(site)
    site.daemon.start()
    wait_for(lambda: any(kind == "suspended" and lease == job for kind, lease in site.daemon.journal("lease")))
    site.daemon.dibs("cancel", job, user=alice)


def test_what_is_suspended_goes_on_if_that_cannot_be_stored(new_site, alice):
    """It would be frozen for ever, with its GPUs."""
    site = new_site
    with small_disk(site.daemon.state, 1 << 20):
        site.daemon.start()
        job = site.submit(alice)
        pid = site.pid()
        site.tell(0, pid)
        fill(site.daemon.state)
        with site.daemon.varlink() as link:
            for number in range(20):  # small commits still fit into the last block
                if "error" in link.call("org.dibs.Drain", {"gpu": "2", "reason": str(number)}):
                    break
        assert "disk is full" in site.daemon.dibs("suspend", job, user=alice, code=None).stderr
        assert site.frozen(job)
        (site.daemon.state / "filler").unlink()
        wait_for(lambda: site.said()[-1] == "running" and not site.frozen(job))
        assert site.daemon.lease(job)["state"] == "active"
        site.daemon.dibs("cancel", job, user=alice)
        site.daemon.wait_leases(0, id=job)
        site.daemon.stop()


def test_what_was_suspended_and_has_ended_is_not_left_behind_frozen(site, alice):
    job = site.submit(alice)
    pid = os.pidfd_open(site.pid())
    site.daemon.dibs("suspend", job, user=alice)
    site.daemon.kill()
    with stored(site.daemon) as db:
        db.execute("UPDATE lease SET state = 'ended', ended_by = 'released', ended_us = 1 WHERE id = ?", (job,))
    site.daemon.start()
    assert select.select([pid], [], [], DEADLINE)[0]
    os.close(pid)


def test_who_went_to_the_end_of_the_queue_stays_ahead_of_who_comes_after_a_crash(make_jobs, alice):
    jobs = make_jobs(sim="1xA100-80G")
    first, second = (jobs.submit(alice, "exec sleep 1000") for _ in range(2))
    for number, other in ((first, second), (second, first), (first, second)):
        jobs.wait_state(number, "active")
        jobs.control(alice, "requeue", number)
        jobs.wait_state(other, "active")
    jobs.daemon.crash_and_restart()
    third = jobs.submit(alice, "exec sleep 1000")
    jobs.control(alice, "cancel", second)
    jobs.wait_state(first, "active")
    assert jobs.lease(third)["state"] == "waiting"


def test_what_was_suspended_and_starts_anew_may_have_any_gpu(jobs, reboot, alice):
    """Its GPUs were listed only because its memory was to be restored to them."""
    hold = jobs.daemon.reserve("-g", "1")
    up = jobs.up(alice)
    number = jobs.submit(alice, "[ $DIBS_RESTART_COUNT = 1 ] || { echo >up; exec sleep 1000; }", retries=1)
    up.line()
    gpu = next(gpu["uuid"] for gpu in jobs.daemon.status()["gpus"] if gpu["index"] in hold["gpus"])
    jobs.daemon.kill()
    for _, _, pid, _ in supervisors(jobs):
        os.kill(pid, signal.SIGKILL)
    (jobs.daemon.cgroup_root / f"lease-{number}" / "cgroup.kill").write_text("1")
    with stored(jobs.daemon) as db:
        db.execute("DELETE FROM holder WHERE lease = ?", (number,))
        db.execute("UPDATE lease SET state = 'waiting', gpus = '', only_gpus = ? WHERE id = ?", (gpu, number))
        db.execute("UPDATE job SET suspended = 1, pinned = 1 WHERE lease = ?", (number,))
    jobs.daemon.start(wrapper=reboot())
    lease = jobs.wait_one(number)
    assert (lease["end"], lease["job"]["exit_status"]) == ("exited", 0), str(jobs.show(number))


def test_jobs_that_wait_start_with_a_daemon_that_has_no_cgroups_any_more(jobs, reboot, alice):
    number = jobs.submit(alice, "exit 3", held=True)
    jobs.daemon.stop()
    root, jobs.daemon.cgroup_root = jobs.daemon.cgroup_root, None
    jobs.daemon.start(wrapper=["unshare", "--mount", "sh", "-c", 'umount --lazy "$0" && exec "$@"', cgroup2_mount()])
    jobs.control(alice, "resume", number)
    lease = jobs.wait_one(number)
    jobs.daemon.cgroup_root = root
    assert (lease["end"], lease["job"]["exit_status"]) == ("exited", 3), lease["job"]["reason"]


def test_what_starts_after_a_request_that_did_not_wait_ends(jobs):
    """The request has a number, and never was on record."""
    jobs.daemon.reserve("-g", "8")
    for _ in range(20):
        number = jobs.submit(None, "true", held=True) + 1
        links = ask_together(jobs.daemon, [("Request", {"kind": "hold", "wait_us": 0}),
                                           ("Submit", jobs.order(None, "true", after=[str(number)]))])
        refusal, submitted = [link.receive() for link in links]
        for link in links:
            link.close()
        assert "error" in refusal
        if "error" not in submitted:
            break
    assert jobs.wait_one(submitted["parameters"]["lease"]["id"])["end"] == "need"


def test_what_had_to_be_killed_starts_anew_and_lives(jobs, alice):
    up = jobs.up(alice)
    number = jobs.submit(alice, "[ $DIBS_RESTART_COUNT = 0 ] || exit 0; trap '' TERM; echo >up; "
                                "while :; do sleep 1000; done", grace_us=0)
    up.line()
    jobs.control(alice, "requeue", number)
    lease = jobs.wait_one(number)
    assert (lease["end"], lease["job"]["exit_status"]) == ("exited", 0), str(lease)


def test_elements_that_end_together_with_their_array_are_told_by_themselves(make_jobs, alice):
    jobs = make_jobs(QUICK.replace("retry-delay = 0s", "retry-delay = 1h"))
    number = jobs.submit(alice, "exit 1", indices="0-1", retries=1)
    jobs.daemon.wait_status(lambda s: sum(l["job"]["array"] == number and l["state"] == "waiting"
                                          and l["job"]["restarts"] == 1 for l in s["leases"]) == 2)
    with jobs.daemon.varlink() as link:
        link.send("org.dibs.WaitJobs", {"ids": [f"{number}.0", f"{number}.1"]}, more=True)
        jobs.control(alice, "cancel", number)
        assert {reply["parameters"]["lease"]["job"]["index"] for reply in answers(link)} == {0, 1}
