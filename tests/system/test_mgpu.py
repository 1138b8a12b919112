# SPDX-License-Identifier: MIT
"""The face of Multi-GPU Scheduler: its commands as its READMEs print them, and its socket, spoken to by a client of its
protocol that knows nothing of dibs."""

import json
import os
import pty
import pwd
import re
import select
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest
from harness import DEADLINE, demote, read_line, text, uid_of
from jobs import QUICK, acting_as

FACES = ("mgpu_srun", "mgpu_queue", "mgpu_cancel")
ID = re.compile(r"\b\d{8}\b")


@pytest.fixture(scope="module")
def mgpu_programs(programs):
    """The faces are links to dibs, as installed; the server is beside it."""
    for name in FACES:
        link = programs["dibs"].parent / name
        if not link.is_symlink():
            link.symlink_to("dibs")
    server = programs["dibs"].parent.parent / "mgpu" / "mgpu_scheduler_server"
    server.parent.mkdir(exist_ok=True)
    shutil.copy2(Path(os.environ["DIBS_BUILD"]).resolve() / "src/mgpu/mgpu_scheduler_server", server)
    return {"bin": programs["dibs"].parent, "server": server}


def tidy(home):
    for path in [*home.glob(".mgpu_job_*.log"), home / "train.py", home / "inference.py", home / "important_task.py"]:
        path.unlink(missing_ok=True)
    for name in ("venv", "conda"):
        shutil.rmtree(home / name, ignore_errors=True)
    (home / ".bash_profile").unlink(missing_ok=True)


class Site:
    """One dibsd, its users, and programs that jobs find in their PATH."""

    def __init__(self, daemon, programs):
        self.daemon, self.programs, self.servers = daemon, programs, []
        self.tools = daemon.directory / "tools"
        self.tools.mkdir()
        for name in ("python", "torchrun"):
            self.script(self.tools / name, 'echo "$(basename $0) in $PWD:" "$@"')

    def script(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def environment(self, user, extra=None):
        home = pwd.getpwnam(user or "root").pw_dir
        path = f"{self.tools}:{self.programs['bin']}:/usr/bin:/bin"
        return self.daemon.client_environment({"HOME": home, "PATH": path, **(extra or {})})

    def popen(self, line, user, env=None, **options):
        words = shlex.split(line) if isinstance(line, str) else list(map(str, line))
        process = subprocess.Popen([self.programs["bin"] / words[0], *words[1:]], env=self.environment(user, env),
                                   preexec_fn=demote(user), cwd="/", bufsize=0,
                                   **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                                      "stderr": subprocess.PIPE, **options})
        self.daemon.clients.append(process)
        return process

    def run(self, line, user, code=0, deadline=DEADLINE, **options):
        """A command line of a README to its end; returns what it printed, and what on standard error."""
        process = self.popen(line, user, **options)
        out, err = process.communicate(timeout=deadline)
        assert process.returncode == code, (line, process.returncode, out, err)
        return text(out), text(err)

    def home(self, user):
        return Path(pwd.getpwnam(user).pw_dir)

    def log(self, user, job_id):
        return self.home(user) / f".mgpu_job_{job_id}.log"

    def background(self, user, command, *options):
        """The id of a job in the background."""
        out, _ = self.run(["mgpu_srun", "--gpus", "1", "--background", *options, "--", *command], user)
        return ID.search(out)[0]

    def fill(self):
        """Nothing starts any more."""
        return self.daemon.reserve("-g", "8")["id"]

    def release(self):
        self.daemon.dibs("release")

    def serve(self, *options, **popen):
        """mgpu_scheduler_server, at a socket of this test."""
        self.socket = self.daemon.directory / "mgpu.sock"
        server = subprocess.Popen([self.programs["server"], "--socket", self.socket, "--config", self.daemon.config,
                                   *map(str, options)],
                                  env={"PATH": "/usr/bin:/bin", "DIBS_SOCKET": str(self.daemon.socket),
                                       "SECRET_OF_ROOT": "x"},
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                                  cwd="/", **popen)
        self.servers.append(server)
        assert read_line(server.stdout) == "mgpu_scheduler_server started\n"
        return server

    def close(self):
        for server in self.servers:
            if server.poll() is None:
                server.terminate()
                assert server.wait(DEADLINE) == 0, server.stderr.read()
            errors = server.stderr.read().decode()
            assert "AddressSanitizer" not in errors and "runtime error" not in errors, errors
            server.stdout.close()
            server.stderr.close()


@pytest.fixture
def make_site(make_daemon, mgpu_programs, alice, bob):
    sites = []

    def make(config=QUICK, **options):
        site = Site(make_daemon(config=config, **options).start(), mgpu_programs)
        sites.append(site)
        return site

    for user in (alice, bob):
        tidy(Path(pwd.getpwnam(user).pw_dir))
    yield make
    for site in sites:
        site.close()
    for user in (alice, bob):
        tidy(Path(pwd.getpwnam(user).pw_dir))


@pytest.fixture
def site(make_site):
    return make_site()


# --- every command line of the READMEs


def submitted(extra=""):
    return f"Job submitted. ID: X{extra}\n"


def foreground(output, extra="", code=0):
    return f"{submitted(extra)}Waiting for job to start...\n{output}\nJob X completed with exit code {code}\n"


