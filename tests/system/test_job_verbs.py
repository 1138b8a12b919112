# SPDX-License-Identifier: MIT
"""Living with jobs: queue, show, logs, cancel, hold, resume, requeue, wait; of one's own and of others."""

import json
import os
import pty
import re
import signal
import subprocess
from pathlib import Path

import pytest
from harness import DEADLINE, demote, read_line, uid_of, wait_exit

CONFIG = "[lease]\nkill-grace = 1s\n"


@pytest.fixture
def daemon(make_daemon):
    return make_daemon(config=CONFIG).start()


@pytest.fixture
def place(daemon):
    """place(user): a directory of that user that everybody may look into."""
    def make(user):
        path = daemon.directory / user
        if not path.exists():
            path.mkdir()
            path.chmod(0o755)
            os.chown(path, uid_of(user), -1)
        return path
    return make


@pytest.fixture
def gate(daemon):
    """A FIFO for jobs: "read x < GATE" waits until gate.write(b"\\n")."""
    path = daemon.directory / "gate"
    os.mkfifo(path)
    path.chmod(0o666)
    with open(path, "r+b", buffering=0) as fifo:
        yield fifo


def submit(daemon, place, user, *words, **options):
    """The number of a job; the last word is a line of shell."""
    *wishes, line = words
    out = daemon.dibs("submit", *wishes, "--", "sh", "-c", line, user=user, cwd=str(place(user)), **options).stdout
    return int(re.fullmatch(r"job (\d+) queued\n", out)[1])


def job_of(daemon, number):
    return daemon.lease(number)["job"]


def wait(daemon, *numbers, user, code=0):
    return daemon.dibs("wait", *numbers, user=user, code=code)


def follow(daemon, number, user, *options):
    return daemon.popen("logs", "-f", *options, number, user=user)


def rest(process):
    out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, out.decode(), err.decode()


# queue


def test_the_queue_has_running_jobs_first_and_says_why_others_wait(daemon, place, gate, alice, bob):
    running = submit(daemon, place, alice, "-g", "8", f"read x < {gate.name}")
    daemon.wait_leases(1, state="active")
    nxt = submit(daemon, place, bob, "-g", "2", "true")
    held = submit(daemon, place, bob, "--hold", "--name", "later", "true")
    after = submit(daemon, place, bob, "--after", nxt, "true")
    lines = daemon.dibs("queue", user=bob).stdout.splitlines()
    assert lines[0].split() == ["NEXT", "LEASE", "USER", "GPU", "STATE", "FOR", "UNTIL", "COMMAND"]
    assert re.match(rf" +#{running} +{alice} +0,1,2,3,4,5,6,7 +running +\d+s +sh -c", lines[1])
    assert re.match(rf" +1 +#{nxt} +{bob} +any 2 +waiting +\d+s +sh -c", lines[2])
    assert re.match(rf" +#{held} +{bob} +any 1 +waiting +\d+s +\(held .*\) later: sh -c", lines[3])
    assert re.match(rf" +#{after} +{bob} +any 1 +waiting +\d+s +\(.*{nxt}.*\) sh -c", lines[4])
    objects = json.loads(daemon.dibs("queue", "--json", user=bob).stdout)
    assert [o["id"] for o in objects] == [running, nxt, held, after]
    assert [o["position"] for o in objects] == [None, 1, None, None]
    assert objects[2]["job"]["held"] and objects[2]["job"]["blocked"]
    assert objects[3]["job"]["after"] == [f"{nxt}:ok"]
    gate.write(b"\n")


def test_lists_stay_short_on_a_terminal(daemon, place, gate, alice):
    submit(daemon, place, alice, "-g", "8", f"read x < {gate.name}")
    daemon.wait_leases(1, state="active")
    for _ in range(25):
        submit(daemon, place, alice, "true")
    narrow = {"COLUMNS": "80"}
    listed = daemon.dibs("list", user=alice, env=narrow).stdout.splitlines()
    assert listed[-1] == "and 5 more that wait; 'dibs queue' shows all" and len(listed) == 23
    assert max(map(len, listed)) <= 80
    assert len(daemon.dibs("list", user=alice).stdout.splitlines()) == 27  # in a pipe nothing is cut
    assert "and 15 more; 'dibs queue' shows all" in daemon.dibs("status", env=narrow).stdout
    queue = daemon.dibs("queue", env=narrow).stdout.splitlines()
    assert len(queue) == 27 and max(map(len, queue)) <= 80
    gate.write(b"\n")


# show


