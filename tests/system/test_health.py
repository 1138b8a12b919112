# SPDX-License-Identifier: MIT
"""GPUs that need repair: what the sensor tells and what the kernel logged drains them until they are trusted again."""

import contextlib
import os
import pwd
import signal
import stat
import subprocess
import termios
import time

import pytest
from harness import DEADLINE, read_line
from test_hook import Hook
from test_nvml import events, gpu_of, wait_gpu
from test_review_core import disk_of

GPU_IS_LOST = 15
NAMESPACE = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             'mount --bind "$0" /dev/kmsg && exec "$@"']
KERNEL, PROGRAM = 4, 12  # priority and facility, as /dev/kmsg has them


def gpu_set(nvml, number, **values):
    nvml.gpus[number].values.update(values)
    nvml.write()


def wait_other_samples(daemon, nvml, number=1):
    """Waits until a sample was taken after all that happened until now."""
    util = (nvml.gpus[number].values["util"] + 1) % 100
    gpu_set(nvml, number, util=util)
    daemon.wait_status(lambda s: gpu_of(s, nvml.gpus[number])["utilization"] == util)


def defects(daemon):
    return [e[1:] for e in events(daemon, "defect")]


class Terminal:
    """A pseudo terminal of a user that takes messages."""

    def __init__(self, user):
        self.master, self.slave = os.openpty()
        os.fchown(self.slave, pwd.getpwnam(user).pw_uid, -1)
        os.fchmod(self.slave, stat.S_IRUSR | stat.S_IWUSR | stat.S_IWGRP)

    def wait(self, text):
        with os.fdopen(os.dup(self.master), "rb", buffering=0) as stream:
            end = time.monotonic() + DEADLINE
            while time.monotonic() < end:
                line = read_line(stream)
                if text in line:
                    return line
        raise AssertionError(f"no {text!r}")

    def close(self):
        os.close(self.master)
        os.close(self.slave)


# What the sensor tells


@pytest.mark.parametrize("values, reason", [
    ({"recovery": 1}, "reset the GPU"), ({"recovery": 2}, "reboot the machine"),
    ({"ecc": 2}, "uncorrectable memory errors"), ({"rows": "1 0"}, "remap rows"), ({"rows": "0 1"}, "replaced")])
def test_what_needs_repair_is_drained_until_it_is_trusted(make_nvml, alice, values, reason):
    nvml, daemon = make_nvml()
    daemon.start()
    hold = daemon.reserve("--gpu", "0", user=alice)
    gpu_set(nvml, 0, **values)
    gpu = wait_gpu(daemon, nvml.gpus[0], "draining")
    assert reason in gpu["reason"] and gpu["leases"] == [hold["id"]]
    assert daemon.lease(hold["id"])["state"] == "active"
    # It stays so when the hardware says nothing more.
    gpu_set(nvml, 0, **{key: None for key in values})
    wait_other_samples(daemon, nvml)
    assert wait_gpu(daemon, nvml.gpus[0], "draining")["reason"] == gpu["reason"]
    daemon.dibs("release", hold["id"], user=alice)
    daemon.dibs("reserve", "--gpu", "0", "--no-wait", user=alice, code=4)
    daemon.dibs("admin", "undrain", "0")
    wait_gpu(daemon, nvml.gpus[0], "free")
    wait_other_samples(daemon, nvml)
    assert gpu_of(daemon.status(), nvml.gpus[0])["state"] == "free"
    assert defects(daemon) == [(nvml.gpus[0].uuid, gpu["reason"])]


@pytest.mark.parametrize("xid, advice", [(79, "restart the machine"), (48, "XID 48"), (95, "reset the GPU")])
def test_an_xid_that_asks_for_it_drains_the_gpu(make_nvml, alice, xid, advice):
    nvml, daemon = make_nvml()
    daemon.start()
    hold = daemon.reserve("--gpu", "1", user=alice)
    nvml.xid(nvml.gpus[1], xid)
    gpu = wait_gpu(daemon, nvml.gpus[1], "draining")
    assert f"XID {xid}" in gpu["reason"] and advice in gpu["reason"] and gpu["leases"] == [hold["id"]]
    daemon.dibs("release", hold["id"], user=alice)
    daemon.dibs("reserve", "--gpu", "1", "--no-wait", user=alice, code=4)
    daemon.dibs("admin", "undrain", "1")  # the sensor forgets it, too
    wait_other_samples(daemon, nvml, 0)
    assert gpu_of(daemon.status(), nvml.gpus[1])["state"] == "free"
    assert defects(daemon) == [(nvml.gpus[1].uuid, gpu["reason"])]


def test_an_xid_of_a_program_does_nothing(make_nvml):
    nvml, daemon = make_nvml()
    daemon.start()
    nvml.xid(nvml.gpus[0], 13)
    nvml.wait_xid_taken(daemon)
    wait_other_samples(daemon, nvml)
    assert gpu_of(daemon.status(), nvml.gpus[0])["state"] == "free" and defects(daemon) == []


