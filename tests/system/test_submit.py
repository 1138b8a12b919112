# SPDX-License-Identifier: MIT
"""Handing in jobs, and entering leases: as real users, with scripts and environments as they come, and worse."""

import json
import os
import resource
import subprocess
from pathlib import Path

import pytest
from harness import DEADLINE, demote, read_line, uid_of, wait_exit

ROOM = 192 * 1024  # bytes of a job


@pytest.fixture
def home(daemon, alice):
    """A directory of alice's; submit() and others start there."""
    directory = daemon.directory / "work"
    directory.mkdir()
    os.chown(directory, uid_of(alice), -1)
    return directory


@pytest.fixture
def submit(daemon, alice, home):
    """submit(...) as alice: the completed command."""
    def run(*arguments, **options):
        options.setdefault("cwd", home)
        return daemon.dibs("submit", *arguments, user=alice, **options)
    return run


@pytest.fixture
def output(submit, home):
    """output(...) submits, waits, and returns what the job printed."""
    def run(*arguments, **options):
        job = number(submit("--wait-for", "-o", "out-%j", *arguments, **options))
        return (home / f"out-{job}").read_text()
    return run


def number(result):
    word, job, queued = result.stdout.split()
    assert (word, queued) == ("job", "queued")
    return int(job)


def script(home, text, name="job.sh"):
    path = home / name
    path.write_text(text)
    path.chmod(0o644)
    return path


# What it prints, and when it comes back


def test_says_the_number_and_comes_back_at_once(daemon, submit, alice):
    hold = daemon.reserve("-g", "8", user=alice)
    assert submit("--", "true").stdout == f"job {hold['id'] + 1} queued\n"
    [lease] = daemon.leases(state="waiting")
    assert (lease["kind"], lease["user"], lease["command"]) == ("job", alice, "true")


def test_json_is_the_lease(submit, daemon, alice):
    daemon.reserve("-g", "8", user=alice)
    lease = json.loads(submit("--json", "--name", "first", "--", "echo", "a b").stdout)
    assert (lease["kind"], lease["state"], lease["command"]) == ("job", "waiting", "echo 'a b'")
    assert lease["job"]["name"] == "first"


@pytest.mark.parametrize("command, status", [("true", 0), ("exit 42", 42), ("kill -TERM $$", 128 + 15)])
def test_wait_for_takes_over_the_status(submit, command, status):
    submit("--wait-for", "--", "sh", "-c", command, code=status)


def test_interrupted_wait_for_leaves_the_job(daemon, home, alice):
    os.mkfifo(home / "go")
    os.chown(home / "go", uid_of(alice), -1)
    process = daemon.popen("submit", "--wait-for", "--", "cat", "go", user=alice, cwd=home)
    job = int(read_line(process.stdout).split()[1])
    daemon.wait_leases(1, id=job, state="active")
    process.terminate()
    wait_exit(process)
    assert daemon.leases(id=job)[0]["state"] == "active"
    (home / "go").write_text("gone on\n")
    daemon.wait_leases(0, id=job)
    assert (home / f"dibs-{job}.log").read_text() == "gone on\n"


# What the job finds


def test_directory_umask_and_limits_are_those_of_the_caller(daemon, home, alice, output):
    (home / "link").symlink_to(home)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def become():
        os.umask(0o027)
        resource.setrlimit(resource.RLIMIT_NOFILE, (123, limits[1]))
        demote(alice)()

    text = output("--", "sh", "-c", "pwd -L; pwd -P; umask; ulimit -n; id -un", cwd=home / "link",
                  env={"PWD": str(home / "link")}, preexec_fn=become)
    assert text.split() == [str(home / "link"), str(home), "0027", "123", alice]


def test_pwd_that_lies_is_not_believed(output, home):
    assert output("--", "pwd", env={"PWD": "/etc"}) == f"{home}\n"


def test_chdir(output, submit, home, alice):
    (home / "sub").mkdir()
    assert output("--chdir", "sub", "-o", home / "out-%j", "--", "pwd") == f"{home}/sub\n"
    assert "--chdir: nowhere: No such file" in submit("--chdir", "nowhere", "--", "true", code=2).stderr
    assert "is not a directory" in submit("--chdir", "/etc/passwd", "--", "true", code=2).stderr


