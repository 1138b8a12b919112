# SPDX-License-Identifier: MIT
"""The face of Multi-GPU Scheduler: its commands, as its READMEs print them."""

import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest
from harness import DEADLINE, demote, read_line
from jobs import QUICK, acting_as
from mgpu_site import FACES, ID


# --- command lines of the READMEs; test_printed_lines.py has them all


def submitted(extra=""):
    return f"Job submitted. ID: X{extra}\n"


def foreground(output, extra="", code=0):
    return f"{submitted(extra)}Waiting for job to start...\n{output}\nJob X completed with exit code {code}\n"


README = [
    ("mgpu_srun --gpus 1 -- python train.py", foreground("python in HOME: train.py\n")),
    ("mgpu_srun --gpu-ids 0,1 --mem 8000 --time-limit 600 --background -- python train.py",
     submitted(" (priority=0)") + "Job queued. Use mgpu_queue to check status.\n"),
    ('mgpu_srun --gpu-ids 2 --env-setup-cmd "source venv/bin/activate" -- python train.py',
     foreground("python of the venv: train.py\n", " (priority=0)")),
    ('mgpu_srun --gpu-ids 1 --env-setup-cmd "conda activate myenv" -- python inference.py',
     foreground("python of myenv: inference.py\n", " (priority=0)")),
]


@pytest.mark.parametrize("line, expected", README, ids=[line for line, _ in README])
def test_what_is_printed_is_in_the_log_too(site, alice, line, expected):
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
    assert site.run(f"mgpu_cancel {int(first)}", bob)[0] == "Job cancelled.\n"
    assert site.run(f"mgpu_cancel {running}", alice) == ("Job cancelled.\n", "")
    site.daemon.wait_leases(0, id=int(running))
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
    site.background(alice, ["cd / && true; sleep 600"])
    assert "CMD: cd / && true; sleep 600 |" in site.run("mgpu_queue", alice)[0]


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
