# SPDX-License-Identifier: MIT
"""Users who try to keep a GPU that they gave back, to keep others from one, or to have the daemon end what is not
theirs."""

import os
import pwd
import shutil
import signal
import subprocess

import pytest
from harness import cgroup2_mount, demote, read_line, wait_exit
from site_sensor import SiteSensor

pytestmark = pytest.mark.skipif(cgroup2_mount() is None, reason="no cgroup v2 here")

# Opens argv[1] and says so; then a new process every 0.2 s takes the descriptor over.
CHAIN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
print("open", flush=True)
while True:
    time.sleep(0.2)
    if os.fork():
        os._exit(0)
"""

# 256 children let go when they are asked to end, and live on; another one, the last, does not let go.
DECOYS = """
import os, signal, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
def let_go(*_):
    os.close(fd)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
for i in range(257):
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, let_go if i < 256 else signal.SIG_IGN)
        os.write(1, f"{i} {os.getpid()}\\n".encode())
        while True:
            signal.pause()
os.close(fd)
print(os.wait()[0], flush=True)
signal.pause()
"""

# A file system of argv[1]'s own at argv[2], in which each name is a directory; in it, a process of that user has one
# open whose path no buffer of the kernel holds.
DEEP = """
import ctypes, os, signal, struct, sys, threading
uid, mount = int(sys.argv[1]), sys.argv[2]
fd = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fd},rootmode=40000,user_id={uid},group_id={uid}"
if ctypes.CDLL(None).mount(b"deep", mount.encode(), b"fuse", 0, options.encode()):
    sys.exit("cannot mount")
def attributes(inode):
    return struct.pack("<6Q10I", inode, *[0] * 8, 0o40755, 2, uid, uid, 0, 4096, 0)
def serve():
    entries = 1
    while True:
        try:
            request = os.read(fd, 1 << 20)
        except OSError:
            return
        _, operation, unique, inode = struct.unpack_from("<IIQQ", request)
        answer = b""
        if operation == 26:             # INIT
            answer = struct.pack("<4I2H2I2H8I", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, *[0] * 8)
        elif operation == 1:            # LOOKUP
            entries += 1
            answer = struct.pack("<4Q2I", entries, 0, 1000, 1000, 0, 0) + attributes(entries)
        elif operation == 3:            # GETATTR
            answer = struct.pack("<Q2I", 1000, 0, 0) + attributes(inode)
        elif operation in (14, 27):     # OPEN, OPENDIR
            answer = struct.pack("<Q2I", 1, 0, 0)
        elif operation in (2, 42):      # FORGET
            continue
        os.write(fd, struct.pack("<IiQ", 16 + len(answer), 0, unique) + answer)
threading.Thread(target=serve, daemon=True).start()
if os.fork() == 0:
    os.close(fd)
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    os.chdir(mount)
    for _ in range(20):
        os.chdir("x" * 250)
    os.open(".", os.O_RDONLY)
    print("open", flush=True)
    signal.pause()
