# SPDX-License-Identifier: MIT
"""The life of batch jobs of several users: order, needs, arrays, limits, ends, and that nothing is left of them."""

import os
import pwd
import select
import signal
import subprocess
import time

import pytest
from harness import DEADLINE, cgroup2_mount, is_sanitized, uid_of
from jobs import QUICK, SECOND, acting_as

ALL = {"count": 8}
ECHO = "echo $DIBS_JOB >>order"
TRAP = "trap 'echo term; exit 0' TERM; echo up >up; while :; do sleep 1000 & wait; done"
DEAF = "trap '' TERM; echo up >up; while :; do sleep 1000; done"


def ended(lease):
    job = lease["job"]
    return lease["state"], lease["end"], job["exit_status"], job["exit_signal"]


def exited(status):
    return "ended", "exited", status, None


# --- its course ---


def test_a_job_and_what_it_sees(jobs, alice):
    script = "env; pwd; id -un; umask; cat /proc/self/cgroup; exit 3"
    lease = jobs.run(alice, script, count=2, name="first", umask=0o27, environment=["PATH=/usr/bin:/bin", "MINE=x y"])
    assert ended(lease) == exited(3)
    assert (lease["uid"], lease["job"]["name"], lease["job"]["restarts"]) == (uid_of(alice), "first", 0)
    log = jobs.home(alice) / f"dibs-{lease['id']}.log"
    assert lease["job"]["log"] == str(log) and log.owner() == alice
    lines = log.read_text().splitlines()
    for line in ("MINE=x y", f"DIBS_JOB={lease['id']}", f"DIBS_LEASE={lease['id']}", "DIBS_RESTART_COUNT=0",
                 str(jobs.home(alice)), alice, "0027"):
        assert line in lines, line
    assert not any(line.startswith(("DIBS_ARRAY", "LD_PRELOAD", "ASAN_OPTIONS")) for line in lines)
    gpus = next(line for line in lines if line.startswith("CUDA_VISIBLE_DEVICES="))
    assert len(gpus.split("=")[1].split(",")) == 2
    jobs.wait_nothing_left()


@pytest.mark.parametrize("command, status, number", [("exit 0", 0, None), ("exit 255", 255, None),
                                                     ("kill -9 $$", None, 9), ("kill -11 $$", None, 11)])
def test_how_it_ended(jobs, alice, command, status, number):
    lease = jobs.run(alice, command)
    assert ended(lease) == ("ended", "exited", status, number)
    assert jobs.events(lease["id"])[-1][0] == "ended"
    jobs.wait_nothing_left()


def test_each_user_has_an_order_and_all_have_a_turn(jobs, alice, bob, carol):
    users = [alice, bob, carol]
    blocker = jobs.daemon.reserve("-g", "8")
    numbers = {user: [] for user in users}
    for _ in range(10):
        for user in users:
            numbers[user].append(jobs.submit(user, ECHO, **ALL))
    jobs.daemon.dibs("release", blocker["id"])
    jobs.wait(*sum(numbers.values(), []))
    for user in users:
        assert jobs.lines(user, "order") == [str(n) for n in numbers[user]]
        assert jobs.started(user) == numbers[user]
    jobs.wait_nothing_left()


def test_nice_jobs_let_others_go_first(jobs, alice):
    blocker = jobs.daemon.reserve("-g", "8")
    numbers = [jobs.submit(alice, ECHO, nice=nice, **ALL) for nice in (10, 0, 20)]
    jobs.daemon.dibs("release", blocker["id"])
    jobs.wait(*numbers)
    assert jobs.lines(alice, "order") == [str(numbers[i]) for i in (1, 0, 2)]


def test_whoever_submitted_may_be_long_gone(jobs, alice):
    gate = jobs.fifo(alice, "gate")
    number = jobs.submit(alice, ": <gate; exit 4")
    jobs.hang_up()
    gate.open()
    assert ended(jobs.wait_one(number)) == exited(4)


