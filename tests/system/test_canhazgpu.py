# SPDX-License-Identifier: MIT
"""Failures of canhazgpu, the tool that many come from, that could exist here as well.

The numbers are those of the list of its proved failure modes. These cannot exist here:

 5  busy GPUs looked up before the lock is taken: one process decides, on what it knows at that moment
23  any user can write the database: it is a file of the daemon's; test_bug_23 checks its permissions
27  HTML of users in web pages: there are none

24 (holds in another's name), 26 (options smuggled into ssh) and 28 (wrong sums in the report) are in test_canhazgpu_face.py.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
from harness import DEADLINE, cgroup2_mount, read_line, wait_exit

needs_cgroup = pytest.mark.skipif(not cgroup2_mount(), reason="no cgroup v2")


def waiting(daemon, user, *options):
    """A hold that waits in the background."""
    n = len(daemon.leases(state="waiting"))
    process = daemon.popen("reserve", "--short", *options, user=user)
    daemon.wait_leases(n + 1, state="waiting")
    return process


def raw_until(daemon, lease_id):
    with daemon.varlink() as link:
        return link.call("org.dibs.Show", {"id": lease_id})["parameters"]["lease"]["until"]


def test_bug_01_a_waiter_holds_nothing_that_others_could_lose_to_it(make_daemon, alice, bob, carol):
    daemon = make_daemon(sim="2xA100-80G").start()
    daemon.reserve("--gpu", "0", "-d", "2s", user=alice)
    first = daemon.reserve("--gpu", "1", user=alice)["id"]
    waiter = waiting(daemon, carol, "-g", "2", "-d", "5s")
    bobs = daemon.reserve("--gpu", "0", "-d", "1s", "--wait", "5s", user=bob)  # fits before the second comes back
    until = raw_until(daemon, bobs["id"])
    daemon.dibs("release", first, user=alice)
    assert waiter.poll() is None
    assert raw_until(daemon, bobs["id"]) == until
    assert waiter.communicate(timeout=DEADLINE)[0] == b"0,1\n"
    assert daemon.lease(bobs["id"])["end"] == "expired"


def test_bug_02_decisions_do_not_wait_for_slow_hardware(daemon, alice, bob, carol):
    [sensor] = [int(pid) for pid in
                Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split()]
    os.kill(sensor, signal.SIGSTOP)
    began = time.monotonic()
    processes = [daemon.popen("reserve", "--short", "--no-wait", user=(alice, bob, carol)[i % 3]) for i in range(12)]
    outs = [process.communicate(timeout=DEADLINE)[0] for process in processes]
    assert time.monotonic() - began < 5
    os.kill(sensor, signal.SIGCONT)
    assert sorted(out for out in outs if out) == [b"%d\n" % i for i in range(8)]


def test_bug_03_what_was_released_is_not_resurrected(daemon, alice, bob):
    hold = daemon.reserve("-d", "1h", user=alice)["id"]
    extending = [daemon.popen("extend", hold, "1s", user=alice) for _ in range(10)]
    releasing = daemon.popen("release", hold, user=alice)
    extending += [daemon.popen("extend", hold, "1s", user=alice) for _ in range(10)]
    assert {process.wait(DEADLINE) for process in extending} <= {0, 2}
    assert releasing.wait(DEADLINE) == 0
    assert daemon.leases() == []
    events = [event["kind"] for event in daemon.lease(hold)["events"]]
    assert events[0] == "granted" and events[-1] == "ended" and set(events[1:-1]) <= {"extended"}


def test_bug_04_who_leaves_the_queue_takes_nothing_from_others(daemon, alice, bob, carol):
    daemon.reserve("-g", "7", user=alice)
    waiter = waiting(daemon, bob, "-g", "2")
    daemon.reserve("--gpu", "7", "-d", "1s", "--no-wait", user=carol)
    before = daemon.leases(state="active")
    waiter.kill()
    daemon.wait_leases(0, state="waiting")
    assert daemon.leases(state="active") == before


def test_bug_06_gpu_of_unknown_memory_is_neither_dropped_nor_free_of_what_runs_there(make_nvml, alice, bob):
    nvml, daemon = make_nvml()
    nvml.gpus[0].values["memory"] = None
    nvml.write()
    daemon.start()
    job = nvml.job(nvml.gpus[0], user=bob)
    daemon.wait_status(lambda s: s["gpus"][0]["state"] == "foreign")
    assert len(daemon.status()["gpus"]) == 2
    assert daemon.reserve(user=alice)["gpus"] == [1]
    assert "without a lease" in daemon.dibs("reserve", "--gpu", "0", "--no-wait", user=alice, code=4).stderr
    job.kill()


def test_bug_07_foreign_use_of_a_leased_gpu_is_shown(make_nvml, alice, bob):
    nvml, daemon = make_nvml()
    daemon.start()
    daemon.reserve("--gpu", "0", user=alice)
    nvml.job(nvml.gpus[0], user=bob)
    daemon.wait_status(lambda s: s["gpus"][0]["processes"])
    [process] = daemon.status()["gpus"][0]["processes"]
    assert (process["user"], process["lease"]) == (bob, None)
    assert bob in daemon.dibs().stdout


def test_bug_08_cuda_counts_gpus_as_dibs_does(daemon, alice):
    out = daemon.dibs("run", "--visible", "index", "--gpu", "3", "--", "sh", "-c",
                      "echo $CUDA_DEVICE_ORDER $CUDA_VISIBLE_DEVICES", user=alice).stdout
    assert out == "PCI_BUS_ID 3\n"


@pytest.mark.parametrize("options", [["-g", "9"], ["--gpu", "99"], ["--gpu", "1,1"], ["-g=-1"], ["--gpus=-1"],
                                     ["--gpu", "0,1", "-g", "3"], ["-g", "0"]])
def test_bug_09_impossible_requests_are_refused_at_once(daemon, alice, bob, options):
    busy = daemon.reserve(user=bob)["id"]
    for verb in (["reserve", *options], ["run", *options, "--", "true"]):
        assert daemon.dibs(*verb, user=alice, code=2).stdout == ""
    assert [lease["id"] for lease in daemon.leases()] == [busy]


def test_bug_10_newcomers_do_not_take_what_the_head_of_the_queue_waits_for(daemon, alice, bob, carol):
    hold = daemon.reserve("-g", "7", user=alice)["id"]
    head = waiting(daemon, bob, "-g", "8")
    assert daemon.dibs("reserve", "--no-wait", "-d", "7d", user=carol, code=4).stdout == ""
    daemon.dibs("release", hold, user=alice)
    assert head.communicate(timeout=DEADLINE)[0] == b"0,1,2,3,4,5,6,7\n"


def test_bug_11_stopped_waiter_keeps_its_place(daemon, alice, bob, carol):
    hold = daemon.reserve("-g", "8", user=alice)["id"]
    first = waiting(daemon, bob)
    second = waiting(daemon, carol, "-g", "8")
    first.send_signal(signal.SIGSTOP)
    daemon.dibs("release", hold, user=alice)
    daemon.wait_leases(1, state="active")
    first.send_signal(signal.SIGCONT)
    assert first.communicate(timeout=DEADLINE)[0] == b"0\n"
    assert second.poll() is None


def test_bug_12_hang_up_of_a_waiter_leaves_nothing(daemon, alice, bob):
    daemon.reserve("-g", "7", user=alice)
    waiter = waiting(daemon, bob, "-g", "2")
    waiter.send_signal(signal.SIGHUP)
    daemon.wait_leases(0, state="waiting", deadline=5)
    assert [gpu["state"] for gpu in daemon.status()["gpus"]].count("free") == 1


def test_bug_13_typing_error_leaks_no_gpu(daemon, alice):
    assert "command not found" in daemon.dibs("run", "--", "no_such_cmd", user=alice, code=127).stderr
    assert all(gpu["state"] == "free" for gpu in daemon.status()["gpus"])


@needs_cgroup
def test_bug_14_setuid_command_keeps_its_lease(daemon, base_directory, alice):
    sudo = base_directory / "sudo-14"
    shutil.copy(shutil.which("setpriv"), sudo)
    sudo.chmod(0o4755)
    process = daemon.popen("run", "--", sudo, "--reuid", "0", "--clear-groups", "sh", "-c", "echo up; exec sleep 1000",
                           user=alice)
    read_line(process.stdout)
    assert Path(f"/proc/{process.pid}").stat().st_uid == 0
    with pytest.raises(AssertionError):
        daemon.wait_leases(0, deadline=1)
    process.kill()
    daemon.wait_leases(0)


def test_bug_15_zombie_leader_is_released(daemon, alice):
    process = daemon.popen("run", "--", "true", user=alice)
    read_line(process.stdout)
    daemon.wait_leases(0)
    assert "State:\tZ" in Path(f"/proc/{process.pid}/status").read_text()


def test_bug_16_process_is_known_by_more_than_its_number(daemon, alice):
    """That a recycled number is not taken for the run is in test_run_end.py; here: nor for who resumes a wish."""
    daemon.reserve("-g", "8", user=alice)
    waiting(daemon, alice)
    with daemon.varlink() as link:
        reply = link.call("org.dibs.Resume", {"id": 2})
        assert reply["error"] == "org.dibs.Refused"
        assert reply["parameters"]["id"] == "request.not-resumable"


@needs_cgroup
def test_bug_17_limit_ends_children_too_and_does_not_dawdle(daemon, alice):
    began = time.monotonic()
    process = daemon.popen("run", "-t", "1s", "--", "bash", "-c", "setsid sleep 1000 & echo $!; wait", user=alice)
    child = int(read_line(process.stdout))
    wait_exit(child)
    wait_exit(process)
    daemon.wait_leases(0)
    assert time.monotonic() - began < 10


def test_bug_18_killed_daemon_loses_no_run(daemon, alice, bob):
    process = daemon.popen("run", "--", "sh", "-c", "echo up; exec sleep 1000", user=alice)
    read_line(process.stdout)
    daemon.crash_and_restart()
    assert [(lease["state"], lease["gpus"]) for lease in daemon.leases()] == [("active", [0])]
    daemon.dibs("reserve", "--gpu", "0", "--no-wait", user=bob, code=4)
    process.kill()
    daemon.wait_leases(0, deadline=5)


def test_bug_19_lost_data_do_not_make_all_gpus_free(daemon, alice):
    daemon.reserve("-g", "8", user=alice)
    daemon.stop()
    for name in daemon.state.glob("*.db*"):
        name.write_bytes(b"lost" * 1000)
    daemon.spawn()
    assert daemon.process.wait(DEADLINE) == 1
    assert str(daemon.state) in daemon.drain_log()


def test_bug_20_without_a_daemon_the_answer_comes_at_once(daemon, alice):
    daemon.stop()
    began = time.monotonic()
    for verb in (["status"], ["reserve"], ["run", "--", "true"], ["release"]):
        assert "dibsd does not run here" in daemon.dibs(*verb, user=alice, code=5).stderr
    assert time.monotonic() - began < 2


def test_bug_21_options_of_the_command_line_hold_for_all_of_a_run(daemon, alice):
    out = daemon.dibs("--socket", daemon.socket, "run", "--", "sh", "-c", "echo $DIBS_GPUS", user=alice,
                      env={"DIBS_SOCKET": "/no/such/socket"}).stdout
    assert out == "0\n"
    daemon.wait_leases(0)


@pytest.mark.parametrize("lie", ["{bob}", "root", "", None])
def test_bug_22_identity_is_not_what_the_environment_says(daemon, alice, bob, lie):
    lie = lie and lie.format(bob=bob)
    hold = daemon.reserve(user=bob)["id"]
    names = {} if lie is None else {"USER": lie, "LOGNAME": lie, "USERNAME": lie, "SUDO_USER": lie, "SUDO_UID": "0"}
    daemon.dibs("release", hold, user=alice, code=3, env=names)
    assert daemon.reserve(user=alice)["user"] == alice
    process = daemon.popen("reserve", "--json", user=alice, env=names)
    assert f'"user": "{alice}"'.encode() in process.communicate(timeout=DEADLINE)[0]


def test_bug_23_nobody_else_reads_or_writes_the_state(daemon, alice):
    files = [path for path in daemon.state.iterdir() if path.name != "dev"]  # the nodes of simulated GPUs are for all
    assert files and not daemon.state.stat().st_mode & 0o066
    for path in [daemon.state, *files]:
        assert path.stat().st_uid == 0
    for path in files:
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path
    assert subprocess.run(["runuser", "-u", alice, "--", "ls", daemon.state], stderr=subprocess.DEVNULL).returncode
    daemon.dibs("admin", "release", 1, "--reason", "because", user=alice, code=3)


def test_bug_25_force_takes_no_leased_gpu(daemon, alice, bob):
    hold = daemon.reserve("--gpu", "0", user=bob)
    assert daemon.dibs("reserve", "--force", "--gpu", "0", "--no-wait", user=alice, code=4).stdout == ""
    assert daemon.leases() == [{name: hold[name] for name in hold if name != "environment"}]


def test_bug_29_counts_agree_with_reservations(daemon, alice, bob):
    daemon.reserve("-g", "4", user=alice)
    assert ": 8 × A100-80G, 4 free, 4 leased\n" in daemon.dibs().stdout
    assert daemon.dibs("reserve", "-g", "7", "--no-wait", user=bob, code=4).stderr.startswith(
        "dibs: 4 of the 7 GPUs asked for are free; ")


def test_bug_30_gpu_of_a_run_is_refused_with_a_sentence(daemon, alice, bob):
    process = daemon.popen("run", "--", "sh", "-c", "echo up; exec sleep 1000", user=alice)
    read_line(process.stdout)
    assert re.fullmatch(rf"dibs: GPU 0 is leased by {alice} \(run #1\)\n",
                        daemon.dibs("reserve", "--gpu", "0", "--no-wait", user=bob, code=4).stderr)
    process.kill()


def test_bug_31_what_has_expired_is_free_for_those_who_do_not_wait(daemon, alice, bob):
    daemon.reserve("-g", "8", "-d", "1s", user=alice)
    time.sleep(1)
    assert daemon.dibs("reserve", "-g", "8", "--no-wait", "--short", user=bob).stdout == "0,1,2,3,4,5,6,7\n"


def test_bug_32_substitution_gets_indices_alone_after_waiting(daemon, alice, bob):
    daemon.reserve("-g", "8", "-d", "1s", user=alice)
    assert daemon.shell('x=$(dibs reserve --short 2>/dev/null); echo "<$x>"', user=bob) == "<0>\n"


def test_bug_33_help_tells_the_default_that_applies(daemon, alice):
    [said] = re.findall(r"--duration DURATION.*\((\w+)\)", daemon.dibs("reserve", "--help").stdout)
    assert f"({said})" in daemon.dibs("reserve", user=alice).stdout