def test_directory_that_is_gone_is_said(daemon, home, alice):
    gone = home / "gone"
    gone.mkdir()

    def become():
        os.chdir(gone)
        os.rmdir(gone)
        demote(alice)()

    result = daemon.dibs("submit", "--", "true", preexec_fn=become, cwd=gone, code=2)
    assert "the directory that you are in is gone; 'cd' to one that exists, or use --chdir" in result.stderr


def test_environment_is_that_of_the_caller_but_for_gpus_and_session(output):
    text = output("--", "env", env={"MINE": "a\nb", "CUDA_VISIBLE_DEVICES": "7", "HIP_VISIBLE_DEVICES": "7",
                                    "XDG_SESSION_ID": "3", "NOTIFY_SOCKET": "/x", "DIBS_ARRAY_ID": "9"})
    lines = text.splitlines()
    assert "MINE=a" in lines and "b" in lines
    assert "CUDA_VISIBLE_DEVICES=7" not in lines and "HIP_VISIBLE_DEVICES=7" not in lines
    assert not {"XDG_SESSION_ID=3", "NOTIFY_SOCKET=/x", "DIBS_ARRAY_ID=9"} & set(lines)
    assert [line for line in lines if line.startswith("DIBS_JOB=")]


def test_no_env_and_env(output, alice):
    text = output("--no-env", "--env", "MINE", "--env", "OTHER=x y", "--", "env",
                  env={"MINE": "1", "NOT_MINE": "2"}).splitlines()
    assert "MINE=1" in text and "OTHER=x y" in text and f"USER={alice}" in text
    assert not [line for line in text if line.startswith(("NOT_MINE", "DIBS_SOCKET"))]


def test_variable_that_is_not_utf8_is_left_out_and_named(submit):
    result = submit("--wait-for", "--", "true", env={b"ODD": b"\xff"})
    assert "ODD is left out of the environment: it is not UTF-8" in result.stderr


