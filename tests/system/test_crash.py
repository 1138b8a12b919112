# SPDX-License-Identifier: MIT
"""kill -9 of dibsd at any instruction.

The main test lets several users work and kills the daemon again and again: every other time at a random moment, and
every other time at an exact point, before or after the n-th call by which it leaves a trace outside of itself
(tests/fakes/die-at.c), for n = 1, 2, 3, ... from the very start of the program on. After each death the database and,
after each start, the daemon must agree with everything that anybody was told.

DIBS_TEST_KILLS says how many times it is killed; 300, or 120 with a sanitizer, which is several times slower.
"""

import itertools
import json
import os
import random
import select
import signal
import socket
import time

from harness import DEADLINE, Varlink, come_up, demote, is_sanitized, preload, read_line, uid_of, wait_exit

KILLS = int(os.environ.get("DIBS_TEST_KILLS", "120" if is_sanitized() else "300"))
SECOND = 1_000_000


class Worker:
    """A process of a user that holds, extends and releases as fast as it can, and reports what it asks for and what it
    is told. When the daemon is gone it says so and goes on when it is told to."""

    def __init__(self, daemon, user, seed):
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                ours.close()
                demote(user)()
                self.rng, self.seed, self.path, self.held = random.Random(seed), seed, daemon.socket, []
                self.wish, self.waiting, self.pipe = itertools.count(), None, theirs.makefile("rw")
                self.work()
            finally:
                os._exit(1)
        theirs.close()
        ours.settimeout(DEADLINE)
        self.socket, self.pipe = ours, ours.makefile("rw")

    # In the child

    def report(self, what, *values):
        self.pipe.write(json.dumps([what, *values]) + "\n")
        self.pipe.flush()

    def work(self):
        while self.pipe.readline():
            try:
                with Varlink(self.path) as link:
                    self.adopt(link)
                    while True:
                        self.step(link)
            except (ConnectionError, FileNotFoundError):
                self.report("lost")

    def answer(self, link):
        message = link.receive()
        if message is None:
            raise ConnectionError
        return message

    def adopt(self, link):
        """Holds that were granted although the answer never came are ours, too."""
        link.send("org.dibs.GetStatus")
        status = self.answer(link)["parameters"]
        uuids = {gpu["index"]: gpu["uuid"] for gpu in status["gpus"]}
        for lease in status["leases"]:
            if lease["uid"] == os.getuid() and lease["kind"] == "hold" and lease["state"] == "active" \
                    and lease["id"] not in [*self.held, self.waiting]:
                self.held.append(lease["id"])
                self.report("holds", lease["id"], [uuids[index] for index in lease["gpus"]], lease["note"])

    def step(self, link):
        if self.waiting:
            link.send("org.dibs.Resume", {"id": self.waiting}, more=True)
            self.follow(link, None)
        elif self.held and self.rng.random() < 0.6:
            self.release(link) if len(self.held) > 2 or self.rng.random() < 0.7 else self.extend(link)
        else:
            self.ask(link)

    def ask(self, link):
        note = f"{self.seed}-{next(self.wish)}"
        wait = self.rng.choice([0, 20_000])
        self.report("asks", note)
        link.send("org.dibs.Request", {"kind": "hold", "count": self.rng.randint(1, 3), "duration_us": 3600 * SECOND,
                                       "wait_us": wait, "note": note}, more=True)
        self.follow(link, note)

    def follow(self, link, note):
        message = self.answer(link)
        while message.get("continues"):
            self.waiting = message["parameters"]["lease"]["id"]
            self.report("waits", self.waiting)
            message = self.answer(link)
        self.waiting = None
        if "error" not in message:
            lease = message["parameters"]["lease"]
            self.held.append(lease["id"])
            self.report("holds", lease["id"], [gpu["uuid"] for gpu in message["parameters"]["gpus"]], lease["note"])

    def release(self, link):
        lease = self.held.pop(self.rng.randrange(len(self.held)))
        self.report("releases", lease)
        link.send("org.dibs.Release", {"ids": [lease]})
        # An unanswered release may have been done before the crash, so a second one may be refused.
        self.report("released" if "error" not in self.answer(link) else "not-released", lease)

    def extend(self, link):
        lease = self.rng.choice(self.held)
        self.report("extends", lease)
        link.send("org.dibs.Extend", {"id": lease, "duration_us": SECOND})
        message = self.answer(link)
        assert "error" not in message, message
        self.report("extended", lease, message["parameters"]["lease"]["until"])

    # In the test

    def go(self):
        self.pipe.write("go\n")
        self.pipe.flush()

    def reports(self):
        """All until it lost the daemon."""
        while (report := json.loads(self.pipe.readline() or '["died"]'))[0] != "lost":
            assert report[0] != "died", "a worker failed, its traceback is above"
            yield report

    def close(self):
        self.pipe.close()
        self.socket.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Ledger:
    """What users were told, to be compared with what is."""

    def __init__(self):
        self.asked = {}  # note -> uid
        self.held = {}  # id -> UUIDs: told, and never tried to give back
        self.until = {}
        self.released = set()
        self.seen = {}  # id -> note, of every lease that was ever seen

    def take(self, uid, report):
        what, value, *rest = report
        if what == "asks":
            self.asked[value] = uid
        elif what == "holds":
            self.held[value] = rest[0]
            self.remember(value, rest[1])
        elif what == "releases":
            self.held.pop(value)
        elif what == "released":
            self.released.add(value)
        elif what == "extends":
            self.until.pop(value, None)
        elif what == "extended":
            self.until[value] = rest[0]

    def remember(self, lease, note):
        assert self.seen.setdefault(lease, note) == note, f"number {lease} was given twice"

    def check_disk(self, daemon):
        leases = read_database(daemon)
        heads = [gpu for lease in leases.values() for gpu in lease["gpus"]]
        assert len(heads) == len(set(heads)), f"a GPU on two heads: {leases}"
        notes = [lease["note"] for lease in leases.values()]
        assert len(notes) == len(set(notes)), "one wish became two leases"
        for number, lease in leases.items():
            self.remember(number, lease["note"])
            assert self.asked.get(lease["note"]) == lease["uid"], f"nobody asked for {lease}"
            assert bool(lease["gpus"]) == (lease["state"] in ("active", "grace")), lease
        for number, gpus in self.held.items():
            assert leases[number]["state"] == "active" and sorted(leases[number]["gpus"]) == sorted(gpus), \
                f"lost: {number}"
        for number in self.released:
            assert (leases[number]["state"], leases[number]["end"]) == ("ended", "released"), leases[number]
        return leases

    def check_alive(self, daemon, leases):
        """The daemon took up just what is on disk."""
        with daemon.varlink() as link:
            status = link.call("org.dibs.GetStatus")["parameters"]
        live = {lease["id"]: lease for lease in status["leases"]}
        for number, lease in leases.items():
            if lease["state"] == "active" and lease["kind"] == "hold":
                assert live[number]["state"] == "active" and len(live[number]["gpus"]) == len(lease["gpus"])
        for lease in live.values():
            if lease["state"] == "active" and lease["kind"] == "hold":
                assert leases[lease["id"]]["state"] == "active", f"invented: {lease}"
        assert all(len(gpu["leases"]) <= 1 for gpu in status["gpus"]), status
        for number in self.held.keys() & self.until.keys():
            # The wall clock of the machine may be slewed meanwhile.
            assert abs(live[number]["until"] - self.until[number]) < SECOND / 2


