# SPDX-License-Identifier: MIT
"""Suspended jobs: their GPUs are free, and they go on where they were."""

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from harness import DEADLINE, cgroup2_mount, demote
from site_sensor import SiteSensor

pytestmark = pytest.mark.skipif(cgroup2_mount() is None, reason="no cgroup v2 here")

BUILD = Path(os.environ["DIBS_BUILD"]).resolve() if "DIBS_BUILD" in os.environ else None


class Tool:
    """The stand-in for cuda-checkpoint, and what it is told to do wrong."""

    def __init__(self, directory):
        self.path = directory / "cuda-checkpoint"
        shutil.copy2(BUILD / "tests/fakes/cuda-checkpoint", self.path)
        self.path.chmod(0o755)
        self.log = directory / "cuda-checkpoint.log"
        self.log.touch()

    def rule(self, text):
        self.path.with_name("cuda-checkpoint.rules").write_text(text + "\n")

    def calls(self):
        return [line.split()[0] for line in self.log.read_text().splitlines()]

    def wait_call(self, action):
        wait_for(lambda: action in self.calls())


def wait_for(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        select.select([], [], [], 0.02)


class Site:
    """A daemon with three GPUs that really open, one guarded session cgroup, and the tool."""

    def __init__(self, directory, make_daemon, sessions, devices, config=""):
        self.devices = devices
        self.tool = Tool(directory)
        self.program = directory / "cudajob"
        shutil.copy2(BUILD / "tests/fakes/cudajob", self.program)
        self.sensor = SiteSensor(directory, 3)
        for gpu, device in zip(self.sensor.gpus, devices):
            gpu.update(nodes=[device.node], vendor="nvidia")
        self.sensor.write()
        self.daemon = make_daemon(sim=None, config=(
            f"{self.sensor.config}[guard]\nmode = deny\nsession-cgroups = {sessions.path}\n"
            f"device-majors = {devices[0].major}\n[lease]\nkill-grace = 1s\n[jobs]\npam-service = none\n"
            f"retry-delay = 0s\ncheckpoint = {self.tool.path}\n{config}"))
        self.log = None

    def submit(self, user, *options, gpu=0, job=(), command=None):
        directory = Path(f"~{user}").expanduser()
        self.log = directory / f"log-{os.getpid()}-{time.monotonic_ns()}"
        command = command or [self.program, "--device", self.devices[gpu].path, *job]
        reply = self.daemon.dibs("submit", "--json", "--output", self.log, "--gpu", gpu, *options, "--", *command,
                                 user=user, cwd=str(directory))
        return json.loads(reply.stdout)["id"]

    def said(self, log=None):
        log = log or self.log
        return [line.split()[0] for line in log.read_text().splitlines() if line] if log.exists() else []

    def pid(self):
        """Of the process, when it is ready."""
        wait_for(lambda: "ready" in self.said())
        return int(self.log.read_text().split()[1])

    def tell(self, gpu, *pids, memory_mib=100):
        self.sensor.tell(gpu, processes=[
            {"pid": pid, "memory_mib": memory_mib, "command": "cudajob"} for pid in pids])
        self.daemon.wait_status(lambda s: [p["pid"] for g in s["gpus"] if g["index"] == gpu
                                           for p in g["processes"]] == list(pids))

    def frozen(self, job):
        return "frozen 1" in (self.daemon.cgroup_root / f"lease-{job}" / "cgroup.events").read_text()

    def wait_state(self, job, state):
        self.daemon.wait_status(lambda s: any(l["id"] == job and l["state"] == state for l in s["leases"]))


@pytest.fixture
def make_site(base_directory, make_daemon, sessions, devices):
    def make(**options):
        directory = Path(tempfile.mkdtemp(dir=base_directory))
        directory.chmod(0o755)
        site = Site(directory, make_daemon, sessions, devices, **options)
        site.daemon.start()
        return site
    return make


@pytest.fixture
def site(make_site):
    return make_site()


def open_by(pid, device):
    """Has the process that device open?"""
    return any(os.readlink(f) == device.path for f in Path(f"/proc/{pid}/fd").iterdir())


def test_the_gpu_is_free_meanwhile(site, alice, bob):
    job = site.submit(alice)
    pid = site.pid()
    site.tell(0, pid)
    site.daemon.dibs("suspend", job, user=alice)
    assert site.frozen(job) and not open_by(pid, site.devices[0])
    site.tell(0)
    hold = site.daemon.reserve("--gpu", 0, user=bob)
    site.daemon.dibs("resume", job, user=alice)
    site.wait_state(job, "waiting")
    assert site.frozen(job)
    site.daemon.dibs("release", hold["id"], user=bob)
    wait_for(lambda: "running" in site.said())
    assert site.said() == ["ready", "locked", "checkpointed", "locked", "running"]
    assert open_by(pid, site.devices[0])
    kinds = [kind for kind, lease in site.daemon.journal("lease") if lease == job]
    assert kinds.count("suspended") == 1 and kinds.count("resumed") >= 1 and "requeued" not in kinds
    site.daemon.dibs("cancel", job, user=alice)


def test_who_was_not_seen_yet_is_suspended_too(site, alice):
    job = site.submit(alice, job=["--processes", 3])
    wait_for(lambda: site.said().count("ready") == 3)
    site.daemon.dibs("suspend", job, user=alice)
    assert site.said()[3:] == ["locked"] * 3 + ["checkpointed"] * 3
    site.daemon.dibs("resume", job, user=alice)
    wait_for(lambda: site.said().count("running") == 3)
    site.daemon.dibs("cancel", job, user=alice)


def test_others_cannot_lock_it_out(site, alice, bob):
    job = site.submit(alice)
    site.tell(0, site.pid())
    cgroup = site.daemon.cgroup_root / f"lease-{job}"
    with subprocess.Popen(["flock", "--exclusive", cgroup, "sh", "-c", "echo locked; read x"], preexec_fn=demote(bob),
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"locked\n"
        try:
            site.daemon.dibs("suspend", job, user=alice)
            assert site.frozen(job)
        finally:
            holder.stdin.close()


def test_a_job_without_a_gpu_in_use_is_frozen(site, alice):
    job = site.submit(alice, command=["sh", "-c", "echo ready 1; exec sleep 600"])
    site.pid()
    site.daemon.dibs("suspend", job, user=alice)
    assert site.frozen(job) and site.tool.calls() == []
    site.daemon.dibs("resume", job, user=alice)
    wait_for(lambda: not site.frozen(job))
    site.daemon.dibs("cancel", job, user=alice)


@pytest.mark.parametrize("rule,sentence", [
    ("fail lock * a reason", "a reason"),
    ("fail checkpoint * a reason", "a reason"),
    ("lie checkpoint *", "still has a GPU open"),
])
def test_what_cannot_be_suspended_runs_on(site, alice, rule, sentence):
    job = site.submit(alice)
    pid = site.pid()
    site.tell(0, pid)
    site.tool.rule(rule)
    refused = site.daemon.dibs("suspend", job, user=alice, code=3)
    assert sentence in refused.stderr
    assert not site.frozen(job) and open_by(pid, site.devices[0])
    assert site.daemon.lease(job)["state"] == "active"
    site.daemon.dibs("cancel", job, user=alice)


def test_what_can_neither_be_suspended_nor_run_on_starts_anew(site, alice):
    job = site.submit(alice)
    pid = site.pid()
    site.tell(0, pid)
    site.tool.rule("fail checkpoint * first\nfail unlock * second")
    refused = site.daemon.dibs("suspend", job, user=alice, code=3)
    assert "first" in refused.stderr and "second" in refused.stderr
    wait_for(lambda: "ready" in site.said() and int(site.log.read_text().split()[-1]) != pid)
    site.daemon.dibs("cancel", job, user=alice)


def test_what_cannot_be_resumed_starts_anew(site, alice):
    job = site.submit(alice)
    pid = site.pid()
    site.daemon.dibs("suspend", job, user=alice)
    site.tool.rule("fail restore * no memory")
    site.daemon.dibs("resume", job, user=alice)
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    wait_for(lambda: int((site.log.read_text().split() or [0, pid])[-1]) != pid)
    assert any("no memory" in (detail or "") for _, lease, detail in site.daemon.journal("lease", "detail")
               if lease == job)
    site.daemon.dibs("cancel", job, user=alice)


def test_at_its_limit_it_makes_room(site, alice, bob):
    job = site.submit(alice, "-t", "2s", "--on-limit", "suspend")
    site.pid()
    other = site.submit(bob, command=["sh", "-c", "echo ready 2; exec sleep 600"])
    bobs = site.log
    wait_for(lambda: "ready" in site.said(bobs))
    assert site.frozen(job)
    site.daemon.dibs("cancel", other, user=bob)
    wait_for(lambda: not site.frozen(job))
    site.daemon.dibs("cancel", job, user=alice)


def test_a_cancel_reaches_a_suspended_job(site, alice):
    job = site.submit(alice)
    pid = site.pid()
    site.daemon.dibs("suspend", job, user=alice)
    site.daemon.dibs("cancel", job, user=alice)
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def test_why_not(make_site, alice, bob):
    site = make_site()
    job = site.submit(alice)
    pid = site.pid()
    site.tell(0, pid)
    assert site.daemon.dibs("suspend", job, user=bob, code=3)
    site.sensor.tell(0, vendor="amd")
    site.daemon.wait_status(lambda s: s["gpus"][0]["vendor"] == "amd")
    assert "NVIDIA" in site.daemon.dibs("suspend", job, user=alice, code=3).stderr
    site.daemon.dibs("cancel", job, user=alice)


def test_not_without_the_tool(make_daemon, alice):
    daemon = make_daemon(config="[jobs]\npam-service = none\n").start()
    reply = daemon.dibs("submit", "--json", "--output", "/dev/null", "--", "sleep", "600", user=alice)
    job = json.loads(reply.stdout)["id"]
    daemon.wait_status(lambda s: any(l["id"] == job and l["state"] == "active" for l in s["leases"]))
    assert "checkpoint is not set" in daemon.dibs("suspend", job, user=alice, code=3).stderr
    daemon.dibs("cancel", job, user=alice)


@pytest.mark.parametrize("hang", ["lock", "checkpoint"])
def test_the_daemon_dies_in_the_middle(site, alice, hang):
    """The program that suspends goes on; the next daemon waits for it, and leads the job back."""
    job = site.submit(alice)
    pid = site.pid()
    site.tell(0, pid)
    site.tool.rule(f"hang {hang} *")
    client = site.daemon.popen("suspend", job, user=alice)
    site.tool.wait_call(hang)
    site.daemon.kill()
    client.wait(timeout=DEADLINE)
    site.tool.rule("")
    for stuck in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(stuck / "exe") == str(site.tool.path):
                os.kill(int(stuck.name), signal.SIGKILL)
        except OSError:
            continue
    site.daemon.start()
    wait_for(lambda: site.said()[-1] in ("running", "ready") and not site.frozen(job))
    assert open_by(pid, site.devices[0])
    assert site.daemon.lease(job)["state"] == "active"
    site.daemon.dibs("cancel", job, user=alice)


def test_the_daemon_dies_while_it_is_suspended(site, alice):
    job = site.submit(alice)
    pid = site.pid()
    site.daemon.dibs("suspend", job, user=alice)
    site.daemon.kill()
    site.daemon.start()
    assert site.frozen(job)
    site.daemon.dibs("resume", job, user=alice)
    wait_for(lambda: site.said()[-1] == "running")
    assert open_by(pid, site.devices[0])
    site.daemon.dibs("cancel", job, user=alice)


def test_the_helper_is_killed(site, alice):
    job = site.submit(alice)
    pid = site.pid()
    site.tool.rule("hang checkpoint *")
    client = site.daemon.popen("suspend", job, user=alice)
    site.tool.wait_call("checkpoint")
    site.tool.rule("")
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if os.readlink(path / "exe") == str(site.tool.path):
                os.kill(parent, signal.SIGKILL)
                os.kill(int(path.name), signal.SIGKILL)
        except OSError:
            continue
    _, stderr = client.communicate(timeout=DEADLINE)
    assert client.returncode == 3 and b"has failed" in stderr
    assert not site.frozen(job) and open_by(pid, site.devices[0]) and site.said()[-1] == "running"
    site.daemon.dibs("cancel", job, user=alice)