def test_a_gpu_that_was_lost_comes_back_drained(make_nvml):
    nvml, daemon = make_nvml()
    daemon.start()
    nvml.fail(nvml.gpus[0], GPU_IS_LOST)
    wait_gpu(daemon, nvml.gpus[0], "lost")
    nvml.clear_rules()
    assert "fallen off the bus" in wait_gpu(daemon, nvml.gpus[0], "draining")["reason"]
    daemon.dibs("admin", "undrain", "0")
    wait_gpu(daemon, nvml.gpus[0], "free")


def test_what_is_still_broken_is_drained_again(make_nvml):
    nvml, daemon = make_nvml()
    daemon.start()
    gpu_set(nvml, 0, recovery=1)
    reason = wait_gpu(daemon, nvml.gpus[0], "draining")["reason"]
    for times in (2, 3):
        daemon.dibs("admin", "undrain", "0")
        daemon.wait_log("is drained")
        assert wait_gpu(daemon, nvml.gpus[0], "draining")["reason"] == reason
        assert defects(daemon) == [(nvml.gpus[0].uuid, reason)] * times


def test_ever_more_errors_are_one_defect(make_nvml):
    nvml, daemon = make_nvml()
    gpu_set(nvml, 0, ecc=1)
    daemon.start()
    gpu = wait_gpu(daemon, nvml.gpus[0], "draining")
    for ecc in (2, 3):
        gpu_set(nvml, 0, ecc=ecc)
        wait_other_samples(daemon, nvml)
    assert defects(daemon) == [(nvml.gpus[0].uuid, gpu["reason"])] and gpu["reason"].startswith("1 ")


@pytest.mark.parametrize("between", ["restart", "crash_and_restart", "sensor"])
def test_a_drain_outlives_daemon_and_sensor(make_nvml, between):
    nvml, daemon = make_nvml()
    daemon.start()
    nvml.xid(nvml.gpus[0], 79)
    gpu_set(nvml, 1, ecc=1)
    reasons = [wait_gpu(daemon, gpu, "draining")["reason"] for gpu in nvml.gpus]
    if between == "sensor":
        pid = daemon.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            os.kill(int(children.read().split()[0]), signal.SIGKILL)
        daemon.wait_log("the sensor ended")
    else:
        getattr(daemon, between)()
    gpu_set(nvml, 1, ecc=7)
    wait_other_samples(daemon, nvml)
    assert [wait_gpu(daemon, gpu, "draining")["reason"] for gpu in nvml.gpus] == reasons
    assert sorted(defects(daemon)) == sorted((gpu.uuid, reason) for gpu, reason in zip(nvml.gpus, reasons))


def test_the_words_of_an_administrator_stay(make_nvml):
    nvml, daemon = make_nvml()
    daemon.start()
    gpu_set(nvml, 0, recovery=1)
    wait_gpu(daemon, nvml.gpus[0], "draining")
    daemon.dibs("admin", "drain", "0", "--reason", "is sent back")
    daemon.restart()
    wait_other_samples(daemon, nvml)
    assert gpu_of(daemon.status(), nvml.gpus[0])["reason"] == "is sent back"
    assert len(defects(daemon)) == 1


def test_a_drain_that_could_not_be_stored_is_tried_again(make_nvml):
    nvml, daemon = make_nvml()
    with disk_of(daemon) as fill:
        daemon.start()
        filler = fill()
        with daemon.varlink() as link:  # until what the database has kept for itself is full, too
            while "error" not in link.call("org.dibs.Drain", {"gpu": "1", "reason": "x" * 100}):
                pass
        gpu_set(nvml, 0, recovery=1)
        daemon.wait_log("is drained")
        assert gpu_of(daemon.status(), nvml.gpus[0])["state"] == "free"
        filler.unlink()
        daemon.wait_log("the store works again")
        wait_gpu(daemon, nvml.gpus[0], "draining")
        assert len(defects(daemon)) == 1


def test_the_owner_is_told_on_the_terminal_and_through_the_hook(make_nvml, base_directory, alice):
    directory = base_directory / "health-hook"
    directory.mkdir()
    hook = Hook(directory)
    hook.write('printf "%s %s %s\\n" 0 1 "$(cat)" >NEWS')
    nvml, daemon = make_nvml(config=hook.config())
    daemon.start()
    hold = daemon.reserve("--gpu", "1", user=alice)
    with contextlib.closing(Terminal(alice)) as terminal:
        nvml.xid(nvml.gpus[1], 79)
        line = terminal.wait("needs repair")
        assert f"GPU 1 of your hold #{hold['id']}" in line and "XID 79" in line
    told = hook.wait_event("defect")
    assert told["event"]["lease"] == told["lease"]["id"] == hold["id"]
    assert told["event"]["uid"] == pwd.getpwnam(alice).pw_uid and told["event"]["gpu"] == nvml.gpus[1].uuid
    assert "XID 79" in told["event"]["detail"]
    hook.reader.close()


# What the kernel logged


