# SPDX-License-Identifier: MIT
"""dibs run: what the command gets, what the shell gets of the command, and what a waiting one does.

When the lease ends is in test_run_end.py, what a terminal has to do with it in test_terminal.py.
"""

import os
import resource
import select
import signal
import subprocess

import pytest
from harness import DEADLINE, demote, read_line, wait_exit

ADDED = ["CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "DIBS_GPUS", "DIBS_LEASE", "NVIDIA_VISIBLE_DEVICES"]


def variables(daemon, *options, user=None, env=None):
    """The environment of a command under dibs run."""
    out = daemon.dibs("run", *options, "--", "cat", "/proc/self/environ", user=user, env=env).stdout
    return dict(entry.split("=", 1) for entry in out.split("\0") if entry)


def uuids(daemon, *indices):
    gpus = daemon.status()["gpus"]
    return ",".join(gpus[i]["uuid"] for i in indices)


def hold_all(daemon, user):
    return daemon.reserve("-g", len(daemon.status()["gpus"]), user=user)["id"]


# What the command gets


def test_environment_has_the_documented_variables_and_is_else_unchanged(daemon, alice):
    before = daemon.client_environment({"ODD": "a\nb=c", "CUDA_VISIBLE_DEVICES": "7", "DIBS_LEASE": "old", "EMPTY": ""})
    after = variables(daemon, "-g", "2", user=alice, env=before)
    assert after == before | {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": uuids(daemon, 0, 1),
        "NVIDIA_VISIBLE_DEVICES": uuids(daemon, 0, 1),
        "DIBS_GPUS": "0,1",
        "DIBS_LEASE": "1",
    }


def test_visible_index_names_gpus_by_index(daemon, alice):
    got = variables(daemon, "--gpu", "5,2", "--visible", "index", user=alice)
    assert {name: got[name] for name in ADDED} == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "2,5", "NVIDIA_VISIBLE_DEVICES": "2,5",
        "DIBS_GPUS": "2,5", "DIBS_LEASE": "1",
    }


def test_configuration_chooses_visible_and_the_command_line_overrules_it(make_daemon, alice):
    daemon = make_daemon(config="[lease]\nvisible = index\n").start()
    assert variables(daemon, user=alice)["CUDA_VISIBLE_DEVICES"] == "0"
    assert variables(daemon, "--visible", "uuid", user=alice)["CUDA_VISIBLE_DEVICES"] == uuids(daemon, 0)


def odd_process(user):
    """Everything about a process that a wrapper could get wrong, set to something unusual."""
    become = demote(user)

    def prepare():
        os.umask(0o137)
        os.nice(3)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGINT])
        for sig in (signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTSTP):
            signal.signal(sig, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_NOFILE, (321, 654))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_STACK, (4 << 20, 16 << 20))
        become()

    return prepare


INSPECTIONS = {
    "working directory": ["readlink", "/proc/self/cwd"],
    "descriptors": ["sh", "-c", "readlink /proc/self/fd/* | grep -v '^/proc'"],
    "limits": ["cat", "/proc/self/limits"],
    "status": ["grep", "-E", "^(Umask|PPid|TracerPid|Uid|Gid|Groups|Threads|Sig...|ShdPnd|Cap|NoNewPrivs|Seccomp)",
               "/proc/self/status"],
    "group, session, terminal, priority": ["cut", "-d", " ", "-f", "4-8,18,19,41", "/proc/self/stat"],
    "badness": ["cat", "/proc/self/oom_score_adj"],
    "name": ["sh", "-c", "tr '\\0' ' ' < /proc/$$/cmdline"],
}


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after waiting"])
@pytest.mark.parametrize("what", INSPECTIONS)
def test_process_is_else_unchanged(daemon, alice, bob, what, waits):
    reader, writer = os.pipe()
    options = {"cwd": "/usr/share", "preexec_fn": odd_process(bob), "start_new_session": True,
               "pass_fds": [reader, writer]}
    plain = subprocess.run(INSPECTIONS[what], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, env=daemon.client_environment(), check=True, **options)
    hold = hold_all(daemon, alice) if waits else None
    process = daemon.popen("run", "--", *INSPECTIONS[what], stderr=subprocess.DEVNULL, **options)
    if waits:
        daemon.wait_leases(1, state="waiting")
        daemon.dibs("release", hold, user=alice)
    out, _ = process.communicate(timeout=DEADLINE)
    os.close(reader)
    os.close(writer)
    assert normal(out, process.pid) == normal(plain.stdout, 0)
    assert process.returncode == 0