# --- needs ---


@pytest.mark.parametrize("on, status, starts", [("ok", 0, True), ("ok", 1, False), ("fail", 1, True),
                                                ("fail", 0, False), ("any", 0, True), ("any", 1, True)])
def test_it_starts_after_another(jobs, alice, bob, on, status, starts):
    gate = jobs.fifo(alice, "gate")
    first = jobs.submit(alice, f": <gate; exit {status}")
    second = jobs.submit(bob, "exit 7", after=[f"{first}:{on}"])
    third = jobs.submit(bob, "exit 8", after=[f"{second}:any"])
    assert jobs.lease(second)["job"]["blocked"] and not jobs.lease(second)["since"]
    gate.open()
    _, lease, last = jobs.wait(first, second, third)
    assert ended(lease) == (exited(7) if starts else ("ended", "need", None, None))
    assert ended(last) == exited(8)
    jobs.wait_nothing_left()


def test_a_chain_runs_in_its_order_and_breaks_as_a_whole(jobs, alice):
    gate = jobs.fifo(alice, "gate")
    first = last = jobs.submit(alice, ": <gate; " + ECHO)
    chain = [first]
    for i in range(6):
        last = jobs.submit(alice, ECHO if i != 3 else "exit 1", after=[f"{last}:ok"])
        chain.append(last)
    rescue = jobs.submit(alice, ECHO, after=[f"{chain[4]}:fail", f"{chain[6]}:any"])
    gate.open()
    leases = jobs.wait(*chain, rescue)
    assert [lease["end"] for lease in leases] == ["exited"] * 5 + ["need"] * 2 + ["exited"]
    assert jobs.lines(alice, "order") == [str(n) for n in [*chain[:4], rescue]]
    jobs.wait_nothing_left()


def test_needs_of_what_has_ended_and_of_what_never_was(jobs, alice):
    well, ill = jobs.run(alice, "true")["id"], jobs.run(alice, "false")["id"]
    assert jobs.submit_refused(alice, "true", after=[f"{ill}:ok"]) == "job.broken-need"
    assert jobs.submit_refused(alice, "true", after=[f"{well}:fail"]) == "job.broken-need"
    assert jobs.submit_refused(alice, "true", after=["999"]) == "job.unknown-need"
    assert ended(jobs.run(alice, "exit 5", after=[f"{well}", f"{ill}:fail"])) == exited(5)


@pytest.mark.parametrize("parameters", [{}, {"indices": "3"}], ids=["job", "array"])
def test_an_end_is_known_before_it_is_stored(jobs, alice, parameters):
    """Who asks for what ends in the same moment is told so, not that there is no such job."""
    for _ in range(10):
        number = jobs.submit(alice, "true", held=True, **parameters)
        jobs.daemon.process.send_signal(signal.SIGSTOP)  # so that all of it comes at once
        with jobs.daemon.varlink() as waiter, acting_as(alice):
            other = jobs.daemon.varlink()
            jobs.link(alice).send("org.dibs.ControlJobs", {"action": "cancel", "ids": [str(number)]})
            waiter.send("org.dibs.WaitJobs", {"ids": [f"{number}.3" if parameters else str(number)]})
            other.send("org.dibs.Submit", jobs.order(alice, "exit 3", after=[f"{number}:fail"]))
            jobs.daemon.process.send_signal(signal.SIGCONT)
            replies = [link.receive() for link in (jobs.link(alice), waiter, other)]
            other.close()
        assert not any("error" in reply for reply in replies), replies
        assert replies[1]["parameters"]["lease"]["end"] == "released"
        assert ended(jobs.wait_one(replies[2]["parameters"]["lease"]["id"])) == exited(3)


# --- arrays ---


