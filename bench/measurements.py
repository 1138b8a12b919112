# SPDX-License-Identifier: MIT
"""The measurements: each starts what it needs in a Place and returns rows of the table. What is compared is taken in
turns, so that a drift of the machine hits both."""

import contextlib
import fcntl
import math
import select
import sqlite3
import subprocess
import time
from pathlib import Path
from statistics import median

from places import Connection, Daemon, Failed, Stamp, allow_files, start_redis, start_spooler, wait_until
from rows import Row, difference, digits, limit, memory, ms, ratio

IDLE_MS = 300
STATUS = '{"method":"org.dibs.GetStatus"}'
HOLD = {"kind": "hold", "duration_us": 3600 * 1000000}
WAITING = 10000
JOURNAL = 1000000
CLIENTS = 16  # and as many GPUs: none of them waits
NO_DISK = 50000  # commits a second that no disk can do, only a file system in memory
OPEN_FILES = 1000  # more than WAITING, for all else

DISK = "a lease is on disk before its command starts; the bare commit shows what the disk takes for that"
KERNEL = (f"{DISK}; and moving a process into a cgroup after a while without moves can wait for a grace period of RCU, "
          "unless cgroup2 is mounted with favordynmods; the bare move shows whether it did")


def in_turns(place, rounds, commands, pause_ms=0, stamp=None):
    """Samples of whole commands, a list of nanoseconds for each."""
    words = []
    for command in commands:
        words += [",", *command] if words else command
    lines = place.output([place.tool("spawn"), rounds, pause_ms, stamp or "-", *words])
    return [[int(ns) for ns in line.split()] for line in lines.splitlines()]


@contextlib.contextmanager
def table_of_rows(place):
    """A database for bare_commit."""
    path = place.path / "row.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; "
                               "PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS row (n INTEGER);")
        yield database


def bare_commit(database, pause_ms):
    """What the disk takes for one row, with the settings of dibs."""
    time.sleep(pause_ms / 1000)
    begin = time.monotonic_ns()
    database.execute("INSERT INTO row VALUES (?)", (begin,))
    return time.monotonic_ns() - begin


def processes(place, quick):
    """Whole commands beside /bin/true and flock."""
    daemon = Daemon(place, 8)
    commands = [["/bin/true"], daemon.dibs("status"), ["flock", str(place.path / "lock"), "true"],
                daemon.dibs("run", "--", "true")]
    true, status, flocked, run, commit = all_samples = [[] for _ in range(5)]
    rounds = 10
    with table_of_rows(place) as database:
        for _ in range(5 if quick else 30):
            commits = [bare_commit(database, 0) for _ in range(rounds)]
            for samples, more in zip(all_samples, [*in_turns(place, rounds, commands), commits]):
                samples += more
    echo, call = [[int(ns) for ns in line.split()] for line in place.output(
        [place.tool("call"), 200 if quick else 2000, daemon.socket, STATUS]).splitlines()]
    daemon.stop()
    return [
        difference("dibs status, 8 GPUs", status, "/bin/true", true, 1.5),
        difference("dibs run -- true, one after another", run, "true", true, 2, DISK),
        difference("dibs run -- true, one after another", run, "true + a bare commit of a row",
                   [sum(parts) for parts in zip(true, commit)]),
        difference("dibs run -- true, one after another", run, "flock FILE true", flocked),
        difference("GetStatus on the socket", call, "echo on a UNIX socket", echo),
    ]


