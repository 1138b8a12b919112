# SPDX-License-Identifier: MIT
"""A daemon on GPUs that NVML reports, through the real ABI of a fake libnvidia-ml.so.1."""

import os
import signal
import sqlite3
import subprocess

import pytest
from fake_nvml import Gpu, wait_ready
from harness import read_line, uid_of

# NVML's numbers for what went wrong.
NO_PERMISSION, DRIVER_NOT_LOADED, GPU_IS_LOST, RESET_REQUIRED, MISMATCH, UNKNOWN = 4, 9, 15, 16, 18, 999


def gpu_of(status, gpu):
    return next(g for g in status["gpus"] if g["uuid"] == gpu.uuid)


def wait_gpu(daemon, gpu, state, **values):
    """Waits until a GPU is in a state, and shows these values; returns it."""
    wanted = {"state": state, **values}
    status = daemon.wait_status(lambda s: any(g["uuid"] == gpu.uuid and wanted.items() <= g.items() for g in s["gpus"]))
    return gpu_of(status, gpu)


def wait_process(daemon, gpu, pid, present=True):
    """Waits until a process is, or is no more, among those of a GPU; returns the process, and the GPU."""
    def shown(status):
        return [p for p in gpu_of(status, gpu)["processes"] if p["pid"] == pid]
    status = daemon.wait_status(lambda s: bool(shown(s)) == present)
    return (shown(status) or [None])[0], gpu_of(status, gpu)


def events(daemon, *kinds):
    """The journal of these kinds, as (kind, gpu, detail)."""
    return daemon.journal("gpu", "detail", kinds=kinds)


# What is reported


def test_identity_and_metrics_are_what_nvml_reports(make_nvml):
    nvml, daemon = make_nvml(gpus=3)
    nvml.gpus[1].values.update(name="NVIDIA H100 80GB HBM3", memory="81559 600 1234", util=77, temp=65, power=350999)
    nvml.write()
    daemon.start()
    gpus = daemon.status()["gpus"]
    assert [(g["index"], g["uuid"]) for g in gpus] == [(i, gpu.uuid) for i, gpu in enumerate(nvml.gpus)]
    first, second = gpus[:2]
    assert (second["model"], second["memory_mib"], second["memory_used_mib"]) == ("NVIDIA H100 80GB HBM3", 81559, 1234)
    assert (second["utilization"], second["temperature_c"], second["power_w"]) == (77, 65, 350)
    assert (first["state"], first["reason"], first["processes"], first["leases"]) == ("free", None, [], [])
    # The number that people type follows NVML's order and not that of the device nodes.
    daemon.stop()
    with sqlite3.connect(daemon.state / "dibs.db") as db:
        rows = db.execute("SELECT uuid, number, minor, pci FROM gpu ORDER BY number").fetchall()
    db.close()
    assert rows == [(gpu.uuid, i, 7 - i, f"00000000:{i + 1:02x}:00.0") for i, gpu in enumerate(nvml.gpus)]


def test_metrics_follow_the_hardware(two):
    nvml, daemon = two
    nvml.gpus[0].values.update(util=99, memory="81920 512 40000")
    nvml.write()
    wait_gpu(daemon, nvml.gpus[0], "free", utilization=99, memory_used_mib=40000)


def test_what_the_driver_does_not_tell_is_null(make_nvml, alice):
    nvml, daemon = make_nvml(gpus=1)
    nvml.gpus[0].values.update(memory=None, util=None, temp=None, power=None, minor=None)
    nvml.write()
    daemon.start()
    gpu = daemon.status()["gpus"][0]
    metrics = ("memory_mib", "memory_used_mib", "utilization", "temperature_c", "power_w")
    assert [gpu[key] for key in metrics] == [None] * 5
    assert gpu["state"] == "free"
    assert daemon.dibs("reserve", "--short", user=alice).stdout == "0\n"
    # Nobody knows whether it has so much memory: it is not what was asked for.
    assert daemon.dibs("reserve", "--min-memory", "1G", user=alice, code=2).stderr


@pytest.mark.parametrize("variant, stride", [("current", 16), ("current", 24), ("current", 32), ("no-v3", 24),
                                             ("old", 24)])