def read_database(daemon):
    """Leases by number, each of one mind with who holds what."""
    with daemon.database() as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        leases = {row[0]: dict(zip(["kind", "state", "end", "uid", "note"], row[1:]), gpus=[])
                  for row in db.execute("SELECT id, kind, state, ended_by, uid, note FROM lease")}
        for number, gpu in db.execute("SELECT lease, gpu FROM holder ORDER BY lease, gpu"):
            leases[number]["gpus"].append(gpu)
        for number, gpus in db.execute("SELECT id, gpus FROM lease WHERE state IN ('active', 'grace')"):
            assert sorted(gpus.split(",")) == leases[number]["gpus"], "two records of one lease differ"
    return leases


class Runs:
    """Commands under dibs run, which live until their standard input is closed."""

    def __init__(self, daemon, users, ledger, rng):
        self.daemon, self.users, self.ledger, self.rng = daemon, users, ledger, rng
        self.number = itertools.count()
        self.running, self.closed = [], []

    def change(self):
        if len(self.running) < 5:
            user = self.rng.choice(self.users)
            note = f"run-{next(self.number)}"
            self.ledger.asked[note] = uid_of(user)
            self.running.append(self.daemon.popen(
                "run", "--note", note, "--", "sh", "-c", "echo $DIBS_LEASE; exec cat", user=user,
                stdin=-1))
        elif self.rng.random() < 0.5:
            self.finish(self.running.pop(self.rng.randrange(len(self.running))))

    def finish(self, process):
        process.stdin.close()
        process.stdin = None
        self.closed.append(process)

    def collect(self):
        """Whoever was told no number when the daemon died could not wait on (exit status 5)."""
        for process in list(self.running):
            if not hasattr(process, "lease") and select.select([process.stdout], [], [], 0)[0]:
                line = process.stdout.readline().decode()
                if line:
                    process.lease = int(line)
                else:
                    assert process.wait(DEADLINE) == 5, process.stderr.read()
                    self.running.remove(process)

    def check(self, leases):
        for process in self.running:
            if hasattr(process, "lease"):
                lease = leases[process.lease]
                assert lease["state"] == "active" and len(lease["gpus"]) == 1, lease