README = [
    # the first one
    ("mgpu_srun --gpus 1 --mem 8000 --time-limit 600 -- python train.py", foreground("python in HOME: train.py\n")),
    ("mgpu_srun --gpus 1 -- python train.py", foreground("python in HOME: train.py\n")),
    # the later ones, for one machine
    ("mgpu_srun --gpu-ids 0 --interactive -- python train.py",
     foreground("python in HOME: train.py\n", " (priority=0)")),
    ("mgpu_srun --gpu-ids 0,1 --mem 8000 --time-limit 600 -- torchrun --nproc_per_node=2 train.py",
     foreground("torchrun in HOME: --nproc_per_node=2 train.py\n", " (priority=0)")),
    ("mgpu_srun --gpu-ids 0,1 --mem 8000 --time-limit 600 --background -- python train.py",
     submitted(" (priority=0)") + "Job queued. Use mgpu_queue to check status.\n"),
    ('mgpu_srun --gpu-ids 2 --env-setup-cmd "source venv/bin/activate" -- python train.py',
     foreground("python of the venv: train.py\n", " (priority=0)")),
    ('mgpu_srun --gpu-ids 1 --env-setup-cmd "conda activate myenv" -- python inference.py',
     foreground("python of myenv: inference.py\n", " (priority=0)")),
    ("mgpu_srun --gpu-ids 0 --priority 10 -- python important_task.py",
     foreground("python in HOME: important_task.py\n", " (priority=10)")),
    ("mgpu_srun --gpu-ids 0 -- python train.py", foreground("python in HOME: train.py\n", " (priority=0)")),
]


@pytest.mark.parametrize("line, expected", README, ids=[line for line, _ in README])
def test_command_lines_of_the_readmes(site, alice, line, expected):
    home = site.home(alice)
    if "env-setup" in line:
        site.script(home / "venv/bin/python", 'echo "python of the venv:" "$@"')
        (home / "venv/bin/activate").write_text(f"PATH={home}/venv/bin:$PATH\n")
        site.script(home / "conda/bin/python", 'echo "python of myenv:" "$@"')
        (home / ".bash_profile").write_text(
            f'conda() {{ [ "$1 $2" = "activate myenv" ] && PATH={home}/conda/bin:$PATH; }}\n')
    out, _ = site.run(line, alice)
    job_id = ID.search(out)[0]
    assert ID.sub("X", out).replace(str(home), "HOME") == expected
    site.daemon.dibs("wait", int(job_id), code=0)
    shown = site.log(alice, job_id).read_text().replace(str(home), "HOME")
    if "--background" in line:
        assert shown == "python in HOME: train.py\n"
    else:
        assert shown in expected


def test_queue_and_cancel_as_the_readmes_have_them(site, alice, bob):
    running = site.background(alice, ["sh", "-c", "sleep 600"])
    site.daemon.wait_leases(1, id=int(running), state="active")
    hold = site.daemon.reserve("-g", "7")["id"]
    first, second = site.background(bob, ["python", "a b.py"]), site.background(bob, ["true"], "--mem", "8000")
    out, err = site.run("mgpu_queue", alice)
    lines = out.splitlines()
    assert not err and lines[0] == "--- Running Jobs ---"
    assert f"ID: {running} | User: {alice} | GPUs: 1 | Mem: None | CMD: sh -c 'sleep 600' | Status: running" in lines[1:3]
    assert f"ID: {hold:08} | User: root | GPUs: 7 | Mem: None | CMD: (hold) | Status: running" in lines[1:3]
    assert lines[3:] == ["--- Queue ---",
                         f"ID: {first} | User: {bob} | GPUs: 1 | Mem: None | CMD: python 'a b.py' | Status: queued",
                         f"ID: {second} | User: {bob} | GPUs: 1 | Mem: None | CMD: true | Status: queued"]
    assert site.run(f"mgpu_cancel {running}", alice) == ("Job cancelled.\n", "")
    site.daemon.wait_leases(0, id=int(running))
    assert site.run(f"mgpu_cancel {int(first)}", bob)[0] == "Job cancelled.\n"
    assert site.run("mgpu_cancel", bob, code=1) == ("Usage: mgpu_cancel <job_id>\n", "")


@pytest.mark.parametrize("job_id", ["00000099", "nonsense", "A1B2C3D4", "0", "-1", "99999999999999999999"])
def test_cancel_of_what_is_not_there(site, alice, job_id):
    out, err = site.run(["mgpu_cancel", job_id], alice, code=1)
    assert out == ("Usage: mgpu_cancel <job_id>\n" if job_id == "-1" else "Cancel failed.\n")
    assert job_id == "-1" or err.startswith("mgpu_cancel: ")


MULTI_NODE = [
    # README of the version for several machines: (command line, GPUs that it asks for or None, words of the refusal)
    ("--nodes 2 --gpus-per-node 4 --distributed -- python train.py", None, "--nodes 2: dibs shares the GPUs of this machine"),
    ("--nodes 4 --gpus-per-node 2 --mpi -- python train.py", None, "--nodes 4"),
    ("--nodelist node001,node002 --gpus-per-node 2 -- python train.py", None, "--nodelist node001,node002"),
    ("--node-gpu-ids 'node001:0,1;node002:2,3' -- python train.py", None, "--node-gpu-ids"),
    ("--gpu-ids 0,1,2,3 -- python train.py", 4, ""),
    ("--nodes 1 --gpus-per-node 2 --distributed -- python train.py", 2, ""),
    ("--nodelist node001 -- python train.py", 1, "'node001' is taken for this machine"),
    ("--node-gpu-ids node001:0,1 -- python train.py", 2, "'node001' is taken for this machine"),
    ("--gpus 1 --exclude node002 --master-host 10.0.0.1 --master-port 8080 -- python train.py", 1,
     "--master-host has no effect here"),
    ("--gpus 1 --interactive --session-timeout 3600 --connection-timeout 30 --max-wait-time 600 "
     "--max-consecutive-timeouts 60 --verbose 'python your_script.py'", 1, "--session-timeout has no effect here"),
]


@pytest.mark.parametrize("line, gpus, words", MULTI_NODE, ids=[line for line, _, _ in MULTI_NODE])
def test_options_for_several_machines(site, alice, line, gpus, words):
    out, err = site.run(f"mgpu_srun {line}", alice, code=1 if gpus is None else 0)
    assert words in err
    if gpus is None:
        assert out.startswith("Usage: mgpu_srun") and not site.daemon.leases()
    else:
        lease = site.daemon.lease(int(ID.search(out)[0]))
        assert lease["count"] == gpus and lease["job"]["exit_status"] == 0
        assert "python in " in out


