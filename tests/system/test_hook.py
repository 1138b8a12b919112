# SPDX-License-Identifier: MIT
"""[hook] on-event: what the program is told, as whom it runs, and that it cannot harm."""

import json
import os
import pwd
import signal
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from harness import read_line, uid_of, wait_exit

RUNS, QUEUE = 4, 256
REPORT = 'printf "%s %s %s\\n" "$(id -u)" "$(grep -c "NoNewPrivs:.*1" /proc/self/status)" "$(cat)" >NEWS'


class Hook:
    """The program, and the FIFO by which it tells this test something."""

    def __init__(self, directory):
        self.program = directory / "hook"
        self.news = directory / "news"
        os.mkfifo(self.news)
        self.news.chmod(0o666)
        self.reader = os.fdopen(os.open(self.news, os.O_RDWR), "rb", buffering=0)

    def write(self, script, mode=0o755):
        draft = self.program.with_name("draft")
        draft.write_text(f"#!/bin/sh\n{script.replace('NEWS', str(self.news))}\n")
        draft.chmod(mode)
        os.rename(draft, self.program)

    def config(self, timeout="20s"):
        return f"[hook]\non-event = {self.program}\ntimeout = {timeout}\n"

    def words(self, count):
        """Lines of the hook, split at blanks but for the last of count words."""
        return read_line(self.reader).rstrip("\n").split(" ", count - 1)

    def told(self):
        """(uid, no_new_privs, what it read)"""
        uid, confined, text = self.words(3)
        return int(uid), confined == "1", json.loads(text)

    def wait_event(self, kind):
        while True:
            told = self.told()[2]
            if told["event"]["kind"] == kind:
                return told


@pytest.fixture
def hook(base_directory):
    directory = Path(tempfile.mkdtemp(dir=base_directory))
    directory.chmod(0o755)
    made = Hook(directory)
    made.write(REPORT)
    yield made
    made.reader.close()


def hook_processes(daemon):
    """The processes of hooks, by cgroup."""
    return [[int(pid) for pid in (path / "cgroup.procs").read_text().split()]
            for path in sorted(daemon.cgroup_root.glob("hook-*"))]


def user_of_the_sensor():
    try:
        return uid_of("dibs")
    except KeyError:
        return 65534


# What it is told


def test_every_event_arrives_as_json(make_daemon, hook, alice):
    daemon = make_daemon(config=hook.config()).start()
    hold = daemon.reserve("-g", "2", "--note", "näh \"x\"", user=alice)
    daemon.dibs("extend", hold["id"], "1h", user=alice)
    daemon.dibs("release", hold["id"], user=alice)
    daemon.dibs("admin", "drain", "3", "--reason", "dust")
    daemon.dibs("admin", "undrain", "3")
    written = daemon.journal("lease", "detail")
    told = [hook.told() for _ in written]
    assert {kind for kind, _, _ in written} >= {"started", "gpu-seen", "granted", "extended", "ended", "drained",
                                                "undrained"}
    for uid, confined, _ in told:
        assert (uid, confined) == (user_of_the_sensor(), True)
    told = [message for _, _, message in told]
    assert Counter((e["event"]["kind"], e["event"]["lease"] or 0, e["event"]["detail"]) for e in told) == \
        Counter((kind, lease or 0, detail or "") for kind, lease, detail in written)
    assert {message["host"] for message in told} == {os.uname().nodename}
    granted = next(m for m in told if m["event"]["kind"] == "granted")
    assert granted["lease"]["id"] == hold["id"] and granted["lease"]["state"] == "active"
    assert granted["lease"]["uid"] == uid_of(alice) and granted["lease"]["note"] == "näh \"x\""
    assert granted["lease"]["count"] == len(granted["lease"]["gpus"]) == 2
    ended = next(m for m in told if m["event"]["kind"] == "ended")
    assert (ended["lease"]["id"], ended["lease"]["end"]) == (hold["id"], "released")
    drained = next(m for m in told if m["event"]["kind"] == "drained")
    assert drained["lease"] is None and drained["event"]["gpu"] and drained["event"]["detail"] == "dust"


