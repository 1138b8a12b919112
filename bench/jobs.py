# SPDX-License-Identifier: MIT
"""Batch jobs, beside task-spooler, and beside the Slurm that sbatch finds (SLURM_CONF says where), if it is up."""

import contextlib
import json
import re
import shutil
import subprocess
import time
from statistics import median

from measurements import CLIENTS, DISK, HOLD, NO_DISK, in_turns, rate, resident
from places import DEADLINE, Daemon, Stamp, start_spooler, wait_until
from rows import Row, difference, digits, memory, ms, ratio

SLOTS = 8  # GPUs of dibs, slots of tsp
MANY = 10000
FEW = 500
PATIENCE = 600  # seconds, for thousands of jobs
PAUSE_MS = 20  # the job before has gone
LIMITS = "[limits]\nrequests = 30000\nrequests-per-user = 30000\n"
JOB = {"count": 1, "arguments": ["true"], "directory": "/", "output": "/dev/null", "venv": "",
       "environment": ["PATH=/usr/bin:/bin", "HOME=/root", "LANG=C.UTF-8"]}
SUBMIT = ("submit", "--no-venv", "--output", "/dev/null", "--chdir", "/", "--")
XARGS = f"seq {MANY} | xargs -P {SLOTS} -n 1 true"

TSP = "tsp keeps nothing on disk, confines nothing, has no other users, and each job that waits is a process"
NO_SLURM = "no Slurm with GPUs answers here; SLURM_CONF says where one is up"
XARGS_NOTE = ("each job of dibs has a supervisor, a cgroup, a PAM session, a record, three states on disk and a place "
              "in the account")


class Slurm:
    """One that is up. Its settings are its own."""

    def __init__(self):
        nodes = self.ask("sinfo", "--noheader", "--Node", "--format=%G")
        self.gpus = sum(int(n) for n in re.findall(r"gpu:(?:\w+:)?(\d+)", nodes))
        self.version = self.ask("sbatch", "--version").split()[-1]

    @staticmethod
    def ask(*command):
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=True, text=True, timeout=DEADLINE).stdout

    @classmethod
    def find(cls):
        """None if there is none."""
        try:
            cls.ask("scontrol", "ping")
            slurm = cls()
        except (OSError, subprocess.SubprocessError):
            return None
        return slurm if slurm.gpus and shutil.which("sbatch") else None

    def named(self, what):
        return f"{what}, Slurm {self.version}, {self.gpus} GPUs"

    @staticmethod
    def submit(command, *options):
        """The words of a command line."""
        return ["sbatch", "--quiet", "--gres=gpu:1", "--output=/dev/null", "--chdir=/", "--job-name=dibs-bench",
                *options, f"--wrap=exec {' '.join(command)}"]

    def cancel(self):
        self.ask("scancel", "--name=dibs-bench")


def beside_slurm(slurm, what, samples, command, its_samples=None):
    if not slurm:
        return Row(what, ms(median(samples)), "not measured", command, note=NO_SLURM)
    return ratio(what, samples, slurm.named(command), its_samples)


@contextlib.contextmanager
def jobs_daemon(place, config=""):
    """A daemon and a client of it. Supervisors are started as under systemd, by a program that listens."""
    daemon = Daemon(place, SLOTS, LIMITS + config)
    listener = daemon.directory / "exec"
    place.start([place.program("src/exec/dibs-exec"), "--listen", listener])
    wait_until(listener.exists, "dibs-exec listens")
    with contextlib.closing(daemon.connect()) as connection:
        connection.socket.settimeout(PATIENCE)
        yield daemon, connection
    daemon.stop()


def take_all(connection):
    """All GPUs, so that jobs wait. Returns the lease."""
    return connection.call("Request", {**HOLD, "count": SLOTS})["lease"]["id"]


def flood(place, daemon, clients, n):
    """The command line that hands in n jobs."""
    call = {"method": "org.dibs.Submit", "parameters": JOB}
    return [place.tool("flood"), daemon.socket, clients, n, json.dumps(call)]