def test_one_machine_is_what_distributed_is_told(site, alice):
    out, _ = site.run("mgpu_srun --nodes 1 --gpus-per-node 2 --distributed "
                      "printenv RANK WORLD_SIZE MASTER_ADDR MASTER_PORT", alice)
    assert "\n0\n1\nlocalhost\n29500\n" in out


@pytest.mark.parametrize("face", FACES)
def test_variables_of_several_machines_are_named_once(site, alice, face):
    words = {"mgpu_srun": "--gpus 1 true", "mgpu_cancel": "99"}.get(face, "")
    _, err = site.run(f"{face} {words}", alice, code=face == "mgpu_cancel",
                      env={"MGPU_MASTER_HOST": "10.0.0.1", "MGPU_MASTER_PORT": "8080"})
    assert err.count("MGPU_MASTER_HOST, MGPU_MASTER_PORT") == 1


@pytest.mark.parametrize("line, words", [
    ("", "there is no command"),
    ("--gpus 1", "there is no command"),
    ("--gpus 1 --", "there is no command"),
    ("-- true", "say how many GPUs"),
    ("--gpus", "--gpus needs a value"),
    ("--gpu 1 -- true", "there is no option '--gpu'"),
    ("--gpus 1 --mem 8G -- true", "--mem takes a whole number"),
    ("--gpus 1 --time-limit 0 -- true", "--time-limit takes a whole number"),
    ("--gpus 1 --priority high -- true", "--priority takes a whole number"),
    ("--gpus 1 --exclude localhost -- true", "that is this machine"),
])
def test_wrong_usage(site, alice, line, words):
    out, err = site.run(f"mgpu_srun {line}", alice, code=1)
    assert out.startswith("Usage: mgpu_srun {--gpus <N> | --gpu-ids <ID1,ID2,...>} [--mem <MB>]")
    assert words in err and not site.daemon.leases()


# --- what it got wrong


@pytest.mark.parametrize("options, words", [
    ("--gpu-ids a", "GPU a does not exist; this machine has 0-7"),
    ("--gpu-ids 0,,1", "separated by single commas"),
    ("--gpu-ids 0,0", "GPU 0 is listed twice"),
    ("--gpus 9", "9 GPUs asked for, but this machine has 8"),
    ("--gpus 0", "from 1 to"),
    ("--gpus 1 --mem 1000000", "memory"),
    ("--gpus 3 --gpu-ids 0,1", "3 GPUs asked for, but 2 are listed"),
])
def test_what_can_never_be_is_refused_at_once(site, alice, options, words):
    out, _ = site.run(f"mgpu_srun {options} -- true", alice, code=1)
    assert re.fullmatch(r"Submit failed: .* \(ID: \)\n", out) and words in out


def test_what_is_busy_is_queued(site, alice):
    site.fill()
    process = site.popen("mgpu_srun --gpus 1 --mem 70000 -- echo done", alice)
    assert read_line(process.stdout).startswith("Job submitted.")
    assert read_line(process.stdout) == "Waiting for job to start...\n"
    site.daemon.wait_leases(1, state="waiting")
    site.release()
    out, _ = process.communicate(timeout=DEADLINE)
    assert out.startswith(b"done\n") and process.returncode == 0


def test_without_a_daemon(site, alice):
    site.daemon.stop()
    out, _ = site.run("mgpu_srun --gpus 1 -- true", alice, code=1)
    assert out.startswith("Submit failed: ") and "(ID: )" in out
    assert site.run("mgpu_queue", alice, code=1)[0].startswith("Query failed: ")
    assert site.run("mgpu_cancel 1", alice, code=1)[0] == "Cancel failed.\n"
    site.daemon.start()


def test_jobs_of_others_are_not_cancelled(site, alice, bob):
    job = site.background(alice, ["sleep", "600"])
    out, err = site.run(f"mgpu_cancel {job}", bob, code=1)
    assert out == "Cancel failed.\n" and alice in err
    assert site.daemon.leases(id=int(job))


def test_the_order_is_that_of_submission(site, alice):
    site.fill()
    jobs = [site.background(alice, ["sh", "-c", f"echo {i} >>order"], "--gpu-ids", "0") for i in range(12)]
    queue = site.run("mgpu_queue", alice)[0].split("--- Queue ---\n")[1]
    assert ID.findall(queue) == jobs
    (site.home(alice) / "order").unlink(missing_ok=True)
    site.release()
    site.daemon.dibs("wait", *map(int, jobs), timeout=60)
    assert (site.home(alice) / "order").read_text().split() == [str(i) for i in range(12)]
    (site.home(alice) / "order").unlink()


def test_long_queues_are_shown(site, alice):
    site.fill()
    for i in range(60):
        site.daemon.dibs("submit", "--", "echo", f"a long command line number {i}", user=alice)
    out, _ = site.run("mgpu_queue", alice)
    assert out.count("Status: queued") == 60 and len(out) > 4096


def test_nothing_of_the_output_is_lost(site, alice):
    for i in range(20):
        out, _ = site.run(["mgpu_srun", "--gpus", "1", "--", "sh", "-c", "seq 1000; echo tail >&2; exit 7"], alice, code=7)
        body = out.split("Waiting for job to start...\n")[1]
        assert body == "".join(f"{n}\n" for n in range(1, 1001)) + f"tail\n\nJob {i + 1:08} completed with exit code 7\n"