def test_an_array(jobs, alice):
    script = "echo $DIBS_JOB $DIBS_ARRAY_ID $DIBS_ARRAY_INDEX; exit $DIBS_ARRAY_INDEX"
    number = jobs.submit(alice, script, indices="0-3,7", count=2)
    elements = jobs.wait(*(f"{number}.{i}" for i in (0, 1, 2, 3, 7)))
    assert [e["job"]["exit_status"] for e in elements] == [0, 1, 2, 3, 7]
    lease = jobs.wait_one(number)
    assert (lease["job"]["ok"], lease["job"]["failed"], lease["job"]["active"]) == (1, 4, 0)
    for i in (0, 1, 2, 3, 7):
        assert jobs.lines(alice, f"dibs-{number}_{i}.log") == [f"{number}.{i} {number} {i}"]
    jobs.wait_nothing_left()


def test_so_many_elements_run_at_a_time(jobs, alice):
    up, gate = jobs.up(alice), jobs.fifo(alice, "gate")
    number = jobs.submit(alice, "echo x >up; : <gate", indices="0-9", parallel=3)
    for _ in range(3):
        up.line()
    status = jobs.demand(None, "GetStatus")
    running = [l for l in status["leases"] if l["job"]["array"] == number and l["state"] == "active"]
    assert len(running) == 3 and up.is_silent()
    assert jobs.lease(number)["job"]["pending"] == "3-9"
    gate.open()
    assert jobs.wait_one(number)["job"]["ok"] == 10
    jobs.wait_nothing_left()


def test_ten_thousand_elements_are_one_row_until_they_start(jobs, alice):
    blocker = jobs.daemon.reserve("-g", "8")
    number = jobs.submit(alice, "true", indices="0-9999")
    with jobs.daemon.database() as db:
        assert db.execute("SELECT count(*) FROM job").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM spec").fetchone() == (1,)
    jobs.control(alice, "cancel", f"{number}.17")
    assert jobs.lease(number)["job"]["pending"] == "0-16,18-9999"
    jobs.control(alice, "cancel", number)
    assert ended(jobs.wait_one(number))[1] == "released"
    jobs.daemon.dibs("release", blocker["id"])
    jobs.wait_nothing_left()


def test_what_starts_after_an_array_starts_after_all_of_it(jobs, alice):
    array = jobs.submit(alice, "echo $DIBS_ARRAY_INDEX >>order", indices="0-5", parallel=2)
    gate = jobs.fifo(alice, "gate")
    bad = jobs.submit(alice, ": <gate; exit $DIBS_ARRAY_INDEX", indices="0-1")
    after, never, clean = (jobs.submit(alice, "echo after >>order", after=[n]) for n in
                           (f"{array}:ok", f"{bad}:ok", f"{bad}:fail"))
    gate.open()
    leases = jobs.wait(after, never, clean)
    assert [lease["end"] for lease in leases] == ["exited", "need", "exited"]
    assert sorted(jobs.lines(alice, "order")) == [*"012345", "after", "after"]
    jobs.wait_nothing_left()


def test_cancel_of_elements_and_of_arrays(jobs, alice, bob):
    up = jobs.up(alice)
    number = jobs.submit(alice, TRAP, indices="0-9", parallel=2)
    for _ in range(2):
        up.line()
    assert jobs.control_refused(bob, "cancel", number) == "lease.not-yours"
    assert jobs.control_refused(bob, "cancel", f"{number}.5") == "lease.not-yours"
    jobs.control(alice, "cancel", f"{number}.0", f"{number}.5")
    assert jobs.wait_one(f"{number}.0")["end"] == "released"
    up.line()  # 2 runs in its place
    assert jobs.lease(number)["job"]["pending"] == "3-4,6-9"
    jobs.control(alice, "cancel", number)
    lease = jobs.wait_one(number)
    assert (lease["job"]["ok"], lease["job"]["failed"], lease["job"]["active"]) == (0, 10, 0), lease
    jobs.wait_nothing_left()


# --- not yet ---