def normal(out, pid):
    """Without what differs between any two processes: the numbers of pipes, groups and sessions."""
    lines = out.decode().splitlines()
    if lines and lines[0].count(" ") == 7 and lines[0][0].isdigit():
        fields = lines[0].split()
        assert not pid or fields[1] == fields[2] == str(pid)
        lines[0] = " ".join([fields[0], *fields[3:]])
    pipes = {}
    return [pipes.setdefault(line, f"pipe {len(pipes)}") if line.startswith("pipe:") else line for line in lines]


def test_command_is_the_very_process_that_was_started(daemon, alice):
    process = daemon.popen("run", "--", "sh", "-c", "echo $$; exec sleep 1000", user=alice)
    assert int(read_line(process.stdout)) == process.pid
    daemon.wait_leases(1, state="active")
    process.kill()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_waiting_with_closed_standard_streams_harms_nobody(daemon, alice, bob, closed):
    hold = hold_all(daemon, alice)
    directory = daemon.directory / "free-for-all"
    directory.mkdir()
    directory.chmod(0o1777)
    line = f"exec {daemon.programs['dibs']} run -- sh -c 'ls /proc/$$/fd > {directory}/fds' {closed}"
    process = subprocess.Popen(["bash", "-c", line], env=daemon.client_environment(), preexec_fn=demote(bob))
    daemon.clients.append(process)
    daemon.wait_leases(1, state="waiting")
    daemon.dibs("release", hold, user=alice)
    assert wait_exit(process) == 0
    fds = (directory / "fds").read_text().split()
    assert [n for n in "02" if n in fds] == [n for n, sign in (("0", "<&-"), ("2", "2>&-")) if sign not in closed]


# What the shell gets


@pytest.mark.parametrize("command, status", [
    ("true", 0), ("sh -c 'exit 42'", 42), ("sh -c 'exit 255'", 255),
    ("sh -c 'kill -SEGV $$'", 128 + 11), ("sh -c 'kill -TERM $$'", 128 + 15), ("sh -c 'kill -KILL $$'", 128 + 9),
    ("sh -c 'kill -INT $$'", 128 + 2),
])
def test_exit_status_is_that_of_the_command(daemon, alice, command, status):
    out = daemon.shell(f"(ulimit -c 0; dibs run -- {command}); echo $?", user=alice, stderr=subprocess.DEVNULL)
    assert out == f"{status}\n"
    daemon.wait_leases(0)


@pytest.mark.parametrize("command, status, sentence", [
    ("no-such-command", 127, "dibs: no-such-command: command not found"),
    ("/no/such/command", 127, "dibs: cannot run /no/such/command: No such file or directory"),
    ("/etc/passwd/x", 127, "dibs: cannot run /etc/passwd/x: Not a directory"),
    ("/etc/passwd", 126, "dibs: cannot run /etc/passwd: Permission denied"),
    ("/usr", 126, "dibs: cannot run /usr: Is a directory"),
    ("", 127, "dibs: : command not found"),
])
def test_what_cannot_run_is_said_at_once_and_leaves_nothing_behind(daemon, alice, bob, command, status, sentence):
    hold = hold_all(daemon, alice)
    result = daemon.dibs("run", "--", command, user=bob, code=status)
    assert (result.stdout, result.stderr) == ("", sentence + "\n")
    assert [lease["id"] for lease in daemon.leases()] == [hold]
    assert "never was a lease" in daemon.dibs("show", hold + 1, code=2).stderr


def test_path_that_may_not_be_searched_holds_no_command(daemon, alice):
    secret = daemon.directory / "secret"
    secret.mkdir(mode=0o700)
    result = daemon.dibs("run", "--", "no-such-command", user=alice, code=127, env={"PATH": f"{secret}:/usr/bin"})
    assert result.stderr == "dibs: no-such-command: command not found\n"
    assert daemon.dibs("run", "--", "echo", "ok", user=alice, env={"PATH": f"{secret}:/usr/bin"}).stdout == "ok\n"


def test_output_that_cannot_be_written_is_a_fault(daemon, alice):
    assert daemon.shell("dibs reserve --short >&-; echo $?", user=alice, stderr=subprocess.DEVNULL) == "1\n"
    assert daemon.shell("dibs reserve --short >/dev/full; echo $?", user=alice, stderr=subprocess.DEVNULL) == "1\n"
    assert daemon.shell("timeout 5 dibs status --watch >&-; echo $?", user=alice, stderr=subprocess.DEVNULL) == "1\n"


