# SPDX-License-Identifier: MIT
"""Jobs that share a GPU by its memory: who has a right on it, and what becomes of who takes more."""

import json
import os
import tempfile
import time
from pathlib import Path

import pytest
from harness import cgroup2_mount
from site_sensor import SiteSensor
from test_suspend import wait_for

pytestmark = pytest.mark.skipif(cgroup2_mount() is None, reason="no cgroup v2 here")


class Site:
    def __init__(self, directory, make_daemon, sessions, devices, guard="deny", method="auto"):
        self.sensor = SiteSensor(directory, 1)
        self.device = devices[0]
        self.sensor.gpus[0].update(nodes=[self.device.node], vendor="nvidia", memory_mib=8192)
        self.sensor.write()
        self.daemon = make_daemon(sim=None, config=(
            f"{self.sensor.config}[guard]\nmode = {guard}\nmethod = {method}\nsession-cgroups = {sessions.path}\n"
            f"device-majors = {self.device.major}\n[lease]\nkill-grace = 1s\n[jobs]\npam-service = none\n"
            "[share]\nenabled = yes\ngrace = 2s\n"))
        self.daemon.start()

    def submit(self, user, mem, command=None):
        """A job that prints its pid and waits; its number and its pid."""
        directory = Path(f"~{user}").expanduser()
        log = directory / f"log-{os.getpid()}-{time.monotonic_ns()}"
        reply = self.daemon.dibs("submit", "--json", "--output", log, "--mem", mem, "--", "sh", "-c",
                                 command or "echo $$; exec sleep 600", user=user, cwd=str(directory))
        job = json.loads(reply.stdout)["id"]
        wait_for(lambda: log.exists() and log.read_text().strip())
        return job, int(log.read_text().split()[0]), log

    def tell(self, *processes):
        self.sensor.tell(0, processes=[{"pid": pid, "memory_mib": mib, "command": "train"}
                                       for pid, mib in processes])

    def state(self, job):
        return self.daemon.lease(job)


@pytest.fixture
def make_site(base_directory, make_daemon, sessions, devices):
    def make(**options):
        directory = Path(tempfile.mkdtemp(dir=base_directory))
        directory.chmod(0o755)
        return Site(directory, make_daemon, sessions, devices, **options)
    return make


def test_each_process_belongs_to_its_job(make_site, alice, bob):
    site = make_site(guard="watch")
    a, pid_a, _ = site.submit(alice, "4G")
    b, pid_b, _ = site.submit(bob, "2G")
    c, pid_c, _ = site.submit(alice, "1G")  # of one user, told apart by their cgroups
    site.tell((pid_a, 100), (pid_b, 100), (pid_c, 100))
    status = site.daemon.wait_status(lambda s: len(s["gpus"][0]["processes"]) == 3)
    leases = {p["pid"]: (p["standing"], p["lease"]) for p in status["gpus"][0]["processes"]}
    assert leases == {pid_a: ("lease", a), pid_b: ("lease", b), pid_c: ("lease", c)}


def test_who_takes_more_is_warned_then_ended(make_site, alice, bob):
    site = make_site(guard="watch")
    greedy, pid, _ = site.submit(alice, "2G")
    neighbour, pid_b, _ = site.submit(bob, "2G")
    site.tell((pid, 2048 + 129), (pid_b, 2048 + 128))
    ended = site.daemon.wait_status(lambda s: all(l["id"] != greedy for l in s["leases"]))
    assert [l["id"] for l in ended["leases"]] == [neighbour]
    kinds = [(kind, lease) for kind, lease in site.daemon.journal("lease", kinds=("overuse", "ended"))]
    assert kinds == [("overuse", greedy), ("ended", greedy)]
    lease = site.state(greedy)
    assert lease["end"] == "memory"
    assert site.state(neighbour)["state"] == "active"
    detail = [d for kind, d in site.daemon.journal("detail", kinds=("overuse",))][0]
    assert "uses 2177 MiB of GPU 0, its share is 2048 MiB" in detail
    site.daemon.dibs("cancel", neighbour, user=bob)


def test_who_frees_it_in_time_stays(make_site, alice):
    site = make_site(guard="watch")
    job, pid, _ = site.submit(alice, "2G")
    site.tell((pid, 4096))
    wait_for(lambda: site.daemon.journal(kinds=("overuse",)))
    site.tell((pid, 1024))
    # A second warning shows that the first was forgiven when its grace was over.
    end = time.monotonic() + 2.5
    site.daemon.wait_status(lambda s: time.monotonic() > end)
    assert site.state(job)["state"] == "active"
    site.tell((pid, 4096))
    wait_for(lambda: len(site.daemon.journal(kinds=("overuse",))) == 2)
    site.daemon.dibs("cancel", job, user=alice)


@pytest.mark.parametrize("method", ["filter", "acl"])
def test_all_who_share_may_open_it(make_daemon, sessions, alice, bob, carol, method):
    daemon = make_daemon(sim="1xA100-80G", config=(
        f"[guard]\nmode = deny\nmethod = {method}\nsession-cgroups = {sessions.path}\n"
        "[jobs]\npam-service = none\n[share]\nenabled = yes\n")).start()
    for user in (alice, bob):
        daemon.dibs("submit", "--output", "/dev/null", "--mem", "2G", "--", "sleep", "600", user=user)
    daemon.wait_leases(2, state="active")
    node = daemon.nodes()[0]
    assert [sessions.opener(user).may_open(node) for user in (alice, bob, carol)] == [True, True, False]


def test_the_end_of_one_shuts_nobody_else_out(make_site, alice, bob):
    """While who is left of one job is being ended, the other may open the GPU anew."""
    site = make_site()
    stubborn = f"trap '' TERM; exec 3<>{site.device.path}; echo $$; while :; do sleep 0.1; done"
    a, pid_a, _ = site.submit(alice, "2G", stubborn)
    again = f"echo $$; while :; do exec 3<>{site.device.path} || echo shut; exec 3>&-; sleep 0.05; done"
    b, _, log = site.submit(bob, "2G", again)
    site.daemon.dibs("cancel", a, user=alice)
    wait_for(lambda: not Path(f"/proc/{pid_a}").exists())
    site.daemon.wait_status(lambda s: [l["id"] for l in s["leases"]] == [b])
    assert "shut" not in log.read_text() and "denied" not in log.read_text().lower()
    assert site.state(b)["state"] == "active"
    site.daemon.dibs("cancel", b, user=bob)


def test_all_who_share_are_told_of_a_defect(make_site, alice, bob):
    site = make_site(guard="watch")
    a, _, _ = site.submit(alice, "2G")
    b, _, _ = site.submit(bob, "2G")
    site.sensor.tell(0, defect="it is broken")
    wait_for(lambda: len(site.daemon.journal(kinds=("defect",))) == 2)
    assert sorted(lease for _, lease in site.daemon.journal("lease", kinds=("defect",))) == [a, b]


def test_release_by_gpu_gives_back_ones_own(make_site, alice, bob):
    site = make_site(guard="watch")
    a, _, _ = site.submit(alice, "2G")
    b, _, _ = site.submit(bob, "2G")
    site.daemon.dibs("release", "--gpu", 0, user=bob)
    site.daemon.wait_status(lambda s: [l["id"] for l in s["leases"]] == [a])
    site.daemon.dibs("cancel", a, user=alice)
