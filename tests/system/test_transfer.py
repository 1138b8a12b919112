# SPDX-License-Identifier: MIT
"""Leases that change hands, get smaller, or are made for what runs already: give, shrink, adopt."""

import json
import os
import signal
import subprocess
import time

import pytest
from harness import DEADLINE, cgroup2_mount, demote, read_line, uid_of, wait_exit
from test_nvml import gpu_of, wait_gpu, wait_process
from test_store import fill, make_room, use_last_block

SECOND = 1_000_000


def kinds(daemon, lease):
    return [event["kind"] for event in daemon.lease(lease["id"])["events"]]


def call(daemon, method, **parameters):
    with daemon.varlink() as link:
        return link.call(f"org.dibs.{method}", parameters)


def is_invalid_parameter(reply, name):
    return (reply["error"], reply["parameters"]["parameter"]) == ("org.varlink.service.InvalidParameter", name)


# give


def test_a_hold_is_given_to_a_colleague(daemon, alice, bob):
    hold = daemon.reserve("-g", "2", user=alice)
    daemon.dibs("give", hold["id"], bob, user=alice)
    daemon.crash_and_restart()
    given, = daemon.leases()
    assert (given["user"], given["gpus"], given["until"]) == (bob, hold["gpus"], hold["until"])
    journal = daemon.lease(hold["id"])["events"]
    assert journal[-1]["kind"] == "given" and bob in journal[-1]["detail"]
    assert "belongs to" in daemon.dibs("release", hold["id"], user=alice, code=3).stderr
    daemon.dibs("extend", hold["id"], "1h", user=bob)
    daemon.dibs("release", hold["id"], user=bob)
    assert daemon.status()["leases"] == []


def test_who_may_not_give(daemon, alice, bob, carol):
    hold = daemon.reserve("--gpu", "0", user=alice)
    run = daemon.popen("run", "--gpu", "1", "--", "cat", user=alice, stdin=-1)
    running, = daemon.wait_leases(1, kind="run", state="active")
    daemon.popen("reserve", "--gpu", "0", user=alice)
    waiting, = daemon.wait_leases(1, state="waiting")
    for user in (bob, None):  # an administrator is no owner
        assert "only they can give it" in daemon.dibs("give", hold["id"], carol, user=user, code=3).stderr
    assert "only holds" in daemon.dibs("give", running["id"], bob, user=alice, code=3).stderr
    assert "is waiting" in daemon.dibs("give", waiting["id"], bob, user=alice, code=3).stderr
    assert "already" in daemon.dibs("give", hold["id"], alice, user=alice, code=2).stderr
    assert daemon.dibs("give", hold["id"], "nobody-of-that-name", user=alice, code=2).stderr
    assert daemon.dibs("give", 999, bob, user=alice, code=2).stderr
    assert {lease["uid"] for lease in daemon.wait_leases(3)} == {uid_of(alice)}
    run.communicate(timeout=DEADLINE)


@pytest.mark.parametrize("uid", [-1, 2**32 - 1, 2**32, 2**63 - 1, "0", 1.5, None, [0]])
def test_what_is_no_user_gets_nothing(daemon, uid):
    hold = daemon.reserve()
    assert is_invalid_parameter(call(daemon, "Give", id=hold["id"], uid=uid), "uid")
    assert daemon.leases()[0]["id"] == hold["id"]


def test_nobody_is_given_more_than_they_may_have(make_daemon, alice, bob):
    daemon = make_daemon(config="[limits]\nrequests-per-user = 1\n").start()
    hold, other = daemon.reserve(user=alice), daemon.reserve(user=bob)
    assert "at most 1" in daemon.dibs("give", hold["id"], bob, user=alice, code=3).stderr
    daemon.dibs("release", other["id"], user=bob)
    daemon.dibs("give", hold["id"], bob, user=alice)
    daemon.reserve(user=alice)
    assert daemon.dibs("reserve", "--no-wait", user=bob, code=3).stderr


def test_processes_of_the_giver_have_no_right_any_more(two, alice, bob):
    nvml, daemon = two
    hold = daemon.reserve("--gpu", "0", user=alice)
    job, later = nvml.job(nvml.gpus[0], user=alice), nvml.job(nvml.gpus[0], user=bob)
    assert wait_process(daemon, nvml.gpus[0], job.gpu_pid)[0]["standing"] == "lease"
    assert wait_process(daemon, nvml.gpus[0], later.gpu_pid)[0]["standing"] == "anothers"
    daemon.dibs("give", hold["id"], bob, user=alice)
    # At once, not when the sensor tells something.
    standings = {p["pid"]: (p["standing"], p["lease"]) for p in gpu_of(daemon.status(), nvml.gpus[0])["processes"]}
    assert standings == {job.gpu_pid: ("anothers", None), later.gpu_pid: ("lease", hold["id"])}