def test_held_jobs_wait_until_they_are_resumed(jobs, alice):
    held = jobs.submit(alice, ECHO, held=True)
    array = jobs.submit(alice, ECHO, held=True, indices="0-2")
    jobs.run(alice, ECHO)  # comes later, but is not held
    assert jobs.lease(held)["state"] == "waiting" and jobs.lease(array)["state"] == "waiting"
    jobs.daemon.crash_and_restart()
    assert jobs.lease(held)["job"]["held"]
    jobs.control(alice, "resume", held, array)
    jobs.wait(held, array)
    assert len(jobs.lines(alice, "order")) == 5
    assert jobs.control_refused(alice, "resume", held) == "lease.unknown"
    jobs.wait_nothing_left()


def test_hold_keeps_back_what_waits_and_nothing_else(jobs, alice, bob):
    up = jobs.up(alice)
    running = jobs.submit(alice, TRAP, **ALL)
    up.line()
    waiting = jobs.submit(alice, ECHO, **ALL)
    assert jobs.control_refused(bob, "hold", waiting) == "lease.not-yours"
    jobs.control(alice, "hold", waiting)
    assert jobs.control_refused(alice, "hold", running) == "job.not-so"
    jobs.control(alice, "cancel", running)
    jobs.wait_one(running)
    assert jobs.lease(waiting)["state"] == "waiting"
    jobs.control(alice, "resume", waiting)
    assert ended(jobs.wait_one(waiting)) == exited(0)


def test_a_begin_time_is_kept_also_across_a_crash(jobs, alice):
    begin = time.time() + 1.5
    later, cut = (jobs.submit(alice, "date +%s.%N", begin=int(t * SECOND)) for t in (begin, begin + 3600))
    jobs.daemon.crash_and_restart()
    assert jobs.lease(later)["state"] == "waiting" and jobs.lease(later)["job"]["begin"]
    jobs.wait_one(later)
    # The wall clock of the machine may be slewed meanwhile.
    assert float(jobs.lines(alice, f"dibs-{later}.log")[0]) > begin - 0.2
    jobs.control(alice, "resume", cut)  # now, after all
    assert ended(jobs.wait_one(cut)) == exited(0)


# --- again ---


def test_retries_with_back_off(make_jobs, alice):
    jobs = make_jobs(QUICK.replace("retry-delay = 0s", "retry-delay = 1s"))
    start = time.monotonic()
    number = jobs.submit(alice, 'echo $DIBS_RESTART_COUNT >>order; [ "$DIBS_RESTART_COUNT" = 2 ]', retries=5)
    lease = jobs.wait_one(number)
    assert ended(lease) == exited(0) and lease["job"]["restarts"] == 2
    assert jobs.lines(alice, "order") == ["0", "1", "2"]
    assert time.monotonic() - start >= 1 + 2
    jobs.wait_nothing_left()


def test_retries_end(jobs, alice):
    lease = jobs.run(alice, "echo $DIBS_RESTART_COUNT >>order; kill -9 $$", retries=3)
    assert ended(lease) == ("ended", "exited", None, 9) and lease["job"]["restarts"] == 3
    assert jobs.lines(alice, "order") == ["0", "1", "2", "3"]
    assert [kind for kind, _ in jobs.events(lease["id"])].count("requeued") == 3
    jobs.wait_nothing_left()


def test_requeue_goes_to_the_end_of_the_queue(jobs, alice, bob):
    up = jobs.up(alice)
    number = jobs.submit(alice, f"{ECHO}; [ $DIBS_RESTART_COUNT = 0 ] || exit 0; {TRAP}", **ALL)
    up.line()
    other = jobs.submit(alice, ECHO, **ALL)
    assert jobs.control_refused(bob, "requeue", number) == "lease.not-yours"
    jobs.control(alice, "requeue", number)
    lease, _ = jobs.wait(number, other)
    assert ended(lease) == exited(0) and lease["job"]["restarts"] == 1
    assert jobs.lines(alice, "order") == [str(number), str(other), str(number)]
    jobs.wait_nothing_left()


