# SPDX-License-Identifier: MIT
"""The sensor is killed, hangs and lies; the daemon and its leases stand."""

import json
import os
import pwd
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from fake_nvml import replace_sensor
from harness import Daemon, install_programs, read_line, wait_exit

QUICK = "[sensor]\ninterval = 1s\ndeadline = 2s\n"
NOBODY = 65534


@pytest.fixture
def own_daemon(base_directory):
    """A Daemon on eight simulated GPUs, with programs of its own; not started yet."""
    directory = Path(tempfile.mkdtemp(dir=base_directory))
    directory.chmod(0o755)
    programs = install_programs(Path(os.environ["DIBS_BUILD"]).resolve(), directory / "programs")
    (directory / "daemon").mkdir()
    daemon = Daemon(programs, directory / "daemon", config=QUICK)
    yield daemon
    daemon.close()


def children(daemon):
    pid = daemon.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def sensor_of(daemon):
    """The process of the sensor, or None."""
    found = children(daemon)
    assert len(found) <= 1, found
    return found[0] if found else None


def wait_other_sensor(daemon, old):
    """Waits for a sample of a sensor that is not the process old."""
    daemon.wait_status(lambda _: sensor_of(daemon) not in (None, old))
    return sensor_of(daemon)


def proc_status(pid):
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def assert_answers_at_once(daemon, user):
    """Status and requests, without any process in between."""
    begin = time.monotonic()
    with daemon.varlink() as link:
        assert len(link.call("org.dibs.GetStatus")["parameters"]["gpus"]) > 0
    hold = daemon.reserve("--no-wait", user=user)
    daemon.dibs("release", hold["id"], user=user)
    took = time.monotonic() - begin
    assert took < 1, f"{took:.2f} s"


# What it may do


def test_the_sensor_is_nobody(daemon):
    status = proc_status(sensor_of(daemon))
    try:
        uid, gid = pwd.getpwnam("dibs")[2:4]
    except KeyError:
        uid = gid = NOBODY
    assert status["Uid"].split() == [str(uid)] * 4
    assert status["Gid"].split() == [str(gid)] * 4
    assert status["Groups"].split() == []
    assert status["NoNewPrivs"] == "1"
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[capabilities], 16) == 0
    assert int(status["SigBlk"], 16) == 0


