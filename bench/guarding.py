# SPDX-License-Identifier: MIT
"""What the guard costs: leases, revocations and single opens with guard mode deny beside guard mode off."""

import contextlib
import errno
import json
import os
import sys
import time
from statistics import median

from measurements import HOLD, effort, in_turns
from places import PINS, Crowd, Daemon, Failed, wait_until
from rows import Row, difference, digits, microseconds, ms

GPUS = 8
CROWDS = (0, 1000, 10000)
USER = 60001  # has a lease, and is nobody
SPACERS = 5  # runs that are not counted, while a revocation goes on after the answer of the one before

TWICE = ("before a GPU is handed on, the files that all processes have open are looked through twice: one finds who "
         f"kept it, two who handed it on meanwhile; each process of a crowd has {Crowd.DESCRIPTORS} descriptors")
ACL = "where there are no device filters; verified every 10 s, which no lease waits for"


def left_out(what, why):
    print(f"  {what} is not to be had here, so it is left out: {why}", file=sys.stderr, flush=True)


def sessions(place):
    """A cgroup for sessions of users, with the slice of ours."""
    path = place.cgroup_root / "sessions"
    (path / f"user-{USER}.slice").mkdir(parents=True, exist_ok=True)
    return path


def guarded(place, methods):
    """A daemon for each method (off is one), if it works on this machine."""
    found = {}
    for method in methods:
        config = f"[guard]\nmode = deny\nmethod = {method}\n" if method != "off" else "[guard]\nmode = off\n"
        if method == "filter" and place.cgroup_root:
            config += f"session-cgroups = {sessions(place)}\n"
        daemon = Daemon(place, GPUS, config)
        with contextlib.closing(daemon.connect()) as connection:
            problem = connection.call("GetStatus")["guard_problem"]
        if problem:
            daemon.stop()
            left_out(f"the guard by {method}", problem)
        else:
            found[method] = daemon
    return found


def settle(connection):
    """Waits until nothing is leased and nothing revoked any more."""
    wait_until(lambda: all(gpu["state"] == "free" for gpu in connection.call("GetStatus")["gpus"]),
               "all GPUs are free again", 60)


def is_refused(daemon, lease):
    """The nodes of simulated GPUs have no driver: who may open them hears that."""
    minor = lease["gpus"][0]["nodes"][0].split(":")[1]
    try:
        os.close(os.open(daemon.state / "dev" / f"nvidia{minor}", os.O_RDWR))
    except OSError as error:
        return error.errno != errno.ENXIO
    return False


def one_hold(daemon, connection):
    """Nanoseconds until a hold is answered and until its release is, and whether the node was still shut."""
    begin = time.monotonic_ns()
    lease = connection.call("Request", {**HOLD, "count": 1})
    granted = time.monotonic_ns()
    refused = is_refused(daemon, lease)
    middle = time.monotonic_ns()
    connection.call("Release", {"ids": [lease["lease"]["id"]]})
    released = time.monotonic_ns()
    settle(connection)
    return granted - begin, released - middle, refused


def holds(daemons, rounds):
    """One after another, in turns. By method a list of what one_hold says."""
    samples = {method: [] for method in daemons}
    with contextlib.ExitStack() as stack:
        connections = {method: stack.enter_context(contextlib.closing(daemon.connect()))
                       for method, daemon in daemons.items()}
        for i in range(rounds):
            for method in list(daemons)[::-1 if i % 2 else 1]:
                samples[method].append(one_hold(daemons[method], connections[method]))
    return samples


