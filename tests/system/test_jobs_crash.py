# SPDX-License-Identifier: MIT
"""Batch jobs survive everything: kill -9 of the daemon and of supervisors, full disks, reboots, upgrades.

The main test hands in thousands of jobs while the daemon is killed again and again, at random moments and at exact
points, before or after the n-th call by which it leaves a trace (tests/fakes/die-at.c), and supervisors are killed at
random. Each job appends its name and its attempt to a file of its user: that file, the record of what was answered and
the journal have to agree.

DIBS_TEST_JOBS says how many jobs: 10000 by hand; 2000, or 600 with a sanitizer, else.
DIBS_TEST_JOB_KILLS says how often the daemon is killed, a supervisor is killed about as often.
"""

import contextlib
import fcntl
import itertools
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from harness import DEADLINE, Daemon, come_up, install_programs, is_sanitized, preload, read_line, uid_of, wait_exit
from jobs import QUICK, SECOND, Jobs

JOBS = int(os.environ.get("DIBS_TEST_JOBS", "600" if is_sanitized() else "2000"))
KILLS = int(os.environ.get("DIBS_TEST_JOB_KILLS", "24" if is_sanitized() else "60"))
MANY = QUICK + "[limits]\nrequests-per-user = 20000\nrequests = 30000\nchanges-per-hour = 100000\n"
RUN = "echo $DIBS_JOB $DIBS_RESTART_COUNT >>ran; [ $((DIBS_JOB % 4)) != 0 ] || sleep 0.05; exit $((DIBS_JOB % 5))"
BATCH = 50


@pytest.fixture
def own_programs(base_directory):
    """Programs of this test alone, to put something else into the place of one."""
    directory = base_directory / f"own-{uuid.uuid4()}"
    yield install_programs(Path(os.environ["DIBS_BUILD"]).resolve(), directory)
    shutil.rmtree(directory)


def supervisors(jobs):
    """(job, attempt, pid) of those that are at work."""
    for path in (jobs.daemon.state / "jobs").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
            first = path.read_text().splitlines()[0].split()
            number, attempt = path.name.split(".")
            yield int(number), int(attempt), int(first[1]), path