@pytest.mark.skipif(cgroup2_mount() is None, reason="no cgroup v2 here")
def test_the_gate_follows_who_has_it(make_daemon, sessions, alice, bob):
    daemon = make_daemon(sim="2xA100-80G",
                         config=f"[guard]\nmode = deny\nsession-cgroups = {sessions.path}\n").start()
    a, b = sessions.opener(alice), sessions.opener(bob)
    hold = daemon.reserve("-g", "2", user=alice)
    nodes = daemon.nodes()

    def wait_open(opener, *expected):
        """The gate opens when a scan has found nobody of those who were there before."""
        end = time.monotonic() + DEADLINE
        while tuple(map(opener.may_open, nodes)) != expected:
            assert time.monotonic() < end
            daemon.status()

    assert [a.may_open(node) for node in nodes] == [True, True]
    daemon.dibs("give", hold["id"], bob, user=alice)
    assert not any(map(a.may_open, nodes))
    wait_open(b, True, True)
    daemon.dibs("shrink", hold["id"], "--gpu", "0", user=bob)
    assert [b.may_open(node) for node in nodes] == [False, True]
    assert daemon.reserve("--gpu", "0", user=alice)["gpus"] == [0]
    wait_open(a, True, False)


# shrink


def test_what_is_given_back_is_there_for_others(daemon, alice, bob):
    hold = daemon.reserve("--gpu", "0,1,2", user=alice)
    waiting = daemon.popen("reserve", "--gpu", "1", "--short", user=bob)
    daemon.wait_leases(1, state="waiting")
    daemon.dibs("shrink", hold["id"], "--gpu", "1", user=alice)
    assert read_line(waiting.stdout) == "1\n"
    daemon.crash_and_restart()
    kept, = daemon.leases(user=alice)
    assert (kept["gpus"], kept["until"]) == ([0, 2], hold["until"])
    assert daemon.leases(user=bob)[0]["gpus"] == [1]
    assert kinds(daemon, hold)[-1] == "shrunk"
    daemon.dibs("shrink", hold["id"], "--gpu", "2", user=alice)
    assert daemon.leases(user=alice)[0]["gpus"] == [0]


def test_a_run_gives_some_back(daemon, alice, bob):
    run = daemon.popen("run", "--gpu", "3,4", "--", "cat", user=alice, stdin=-1)
    lease, = daemon.wait_leases(1, kind="run", state="active")
    daemon.dibs("shrink", lease["id"], "--gpu", "4", user=alice)
    assert daemon.reserve("--gpu", "4", "--no-wait", user=bob)["gpus"] == [4]
    assert run.poll() is None
    out, _ = run.communicate(b"goes on", timeout=DEADLINE)
    assert out == b"goes on"


def test_who_may_not_shrink(daemon, alice, bob):
    hold = daemon.reserve("--gpu", "0,1", user=alice)
    daemon.popen("reserve", "--gpu", "0", user=alice)
    waiting, = daemon.wait_leases(1, state="waiting")
    for user in (bob, None):
        assert "only they can shrink it" in daemon.dibs("shrink", hold["id"], "--gpu", "0", user=user, code=3).stderr
    assert "not one of" in daemon.dibs("shrink", hold["id"], "--gpu", "1,2", user=alice, code=2).stderr
    assert "dibs release" in daemon.dibs("shrink", hold["id"], "--gpu", "0,1", user=alice, code=2).stderr
    assert "does not exist" in daemon.dibs("shrink", hold["id"], "--gpu", "9", user=alice, code=2).stderr
    assert "is waiting" in daemon.dibs("shrink", waiting["id"], "--gpu", "0", user=alice, code=3).stderr
    assert daemon.dibs("shrink", 999, "--gpu", "0", user=alice, code=2).stderr
    own = daemon.reserve("--gpu", "2,3")
    assert call(daemon, "Shrink", id=own["id"], gpus=[])["error"] == "org.dibs.Invalid"
    assert is_invalid_parameter(call(daemon, "Shrink", id=own["id"]), "gpus")
    assert is_invalid_parameter(call(daemon, "Shrink", id=own["id"], gpus=[2]), "gpus")
    assert is_invalid_parameter(call(daemon, "Shrink", id=own["id"], gpus=["2"] * 257), "gpus")
    assert [lease["gpus"] for lease in daemon.wait_leases(3)] == [[0, 1], [], [2, 3]]