def test_output_comes_while_it_runs_even_from_python(site, alice):
    wait = site.daemon.directory / "wait"
    os.mkfifo(wait)
    wait.chmod(0o644)
    process = site.popen(["mgpu_srun", "--gpus", "1", "--", "/usr/bin/python3", "-c",
                          f"print('first'); open('{wait}').read(); print('last')"], alice)
    for expected in ("Job submitted", "Waiting for job", "first"):
        assert read_line(process.stdout).startswith(expected)
    wait.write_text("")
    assert read_line(process.stdout) == "last\n"
    assert process.wait(DEADLINE) == 0


def test_quoting_is_kept(site, alice):
    words = ["a  b", "*", "$HOME", "'", '"', "\\", "", "ä", "x;y", "--gpus"]
    out, _ = site.run(["mgpu_srun", "--gpus", "1", "--", "printf", "<%s>\\n", *words], alice)
    assert "".join(f"<{w}>\n" for w in words) in out


def test_one_word_is_a_line_for_a_shell(site, alice):
    out, _ = site.run(["mgpu_srun", "--gpus", "1", "cd / && echo \"a  b\" $PWD | tr a-z A-Z"], alice)
    assert "\nA  B /\n" in out
    assert "CMD: cd / && true; sleep 600 |" in site.run(
        "mgpu_queue", alice)[0] if site.background(alice, ["cd / && true; sleep 600"]) else False


def test_a_variable_before_the_command(site, alice):
    assert "\n1\n" in site.run("mgpu_srun --gpus 1 -- FOO=1 printenv FOO", alice)[0]


def test_gpus_are_those_that_were_asked_for(site, alice):
    out, _ = site.run("mgpu_srun --gpu-ids 5,3 -- printenv DIBS_GPUS CUDA_VISIBLE_DEVICES", alice)
    gpus, visible = out.splitlines()[2:4]
    uuids = {g["index"]: g["uuid"] for g in site.daemon.status()["gpus"]}
    assert sorted(gpus.split(",")) == ["3", "5"] and set(visible.split(",")) == {uuids[3], uuids[5]}


def test_a_venv_in_the_home_directory_is_activated(site, alice):
    home = site.home(alice)
    (home / "venv/bin").mkdir(parents=True)
    (home / "venv/bin/activate").write_text("export VENV_OF_TEST=active\n")
    assert "\nactive\n" in site.run("mgpu_srun --gpus 1 -- printenv VENV_OF_TEST", alice)[0]
    site.run("mgpu_srun --gpus 1 --env-setup-cmd true -- printenv VENV_OF_TEST", alice, code=1)


def test_a_setup_that_fails_is_the_end(site, alice):
    out, _ = site.run(["mgpu_srun", "--gpus", "1", "--env-setup-cmd", "(exit 9)", "--", "echo", "never"], alice, code=9)
    assert "never" not in out


@pytest.mark.parametrize("share", [True, False])
def test_memory_is_a_share_where_that_is_allowed(make_site, alice, share):
    site = make_site(QUICK + ("[share]\nenabled = yes\n" if share else ""))
    jobs = [site.background(alice, ["sleep", "600"], "--gpu-ids", "0", "--mem", "30000") for _ in range(2)]
    site.daemon.wait_leases(2 if share else 1, state="active")
    out, _ = site.run("mgpu_queue", alice)
    assert len(jobs) == 2 and out.count("Mem: 30000" if share else "Mem: None") == 2


def test_priority_is_an_administrators(make_site, alice, bob):
    site = make_site(QUICK)
    site.fill()
    jobs = [site.background(None, ["true"], "--priority", p) for p in ("0", "5", "200", "-3")]
    queue = site.run("mgpu_queue", None)[0].split("--- Queue ---\n")[1]
    assert ID.findall(queue) == [jobs[2], jobs[1], jobs[0], jobs[3]]
    out, err = site.run("mgpu_srun --gpus 1 --priority 10 --background -- true", alice)
    assert "(priority=10)" in out and err.count("only administrators can put a job before those of others") == 1
    assert site.daemon.lease(int(ID.search(out)[0]))["job"]["nice"] == 0
    out, err = site.run("mgpu_srun --gpus 1 --priority -10 --background -- true", bob)
    assert not err and site.daemon.lease(int(ID.search(out)[0]))["job"]["nice"] == 10


@pytest.mark.parametrize("setting, options, stays", [
    ("yes", "", True), ("no", "", False), ("no", "--interactive", True), ("yes", "--background", False),
    (None, "", True), ("no", "--interactive --background", False)])
def test_a_setting_says_whether_it_stays(site, alice, setting, options, stays):
    conf = site.daemon.directory / "face.conf"
    conf.write_text(f"[mgpu]\nforeground = {setting}\n" if setting else "")
    conf.chmod(0o644)
    out, _ = site.run(f"mgpu_srun --gpus 1 {options} -- true", alice, env={"DIBS_CONFIG": str(conf)})
    assert ("completed with exit code 0" in out) == stays
    assert ("Job queued. Use mgpu_queue to check status." in out) != stays


def test_settings_that_cannot_be_read_are_the_defaults(site, alice):
    conf = site.daemon.directory / "face.conf"
    conf.write_text("[mgpu]\nforeground = no\n")
    conf.chmod(0o600)
    out, err = site.run("mgpu_srun --gpus 1 -- true", alice, env={"DIBS_CONFIG": str(conf)})
    assert "completed" in out and not err


@pytest.mark.parametrize("starts", [True, False])
def test_ctrl_c_cancels(site, alice, starts):
    """On a terminal, where both processes get it."""
    if not starts:
        site.fill()
    main, side = pty.openpty()
    # Its own session, so that the terminal is its controlling one.
    script = "exec setsid --ctty --wait mgpu_srun --gpus 1 -- sh -c 'echo here; exec sleep 600'"
    process = subprocess.Popen(["bash", "-c", script], stdin=side, stdout=side, stderr=side, cwd="/",
                               env=site.environment(alice), preexec_fn=demote(alice), start_new_session=True)
    os.close(side)
    seen = read_terminal(main, "here" if starts else "Waiting for job")
    os.write(main, b"\x03")
    seen += read_terminal(main, "canceled successfully.")
    job = ID.search(seen)[0]
    assert f"\r\nUser interrupted. Canceling job...\r\nJob {job} canceled successfully." in seen
    assert process.wait(DEADLINE) == 130
    site.daemon.wait_leases(0, id=int(job))
    os.close(main)


