# SPDX-License-Identifier: MIT
"""What a sample costs: the processor time of dibs-sensor that reads it and of dibsd that takes it, by processes on the
GPUs and on the host. The library that is read answers at once: what a real driver takes is not ours."""

import contextlib
import os
import pwd
import select
import shutil
import subprocess
import time
from statistics import median

from guarding import left_out
from measurements import effort
from places import DEADLINE, Crowd, Daemon, Failed
from rows import Row, microseconds

ON_GPUS = (0, 100, 900)
HOST = 10000

NOTE = ("processor time; the walk reads owner, status, statistics and command line of the same processes in a running "
        "Python, as gpustat does by psutil. nvidia-smi, which others start for each look, needs a driver, so it is not "
        "compared; it opens the driver anew before it reads what this sample has")


def read_sample(sensor):
    ready, _, _ = select.select([sensor.stdout], [], [], DEADLINE)
    line = sensor.stdout.readline() if ready else b""
    if not line.startswith(b'{"gpus"'):
        raise Failed(f"the sensor said {line[:200]}")
    return line


def run_sensor(place, pids, samples):
    """Nanoseconds of processor time that the sensor takes for a sample, and a sample."""
    file = place.path / "pids"
    file.write_text("\n".join(map(str, pids)))
    sensor = place.start([place.program("src/sensor/dibs-sensor"), "--interval-ms", "1"], stdout=subprocess.PIPE,
                         env={**os.environ, "LD_LIBRARY_PATH": place.program("bench/nvml"), "BENCH_PIDS": str(file)})
    for _ in range(5):
        read_sample(sensor)
    before = effort(sensor.pid)[0]
    for _ in range(samples):
        line = read_sample(sensor)
    ns = (effort(sensor.pid)[0] - before) / samples
    sensor.kill()
    sensor.wait()
    sensor.stdout.close()
    return ns, line


def fed_daemon(place, line):
    """A daemon whose sensor tells this line, and what is written into a FIFO from then on."""
    directory = place.directory("fed")
    for name in ("daemon", "sensor"):
        (directory / name).mkdir()
    program, sensor = directory / "daemon/dibsd", directory / "sensor/dibs-sensor"
    first, fifo = directory / "first", directory / "fifo"
    first.write_bytes(line)
    os.mkfifo(fifo)
    shutil.copy2(place.program("src/daemon/dibsd"), program)
    sensor.write_text(f"#!/bin/sh\ncat {first}\nexec cat {fifo}\n")
    sensor.chmod(0o755)
    return Daemon(place, 0, program=program), open(fifo, "wb", buffering=0)


def until_quiet(pid):
    """Waits until a process has stopped working, and returns the nanoseconds that it has worked."""
    last = -1
    while (now := effort(pid)[0]) != last:
        last = now
        time.sleep(0.05)
    return now


def feed_daemon(place, line, samples):
    """Nanoseconds of processor time that dibsd takes for a sample like this."""
    daemon, fifo = fed_daemon(place, line)
    before = until_quiet(daemon.process.pid)
    for _ in range(samples):
        fifo.write(line)
        time.sleep(0.002)  # not several at once
    ns = (until_quiet(daemon.process.pid) - before) / samples
    fifo.close()
    daemon.stop()
    return ns


def walk(pids):
    """Nanoseconds of processor time that an interpreter takes to look at these processes."""
    begin = time.process_time_ns()
    for pid in pids:
        with contextlib.suppress(OSError, KeyError):
            pwd.getpwuid(os.stat(f"/proc/{pid}").st_uid)
            for name in ("stat", "status", "cmdline"):
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    file.read()
    return time.process_time_ns() - begin


def sample_rows(place, crowd, host, on_gpus, samples):
    rows = []
    none = {}
    for n in on_gpus:
        pids = crowd.pids()[:n]
        reading, line = run_sensor(place, pids, samples)
        taking = feed_daemon(place, line, samples)
        walked = median(walk(pids) for _ in range(5))
        for what, ns in (("read by dibs-sensor", reading), ("taken by dibsd", taking)):
            row = Row(f"a sample, 8 GPUs, {n} processes{host}: {what}", microseconds(ns),
                      values={"unit": "ns", "measured": ns, "processes": n})
            if n:
                each = (ns - none.get(what, 0)) / n
                row.beside, row.beside_what = microseconds(walked), "a walk in Python"
                row.compared = f"{microseconds(each)} a process"
                row.values |= {"beside": walked, "each": each}
            else:
                none[what] = ns
            rows.append(row)
    return rows


def samples(place, quick):
    """One sample: by dibs-sensor and by dibsd."""
    n = 20 if quick else 200
    with Crowd(place, max(ON_GPUS)) as crowd:
        rows = sample_rows(place, crowd, "", ON_GPUS, n)
    rows[0].note = NOTE
    if not Crowd.has_room(HOST):
        left_out(f"a crowd of {HOST} processes", "too little memory, or too few pids")
        return rows
    with Crowd(place, HOST) as crowd:
        return rows + sample_rows(place, crowd, f", {HOST} more on the host", ON_GPUS, n)


PARTS = (samples,)
