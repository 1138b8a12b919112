# SPDX-License-Identifier: MIT
"""Who uses a GPU without a lease for it: by which rule, in the journal, and told to the hook; and whose a pid is."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from fake_nvml import wait_ready
from harness import DEADLINE, cgroup2_mount, demote, process_with_pid, read_line, uid_of, wait_exit
from site_sensor import Device, SiteSensor
from test_hook import Hook
from test_nvml import wait_gpu, wait_process

pytestmark = pytest.mark.skipif(cgroup2_mount() is None, reason="no cgroup v2 here")

SLEEP = "/usr/bin/sleep"
KINDS = ("foreign", "foreign-ended")


@pytest.fixture
def directory(base_directory):
    path = Path(tempfile.mkdtemp(dir=base_directory))
    path.chmod(0o777)
    return path


@pytest.fixture
def hook(directory):
    made = Hook(directory)
    made.write('printf "%s\\n" "$(cat)" >NEWS')
    yield made
    made.reader.close()


@pytest.fixture
def spawn():
    """spawn(command, user) starts a program that is killed at the end."""
    made = []

    def start(command, user=None, **options):
        made.append(subprocess.Popen(list(map(str, command)), preexec_fn=demote(user), cwd="/", bufsize=0,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options))
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def journal(daemon):
    """Foreign use as (kind, uid, gpu, lease, detail)."""
    return daemon.journal("uid", "gpu", "lease", "detail", kinds=KINDS)


def told(hook, kind, never=()):
    """The next event of that kind that the hook was told; none of those kinds may come before."""
    while True:
        event = json.loads(read_line(hook.reader))["event"]
        if event["kind"] == kind:
            return event
        assert event["kind"] not in never, event


def test_by_which_rule_and_what_is_told(make_nvml, hook, alice, bob, carol):
    nvml, daemon = make_nvml(gpus=4, config=f"[guard]\nmode = watch\n{hook.config()}")
    daemon.start()
    hold = daemon.reserve("--gpu", "0", user=alice)["id"]
    run = daemon.popen("run", "--gpu", "1", "--", nvml.programs["gpujob"], user=bob, env=nvml.environment)
    member = wait_ready(run)
    run_id = daemon.wait_leases(1, kind="run")[0]["id"]
    cases = [(3, carol, "no_lease", None, "has no lease"), (0, carol, "anothers", hold, "leased to somebody else"),
             (2, alice, "wrong_gpu", None, "has a lease for other GPUs"), (1, bob, "outside", run_id, "no part of")]
    jobs = [nvml.job(nvml.gpus[gpu], user=user) for gpu, user, *_ in cases]
    events = {event["gpu"]: event for event in (told(hook, "foreign") for _ in cases)}
    for job, (gpu, user, standing, lease, words) in zip(jobs, cases):
        process, shown = wait_process(daemon, nvml.gpus[gpu], job.gpu_pid)
        assert (process["standing"], process["uid"], process["lease"]) == (standing, uid_of(user), None)
        assert shown["state"] == ("leased" if lease else "foreign")
        event = events[nvml.gpus[gpu].uuid]
        assert (event["uid"], event["lease"]) == (uid_of(user), lease), event
        assert words in event["detail"] and f"process {job.gpu_pid} (" in event["detail"]
    inside, _ = wait_process(daemon, nvml.gpus[1], member)
    assert (inside["standing"], inside["lease"]) == ("lease", run_id)
    # Two processes are one use, and nobody was harmed.
    jobs.append(nvml.job(nvml.gpus[3], user=carol))
    wait_process(daemon, nvml.gpus[3], jobs[-1].gpu_pid)
    assert [job.poll() for job in jobs] == [None] * len(jobs)
    begun = sorted(row[:3] for row in journal(daemon))
    assert begun == sorted(("foreign", uid_of(user), nvml.gpus[gpu].uuid) for gpu, user, *_ in cases)
    # It keeps the GPUs from others, until it ends.
    daemon.dibs("reserve", "--no-wait", user=carol, code=4)
    daemon.dibs("release", hold, user=alice)
    waiting = daemon.popen("reserve", "--gpu", "0", "--short", user=bob)
    daemon.wait_leases(1, state="waiting")
    for job in jobs:
        job.kill()
        job.wait()
    assert read_line(waiting.stdout) == "0\n"
    ended = [told(hook, "foreign-ended") for _ in cases]
    assert {(e["uid"], e["gpu"]) for e in ended} == {row[1:] for row in begun}
    assert sorted(kind for kind, *_ in journal(daemon)) == ["foreign"] * 4 + ["foreign-ended"] * 4


def test_many_short_programs_are_one_use(make_nvml, hook, bob, carol):
    nvml, daemon = make_nvml(gpus=1, config=hook.config())
    daemon.start()
    for _ in range(2):
        job = nvml.job(nvml.gpus[0], user=bob)
        wait_process(daemon, nvml.gpus[0], job.gpu_pid)
        job.kill()
        job.wait()
        wait_gpu(daemon, nvml.gpus[0], "free")
    assert [row[:2] for row in journal(daemon)] == [("foreign", uid_of(bob))]
    # The guard is off: nobody is told. What comes later is.
    daemon.dibs("admin", "guard", "watch")
    told(hook, "guard", never=KINDS)
    job = nvml.job(nvml.gpus[0], user=carol)
    assert told(hook, "foreign")["uid"] == uid_of(carol)


def test_what_uses_little_memory_is_no_use(make_nvml, alice, bob):
    nvml, daemon = make_nvml(gpus=3, config="[foreign]\nmin-memory = 100M\n")
    daemon.start()
    small, enough, unknown = (nvml.job(gpu, user=bob, memory=memory)
                              for gpu, memory in zip(nvml.gpus, (99, 100, "na")))
    standings = [wait_process(daemon, gpu, job.gpu_pid)[0]["standing"]
                 for gpu, job in zip(nvml.gpus, (small, enough, unknown))]
    assert standings == ["ignored", "no_lease", "no_lease"]
    assert [g["state"] for g in daemon.status()["gpus"]] == ["free", "foreign", "foreign"]
    assert daemon.dibs("reserve", "--short", user=alice).stdout == "0\n"
    # Of the holder it counts, however small.
    own = nvml.job(nvml.gpus[0], user=alice, memory=1)
    assert wait_process(daemon, nvml.gpus[0], own.gpu_pid)[0]["standing"] == "lease"
    assert [row[2] for row in journal(daemon)] == [gpu.uuid for gpu in nvml.gpus[1:]]


def shown_as(daemon, nvml, process, standing):
    """Puts a process on the GPU and waits until it is seen there, by that rule."""
    nvml.gpus[0].lines = [f"process {process.pid} 512 compute"]
    nvml.write()

    def is_so(status):
        return [p["standing"] for p in status["gpus"][0]["processes"] if p["pid"] == process.pid] == [standing]
    daemon.wait_status(is_so)


def test_programs_of_the_system_are_ignored_by_name(make_nvml, directory, spawn, alice, bob):
    nvml, daemon = make_nvml(gpus=1, config="[foreign]\nignore = Xorg,sleep,dash\n")
    daemon.start()
    own = directory / "sleep"
    shutil.copy(SLEEP, own)
    own.chmod(0o755)
    os.chown(own, uid_of(bob), -1)
    shown_as(daemon, nvml, spawn([SLEEP, "1000"], bob), "ignored")
    assert daemon.status()["gpus"][0]["state"] == "free"
    # Neither what they call it, nor where they have it, makes one of it that is no such program.
    shown_as(daemon, nvml, spawn([own, "1000"], bob), "no_lease")
    shown_as(daemon, nvml, spawn(["/bin/bash", "-c", 'exec -a /usr/bin/sleep "$0" 1000', own], bob), "no_lease")
    os.chown(own, 0, 0)
    shown_as(daemon, nvml, spawn([own, "1000"], bob), "no_lease")
    os.link(own, directory / "Xorg")
    shown_as(daemon, nvml, spawn([directory / "Xorg", "1000"], bob), "no_lease")
    assert [row[:2] for row in journal(daemon)] == [("foreign", uid_of(bob))]


def test_a_file_mounted_over_a_program_of_the_system_is_not_it(make_nvml, directory, spawn, bob):
    nvml, daemon = make_nvml(gpus=1, config="[foreign]\nignore = sleep\n")
    daemon.start()
    own = directory / "own"
    shutil.copy(SLEEP, own)
    own.chmod(0o755)
    script = f'mount --bind {own} {SLEEP} && echo up && exec {SLEEP} 1000'
    process = spawn(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script], bob)
    if read_line(process.stdout) != "up\n":
        pytest.skip("users may not make mount namespaces here")
    shown_as(daemon, nvml, process, "no_lease")
    assert os.readlink(f"/proc/{process.pid}/exe") == SLEEP


def test_a_program_that_becomes_another_is_that_one(make_nvml, directory, spawn, bob):
    nvml, daemon = make_nvml(gpus=1, config="[foreign]\nignore = dash\n")
    daemon.start()
    own = directory / "own"
    shutil.copy(SLEEP, own)
    own.chmod(0o755)
    process = spawn(["/bin/sh", "-c", f"read line; exec {own} 1000"], bob)
    assert os.path.basename(os.readlink(f"/proc/{process.pid}/exe")) == "dash"
    shown_as(daemon, nvml, process, "ignored")
    process.stdin.write(b"go\n")
    shown_as(daemon, nvml, process, "no_lease")


def test_the_list_of_ignored_programs_follows_the_configuration(make_nvml, spawn, bob):
    nvml, daemon = make_nvml(gpus=1, config="[foreign]\nignore = sleep\n")
    daemon.start()
    process = spawn([SLEEP, "1000"], bob)
    shown_as(daemon, nvml, process, "ignored")
    for ignore, standing in (("cat", "no_lease"), ("cat,sleep", "ignored")):
        daemon.write_config(f"[foreign]\nignore = {ignore}\n")
        daemon.process.send_signal(signal.SIGHUP)
        shown_as(daemon, nvml, process, standing)


# Pids that are used again


def test_a_recycled_pid_has_no_right_from_the_dead_one(make_nvml, spawn, alice, bob):
    nvml, daemon = make_nvml(gpus=1)
    daemon.start()
    daemon.reserve("--gpu", "0", user=alice)
    process = spawn([SLEEP, "1000"], alice)
    shown_as(daemon, nvml, process, "lease")
    process.kill()
    process.wait()
    with process_with_pid(process.pid, bob):
        shown_as(daemon, nvml, process, "anothers")
        assert [row[:2] for row in journal(daemon)] == [("foreign", uid_of(bob))]


def test_a_recycled_pid_is_no_part_of_the_run(make_nvml, alice):
    nvml, daemon = make_nvml(gpus=1)
    daemon.start()
    run = daemon.popen("run", "--", "/bin/sh", "-c", "sleep 1000 & echo $!; wait; read line", user=alice,
                       stdin=subprocess.PIPE)
    pid = int(read_line(run.stdout))
    nvml.gpus[0].lines = [f"process {pid} 512 compute"]
    nvml.write()
    process, _ = wait_process(daemon, nvml.gpus[0], pid)
    assert process["standing"] == "lease"
    os.kill(pid, signal.SIGKILL)
    wait_exit(pid)
    with process_with_pid(pid, alice):
        daemon.wait_status(lambda s: [p["standing"] for p in s["gpus"][0]["processes"]] == ["outside"])


@pytest.fixture
def device():
    made = Device()
    yield made
    made.close()


@pytest.fixture
def make_site(make_daemon, directory, device):
    """make_site(config) gives a SiteSensor whose first GPU has that device, and does not list processes; and a Daemon
    that is not started yet."""
    def make(config=""):
        site = SiteSensor(directory, 2)
        site.tell(0, nodes=[device.node], processes=None)
        guard = f"[guard]\ndevice-majors = {device.major}\n{config}"
        return site, make_daemon(sim=None, config=f"{site.config}[lease]\nkill-grace = 1s\n{guard}")
    return make


def test_a_recycled_pid_is_not_signalled(make_site, device, sessions, alice, bob):
    _, daemon = make_site(f"mode = deny\nsession-cgroups = {sessions.path}\n")
    daemon.start()
    hold = daemon.reserve("--gpu", "0", user=alice)["id"]
    holder = sessions.opener(alice)
    assert holder.ask(f"open {device.path}") == "0" and holder.ask("ignore SIGTERM") == "0"
    daemon.dibs("release", hold, user=alice)
    end = time.monotonic() + DEADLINE
    while "revoked" not in [event["kind"] for event in daemon.lease(hold)["events"]]:
        assert time.monotonic() < end
    # It was asked to end, and will be killed in a second; until then the daemon sees nothing.
    assert holder.alive()
    daemon.process.send_signal(signal.SIGSTOP)
    holder.process.kill()
    holder.process.wait()
    with process_with_pid(holder.pid, bob):
        daemon.process.send_signal(signal.SIGCONT)
        daemon.wait_status(lambda s: s["gpus"][0]["state"] == "free")
        assert os.waitpid(holder.pid, os.WNOHANG) == (0, 0)


# GPUs that do not list their processes


def standings(openers):
    """What the first GPU shows of these."""
    pids = [opener.pid for opener in openers]
    return lambda status: [p["standing"] for p in sorted(status["gpus"][0]["processes"], key=lambda p: p["pid"])
                           if p["pid"] in pids]


def test_who_has_the_device_open_uses_the_gpu(make_site, device, sessions, alice, bob):
    site, daemon = make_site()
    openers = [sessions.opener(alice), sessions.opener(bob)]
    for opener in openers:
        assert opener.ask(f"open {device.path}") == "0"
    daemon.start()
    seen = standings(openers)
    status = daemon.wait_status(lambda s: seen(s) == ["no_lease", "no_lease"])
    gpu = status["gpus"][0]
    assert gpu["state"] == "foreign"
    assert {(p["pid"], p["uid"], p["memory_mib"]) for p in gpu["processes"]} == {
        (opener.pid, uid_of(user), None) for opener, user in zip(openers, (alice, bob))}
    assert all(p["command"] for p in gpu["processes"])
    assert status["gpus"][1]["state"] == "free"
    # Whose they are is known at once when a lease begins.
    hold = daemon.reserve("--gpu", "0", "--force", user=alice)["id"]
    assert sorted(seen(daemon.status())) == ["anothers", "lease"]
    openers[0].close()
    assert openers[1].ask("close") == "0"
    daemon.wait_status(lambda s: s["gpus"][0]["processes"] == [])
    daemon.dibs("release", hold, user=alice)
    assert daemon.status()["gpus"][0]["state"] == "free"
    assert {row[:2] for row in journal(daemon)} == {("foreign", uid_of(alice)), ("foreign", uid_of(bob))}
    # Told by the sensor from now on, and then not any more.
    assert openers[1].ask(f"open {device.path}") == "0"
    site.tell(0, processes=[])
    daemon.wait_status(lambda s: s["gpus"][0]["processes"] == [])
