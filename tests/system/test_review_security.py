# SPDX-License-Identifier: MIT
"""A hostile user with a shell, against dibsd and through it against others."""

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from harness import (
    DEADLINE, Varlink, cgroup2_mount, demote, preload, process_with_pid, read_line, remove_cgroup, wait_exit,
)

RUN = {"kind": "run", "count": 1, "wait_us": 0, "command": "x"}


@contextlib.contextmanager
def child(user, code, *arguments, **options):
    """A Python program of that user, with its standard input and output piped; killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], preexec_fn=demote(user), bufsize=0,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def connection_of_dead_process(path, user):
    """A connection whose maker has ended and was waited for, and the pid that it had."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        demote(user)()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        socket.send_fds(theirs, [b"x"], [connection.fileno()])
        os._exit(0)
    theirs.close()
    _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    ours.close()
    os.waitpid(pid, 0)
    connection = Varlink.__new__(Varlink)
    connection.socket = socket.socket(fileno=fds[0])
    connection.socket.settimeout(DEADLINE)
    connection.buffer = b""
    return connection, pid


@pytest.mark.parametrize("kernel, victim", [
    (None, "alice"), (None, "bob"),
    (errno.EINVAL, "alice"), (errno.EINVAL, "bob"),
    (errno.ENOPROTOOPT, "bob"),
])
def test_recycled_pid_does_not_put_another_process_into_a_lease(make_daemon, users, kernel, victim):
    environment = preload("peer-pidfd", DIBS_PEERPIDFD=kernel) if kernel else {}
    daemon = make_daemon(environment=environment).start()
    alice, victim = users[0], users[["alice", "bob"].index(victim)]
    connection, pid = connection_of_dead_process(daemon.socket, alice)
    with connection, process_with_pid(pid, victim):
        before = Path(f"/proc/{pid}/cgroup").read_text()
        reply = connection.call("org.dibs.Request", RUN)
        assert reply["parameters"].get("id") == "request.no-process", reply
        assert Path(f"/proc/{pid}/cgroup").read_text() == before
        assert daemon.leases() == []


# Asks for everything in a child that then hangs up and stays; nothing but KILL ends either.
ESCAPE = """
import json, os, signal, socket, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ["DIBS_SOCKET"])
    call = {"method": "org.dibs.Request", "parameters": {"kind": "run", "count": 8}, "more": True}
    connection.sendall(json.dumps(call).encode() + b"\\0")
    connection.recv(100000)
    connection.close()
    print(os.getpid(), flush=True)
signal.pause()
"""


def test_nobody_leaves_a_lease_by_asking_for_another(make_daemon, alice):
    daemon = make_daemon(config="[lease]\nkill-grace = 0s\n").start()
    if not daemon.cgroup_root:
        pytest.skip("needs a cgroup")
    run = daemon.popen("run", "-t", "1s", "--", sys.executable, "-c", ESCAPE, user=alice)
    escaped = int(read_line(run.stdout))
    wait_exit(run)
    wait_exit(escaped)
    daemon.wait_leases(0)
    assert list(daemon.cgroup_root.glob("lease-*")) == []


def test_a_run_within_a_run_ends_with_it(make_daemon, alice):
    daemon = make_daemon(config="[lease]\nkill-grace = 0s\n").start()
    if not daemon.cgroup_root:
        pytest.skip("needs a cgroup")
    dibs = daemon.programs["dibs"]
    outer = daemon.popen("run", "--", "sh", "-c", f"{dibs} run -- sh -c 'sleep 1000 & echo $!; wait'; sleep 1000",
                         user=alice)
    inner_child = int(read_line(outer.stdout))
    leases = sorted(l["id"] for l in daemon.wait_leases(2, state="active"))
    # The inner one by itself: the outer one stays.
    daemon.dibs("release", leases[1], user=alice)
    wait_exit(inner_child)
    assert [l["id"] for l in daemon.wait_leases(1)] == leases[:1]
    daemon.dibs("release", leases[0], user=alice)
    wait_exit(outer)
    daemon.wait_leases(0)


def test_one_process_waits_for_one_run_at_a_time(daemon, alice):
    if not daemon.cgroup_root:
        pytest.skip("needs a cgroup")
    daemon.reserve("-g", "8", user=alice)
    code = """
import json, os, socket
def ask(more):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ["DIBS_SOCKET"])
    call = {"method": "org.dibs.Request", "parameters": {"kind": "run", "count": 1}, "more": more}
    connection.sendall(json.dumps(call).encode() + b"\\0")
    print(connection.recv(100000).rstrip(b"\\0").decode(), flush=True)
    return connection
first, second = ask(True), ask(False)
"""
    with child(alice, code, env=daemon.client_environment()) as process:
        assert json.loads(read_line(process.stdout))["parameters"]["lease"]["state"] == "waiting"
        assert json.loads(read_line(process.stdout))["parameters"]["id"] == "request.waits-already"