def read_terminal(fd, words, deadline=DEADLINE):
    seen, end = "", time.monotonic() + deadline
    while words not in seen:
        assert select.select([fd], [], [], max(0, end - time.monotonic()))[0], seen
        seen += os.read(fd, 4096).decode()
    return seen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_who_ends_it_in_another_way_leaves_the_job_alone(site, alice, number):
    process = site.popen("mgpu_srun --gpus 1 -- sh -c 'echo here; exec sleep 600'", alice)
    while read_line(process.stdout) != "here\n":
        pass
    process.send_signal(number)
    assert process.wait(DEADLINE) == -number
    assert process.stdout.read() == b""  # its child went with it
    assert len(site.daemon.leases(state="active")) == 1


def test_an_ignored_interrupt_stays_ignored(site, alice):
    ignore = lambda: (demote(alice)(), signal.signal(signal.SIGINT, signal.SIG_IGN))  # noqa: E731
    process = subprocess.Popen([site.programs["bin"] / "mgpu_srun", "--gpus", "1", "--", "sh", "-c", "echo here; read x <fifo"],
                               env=site.environment(alice), preexec_fn=ignore, stdout=subprocess.PIPE, cwd="/", bufsize=0)
    fifo = site.home(alice) / "fifo"
    fifo.unlink(missing_ok=True)
    with acting_as(alice):
        os.mkfifo(fifo)
    while read_line(process.stdout) != "here\n":
        pass
    process.send_signal(signal.SIGINT)
    fifo.write_text("x\n")
    assert process.wait(DEADLINE) == 0 and b"interrupted" not in process.stdout.read()
    fifo.unlink()


def test_someone_else_cancels_it(site, alice):
    process = site.popen("mgpu_srun --gpus 1 -- sleep 600", alice)
    job = ID.search(read_line(process.stdout))[0]
    site.daemon.wait_leases(1, id=int(job), state="active")
    site.run(f"mgpu_cancel {job}", alice)
    out, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 143 and b"completed with exit code 143" in out
    site.fill()
    process = site.popen("mgpu_srun --gpus 1 -- sleep 600", alice)
    job = ID.search(read_line(process.stdout))[0]
    site.run(f"mgpu_cancel {job}", alice)
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 125 and b"did not run to its end" in err


def test_the_context_switch_puts_it_at_the_end_of_the_queue(site, alice):
    """There it was dropped if others waited."""
    count = site.home(alice) / "count"
    count.unlink(missing_ok=True)
    first = site.background(alice, ["sh", "-c", "echo x >>count; [ $(wc -l <count) = 2 ] || exec sleep 600"],
                            "--gpu-ids", "0", "--time-limit", "1")
    second = site.background(alice, ["sh", "-c", "wc -l <count >seen"], "--gpu-ids", "0")
    site.daemon.dibs("wait", int(first), int(second), timeout=30)
    lease = site.daemon.lease(int(first))
    assert lease["job"]["restarts"] == 1 and lease["job"]["exit_status"] == 0
    assert (site.home(alice) / "seen").read_text() == "1\n"
    for name in ("count", "seen"):
        (site.home(alice) / name).unlink()


def test_it_stays_while_dibsd_is_away(site, alice):
    fifo = site.daemon.directory / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o644)
    hold = site.daemon.reserve("--gpu", "0")["id"]
    running = site.popen(f"mgpu_srun --gpu-ids 1 -- sh -c 'echo here; cat {fifo}; echo end; exit 4'", alice)
    waiting = site.popen("mgpu_srun --gpu-ids 0 -- sh -c 'echo late; exit 5'", alice)
    while read_line(running.stdout) != "here\n":
        pass
    while "Waiting" not in read_line(waiting.stdout):
        pass
    site.daemon.wait_leases(1, state="waiting")
    site.daemon.crash_and_restart()
    fifo.write_text("through\n")
    out, _ = running.communicate(timeout=DEADLINE)
    assert out.startswith(b"through\nend\n") and running.returncode == 4
    site.daemon.dibs("release", hold)
    out, _ = waiting.communicate(timeout=DEADLINE)
    assert out.startswith(b"late\n") and waiting.returncode == 5


# --- the socket


class OldClient:
    """The protocol as the tool's own programs speak it: one JSON value each way, received with recv(4096)."""

    def __init__(self, site, user):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        with acting_as(user):
            self.socket.connect(str(site.socket))

    def send(self, request):
        self.socket.sendall(request if isinstance(request, bytes) else json.dumps(request).encode())

    def receive(self):
        """As srun does, which takes what comes at once for the whole."""
        return json.loads(self.socket.recv(4096).decode())

    def receive_all(self):
        data = b""
        while piece := self.socket.recv(4096):
            data += piece
        return json.loads(data)

    def messages(self):
        buffer = ""
        while data := self.socket.recv(4096):
            buffer += data.decode("utf-8", errors="ignore")
            while "\n" in buffer:
                line, buffer = buffer.split("\n", 1)
                if line.strip():
                    yield json.loads(line)
        assert not buffer

    def output(self):
        """What a job printed, and its exit code."""
        shown = ""
        for message in self.messages():
            if message["type"] == "completion":
                return shown, message["exit_code"]
            shown += message["data"]
        raise AssertionError(f"no completion: {shown!r}")

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def ask(site, user, request):
    with OldClient(site, user) as client:
        client.send(request)
        return client.receive_all()


def submit(site, user, cmdline, **more):
    return ask(site, user, {"cmd": "submit", "user": user, "gpus": 1, "cmdline": cmdline, **more})