os.wait()
"""


@pytest.fixture
def make_opening(make_daemon, sessions, base_directory, devices):
    """make_opening([device of a GPU, ...], ...) gives a running dibsd that denies, with those GPUs."""
    def make(*gpus, grace="1s", config=""):
        site = SiteSensor(base_directory, len(gpus))
        for gpu, nodes in zip(site.gpus, gpus):
            gpu["nodes"] = [device.node for device in nodes]
        site.write()
        return make_daemon(sim=None, config=f"{site.config}[guard]\nmode = deny\nsession-cgroups = {sessions.path}\n"
                                            f"device-majors = {devices[0].major}\n"
                                            f"[lease]\nkill-grace = {grace}\n{config}").start()
    return make


@pytest.fixture
def run(sessions):
    """run(program, *arguments, user=...) starts a Python program in the session of a user."""
    started = []

    def start(program, *arguments, user):
        become = demote(user)
        cgroup = sessions.slice(user)

        def enter():
            (cgroup / "cgroup.procs").write_text("0")
            become()

        process = subprocess.Popen(["/usr/bin/python3", "-c", program, *map(str, arguments)], bufsize=0, cwd="/",
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=enter)
        started.append(process)
        return process

    yield start
    for process in started:  # what it started is killed with the session
        process.kill()
        process.wait()
        process.stdout.close()


def wait_free(daemon, index=0):
    daemon.wait_status(lambda s: s["gpus"][index]["state"] == "free")


def hand(giver, taker, path):
    """Passes the descriptor that giver opened last."""
    taker.tell(f"receive {path}")
    assert taker.hear() == "listening"
    assert giver.ask(f"send {path}") == "0" and taker.hear() == "0"
    os.unlink(path)


@pytest.fixture
def meeting_place(base_directory):
    path = base_directory / "meet"
    path.mkdir(exist_ok=True)
    path.chmod(0o777)
    return path / "socket"


def test_a_chain_of_processes_has_one_grace(make_opening, run, alice, devices):
    """Each of them would have one of its own, and so the last would never come."""
    daemon = make_opening(devices[:1])
    hold = daemon.reserve(user=alice)
    chain = run(CHAIN, devices[0].path, user=alice)
    assert read_line(chain.stdout) == "open\n"
    daemon.dibs("release", hold["id"], user=alice)
    wait_free(daemon)
    told = [e for e in daemon.lease(hold["id"])["events"] if e["kind"] == "revoked"]
    assert 1 <= len(told) <= 16


def test_who_let_go_is_no_cover_for_others(make_opening, run, alice, devices):
    """The daemon minds 256 processes at a time."""
    daemon = make_opening(devices[:1], grace="4s")
    hold = daemon.reserve(user=alice)
    decoys = run(DECOYS, devices[0].path, user=alice)
    pids = dict(read_line(decoys.stdout).split() for _ in range(257))
    daemon.dibs("release", hold["id"], user=alice)
    wait_free(daemon)
    assert read_line(decoys.stdout).strip() == pids["256"]
    assert len([e for e in daemon.lease(hold["id"])["events"] if e["kind"] == "revoked"]) == 16


def test_a_deep_directory_keeps_nobody_waiting(make_opening, alice, bob, base_directory, devices):
    """Of a descriptor in a file system of a user, with too long a path, the kernel tells neither what it is nor
    where it leads; it is no GPU, whatever it is."""
    daemon = make_opening(devices[:1])
    hold = daemon.reserve(user=alice)
    place = base_directory / "deep"
    place.mkdir()
    deep = subprocess.Popen(["unshare", "--mount", "/usr/bin/python3", "-c", DEEP, str(pwd.getpwnam(bob).pw_uid), place],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0, process_group=0)
    try:
        assert read_line(deep.stdout) == "open\n"
        daemon.dibs("release", hold["id"], user=alice)
        wait_free(daemon)
    finally:
        os.killpg(deep.pid, signal.SIGKILL)
        deep.wait()
        deep.stdout.close()


# Becomes a program that the site ignores, with argv[1] open.
MASK = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
os.set_inheritable(fd, True)
print("open", flush=True)
os.execv("/usr/bin/sleep", ["sleep", "1000"])
"""


def test_an_ignored_program_is_no_hiding_place(make_opening, run, alice, devices):
    """Who had the lease can run anything inside of one; others' are left alone."""
    daemon = make_opening(devices[:1], config="[foreign]\nignore = sleep\n")
    hold = daemon.reserve(user=alice)
    mask = run(MASK, devices[0].path, user=alice)
    assert read_line(mask.stdout) == "open\n"
    daemon.dibs("release", hold["id"], user=alice)
    wait_exit(mask)
    wait_free(daemon)