def kill(daemon, die_at, rng):
    if not die_at:
        time.sleep(rng.random() * 0.06)  # the moment of death is what is tested
        daemon.process.kill()
    assert daemon.process.wait(DEADLINE) == -signal.SIGKILL, daemon.drain_log()
    log = daemon.drain_log()
    daemon.process.stderr.close()
    assert "Sanitizer" not in log and "runtime error" not in log, log


def lease_cgroups(daemon):
    return [path.name for path in daemon.cgroup_root.glob("lease-*")] if daemon.cgroup_root else []


def wait_no_cgroups(daemon):
    end = time.monotonic() + DEADLINE
    with daemon.varlink() as link:
        while lease_cgroups(daemon):
            assert time.monotonic() < end, f"left behind: {lease_cgroups(daemon)}"
            link.call("org.dibs.GetStatus")


def test_no_lease_is_lost_invented_or_on_two_heads_however_often_it_is_killed(make_daemon, users):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    daemon = make_daemon(environment=preload("die-at"), config="[lease]\nkill-grace = 1s\n")
    ledger = Ledger()
    runs = Runs(daemon, users, ledger, rng)
    workers = [(uid_of(user), Worker(daemon, user, i)) for i, user in enumerate(users)]
    leases, points = {}, itertools.count(1)
    try:
        for number in range(KILLS):
            die_at = next(points) if number % 2 else 0
            if come_up(daemon, die_at):
                if not die_at:
                    ledger.check_alive(daemon, leases)
                    runs.check(leases)
                for _, worker in workers:
                    worker.go()
                runs.change()
                kill(daemon, die_at, rng)
                for uid, worker in workers:
                    for report in worker.reports():
                        ledger.take(uid, report)
            else:
                daemon.process.stderr.close()
            leases = ledger.check_disk(daemon) if (daemon.state / "dibs.db").exists() else {}
            runs.collect()
    finally:
        for _, worker in workers:
            worker.close()
    assert len(ledger.released) > KILLS / 2, "too little happened to prove anything"

    assert come_up(daemon, 0)
    for process in list(runs.running):
        runs.finish(process)
    for process in runs.closed:
        wait_exit(process)
    for user in users:
        daemon.dibs("release", "--all", user=user, code=None)
    status = daemon.wait_status(lambda status: not status["leases"])
    assert all(gpu["state"] == "free" for gpu in status["gpus"]), status
    wait_no_cgroups(daemon)