@pytest.fixture
def served(site):
    site.serve()
    return site


def test_the_socket_is_for_everybody(served, alice):
    mode = served.socket.stat()
    assert stat.S_ISSOCK(mode.st_mode) and stat.S_IMODE(mode.st_mode) == 0o666 and mode.st_uid == 0
    reply = submit(served, alice, "id -un; pwd")
    assert reply["status"] == "ok" and ID.fullmatch(reply["job_id"])
    served.daemon.dibs("wait", int(reply["job_id"]))
    assert served.log(alice, reply["job_id"]).read_text().split() == [alice, str(served.home(alice))]


def test_who_asks_is_who_the_kernel_says(served, alice, bob):
    """There, a request as root ran as root."""
    for claimed in ("root", bob, 0, None):
        with OldClient(served, alice) as client:
            client.send({"cmd": "submit", "user": claimed, "gpus": 1, "interactive": True,
                         "cmdline": "id -u; id -ru; id -G; grep -E 'NoNewPrivs|CapEff' /proc/self/status"})
            assert client.receive()["status"] == "ok"
            lines = client.output()[0].splitlines()
        assert lines[0] == lines[1] == str(uid_of(alice)) and lines[3] == "CapEff:\t0000000000000000"
        assert set(lines[2].split()) == {str(g) for g in os.getgrouplist(alice, pwd.getpwnam(alice).pw_gid)}
        assert lines[4] == "NoNewPrivs:\t0"  # a job may use sudo as ever


def test_jobs_of_others_are_not_cancelled_through_the_socket(served, alice, bob):
    job = submit(served, alice, "sleep 600")["job_id"]
    served.daemon.wait_leases(1, state="active")
    assert ask(served, bob, {"cmd": "cancel", "job_id": job})["status"] == "fail"
    assert ask(served, bob, {"cmd": "cancel", "job_id": job, "user": alice})["status"] == "fail"
    assert ask(served, alice, {"cmd": "cancel", "job_id": job}) == {"status": "ok"}
    assert ask(served, alice, {"cmd": "cancel", "job_id": "NOSUCHID"})["status"] == "fail"
    served.daemon.wait_leases(0, id=int(job))


def test_the_answer_about_the_queue(served, alice, bob):
    running = submit(served, alice, "sleep 600", gpu_ids=["3"], env_setup_cmd="true")["job_id"]
    served.daemon.wait_leases(1, state="active")
    served.daemon.reserve("-g", "7")
    queued = submit(served, bob, "echo 'a b'")["job_id"]
    reply = ask(served, bob, {"cmd": "queue"})
    assert list(reply) == ["status", "queue", "running"] and reply["status"] == "ok"
    assert reply["queue"] == [{"id": queued, "user": bob, "gpus": 1, "mem": None, "cmd": "echo 'a b'",
                               "status": "queued", "gpu_ids": None, "env_setup_cmd": None}]
    assert {"id": running, "user": alice, "gpus": 1, "mem": None, "cmd": "sleep 600", "status": "running",
            "gpu_ids": ["3"], "env_setup_cmd": None} in reply["running"]


def test_long_answers_and_long_requests(served, alice):
    served.fill()
    for i in range(60):
        served.daemon.dibs("submit", "--", "echo", f"a long command line number {i}", user=alice)
    assert len(ask(served, alice, {"cmd": "queue"})["queue"]) == 60
    reply = submit(served, alice, f"echo {'x' * 100000} | wc -c")
    assert reply["status"] == "ok"
    reply = submit(served, alice, "x" * 300000)
    assert reply["status"] == "fail" and "256 KiB" in reply["msg"]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_requests_in_pieces(served, alice, size):
    data = json.dumps({"cmd": "submit", "user": "x", "gpus": 1, "cmdline": "echo '}{'", "more": {"a": [{}]}}).encode()
    with OldClient(served, alice) as client:
        for i in range(0, len(data), size):
            client.send(data[i:i + size])
        assert client.receive_all()["status"] == "ok"


BAD = [
    (b"", "JSON"), (b"{", "JSON"), (b"nonsense}", "JSON"), (b"[]", "JSON"), (b'{"cmd": "queue"} {"cmd": "queue"}', "JSON"),
    (b"\xff\xfe}", "JSON"), (b"[" * 100000 + b"}", "JSON"),
    ({}, "unknown command"), ({"cmd": "reboot"}, "unknown command"), ({"cmd": ["submit"]}, "unknown command"),
    ({"cmd": "submit", "gpus": 1}, "cmdline"), ({"cmd": "submit", "gpus": 1, "cmdline": "  "}, "cmdline"),
    ({"cmd": "submit", "gpus": 1, "cmdline": ["true"]}, "cmdline"), ({"cmd": "submit", "cmdline": "true"}, "gpus"),
    ({"cmd": "submit", "gpus": "1", "cmdline": "true"}, "gpus"), ({"cmd": "submit", "gpus": True, "cmdline": "true"}, "gpus"),
    ({"cmd": "submit", "gpus": 0, "cmdline": "true"}, "gpus"), ({"cmd": "submit", "gpus": 9, "cmdline": "true"}, "has 8"),
    ({"cmd": "submit", "gpus": 1, "cmdline": "true", "gpu_ids": ["a"]}, "GPU a does not exist"),
    ({"cmd": "submit", "gpus": 1, "cmdline": "true", "gpu_ids": "0"}, "gpu_ids"),
    ({"cmd": "submit", "gpus": 1, "cmdline": "true", "gpu_ids": ["0,1"]}, "gpu_ids"),
    ({"cmd": "submit", "gpus": 1, "cmdline": "true", "mem": 0}, "mem"),
    ({"cmd": "submit", "gpus": 1, "cmdline": "true", "mem": 1.5}, "mem"),
    ({"cmd": "submit", "gpus": 1, "cmdline": "true", "mem": 9999999}, "memory"),
    ({"cmd": "submit", "gpus": 1, "cmdline": "true", "time_limit": -1}, "time_limit"),
    ({"cmd": "submit", "gpus": 1, "cmdline": "true", "priority": "high"}, "priority"),
    ({"cmd": "submit", "gpus": 1, "cmdline": "true", "env_setup_cmd": 5}, "env_setup_cmd"),
    ({"cmd": "cancel"}, "not the id"), ({"cmd": "cancel", "job_id": 5}, "job_id"),
]