def test_processes_are_read_from_every_driver(make_nvml, alice, variant, stride):
    nvml, daemon = make_nvml(variant=variant)
    nvml.rule("stride", stride)
    jobs = [nvml.job(nvml.gpus[0], memory=100 + i) for i in range(5)]
    daemon.start()
    processes = gpu_of(daemon.status(), nvml.gpus[0])["processes"]
    assert {p["pid"]: p["memory_mib"] for p in processes} == {job.gpu_pid: 100 + i for i, job in enumerate(jobs)}
    assert gpu_of(daemon.status(), nvml.gpus[1])["processes"] == []
    assert daemon.dibs("reserve", "--short", user=alice).stdout == "1\n"


def test_memory_of_a_process_may_be_unknown(two):
    nvml, daemon = two
    job = nvml.job(nvml.gpus[1], memory="na")
    process, _ = wait_process(daemon, nvml.gpus[1], job.gpu_pid)
    assert process["memory_mib"] is None


def test_clients_of_mps_are_processes_too(two, alice):
    nvml, daemon = two
    job = nvml.job(nvml.gpus[0], "--mps", user=alice)
    process, gpu = wait_process(daemon, nvml.gpus[0], job.gpu_pid)
    assert (process["uid"], gpu["state"]) == (uid_of(alice), "foreign")


def test_a_process_that_is_dead_is_not_on_the_gpu(make_nvml):
    nvml, daemon = make_nvml()
    child = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie
    nvml.gpus[0].lines = [f"process {child.pid} 512 compute"]
    nvml.write()
    daemon.start()
    gpu = gpu_of(daemon.status(), nvml.gpus[0])
    child.wait()
    assert (gpu["state"], gpu["processes"]) == ("free", [])


# Whose processes


def test_a_process_of_a_run_belongs_to_its_lease(two, alice):
    nvml, daemon = two
    run = daemon.popen("run", "--", nvml.programs["gpujob"], user=alice, env=nvml.environment)
    pid = wait_ready(run)
    lease = daemon.wait_leases(1, kind="run")[0]
    gpu = nvml.gpus[lease["gpus"][0]]
    (nvml.sysroot / "proc").mkdir(exist_ok=True)
    (nvml.sysroot / f"proc/{pid}").symlink_to(f"/proc/{pid}")  # where the sensor looks for commands
    daemon.wait_status(lambda s: any(p["command"].startswith("/") for p in gpu_of(s, gpu)["processes"]))
    shown = gpu_of(daemon.status(), gpu)
    assert shown["state"] == "leased" and shown["leases"] == [lease["id"]]
    process = shown["processes"][0]
    assert (process["pid"], process["uid"], process["user"], process["memory_mib"], process["lease"]) == \
        (pid, uid_of(alice), alice, 512, lease["id"])
    assert process["command"].endswith("/gpujob")
    assert alice in daemon.dibs("status").stdout


@pytest.mark.parametrize("option", ["--double-fork", "--setsid", "--fork=2"])
def test_what_leaves_the_session_of_a_run_still_belongs_to_it(two, alice, option):
    nvml, daemon = two
    if not daemon.cgroup_root:
        pytest.skip("needs a cgroup")
    run = daemon.popen("run", "--", nvml.programs["gpujob"], option, user=alice, env=nvml.environment)
    pid = wait_ready(run)
    lease = daemon.wait_leases(1, kind="run")[0]
    process, gpu = wait_process(daemon, nvml.gpus[lease["gpus"][0]], pid)
    assert process["lease"] == lease["id"] and gpu["state"] == "leased"


def test_a_process_of_the_owner_of_a_hold_belongs_to_it(two, alice):
    nvml, daemon = two
    hold = daemon.reserve("--gpu", "1", user=alice)
    job = nvml.job(nvml.gpus[1], user=alice)
    process, gpu = wait_process(daemon, nvml.gpus[1], job.gpu_pid)
    assert (process["lease"], gpu["state"], gpu["leases"]) == (hold["id"], "leased", [hold["id"]])