def test_what_fails_only_at_exec_leaves_no_lease(daemon, alice):
    script = daemon.directory / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    result = daemon.dibs("run", "--", script, user=alice, code=127)
    assert result.stderr == f"dibs: cannot run {script}: No such file or directory\n"
    daemon.wait_leases(0)


def test_no_command_is_wrong_usage(daemon, alice):
    assert "COMMAND" in daemon.dibs("run", user=alice, code=2).stderr
    assert "COMMAND" in daemon.dibs("run", "-g", "1", "--", user=alice, code=2).stderr
    daemon.wait_leases(0)


def test_options_after_the_command_are_the_commands(daemon, alice):
    assert daemon.dibs("run", "echo", "-g", "9", "--help", "--", user=alice).stdout == "-g 9 --help --\n"


def test_command_line_in_the_lease_is_quoted_and_tame(daemon, alice):
    process = daemon.popen("run", "--", "sh", "-c", "echo; read x", "a\x1b[31m", "b c", user=alice,
                           stdin=subprocess.PIPE)
    read_line(process.stdout)
    [lease] = daemon.leases()
    assert "\x1b" not in lease["command"]
    assert lease["command"].startswith("sh -c 'echo; read x' ")
    assert lease["command"].endswith(" 'b c'")
    process.kill()


# While it waits


def waiting_run(daemon, holder, waiter, *options):
    """All GPUs held, and a run that waits for one; returns the hold and the process."""
    hold = hold_all(daemon, holder)
    process = daemon.popen("run", *options, "--", "echo", "started", user=waiter)
    daemon.wait_leases(1, state="waiting")
    return hold, process


def test_who_waits_is_told_what_for_and_starts_when_it_is_free(daemon, alice, bob):
    hold, process = waiting_run(daemon, alice, bob)
    line = read_line(process.stderr)
    assert line.startswith(
        f"dibs: waiting for 1 GPU (#{hold + 1}, position 1): GPUs 0,1,2,3,4,5,6,7 are leased by {alice}")
    daemon.dibs("release", hold, user=alice)
    assert process.communicate(timeout=DEADLINE) == (b"started\n", f"dibs: #{hold + 1} has its turn\n".encode())


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_who_dies_while_waiting_leaves_the_queue_at_once(daemon, alice, bob, sig):
    hold, process = waiting_run(daemon, alice, bob)
    process.send_signal(sig)
    assert wait_exit(process) == -sig
    daemon.wait_leases(0, state="waiting", deadline=5)
    assert daemon.lease(hold + 1)["end"] == "gone"


def test_stopped_waiter_that_goes_on_gets_its_turn(daemon, alice, bob):
    hold, process = waiting_run(daemon, alice, bob)
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    daemon.dibs("release", hold, user=alice)
    daemon.wait_leases(1, state="active")
    assert not select.select([process.stdout], [], [], 0)[0]
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=DEADLINE)[0] == b"started\n"
    daemon.wait_leases(0)


def test_waiting_run_that_its_owner_releases_does_not_start(daemon, alice, bob):
    hold, process = waiting_run(daemon, alice, bob)
    assert daemon.dibs("release", hold + 1, user=bob).stdout == f"run {hold + 1}: left the queue\n"
    out, err = process.communicate(timeout=DEADLINE)
    assert (out, process.returncode) == (b"", 3)
    assert b"taken out of the queue by its owner" in err


def test_wait_that_elapses_ends_with_4(daemon, alice, bob):
    hold = hold_all(daemon, alice)
    result = daemon.dibs("run", "--wait", "1s", "--", "echo", "started", user=bob, code=4)
    assert result.stdout == ""
    assert "still not free: " in result.stderr
    assert [lease["id"] for lease in daemon.leases()] == [hold]


def test_run_inside_a_pid_namespace_is_a_run(daemon):
    command = ["unshare", "--pid", "--fork", "--mount-proc", daemon.programs["dibs"], "run", "--", "sh", "-c",
               "echo $$; read x"]
    process = subprocess.Popen(command, env=daemon.client_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert read_line(process.stdout) == "1\n"
    daemon.wait_leases(1, kind="run", state="active")
    process.communicate(b"\n", timeout=DEADLINE)
    assert process.returncode == 0
    daemon.wait_leases(0)


def test_run_in_a_run_is_a_lease_of_its_own(daemon, alice):
    script = "dibs run -g 2 -- sh -c 'echo $DIBS_GPUS; dibs run -- sh -c \"echo \\$DIBS_GPUS\"'"
    assert daemon.shell(script, user=alice) == "0,1\n2\n"
    daemon.wait_leases(0)