def test_it_inherits_nothing(make_daemon, hook):
    hook.write('printf "%s|%s|%s\\n" "$(readlink /proc/$$/fd/1)" '
               '"$(env | cut -d= -f1 | grep -v -e PWD -e _ | tr "\\n" " ")" "$(id -G)" >NEWS')
    make_daemon(config=hook.config(), environment={"SECRET": "of the service"}).start()
    out, environment, groups = read_line(hook.reader).rstrip("\n").split("|")
    assert (out, environment.split()) == ("/dev/null", ["PATH"])
    assert len(groups.split()) == 1


def test_it_runs_as_the_user_of_a_daemon_without_root(make_daemon, hook, alice):
    entry = pwd.getpwnam(alice)
    os.chown(hook.program, entry.pw_uid, entry.pw_gid)
    make_daemon(config=hook.config(), user=alice).start()
    assert hook.told()[:2] == (entry.pw_uid, True)


def test_it_follows_the_configuration(make_daemon, hook):
    daemon = make_daemon().start()
    daemon.write_config(hook.config())
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log("was read again")
    daemon.dibs("admin", "drain", "0", "--reason", "one")
    assert hook.told()[2]["event"]["detail"] == "one"
    daemon.write_config("")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log("was read again")
    daemon.dibs("admin", "drain", "1", "--reason", "two")
    daemon.write_config(hook.config())
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log("was read again")
    daemon.dibs("admin", "drain", "2", "--reason", "three")
    assert hook.told()[2]["event"]["detail"] == "three"


def test_foreign_use_is_told_when_it_is_watched(make_nvml, hook, alice):
    nvml, daemon = make_nvml(config=hook.config() + "[guard]\nmode = watch\n")
    daemon.start()
    job = nvml.job(nvml.gpus[0], user=alice)
    begun = hook.wait_event("foreign")["event"]
    assert begun["gpu"] == nvml.gpus[0].uuid and begun["uid"] == uid_of(alice)
    job.kill()
    job.wait()
    assert hook.wait_event("foreign-ended")["event"]["gpu"] == nvml.gpus[0].uuid


def test_foreign_use_is_not_told_when_the_guard_is_off(make_nvml, hook, alice):
    nvml, daemon = make_nvml(config=hook.config())
    daemon.start()
    nvml.job(nvml.gpus[0], user=alice)
    daemon.wait_status(lambda s: s["gpus"][0]["state"] == "foreign")
    daemon.dibs("admin", "drain", "1", "--reason", "the end")
    told = ""
    while told != "drained":
        told = hook.told()[2]["event"]["kind"]
        assert told != "foreign"


# What it cannot do


def test_one_that_hangs_is_killed_with_its_children(make_daemon, hook):
    hook.write("setsid sleep 1000 & echo $$ $! >NEWS; sleep 1000")
    daemon = make_daemon(config=hook.config(timeout="1s")).start()
    pids = [int(word) for word in hook.words(2)]
    for pid in pids:
        wait_exit(pid)
    assert "ran for too long" in daemon.wait_log("on-event")
    daemon.dibs("admin", "drain", "0", "--reason", "next")
    hook.words(2)  # and its place is free again


def test_what_it_leaves_behind_ends_with_it(make_daemon, hook):
    hook.write("setsid sleep 1000 & echo $! >NEWS")
    make_daemon(config=hook.config()).start()
    wait_exit(int(hook.words(1)[0]))


def test_without_cgroups_its_process_group_ends_with_it(make_daemon, hook, alice):
    entry = pwd.getpwnam(alice)
    os.chown(hook.program, entry.pw_uid, entry.pw_gid)
    hook.write("sleep 1000 & echo $$ $! >NEWS; sleep 1000")
    make_daemon(config=hook.config(timeout="1s"), user=alice).start()
    for word in hook.words(2):
        wait_exit(int(word))