def in_session(place, work):
    """What work returns in a process of the user's session, which has no rights of root."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if place.cgroup_root:
                (sessions(place) / f"user-{USER}.slice/cgroup.procs").write_text("0")
            os.setgroups([])
            os.setgid(USER)
            os.setuid(USER)
            os.write(write, json.dumps(work()).encode())
        except Exception as error:
            print(f"bench: as uid {USER}: {error!r}", file=sys.stderr, flush=True)
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as result:
        text = result.read()
    os.waitpid(pid, 0)
    if not text:
        raise Failed("the user's process failed")
    return json.loads(text)


def run_row(place, daemons, quick):
    """Only with a filter: these are runs by root, of whom ACLs do not speak."""
    off, run = (daemons[method].dibs("run", "--", "true") for method in ("off", "filter"))
    lines = in_turns(place, 10 if quick else 100, [off, *[off] * SPACERS, run, *[off] * SPACERS])
    return difference("dibs run -- true, guard deny by filter", lines[SPACERS + 1], "guard off", lines[0])


def hold_rows(place, method, daemons, quick):
    rounds = 20 if quick else 200
    samples = in_session(place, lambda: holds(daemons, rounds))
    (off_reserve, off_release, _), (reserve, release, refused) = (zip(*samples[key]) for key in ("off", method))
    return [
        difference(f"a hold: asked for -> granted, deny by {method}", reserve, "guard off", off_reserve,
                   note=ACL if method == "acl" else ""),
        difference(f"a hold: given back -> answered, deny by {method}", release, "guard off", off_release),
        Row(f"opens right after the grant that are refused, deny by {method}", f"{sum(refused)} of {rounds}",
            budget="0", kept=not any(refused), values={"unit": "1", "measured": sum(refused), "samples": rounds}),
    ]


def grants(place, quick):
    """Leases while the guard denies."""
    rows = []
    for method in ("filter", "acl"):
        daemons = guarded(place, ("off", method))
        if method == "filter" and method in daemons:
            rows.append(run_row(place, daemons, quick))
        if method in daemons:
            rows += hold_rows(place, method, daemons, quick)
        for daemon in daemons.values():
            daemon.stop()
    return rows


def hand_over(daemon):
    """Nanoseconds from the release of all GPUs until the next who waits has them."""
    with contextlib.closing(daemon.connect()) as first, contextlib.closing(daemon.connect()) as second:
        hold = first.call("Request", {**HOLD, "count": GPUS})["lease"]["id"]
        second.send("Request", {**HOLD, "count": GPUS}, more=True)
        second.receive()
        begin = time.monotonic_ns()
        first.send("Release", {"ids": [hold]})
        lease = second.receive()["lease"]
        while lease["state"] == "waiting":
            lease = second.receive()["lease"]
        ns = time.monotonic_ns() - begin
        first.receive()
        first.call("Release", {"ids": [lease["id"]]})
        settle(first)
    return ns


def revocations(place, quick):
    """From a release to the next lease while the guard denies, on hosts of several sizes."""
    rows = []
    for n in CROWDS:
        if n and not Crowd.has_room(n):
            left_out(f"a crowd of {n} processes", "too little memory, or too few pids")
            continue
        rounds = (5 if quick else 50) // (10 if n == max(CROWDS) else 1) or 1
        with Crowd(place, n) if n else contextlib.nullcontext():
            daemons = guarded(place, ("off", "filter"))
            processes = sum(name.isdigit() for name in os.listdir("/proc"))
            samples = list(zip(*([hand_over(daemon) for daemon in daemons.values()] for _ in range(rounds))))
            for daemon in daemons.values():
                daemon.stop()
        if len(samples) < 2:
            break
        what = f"release -> the next has its GPUs, deny, {f'{n} more processes' if n else 'host as it is'}"
        row = difference(what, samples[1], "guard off", samples[0], note=TWICE if n == 0 else "")
        row.values["processes"] = processes
        row.compared += f", {digits(row.values['difference'] / 1000 / processes)} us a process"
        rows.append(row)
    return rows


def lines_of(place, *arguments):
    return [[int(ns) for ns in line.split()]
            for line in place.output([place.tool("gate"), *arguments]).splitlines()]


def updates(place, quick):
    """One change of a gate, beside setfacl as a process."""
    node = place.path / "node"
    os.mknod(node, 0o20666, os.makedev(120, 200))
    rounds = 200 if quick else 2000
    setfacl = in_turns(place, 20 if quick else 200, [["setfacl", "-m", f"u:{USER}:rw", str(node)]])[0]
    rows = []
    for what, arguments in {"device filter, 3 entries": ("filter", f"{PINS}/{place.path.name}"),
                            "ACL of a node": ("acl", node)}.items():
        try:
            lines = lines_of(place, *arguments, rounds)
        except Failed as failure:
            left_out(what, failure)
            continue
        for word, samples in zip(("grant", "revocation"), lines):
            times = median(setfacl) / median(samples)
            rows.append(Row(f"one {word}: {what}", microseconds(median(samples)), microseconds(median(setfacl)),
                            "setfacl (a process)", f"{digits(times)} x as fast",
                            values={"unit": "ns", "measured": median(samples), "beside": median(setfacl),
                                    "ratio": times, "samples": len(samples)}))
    return rows


def opens(place, quick):
    """What every open of a device in a guarded session costs."""
    rounds = 10 if quick else 100
    daemons = guarded(place, ("filter",))
    if not daemons:
        return []
    enter = ["sh", "-c", 'echo 0 > "$1/cgroup.procs" && shift && exec "$@"', "sh", sessions(place)]
    command = [place.tool("gate"), "open", "/dev/null", "3"]
    without, within = [], []
    for _ in range(rounds):
        for samples, words in ((without, command), (within, [*enter, *command])):
            samples.append(min(map(int, place.output(words).split())))
    daemons["filter"].stop()
    more = median(a - b for a, b in zip(within, without))
    return [Row("open and close /dev/null in a guarded session", microseconds(median(within)),
                microseconds(median(without)), "elsewhere", f"{more:+.0f} ns",
                values={"unit": "ns", "measured": median(within), "beside": median(without), "difference": more,
                        "samples": len(within)})]


def idleness(place, quick):
    """Processor time of an idle dibsd that denies."""
    seconds = 3 if quick else 10
    daemons = guarded(place, ("filter",))
    if not daemons:
        return []
    daemon = daemons["filter"]
    place.output(daemon.dibs("admin", "sensor", "pause"))
    before = effort(daemon.process.pid)
    time.sleep(seconds)
    ns, wakes = (b - a for a, b in zip(before, effort(daemon.process.pid)))
    daemon.stop()
    return [Row(f"dibsd, {seconds} s of nothing, guard deny, no sensor", ms(ns), compared=f"{wakes} wake-ups",
                budget="0", kept=ns == 0 and wakes == 0, values={"unit": "ns", "measured": ns, "wake-ups": wakes})]


PARTS = (grants, revocations, updates, opens, idleness)