def kill_supervisor(jobs, number, attempt, pid, path):
    """True if it was killed in the middle of its work: nothing of what it did is known but what it has written."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        with open(path) as record:  # it holds the lock as long as it lives, so the pid is its own
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(record, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        return True
    except (FileNotFoundError, ProcessLookupError):
        return False
    finally:
        os.close(fd)


class Crowd:
    """Users who hand in jobs, whatever becomes of the daemon."""

    def __init__(self, jobs, users, rng, total):
        self.jobs, self.users, self.rng, self.left = jobs, users, rng, total
        self.answered = {}  # id -> uid
        self.retries = {}

    def submit(self):
        """A batch of one user; what was not answered may have been taken or not."""
        user = self.rng.choice(self.users)
        n = min(BATCH, self.left)
        retries = self.rng.choice([0, 0, 2])
        try:
            link = self.jobs.link(user)
            for _ in range(n):
                command = ["/bin/sh", "-c", RUN]
                link.send("org.dibs.Submit", self.jobs.order(user, command, retries=retries))
            for _ in range(n):
                reply = link.receive()
                if reply is None:
                    raise ConnectionResetError
                assert "error" not in reply, reply
                self.answered[reply["parameters"]["lease"]["id"]] = uid_of(user)
                self.retries[reply["parameters"]["lease"]["id"]] = retries
                self.left -= 1
        except (ConnectionError, FileNotFoundError):
            if user in self.jobs.links:
                self.jobs.links.pop(user).close()


def bury(daemon):
    assert daemon.process.wait(DEADLINE) == -signal.SIGKILL, daemon.drain_log()
    log = daemon.drain_log()
    daemon.process.stderr.close()
    assert "Sanitizer" not in log and "runtime error" not in log, log


def wait_all_ended(daemon, deadline):
    daemon.wait_status(lambda status: not status["leases"], deadline)


def read_jobs(daemon):
    with daemon.database() as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = db.execute("SELECT id, uid, state, ended_by, restarts, exit_status, exit_signal, retries, reason"
                          " FROM lease JOIN job ON lease = id").fetchall()
        return {row[0]: dict(zip(["uid", "state", "end", "restarts", "status", "signal", "retries", "reason"], row[1:]))
                for row in rows}


def check(jobs, crowd, victims):
    """Each ran as often as it may have, and how it ended is known."""
    found = read_jobs(jobs.daemon)
    ran = {}
    for user in crowd.users:
        for line in jobs.lines(user, "ran"):
            number, attempt = map(int, line.split())
            assert found[number]["uid"] == uid_of(user)
            assert (number, attempt) not in ran, \
                f"job {number} ran twice as attempt {attempt}: {found[number]} {victims} {jobs.events(number)}"
            ran[number, attempt] = True
    for number, uid in crowd.answered.items():
        assert found.get(number, {}).get("uid") == uid, f"job {number} is lost"
    lost = 0
    for number, job in found.items():
        hit = [attempt for job_number, attempt in victims if job_number == number]
        assert job["state"] == "ended", (number, job)
        retries = crowd.retries.get(number, job["retries"] + job["restarts"])
        attempts = range(job["restarts"] + 1)
        for attempt in attempts:
            assert (number, attempt) in ran or attempt in hit, f"attempt {attempt} of job {number} did not run: {job}"
        if job["end"] == "lost":
            lost += 1
            assert job["restarts"] in hit, f"job {number} was not touched: {job}"
        else:
            assert (job["end"], job["status"], job["signal"]) == ("exited", number % 5, 0), (number, job)
        failures = job["restarts"] if number % 5 == 0 else min(retries, job["restarts"])
        assert job["restarts"] <= retries and (number % 5 or failures <= len(hit)), (number, job)
        if number % 5 and job["end"] == "exited":
            assert job["restarts"] == retries, (number, job)
    for user in crowd.users:
        started = jobs.started(user)
        assert started == sorted(started), "somebody overtook an earlier job of the same user"
    return found, len(ran), lost


def test_no_job_is_lost_and_none_runs_twice_however_often_they_are_killed(new_jobs, users):
    seed = int(os.environ.get("DIBS_TEST_SEED", random.randrange(1 << 32)))
    print("seed", seed)
    rng = random.Random(seed)
    jobs = new_jobs(MANY, environment=preload("die-at"))
    daemon, victims, deaths = jobs.daemon, set(), 0
    crowd = Crowd(jobs, users, rng, JOBS)
    points = itertools.count(1)
    start = time.monotonic()
    for number in range(KILLS):
        die_at = next(points) * 7 % 800 if number % 2 else 0
        if come_up(daemon, die_at):
            end = time.monotonic() + rng.random() * 1.5
            while time.monotonic() < end and daemon.process.poll() is None:
                if crowd.left and rng.random() < 0.2:
                    crowd.submit()
                if rng.random() < 0.5:
                    victims |= {victim[:2] for victim in supervisors(jobs) if kill_supervisor(jobs, *victim)}
                time.sleep(rng.random() * 0.02)  # the moment of death is what is tested
            if daemon.process.poll() is None:
                daemon.process.kill()
        deaths += 1
        bury(daemon)
        jobs.hang_up()
        if rng.random() < 0.2:
            time.sleep(rng.random() * 0.3)  # jobs end while nobody is there
    assert come_up(daemon, 0)
    while crowd.left:
        crowd.submit()
    wait_all_ended(daemon, 10 * DEADLINE + JOBS / 20)
    took = time.monotonic() - start
    daemon.restart()  # which also sweeps what was left half made
    jobs.hang_up()
    jobs.wait_nothing_left()
    found, attempts, lost = check(jobs, crowd, victims)
    print(f"{len(found)} jobs, {attempts} attempts, {deaths} deaths of dibsd, {len(victims)} of supervisors, "
          f"{lost} lost, {took:.0f} s")
    assert len(found) >= JOBS and victims
    daemon.stop()


def memory_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_thousands_of_jobs_through_eight_gpus(new_jobs, users):
    jobs = new_jobs(MANY)
    jobs.daemon.start()
    crowd = Crowd(jobs, users, random.Random(1), JOBS)
    blocker = jobs.daemon.reserve("-g", "8")
    before, start = memory_kib(jobs.daemon.process.pid), time.monotonic()
    while crowd.left:
        crowd.submit()
    submitted, after = time.monotonic() - start, memory_kib(jobs.daemon.process.pid)
    print(f"{JOBS / submitted:.0f} submits/s; dibsd: {before} KiB, with {JOBS} queued {after} KiB")
    jobs.daemon.dibs("release", blocker["id"])
    start = time.monotonic()
    wait_all_ended(jobs.daemon, 10 * DEADLINE + JOBS / 20)
    took = time.monotonic() - start
    _, attempts, lost = check(jobs, crowd, set())
    print(f"{attempts} attempts of {JOBS} jobs in {took:.1f} s: {attempts / took:.0f}/s")
    assert lost == 0
    jobs.wait_nothing_left()
    jobs.daemon.stop()  # LeakSanitizer looks over it


# --- one at a time ---


def test_an_end_while_no_daemon_ran(new_jobs, alice):
    jobs = new_jobs()
    jobs.daemon.start()
    up, gate = jobs.up(alice), jobs.fifo(alice, "gate")
    numbers = [jobs.submit(alice, f"echo >up; : <gate; {how}") for how in ("exit 0", "exit 7", "kill -9 $$")]
    for _ in numbers:
        up.line()
    at_work = list(supervisors(jobs))
    assert len(at_work) == 3
    jobs.daemon.kill()
    gate.open()
    for _, _, pid, _ in at_work:
        wait_exit(pid)
    jobs.daemon.start()
    jobs.wait(*numbers)
    assert [(l["end"], l["job"]["exit_status"], l["job"]["exit_signal"]) for l in map(jobs.lease, numbers)] == [
        ("exited", 0, None), ("exited", 7, None), ("exited", None, 9)]
    jobs.wait_nothing_left()


@pytest.mark.parametrize("daemon_runs", [True, False])
@pytest.mark.parametrize("retries", [0, 1])
def test_a_killed_supervisor_loses_the_job_when_its_processes_are_gone(new_jobs, alice, retries, daemon_runs):
    jobs = new_jobs()
    jobs.daemon.start()
    up, gate = jobs.up(alice), jobs.fifo(alice, "gate")
    number = jobs.submit(alice, "echo $DIBS_RESTART_COUNT >up; [ $DIBS_RESTART_COUNT = 1 ] && exit 0; : <gate",
                         retries=retries)
    assert up.line() == "0"
    (victim,) = supervisors(jobs)
    if not daemon_runs:
        jobs.daemon.kill()
    assert kill_supervisor(jobs, *victim)
    if not daemon_runs:
        jobs.daemon.start()
    assert jobs.lease(number)["state"] == "active"  # its command still runs, on its GPU
    gate.open()
    lease = jobs.wait_one(number)
    if retries:
        assert (lease["end"], lease["job"]["exit_status"], lease["job"]["restarts"]) == ("exited", 0, 1)
    else:
        assert (lease["end"], lease["job"]["exit_status"], lease["job"]["exit_signal"]) == ("lost", None, None)
        assert "supervisor was killed" in lease["job"]["reason"]
    jobs.wait_nothing_left()


def stall(programs, directory):
    """Puts a program into the place of dibs-exec that waits before it becomes it, while a file is there."""
    real = programs["exec"].with_name("dibs-exec.real")
    programs["exec"].rename(real)
    programs["exec"].write_text(f"#!/bin/sh\nif [ -e {directory}/stall ]; then echo $$ >>{directory}/stalled; "
                                f": <{directory}/stall; fi\nexec {real}\n")
    programs["exec"].chmod(0o755)
    os.mkfifo(directory / "stall")
    os.mkfifo(directory / "stalled")


@pytest.mark.parametrize("cgroups", [True, False])
def test_a_supervisor_that_comes_too_late_starts_nothing(own_programs, base_directory, alice, cgroups):
    """The daemon that started it died; the next one started another, which did the work already."""
    directory = base_directory / f"late-{uuid.uuid4()}"
    directory.mkdir()
    directory.chmod(0o755)
    stall(own_programs, directory)
    daemon = Daemon(own_programs, directory, config=QUICK, cgroups=cgroups)
    jobs = Jobs(daemon)
    try:
        daemon.start()
        number = jobs.submit(alice, "echo $DIBS_RESTART_COUNT >>ran; exit 1", retries=1)
        with open(directory / "stalled", "r+b", buffering=0) as stalled:
            late = os.pidfd_open(int(read_line(stalled)))
        daemon.kill()
        os.rename(directory / "stall", directory / "stall.late")
        daemon.start()
        lease = jobs.wait_one(number)
        assert (lease["end"], lease["job"]["restarts"]) == ("exited", 1)
        assert jobs.lines(alice, "ran") == ["0", "1"]
        with open(directory / "stall.late", "r+b", buffering=0):
            assert select.select([late], [], [], DEADLINE)[0], "it still runs"
        assert jobs.lines(alice, "ran") == ["0", "1"], "it ran once more"
        daemon.restart()
        jobs.hang_up()
        jobs.wait_nothing_left()
    finally:
        jobs.close()
        daemon.close()


def test_a_daemon_that_dies_around_the_start_of_a_supervisor(new_jobs, alice):
    """A job or two for each point, and a daemon that dies there."""
    jobs = new_jobs(environment=preload("die-at"))
    numbers = []
    assert come_up(jobs.daemon, 0)
    jobs.daemon.stop()
    for point in range(1, 60 if is_sanitized() else 160):
        if come_up(jobs.daemon, point):
            try:
                link = jobs.link(alice)
                link.send("org.dibs.Submit", jobs.order(alice, RUN))
                reply = link.receive()
                if reply:
                    numbers.append(reply["parameters"]["lease"]["id"])
                while jobs.daemon.process.poll() is None:  # it dies, or everything is done
                    link.send("org.dibs.GetStatus")
                    status = link.receive()
                    if status and not status["parameters"]["leases"]:
                        jobs.daemon.process.kill()
            except (ConnectionError, FileNotFoundError):
                pass
        bury(jobs.daemon)
        jobs.hang_up()
    assert come_up(jobs.daemon, 0)
    wait_all_ended(jobs.daemon, 3 * DEADLINE)
    jobs.wait_nothing_left()
    found = read_jobs(jobs.daemon)
    assert set(numbers) <= set(found)
    assert sorted(map(int, (line.split()[0] for line in jobs.lines(alice, "ran")))) == sorted(found)
    for number, job in found.items():
        assert (job["end"], job["status"]) == ("exited", number % 5), (number, job)


def test_a_supervisor_that_dies_at_any_point(own_programs, base_directory, alice):
    directory = base_directory / f"points-{uuid.uuid4()}"
    directory.mkdir()
    directory.chmod(0o755)
    real = own_programs["exec"].with_name("dibs-exec.real")
    own_programs["exec"].rename(real)
    environment = preload("die-at")
    own_programs["exec"].write_text(
        f"#!/bin/sh\nread -r point <{directory}/point\nexport DIBS_DIE_AT=$point "
        f"LD_PRELOAD={environment['LD_PRELOAD']} ASAN_OPTIONS={environment['ASAN_OPTIONS']}\nexec {real}\n")
    own_programs["exec"].chmod(0o755)
    daemon = Daemon(own_programs, directory, config=QUICK)
    jobs = Jobs(daemon)
    try:
        daemon.start()
        ends = []
        for point in range(1, 41):
            (directory / "point").write_text(f"{point}\n")
            lease = jobs.run(alice, "echo $DIBS_JOB >>ran; exit 3")
            ran = jobs.lines(alice, "ran").count(str(lease["id"]))
            ends.append(lease["end"])
            if lease["end"] == "exited" and lease["job"]["exit_status"] is not None:
                assert ran == 1 and lease["job"]["exit_status"] == 3, (point, lease)
            else:
                assert lease["end"] in ("lost", "failed", "exited") and ran <= 1, (point, lease)
                assert lease["end"] != "failed" or ran == 0, (point, lease)
        assert "lost" in ends and "exited" in ends, ends
        daemon.restart()
        jobs.hang_up()
        jobs.wait_nothing_left()
    finally:
        jobs.close()
        daemon.close()


def test_a_limit_that_was_over_before_the_command_was_started(new_jobs, alice):
    """The daemon dies between the grant and the start, and comes back after the time limit."""
    jobs = new_jobs(environment=preload("die-at"))
    assert come_up(jobs.daemon, 0)
    jobs.daemon.stop()
    for point in itertools.count(30):
        if not come_up(jobs.daemon, point):
            bury(jobs.daemon)
            continue
        with contextlib.suppress(ConnectionError, FileNotFoundError):
            jobs.link(alice).send("org.dibs.Submit", jobs.order(alice, "sleep 1000", duration_us=SECOND))
            jobs.link(alice).receive()
        with contextlib.suppress(subprocess.TimeoutExpired):
            jobs.daemon.process.wait(0.5)
        if jobs.daemon.process.poll() is None:
            jobs.daemon.kill()
        bury(jobs.daemon)
        jobs.hang_up()
        with jobs.daemon.database() as db:
            granted = db.execute("SELECT id FROM lease WHERE state = 'active'").fetchall()
        if any(f"{row[0]}.0" not in jobs.records() for row in granted):
            break
        assert point < 200, "it never died between grant and start"
    time.sleep(1.1)  # the limit passes
    assert come_up(jobs.daemon, 0)
    wait_all_ended(jobs.daemon, DEADLINE)
    jobs.wait_nothing_left()


# --- boots ---


def test_what_a_boot_does_to_jobs(new_jobs, reboot, alice):
    jobs = new_jobs()
    jobs.daemon.start()
    up = jobs.up(alice)
    ran = "echo $DIBS_JOB $DIBS_RESTART_COUNT >>ran; "
    script = ran + "[ $DIBS_RESTART_COUNT = 0 ] || exit 0; echo >up; exec sleep 1000"
    plain = jobs.submit(alice, script)
    retried = jobs.submit(alice, script, retries=1)
    requeued = jobs.submit(alice, script, on_limit="requeue", duration_us=3600 * SECOND)
    for _ in range(3):
        up.line()
    gate = jobs.fifo(alice, "gate")
    done = jobs.submit(alice, ": <gate; exit 9")
    queued = jobs.submit(alice, ran + "exit 4", count=8)
    at_work = {number: pid for number, _, pid, _ in supervisors(jobs)}
    jobs.daemon.kill()
    for number, pid in at_work.items():
        if number != done:
            os.kill(pid, signal.SIGKILL)
    for path in jobs.daemon.cgroup_root.glob("lease-*"):
        if path.name != f"lease-{done}":
            (path / "cgroup.kill").write_text("1")
    gate.open()
    if done in at_work:
        wait_exit(at_work[done])
    jobs.daemon.start(wrapper=reboot())
    wait_all_ended(jobs.daemon, DEADLINE)
    leases = {name: jobs.lease(number) for name, number in
              {"plain": plain, "retried": retried, "requeued": requeued, "queued": queued}.items()}
    assert leases["plain"]["end"] == "reboot"
    assert (leases["retried"]["end"], leases["retried"]["job"]["restarts"]) == ("exited", 1), leases["retried"]
    assert leases["requeued"]["end"] in ("exited", "reboot"), leases["requeued"]
    assert (leases["queued"]["end"], leases["queued"]["job"]["exit_status"]) == ("exited", 4)
    ran = jobs.lines(alice, "ran")
    assert len(ran) == len(set(ran)) and f"{plain} 1" not in ran
    jobs.wait_nothing_left()


# --- shortages ---


def fill(path):
    with open(path / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


def test_ends_during_a_full_disk_are_known_when_there_is_room(disk_daemon, alice):
    disk_daemon.write_config(QUICK)
    jobs = Jobs(disk_daemon)
    disk_daemon.start()
    up, gate = jobs.up(alice), jobs.fifo(alice, "gate")
    numbers = [jobs.submit(alice, f"echo >up; : <gate; {how}") for how in ("exit 0", "exit 7", "kill -9 $$")]
    for _ in numbers:
        up.line()
    at_work = list(supervisors(jobs))
    fill(disk_daemon.state)
    for number in range(20):  # small commits still fit into the last block
        if "error" in jobs.call(None, "Drain", {"gpu": "7", "reason": str(number)}):
            break
    gate.open()
    for _, _, pid, _ in at_work:
        wait_exit(pid)
    assert "disk is full" in str(jobs.call(alice, "Submit", jobs.order(alice, "true")))
    (disk_daemon.state / "filler").unlink()
    jobs.demand(None, "Undrain", {"gpu": "7"})
    wait_all_ended(disk_daemon, DEADLINE)
    assert [(l["end"], l["job"]["exit_status"], l["job"]["exit_signal"]) for l in map(jobs.lease, numbers)] == [
        ("exited", 0, None), ("exited", 7, None), ("exited", None, 9)]
    assert jobs.wait_one(jobs.submit(alice, "exit 5"))["job"]["exit_status"] == 5
    jobs.wait_nothing_left()
    jobs.close()


def test_out_of_descriptors_jobs_wait_or_say_why(new_jobs, alice):
    jobs = new_jobs()
    jobs.daemon.start()
    pid = jobs.daemon.process.pid
    number = jobs.submit(alice, "exit 3", held=True)
    open_now = len(os.listdir(f"/proc/{pid}/fd"))
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 1, before[1]))
    jobs.control(alice, "resume", number)
    for _ in range(10):
        jobs.demand(alice, "GetStatus")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    lease = jobs.wait_one(number)
    assert (lease["end"], lease["job"]["exit_status"]) == ("exited", 3), lease
    assert jobs.wait_one(jobs.submit(alice, "exit 4"))["job"]["exit_status"] == 4
    jobs.wait_nothing_left()


# --- coming and going ---


def test_an_upgrade_under_load(new_jobs, users):
    jobs = new_jobs(MANY)
    jobs.daemon.start()
    crowd = Crowd(jobs, users, random.Random(2), JOBS // 10)
    while crowd.left:
        crowd.submit()
        jobs.daemon.restart()
        jobs.hang_up()
    wait_all_ended(jobs.daemon, 3 * DEADLINE)
    _, _, lost = check(jobs, crowd, set())
    assert lost == 0
    jobs.wait_nothing_left()


def test_a_second_daemon_touches_no_job(new_jobs, alice):
    jobs = new_jobs()
    jobs.daemon.start()
    up, gate = jobs.up(alice), jobs.fifo(alice, "gate")
    number = jobs.submit(alice, "echo >up; : <gate; exit 3")
    up.line()
    records = jobs.records()
    second = subprocess.run(jobs.daemon.arguments(), env=jobs.daemon.environment, capture_output=True, timeout=DEADLINE)
    assert second.returncode != 0 and jobs.records() == records
    gate.open()
    assert jobs.wait_one(number)["job"]["exit_status"] == 3
    jobs.wait_nothing_left()