@pytest.mark.parametrize("request_, words", BAD, ids=[str(r)[:60] for r, _ in BAD])
def test_bad_requests(served, alice, request_, words):
    with OldClient(served, alice) as client:
        client.send(request_)
        client.socket.shutdown(socket.SHUT_WR)
        reply = client.receive_all()
    assert reply["status"] == "fail" and words in reply["msg"], reply
    assert not served.daemon.leases()


def test_interactive_output_is_complete(served, alice):
    for _ in range(20):
        with OldClient(served, alice) as client:
            client.send({"cmd": "submit", "user": alice, "gpus": 1, "interactive": True,
                         "cmdline": "seq 1000; echo tail >&2; exit 7"})
            first = client.receive()
            assert first["status"] == "ok" and first["interactive"] is True
            assert client.output() == ("".join(f"{i}\n" for i in range(1, 1001)) + "tail\n", 7)


def test_the_first_answer_comes_alone(served, alice):
    """Clients take all that recv(4096) gives for one JSON value, so what follows must wait, however late they read."""
    with OldClient(served, alice) as client:
        client.send({"cmd": "submit", "user": alice, "gpus": 1, "interactive": True, "cmdline": "echo at once"})
        assert select.select([client.socket], [], [], DEADLINE)[0]
        wait_no_children(served)  # all is sent
        assert client.receive() == {"status": "ok", "job_id": "00000001", "interactive": True}
        assert client.output() == ("at once\n", 0)


def test_output_that_is_no_text(served, alice):
    """Half a character at the end of a piece, bytes that are none, NUL."""
    command = "printf 'a\\303'; printf '\\244b\\n\\377\\376\\000c\\n'; printf '\\342\\202'"
    with OldClient(served, alice) as client:
        client.send({"cmd": "submit", "user": alice, "gpus": 1, "interactive": True, "cmdline": command})
        client.receive()
        assert client.output() == ("aäb\n??\0c\n??", 0)


def test_interactive_clients_that_go_away_leave_the_job_alone(served, alice):
    with OldClient(served, alice) as client:
        client.send({"cmd": "submit", "user": alice, "gpus": 1, "interactive": True, "cmdline": "sleep 600"})
        job = int(client.receive()["job_id"])
        served.daemon.wait_leases(1, state="active")
    assert served.daemon.wait_leases(1, id=job, state="active")
    # Its process goes, and so do those of clients that wait.
    served.daemon.reserve("-g", "7")
    for _ in range(5):
        with OldClient(served, alice) as client:
            client.send({"cmd": "submit", "user": alice, "gpus": 1, "interactive": True, "cmdline": "true"})
            client.receive()
    wait_no_children(served)


def children(site):
    pid = site.servers[0].pid
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def wait_no_children(site):
    """Processes of clients end by themselves; dibsd is asked meanwhile, which gives them time."""
    end = time.monotonic() + DEADLINE
    while children(site):
        assert time.monotonic() < end, "processes of clients stay"
        site.daemon.status()


def test_jobs_outlive_the_server_and_dibsd(served, alice):
    fifo = served.daemon.directory / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o644)
    with OldClient(served, alice) as client:
        client.send({"cmd": "submit", "user": alice, "gpus": 1, "interactive": True,
                     "cmdline": f"echo here; cat {fifo}; exit 3"})
        job = client.receive()["job_id"]
        assert next(client.messages())["data"] == "here\n"
        served.servers[0].kill()
        served.servers[0].wait()
        served.daemon.crash_and_restart()
        served.serve()  # in the place of the socket that was left behind
        assert [j["id"] for j in ask(served, alice, {"cmd": "queue"})["running"]] == [job]
        fifo.write_text("through\n")
        assert client.output() == ("through\n", 3)  # the process of this client lived on


def test_what_a_job_has_of_the_server(served, alice):
    """The environment of a login, not that of root; no limits or descriptors of the server."""
    with OldClient(served, alice) as client:
        client.send({"cmd": "submit", "user": alice, "gpus": 1, "interactive": True,
                     "cmdline": "env | cut -d= -f1 | sort; ls /proc/self/fd; umask; cat /proc/self/cgroup"})
        client.receive()
        shown = client.output()[0].split()
    assert {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "PYTHONUNBUFFERED", "CUDA_VISIBLE_DEVICES"} <= set(shown)
    assert not {"SECRET_OF_ROOT", "DIBS_SOCKET"} & set(shown)
    assert [w for w in shown if w.isdigit() and len(w) == 1] == ["0", "1", "2", "3"]  # 3 is that of ls


def test_venv_and_setup_through_the_socket(served, alice):
    home = served.home(alice)
    (home / "venv/bin").mkdir(parents=True)
    (home / "venv/bin/activate").write_text("export VENV_OF_TEST=active\n")
    (home / ".bash_profile").write_text("export OF_LOGIN=yes\n")
    command = "echo $VENV_OF_TEST $OF_LOGIN $SET; sh -c 'echo \"a  b\"'"
    for setup, expected in ((None, "active yes\na  b\n"), ("export SET=up", "yes up\na  b\n")):
        with OldClient(served, alice) as client:
            client.send({"cmd": "submit", "user": alice, "gpus": 1, "interactive": True, "cmdline": command,
                         "env_setup_cmd": setup})
            client.receive()
            assert client.output() == (expected, 0)