def test_what_is_in_use_is_not_given_back(two, alice):
    nvml, daemon = two
    hold = daemon.reserve("-g", "2", user=alice)
    job = nvml.job(nvml.gpus[1], user=alice)
    wait_process(daemon, nvml.gpus[1], job.gpu_pid)
    said = daemon.dibs("shrink", hold["id"], "--gpu", "1", user=alice, code=3).stderr
    assert str(job.gpu_pid) in said and "GPU 1" in said
    job.kill()
    job.wait()
    # At once, not when the sensor tells that it has ended.
    daemon.dibs("shrink", hold["id"], "--gpu", "1", user=alice)
    assert daemon.leases()[0]["gpus"] == [0]


def test_who_asks_in_the_same_moment_gets_what_is_given_back(daemon):
    """Both changes are one transaction, in which the GPU must not have two holders."""
    hold = daemon.reserve("-g", "8")
    with daemon.varlink() as asking, daemon.varlink() as giving:
        for link in (asking, giving):
            assert "error" not in link.call("org.dibs.GetStatus")
        os.kill(daemon.process.pid, signal.SIGSTOP)
        asking.send("org.dibs.Request", {"kind": "hold"})
        giving.send("org.dibs.Shrink", {"id": hold["id"], "gpus": ["5"]})
        os.kill(daemon.process.pid, signal.SIGCONT)
        assert 5 not in giving.receive()["parameters"]["lease"]["gpus"]
        assert asking.receive()["parameters"]["lease"]["gpus"] == [5]


def stored_list(daemon, lease):
    """The GPUs that a lease lists, as they are on disk."""
    with daemon.database() as db:
        row = db.execute("SELECT only_gpus FROM lease WHERE id = ?", [lease["id"]]).fetchone()
    return len(row[0].split(","))


def test_with_a_full_disk_nobody_gives_anything(disk_daemon, alice, bob):  # noqa: F811
    daemon = disk_daemon.start()
    hold = daemon.reserve("--gpu", "0,1", user=alice)
    fill(daemon)
    use_last_block(daemon)
    for command in (["give", hold["id"], bob], ["shrink", hold["id"], "--gpu", "0"]):
        assert "disk is full" in daemon.dibs(*command, user=alice, code=1).stderr
    kept, = daemon.leases()
    assert (kept["user"], kept["gpus"]) == (alice, [0, 1])
    make_room(daemon)
    daemon.dibs("extend", hold["id"], "1h", user=alice)
    assert stored_list(daemon, hold) == 2
    daemon.dibs("shrink", hold["id"], "--gpu", "0", user=alice)
    daemon.dibs("give", hold["id"], bob, user=alice)
    assert stored_list(daemon, hold) == 1
    daemon.crash_and_restart()
    kept, = daemon.leases()
    assert (kept["user"], kept["gpus"]) == (bob, [1])


# adopt


def test_what_runs_already_gets_a_lease(two, alice, bob):
    nvml, daemon = two
    job = nvml.job(nvml.gpus[1], user=alice)
    wait_gpu(daemon, nvml.gpus[1], "foreign")
    hold = daemon.reserve("--adopt", job.gpu_pid, "--duration", "1h", user=alice)
    assert (hold["gpus"], hold["kind"]) == ([1], "hold")
    gpu = gpu_of(daemon.status(), nvml.gpus[1])
    assert (gpu["state"], gpu["leases"]) == ("leased", [hold["id"]])
    assert [(p["standing"], p["lease"]) for p in gpu["processes"]] == [("lease", hold["id"])]
    assert job.poll() is None
    daemon.dibs("reserve", "--gpu", "1", "--no-wait", user=bob, code=4)


def test_several_processes_on_several_gpus(two, alice):
    nvml, daemon = two
    jobs = [nvml.job(gpu, user=alice) for gpu in nvml.gpus for _ in range(2)]
    for gpu, job in zip([nvml.gpus[0]] * 2 + [nvml.gpus[1]] * 2, jobs):
        wait_process(daemon, gpu, job.gpu_pid)
    hold = daemon.reserve("--adopt", *(job.gpu_pid for job in jobs), user=alice)
    assert hold["gpus"] == [0, 1]


