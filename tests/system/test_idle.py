# SPDX-License-Identifier: MIT
"""Leases that are held for nothing: what counts as use, who is warned, and what is given back."""

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from harness import DEADLINE, demote
from site_sensor import SiteSensor
from test_health import Terminal

IDLE = "[idle]\nhold-after = {hold}\nrun-after = {run}\ngrace = {grace}\n"


@pytest.fixture
def make_site(make_daemon, base_directory):
    """make_site(count, ...) gives a SiteSensor with so many GPUs, and a Daemon on them that is not started yet."""
    def make(count, hold="2s", run="never", grace="1s"):
        directory = Path(tempfile.mkdtemp(dir=base_directory))
        directory.chmod(0o755)
        site = SiteSensor(directory, count)
        return site, make_daemon(sim=None, config=site.config + IDLE.format(hold=hold, run=run, grace=grace))
    return make


@contextlib.contextmanager
def process_of(user):
    process = subprocess.Popen(["/bin/sleep", "1000"], preexec_fn=demote(user), cwd="/")
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_lease(daemon, lease_id, predicate):
    """Waits until one lease, as it is told raw, is so; returns it."""
    def find(status):
        return next((l for l in status["leases"] if l["id"] == lease_id), None)
    return find(daemon.wait_status(lambda s: find(s) is not None and predicate(find(s))))


def journal(daemon, lease_id):
    return [event["kind"] for event in daemon.lease(lease_id)["events"]]


USED = {
    "computes all the time": {"utilization": 100},
    "computes now and then": {"utilization": [3, 0]},
    "memory moves": {"memory_used_mib": list(range(100, 160))},
    "tells nothing": {"utilization": None, "processes": None},
    "has a process of its lease": {"process": "own"},
    "fails": {},
}
UNUSED = {
    "does nothing": {},
    "has something in memory": {"memory_used_mib": 900},
    "a blip of memory now and then": {"memory_used_mib": [200] + [100] * 8},
    "tells processes alone": {"utilization": None},
    "tells utilization alone": {"processes": None},
    "tells no memory": {"memory_used_mib": None},
    "has a process of somebody else": {"process": "other"},
}


def test_what_counts_as_use(make_site, alice, bob):
    site, daemon = make_site(len(USED) + len(UNUSED) + 2)
    with process_of(alice) as own, process_of(bob) as other:
        pids = {"own": own.pid, "other": other.pid}
        for gpu, values in zip(site.gpus, [*USED.values(), *UNUSED.values()]):
            owner = values.get("process")
            gpu.update({key: value for key, value in values.items() if key != "process"})
            if owner:
                gpu["processes"] = [{"pid": pids[owner], "memory_mib": None}]
        site.gpus[-1]["utilization"] = 50
        site.write()
        daemon.start()

        def hold(gpus):
            return daemon.reserve("--force", "--gpu", gpus, user=alice)["id"]
        # Those that are used first: they are older than the others when those are given back.
        pair = hold(f"{len(site.gpus) - 2},{len(site.gpus) - 1}")
        used = {name: hold(str(n)) for n, name in enumerate(USED)}
        site.tell(list(USED).index("fails"), fault="it smokes")
        unused = {name: hold(str(len(USED) + n)) for n, name in enumerate(UNUSED)}
        status = daemon.wait_status(lambda s: not {l["id"] for l in s["leases"]} & set(unused.values()))
        left = {l["id"]: l["idle_release"] for l in status["leases"]}
        assert left == dict.fromkeys([pair, *used.values()]), (left, used, pair)
    for name, lease_id in unused.items():
        assert daemon.lease(lease_id)["end"] == "idle", name
        assert [kind for kind in journal(daemon, lease_id) if kind != "foreign"] == ["granted", "idle", "ended"], name


def test_its_owner_is_warned_and_may_go_on(make_site, alice, bob):
    site, daemon = make_site(2, grace="2s")
    daemon.start()
    terminal, other = Terminal(alice), Terminal(bob)
    try:
        hold = daemon.reserve("--gpu", "1", user=alice)["id"]
        warned = wait_lease(daemon, hold, lambda l: l["idle_release"])
        # After two seconds, and two before it is given back; samples come once a second.
        assert 2 <= (warned["idle_release"] - warned["idle_since"]) / 1e6 - 2 < 4.5, warned
        assert f"hold #{hold} does nothing with GPU 1; it is given back in 2s unless used" \
            in terminal.wait("does nothing")
        assert f"#{hold} of {alice} does nothing on GPU 1 and is given back at" in daemon.dibs("status").stdout
        site.tell(1, utilization=1)
        wait_lease(daemon, hold, lambda l: l["idle_release"] is None)
        site.tell(1, utilization=0)
        assert terminal.wait("does nothing")
        daemon.wait_leases(0)
        assert daemon.lease(hold)["end"] == "idle"
        assert journal(daemon, hold) == ["granted", "idle", "idle", "ended"]
        assert daemon.reserve("--gpu", "1", user=bob)["state"] == "active"
        os.set_blocking(other.master, False)
        with pytest.raises(BlockingIOError):
            os.read(other.master, 1)
    finally:
        terminal.close()
        other.close()


def test_each_kind_has_its_own_time(make_site, alice, bob):
    site, daemon = make_site(2, hold="never", run="2s", grace="0s")
    daemon.start()
    hold = daemon.reserve("--gpu", "0", user=bob)["id"]
    run = daemon.popen("run", "--gpu", "1", "--", "/bin/sleep", "1000", user=alice)
    run_id = daemon.wait_leases(1, kind="run")[0]["id"]
    assert run.wait(DEADLINE) != 0
    daemon.wait_leases(0, kind="run")
    assert daemon.lease(run_id)["end"] == "idle"
    assert journal(daemon, run_id)[:2] == ["granted", "idle"]
    held = daemon.lease(hold)
    assert held["state"] == "active" and held["idle_since"] and not held["idle_release"]
    assert journal(daemon, hold) == ["granted"]


def test_who_is_not_looked_at_is_not_idle(make_site, alice, bob):
    """Neither a sensor that fails nor one that is paused is evidence; with the next sample time begins anew."""
    site, daemon = make_site(2, grace="1m")
    daemon.start()
    hold = daemon.reserve("--gpu", "0", user=alice)["id"]
    wait_lease(daemon, hold, lambda l: l["idle_release"])
    site.write({"error": "the abacus is dusty"})
    wait_lease(daemon, hold, lambda l: l["idle_release"] is None)
    site.write()
    daemon.wait_status(lambda s: s["gpus"][0]["state"] == "leased")
    # Longer than samples may be apart; the end of a hold of that length tells when.
    daemon.reserve("--gpu", "1", "--duration", "11s", user=bob)
    daemon.dibs("admin", "sensor", "pause")
    daemon.wait_leases(1)
    site.tell(1, utilization=7)
    daemon.dibs("admin", "sensor", "resume")
    status = daemon.wait_status(lambda s: s["gpus"][1]["utilization"] == 7)
    assert [(l["id"], l["idle_release"]) for l in status["leases"]] == [(hold, None)]
    assert journal(daemon, hold) == ["granted", "idle"]