def bare_move(place, pause_ms):
    """What the kernel takes to make a cgroup and to move a process of ours into it."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
        path = place.cgroup_root / "move"
        time.sleep(pause_ms / 1000)
        begin = time.monotonic_ns()
        path.mkdir()
        (path / "cgroup.procs").write_text(str(child.pid))
        ns = time.monotonic_ns() - begin
    path.rmdir()
    return ns


def after_idle(place, quick):
    """A run on a machine that was idle, beside what kernel and disk take for their part of it."""
    if not place.cgroup_root:
        return []
    daemon = Daemon(place, 8)
    true, run, move, commit = [], [], [], []
    with table_of_rows(place) as database:
        for _ in range(3 if quick else 10):
            for samples, more in zip((true, run), in_turns(
                    place, 1, [["/bin/true"], daemon.dibs("run", "--", "true")], IDLE_MS)):
                samples += more
            move.append(bare_move(place, IDLE_MS))
            commit.append(bare_commit(database, IDLE_MS))
        more_commits = [bare_commit(database, 0) for _ in range(20 if quick else 100)]
    more_moves = [bare_move(place, 0) for _ in range(20 if quick else 100)]
    daemon.stop()
    idle = f"after {IDLE_MS} ms of nothing"
    return [
        difference(f"dibs run -- true {idle}", run, "true", true, 2, KERNEL),
        difference(f"dibs run -- true {idle}", run, "true + bare move + bare commit, as idle",
                   [sum(parts) for parts in zip(true, move, commit)]),
        difference(f"a bare mkdir and move into it {idle}", move, "one after another", more_moves),
        difference(f"a bare commit of a row {idle}", commit, "one after another", more_commits),
    ]


def to_the_start(place, quick):
    """From the command line to the first instruction of a command, beside task-spooler."""
    daemon = Daemon(place, 8)
    stamp = place.fifo()
    now = [place.tool("now"), str(stamp)]
    bare, flocked, spooled, run = in_turns(place, 20 if quick else 100, [
        now, ["flock", str(place.path / "lock"), *now], [*start_spooler(place), *now], daemon.dibs("run", "--", *now),
    ], stamp=stamp)
    daemon.stop()
    return [
        difference("dibs run: called -> command starts", run, "fork and exec", bare),
        ratio("dibs run: called -> command starts", run, "flock FILE", flocked),
        ratio("dibs run: called -> command starts", run, "tsp (task-spooler)", spooled),
    ]


def canhazgpu(place, quick):
    """The same commands beside the primitive operations of canhazgpu."""
    port = str(start_redis(place))
    small, large = Daemon(place, 8), Daemon(place, 64)  # each reserve keeps a GPU
    other = [place.tool("canhazgpu"), port]
    status, its_status, reserve, its_reserve, run, its_run = in_turns(place, 5 if quick else 20, [
        small.dibs("status"), [*other, "status"],
        large.dibs("reserve"), [*other, "reserve"],
        small.dibs("run", "--", "true"), [*other, "run", "true"],
    ])
    small.stop()
    large.stop()
    return [
        ratio("dibs status", status, "canhazgpu status (primitives)", its_status),
        ratio("dibs reserve", reserve, "canhazgpu reserve (primitives)", its_reserve),
        ratio("dibs run -- true", run, "canhazgpu run (primitives)", its_run,
              "two nvidia-smi of 15 ms each and the round trips to Redis that the real program makes, without the "
              "program; one that waits for its turn asks every 2 s, so it starts a second late on average"),
    ]


def waiting_dibs(daemon, connection, command):
    """A run that waits for the holds of connection. Returns its process and what gives the GPUs back."""
    hold = connection.call("Request", {**HOLD, "count": 8})["lease"]["id"]
    process = daemon.place.start(daemon.dibs("run", "-g", "8", "--", *command), stderr=subprocess.DEVNULL)
    wait_until(lambda: any(lease["state"] == "waiting" for lease in connection.call("GetStatus")["leases"]),
               "dibs run waits")
    return process, lambda: connection.send("Release", {"ids": [hold]})


def waiting_flock(place, lock, command):
    """The same with a lock on a file."""
    fcntl.flock(lock, fcntl.LOCK_EX)
    process = place.start(["flock", place.path / "lock", *command])
    wait_until(lambda: any("->" in line and f" {process.pid} " in line
                           for line in Path("/proc/locks").read_text().splitlines()), "flock waits")
    return process, lambda: fcntl.flock(lock, fcntl.LOCK_UN)


def one_release(stamp, process, release, pause_ms):
    time.sleep(pause_ms / 1000)
    begin = time.monotonic_ns()
    release()
    ns = stamp.read() - begin
    process.wait()
    return ns


def releases(place, quick):
    """From a release to the start of the command that waits for it."""
    daemon = Daemon(place, 8)
    stamp = Stamp(place)
    now = [place.tool("now"), str(place.fifo())]
    rows = []

    def round_of(pause_ms):
        process, release = waiting_dibs(daemon, connection, now)
        dibs = one_release(stamp, process, release, pause_ms)
        connection.receive()
        wait_until(lambda: not connection.call("GetStatus")["leases"], "all leases have ended")
        return dibs, one_release(stamp, *waiting_flock(place, lock, now), pause_ms)

    with open(place.path / "lock", "w", encoding="ascii") as lock, \
            contextlib.closing(daemon.connect()) as connection, contextlib.closing(stamp):
        for pause_ms, rounds in ((0, 10 if quick else 50), (IDLE_MS, 3 if quick else 10)):
            dibs, flocked = zip(*(round_of(pause_ms) for _ in range(rounds)))
            when = f", after {pause_ms} ms of nothing" if pause_ms else ""
            row = limit(f"release -> waiting dibs run starts{when}", dibs, 3, KERNEL if pause_ms else DISK)
            row.beside, row.beside_what = ms(median(flocked)), "flock: unlock -> waiting command starts"
            rows.append(row)
    daemon.stop()
    return rows


def rate(place, command, times=1):
    n, ns = map(int, place.output(command).split())
    return times * n / (ns / 1e9)


def submissions(place, quick):
    """Durable leases a second, beside bare commits."""
    daemon = Daemon(place, CLIENTS)
    length = 200 if quick else 500
    bare, one, many = [], [], []
    for _ in range(3 if quick else 9):
        bare.append(rate(place, [place.tool("commit"), place.path / "commits.db", length]))
        # A pair is two answers, each after a commit of its own.
        one.append(rate(place, [place.tool("lease"), daemon.socket, 1, length], 2))
        many.append(rate(place, [place.tool("lease"), daemon.socket, CLIENTS, length], 2))
    daemon.stop()

    on_disk = median(bare) < NO_DISK  # else there is nothing to share a commit for

    def row(what, samples, beside_what, beside, least, text, note=""):
        compared = median(a / b for a, b in zip(samples, beside))
        return Row(what, f"{median(samples):.0f}/s", f"{median(beside):.0f}/s", beside_what, text(compared),
                   f">= {text(least)}" if on_disk else "(no disk)", compared >= least if on_disk else None, note,
                   {"unit": "1/s", "measured": median(samples), "beside": median(beside), "ratio": compared})

    return [
        row("durable answers, 1 client", one, "bare SQLite commits of a row", bare, 0.6, lambda x: f"{x:.0%}",
            "requests for a hold and its releases, in turn; each is one transaction (state, journal, clock) and is "
            "answered once it is on disk, so half of them are submissions"),
        row(f"durable answers, {CLIENTS} clients", many, "1 client", one, 3, lambda x: f"{digits(x)} x"),
    ]


def passes(place, quick):
    """One scheduling pass, 64 GPUs."""
    shapes = {}
    for line in place.output([place.tool("policy")]).splitlines():
        name, value, _ = line.split()
        _, _, shape, n = name.split(".")
        shapes.setdefault(int(n), {})[shape] = float(value) * 1e6
    worst = {n: max(shape.items(), key=lambda item: item[1]) for n, shape in shapes.items()}
    least, few, many = 1000, 10000, 100000
    growth = worst[many][1] / worst[least][1]
    most = many * math.log(many) / (least * math.log(least))
    return [
        limit(f"one pass, {few} waiting ({worst[few][0]})", [worst[few][1]], 5),
        limit(f"one pass, {many} waiting ({worst[many][0]})", [worst[many][1]], 60),
        Row(f"a pass with {many} instead of {least} waiting", f"{digits(growth)} x", f"{digits(most)} x", "n log n",
            budget="not more", kept=growth <= most, values={"unit": "x", "measured": growth, "beside": most}),
    ]


def resident(process):
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"process {process.pid} has no memory")


def fill_journal(path):
    """Three lines a lease, as a daemon of some years would have them."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?) "
            "INSERT INTO event (at_us, wall_us, kind, lease, uid, gpu, detail) SELECT n * 1000000, n * 1000000, "
            "CASE n % 3 WHEN 0 THEN 'queued' WHEN 1 THEN 'granted' ELSE 'ended' END, n / 3, 1000 + n % 50, NULL, "
            "'GPU 3, until ' || n FROM number", (JOURNAL,))