class KernelLog:
    """Stands in for /dev/kmsg in a mount namespace: a terminal that gives one record a read."""

    def __init__(self):
        self.master, slave = os.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        self.slave, self.path = slave, os.ttyname(slave)
        self.sequence = 0

    @property
    def wrapper(self):
        return [*NAMESPACE, self.path]

    def xid(self, gpu, number, at=None, prefix=KERNEL, text=None):
        at = time.clock_gettime(time.CLOCK_MONOTONIC) if at is None else at
        self.sequence += 1
        bus = gpu.values["bus"].split(".")[0][4:].lower()
        text = text or f"NVRM: Xid (PCI:{bus}): {number}, pid='<unknown>', name=<unknown>, an error"
        os.write(self.master, f"{prefix},{self.sequence},{int(at * 1e6)},-;{text}\n".encode())

    def close(self):
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def may_mount():
    if subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("mounting is not allowed here")


@pytest.fixture
def kernel_log(may_mount):
    with contextlib.closing(KernelLog()) as log:
        yield log


def test_the_kernel_log_is_read_and_followed(make_nvml, kernel_log, alice):
    nvml, daemon = make_nvml(gpus=4)
    kernel_log.xid(nvml.gpus[0], 13)
    kernel_log.xid(nvml.gpus[1], 79, at=1)
    daemon.start(wrapper=kernel_log.wrapper)
    states = [g["state"] for g in daemon.status()["gpus"]]
    assert states == ["free", "draining", "free", "free"]
    hold = daemon.reserve("--gpu", "2", user=alice)
    kernel_log.xid(nvml.gpus[2], 31)
    kernel_log.xid(nvml.gpus[2], 95)
    gpu = wait_gpu(daemon, nvml.gpus[2], "draining")
    assert "XID 95" in gpu["reason"] and gpu["leases"] == [hold["id"]]
    for number in (48, 64, 79):
        kernel_log.xid(nvml.gpus[2], number)  # of the same sickness
    kernel_log.xid(nvml.gpus[3], 119)
    wait_gpu(daemon, nvml.gpus[3], "draining")
    assert [uuid for uuid, _ in defects(daemon)] == [gpu.uuid for gpu in nvml.gpus[1:]]


def test_what_programs_write_into_it_is_ignored(make_nvml, kernel_log):
    nvml, daemon = make_nvml(gpus=3)
    kernel_log.xid(nvml.gpus[0], 79, prefix=PROGRAM)
    kernel_log.xid(nvml.gpus[0], 79, text="evil[1]: NVRM: Xid (PCI:0000:01:00): 79, pid=1")
    kernel_log.xid(nvml.gpus[0], 79, text="NVRM: Xid (PCI:ffff:ff:1f): 79, pid=1")
    kernel_log.xid(nvml.gpus[1], 79)
    daemon.start(wrapper=kernel_log.wrapper)
    assert [g["state"] for g in daemon.status()["gpus"]] == ["free", "draining", "free"]


def test_a_line_in_the_real_log_of_this_machine_is_ignored(make_nvml):
    nvml, daemon = make_nvml()
    try:
        with open("/dev/kmsg", "wb", buffering=0) as log:
            for prefix in (b"", b"<0>", b"<4>"):
                log.write(prefix + b"NVRM: Xid (PCI:0000:01:00): 79, pid=1, name=a test of dibs\n")
    except OSError:
        pass  # then nobody can, and there is nothing to ignore
    daemon.start()
    assert [g["state"] for g in daemon.status()["gpus"]] == ["free", "free"]


def test_what_was_logged_before_it_was_trusted_counts_no_more(make_nvml, kernel_log):
    nvml, daemon = make_nvml()
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    kernel_log.xid(nvml.gpus[0], 79, at=before)
    daemon.start(wrapper=kernel_log.wrapper)
    wait_gpu(daemon, nvml.gpus[0], "draining")
    daemon.dibs("admin", "undrain", "0")
    wait_other_samples(daemon, nvml)
    assert gpu_of(daemon.status(), nvml.gpus[0])["state"] == "free"
    daemon.stop()
    kernel_log.xid(nvml.gpus[0], 79, at=before)  # the log still has it
    daemon.start(wrapper=kernel_log.wrapper)
    assert gpu_of(daemon.status(), nvml.gpus[0])["state"] == "free"
    kernel_log.xid(nvml.gpus[0], 95)
    assert "XID 95" in wait_gpu(daemon, nvml.gpus[0], "draining")["reason"]


def test_a_log_that_fails_is_done_without(make_nvml, may_mount, alice):
    nvml, daemon = make_nvml()
    with contextlib.closing(KernelLog()) as log:
        daemon.start(wrapper=log.wrapper)
    daemon.wait_log("the kernel log cannot be read")
    daemon.reserve(user=alice)
    gpu_set(nvml, 1, recovery=1)
    wait_gpu(daemon, nvml.gpus[1], "draining")


def test_a_log_that_is_none_is_done_without(make_nvml, may_mount):
    nvml, daemon = make_nvml()
    daemon.start(wrapper=[*NAMESPACE, "/dev/null"])
    assert "the kernel log cannot be read" in daemon.drain_log()