# --- limits ---


def test_a_limit_ends_it_by_term(jobs, alice):
    up = jobs.up(alice)
    number = jobs.submit(alice, TRAP, duration_us=SECOND, retries=3)
    up.line()
    assert ended(jobs.wait_one(number)) == ("ended", "limit", 0, None)
    assert jobs.lines(alice, f"dibs-{number}.log") == ["term"]
    jobs.wait_nothing_left()


def test_grace_and_then_kill(jobs, alice):
    up = jobs.up(alice)
    number = jobs.submit(alice, DEAF, duration_us=SECOND, grace_us=2 * SECOND)
    up.line()
    lease = jobs.wait_one(number)
    assert ended(lease) == ("ended", "limit", None, 9)
    assert 3 * SECOND <= lease["ended"] - lease["since"] < 8 * SECOND
    assert jobs.submit_refused(alice, "true", grace_us=3600 * SECOND) == "limit.grace"
    jobs.wait_nothing_left()


def test_grace_goes_on_across_a_crash(jobs, alice):
    up = jobs.up(alice)
    number = jobs.submit(alice, DEAF, grace_us=SECOND)
    up.line()
    jobs.control(alice, "cancel", number)
    jobs.wait_state(number, "grace")
    jobs.daemon.crash_and_restart()
    assert ended(jobs.wait_one(number)) == ("ended", "released", None, 9)
    jobs.wait_nothing_left()


def test_on_limit_requeue_is_a_context_switch(jobs, alice):
    script = f"{ECHO}; [ $DIBS_RESTART_COUNT = 2 ] && exit 6; {TRAP}"
    up = jobs.up(alice)
    number = jobs.submit(alice, script, duration_us=SECOND, on_limit="requeue", **ALL)
    up.line()
    other = jobs.submit(alice, ECHO, **ALL)
    up.line()
    lease, _ = jobs.wait(number, other)
    assert ended(lease) == exited(6) and lease["job"]["restarts"] == 2
    assert jobs.lines(alice, "order") == [str(n) for n in (number, other, number, number)]
    jobs.wait_nothing_left()


def test_a_signal_warns_before_the_limit(jobs, alice):
    up = jobs.up(alice)
    number = jobs.submit(alice, "trap 'echo usr1; exit 3' USR1; echo up >up; while :; do sleep 1000 & wait; done",
                         duration_us=3600 * SECOND, signal=signal.SIGUSR1, signal_before_us=3599 * SECOND)
    up.line()
    assert ended(jobs.wait_one(number)) == exited(3)
    assert jobs.lines(alice, f"dibs-{number}.log") == ["usr1"]


def test_a_site_bounds_the_time_of_jobs(make_jobs, alice):
    jobs = make_jobs(QUICK.replace("[jobs]", "[jobs]\nmax-time = 1s"))
    assert jobs.submit_refused(alice, "true", duration_us=2 * SECOND) == "limit.job-too-long"
    up = jobs.up(alice)
    number = jobs.submit(alice, TRAP)
    up.line()
    assert ended(jobs.wait_one(number))[1] == "limit"


def test_a_time_slice_switches_while_others_wait(make_jobs, alice, bob):
    jobs = make_jobs(QUICK.replace("[jobs]", "[jobs]\ntime-slice = 1s"))
    up = jobs.up(alice)
    number = jobs.submit(alice, f"echo $DIBS_RESTART_COUNT >>order; [ $DIBS_RESTART_COUNT = 1 ] && exit 0; {TRAP}",
                         on_limit="requeue", **ALL)
    up.line()
    other = jobs.run(bob, "exit 2", **ALL)
    assert ended(other) == exited(2)
    assert ended(jobs.wait_one(number)) == exited(0)
    assert jobs.lines(alice, "order") == ["0", "1"]
    jobs.wait_nothing_left()