def test_a_flood_is_bounded(make_daemon, hook, alice):
    gate = hook.program.with_name("gate")
    os.mkfifo(gate)
    gate.chmod(0o644)
    hook.write(f"read line <{gate}; {REPORT}")
    daemon = make_daemon(config=hook.config()).start()
    with daemon.varlink() as link:
        for i in range(QUEUE + 50):
            assert "error" not in link.call("org.dibs.Drain", {"gpu": "0", "reason": str(i)})
        daemon.reserve(user=alice)  # nobody waits for a hook
    assert len(hook_processes(daemon)) <= RUNS
    written = daemon.journal("lease", "detail")
    with open(gate, "r+b", buffering=0) as opened:
        opened.write(b"\n" * (len(written) + RUNS))
        line = daemon.wait_log("events were not told")
        dropped = int(line.split("on-event: ")[1].split()[0])
        assert dropped == len(written) - RUNS - QUEUE
        for _ in range(RUNS + QUEUE):
            hook.told()
        daemon.dibs("admin", "drain", "0", "--reason", "later")
        assert hook.wait_event("drained")["event"]["detail"] == "later"
    assert daemon.drain_log().count("were not told") == 1


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_none_outlives_the_daemon(make_daemon, hook, end):
    hook.write("setsid sleep 1000 & echo $$ $! >NEWS; sleep 1000")
    daemon = make_daemon(config=hook.config()).start()
    pids = [[int(word) for word in hook.words(2)] for _ in range(RUNS)]
    getattr(daemon, end)()
    if end == "kill":
        daemon.write_config("")
        daemon.start()  # its next start ends what hooks have left behind
    for pair in pids:
        for pid in pair:
            wait_exit(pid)
    assert not any(hook_processes(daemon))


# What is no program


def refuse_missing(program, alice):
    program.unlink()


def refuse_not_executable(program, alice):
    program.chmod(0o644)


def refuse_writable(program, alice):
    program.chmod(0o775)


def refuse_of_another(program, alice):
    os.chown(program, uid_of(alice), -1)


def refuse_directory(program, alice):
    program.unlink()
    program.mkdir()


def refuse_no_interpreter(program, alice):
    program.write_text("#!/nonexistent\n")


@pytest.mark.parametrize("spoil, why", [
    (refuse_missing, "No such file or directory"), (refuse_not_executable, "run 'chmod +x"),
    (refuse_writable, "run 'chmod go-w"), (refuse_of_another, "chown it to root"),
    (refuse_directory, "is not a regular file"), (refuse_no_interpreter, "cannot execute it")])
def test_what_cannot_be_run_is_said_once(make_daemon, hook, alice, spoil, why):
    spoil(hook.program, alice)
    daemon = make_daemon(config=hook.config()).start()
    daemon.reserve(user=alice)
    daemon.dibs("admin", "drain", "7", "--reason", "x")
    if hook.program.is_dir():
        hook.program.rmdir()
    hook.write(REPORT)
    daemon.dibs("admin", "drain", "7", "--reason", "mended")
    while hook.told()[2]["event"]["detail"] != "mended":
        pass
    log = daemon.drain_log()
    lines = [line for line in log.splitlines() if "on-event" in line]
    assert len(lines) == 1 and why in lines[0], log


def test_one_that_fails_is_said_once(make_daemon, hook):
    hook.write(f"{REPORT}; exit 3")
    daemon = make_daemon(sim="1xA100-80G", config=hook.config()).start()
    daemon.wait_log("the program failed (status 3)")
    hook.wait_event("started")
    for i in range(3):
        daemon.dibs("admin", "drain", "0", "--reason", str(i))
        assert hook.wait_event("drained")["event"]["detail"] == str(i)
    assert daemon.drain_log().count("on-event") == 1