def test_show_says_all_of_a_job(daemon, place, alice):
    number = submit(daemon, place, alice, "--name", "night", "--nice", "5", "--note", "for the paper", "-t", "1h",
                    "--on-limit", "requeue", "exit 3")
    wait(daemon, number, user=alice, code=3)
    shown = daemon.dibs("show", number, user=alice).stdout
    assert shown.startswith(f"#{number}: job of {alice}, ended (exit status 3)\n")
    log = place(alice) / f"dibs-{number}.log"
    for line in ("name +night", "nice +5", "note +for the paper", "at limit +requeue", f"log +{log}", "submitted", "ended"):
        assert re.search(rf"^  {line}", shown, re.M), line
    assert job_of(daemon, number)["exit_status"] == 3


def test_show_names_signals(daemon, place, alice):
    number = submit(daemon, place, alice, "kill -9 $$")
    wait(daemon, number, user=alice, code=137)
    assert f"#{number}: job of {alice}, ended (signal 9 (KILL)" in daemon.dibs("show", number).stdout


# logs


def test_logs_prints_what_this_job_wrote_and_nothing_from_before(daemon, place, alice):
    log = place(alice) / "shared.log"
    log.write_text("old\n")
    os.chown(log, uid_of(alice), -1)
    number = submit(daemon, place, alice, "--output", "shared.log", "echo new; echo more >&2")
    wait(daemon, number, user=alice)
    assert daemon.dibs("logs", number, user=alice).stdout == "new\nmore\n"
    assert daemon.dibs("logs", "--tail", "1", number, user=alice).stdout == "more\n"
    assert daemon.dibs("logs", "-n", "9", f"#{number}", user=alice).stdout == "new\nmore\n"
    assert log.read_text() == "old\nnew\nmore\n"


def test_logs_are_printed_byte_for_byte(daemon, place, alice):
    number = submit(daemon, place, alice, "head -c 300000 /dev/urandom | tee copy")
    wait(daemon, number, user=alice)
    process = daemon.popen("logs", number, user=alice)
    out, _ = process.communicate(timeout=DEADLINE)
    assert out == (place(alice) / "copy").read_bytes() and len(out) == 300000


def test_logs_of_a_job_that_waits_says_so(daemon, place, alice):
    number = submit(daemon, place, alice, "--hold", "true")
    assert f"#{number} has not started yet (" in daemon.dibs("logs", number, user=alice, code=4).stderr
    daemon.dibs("cancel", number, user=alice)
    assert f"#{number} has no output, as it never ran" in daemon.dibs("logs", number, user=alice, code=1).stderr


def test_logs_of_what_has_none(daemon, alice):
    hold = daemon.reserve(user=alice)["id"]
    assert f"#{hold} is a hold" in daemon.dibs("logs", hold, user=alice, code=2).stderr
    assert daemon.dibs("logs", 77, user=alice, code=2).stderr
    for wrong in ("x", "1.", "-1", "0"):
        assert daemon.dibs("logs", "--", wrong, user=alice, code=2).stderr
    assert "--tail" in daemon.dibs("logs", "--tail", "-1", hold, user=alice, code=2).stderr


def test_following_waits_for_the_start_shows_what_comes_and_ends_with_the_job(daemon, place, gate, alice):
    number = submit(daemon, place, alice, "--hold", f"echo one; read x < {gate.name}; echo two")
    process = follow(daemon, number, alice)
    assert "has not started yet" in read_line(process.stderr)
    daemon.dibs("resume", number, user=alice)
    assert read_line(process.stdout) == "one\n"
    gate.write(b"\n")
    assert read_line(process.stdout) == "two\n"
    assert rest(process) == (0, "", "")


def test_following_a_job_that_is_cancelled_before_it_starts(daemon, place, alice):
    number = submit(daemon, place, alice, "--hold", "true")
    process = follow(daemon, number, alice)
    assert "has not started yet" in read_line(process.stderr)
    daemon.dibs("cancel", number, user=alice)
    code, out, err = rest(process)
    assert code == 1 and out == "" and "never ran" in err


def test_following_survives_truncation_and_replacement(daemon, place, gate, alice):
    steps = [": > log", "echo short >> log", "echo other > new; mv new log"]
    line = "echo first and long; " + "; ".join(f"read x < {gate.name}; {step}" for step in steps)
    number = submit(daemon, place, alice, "--output", "log", line + f"; read x < {gate.name}")
    process = follow(daemon, number, alice)
    assert read_line(process.stdout) == "first and long\n"
    gate.write(b"\n")
    gate.write(b"\n")
    assert read_line(process.stdout) == "short\n"
    gate.write(b"\n")
    assert read_line(process.stdout) == "other\n"
    gate.write(b"\n")
    assert rest(process)[0] == 0