def test_a_process_of_somebody_else_on_a_leased_gpu_is_without_right(two, alice, bob):
    nvml, daemon = two
    hold = daemon.reserve("--gpu", "0", user=alice)
    job = nvml.job(nvml.gpus[0], user=bob)
    process, gpu = wait_process(daemon, nvml.gpus[0], job.gpu_pid)
    assert (process["lease"], gpu["state"]) == (None, "leased")
    # Released, it is in use without a lease at once, and goes to nobody.
    daemon.dibs("release", hold["id"], user=alice)
    assert gpu_of(daemon.status(), nvml.gpus[0])["state"] == "foreign"
    assert daemon.dibs("reserve", "--short", user=alice).stdout == "1\n"


def test_the_user_of_a_run_cannot_use_its_gpu_from_elsewhere(two, alice):
    nvml, daemon = two
    if not daemon.cgroup_root:
        pytest.skip("needs a cgroup")
    run = daemon.popen("run", "--gpu", "0", "--", nvml.programs["gpujob"], user=alice, env=nvml.environment)
    wait_ready(run)
    outside = nvml.job(nvml.gpus[0], user=alice)
    process, _ = wait_process(daemon, nvml.gpus[0], outside.gpu_pid)
    assert process["lease"] is None


def test_without_cgroups_the_user_decides(make_nvml, alice, bob):
    nvml, daemon = make_nvml(user=alice, cgroups=False)
    daemon.start()
    run = daemon.popen("run", "--gpu", "0", "--", nvml.programs["gpujob"], user=alice, env=nvml.environment)
    pid = wait_ready(run)
    lease = daemon.wait_leases(1, kind="run")[0]
    other = nvml.job(nvml.gpus[0], user=bob)
    process, _ = wait_process(daemon, nvml.gpus[0], pid)
    foreign, _ = wait_process(daemon, nvml.gpus[0], other.gpu_pid)
    assert (process["uid"], process["lease"]) == (uid_of(alice), lease["id"])
    assert (foreign["uid"], foreign["lease"]) == (uid_of(bob), None)


def test_foreign_use_is_avoided_and_ends_with_its_process(two, alice, bob):
    nvml, daemon = two
    job = nvml.job(nvml.gpus[0], user=bob)
    gpu = wait_gpu(daemon, nvml.gpus[0], "foreign")
    assert gpu["reason"] and gpu["processes"][0]["lease"] is None
    assert daemon.dibs("reserve", "--short", user=alice).stdout == "1\n"
    refused = daemon.dibs("reserve", "--no-wait", user=alice, code=4)
    assert "without a lease" in refused.stderr or bob in refused.stderr, refused.stderr
    waiting = daemon.popen("reserve", "--short", user=alice)
    named = daemon.popen("run", "--gpu", "0", "--wait", "20s", "--", "/bin/echo", "ran", user=alice)
    daemon.wait_leases(2, state="waiting")
    job.kill()
    job.wait()
    assert read_line(waiting.stdout) == "0\n"
    daemon.dibs("release", "--gpu", "0", user=alice)
    assert read_line(named.stdout) == "ran\n"
    daemon.wait_status(lambda s: gpu_of(s, nvml.gpus[0])["state"] == "free")


def test_force_takes_what_is_in_use_without_a_lease(two, alice, bob):
    nvml, daemon = two
    job = nvml.job(nvml.gpus[0], user=bob)
    wait_gpu(daemon, nvml.gpus[0], "foreign")
    hold = daemon.reserve("--gpu", "0", "--force", user=alice)
    gpu = gpu_of(daemon.status(), nvml.gpus[0])
    assert (gpu["state"], gpu["leases"]) == ("leased", [hold["id"]])
    assert [(p["pid"], p["lease"]) for p in gpu["processes"]] == [(job.gpu_pid, None)]
    assert job.poll() is None


def test_what_goes_on_after_its_hold_is_foreign_at_once(two, alice, bob):
    """Not one sample later: the next in the queue would get a GPU that is in use."""
    nvml, daemon = two
    hold, other = daemon.reserve("--gpu", "0", user=alice), daemon.reserve("--gpu", "1", user=alice)
    job = nvml.job(nvml.gpus[0], user=alice)
    wait_process(daemon, nvml.gpus[0], job.gpu_pid)
    waiting = daemon.popen("reserve", "--short", user=bob)
    daemon.wait_leases(1, state="waiting")
    daemon.dibs("release", hold["id"], user=alice)
    gpu = gpu_of(daemon.status(), nvml.gpus[0])
    assert (gpu["state"], gpu["leases"], gpu["processes"][0]["lease"]) == ("foreign", [], None)
    daemon.dibs("release", other["id"], user=alice)
    assert read_line(waiting.stdout) == "1\n"


