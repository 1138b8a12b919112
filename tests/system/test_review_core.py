# SPDX-License-Identifier: MIT
"""Interleavings that could bring the daemon down, hang it, or set GPUs free too early."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import demote, read_line, small_disk, wait_exit

HOLD = {"kind": "hold", "count": 1}


def frame(method, parameters, **flags):
    return json.dumps({"method": f"org.dibs.{method}", "parameters": parameters, **flags}).encode() + b"\0"


@contextlib.contextmanager
def stopped(daemon):
    """What is sent meanwhile arrives together, and shares one commit."""
    os.kill(daemon.process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, daemon.process.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        yield
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)


def sensor_of(daemon):
    pid = daemon.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def test_a_sensor_that_hangs_does_not_hang_the_daemon(make_daemon, alice):
    daemon = make_daemon(config="[sensor]\ndeadline = 2s\n").start()
    sensor = sensor_of(daemon)
    os.kill(sensor, signal.SIGSTOP)
    daemon.wait_log("silent for too long")
    daemon.wait_log("the sensor ended")
    assert daemon.reserve(user=alice)["state"] == "active"
    daemon.wait_status(lambda s: all(g["state"] != "lost" for g in s["gpus"]))
    assert daemon.drain_log().count("silent for too long") == 1


def test_a_call_behind_a_request_waits_until_all_answers_are_given(daemon):
    request = frame("Request", HOLD, more=True)
    with daemon.varlink() as first, daemon.varlink() as second:
        with stopped(daemon):
            for client in (first, second):
                client.send_raw(request + frame("Release", {"all": True}))
        for client in (first, second):
            assert client.receive()["parameters"]["lease"]["state"] == "active"
        released = [l for c in (first, second) for l in c.receive()["parameters"]["leases"]]
    assert sorted(l["id"] for l in released) == [1, 2]
    assert daemon.leases() == []


DRIP = """
import contextlib, socket, sys
clients = [socket.socket(socket.AF_UNIX) for _ in range(100)]
for client in clients:
    client.connect(sys.argv[1])
    client.setblocking(False)
print("on", flush=True)
while True:
    for client in clients:
        with contextlib.suppress(BlockingIOError):
            client.send(b" ")
"""


def test_who_keeps_the_loop_busy_holds_up_nobody(daemon, alice, bob, carol):
    """Calls that never end come in faster than they are read."""
    busy = [subprocess.Popen([sys.executable, "-c", DRIP, daemon.socket], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, preexec_fn=demote(user), bufsize=0)
            for user in (alice, bob, carol)]
    try:
        for process in busy:
            assert read_line(process.stdout) == "on\n"
        for _ in range(3):
            assert daemon.reserve("-g", "1")["state"] == "active"
            daemon.dibs("release", "--all")
        assert all(process.poll() is None for process in busy)
    finally:
        for process in busy:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("cgroups", [True, False])
def test_a_run_whose_processes_cannot_be_watched_keeps_its_gpu(make_daemon, cgroups):
    daemon = make_daemon(sim="1xA100-80G", cgroups=cgroups).start()
    hold = daemon.reserve()
    run = daemon.popen("run", "--", "sh", "-c", "echo up; exec cat", stdin=subprocess.PIPE)
    daemon.wait_leases(1, state="waiting")
    pid = daemon.process.pid
    with daemon.varlink() as client:
        assert client.call("org.dibs.GetStatus")
        soft = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, soft[1]))
        assert client.call("org.dibs.Release", {"ids": [hold["id"]]})["parameters"]
        assert read_line(run.stdout) == "up\n"
        states = [l["state"] for l in client.call("org.dibs.GetStatus")["parameters"]["leases"]]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, soft)
    assert states == ["active"]
    if cgroups:
        run.stdin.close()
    else:
        daemon.dibs("release", daemon.leases()[0]["id"])
    assert wait_exit(run) == (0 if cgroups else -signal.SIGTERM)
    daemon.wait_status(lambda s: not s["leases"])


@contextlib.contextmanager
def disk_of(daemon):
    """The state of daemon on a disk that fills up when the function is called that this gives."""
    if subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("mounting is not allowed here")
    filler = daemon.state / "filler"

    def fill():
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        return filler

    with small_disk(daemon.state, "2m"):
        yield fill
        daemon.stop()


def test_a_gpu_that_was_first_seen_while_the_disk_was_full_is_known_to_the_next_start(make_daemon):
    daemon = make_daemon(sim="1xA100-80G")
    with disk_of(daemon) as fill:
        daemon.start().stop()
        filler = fill()
        daemon.sim = "2xA100-80G"
        daemon.start()
        assert len(daemon.status()["gpus"]) == 2
        assert "nothing is granted" in daemon.drain_log()
        filler.unlink()
        daemon.wait_log("the store works again")
        hold = daemon.reserve("-g", "2")
        daemon.crash_and_restart()
        assert daemon.lease(hold["id"])["gpus"] == [0, 1]


def test_what_was_granted_is_taken_up_again_also_while_the_disk_is_full(make_daemon):
    daemon = make_daemon()
    with disk_of(daemon) as fill:
        daemon.start()
        with daemon.varlink() as client:
            lease = client.call("org.dibs.Request", HOLD)["parameters"]["lease"]
            fill()
            assert client.call("org.dibs.Release", {"all": True})["error"] == "org.dibs.Fault"
            client.send("org.dibs.Resume", {"id": lease["id"]}, more=True)
            answer = client.receive()["parameters"]
        assert answer["lease"]["id"] == lease["id"] and answer["gpus"]


def test_who_watches_sees_nothing_that_is_not_on_disk(make_daemon):
    daemon = make_daemon(config="[sensor]\ninterval = 1s\n")
    with disk_of(daemon) as fill:
        daemon.start()
        fill()
        with daemon.varlink() as watch, daemon.varlink() as client:
            watch.send("org.dibs.GetStatus", more=True)
            assert watch.receive()["parameters"]["leases"] == []
            with stopped(daemon):
                client.send("org.dibs.Request", HOLD)
                time.sleep(1.2)  # a sample lies beside it, and asks for the status to be told
            for _ in range(2):
                assert watch.receive()["parameters"]["leases"] == []
            assert client.receive()["error"] == "org.dibs.Fault"