def wait_in_line(daemon, n):
    """Clients that wait; each was told so."""
    connections = []
    for first in range(0, n, 500):
        group = [Connection(daemon.socket) for _ in range(first, min(first + 500, n))]
        for connection in group:
            connection.send("Request", {**HOLD, "count": 8}, more=True)
        for connection in group:
            connection.receive()
        connections += group
    return connections


def memories(place, quick):
    """Resident memory of dibsd."""
    n = min(WAITING, allow_files(WAITING + OPEN_FILES) - OPEN_FILES)
    if n <= 0:
        raise Failed("too few open files are allowed")
    daemon = Daemon(place, 8, "[limits]\nconnections = 30000\nconnections-per-user = 30000\n"
                              "requests = 30000\nrequests-per-user = 30000\n")
    with contextlib.closing(daemon.connect()) as connection:
        connection.call("GetStatus")
    idle = resident(daemon.process)
    daemon.stop()
    fill_journal(daemon.state / "dibs.db")
    begin = time.monotonic_ns()
    daemon.start()
    started = time.monotonic_ns() - begin

    with contextlib.closing(daemon.connect()) as connection:
        connection.call("Request", {**HOLD, "count": 8})
        connections = wait_in_line(daemon, n)
        full = resident(daemon.process)
        connection.call("GetStatus")
        asked = resident(daemon.process)
    daemon.stop()
    for connection in connections:
        connection.close()
    what = f"{n} waiting, {JOURNAL} journal lines"
    return [
        memory("dibsd, idle", idle, 8),
        memory(f"dibsd, {what}", full, 40),
        memory(f"dibsd, {what}, after a status", asked, 40),
        Row(f"dibsd, start with {JOURNAL} journal lines", ms(started), values={"unit": "ns", "measured": started}),
    ]