def rates(place, quick):
    """Jobs handed in, beside bare commits."""
    n = 100 if quick else 500
    bare, one, many = [], [], []
    with jobs_daemon(place) as (daemon, connection):
        for _ in range(3 if quick else 9):
            take_all(connection)
            bare.append(rate(place, [place.tool("commit"), place.path / "jobs.db", 100 if quick else 300]))
            one.append(rate(place, flood(place, daemon, 1, n)))
            many.append(rate(place, flood(place, daemon, CLIENTS, 2 * n)))
            connection.call("Release", {"all": True})
    on_disk = median(bare) < NO_DISK

    def row(what, samples, beside_what, beside, least, text, note=""):
        compared = median(a / b for a, b in zip(samples, beside))
        return Row(what, f"{median(samples):.0f}/s", f"{median(beside):.0f}/s", beside_what, text(compared),
                   f">= {text(least)}" if on_disk else "(no disk)", compared >= least if on_disk else None, note,
                   {"unit": "1/s", "measured": median(samples), "beside": median(beside), "ratio": compared})

    return [
        row("jobs handed in, 1 client", one, "bare SQLite commits of a row", bare, 0.6, lambda x: f"{x:.0%}",
            "each is one transaction (state, command, journal, clock), and is answered once that is on disk"),
        row(f"jobs handed in, {CLIENTS} clients", many, "1 client", one, 3, lambda x: f"{digits(x)} x"),
    ]


def handing_in(place, quick):
    """Programs that hand in one job each, which waits."""
    slurm = Slurm.find()
    spooler = start_spooler(place, 1)
    place.output([*spooler, "sleep", PATIENCE])
    with jobs_daemon(place) as (daemon, connection):
        take_all(connection)
        commands = [["/bin/true"], daemon.dibs(*SUBMIT, "true"), [*spooler, "true"]]
        if slurm:
            commands.append(slurm.submit(["true"], "--hold"))
        true, submit, spooled, *batched = in_turns(place, 10 if quick else 100, commands)
    if slurm:
        slurm.cancel()
    what = "dibs submit -- true"
    return [
        difference(what, submit, "/bin/true", true, note=DISK),
        ratio(what, submit, "tsp -n true", spooled, TSP),
        beside_slurm(slurm, what, submit, "sbatch --hold", *batched),
    ]


def to_running(place, quick):
    """From the command line to the first instruction of a job."""
    slurm = Slurm.find()
    stamp = place.fifo()
    now = [place.tool("now"), str(stamp)]
    with jobs_daemon(place) as (daemon, _):
        bare, submit, run, spooled = in_turns(place, 10 if quick else 50, [
            now, daemon.dibs(*SUBMIT, *now), daemon.dibs("run", "--", *now), [*start_spooler(place, SLOTS), *now],
        ], PAUSE_MS, stamp)
    batched = in_turns(place, 2 if quick else 10, [slurm.submit(now)], PAUSE_MS, stamp) if slurm else []
    what = "dibs submit: called -> job starts"
    return [
        difference(what, submit, "fork and exec", bare),
        difference(what, submit, "dibs run", run),
        ratio(what, submit, "tsp -n", spooled, TSP),
        beside_slurm(slurm, what, submit, "sbatch", *batched),
    ]


def one_by_one(place, stamp, command, n):
    """Hands in n jobs. Nanoseconds until the last of them has started."""
    begin = time.monotonic_ns()
    in_turns(place, n, [command])
    return max(stamp.read() for _ in range(n)) - begin


def short_jobs(place, quick):
    """Jobs of nothing, handed in by one command each."""
    slurm = Slurm.find()
    n = FEW // 10 if quick else FEW
    now = [place.tool("now"), str(place.fifo())]
    dibs, spooled, batched = [], [], []
    with jobs_daemon(place) as (daemon, _), contextlib.closing(Stamp(place, PATIENCE)) as stamp:
        spooler = start_spooler(place, SLOTS)
        for _ in range(1 if quick else 3):
            dibs.append(one_by_one(place, stamp, daemon.dibs(*SUBMIT, *now), n))
            spooled.append(one_by_one(place, stamp, [*spooler, *now], n))
        if slurm:
            batched.append(one_by_one(place, stamp, slurm.submit(now), n))
    what = f"{n} jobs of nothing, {SLOTS} GPUs, first called -> last starts"
    return [
        ratio(what, dibs, f"tsp -n, {SLOTS} slots", spooled, TSP),
        beside_slurm(slurm, what, dibs, "sbatch", batched),
    ]


