# SPDX-License-Identifier: MIT
"""The supervisor of batch jobs alone: dibs-exec, with orders as dibsd writes them."""

import contextlib
import fcntl
import grp
import os
import pwd
import resource
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from harness import DEADLINE, cgroup2_mount, demote, remove_cgroup, uid_of, wait_exit
from stuck_fs import StuckFs

ADD_SEALS, ALL_SEALS = 1033, 15
PAM_DIRECTORY = Path("/etc/pam.d")


def seal(data, seals=ALL_SEALS):
    fd = os.memfd_create("order", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, ADD_SEALS, seals)
    return fd


def encode(fields):
    return b"".join((f if isinstance(f, bytes) else f.encode()) + b"\0" for f in fields)


class Job:
    """One supervisor, and its record."""

    def __init__(self, place, number, process, channel):
        self.place, self.process, self.channel = place, process, channel
        self.record = place.state / f"{number}.0"

    def lines(self):
        return self.record.read_text().splitlines() if self.record.exists() else []

    def values(self, word):
        return [line.split(" ", 1)[1] for line in self.lines() if line.split(" ", 1)[0] == word]

    def value(self, word):
        values = self.values(word)
        assert len(values) == 1, self.lines()
        return values[0]

    def wait(self, deadline=DEADLINE):
        """Until its end is on record; returns that line."""
        end = time.monotonic() + deadline
        data = b""
        while True:
            ready, _, _ = select.select([self.channel], [], [], max(0, end - time.monotonic()))
            assert ready, f"no end within {deadline} s: {self.lines()}"
            read = os.read(self.channel, 4096)
            if not read:
                break
            data += read
        assert b"record\nrunning\n".startswith(data)
        return self.lines()[-1] if self.lines() else None

    def close(self):
        if self.process and self.process.poll() is None:
            for pid in self.values("running"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        os.close(self.channel)


class Place:
    """A directory of a user for jobs, and one of root's for records."""

    def __init__(self, directory, program, user):
        self.directory, self.program, self.user = directory, program, user
        self.state = directory / "state"
        self.state.mkdir(mode=0o700)
        self.home = directory / "work"
        self.home.mkdir()
        shutil.chown(self.home, user, user)
        self.count, self.jobs, self.cgroups = 0, [], []

    def cgroup(self):
        mount = cgroup2_mount()
        if not mount:
            pytest.skip("no cgroup v2")
        path = mount / f"dibs-exec-{os.getpid()}-{len(self.cgroups)}-{self.directory.name}"
        path.mkdir()
        self.cgroups.append(path)
        return path

    def order(self, command, *user_fields, user=None, number=None, system=(), **fields):
        values = {"id": number or self.count, "attempt": 0, "uid": uid_of(user or self.user), "name": "test",
                  "host": "here", "record": self.state / f"{number or self.count}.0", **fields}
        user_fields = list(user_fields)
        if not any(f.startswith("dir=") for f in user_fields if isinstance(f, str)):
            user_fields.append(f"dir={self.home}")
        words = ["sh", "-c", command] if isinstance(command, str) else command
        return encode([*(f"{k}={v}" for k, v in values.items() if v is not None), *system, "user",
                       *(f"arg={w}" for w in words), *user_fields, "end"])

    def start(self, command, *user_fields, raw=None, number=None, seals=ALL_SEALS, run_as=None, env=None, **options):
        self.count += 1
        order = seal(raw if raw is not None else self.order(command, *user_fields, number=number, **options), seals)
        reader, writer = os.pipe()
        process = subprocess.Popen([self.program], stdin=order, stdout=writer, cwd="/", env=env,
                                   preexec_fn=demote(run_as), start_new_session=True)
        os.close(order)
        os.close(writer)
        job = Job(self, number or self.count, process, reader)
        self.jobs.append(job)
        return job

    def run(self, command, *user_fields, **options):
        job = self.start(command, *user_fields, **options)
        job.end = job.wait()
        wait_exit(job.process)
        return job

    def log(self, name=None):
        return (self.home / (name or f"dibs-{self.count}.log")).read_text(errors="replace")

    def fifo(self, name):
        path = self.home / name
        os.mkfifo(path)
        path.chmod(0o666)
        return path

    def close(self):
        for job in self.jobs:
            job.close()
        for path in self.cgroups:
            remove_cgroup(path)


@contextlib.contextmanager
def reading(fifo, deadline=DEADLINE):
    """A function that waits for the next bytes of a FIFO."""
    fd = os.open(fifo, os.O_RDWR)

    def read():
        assert select.select([fd], [], [], deadline)[0], f"nothing came through {fifo}"
        return os.read(fd, 4096)

    try:
        yield read
    finally:
        os.close(fd)


@pytest.fixture
def place(programs, base_directory, alice):
    directory = Path(tempfile.mkdtemp(dir=base_directory))
    directory.chmod(0o755)
    place = Place(directory, programs["exec"], alice)
    yield place
    place.close()


@pytest.fixture
def pam():
    """pam(lines) makes a PAM service; its name."""
    made = []

    def make(*lines):
        path = PAM_DIRECTORY / f"dibs-test-{os.getpid()}-{len(made)}"
        path.write_text("\n".join(lines) + "\n")
        made.append(path)
        return path.name

    yield make
    for path in made:
        path.unlink()


# --- its course ---


def test_a_command_and_its_record(place, alice):
    job = place.run("echo out; echo err >&2; exit 3", "dir=/", f"out={place.home}/%j.%u.%x.%h.%%.log", name="a/b")
    words = [line.split(" ")[0] for line in job.lines()]
    assert words == ["supervisor", "log", "running", "exit"] and job.end == "exit 3"
    path = place.home / f"1.{alice}.a_b.here.%.log"
    assert job.value("log") == f"0 {path}" and path.read_text() == "out\nerr\n"
    assert path.owner() == alice
    assert job.record.stat().st_mode & 0o7777 == 0o600
    assert int(job.value("supervisor").split()[0]) == job.process.pid and job.process.returncode == 0


@pytest.mark.parametrize("command, end", [("exit 0", "exit 0"), ("exit 255", "exit 255"),
                                          ("kill -9 $$", "signal 9"), ("kill -15 $$", "signal 15")])
def test_how_it_ended(place, command, end):
    assert place.run(command).end == end


def test_logs_are_appended_to(place):
    place.run("echo one", "out=log")
    job = place.run("echo two", "out=log", "err=log")
    assert place.log("log") == "one\ntwo\n" and job.value("log") == f"4 {place.home}/log"
    place.run("echo three; echo four >&2", "out=log", "err=other")
    assert place.log("log").endswith("three\n") and place.log("other") == "four\n"


def test_elements_have_logs_of_their_own(place):
    place.run("true", array=7, index=3)
    assert (place.home / "dibs-7_3.log").exists()


def test_leftovers_are_not_waited_for(place):
    with reading(place.fifo("up")) as read:
        cgroup = place.cgroup()
        assert place.run("(echo $$ >up; exec sleep 1000) & exit 0", cgroup=cgroup).end == "exit 0"
        read()
        assert len((cgroup / "cgroup.procs").read_text().split()) == 1


def test_the_second_supervisor_of_an_attempt_exits(place):
    first = place.run("echo once >>count", number=5)
    before = first.record.read_text()
    assert place.run("echo once >>count", number=5).process.returncode == 1
    assert first.record.read_text() == before and place.log("count") == "once\n"


def test_the_record_is_locked_while_it_lives(place):
    with reading(place.fifo("up")) as read:
        down = os.open(place.fifo("down"), os.O_RDWR)
        job = place.start("echo x >up; read line <down", cgroup=place.cgroup())
        read()
        with open(job.record) as record, pytest.raises(BlockingIOError):
            fcntl.flock(record, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.write(down, b"\n")
        assert job.wait() == "exit 0"
        wait_exit(job.process)
        with open(job.record) as record:
            fcntl.flock(record, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(down)


def test_a_killed_supervisor_leaves_its_command(place):
    with reading(place.fifo("up")) as read:
        down = os.open(place.fifo("down"), os.O_RDWR)
        job = place.start("echo x >up; read line <down; echo y >up", cgroup=place.cgroup())
        assert read() == b"x\n"
        job.process.kill()
        job.process.wait()
        assert job.wait().split()[0] not in ("exit", "signal", "failed")
        with open(job.record) as record:  # nobody holds the lock
            fcntl.flock(record, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.write(down, b"\n")
        assert read() == b"y\n"
        os.close(down)


def test_it_waits_outside_of_the_cgroup(place):
    with reading(place.fifo("up")) as read:
        cgroup = place.cgroup()
        job = place.start("cat /proc/self/cgroup >up; kill -9 $PPID; sleep 1000", cgroup=cgroup)
        assert cgroup.name in read().decode()
        assert str(job.process.pid) not in (cgroup / "cgroup.procs").read_text().split()
        assert job.process.poll() is None  # its user cannot kill it
        (cgroup / "cgroup.kill").write_text("1")
        assert job.wait() == "signal 9"


def test_without_a_cgroup_signals_are_handed_on(place):
    with reading(place.fifo("up")) as read:
        program = ("import signal\nup = open('up', 'w', buffering=1)\n"
                   "wanted = {signal.SIGUSR1, signal.SIGTERM}\nsignal.pthread_sigmask(signal.SIG_BLOCK, wanted)\n"
                   "print('up', file=up)\nassert signal.sigwait(wanted) == signal.SIGUSR1\nprint('usr1', file=up)\n"
                   "assert signal.sigwait(wanted) == signal.SIGTERM\nprint('term', file=up)\nexit(9)")
        job = place.start(["/usr/bin/python3", "-c", program])
        assert read() == b"up\n"
        job.process.send_signal(signal.SIGUSR1)
        assert read() == b"usr1\n"
        job.process.terminate()
        assert read() == b"term\n"
        assert job.wait() == "exit 9"


def test_without_a_cgroup_the_command_dies_with_its_supervisor(place):
    with reading(place.fifo("up")) as read:
        job = place.start("echo $$ >up; exec sleep 1000")
        pid = int(read())
        job.process.kill()
        job.process.wait()
        wait_exit(pid)


# --- orders ---


@pytest.mark.parametrize("change, reason", [
    (lambda o: o.replace(b"end\0", b""), "it is cut short"),
    (lambda o: o[:-1], "it is cut short"),
    (lambda o: o + b"arg=x\0", "there is more behind its end"),
    (lambda o: o.replace(b"end\0", b"uid=0\0end\0"), "field uid stands where it must not"),
    (lambda o: o.replace(b"end\0", b"do=resume\0end\0"), "unknown field do"),
    (lambda o: o.replace(b"user\0", b"arg=x\0user\0"), "field arg stands where it must not"),
    (lambda o: o.replace(b"user\0", b"uid=0\0user\0"), "field uid is repeated"),
    (lambda o: o.replace(b"user\0", b""), "field arg stands where it must not"),
    (lambda o: o.replace(b"user\0", b"evil\x1b[1m=3\0user\0"), "unknown field evil?[1m"),
    (lambda o: o.replace(b"host=here\0", b""), "field host is missing"),
    (lambda o: o.replace(b"end\0", b"umask=9\0end\0"), "field umask is not of its form"),
    (lambda o: o.replace(b"end\0", b"limit=foo:3\0end\0"), "no such limit: foo:3"),
    (lambda o: o.replace(b"end\0", b"env==3\0end\0"), "field env is not of its form"),
    (lambda o: o.replace(b"end\0", b"out=%q\0end\0"), "%q in the name of a log means nothing"),
])
def test_a_damaged_order_starts_nothing(place, change, reason):
    job = place.start(None, raw=change(place.order("touch ran", number=1)))
    assert reason in job.wait() and job.wait().startswith("failed ")
    assert not (place.home / "ran").exists()


@pytest.mark.parametrize("raw, seals", [(b"id=1\0", ALL_SEALS), (b"", ALL_SEALS), (b"x" * (256 * 1024 + 1), ALL_SEALS),
                                        (None, 0)], ids=["short", "empty", "large", "unsealed"])
def test_what_is_no_order_makes_no_record(place, raw, seals):
    job = place.start("touch ran", raw=raw, seals=seals)
    assert job.wait() is None and job.process.wait(DEADLINE) != 0
    assert not list(place.state.iterdir()) and not (place.home / "ran").exists()


def test_an_ordinary_user_starts_jobs_of_its_own_alone(place, alice, bob):
    shutil.chown(place.state, bob)
    shutil.chown(place.home, bob)
    place.state.chmod(0o755)
    place.directory.chmod(0o755)
    job = place.run("id -un; exit 4", user=bob, run_as=bob, pam="dibs")
    assert job.end == "exit 4" and place.log() == f"{bob}\n"
    assert place.run(["name"], "script=#!/bin/sh\nid -un; exit 5", user=bob, run_as=bob).end == "exit 5"
    job = place.run("touch ran", user=alice, run_as=bob)
    assert job.end == f"failed it is for uid {uid_of(alice)}, and only root can start it"


def test_near_the_largest_order(place):
    variables = [f"env=V{i}={'x' * 1000}" for i in range(170)]
    assert place.run("echo $V169 | wc -c; env | grep -c ^V", *variables).end == "exit 0"
    assert place.log() == "1001\n170\n"
    assert place.run("exit 5", f"env=LONG={'x' * 140000}").end.startswith("failed cannot execute sh: Argument list")


# --- the user ---


def test_it_is_its_user_and_nobody_else(place, alice):
    entry = pwd.getpwnam(alice)
    group = f"dibs-g-{os.getpid()}"
    subprocess.run(["groupadd", "--users", alice, group], check=True)
    try:
        place.run("grep -E '^(Uid|Gid|Groups|CapEff|CapPrm|CapAmb|NoNewPrivs|SigBlk|SigIgn)' /proc/self/status")
        gid = grp.getgrnam(group).gr_gid
    finally:
        subprocess.run(["groupdel", group], check=True)
    status = dict(line.split(":\t", 1) for line in place.log().splitlines())
    assert status["Uid"].split() == [str(entry.pw_uid)] * 4 and status["Gid"].split() == [str(entry.pw_gid)] * 4
    assert set(status["Groups"].split()) == {str(entry.pw_gid), str(gid)}
    assert all(int(status[k], 16) == 0 for k in ("CapEff", "CapPrm", "CapAmb", "SigBlk", "SigIgn"))
    assert status["NoNewPrivs"] == "0"


def test_a_user_that_was_removed(place):
    uid = 59999
    job = place.run("touch ran", uid=uid)
    assert job.end == f"failed its user, uid {uid}, does not exist any more"


def test_the_oom_killer_takes_the_job_first(place):
    before = Path("/proc/self/oom_score_adj").read_text()
    with reading(place.fifo("up")) as read:
        down = os.open(place.fifo("down"), os.O_RDWR)
        job = place.start("cat /proc/self/oom_score_adj >up; read line <down", cgroup=place.cgroup())
        assert read().decode() == before
        may = subprocess.run(["sh", "-c", "echo -900 >/proc/self/oom_score_adj"], stderr=subprocess.DEVNULL)
        ours = "-900\n" if may.returncode == 0 else before  # some containers may not
        assert Path(f"/proc/{job.process.pid}/oom_score_adj").read_text() == ours
        os.write(down, b"\n")
        job.wait()
        os.close(down)


# --- what it starts with ---


def test_environment(place, alice):
    home = pwd.getpwnam(alice).pw_dir
    variables = lambda: dict(line.split("=", 1) for line in place.log().splitlines())  # noqa: E731
    ours = {**os.environ, "SECRET": "x"}
    place.run(["env"], env=ours)
    assert variables() == {"HOME": home, "USER": alice, "LOGNAME": alice, "SHELL": "/bin/bash",
                           "PATH": "/usr/local/bin:/usr/bin:/bin"}
    place.run(["/usr/bin/env"], "env=PATH=/mine", "env=A=1", "env=HOME=/h", "env=A=2", "env=GPU=user", "env=E=",
              system=["gpuenv=GPU=system", "gpuenv=DIBS_JOB=2"], env=ours)
    assert variables() == {"HOME": "/h", "USER": alice, "LOGNAME": alice, "SHELL": "/bin/bash", "PATH": "/mine",
                           "A": "2", "GPU": "system", "DIBS_JOB": "2", "E": ""}


def test_the_session_counts_more_than_the_user_and_less_than_the_gpus(place, pam):
    settings = place.directory / "settings"
    settings.write_text("A DEFAULT=pam\nGPU DEFAULT=pam\n")
    service = pam("account required pam_permit.so",
                  f"session required pam_env.so conffile={settings} envfile=/dev/null")
    assert place.run("echo $A $GPU", "env=A=user", system=["gpuenv=GPU=ours"], pam=service).end == "exit 0"
    assert place.log() == "pam ours\n"


def test_umask(place):
    place.run("umask; touch a")
    assert place.log() == "0022\n"
    place.run("umask", "umask=077", "out=private")
    assert place.log("private") == "0077\n" and (place.home / "private").stat().st_mode & 0o777 == 0o600


def test_limits(place):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    place.run("ulimit -Sn; ulimit -Hn; ulimit -Sc")
    assert place.log() == f"{min(1024, hard)}\n{hard}\n" + place.log().splitlines()[-1] + "\n"
    place.run("ulimit -Sn; ulimit -Sc; ulimit -Hn", f"limit=nofile:{hard + 1}", "limit=core:0")
    assert place.log() == f"{hard}\n0\n{hard}\n"
    assert place.run("ulimit -Sn", "limit=nofile:3").end.startswith(("exit", "failed"))


def test_a_fork_bomb_stays_within_its_limit(place):
    """The limit counts what the user has, here and elsewhere."""
    program = ("import os, signal\nn = 0\ntry:\n    while n < 300:\n        if os.fork() == 0: signal.pause()\n"
               "        n += 1\nexcept BlockingIOError: print(n)\n")
    place.run(["/usr/bin/python3", "-c", program], processes_max=40, cgroup=place.cgroup())
    assert 0 < int(place.log()) < 40


def test_descriptors_and_session(place):
    program = ("import os\nfor fd in range(256):\n    try: print(fd, os.readlink(f'/proc/self/fd/{fd}'))\n"
               "    except FileNotFoundError: pass\nprint(os.getsid(0) == os.getpid())")
    place.run(["/usr/bin/python3", "-c", program])
    log = place.home / "dibs-1.log"
    assert place.log().splitlines() == ["0 /dev/null", f"1 {log}", f"2 {log}", "True"]


def test_the_keyring_is_nobody_elses(place):
    """Keys of one job, or of who started dibsd, are not for the next."""
    number = {"x86_64": 250, "aarch64": 219}.get(os.uname().machine)
    if number is None:
        pytest.skip("the number of keyctl is not known here")
    program = (f"import ctypes\nkeyctl = lambda *a: ctypes.CDLL(None).syscall({number}, *a)\n"
               "print(keyctl(0, -3, 0))")  # KEYCTL_GET_KEYRING_ID of KEY_SPEC_SESSION_KEYRING
    ours = subprocess.run(["/usr/bin/python3", "-c", program], capture_output=True, text=True, check=True).stdout
    seen = {ours}
    for count in (1, 2):
        place.run(["/usr/bin/python3", "-c", program])
        if place.log() == "-1\n":
            pytest.skip("keyrings cannot be used here")
        assert place.log() not in seen
        seen.add(place.log())


def test_a_directory_that_is_gone(place):
    job = place.run("touch ran", f"dir={place.home}/gone")
    assert job.end == f"failed cannot change to {place.home}/gone: No such file or directory"


def test_a_command_that_is_not_there(place):
    assert place.run(["nowhere"]).end == "failed cannot execute nowhere: No such file or directory"
    assert place.run(["/etc/passwd"]).end == "failed cannot execute /etc/passwd: Permission denied"


# --- logs ---


def test_a_log_that_cannot_be_written(place, bob):
    own = place.directory / "root"
    own.mkdir(mode=0o755)
    job = place.run("touch ran", f"out={own}/log")
    assert job.end == f"failed cannot write the log {own}/log: Permission denied"
    theirs = place.directory / "theirs"
    theirs.mkdir()
    shutil.chown(theirs, bob)
    assert place.run("touch ran", f"out={theirs}/log").end.endswith("Permission denied")
    assert place.run("touch ran", "err=.").end.endswith("Is a directory")
    assert not (place.home / "ran").exists()


def test_a_log_is_opened_as_the_user(place):
    secret = place.state / "secret"
    secret.write_text("root's")
    (place.home / "link").symlink_to(secret)
    assert place.run("echo gone", "out=link").end.endswith("link: Permission denied")
    (place.home / "passwd").symlink_to("/etc/passwd")
    assert place.run("echo gone", "out=passwd").end.endswith("passwd: Permission denied")
    assert secret.read_text() == "root's"


def test_a_fifo_as_log(place):
    fifo = place.fifo("log")
    assert place.run("echo x", "out=log").end.endswith("/log: No such device or address")
    with reading(fifo) as read:
        assert place.run("echo x", "out=log").end == "exit 0" and read() == b"x\n"


def test_a_log_that_its_user_serves_does_not_keep_the_supervisor(place, alice):
    entry = pwd.getpwnam(alice)
    (place.directory / "served").mkdir()
    try:
        served = StuckFs(place.directory / "served", entry.pw_uid, entry.pw_gid)
    except OSError as e:
        pytest.skip(f"FUSE cannot be used here: {e}")
    try:
        assert place.run("echo out; exit 3", f"out={served.path}/log").end == "exit 3"
        assert not served.kept
    finally:
        served.close()


def test_a_path_with_control_characters_stays_one_line(place):
    job = place.run("echo x", "out=a\nexit 0\x1b[1m")
    assert job.end == "exit 0" and len(job.lines()) == 4
    assert job.value("log") == f"0 {place.home}/a?exit 0?[1m"


def test_much_output(place):
    job = place.run("head -c 200000000 /dev/zero; exit 1")
    assert job.end == "exit 1" and (place.home / "dibs-1.log").stat().st_size == 200_000_000


# --- scripts, environments ---


def test_scripts(place):
    place.run(["name", "a b", "$c"], "script=#!/bin/bash\nprintf '%s|' \"$@\"; echo $BASH")
    assert place.log() == "a b|$c|/bin/bash\n"
    place.run(["name", "x"], "script=echo plain $1; exit 3")
    assert place.log() == "plain x\n" and place.jobs[-1].end == "exit 3"
    assert place.run(["name"], "script=#!/nowhere/at/all\n").end == "failed cannot execute name: No such file or directory"
    job = place.run(["name"], b"script=\x7fELF\xff\xfe\x01")
    assert job.end.split()[0] in ("exit", "failed") and job.end != "exit 0"


@pytest.mark.parametrize("script", [None, "script=#!/bin/sh\necho \"$KIND:$*\"; exit 4"])
def test_virtual_environments(place, script):
    bin_directory = place.home / "env" / "bin"
    bin_directory.mkdir(parents=True)
    (bin_directory / "activate").write_text("export KIND=venv$#; set -- lost")
    command = ["name", "a b"] if script else ["sh", "-c", "echo \"$KIND:$*\"; exit 4", "0", "a b"]
    extra = [script] if script else []
    assert place.run(command, f"venv={place.home}/env", *extra).end == "exit 4"
    assert place.log() == "venv0:a b\n"
    assert place.run(command, "venv=env", "setup=declare -x KIND=setup$#; shift 3; false; true", *extra).end == "exit 4"
    assert place.log() == "venv0:a b\n"
    assert place.run(command, "venv=", "setup=declare -x KIND=setup$#; set -- x", *extra).end == "exit 4"
    assert place.log() == "setup0:a b\n"
    assert place.run(command, "venv=other", *extra).end == \
        "failed its virtual environment cannot be read: ./other/bin/activate: No such file or directory"


def test_the_virtual_environment_of_the_home_directory(place, alice):
    home = Path(pwd.getpwnam(alice).pw_dir)
    (home / "venv/bin").mkdir(parents=True)
    (home / "venv/bin/activate").write_text("KIND=home; export KIND")
    try:
        place.run("echo $KIND")
        assert place.log() == "home\n"
        place.run("echo $KIND", "venv=")
        assert place.log() == "\n"
    finally:
        shutil.rmtree(home / "venv")


@pytest.mark.parametrize("setup, code", [("false", 1), ("(exit 7)", 7), ("if", 1), ("no-such-thing", 127)])
def test_a_setup_that_fails(place, setup, code):
    job = place.run("touch ran", f"setup={setup}")
    assert job.end.startswith("exit ") and job.end != "exit 0" and not (place.home / "ran").exists()
    assert f"dibs: the setup failed with status {job.end.split()[1]}" in place.log()
    assert setup == "if" or job.end == f"exit {code}"


def test_words_of_users_are_only_words(place):
    words = ["printf", "%s\\n", "$(touch ran)", "`touch ran`", "\"; touch ran; \"", "-n", "'"]
    place.run(words, "setup=:")
    assert place.log().splitlines() == words[2:] and not (place.home / "ran").exists()


# --- PAM ---


def test_pam_refuses(place, pam):
    job = place.run("touch ran", pam=pam("account required pam_deny.so", "session required pam_permit.so"))
    assert job.end.startswith("failed PAM does not let the user in: ")
    job = place.run("touch ran", pam=pam("account required pam_permit.so", "session required pam_deny.so"))
    assert job.end.startswith("failed PAM does not open a session: ")
    assert not (place.home / "ran").exists()


def test_the_session_is_opened_before_and_closed_after(place, pam):
    trace = place.directory / "trace"
    script = place.directory / "hook"
    script.write_text(f"#!/bin/sh\necho $PAM_TYPE $PAM_USER $PAM_TTY >>{trace}\n")
    script.chmod(0o755)
    service = pam("account required pam_permit.so", f"session required pam_exec.so {script}")
    job = place.run(f"cat {trace}", pam=service)
    assert place.log() == f"open_session {place.user} dibs\n"
    assert job.end == "exit 0" and trace.read_text().splitlines()[-1] == f"close_session {place.user} dibs"


def test_limits_of_the_session_are_the_job_s(place, pam):
    conf = place.directory / "limits"
    conf.write_text(f"{place.user} hard nofile 500\n{place.user} soft nofile 400\n")
    service = pam("account required pam_permit.so", f"session required pam_limits.so conf={conf}",
                  "session optional pam_umask.so umask=0027")
    assert place.run("ulimit -Sn; ulimit -Hn; umask", pam=service).end == "exit 0"
    assert place.log() == "400\n500\n0027\n"


def test_a_pam_module_that_hangs(place, pam):
    service = pam("account required pam_permit.so", "session required pam_exec.so /bin/sleep 1000")
    job = place.start("touch ran", pam=service, start_timeout_us=300000)
    assert job.wait() == "failed it was not started within 300 ms: opening its PAM session takes too long"
    wait_exit(job.process)
    assert not (place.home / "ran").exists()
    for pid in pids_of("sleep", "1000"):
        if os.stat(f"/proc/{pid}").st_uid == 0:
            os.kill(pid, signal.SIGKILL)


def test_a_session_that_hangs_at_its_end(place, pam):
    """dibsd learns of the end before."""
    hook = place.directory / "hook"
    hook.write_text(f"#!/bin/sh\necho $$ >{place.fifo('up')}\nexec sleep 1000\n")
    hook.chmod(0o755)
    service = pam("account required pam_permit.so", "session required pam_permit.so",
                  f"session optional pam_exec.so type=close_session {hook}")
    with reading(place.home / "up") as read:
        job = place.start("exit 3", pam=service)
        assert job.wait() == "exit 3"
        pid = int(read())
        assert job.process.poll() is None
        os.kill(pid, signal.SIGKILL)
        wait_exit(job.process)


def pids_of(*words):
    wanted = "\0".join(words).encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().rstrip(b"\0").endswith(wanted):
                yield int(path.parent.name)


# --- memory ---


def fake_cgroup(place, kills):
    """A directory with what the kernel puts there where the memory controller is."""
    path = place.directory / "cgroup"
    path.mkdir()
    (path / "cgroup.procs").write_text("")
    events = path / "memory.events"
    events.write_text(f"low 0\nhigh 0\nmax 3\noom 1\noom_kill {kills}\noom_group_kill 0\n")
    events.chmod(0o666)
    return path


def test_the_kernel_ran_out_of_memory(place):
    cgroup = fake_cgroup(place, 2)
    job = place.run(f"echo 'oom_kill 5' >{cgroup}/memory.events; kill -9 $$", cgroup=cgroup)
    assert job.lines()[-2:] == ["memory out of memory: the kernel killed 3 of its processes", "signal 9"]


def test_what_was_killed_before_is_not_told_again(place):
    job = place.run("exit 3", cgroup=fake_cgroup(place, 2))
    assert not job.values("memory") and job.end == "exit 3"


@pytest.mark.parametrize("text", ["torch.cuda.OutOfMemoryError: CUDA out of memory. Tried", "CUDA_ERROR_OUT_OF_MEMORY",
                                  "cudaErrorMemoryAllocation", "RESOURCE_EXHAUSTED: Out of memory while"])
def test_a_gpu_ran_out_of_memory(place, text):
    job = place.run(f"seq 100000; echo '{text}' >&2; exit 1")
    assert job.lines()[-2:] == ["memory out of memory on a GPU: its log says that CUDA had none left", "exit 1"]


def test_only_its_own_failure_and_its_own_output_count(place):
    assert not place.run("echo CUDA out of memory", "out=log").values("memory")
    assert not place.run("exit 1", "out=log").values("memory")
    assert place.run("echo CUDA out of memory >&2; exit 1", "out=log", "err=other").values("memory")
    (place.home / "log").chmod(0o200)  # its user may not read it
    assert place.run("echo CUDA out of memory; exit 1", "out=log").end == "exit 1"
    assert not place.jobs[-1].values("memory")


# --- the service ---


@pytest.fixture
def listener(place):
    path = place.directory / "exec"
    process = subprocess.Popen([place.program, "--listen", path], env={}, cwd="/", stderr=subprocess.PIPE)
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:  # there is no event for a socket that begins to listen
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            probe.connect(str(path))
            break
    yield path
    process.kill()
    process.wait()
    process.stderr.close()


def send(path, order):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(DEADLINE)
    connection.connect(str(path))
    fd = seal(order)
    socket.send_fds(connection, [b"o"], [fd])
    os.close(fd)
    return connection


def told(connection):
    """The messages until the supervisor hangs up."""
    return list(iter(lambda: connection.recv(100), b""))


def test_orders_by_the_socket(place, listener):
    assert listener.stat().st_mode & 0o777 == 0o600
    connections = []
    for number in range(1, 9):
        connections.append(send(listener, place.order(f"exit {number}", number=number)))
    for number, connection in enumerate(connections, 1):
        assert told(connection) == [b"record\n", b"running\n"]
        connection.close()
        assert (place.state / f"{number}.0").read_text().endswith(f"\nexit {number}\n")


def test_connections_without_an_order_hold_up_nobody(place, listener):
    idle = []
    for _ in range(20):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(str(listener))
        idle.append(connection)
    idle[0].send(b"nothing with it")
    with send(listener, place.order("exit 3", number=1)) as connection:
        assert told(connection) == [b"record\n", b"running\n"]
    for connection in idle:
        connection.close()


def test_only_root_may_order(place, listener, alice):
    listener.chmod(0o666)
    program = ("import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(20);"
               "s.connect(sys.argv[1]); sys.exit(0 if s.recv(1) == b'' else 1)")
    done = subprocess.run(["/usr/bin/python3", "-c", program, listener], preexec_fn=demote(alice), timeout=DEADLINE)
    assert done.returncode == 0


def test_jobs_outlive_the_listener(place, listener):
    with reading(place.fifo("up")) as read:
        down = os.open(place.fifo("down"), os.O_RDWR)
        order = place.order("echo x >up; read line <down; exit 6", number=1, cgroup=place.cgroup())
        with send(listener, order) as connection:
            assert read() == b"x\n" and connection.recv(100) == b"record\n"
            for pid in pids_of("--listen", str(listener)):
                os.kill(pid, signal.SIGKILL)
            os.write(down, b"\n")
            assert told(connection) == [b"running\n"]
        os.close(down)
    assert (place.state / "1.0").read_text().endswith("\nexit 6\n")