def test_children_that_outlive_a_run_without_cgroups_are_foreign(make_nvml, alice):
    nvml, daemon = make_nvml(user=alice, cgroups=False)
    daemon.start()
    run = daemon.popen("run", "--gpu", "0", "--", "/bin/sh", "-c", '"$0" --double-fork; read line',
                       nvml.programs["gpujob"], user=alice, env=nvml.environment, stdin=subprocess.PIPE)
    pid = wait_ready(run)
    try:
        process, gpu = wait_process(daemon, nvml.gpus[0], pid)
        assert (process["lease"], gpu["state"]) == (gpu["leases"][0], "leased")
        run.stdin.close()
        run.stdin = None
        daemon.wait_leases(0, kind="run")
        assert gpu_of(daemon.status(), nvml.gpus[0])["state"] == "foreign"
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_hold_covers_what_its_owner_already_runs(two, alice):
    """Somebody starts first and reserves afterwards: --force, and the use is theirs."""
    nvml, daemon = two
    job = nvml.job(nvml.gpus[0], user=alice)
    wait_gpu(daemon, nvml.gpus[0], "foreign")
    hold = daemon.reserve("--gpu", "0", "--force", user=alice)
    gpu = gpu_of(daemon.status(), nvml.gpus[0])
    assert [(p["pid"], p["lease"]) for p in gpu["processes"]] == [(job.gpu_pid, hold["id"])]


# GPUs that fail


def test_a_gpu_is_lost_under_a_run_and_comes_back(two, alice, bob):
    nvml, daemon = two
    gpu = nvml.gpus[0]
    run = daemon.popen("run", "--gpu", "0", "--", "/bin/sh", "-c", "echo up; read line; echo $line", user=alice,
                       stdin=subprocess.PIPE)
    assert read_line(run.stdout) == "up\n"
    lease = daemon.wait_leases(1, kind="run")[0]
    nvml.fail(gpu, GPU_IS_LOST)
    shown = wait_gpu(daemon, gpu, "lost")
    assert "fallen off the bus" in shown["reason"] and shown["leases"] == [lease["id"]]
    assert shown["memory_mib"] == 81920
    assert "lost" in daemon.dibs("status").stdout
    assert "1 of 2 GPUs lost: the GPU has fallen off the bus" in daemon.dibs("doctor", code=1).stdout
    assert daemon.lease(lease["id"])["state"] == "active" and run.poll() is None
    run.stdin.write(b"on\n")
    assert read_line(run.stdout) == "on\n"
    daemon.wait_leases(0, kind="run")
    assert daemon.dibs("reserve", "--no-wait", "--gpu", "0", user=bob, code=4).stderr
    assert daemon.dibs("reserve", "--short", user=bob).stdout == "1\n"
    waiting = daemon.popen("reserve", "--short", user=bob)
    daemon.wait_leases(1, state="waiting")
    nvml.fail(gpu, None)
    wait_gpu(daemon, gpu, "draining")
    daemon.dibs("admin", "undrain", "0")
    assert read_line(waiting.stdout) == "0\n"
    lost, back = events(daemon, "gpu-lost", "gpu-back")
    assert lost[:2] == ("gpu-lost", gpu.uuid) and "fallen off the bus" in lost[2]
    assert back[:2] == ("gpu-back", gpu.uuid)