def test_large_environment_is_refused_with_what_to_do(daemon, home, alice):
    def become():
        resource.setrlimit(resource.RLIMIT_STACK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        demote(alice)()

    variables = {f"V{i}": "x" * 60000 for i in range(90)}  # 5 MB; the kernel takes 6
    result = daemon.dibs("submit", "--", "true", cwd=home, env={**variables, "LARGEST": "x" * 60001},
                         preexec_fn=become, code=2)
    assert "the largest are LARGEST (60009)" in result.stderr
    assert "--no-env" in result.stderr
    assert not daemon.leases()
    daemon.dibs("submit", "--no-env", "--", "true", cwd=home, env=variables, preexec_fn=become)


def test_everything_up_to_the_bound_is_taken(submit, output):
    value = "\n" * (60 * 1024)
    variables = {f"V{i}": value for i in range(2)}
    assert output("--", "sh", "-c", 'printf %s "$V1" | wc -c; echo ${#V1}', env=variables).split()[-1] == "61440"


def test_argument_that_is_not_utf8_is_refused(daemon, home, alice):
    command = [str(daemon.programs["dibs"]).encode(), b"submit", b"--", b"echo", b"\xff"]
    result = subprocess.run(command, env=daemon.client_environment(), cwd=home, preexec_fn=demote(alice),
                            capture_output=True, timeout=DEADLINE)
    assert result.returncode == 2
    assert b"is not UTF-8" in result.stderr and b"\xff" not in result.stderr


def test_arguments_are_no_words_of_a_shell(output):
    assert output("--", "printf", "[%s]", "$HOME", "a b", "", "*", "-x") == "[$HOME][a b][][*][-x]"


# Scripts


def test_script_runs_as_it_was_when_submitted(daemon, submit, home, alice):
    hold = daemon.reserve("-g", "8", user=alice)
    path = script(home, '#!/bin/sh\necho "old $1 $#"\n')
    job = number(submit(path.name, "a b", "--", "-g"))
    script(home, "#!/bin/sh\necho new\n")
    path.unlink()
    daemon.dibs("release", hold["id"], user=alice)
    daemon.dibs("wait", job, user=alice)
    assert (home / f"dibs-{job}.log").read_text() == "old a b 3\n"


def test_script_without_interpreter_is_one_of_the_shell(output, home):
    script(home, "echo $((1 + 1))\n")
    assert output("job.sh") == "2\n"


def test_directives_and_what_stands_above_them(submit, daemon, home, alice):
    daemon.reserve("-g", "8", user=alice)
    script(home, "#!/bin/sh\n#DIBS -g 2 -t 4h --name 'a b'\n#SBATCH --gres=gpu:4 --time=10 --comment why\n"
                 "true\n#DIBS -g 8\n")
    lease = daemon.lease(json.loads(submit("--json", "-t", "1h", "job.sh").stdout)["id"])
    assert (lease["count"], lease["job"]["name"], lease["note"]) == (2, "a b", "why")


@pytest.mark.parametrize("line, sentence", [
    ("#DIBS -g two", "job.sh:3: -g/--gpus takes a whole number from 1 to 256, not 'two'"),
    ("#DIBS --frobnicate", "job.sh:3: there is no option '--frobnicate'; see 'dibs submit --help'"),
    ("#DIBS --name 'x", "job.sh:3: something is open at the end of the line: a quote or a '\\'"),
    ("#DIBS --begin never", "job.sh:3: --begin takes a time"),
    ("#DIBS \x1b[31m", "job.sh:3: '?[31m' is no option"),
    ("#SBATCH --time=never", "job.sh:3: #SBATCH --time=never: not a time"),
])
def test_nonsense_in_a_script_is_refused_with_its_line(daemon, submit, home, line, sentence):
    script(home, f"#!/bin/sh\n# a job\n{line}\ntrue\n")
    assert submit("job.sh", code=2).stderr.startswith(f"dibs: {sentence}")
    assert not daemon.leases()


def test_slurm_script_is_queued_and_what_does_not_map_is_named(submit, daemon, home, alice):
    daemon.reserve("-g", "8", user=alice)
    script(home, "#!/bin/bash\n#SBATCH --job-name=train\n#SBATCH --partition=gpu\n#SBATCH --gres=gpu:2\n"
                 "#SBATCH --time=1-0\n#SBATCH --mem=64G\n#SBATCH --array=0-9%2\n#SBATCH --output=%x-%A_%a.out\n")
    result = submit("--json", "job.sh")
    assert [line.split(" ")[1] for line in result.stderr.splitlines()] == ["job.sh:3:", "job.sh:6:"]
    lease = json.loads(result.stdout)
    assert (lease["job"]["name"], lease["job"]["pending"]) == ("train", "0-9")
    assert daemon.lease(lease["id"])["count"] == 2


@pytest.mark.parametrize("make, sentence", [
    (lambda path: None, "there is no script '{path}'; a command goes behind two dashes: dibs submit -- {path}"),
    (lambda path: path.mkdir(), "{path} is a directory, not a script"),
    (lambda path: os.mkfifo(path, 0o644), "{path} is not a regular file"),
    (lambda path: path.symlink_to("/dev/zero"), "{path} is not a regular file"),
    (lambda path: path.symlink_to(path), "cannot read the script {path}: Too many levels of symbolic links"),
    (lambda path: path.write_bytes(b""), "{path} is empty"),
    (lambda path: path.write_bytes(Path("/bin/true").read_bytes()[:9000]), "{path} is binary, not a script"),
    (lambda path: path.write_bytes(b"#!/bin/sh\n# gr\xfcn\n"), "{path}:2: not UTF-8"),
    (lambda path: path.write_bytes(b"#!/bin/sh\r\ntrue\r\n"), "{path} has line ends of DOS"),
    (lambda path: path.write_bytes(b"#" * (ROOM + 1)), "{path} has 196609 bytes; a script may have 196608"),
    (lambda path: path.write_bytes(b"#" * ROOM), "the command has "),
    (lambda path: (path.write_text("true\n"), path.chmod(0)), "cannot read the script {path}: Permission denied"),
])
def test_what_is_no_script_is_said(daemon, submit, home, make, sentence):
    path = home / "odd"
    make(path)
    result = submit(path, code=2)
    assert result.stderr.startswith("dibs: " + sentence.format(path=path))
    assert len(result.stderr.splitlines()) == 1
    assert not daemon.leases()


# Options of a job


def test_held_and_after_and_begin_wait(submit, daemon, alice):
    held = number(submit("--hold", "--", "true"))
    after = number(submit("--after", held, "--", "true"))
    begin = number(submit("--begin", "+2h", "--", "true"))
    assert [lease["id"] for lease in daemon.leases(state="waiting")] == [held, after, begin]
    assert json.loads(daemon.dibs("show", begin, "--json").stdout)["job"]["begin"]
    daemon.dibs("resume", held, user=alice)
    daemon.dibs("wait", held, after, user=alice)
    daemon.dibs("cancel", begin, user=alice)
    daemon.wait_leases(0)


def test_contradictions_are_refused(submit):
    assert "--mem and --exclusive contradict" in submit("--mem", "8G", "--exclusive", "--", "true", code=2).stderr
    assert "give one with -t" in submit("--signal", "USR1", "--", "true", code=2).stderr
    assert "there never was a job" in submit("--after", "999", "--", "true", code=2).stderr


def test_venv_has_to_be_one(submit, output, home, alice):
    assert "is no Python environment" in submit("--venv", "v", "--", "true", code=2).stderr
    (home / "v" / "bin").mkdir(parents=True)
    (home / "v" / "bin" / "activate").write_text("export VIRTUAL_ENV=it\n")
    assert output("--venv", "v", "--env-setup", "SETUP=1; export SETUP", "--", "sh", "-c",
                  "echo $VIRTUAL_ENV $SETUP") == "it 1\n"


# dibs exec


def test_exec_in_a_hold_gets_its_environment_and_status(daemon, alice):
    hold = daemon.reserve("-g", "2", user=alice)
    out = daemon.dibs("exec", hold["id"], "--", "sh", "-c", "echo $DIBS_GPUS $DIBS_LEASE $DIBS_JOB; exit 7", user=alice,
                      code=7)
    assert out.stdout == f"0,1 {hold['id']}\n"
    assert daemon.dibs("exec", f"#{hold['id']}", "echo", "-g", "--", user=alice).stdout == "-g --\n"


def test_exec_in_a_job_is_in_it_and_ends_with_it(daemon, submit, alice):
    job = number(submit("--array", "7", "-g", "2", "--", "sleep", "1000"))
    daemon.wait_status(lambda s: [l for l in s["leases"] if l["state"] == "active" and l["gpus"]])
    process = daemon.popen("exec", f"{job}.7", "--", "sh", "-c", "echo $DIBS_JOB $DIBS_ARRAY_INDEX $DIBS_GPUS; sleep 1000",
                           user=alice)
    assert read_line(process.stdout) == f"{job}.7 7 0,1\n"
    daemon.dibs("cancel", job, user=alice)
    assert wait_exit(process) < 0


def test_exec_is_for_the_owner_and_for_what_has_gpus(daemon, alice, bob):
    hold = daemon.reserve("-g", "8", user=alice)
    assert "alice" in daemon.dibs("exec", hold["id"], "true", user=bob, code=3).stderr
    assert "command not found" in daemon.dibs("exec", hold["id"], "no-such", user=alice, code=127).stderr
    daemon.dibs("exec", "999", "true", user=alice, code=2)
    daemon.dibs("exec", "x", "true", user=alice, code=2)
    daemon.dibs("exec", hold["id"], user=alice, code=2)
    daemon.dibs("exec", hold["id"], "--", user=alice, code=2)
    waiting = number(daemon.dibs("submit", "--", "true", user=bob))
    assert "has no GPUs now" in daemon.dibs("exec", waiting, "true", user=bob, code=3).stderr