# --- ends ---


def test_leftovers_end_with_the_command(jobs, alice):
    up, gate = jobs.up(alice), jobs.fifo(alice, "gate")
    number = jobs.submit(alice, "setsid sh -c 'trap \"\" TERM; echo $$ >up; while :; do sleep 1000; done' & "
                                ": <gate; exit 2")
    fd = os.pidfd_open(int(up.line()))
    gate.open()
    assert ended(jobs.wait_one(number)) == exited(2)
    assert select.select([fd], [], [], 0)[0], "what it left behind still runs"
    os.close(fd)
    jobs.wait_nothing_left()


@pytest.mark.parametrize("state", ["held", "waiting", "blocked", "starting", "active", "grace", "retrying"])
def test_cancel_in_each_state(make_jobs, alice, state):
    jobs = make_jobs(QUICK.replace("retry-delay = 0s", "retry-delay = 1h"))
    up, blocker = jobs.up(alice), None
    if state == "waiting":
        blocker = jobs.daemon.reserve("-g", "8")
    if state == "held":
        number = jobs.submit(alice, DEAF, held=True)
    elif state == "blocked":
        need = jobs.submit(alice, DEAF, held=True)
        number = jobs.submit(alice, DEAF, after=[f"{need}:ok"])
    elif state == "retrying":
        number = jobs.submit(alice, "exit 1", retries=1)
        jobs.daemon.wait_status(lambda s: s["leases"] and s["leases"][0]["job"]["begin"])
    else:
        number = jobs.submit(alice, DEAF, grace_us=SECOND)
    if state in ("active", "grace"):
        up.line()
    if state == "grace":
        jobs.control(alice, "cancel", number)
        jobs.wait_state(number, "grace")
    jobs.control(alice, "cancel", number)
    lease = jobs.wait_one(number)
    assert lease["end"] == "released", lease
    if state != "starting":
        assert lease["job"]["exit_signal"] == (9 if state in ("active", "grace") else None), lease
    if state == "blocked":
        jobs.control(alice, "cancel", need)
    if blocker:
        jobs.daemon.dibs("release", blocker["id"])
    jobs.wait_nothing_left()


def test_signals_are_sent_to_all_of_a_job(jobs, alice, bob):
    up = jobs.up(alice)
    number = jobs.submit(alice, "trap 'echo one >up; exit 4' USR1; "
                                "sh -c 'trap \"echo two >up; exit 5\" USR1; echo up >up; while :; do sleep 1 & wait; "
                                "done' & while :; do wait; done")
    assert up.line() == "up"
    assert jobs.control_refused(bob, "signal", number, signal=signal.SIGKILL) == "lease.not-yours"
    jobs.control(alice, "signal", number, signal=signal.SIGUSR1)
    assert sorted([up.line(), up.line()]) == ["one", "two"]
    assert ended(jobs.wait_one(number)) == exited(4)


# --- the gate ---


@pytest.mark.skipif(cgroup2_mount() is None, reason="no cgroup v2 here")
def test_a_job_can_open_its_gpus_and_nobody_else_can(make_jobs, sessions, alice, bob):
    config = f"[guard]\nmode = deny\nsession-cgroups = {sessions.path}\n"
    jobs = make_jobs(config + QUICK, sim="4xA100-80G")
    up, gate = jobs.up(alice), jobs.fifo(alice, "gate")
    nodes = jobs.daemon.nodes()
    look = ("import sys\n"
            "def may(path):\n"
            "    try: open(path, 'rb')\n"
            "    except OSError as e: return e.errno == 6\n"
            "    return True\n"
            "print([i for i, p in enumerate(sys.argv[2:]) if may(p)], file=open('up', 'w'))\n"
            "open(sys.argv[1])\n")
    command = ["/usr/bin/python3", "-c", look, "gate", *nodes]
    first, second = (jobs.submit(alice, command, gpus=[g]) for g in ("1", "3"))
    assert sorted([up.line(), up.line()]) == ["[1]", "[3]"]
    others, own = sessions.opener(bob), sessions.opener(alice)
    may_open = lambda opener: [i for i, path in enumerate(nodes) if opener.may_open(path)]
    assert may_open(others) == [] and may_open(own) == [1, 3]
    jobs.daemon.crash_and_restart()
    assert may_open(others) == [] and may_open(own) == [1, 3]
    gate.open()
    assert [ended(lease) for lease in jobs.wait(first, second)] == [exited(0)] * 2
    jobs.wait_nothing_left()