def test_a_gpu_vanishes_from_the_count(make_nvml, alice, bob):
    """The others are numbered anew, and what is leased stays with whom it was leased to."""
    nvml, daemon = make_nvml(gpus=3)
    daemon.start()
    first, second = daemon.reserve("--gpu", "0", user=alice), daemon.reserve("--gpu", "1", user=alice)
    gone, left, free = nvml.gpus
    nvml.gpus = [left, free]
    nvml.write()
    shown = wait_gpu(daemon, gone, "lost")
    assert shown["reason"] and shown["leases"] == [first["id"]]
    wait_gpu(daemon, left, "leased", index=0, leases=[second["id"]])
    assert daemon.dibs("reserve", "--gpu", left.uuid, "--no-wait", user=bob, code=4)
    assert daemon.dibs("reserve", "--gpu", gone.uuid, "--no-wait", user=bob, code=4)
    # The number 0 now is that of the GPU that is there; it is not free.
    assert daemon.dibs("reserve", "--gpu", "0", "--no-wait", user=bob, code=4)
    assert daemon.reserve("--gpu", "1", user=bob)["gpus"] == [1]
    wait_gpu(daemon, free, "leased")
    daemon.dibs("release", first["id"], user=alice)
    daemon.dibs("reserve", "--no-wait", user=bob, code=4)
    nvml.gpus = [gone, left, free]
    nvml.write()
    wait_gpu(daemon, gone, "free", index=0)
    wait_gpu(daemon, left, "leased", index=1, leases=[second["id"]])
    assert [e[:2] for e in events(daemon, "gpu-lost", "gpu-back")] == [("gpu-lost", gone.uuid), ("gpu-back", gone.uuid)]


def test_a_gpu_appears(two, alice):
    nvml, daemon = two
    daemon.dibs("reserve", "-g", 3, user=alice, code=2)
    daemon.reserve("-g", 2, user=alice)
    waiting = daemon.popen("reserve", "--short", user=alice)
    daemon.wait_leases(1, state="waiting")
    nvml.gpus.append(Gpu(2))
    nvml.write()
    assert read_line(waiting.stdout) == "2\n"
    assert len(events(daemon, "gpu-seen")) == 3


@pytest.mark.parametrize("result", [RESET_REQUIRED, UNKNOWN])
def test_a_gpu_that_answers_with_a_fault_is_not_handed_out(two, alice, result):
    nvml, daemon = two
    nvml.fail(nvml.gpus[0], result, "nvmlDeviceGetUtilizationRates")
    assert wait_gpu(daemon, nvml.gpus[0], "lost")["reason"]
    assert daemon.dibs("reserve", "--short", user=alice).stdout == "1\n"
    nvml.fail(nvml.gpus[0], None)
    wait_gpu(daemon, nvml.gpus[0], "free", reason=None)


def test_a_call_that_is_not_permitted_is_no_fault(two, alice):
    nvml, daemon = two
    nvml.fail(nvml.gpus[0], NO_PERMISSION, "nvmlDeviceGetUtilizationRates")
    wait_gpu(daemon, nvml.gpus[0], "free", utilization=None)
    assert len(daemon.reserve("-g", "2", user=alice)["gpus"]) == 2


@pytest.mark.parametrize("result, word", [(MISMATCH, "versions"), (DRIVER_NOT_LOADED, "not loaded")])
def test_the_driver_goes_away_and_comes_back(two, alice, result, word):
    nvml, daemon = two
    hold = daemon.reserve("--gpu", "0", user=alice)
    nvml.rule("return", "*", result)
    gpu = wait_gpu(daemon, nvml.gpus[0], "lost")
    assert word in gpu["reason"] and gpu["leases"] == [hold["id"]]
    wait_gpu(daemon, nvml.gpus[1], "lost")
    daemon.dibs("reserve", "--no-wait", user=alice, code=4)
    assert daemon.lease(hold["id"])["state"] == "active"
    nvml.clear_rules()
    wait_gpu(daemon, nvml.gpus[0], "leased")
    wait_gpu(daemon, nvml.gpus[1], "free")
    assert daemon.dibs("reserve", "--short", user=alice).stdout == "1\n"
    kinds = [e[0] for e in events(daemon, "gpu-lost", "gpu-back")]
    assert kinds == ["gpu-lost", "gpu-lost", "gpu-back", "gpu-back"]


def test_modules_are_removed_and_loaded_again(two):
    nvml, daemon = two
    nvml.unload()
    assert "not loaded" in wait_gpu(daemon, nvml.gpus[0], "lost")["reason"]
    nvml.write()
    wait_gpu(daemon, nvml.gpus[0], "free")


# No GPUs