def test_following_survives_a_daemon_that_is_restarted(daemon, place, gate, alice):
    number = submit(daemon, place, alice, f"echo one; read x < {gate.name}; echo two; read x < {gate.name}")
    daemon.wait_leases(1, state="active")
    process = follow(daemon, number, alice)
    assert read_line(process.stdout) == "one\n"
    daemon.kill()
    gate.write(b"\n")
    assert read_line(process.stdout) == "two\n"
    daemon.start()
    gate.write(b"\n")
    assert rest(process)[0] == 0
    assert daemon.lease(number)["state"] == "ended"


@pytest.mark.parametrize("verb", [["logs", "-f"], ["wait"]])
def test_ctrl_c_touches_nothing(daemon, place, gate, alice, verb):
    number = submit(daemon, place, alice, f"echo one; read x < {gate.name}")
    daemon.wait_leases(1, state="active")
    process = daemon.popen(*verb, number, user=alice)
    if verb[0] == "logs":
        assert read_line(process.stdout) == "one\n"
    process.send_signal(signal.SIGINT)
    assert wait_exit(process) == -signal.SIGINT
    assert daemon.leases(id=number)[0]["state"] == "active"
    gate.write(b"\n")
    wait(daemon, number, user=alice)


def test_following_ends_when_nobody_reads(daemon, place, gate, alice):
    number = submit(daemon, place, alice, f"echo one; read x < {gate.name}")
    daemon.wait_leases(1, state="active")
    process = follow(daemon, number, alice)
    assert read_line(process.stdout) == "one\n"
    process.stdout.close()
    process.stdout = None
    wait_exit(process)
    gate.write(b"\n")


def test_what_others_may_read_is_up_to_the_file(daemon, place, alice, bob):
    open_log = submit(daemon, place, alice, "echo for all")
    closed = submit(daemon, place, alice, "--output", "secret", "chmod 600 secret; echo for me")
    wait(daemon, open_log, closed, user=alice)
    assert daemon.dibs("logs", open_log, user=bob).stdout == "for all\n"
    refused = daemon.dibs("logs", closed, user=bob, code=3)
    assert refused.stdout == "" and "up to its owner" in refused.stderr and str(place(alice) / "secret") in refused.stderr
    assert daemon.dibs("logs", closed, user=alice).stdout == "for me\n"


def on_terminal(daemon, user, *words):
    """What a command writes to a terminal of its own."""
    main, other = pty.openpty()
    process = daemon.popen(*words, user=user, stdout=other, env={"LC_ALL": "C.UTF-8", "TERM": "xterm"})
    os.close(other)
    wait_exit(process)
    out = os.read(main, 65536)
    os.close(main)
    return out


def test_somebody_elses_output_does_not_command_my_terminal(daemon, place, alice, bob):
    number = submit(daemon, place, alice, r"printf '\033[2J\033]0;title\007Gr\303\274n \302\2331m\n'")
    wait(daemon, number, user=alice)
    assert b"\033[2J" in on_terminal(daemon, alice, "logs", number)
    for reader in (bob, None):
        shown = on_terminal(daemon, reader, "logs", number)
        assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]", shown), shown
        assert "Grün".encode() in shown
    assert "\033[2J" in daemon.dibs("logs", number, user=bob).stdout  # programs get what is there


@pytest.mark.parametrize("trap", ["mkfifo", "ln -sf /dev/tty", "ln -sf /dev/zero", "mkdir", "ln -sf ."])
def test_a_log_that_is_a_trap_is_not_opened(daemon, place, alice, trap):
    number = submit(daemon, place, alice, "--output", "log", f"rm log; {trap} log")
    wait(daemon, number, user=alice)
    for follow_it in ([], ["-f"]):
        assert daemon.dibs("logs", *follow_it, number, code=1).stderr.count("\n") == 1


# cancel


def test_cancel_takes_out_of_the_queue_or_ends(daemon, place, gate, alice):
    running = submit(daemon, place, alice, "-g", "8", f"read x < {gate.name}")
    daemon.wait_leases(1, state="active")
    waiting = submit(daemon, place, alice, "true")
    said = daemon.dibs("cancel", waiting, f"#{running}", user=alice).stdout.splitlines()
    assert sorted(said) == [f"job {running}: told to end", f"job {waiting}: left the queue"]
    wait(daemon, running, user=alice, code=143)
    assert daemon.lease(waiting)["state"] == "ended"