def test_answers_that_one_user_does_not_read_are_bounded_together(make_daemon, alice, bob):
    daemon = make_daemon(config="[limits]\nconnections-per-user = 500\n").start()
    code = """
import json, os, socket
def ask(method, parameters, **flags):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ["DIBS_SOCKET"])
    call = {"method": "org.dibs." + method, "parameters": parameters, **flags}
    connection.sendall(json.dumps(call).encode() + b"\\0")
    return connection
def receive(connection):
    answer = b""
    while not answer.endswith(b"\\0"):
        data = connection.recv(1 << 20)
        if not data:
            return False
        answer += data
    return True
text = '"' * 500
hold = {"kind": "hold", "count": 8, "note": text, "command": text}
waiting = [ask("Request", hold, more=True) for _ in range(300)]
for connection in waiting:
    assert receive(connection)
hoard = [ask("GetStatus", {}) for _ in range(80)]
print("asked", flush=True)
input()
print(sum(receive(connection) for connection in hoard), flush=True)
"""
    with child(alice, code, env=daemon.client_environment()) as process:
        assert read_line(process.stdout) == "asked\n"
        assert daemon.dibs("list", user=bob)
        process.stdin.write(b"\n")
        answered = int(read_line(process.stdout))
        assert 1 <= answered < 80


def test_few_descriptors_are_no_way_to_keep_root_out(make_daemon, alice):
    daemon = make_daemon().start(wrapper=["prlimit", "--nofile=64:64"])
    code = """
import os, socket
connections = [socket.socket(socket.AF_UNIX) for _ in range(150)]
for connection in connections:
    connection.connect(os.environ["DIBS_SOCKET"])
print("there", flush=True)
input()
"""
    with child(alice, code, env=daemon.client_environment()) as process:
        assert read_line(process.stdout) == "there\n"
        assert daemon.reserve("-g", "1")["state"] == "active"
        assert "cannot accept" not in daemon.drain_log()


def test_failing_to_accept_is_not_tried_again_at_once(make_daemon, alice):
    daemon = make_daemon().start()
    subprocess.run(["prlimit", "--pid", str(daemon.process.pid), "--nofile=3:"], check=True)
    with daemon.varlink() as connection:
        daemon.wait_log("cannot accept")
        subprocess.run(["prlimit", "--pid", str(daemon.process.pid), "--nofile=1024:"], check=True)
        assert connection.call("org.dibs.GetStatus")["parameters"]["gpus"]
    assert daemon.drain_log().count("cannot accept") <= 2


def test_the_second_connection_of_one_comes_after_the_first_of_another(daemon, alice, bob):
    code = """
import json, os, socket
n = int(input())
connections = [socket.socket(socket.AF_UNIX) for _ in range(n)]
for connection in connections:
    connection.connect(os.environ["DIBS_SOCKET"])
    connection.sendall(b'{"method":"org.dibs.GetStatus"}\\0')
    while not connection.recv(100000).endswith(b"\\0"):
        pass
print("there", flush=True)
call = {"method": "org.dibs.Request", "parameters": {"kind": "hold", "count": 1}, "more": True}
for half in (connections[:n // 2 + 1], connections[n // 2 + 1:]):
    input()
    for connection in half:
        connection.sendall(json.dumps(call).encode() + b"\\0")
    print("asked", flush=True)
print(json.loads(connections[0].recv(100000).rstrip(b"\\0"))["parameters"]["lease"]["id"], flush=True)
"""
    environment = daemon.client_environment()
    with child(alice, code, env=environment) as many, child(bob, code, env=environment) as one:
        for process, n in [(many, 50), (one, 1)]:
            process.stdin.write(b"%d\n" % n)
            assert read_line(process.stdout) == "there\n"
        daemon.process.send_signal(signal.SIGSTOP)
        for process in (many, one, many, one):
            process.stdin.write(b"\n")
            assert read_line(process.stdout) == "asked\n"
        daemon.process.send_signal(signal.SIGCONT)
        assert sorted([int(read_line(many.stdout)), int(read_line(one.stdout))]) == [1, 2]


def test_the_numbers_in_one_release_are_bounded(daemon, alice):
    hold = daemon.reserve(user=alice)["id"]
    with daemon.varlink() as connection:
        refused = connection.call("org.dibs.Release", {"ids": [hold] * 1001})
    assert refused["parameters"]["id"] == "release.too-many", refused


NASTY = "\x1b[2J\x1b]0;x\x07\x9b31m\u202e"