# --- errors ---


@pytest.mark.parametrize("prepare, end, reason", [
    ({"command": ["/nonexistent/program"]}, "failed", "cannot execute /nonexistent/program"),
    ({"command": ["/etc/shadow"]}, "failed", "cannot execute /etc/shadow"),
    ({"directory": "/nonexistent"}, "failed", "cannot change to /nonexistent"),
    ({"directory": "/proc/1/cwd"}, "failed", "cannot change to /proc/1/cwd"),
    ({"output": "/nonexistent/log"}, "failed", "cannot write the log /nonexistent/log"),
    ({"output": "/etc/dibs-test.log"}, "failed", "cannot write the log /etc/dibs-test.log"),
    ({"output": "/proc/1/mem"}, "failed", "cannot write the log /proc/1/mem"),
    ({"output": "%q"}, "failed", "%q"),
    ({"limits": ["nonsense:3"]}, "failed", "no such limit"),
], ids=lambda value: str(list(value)[0]) if isinstance(value, dict) else None)
def test_what_cannot_be_started_says_why(jobs, alice, prepare, end, reason):
    parameters = {"command": "true", **prepare}
    lease = jobs.run(alice, **parameters)
    assert ended(lease) == ("ended", end, None, None)
    assert reason in lease["job"]["reason"], lease
    jobs.wait_nothing_left()


def test_a_directory_that_went_while_it_waited(jobs, alice):
    blocker = jobs.daemon.reserve("-g", "8")
    gone = jobs.home(alice) / "gone"
    gone.mkdir()
    number = jobs.submit(alice, "true", directory=str(gone))
    gone.rmdir()
    jobs.daemon.dibs("release", blocker["id"])
    lease = jobs.wait_one(number)
    assert lease["end"] == "failed" and "cannot change to" in lease["job"]["reason"]


def test_the_script_is_the_one_that_was_submitted(jobs, alice):
    lease = jobs.run(alice, ["name", "one"], script="#!/bin/sh\necho $1; exit 9\n")
    assert ended(lease) == exited(9) and jobs.lines(alice, f"dibs-{lease['id']}.log") == ["one"]


def test_a_user_who_is_removed_while_its_job_waits(jobs, alice):
    name = f"{alice[:24]}-gone"
    subprocess.run(["useradd", "--no-create-home", name], check=True)
    try:
        blocker = jobs.daemon.reserve("-g", "8")
        number = jobs.submit(name, "true", directory="/")
    finally:
        subprocess.run(["userdel", name], check=True)
    jobs.daemon.dibs("release", blocker["id"])
    lease = jobs.wait_one(number)
    assert lease["end"] == "failed" and "does not exist any more" in lease["job"]["reason"], lease
    jobs.wait_nothing_left()


def test_pam_can_refuse(make_jobs, alice):
    service = f"dibs-test-{os.getpid()}"
    path = f"/etc/pam.d/{service}"
    with open(path, "w") as file:
        file.write("account required pam_deny.so\nsession required pam_permit.so\n")
    try:
        jobs = make_jobs(QUICK.replace("none", service))
        lease = jobs.run(alice, "true")
        assert lease["end"] == "failed" and "PAM" in lease["job"]["reason"], lease
    finally:
        os.unlink(path)
    jobs.wait_nothing_left()