def test_cancel_with_a_signal_only_sends_it(daemon, place, gate, alice):
    number = submit(daemon, place, alice, f"trap 'echo got it' USR1; echo ready; read x < {gate.name}; read x < {gate.name}")
    process = follow(daemon, number, alice)
    line = read_line(process.stdout)
    assert line == "ready\n"
    assert daemon.dibs("cancel", "--signal", "USR1", number, user=alice).stdout == f"job {number}: was sent signal 10 (USR1)\n"
    assert read_line(process.stdout) == "got it\n"
    assert daemon.leases(id=number)[0]["state"] == "active"
    gate.write(b"\n")
    assert "is no signal" in daemon.dibs("cancel", "--signal", "NONSENSE", number, user=alice, code=2).stderr


def test_nobody_cancels_for_others_and_it_is_all_or_nothing(daemon, place, alice, bob):
    mine = submit(daemon, place, bob, "--hold", "true")
    other = submit(daemon, place, alice, "--hold", "true")
    for verb in ("cancel", "hold", "resume", "requeue", "suspend"):
        refused = daemon.dibs(verb, mine, other, user=bob, code=3)
        assert refused.stdout == "" and str(other) in refused.stderr
    assert {lease["id"] for lease in daemon.leases(state="waiting")} == {mine, other}
    assert "4711" in daemon.dibs("cancel", mine, 4711, user=bob, code=2).stderr
    assert {lease["id"] for lease in daemon.leases(state="waiting")} == {mine, other}


def test_cancel_a_thousand_at_once(daemon, place, alice):
    numbers = [submit(daemon, place, alice, "--hold", "true") for _ in range(3)]
    array = submit(daemon, place, alice, "--hold", "--array", "0-999", "true")
    words = [f"{array}.{i}" for i in range(999)]
    result = subprocess.run(["xargs", str(daemon.programs["dibs"]), "cancel"], input="\n".join([*map(str, numbers), *words]),
                            text=True, capture_output=True, env=daemon.client_environment(), preexec_fn=demote(alice),
                            cwd="/", timeout=DEADLINE)
    assert result.returncode == 0, result.stderr
    assert [(l["id"], l["job"]["pending"]) for l in daemon.leases()] == [(array, "999")]


# hold, resume, requeue


def test_hold_and_resume(daemon, place, gate, alice):
    running = submit(daemon, place, alice, "-g", "8", f"read x < {gate.name}")
    daemon.wait_leases(1, state="active")
    number = submit(daemon, place, alice, "echo here")
    assert daemon.dibs("hold", number, user=alice).stdout == f"job {number}: does not start until 'dibs resume'\n"
    assert job_of(daemon, number)["held"] and daemon.leases(id=number)[0]["position"] is None
    assert daemon.dibs("resume", number, user=alice).stdout == f"job {number}: waits for its turn, place 1\n"
    assert str(running) in daemon.dibs("hold", running, user=alice, code=3).stderr
    gate.write(b"\n")
    wait(daemon, number, user=alice)


def test_requeue_starts_anew(daemon, place, gate, alice):
    number = submit(daemon, place, alice, f"echo $DIBS_RESTART_COUNT; read x < {gate.name}")
    process = follow(daemon, number, alice)
    assert read_line(process.stdout) == "0\n"
    assert f"job {number}: told to end; then it goes back to the queue" in daemon.dibs("requeue", number, user=alice).stdout
    assert read_line(process.stdout) == "1\n"
    assert "running again" in daemon.dibs("queue").stdout
    gate.write(b"\n")
    assert rest(process)[0] == 0
    assert daemon.dibs("logs", number, user=alice).stdout == "1\n"  # of the last attempt
    assert "started again 1 time" in daemon.dibs("show", number).stdout


# Arrays


def test_elements_have_names_everywhere(daemon, place, gate, alice):
    array = submit(daemon, place, alice, "-g", "4", "--array", "5-9%2",
                   f"echo $DIBS_ARRAY_INDEX; test $DIBS_ARRAY_INDEX -lt 7 && read x < {gate.name}; exit $DIBS_ARRAY_INDEX")
    daemon.wait_leases(3, kind="job")
    queue = daemon.dibs("queue").stdout
    assert f"#{array}.5 " in queue and f"#{array}.6 " in queue and f"#{array}.[7-9] " in queue
    assert f"#{array}.5 " in daemon.dibs("status").stdout
    assert daemon.dibs("show", f"{array}.6").stdout.startswith(f"#{array}.6: job of {alice}, active\n")
    assert "say which element" in daemon.dibs("logs", array, user=alice, code=2).stderr
    assert f"#{array}.9 has not started yet" in daemon.dibs("logs", f"{array}.9", user=alice, code=4).stderr
    process = follow(daemon, f"{array}.9", alice)
    assert "has not started yet" in read_line(process.stderr)
    gate.write(b"\n\n")
    assert rest(process)[:2] == (0, "9\n")
    failed = wait(daemon, f"{array}.5", user=alice, code=5).stderr
    assert failed == f"dibs: #{array}.5 sh: exit status 5\n"
    assert "5 of its elements failed" in wait(daemon, array, user=alice, code=1).stderr
    assert daemon.dibs("logs", f"{array}.6", user=alice).stdout == "6\n"