def test_the_longest_time_of_a_job(site, alice):
    server = site.serve("--max-job-time", 3600)
    line = read_line(server.stderr)
    assert "run for 1h at a time" in line and "[jobs] max-time" in line and "'never'" in line
    site.fill()
    for asked, got in ((None, 3600), (600, 600), (7200, 3600)):
        job = int(submit(site, alice, "true", time_limit=asked)["job_id"])
        lease = site.daemon.lease(job)
        assert lease["job"]["on_limit"] == "requeue"
        with site.daemon.database() as db:
            row = db.execute("SELECT * FROM lease WHERE id = ?", (job,))
            values = dict(zip([c[0] for c in row.description], row.fetchone()))
        assert got * 1_000_000 in values.values()


def test_what_holds_for_others_is_said(make_site):
    site = make_site(QUICK.replace("[jobs]\n", "[jobs]\nmax-time = 2h\n"))
    assert "'2h'" in read_line(site.serve("--max-job-time", 999999).stderr)
    # Who says nothing must not be refused for what the server says.
    assert submit(site, None, "true")["status"] == "ok"


def test_slow_clients_hold_nobody_up(served, alice, bob):
    silent = [OldClient(served, alice) for _ in range(20)]
    slow = OldClient(served, alice)
    slow.send(b'{"cmd":')
    assert submit(served, bob, "true")["status"] == "ok"
    for client in [*silent, slow]:
        client.close()


def test_silent_clients_are_not_waited_for_for_ever(served, alice):
    with OldClient(served, alice) as client:
        client.send(b'{"cmd":')
        assert client.socket.recv(4096) == b""


def test_clients_are_bounded(served, alice, bob):
    clients = [OldClient(served, alice) for _ in range(64)]
    end = time.monotonic() + DEADLINE
    while len(children(served)) < 64:
        assert time.monotonic() < end
    with OldClient(served, alice) as client:
        assert "too many clients" in client.receive_all()["msg"]
    assert submit(served, bob, "true")["status"] == "ok"
    for client in clients:
        client.close()


def test_places_that_are_taken(site, alice):
    place = site.daemon.directory / "mgpu.sock"

    def refused(words):
        done = subprocess.run([site.programs["server"], "--socket", place], capture_output=True, text=True, timeout=DEADLINE)
        assert done.returncode == 1 and words in done.stderr, done

    place.write_text("precious")
    refused("is no socket")
    assert place.read_text() == "precious"
    place.unlink()
    target = site.daemon.directory / "target"
    place.symlink_to(target)
    refused("is no socket")
    assert not target.exists()
    target.write_text("precious")
    refused("is no socket")
    place.unlink()
    place.mkdir()
    refused("is no socket")
    place.rmdir()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place))
        os.chown(place, uid_of(alice), -1)
        other.listen()
        refused(f"somebody listens at {place}, which belongs to uid {uid_of(alice)}")
    site.serve()  # that one is stale now
    refused("somebody listens")
    site.servers[0].terminate()
    assert site.servers[0].wait(DEADLINE) == 0 and not place.exists()


def test_a_place_where_others_may_write(site, alice):
    open_to_all = site.daemon.directory / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    command = [site.programs["server"], "--socket", open_to_all / "s"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 1 and "others could replace" in done.stderr
    open_to_all.chmod(0o1777)
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert read_line(server.stdout) == "mgpu_scheduler_server started\n"
    server.terminate()
    assert server.wait(DEADLINE) == 0
    server.stdout.close()


def test_a_socket_of_systemd(site, alice):
    """It is neither made nor removed by the server."""
    site.socket = site.daemon.directory / "mgpu.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(site.socket))
        site.socket.chmod(0o666)
        listener.listen()
        os.set_inheritable(listener.fileno(), True)
        script = 'exec 3<&"$1"; [ "$1" = 3 ] || exec {fd}<&-; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0"'
        server = subprocess.Popen(["bash", "-c", script, site.programs["server"], str(listener.fileno())],
                                  env={"DIBS_SOCKET": str(site.daemon.socket), "PATH": "/usr/bin:/bin"},
                                  pass_fds=[listener.fileno()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        site.servers.append(server)
        assert read_line(server.stdout) == "mgpu_scheduler_server started\n"
        assert submit(site, alice, "true")["status"] == "ok"
        server.terminate()
        assert server.wait(DEADLINE) == 0 and site.socket.exists()


def test_the_server_is_for_root(site, alice):
    done = subprocess.run([site.programs["server"], "--socket", "/tmp/x"], capture_output=True, text=True, cwd="/",
                          preexec_fn=demote(alice), timeout=DEADLINE)
    assert done.returncode == 1 and "started by root" in done.stderr


@pytest.mark.parametrize("option", ["--max-job-time=0", "--max-job-time=1h", "--nonsense", "word"])
def test_wrong_options_of_the_server(mgpu_programs, option):
    assert subprocess.run([mgpu_programs["server"], option], capture_output=True, timeout=DEADLINE).returncode == 2


def test_a_home_that_cannot_be_entered(served, bob):
    """The job says so; the server is none the worse."""
    home = served.home(bob)
    mode = stat.S_IMODE(home.stat().st_mode)
    home.chmod(0)
    try:
        reply = submit(served, bob, "true")
        if reply["status"] == "ok":
            served.daemon.dibs("wait", int(reply["job_id"]), code=None)
    finally:
        home.chmod(mode)
    assert submit(served, bob, "true")["status"] == "ok"


def test_faces_and_socket_show_the_same(served, alice):
    served.fill()
    face = served.background(alice, ["true"])
    through = submit(served, alice, "true")["job_id"]
    assert [j["id"] for j in ask(served, alice, {"cmd": "queue"})["queue"]] == [face, through]
    assert ID.findall(served.run("mgpu_queue", alice)[0].split("--- Queue ---")[1]) == [face, through]
    assert served.run(f"mgpu_cancel {through}", alice)[0] == "Job cancelled.\n"