def test_a_fork_bomb_harms_its_user_alone(make_jobs, alice, bob):
    jobs = make_jobs(QUICK.replace("[jobs]", "[jobs]\nprocesses-max = 60"))
    bomb = "b() { b | b & }; b 2>/dev/null; sleep 1000"
    number = jobs.submit(alice, bomb, duration_us=2 * SECOND, grace_us=0)
    jobs.wait_state(number, "active")
    assert ended(jobs.run(bob, "exit 3")) == exited(3)
    assert jobs.wait_one(number)["end"] == "limit"
    jobs.wait_nothing_left()


def test_a_log_of_two_hundred_megabytes(jobs, alice):
    lease = jobs.run(alice, "head -c 209715200 /dev/zero; exit 1", deadline=3 * DEADLINE)
    assert ended(lease) == exited(1)
    assert (jobs.home(alice) / f"dibs-{lease['id']}.log").stat().st_size == 209715200
    (jobs.home(alice) / f"dibs-{lease['id']}.log").unlink()


def test_an_environment_that_is_too_large_is_refused_and_harms_nobody(jobs, alice, bob):
    for size in (150_000, 1_000_000, 10_000_000):
        order = jobs.order(alice, "true", environment=[f"V{i}=" + "x" * 1000 for i in range(size // 1000)])
        with acting_as(alice):
            link = jobs.daemon.varlink()
        with link:
            try:
                reply = link.call("org.dibs.Submit", order)
            except (BrokenPipeError, ConnectionResetError):
                reply = None  # more than a message may be: hung up
        if size == 150_000:
            assert "error" not in reply, reply
        else:
            assert reply is None or reply["parameters"]["id"] in ("job.too-large", "call.too-large"), reply
    assert ended(jobs.run(bob, "exit 3")) == exited(3)


def test_one_who_floods_leaves_room_for_others(make_jobs, alice, bob):
    jobs = make_jobs(QUICK + "[limits]\nrequests-per-user = 300\n")
    blocker = jobs.daemon.reserve("-g", "8")
    link, order, answers = jobs.link(alice), jobs.order(alice, ECHO), []
    for _ in range(8):  # as fast as it goes
        for _ in range(50):
            link.send("org.dibs.Submit", order)
        answers += [link.receive() for _ in range(50)]
    numbers = [reply["parameters"]["lease"]["id"] for reply in answers if "error" not in reply]
    refused = {reply["parameters"]["id"] for reply in answers if "error" in reply}
    assert len(numbers) == 300 and len(refused) == 1, refused
    start = time.monotonic()
    number = jobs.submit(bob, "exit 3")
    jobs.control(alice, "cancel", *numbers[10:])  # hundreds at once
    assert time.monotonic() - start < (5 if is_sanitized() else 1)
    jobs.daemon.dibs("release", blocker["id"])
    assert ended(jobs.wait_one(number)) == exited(3)
    jobs.wait(*numbers)
    assert sorted(map(int, jobs.lines(alice, "order"))) == numbers[:10]
    jobs.wait_nothing_left()


def test_nobody_waits_for_or_controls_what_is_not(jobs, alice):
    assert jobs.refusal(alice, "WaitJobs", {"ids": ["77"]}) == "lease.unknown"
    assert jobs.control_refused(alice, "cancel", "77") == "lease.unknown"
    assert jobs.control_refused(alice, "cancel", "7x") == "job.bad-id"
    assert jobs.control_refused(alice, "explode", "7") == "job.bad-action"


def test_jobs_that_have_ended_leave_no_descriptor_open(daemon, alice):
    home = pwd.getpwnam(alice).pw_dir
    daemon.dibs("submit", "--wait-for", "--", "true", user=alice, cwd=home)
    before = len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
    for _ in range(20):
        daemon.dibs("submit", "--wait-for", "--", "true", user=alice, cwd=home)
    assert len(os.listdir(f"/proc/{daemon.process.pid}/fd")) <= before + 2