class Impostor(threading.Thread):
    """Answers every call at a socket with texts that a terminal would obey."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()

    def run(self):
        lease = {"id": 1, "kind": NASTY, "state": NASTY, "uid": 0, "gpus": [0], "count": 1, "end": NASTY,
                 "command": NASTY, "note": NASTY, "position": 1}
        gpu = {"index": 0, "uuid": NASTY, "model": NASTY, "state": NASTY, "reason": NASTY, "leases": [1],
               "vendor": NASTY, "nodes": [NASTY],
               "processes": [{"pid": 1, "uid": 0, "command": NASTY, "standing": NASTY, "container": NASTY}]}
        event = {"id": 1, "time": 1, "kind": NASTY, "uid": 0, "detail": NASTY}
        answer = {"parameters": {"host": NASTY, "version": NASTY, "guard": NASTY, "guard_method": NASTY,
                                 "guard_problem": NASTY, "gpus": [gpu], "leases": [lease],
                                 "lease": lease, "events": [event], "blockers": [lease], "visible": NASTY}}
        while True:
            connection, _ = self.listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(json.dumps(answer).encode() + b"\0")


@pytest.mark.parametrize("command", [
    ["status"], ["status", "--json"], ["list", "--all"], ["queue"], ["show", "1"], ["show", "1", "--json"], ["doctor"],
    ["reserve"], ["extend", "1", "1h"], ["release", "1"], ["admin", "drain", "0", "--reason", "x"],
    ["gpus", "1"], ["gpus", "1", "--uuid"], ["give", "1", "root"], ["shrink", "1", "--gpu", "0"], ["admin", "guard"]])
def test_what_pretends_to_be_dibsd_does_not_reach_the_terminal(programs, tmp_path, command):
    Impostor(tmp_path / "socket").start()
    result = subprocess.run([programs["dibs"], "--socket", tmp_path / "socket", *command], stdin=subprocess.DEVNULL,
                            capture_output=True, timeout=DEADLINE, env={**os.environ, "LC_ALL": "C.UTF-8"})
    shown = (result.stdout + result.stderr).decode()
    assert shown and not set(shown) & set("\x1b\x07\x9b\u202e"), ascii(shown)


@pytest.mark.parametrize("user, mode", [("bob", 0o755), ("root", 0o775), ("root", 0o777)])
def test_no_socket_where_others_could_replace_it(make_daemon, users, user, mode):
    daemon = make_daemon()
    directory = daemon.socket.parent
    directory.mkdir()
    shutil.chown(directory, users[1] if user == "bob" else "root")
    directory.chmod(mode)
    daemon.spawn()
    assert f"{directory}, where the socket is to be" in daemon.wait_log("must belong to")
    assert daemon.process.wait(DEADLINE) == 1


@contextlib.contextmanager
def inside_cgroup(path):
    """This process, and those that it starts meanwhile, in a cgroup like one that users make below their own."""
    name = Path("/proc/self/cgroup").read_text().split("0::", 1)[1].splitlines()[0]
    before = Path(f"{cgroup2_mount()}{name}")
    path.mkdir(parents=True)
    (path / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (before / "cgroup.procs").write_text(str(os.getpid()))


def test_a_cgroup_named_like_that_of_a_lease_gives_no_right(make_nvml, alice, bob):
    nvml, daemon = make_nvml()
    daemon.start()
    if not daemon.cgroup_root:
        pytest.skip("needs a cgroup")
    run = daemon.popen("run", "--gpu", "0", "--", "sh", "-c", "echo; exec cat", user=alice, stdin=subprocess.PIPE)
    read_line(run.stdout)
    lease = daemon.leases()[0]["id"]
    own = cgroup2_mount() / f"dibs-test-user-{os.getpid()}"
    try:
        with inside_cgroup(own / f"lease-{lease}"):
            job = nvml.job(nvml.gpus[0], user=bob)
        status = daemon.wait_status(lambda s: s["gpus"][0]["processes"])
        assert status["gpus"][0]["processes"][0]["lease"] is None
    finally:
        job.kill()
        job.wait()
        remove_cgroup(own)


def test_subordinate_uids_share_their_limits(make_daemon, alice):
    ranges = [line.split(":") for line in Path("/etc/subuid").read_text().splitlines()]
    first = next((int(start) for name, start, _ in ranges if name == alice), None)
    if not first:
        pytest.skip("useradd gives no subordinate uids here")
    daemon = make_daemon(config="[limits]\nconnections-per-user = 3\n").start()
    code = """
import os, select, socket, sys
connections = []
for uid in range(int(sys.argv[1]), int(sys.argv[1]) + 6):
    os.seteuid(uid)
    connections.append(socket.socket(socket.AF_UNIX))
    connections[-1].connect(os.environ["DIBS_SOCKET"])
    os.seteuid(0)
print("there", flush=True)
input()
print(len(select.select(connections, [], [], 0)[0]), flush=True)
"""
    with child(None, code, first, env=daemon.client_environment()) as process:
        assert read_line(process.stdout) == "there\n"
        daemon.status()  # is let in after all of these
        process.stdin.write(b"\n")
        assert read_line(process.stdout) == "3\n"  # were turned away