# wait


def test_wait_takes_the_exit_status_of_the_first_that_failed(daemon, place, gate, alice):
    slow = submit(daemon, place, alice, f"read x < {gate.name}; exit 4")
    good, bad = submit(daemon, place, alice, "true"), submit(daemon, place, alice, "exit 7")
    killed = submit(daemon, place, alice, "kill -USR1 $$")
    assert wait(daemon, good, user=alice).stderr == ""
    assert wait(daemon, good, bad, killed, user=alice, code=7).stderr.count("\n") == 2
    wait(daemon, killed, user=alice, code=128 + signal.SIGUSR1)
    process = daemon.popen("wait", slow, bad, user=alice)
    assert f"#{bad}" in read_line(process.stderr)
    gate.write(b"\n")
    code, out, err = rest(process)
    assert (code, out) == (4, "") and err == f"dibs: #{slow} sh: exit status 4\n"
    objects = json.loads(daemon.dibs("wait", "--json", good, bad, user=alice, code=7).stdout)
    assert [(o["id"], o["job"]["exit_status"], o["end"]) for o in objects] == [(good, 0, "exited"), (bad, 7, "exited")]


def test_wait_for_what_never_ran(daemon, place, alice):
    number = submit(daemon, place, alice, "--hold", "true")
    process = daemon.popen("wait", number, user=alice)
    daemon.dibs("cancel", number, user=alice)
    assert rest(process)[0] == 125
    wait(daemon, number, user=alice, code=125)
    gone = place(alice) / "gone"
    gone.mkdir(mode=0o777)
    missing = submit(daemon, place, alice, "--hold", "--chdir", gone, "true")
    gone.rmdir()
    daemon.dibs("resume", missing, user=alice)
    failed = wait(daemon, missing, user=alice, code=125).stderr
    assert str(gone) in failed and failed.count("\n") == 1
    assert wait(daemon, 4711, user=alice, code=2).stderr


def test_wait_survives_a_daemon_that_is_restarted(daemon, place, gate, alice):
    number = submit(daemon, place, alice, f"read x < {gate.name}; exit 9")
    failed = submit(daemon, place, alice, "exit 7")
    wait(daemon, failed, user=alice, code=7)
    process = daemon.popen("wait", number, failed, user=alice)
    assert f"#{failed}" in read_line(process.stderr)  # so it was heard
    daemon.kill()
    assert "dibsd went away" in read_line(process.stderr)
    gate.write(b"\n")
    daemon.start()
    code, _, err = rest(process)
    assert code == 9 and err == f"dibs: #{number} sh: exit status 9\n"


def test_wait_for_a_run_or_hold(daemon, alice):
    hold = daemon.reserve(user=alice)["id"]
    process = daemon.popen("wait", hold, user=alice)
    daemon.dibs("release", hold, user=alice)
    assert rest(process) == (0, "", "")


# Hostile


def test_names_and_reasons_of_others_are_harmless(daemon, place, alice, bob):
    number = submit(daemon, place, alice, "--hold", "--name", "a\033[2Jb\u202e", "--output", "x\033]0;y\007", "true")
    daemon.dibs("resume", number, user=alice)
    wait(daemon, number, user=alice, code=None)
    submit(daemon, place, alice, "--hold", "--name", "a\033[2Jb", "true")
    for words in (["queue"], ["list", "--all"], ["status"], ["show", number], ["show", number, "--json"], ["queue", "--json"]):
        shown = daemon.dibs(*words, user=bob, env={"LC_ALL": "C.UTF-8"}).stdout
        assert "\033" not in shown and "\a" not in shown and "\u202e" not in shown, shown


def test_a_symbolic_link_as_log_gives_nothing_that_its_reader_may_not_read(daemon, place, alice, bob):
    secret = place(alice) / "secret"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    number = submit(daemon, place, bob, "--output", "log", f"rm log; ln -s {secret} log")
    wait(daemon, number, user=bob)
    assert daemon.dibs("logs", number, user=bob, code=3).stdout == ""
    assert Path(secret).read_text() == "secret\n"