def test_only_the_gpus_that_are_named(two, alice):
    nvml, daemon = two
    job = nvml.job(nvml.gpus[0], "--gpu", ",".join(gpu.uuid for gpu in nvml.gpus), user=alice)
    other = nvml.job(nvml.gpus[1], user=alice)
    for gpu, pid in ((0, job.gpu_pid), (1, job.gpu_pid), (1, other.gpu_pid)):
        wait_process(daemon, nvml.gpus[gpu], pid)
    said = daemon.dibs("reserve", "--gpu", "0", "--adopt", job.gpu_pid, other.gpu_pid, user=alice, code=2).stderr
    assert f"process {other.gpu_pid} uses GPU 1" in said
    assert daemon.dibs("reserve", "-g", "1", "--adopt", job.gpu_pid, user=alice, code=2).stderr
    hold = daemon.reserve("--gpu", "0", "--adopt", job.gpu_pid, user=alice)
    assert hold["gpus"] == [0]
    daemon.wait_status(lambda s: {(p["pid"], p["standing"]) for p in gpu_of(s, nvml.gpus[1])["processes"]} ==
                       {(job.gpu_pid, "wrong_gpu"), (other.gpu_pid, "wrong_gpu")})


def test_only_ones_own_processes_are_adopted(two, alice, bob):
    nvml, daemon = two
    job = nvml.job(nvml.gpus[0], user=alice)
    wait_gpu(daemon, nvml.gpus[0], "foreign")
    idler = subprocess.Popen(["sleep", "infinity"], preexec_fn=demote(alice))
    try:
        for user, pid in ((bob, job.gpu_pid), (None, job.gpu_pid), (bob, idler.pid), (bob, 1), (bob, 2**22 - 1)):
            assert "you have no process" in daemon.dibs("reserve", "--adopt", pid, user=user, code=3).stderr, pid
        said = daemon.dibs("reserve", "--adopt", job.gpu_pid, idler.pid, user=alice, code=3).stderr
        assert f"process {idler.pid} uses no GPU" in said
    finally:
        idler.kill()
        idler.wait()
    # It has ended, though no sample says so yet.
    job.kill()
    job.wait()
    assert "you have no process" in daemon.dibs("reserve", "--adopt", job.gpu_pid, user=alice, code=3).stderr
    assert daemon.status()["leases"] == []


def test_nobody_adopts_what_others_are_on(two, alice, bob, carol):
    nvml, daemon = two
    jobs = [nvml.job(nvml.gpus[0], user=alice), nvml.job(nvml.gpus[0], user=bob)]
    for job in jobs:
        wait_process(daemon, nvml.gpus[0], job.gpu_pid)
    said = daemon.dibs("reserve", "--adopt", jobs[0].gpu_pid, user=alice, code=4).stderr
    assert bob in said and f"process {jobs[1].gpu_pid}" in said
    hold = daemon.reserve("--gpu", "0", "--force", user=carol)
    said = daemon.dibs("reserve", "--adopt", jobs[0].gpu_pid, user=alice, code=4).stderr
    assert carol in said and f"#{hold['id']}" in said
    daemon.dibs("release", hold["id"], user=carol)
    jobs[1].kill()
    wait_exit(jobs[1])
    assert daemon.reserve("--adopt", jobs[0].gpu_pid, user=alice)["gpus"] == [0]


def test_odd_wishes_to_adopt_are_refused(daemon):
    def request(kind="hold", **parameters):
        return call(daemon, "Request", kind=kind, wait_us=0, **parameters)
    for pids in ([0], [-1], [2**31], ["1"], [1.5], 1, {}, [[1]]):
        assert is_invalid_parameter(request(adopt=pids), "adopt"), pids
    for pids in ([], [1] * 257):
        assert request(adopt=pids)["error"] == "org.dibs.Invalid"
    assert "reserve" in request("run", adopt=[1])["parameters"]["message"]
    assert request(adopt=[os.getpid()])["parameters"]["id"] == "adopt.no-gpu"
    assert request(adopt=[os.getpid()], gpus=["99"])["parameters"]["id"] == "request.unknown-gpu"
    assert json.loads(daemon.dibs("status", "--json").stdout)["leases"] == []