def test_those_who_wait_keep_their_order_across_crashes(make_daemon, alice, bob, carol):
    daemon = make_daemon().start()
    blocker = daemon.reserve("-g", "8")
    waiting = []
    for position, (verb, user) in enumerate([("run", alice), ("reserve", bob), ("run", carol), ("reserve", alice)], 1):
        command = ["--", "sh", "-c", "echo; exec sleep 1000"] if verb == "run" else []
        waiting.append(daemon.popen(verb, "-g", "8", *command, user=user))
        daemon.wait_leases(position, state="waiting")
    order = [lease["id"] for lease in daemon.status()["leases"] if lease["state"] == "waiting"]
    for _ in range(3):
        daemon.crash_and_restart()
        # Somebody who comes before the others are back stands behind them all the same.
        late = daemon.dibs("reserve", "-g", "1", "--no-wait", user=bob, code=4)
        assert "leased" in late.stderr or "ahead" in late.stderr
    daemon.dibs("release", blocker["id"])
    for number, process in zip(order, waiting):
        read_line(process.stdout)
        active = daemon.wait_leases(1, state="active")
        assert active[0]["id"] == number
        user = daemon.lease(number)["user"]
        daemon.dibs("release", number, user=user)
        daemon.wait_leases(0, id=number)


def test_nobody_overtakes_one_who_is_not_back_yet(make_daemon, alice, bob):
    daemon = make_daemon().start()
    with daemon.varlink() as link:
        blocker = link.call("org.dibs.Request", {"kind": "hold", "count": 8, "duration_us": SECOND // 2})
    waiting = daemon.popen("reserve", "-g", "8", "--short", user=alice)
    daemon.wait_leases(1, state="waiting")
    waiting.send_signal(signal.SIGSTOP)
    daemon.kill()
    time.sleep(max(0, blocker["parameters"]["lease"]["until"] / SECOND - time.time()))
    daemon.start()
    daemon.wait_leases(0, state="active")
    daemon.dibs("reserve", "-g", "1", "--no-wait", user=bob, code=4)
    waiting.send_signal(signal.SIGCONT)
    assert read_line(waiting.stdout) == "0,1,2,3,4,5,6,7\n"


def test_a_waiting_client_that_died_with_the_daemon_leaves_nothing(make_daemon, alice, bob):
    daemon = make_daemon().start()
    daemon.reserve("-g", "8")
    waiting = daemon.popen("run", "--", "true", user=alice)
    lease = daemon.wait_leases(1, state="waiting")[0]["id"]
    daemon.kill()
    waiting.kill()
    waiting.wait()
    daemon.start()
    daemon.wait_leases(0, id=lease)
    assert daemon.lease(lease)["events"][-1]["detail"] == "gone"
    wait_no_cgroups(daemon)


def test_processes_that_ended_while_no_daemon_ran_are_noticed(make_daemon, alice):
    daemon = make_daemon().start()
    run = daemon.popen("run", "-g", "2", "--", "sh", "-c", "echo; exec cat", user=alice, stdin=-1)
    read_line(run.stdout)
    lease = daemon.wait_leases(1, state="active")[0]["id"]
    daemon.kill()
    run.stdin.close()
    run.stdin = None
    wait_exit(run)
    daemon.start()
    daemon.wait_leases(0, id=lease)
    assert daemon.lease(lease)["events"][-1]["detail"] == "exited"
    assert all(gpu["state"] == "free" for gpu in daemon.status()["gpus"])
    wait_no_cgroups(daemon)