def test_the_sensor_inherits_nothing(make_daemon):
    daemon = make_daemon(environment={"SECRET": "of the service"}).start()
    pid = sensor_of(daemon)
    fds = {int(fd.name): os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    assert fds.keys() == {0, 1, 2}, fds
    assert fds[0] == "/dev/null" and fds[1].startswith("pipe:")
    assert fds[2] == os.readlink(f"/proc/{daemon.process.pid}/fd/2")
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert [entry.split(b"=")[0] for entry in environment.rstrip(b"\0").split(b"\0")] == [b"PATH"]


def test_the_sensor_of_a_daemon_without_root_is_its_user(make_daemon, alice):
    daemon = make_daemon(user=alice).start()
    status = proc_status(sensor_of(daemon))
    assert status["Uid"].split() == [str(pwd.getpwnam(alice).pw_uid)] * 4
    assert status["NoNewPrivs"] == "1"


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_the_sensor_ends_with_the_daemon(daemon, end):
    pid = sensor_of(daemon)
    getattr(daemon, end)()
    wait_exit(pid)


# Killed, hanging


def test_a_sensor_that_is_killed_is_started_again(daemon, alice):
    run = daemon.popen("run", "--", "/bin/sh", "-c", "echo up; read line", user=alice, stdin=subprocess.PIPE)
    assert read_line(run.stdout) == "up\n"
    hold = daemon.reserve("-g", "2", user=alice)
    before = daemon.status()
    old = sensor_of(daemon)
    os.kill(old, signal.SIGKILL)
    daemon.wait_log("the sensor ended (signal 9)")
    assert daemon.status()["leases"] == before["leases"]
    assert_answers_at_once(daemon, alice)
    wait_other_sensor(daemon, old)
    assert [g["state"] for g in daemon.status()["gpus"]] == [g["state"] for g in before["gpus"]]
    assert daemon.lease(hold["id"])["state"] == "active" and run.poll() is None


def test_a_sensor_that_hangs_is_killed_and_started_ever_more_rarely(make_nvml, alice):
    nvml, daemon = make_nvml(config=QUICK)
    daemon.start()
    hold = daemon.reserve("--gpu", "1", user=alice)
    nvml.rule("hang", "nvmlDeviceGetCount_v2")
    daemon.wait_log("silent for too long")
    begin, used = time.monotonic(), cpu_seconds(daemon.process.pid)
    ends = []
    for _ in range(3):
        daemon.wait_log("the sensor ended (signal 9)")
        ends.append(time.monotonic())
        assert_answers_at_once(daemon, alice)
    # One second, then two, and the deadline of two seconds each.
    first, second = ends[1] - ends[0], ends[2] - ends[1]
    assert 2.5 < first < second - 0.5, (first, second)
    assert sum("silent" in line for line in daemon.log) == 3
    share = (cpu_seconds(daemon.process.pid) - used) / (time.monotonic() - begin)
    assert share < 0.3, f"dibsd used {share:.0%} of a processor while it waited"
    assert daemon.lease(hold["id"])["state"] == "active"
    nvml.clear_rules()
    renew_sensor(daemon)
    daemon.wait_status(lambda s: sensor_of(daemon))
    assert [g["state"] for g in daemon.status()["gpus"]] == ["free", "leased"]


def test_a_sensor_that_is_slow_is_not_killed(make_nvml):
    nvml, daemon = make_nvml(config=QUICK)
    daemon.start()
    pid = sensor_of(daemon)
    nvml.rule("delay", "nvmlDeviceGetUtilizationRates", 300_000)
    nvml.gpus[0].values["util"] = 66
    nvml.write()
    daemon.wait_status(lambda s: s["gpus"][0]["utilization"] == 66)
    assert sensor_of(daemon) == pid and "silent" not in daemon.drain_log()


def test_a_driver_that_hangs_at_the_start_does_not_keep_the_daemon_from_serving(make_nvml, alice):
    nvml, daemon = make_nvml(config=QUICK)
    nvml.rule("hang", "nvmlDeviceGetName")
    daemon.start()
    assert daemon.status()["gpus"] == []
    assert "machine has 0" in daemon.dibs("reserve", user=alice, code=2).stderr
    nvml.clear_rules()
    daemon.wait_status(lambda s: len(s["gpus"]) == 2)
    assert daemon.dibs("reserve", "--short", "-g", "2", user=alice).stdout == "0,1\n"


def test_a_sensor_that_always_crashes_does_not_keep_the_daemon_from_serving(own_daemon, alice):
    own_daemon.write_config("[sensor]\ndeadline = 1h\n")
    replace_sensor(own_daemon.programs, "exit 3")
    own_daemon.start()
    assert any("the sensor ended (status 3)" in line for line in own_daemon.log)
    assert own_daemon.status()["gpus"] == []
    replace_sensor(own_daemon.programs, f'exec {own_daemon.programs["sensor"].with_name("real-sensor")} "$@"')
    own_daemon.wait_status(lambda s: len(s["gpus"]) == 8)


def test_a_driver_that_was_replaced_does_not_fill_the_log(make_nvml):
    """The sensor ends, since its library is stale; each new one finds the same, until somebody reboots."""
    nvml, daemon = make_nvml()
    nvml.rule("return", "*", 18)
    daemon.start()
    ends = []
    for _ in range(3):
        daemon.wait_log("the sensor ended (status 1)")
        ends.append(time.monotonic())
    assert ends[1] - ends[0] < ends[2] - ends[1] - 0.5
    assert sum("cannot read any GPU" in line for line in daemon.log) == 1


# Lying


def gpu(number=0, **values):
    return {"uuid": f"SIM-{number}", "model": "A100-80G", "pci": f"00000000:{number:02x}:00.0", "vendor": "nvidia",
            "index": number, "minor": number, "memory_mib": 81920, "memory_used_mib": 0, "utilization": 0,
            "temperature_c": 30, "power_w": 50, "links": ["internal"], "processes": [], **values}


def line(*gpus):
    return json.dumps({"gpus": list(gpus)}).encode() + b"\n"


def changed(key, *value):
    """A line with one GPU, of which one value is another or missing."""
    wrong = gpu()
    wrong.pop(key)
    if value:
        wrong[key] = value[0]
    return line(wrong)


def process(**values):
    return line(gpu(processes=[{"pid": 1, "memory_mib": 1, **values}]))


LIES = {
    "not JSON": b"GPU 0: fine\n",
    "an empty line": b"\n",
    "many empty lines": b"\n" * 60000,
    "binary": bytes(range(256)) + b"\n",
    "invalid UTF-8": b'{"error":"\xff\xfe"}\n',
    "a NUL": b'{"error":"a\0b"}\n',
    "an escaped NUL": b'{"error":"a\\u0000b"}\n',
    "a raw escape": b'{"error":"\x1b[2J"}\n',
    "an array": b"[]\n",
    "nothing": b"{}\n",
    "both": b'{"gpus":[],"error":"x"}\n',
    "an unknown key": b'{"gpus":[],"root":true}\n',
    "a key twice": b'{"gpus":[],"gpus":[]}\n',
    "depth": b'{"gpus":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "two samples in a line": b'{"gpus":[]}{"gpus":[]}\n',
    "a negative pid": process(pid=-1),
    "pid 0": process(pid=0),
    "a huge pid": process(pid=1 << 40),
    "a pid of text": process(pid="1"),
    "negative memory of a process": process(memory_mib=-5),
    "5000 processes": line(gpu(processes=[{"pid": 2, "memory_mib": 1}] * 5000)),
    "10000 GPUs": line(*[gpu(number) for number in range(10_000)]),
    "one UUID twice": line(*[gpu(n, uuid="GPU-1", links=["internal"] * 2) for n in range(2)]),
    "one index twice": line(*[gpu(n, index=0, links=["internal"] * 2) for n in range(2)]),
    "too few links": line(gpu(0), gpu(1)),
    "an unknown link": changed("links", ["wormhole"]),
    "a UUID with a slash and spaces": changed("uuid", "../../etc passwd"),
    "a UUID with an escape": changed("uuid", "GPU-\x1b[2J"),
    "an empty UUID": changed("uuid", ""),
    "a long UUID": changed("uuid", "G" * 100),
    "no UUID": changed("uuid"),
    "a long name": changed("model", "A" * 1000),
    "a negative index": changed("index", -1),
    "no index": changed("index", None),
    "a fraction": changed("utilization", 0.5),
    "more than all": changed("utilization", 101),
    "a huge number": changed("memory_mib", 1 << 62),
    "no number": changed("power_w", "warm"),
    "a line without end": None,
}


def tell(daemon, data, after="exec sleep 1000"):
    """The next sensor tells this, and then nothing."""
    lie = daemon.directory / "lie"
    lie.write_bytes(data)
    lie.chmod(0o644)
    replace_sensor(daemon.programs, f"cat {lie}\n{after}")


def renew_sensor(daemon):
    daemon.dibs("admin", "sensor", "pause")
    daemon.dibs("admin", "sensor", "resume")


def test_a_sensor_that_lies_is_killed(own_daemon, alice):
    daemon = own_daemon.start()
    daemon.reserve("-g", "2", user=alice)
    before = daemon.status()
    for name, lie in LIES.items():
        daemon.drain_log()
        daemon.log.clear()
        tell(daemon, b"x" * 10_000_000 if lie is None else lie)
        renew_sensor(daemon)
        said = daemon.wait_log("line of more than" if lie is None else "line that is not a sample")
        assert said.rstrip("\n").isprintable(), (name, said)
        daemon.wait_log("the sensor ended (signal 9)")
        after = daemon.status()
        assert after["leases"] == before["leases"], name
        assert [g["state"] for g in after["gpus"]] == [g["state"] for g in before["gpus"]], name
        # One sentence for one lie, however much of it there was.
        assert sum("is not a sample" in l for l in daemon.log) <= 1, name
    replace_sensor(daemon.programs, f'exec {daemon.programs["sensor"].with_name("real-sensor")} "$@"')
    renew_sensor(daemon)
    daemon.wait_status(lambda s: sensor_of(daemon))
    assert len(daemon.reserve("-g", "6", user=alice)["gpus"]) == 6


def test_half_a_line_is_no_line(own_daemon, alice):
    """What came in pieces is one sample; what ended in the middle is none."""
    daemon = own_daemon.start()
    hold = daemon.reserve(user=alice)
    whole = line(gpu(0, uuid="GPU-new"))
    for name, piece in {"first": whole[:40], "second": whole[40:]}.items():
        (daemon.directory / name).write_bytes(piece)
        (daemon.directory / name).chmod(0o644)
    replace_sensor(daemon.programs, f"cat {daemon.directory}/first\nexit 7")
    renew_sensor(daemon)
    daemon.wait_log("ended (status 7)")
    assert "GPU-new" not in [g["uuid"] for g in daemon.status()["gpus"]]
    replace_sensor(daemon.programs, f"cd {daemon.directory}\ncat first\nsleep 0.2\ncat second\nexec sleep 1000")
    renew_sensor(daemon)
    daemon.wait_status(lambda s: any(g["uuid"] == "GPU-new" for g in s["gpus"]))
    assert daemon.lease(hold["id"])["state"] == "active"


def test_a_name_with_control_characters_reaches_no_terminal(own_daemon):
    daemon = own_daemon
    tell(daemon, line(gpu(model="A100\x1b]0;pwned\x07\r\n\u202e\x9b2J", fault="\x1b[31mbroken\x7f")))
    daemon.start()
    for arguments in (["status"], ["status", "--json"], ["doctor"]):
        out = daemon.dibs(*arguments, code=None).stdout
        assert "A100" in out or arguments == ["doctor"]
        assert all(c == "\n" or ord(c) >= 0x20 and not 0x7f <= ord(c) <= 0x9f for c in out), out
        assert "\\u001b" not in out
    assert "\x1b" not in daemon.drain_log()


def test_a_lie_may_hide_gpus_but_not_leases(own_daemon, alice, bob):
    """No GPU at all, in a line that is in order: nobody's lease ends, and nothing is handed out twice."""
    daemon = own_daemon.start()
    hold = daemon.reserve("-g", "8", user=alice)
    tell(daemon, b'{"gpus":[]}\n' * 3)
    renew_sensor(daemon)
    daemon.wait_status(lambda s: {g["state"] for g in s["gpus"]} == {"lost"})
    assert daemon.lease(hold["id"])["state"] == "active" and len(daemon.lease(hold["id"])["gpus"]) == 8
    daemon.dibs("reserve", "--no-wait", user=bob, code=4)


def test_more_gpus_over_time_than_there_may_be(own_daemon, alice):
    """A sensor that invents new GPUs in each sample fills the table, and no more."""
    lines = [line(*(gpu(i, uuid=f"GPU-{n}-{i}", links=["system"] * 100) for i in range(100))) for n in range(4)]
    tell(own_daemon, b"".join(lines))
    own_daemon.start()
    own_daemon.wait_log("is left out")
    assert len(own_daemon.status()["gpus"]) <= 256
    assert own_daemon.drain_log().count("is left out") == 1
    assert own_daemon.dibs("reserve", "--no-wait", user=alice, code=None).returncode in (0, 4)


# Paused


def test_a_paused_sensor_is_no_process(daemon, alice, bob):
    run = daemon.popen("run", "--gpu", "7", "--", "/bin/sh", "-c", "echo up; read line", user=alice,
                       stdin=subprocess.PIPE)
    assert read_line(run.stdout) == "up\n"
    daemon.dibs("admin", "sensor", "pause")
    daemon.dibs("admin", "sensor", "pause")
    assert sensor_of(daemon) is None
    waiting = daemon.popen("run", "--", "/bin/echo", "ran", user=bob)
    daemon.wait_leases(1, state="waiting")
    daemon.dibs("reserve", "--no-wait", user=bob, code=4)
    # Facts are still taken:
    run.stdin.close()
    run.stdin = None
    daemon.wait_leases(0, kind="run", state="active")
    assert daemon.wait_leases(1, state="waiting") and waiting.poll() is None
    assert sensor_of(daemon) is None
    daemon.dibs("admin", "sensor", "resume")
    daemon.dibs("admin", "sensor", "resume")
    assert read_line(waiting.stdout) == "ran\n"
    assert len(children(daemon)) == 1


def test_a_paused_sensor_stays_so_beyond_its_deadline(make_daemon, alice):
    daemon = make_daemon(config=QUICK).start()
    os.kill(sensor_of(daemon), signal.SIGKILL)
    daemon.wait_log("the sensor ended")
    daemon.dibs("admin", "sensor", "pause")
    time.sleep(3)  # longer than the deadline, and than the pause before a restart
    assert sensor_of(daemon) is None and "silent" not in daemon.drain_log()
    daemon.dibs("admin", "sensor", "resume")
    daemon.wait_status(lambda s: sensor_of(daemon))
    assert daemon.dibs("reserve", "--short", user=alice).stdout


def test_a_sensor_that_hangs_in_the_kernel_holds_up_nobody(daemon, alice):
    """As a process in a driver that hangs does, one in a frozen cgroup of version 1 does not even die of SIGKILL."""
    freezer = Path("/sys/fs/cgroup/freezer")
    if not (freezer / "cgroup.procs").exists():
        pytest.skip("no freezer of cgroup v1")
    cgroup = freezer / f"dibs-test-{os.getpid()}"
    cgroup.mkdir()
    pid = sensor_of(daemon)
    try:
        (cgroup / "cgroup.procs").write_text(str(pid))
        (cgroup / "freezer.state").write_text("FROZEN")
        assert f"its process {pid} hangs" in daemon.dibs("admin", "sensor", "pause", code=1).stderr
        assert daemon.status()["gpus"] and sensor_of(daemon) == pid
        daemon.dibs("admin", "sensor", "resume")
        assert_answers_at_once(daemon, alice)
        assert sensor_of(daemon) == pid
    finally:
        (cgroup / "freezer.state").write_text("THAWED")
        wait_exit(pid)
        cgroup.rmdir()
    wait_other_sensor(daemon, pid)


def test_only_administrators_pause_the_sensor(daemon, alice):
    daemon.dibs("admin", "sensor", "pause", user=alice, code=3)
    daemon.dibs("admin", "sensor", "stop", code=2)
    assert sensor_of(daemon)


def test_a_pause_ends_with_the_daemon(daemon, alice):
    daemon.dibs("admin", "sensor", "pause")
    daemon.restart()
    assert sensor_of(daemon)
    assert daemon.dibs("reserve", "--short", user=alice).stdout