@pytest.mark.parametrize("trouble", ["no library", "no driver", "mismatch"])
def test_a_machine_without_a_usable_driver_is_served(make_nvml, alice, trouble):
    nvml, daemon = make_nvml(variant=None if trouble == "no library" else "current")
    if trouble == "no driver":
        nvml.unload()
    elif trouble == "mismatch":
        nvml.rule("return", "*", MISMATCH)
    daemon.start()
    log = daemon.drain_log()
    assert "cannot read any GPU: " in log and "0 GPUs" in log
    word = {"no library": "libnvidia-ml.so.1", "no driver": "not loaded", "mismatch": "versions"}[trouble]
    assert word in log
    assert daemon.status()["gpus"] == []
    assert "GPU" in daemon.dibs("status").stdout
    for request in (["reserve"], ["run", "--", "true"], ["reserve", "--gpu", "0"], ["reserve", "--type", "A100"]):
        refused = daemon.dibs(*request, user=alice, code=2)
        assert "machine has 0" in refused.stderr or "machine has no GPUs" in refused.stderr, refused.stderr
    doctor = daemon.dibs("doctor", code=None)
    assert "0 GPUs" in doctor.stdout and "sensor" in doctor.stdout


def test_gpus_of_a_driver_that_comes_later_are_used(make_nvml, alice):
    nvml, daemon = make_nvml()
    nvml.unload()
    daemon.start()
    assert daemon.status()["gpus"] == []
    nvml.write()
    for gpu in nvml.gpus:
        daemon.wait_status(lambda s: any(g["uuid"] == gpu.uuid and g["state"] == "free" for g in s["gpus"]))
    assert daemon.dibs("reserve", "--short", "-g", "2", user=alice).stdout == "0,1\n"
    assert events(daemon, "gpu-lost", "gpu-back") == []


# Between two starts


def test_gpus_taken_out_are_forgotten_unless_leased_or_drained(make_nvml, alice):
    nvml, daemon = make_nvml(gpus=4)
    daemon.start()
    stays, leased, drained, unplugged = nvml.gpus
    hold = daemon.reserve("--gpu", "1", user=alice)
    daemon.dibs("admin", "drain", "2", "--reason", "fan")
    daemon.stop()
    nvml.gpus = [stays]
    nvml.write()
    daemon.start()
    assert unplugged.uuid in daemon.drain_log()
    shown = {g["uuid"]: g for g in daemon.status()["gpus"]}
    assert shown.keys() == {gpu.uuid for gpu in (stays, leased, drained)}
    assert (shown[stays.uuid]["state"], shown[leased.uuid]["state"], shown[drained.uuid]["state"]) == \
        ("free", "lost", "lost")
    assert shown[leased.uuid]["leases"] == [hold["id"]]
    # The next start knows no more than this one, and drained GPUs stay so when they are back.
    nvml.gpus = [stays, leased, drained]
    nvml.write()
    daemon.restart()
    shown = {g["uuid"]: g for g in daemon.status()["gpus"]}
    assert shown.keys() == {gpu.uuid for gpu in (stays, leased, drained)}
    assert shown[drained.uuid]["state"] == "draining" and shown[drained.uuid]["reason"] == "fan"
    assert shown[leased.uuid]["state"] == "leased"


def test_a_driver_that_is_not_there_at_the_start_forgets_nothing(make_nvml, alice):
    nvml, daemon = make_nvml()
    daemon.start()
    hold = daemon.reserve("--gpu", "1", user=alice)
    daemon.stop()
    nvml.unload()
    daemon.start()
    assert [g["state"] for g in daemon.status()["gpus"]] == ["lost", "lost"]
    daemon.dibs("reserve", "--no-wait", user=alice, code=4)
    assert daemon.lease(hold["id"])["state"] == "active"
    nvml.write()
    wait_gpu(daemon, nvml.gpus[0], "free")
    wait_gpu(daemon, nvml.gpus[1], "leased", leases=[hold["id"]])


def test_a_lease_survives_a_new_numbering_between_two_starts(make_nvml, alice):
    nvml, daemon = make_nvml(gpus=3)
    daemon.start()
    hold = daemon.reserve("--gpu", "0", user=alice)
    daemon.kill()
    nvml.gpus.reverse()
    nvml.write()
    daemon.start()
    assert [g["uuid"] for g in daemon.status()["gpus"]] == [gpu.uuid for gpu in nvml.gpus]
    assert daemon.lease(hold["id"])["gpus"] == [2]
    assert gpu_of(daemon.status(), nvml.gpus[2])["leases"] == [hold["id"]]
