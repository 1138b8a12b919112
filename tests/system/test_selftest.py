# SPDX-License-Identifier: MIT
"""dibs selftest: it finds that the gate holds, and it finds it if not; and it leaves nothing behind."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from harness import DEADLINE, cgroup2_mount, read_line
from site_sensor import SiteSensor

pytestmark = pytest.mark.skipif(cgroup2_mount() is None, reason="no cgroup v2 here")

PATIENCE = 6 * DEADLINE
EVERYWHERE = ["without-lease", "with-lease", "other-user", "namespace", "released"]
SIMULATED = [*EVERYWHERE, "daemon-killed", "kept-open"]


def left_behind():
    places = [Path("/run"), Path("/tmp"), cgroup2_mount()]
    return {path for place in places for path in place.glob("dibs-selftest-*")}


@pytest.fixture(autouse=True)
def nothing_left():
    before = left_behind()
    yield
    assert left_behind() <= before


@pytest.fixture
def selftest(programs):
    """selftest(argument..., user=..., code=...) runs it, with no dibsd of this machine unless socket says where."""

    def run(*arguments, code=0, dibs=programs["dibs"], socket="/nonexistent", **options):
        done = subprocess.run([dibs, "selftest", "--socket", socket, *map(str, arguments)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=PATIENCE, cwd="/", **options)
        assert done.returncode == code, done
        return done

    return run


def results(done, gate):
    return {r["check"]: (r["result"], r["reason"]) for r in json.loads(done.stdout) if r["gate"] == gate}


@pytest.fixture
def instead_of_dibsd(programs, base_directory):
    """instead_of_dibsd(script) gives a dibs that finds this script, in which $DIBSD is the real one."""
    made = []

    def make(script):
        root = base_directory / f"selftest-{len(made)}"
        made.append(root)
        (root / "src/daemon").mkdir(parents=True)
        (root / "src/cli").mkdir()
        dibs, dibsd = root / "src/cli/dibs", root / "src/daemon/dibsd"
        shutil.copy2(programs["dibs"], dibs)
        dibsd.write_text(f"#!/bin/sh\nDIBSD={programs['dibsd']}\n{script}\n")
        dibsd.chmod(0o755)
        return dibs

    yield make
    for root in made:
        shutil.rmtree(root)


def test_the_gate_holds(selftest):
    done = selftest("--json")
    assert results(done, "filter") == {check: ("ok", None) for check in SIMULATED}
    assert results(done, "acl") == {check: ("ok", None) for check in SIMULATED}
    gpu = results(done, "gpu")
    assert {result for result, _ in gpu.values()} == {"not tried"} and "no GPU here" in gpu["with-lease"][1]


def test_the_table_fits_a_terminal(selftest):
    done = selftest(env={**os.environ, "COLUMNS": "80"})
    lines = done.stdout.splitlines()
    assert [line for line in lines if len(line) > 80] == [] and lines[-1] == "the gate holds"
    assert sum(line.split()[-4:-2] == ["ok", "ok"] or line.endswith("ok      ok   -") for line in lines) == len(SIMULATED)


def test_it_is_for_root(daemon, alice):
    assert "run it as root" in daemon.dibs("selftest", user=alice, code=3).stderr


def test_a_gate_that_does_not_hold_is_found(selftest, instead_of_dibsd):
    """A daemon that guards another cgroup than it was told."""
    dibs = instead_of_dibsd("sed -i 's,/sessions$,/runs,' \"$2\" && exec $DIBSD \"$@\"")
    done = selftest("--json", dibs=dibs, code=1)
    found = results(done, "filter")
    assert [found[check][0] for check in ("without-lease", "with-lease", "other-user", "released")] == [
        "FAILED", "ok", "FAILED", "FAILED"]
    assert "could open" in found["without-lease"][1]
    assert results(done, "acl") == {check: ("ok", None) for check in SIMULATED}


def test_a_gate_that_says_it_does_not_hold_is_not_tried(selftest, instead_of_dibsd):
    dibs = instead_of_dibsd("sed -i 's,/sessions$,/none,' \"$2\" && exec $DIBSD \"$@\"")
    found = results(selftest("--json", dibs=dibs), "filter")
    assert found["without-lease"][0] == "not tried" and "/none does not exist" in found["without-lease"][1]


def test_processes_that_are_not_ended_are_found(selftest, instead_of_dibsd):
    """A daemon that gives them more time than they are waited for."""
    dibs = instead_of_dibsd("sed -i 's/^kill-grace.*/kill-grace = 1h/' \"$2\" && exec $DIBSD \"$@\"")
    found = results(selftest("--json", dibs=dibs, code=1), "filter")
    assert found.pop("kept-open")[0] == "FAILED"
    assert {result for result, _ in found.values()} == {"ok"}


def test_a_daemon_that_does_not_start_is_found(selftest, instead_of_dibsd):
    done = selftest(dibs=instead_of_dibsd("echo no such luck >&2; exit 1"), code=1)
    assert "no such luck" in done.stdout and done.stdout.endswith("2 FAILED\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_cleans_up(programs, instead_of_dibsd, base_directory, number):
    fifo = base_directory / "selftest-fifo"
    os.mkfifo(fifo)
    reader = os.fdopen(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
    dibs = instead_of_dibsd(f"echo here > {fifo}; exec $DIBSD \"$@\"")
    process = subprocess.Popen([dibs, "selftest"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd="/")
    try:
        assert read_line(reader) == "here\n"
        assert list(cgroup2_mount().glob("dibs-selftest-*"))
        process.send_signal(number)
        assert process.communicate(timeout=DEADLINE)[0] == b"" and process.returncode == -number
    finally:
        process.kill()
        process.wait()
        reader.close()
        fifo.unlink()


@pytest.fixture
def real_gpu(base_directory):
    """A device where that of a GPU would be, and a sensor program that knows the GPU."""
    number = os.makedev(195, 240)
    path = Path(f"/dev/nvidia{os.minor(number)}")
    if path.exists():
        pytest.skip("the driver made that node: no NVIDIA driver can be played here")
    os.mknod(path, stat.S_IFCHR, number)
    path.chmod(0o666)
    site = SiteSensor(base_directory, 1)
    site.tell(0, vendor="nvidia", minor=os.minor(number), nodes=[f"{os.major(number)}:{os.minor(number)}"])
    yield site.program
    path.unlink()


@pytest.mark.parametrize("method", ["filter", "acl"])
def test_on_a_real_gpu(make_daemon, sessions, selftest, real_gpu, alice, method):
    daemon = make_daemon(sim=None, config=f"[sensor]\nexec = {real_gpu}\n[guard]\nmode = deny\nmethod = {method}\n"
                                          f"session-cgroups = {sessions.path}\n").start()
    found = results(selftest("--json", sessions.path, socket=daemon.socket), "gpu")
    assert {check: found[check] for check in EVERYWHERE} == {check: ("ok", None) for check in EVERYWHERE}
    assert found["nvidia-smi"][0] == ("ok" if Path("/usr/bin/nvidia-smi").exists() else "not tried")
    assert found["reset"][0] == "not tried" and "nvidia-smi --gpu-reset" in found["reset"][1]
    assert daemon.leases() == [] and list(sessions.path.glob("dibs-selftest-*")) == []

    # One that is in use, or not guarded, is left alone.
    hold = daemon.reserve(user=alice)["id"]
    found = results(selftest("--json", sessions.path, socket=daemon.socket), "gpu")
    assert found["without-lease"] == ("not tried", "no GPU is free now")
    daemon.dibs("release", hold, user=alice)
    daemon.dibs("admin", "guard", "watch")
    assert "'watch'" in results(selftest("--json", sessions.path, socket=daemon.socket), "gpu")["without-lease"][1]


def test_a_real_gpu_in_another_cgroup_than_the_guarded_is_found(make_daemon, sessions, selftest, real_gpu):
    daemon = make_daemon(sim=None, config=f"[sensor]\nexec = {real_gpu}\n[guard]\nmode = deny\nmethod = filter\n"
                                          f"session-cgroups = {sessions.path}\n").start()
    elsewhere = cgroup2_mount() / f"dibs-test-elsewhere-{os.getpid()}"
    elsewhere.mkdir()
    try:
        done = selftest("--json", elsewhere.name, socket=daemon.socket, code=1)
        assert results(done, "gpu")["without-lease"][0] == "FAILED"
        assert list(elsewhere.glob("dibs-selftest-*")) == []
    finally:
        elsewhere.rmdir()


def test_a_cgroup_that_is_none_is_refused(selftest, tmp_path):
    assert "nothing is no cgroup" in selftest("nothing", code=1).stderr
    assert "is no cgroup" in selftest(tmp_path, code=1).stderr
    assert list(tmp_path.iterdir()) == []


class Pretender(threading.Thread):
    """Answers as a dibsd would, until it is asked to release."""

    def __init__(self, path, answers):
        super().__init__(daemon=True)
        self.answers = answers
        self.calls = []
        self.asked = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        path.chmod(0o777)
        self.listener.listen()
        self.silent = []
        self.start()

    def run(self):
        while True:
            connection, data = self.listener.accept()[0], b""
            while not data.endswith(b"\0"):
                data += connection.recv(65536)
            call = json.loads(data[:-1])
            method = call["method"].removeprefix("org.dibs.")
            self.calls.append((method, call["parameters"]) if "parameters" in call else (method, None))
            if method in self.answers:
                connection.sendall(json.dumps({"parameters": self.answers[method]}).encode() + b"\0")
                connection.close()
            else:
                self.silent.append(connection)
                self.asked.set()


def test_interrupted_it_gives_the_gpu_back(programs, base_directory, real_gpu):
    gpu = {"index": 0, "uuid": "GPU-real", "vendor": "nvidia", "state": "free", "nodes": ["195:240"]}
    path = base_directory / "pretender"
    pretender = Pretender(path, {
        "GetStatus": {"guard": "deny", "guard_method": "acl", "guard_problem": None, "gpus": [gpu], "leases": []},
        "Request": {"lease": {"id": 7}}, "AdminRelease": {"lease": {"id": 7}}})
    process = subprocess.Popen([programs["dibs"], "selftest", "--socket", path], stdin=subprocess.DEVNULL, cwd="/")
    try:
        assert pretender.asked.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == -signal.SIGINT
    finally:
        process.kill()
        process.wait()
    assert [method for method, _ in pretender.calls] == ["GetStatus", "Request", "Release", "AdminRelease"]
    assert pretender.calls[1][1]["gpus"] == ["GPU-real"] and pretender.calls[3][1]["id"] == 7