def test_a_bus_that_was_handed_a_descriptor_lives(make_opening, sessions, alice, bob, meeting_place, devices):
    """System users have no leases; that a GPU is open in one of their processes is no deed of theirs."""
    daemon = make_opening(devices[:1])
    hold = daemon.reserve(user=alice)
    a, b = sessions.opener(alice), sessions.opener(bob)
    bus = sessions.opener(None, sessions.path, wrapper=["setpriv", "--reuid=998", "--clear-groups"])
    assert a.ask(f"open {devices[0].path}") == "0"
    hand(a, bus, meeting_place)
    hand(a, b, meeting_place)
    assert a.ask("close") == "0" and b.ask("ignore SIGTERM") == "0"
    daemon.dibs("release", hold["id"], user=alice)
    line = daemon.wait_log("restart its service")
    assert str(bus.pid) in line
    wait_exit(b.process)  # whose grace is the longest
    gpu = daemon.status()["gpus"][0]
    assert bus.alive() and gpu["state"] == "foreign" and str(hold["id"]) in gpu["reason"]
    assert bus.ask("close") == "0"
    wait_free(daemon)


def test_others_may_let_go_before_they_are_ended(make_opening, sessions, alice, bob, meeting_place, devices):
    """Who hands a descriptor to a process of somebody else does not end it by that at once."""
    daemon = make_opening(devices[:1], grace="3s")
    hold = daemon.reserve(user=alice)
    a, b = sessions.opener(alice), sessions.opener(bob)
    assert a.ask(f"open {devices[0].path}") == "0"
    hand(a, b, meeting_place)
    daemon.dibs("release", hold["id"], user=alice)
    wait_exit(a.process)  # by TERM
    assert b.alive()
    told = [e["detail"] for e in daemon.lease(hold["id"])["events"] if e["kind"] == "revoked"]
    assert any(str(b.pid) in detail and "handed" in detail for detail in told)
    assert b.ask("close") == "0"
    wait_free(daemon)
    assert b.alive()


def test_who_was_let_in_through_a_shared_node_lives(make_opening, sessions, alice, bob, devices):
    """Instances of one card share its node. The end of one lease is not that of a neighbour's."""
    daemon = make_opening(devices[:2], [devices[0], devices[2]])
    hold = daemon.reserve("--gpu", "0", user=alice)
    daemon.popen("run", "--gpu", "1", "--", "sleep", "1000", user=bob)
    daemon.wait_leases(2, state="active")
    a, b = sessions.opener(alice), sessions.opener(bob)
    assert a.ask(f"open {devices[0].path}") == "0" and b.ask(f"open {devices[0].path}") == "0"  # b is outside of the run
    daemon.dibs("release", hold["id"], user=alice)
    wait_exit(a.process)
    wait_free(daemon)
    assert b.alive()


# A sensor that tells all that it knows as fast as it can, and that it is all gone.
ROGUE = """#!/usr/bin/python3
import json, os
gpus = [{"uuid": "GPU-0", "model": "M", "pci": "", "vendor": "nvidia", "index": 0, "minor": 0, "memory_mib": None,
         "memory_used_mib": None, "utilization": None, "temperature_c": None, "power_w": None, "links": ["internal"],
         "processes": []}]
lines = (json.dumps({"gpus": gpus}) + "\\n" + json.dumps({"error": "gone"}) + "\\n").encode()
while True:
    os.write(1, lines)
"""


def test_a_sensor_that_sends_without_end_keeps_nobody_from_answers(make_daemon, programs, base_directory):
    true_one = base_directory / "true-sensor"
    shutil.copy2(programs["sensor"], true_one)
    try:
        programs["sensor"].write_text(ROGUE)
        daemon = make_daemon(sim=None, config="[sensor]\ninterval = 1s\n").start()
        with daemon.varlink() as watch:
            watch.send("org.dibs.GetStatus", more=True)
            states = [watch.receive()["parameters"]["gpus"][0]["state"] for _ in range(16)]
        assert set(states) == {"free", "lost"}
        assert daemon.drain_log().count("is lost") <= 10
        daemon.stop()
    finally:
        shutil.copy2(true_one, programs["sensor"])