def elapsed(work):
    begin = time.monotonic_ns()
    work()
    return time.monotonic_ns() - begin


def one_more(connection, quick):
    """What a client waits for who hands in a job that has to wait."""
    return [elapsed(lambda: connection.call("Submit", JOB)) for _ in range(20 if quick else 200)]


def jobs_of(connection):
    return [str(lease["id"]) for lease in connection.call("GetStatus")["leases"] if lease["kind"] == "job"]


def run_all(daemon, connection, hold):
    """All jobs that wait, once the GPUs are given back. Returns their number and nanoseconds."""
    jobs = jobs_of(connection)
    begin = time.monotonic_ns()
    connection.send("WaitJobs", {"ids": jobs[-1:]})  # they start in order; to ask all the time would slow them down
    with contextlib.closing(daemon.connect()) as other:
        other.call("Release", {"ids": [hold]})
    connection.receive()
    wait_until(lambda: not jobs_of(connection), "all jobs have ended")
    return len(jobs), time.monotonic_ns() - begin


def thousands(place, quick):
    """Thousands of jobs that wait, then run."""
    with jobs_daemon(place) as (daemon, connection):
        hold = take_all(connection)
        few = one_more(connection, quick)
        place.output(flood(place, daemon, CLIENTS, MANY))
        full = resident(daemon.process)
        many = one_more(connection, quick)
        asked_ns = elapsed(lambda: connection.call("GetStatus"))
        place.output(daemon.dibs("queue"))
        asked = resident(daemon.process)
        true, queue = in_turns(place, 3 if quick else 10, [["/bin/true"], daemon.dibs("queue")])
        bare_ns = elapsed(lambda: subprocess.run(XARGS, shell=True, check=True, timeout=PATIENCE))
        n, ran_ns = run_all(daemon, connection, hold)
        after = resident(daemon.process)
    wait = f"{MANY} jobs wait"
    ran, bare = n / (ran_ns / 1e9), MANY / (bare_ns / 1e9)
    return [
        memory(f"dibsd, {wait}", full, 40),
        memory(f"dibsd, {wait}, after a status and a queue", asked, 40),
        memory(f"dibsd, {n} jobs have run", after, 40),
        difference(f"one more job handed in, {wait}", many, "none waits", few),
        Row(f"GetStatus, answered and parsed, {wait}", ms(asked_ns), values={"unit": "ns", "measured": asked_ns}),
        difference(f"dibs queue, {wait}", queue, "/bin/true", true),
        Row(f"jobs of true, {n} through {SLOTS} GPUs", f"{ran:.0f}/s", f"{bare:.0f}/s", f"xargs -P {SLOTS} true",
            f"{digits(bare / ran)} x as long", note=XARGS_NOTE,
            values={"unit": "1/s", "measured": ran, "beside": bare, "ratio": bare / ran}),
    ]


def arrays(place, quick):
    """An array of thousands before its start."""
    array = {**JOB, "indices": f"0-{MANY - 1}"}
    with jobs_daemon(place) as (daemon, connection):
        take_all(connection)
        one, whole = [], []
        connection.call("Submit", array)  # what the first one brings into memory
        before = resident(daemon.process)
        for _ in range(10 if quick else 100):
            one.append(elapsed(lambda: connection.call("Submit", JOB)))
            whole.append(elapsed(lambda: connection.call("Submit", array)))
        more = (resident(daemon.process) - before) / len(whole)
    return [
        difference(f"an array of {MANY} handed in", whole, "a job", one),
        Row("dibsd, memory for it and a job, before they start", f"{digits(more / 1e3)} kB",
            values={"unit": "bytes", "measured": more}),
    ]


PARTS = (rates, handing_in, to_running, short_jobs, thousands, arrays)