def fill_account(path):
    """A million leases of 200 users over a month, each of which waited; in their order."""
    begin = (time.time_ns() // 1000) - 30 * 86400 * 1000000
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?1) "
            "INSERT INTO usage (lease, kind, uid, gid, gpu, model, from_us, to_us, used_us, peak_mib, waited_us, "
            "filed_us, reach_us) SELECT n, 'job', 1000 + n % 200, 100 + n % 10, 'GPU-' || n % 8, 'A100-80G', "
            "?2 + n * 2500000, ?2 + n * 2500000 + 20000000, 15000000, 4000, n * 7919 % 1000003, "
            "?2 + n * 2500000 + 20000000, 20000000 FROM number", (JOURNAL, begin))


def reports(place, quick):
    """A report, and how long others wait meanwhile."""
    daemon = Daemon(place, 8)
    daemon.stop()
    fill_account(daemon.state / "dibs.db")
    daemon.start()
    took, waited = [], []
    with contextlib.closing(daemon.connect()) as asks, contextlib.closing(daemon.connect()) as other:
        window = {"since": 0, "until": time.time_ns() // 1000, "by": "user"}
        for _ in range(3 if quick else 9):
            begin = time.monotonic_ns()
            asks.call("Report", window)
            took.append(time.monotonic_ns() - begin)
            asks.send("Report", window)
            while not select.select([asks.socket], [], [], 0)[0]:
                begin = time.monotonic_ns()
                other.call("GetStatus")
                waited.append(time.monotonic_ns() - begin)
            asks.receive()
    daemon.stop()
    return [
        limit(f"report over {JOURNAL} lines of the account", took, 1000),
        limit("a status during that report", waited, 20),
    ]


def effort(pid):
    """Nanoseconds on a processor and how often it woke up, since its start."""
    ns = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            return ns, int(line.split()[1])
    raise Failed(f"process {pid} has no counters")


def idleness(place, quick):
    """Processor time of an idle dibsd."""
    seconds = 3 if quick else 10
    alone, sensing = Daemon(place, 8), Daemon(place, 64)
    place.output(alone.dibs("admin", "sensor", "pause"))
    pids = (alone.process.pid, sensing.process.pid, sensing.sensor())
    before = [effort(pid) for pid in pids]
    time.sleep(seconds)
    after = [effort(pid) for pid in pids]
    (ns, wakes), (sensing_ns, sensing_wakes), (sensor_ns, _) = [
        (b[0] - a[0], b[1] - a[1]) for a, b in zip(before, after)]
    alone.stop()
    sensing.stop()
    return [
        Row(f"dibsd, {seconds} s of nothing, no sensor", ms(ns), compared=f"{wakes} wake-ups", budget="0",
            kept=ns == 0 and wakes == 0, values={"unit": "ns", "measured": ns, "wake-ups": wakes}),
        Row(f"dibsd, {seconds} s, 64 GPUs read each second", ms(sensing_ns), ms(sensor_ns), "dibs-sensor, simulated",
            f"{sensing_wakes} wake-ups", values={"unit": "ns", "measured": sensing_ns, "beside": sensor_ns,
                                                 "wake-ups": sensing_wakes}),
    ]


PARTS = (processes, after_idle, to_the_start, canhazgpu, releases, submissions, passes, memories, reports,
         idleness)
