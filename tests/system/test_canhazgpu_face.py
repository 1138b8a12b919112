# SPDX-License-Identifier: MIT
"""canhazgpu, the face: its documents' command lines, its JSON, and what it got wrong."""

import contextlib
import itertools
import json
import os
import pty
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
from canhazgpu_site import Face, plain
from harness import DEADLINE, cgroup2_mount, demote, read_line, wait_exit
from test_follow import Holder

needs_cgroup = pytest.mark.skipif(not cgroup2_mount(), reason="no cgroup v2")

HINT = "\n\nRun the following command to run only on these GPUs:\nexport CUDA_VISIBLE_DEVICES={}\n"


# Command lines of the README files (first and latest), quickstart, commands, usage-*.md and configuration.


def test_readme_from_top_to_bottom(chg, alice):
    """In the order of its quick start, by one user; a second one has nothing."""
    def says(line, out, code=0):
        done = chg.shell(line, alice)
        assert (plain(done.stdout), done.returncode) == (out, code), (line, done)

    says("canhazgpu admin --gpus 8", "Detecting available GPU provider... found nvidia\nInitialized 8 GPUs (IDs 0 to 7)\n")
    assert chg.shell("canhazgpu status", alice).stdout.splitlines()[2] == \
        " 0   │ ● AVAILABLE │ -    │ -        │ -    │ never used │ 0MB used   │ -    "
    says("canhazgpu run --gpus 2 -- vllm serve my/model --tensor-parallel-size 2",
         "Reserved 2 GPU(s): [0 1] for command execution\nran vllm serve my/model --tensor-parallel-size 2 on 0,1\n")
    says("canhazgpu run --gpu-ids 1,3 -- python train.py",
         "Reserved 2 GPU(s): [1 3] for command execution\nran python train.py on 1,3\n")
    chg.daemon.wait_leases(0)
    says("canhazgpu run --nonblock --gpus 2 --gpu-ids 4,5 -- python train.py",
         "Reserved 2 GPU(s): [4 5] for command execution\nran python train.py on 4,5\n")
    says("canhazgpu run --wait 30m --gpus 8 -- codex",
         "Reserved 8 GPU(s): [0 1 2 3 4 5 6 7] for command execution\nran codex  on 0,1,2,3,4,5,6,7\n")
    says("canhazgpu queue", "GPU Reservation Queue\n=====================\nNo entries waiting in queue.\n")
    chg.daemon.wait_leases(0)
    out = chg.shell("canhazgpu reserve --gpus 1 --duration 4h", alice).stdout
    assert re.fullmatch(r"Reserved 1 GPU\(s\): \[(\d)\] for 4h 0m 0s" + re.escape(HINT).replace(r"\{\}", r"\1"), out)
    says("canhazgpu release", out.split(" for ")[0].replace("Reserved", "Released") + "\n")
    says("canhazgpu reserve --gpu-ids 0,2 --duration 2h", "Reserved 2 GPU(s): [0 2] for <D>" + HINT.format("0,2"))
    says("export CUDA_VISIBLE_DEVICES=$(canhazgpu reserve --gpu-ids 1,7 --short); echo $CUDA_VISIBLE_DEVICES", "1,7\n")
    says("canhazgpu release", "Released 4 GPU(s): [0 1 2 7]\n")
    says("canhazgpu release", "No manually reserved GPUs found for current user\n")
    says("canhazgpu release --gpu-ids 0,2", "No reservations found for current user on GPU(s): [0 2]\n")
    done = chg.shell("canhazgpu web --port 8080", alice)
    assert (done.returncode, done.stdout) == (1, "") and "canhazgpu status" in done.stderr


@pytest.mark.parametrize("line, duration", [
    ("canhazgpu reserve -d 0.5h", "0h 30m 0s"),
    ("canhazgpu reserve -d1.5d", "36h 0m 0s"),
    ("canhazgpu reserve -d=90s", "0h 1m 30s"),
    ("canhazgpu reserve --duration=1h30m", "1h 30m 0s"),
    ("canhazgpu reserve --duration ''", "8h 0m 0s"),
    ("canhazgpu reserve --wait 30m -g1", "0h 30m 0s"),
    ("canhazgpu reserve --nonblock -fg 1", "0h 30m 0s"),
    ("canhazgpu reserve --force=false --note 'a note' --user Alice", "0h 30m 0s"),
    ("chg reserve --gpu-ids 0", "0h 30m 0s"),
])
def test_durations_and_how_flags_are_given(chg, alice, line, duration):
    done = chg.shell(line, alice)
    assert (done.stdout, done.stderr) == (f"Reserved 1 GPU(s): [0] for {duration}" + HINT.format(0), "")


@pytest.mark.parametrize("line, gpus, said", [
    ("-G 1 -G 5,3 -- python train.py", "1,3,5", ""),
    ("--gpus 4 -- vllm serve microsoft/DialoGPT-medium --port 8000", "0,1,2,3", ""),
    ("-t 0.5h -- python test_model.py", "0", " (timeout: 0h 30m 0s)"),
    ("-- python --help -g 3 -- more", "0", ""),
])
def test_run_becomes_the_command(chg, alice, line, gpus, said):
    words = f" {line}".split(" -- ", 1)[1]
    done = chg("run", *shlex.split(line), user=alice)
    ids = gpus.split(",")
    assert done.stdout == (f"Reserved {len(ids)} GPU(s): [{' '.join(ids)}] for command execution{said}\n"
                           f"ran {words} on {gpus}\n")


def test_pipelines_and_shells_of_the_documents(chg, alice):
    script = 'canhazgpu run --gpus 1 -- bash -c "python preprocess.py && python train.py" 2>&1 | tee /dev/stderr'
    assert chg.shell(script, alice).stdout.splitlines()[1:] == ["ran python preprocess.py on 0", "ran python train.py on 0"]
    done = chg.shell("nohup canhazgpu run --gpus 1 -- python process_data.py < /dev/null 2>&1 | cat", alice)
    assert "ran python process_data.py on " in done.stdout
    chg.daemon.wait_leases(0)
    assert chg.shell('echo $(canhazgpu status | grep "AVAILABLE" | wc -l)', alice).stdout == "8\n"
    chg("reserve", "--gpus", "3", user=alice)
    assert chg.shell('echo $(canhazgpu status --format readme | grep "IN USE by" | wc -l)', alice).stdout == "3\n"
    jq = chg.shell("""canhazgpu status --json | jq -c '[.[] | select(.status == "AVAILABLE") | .gpu_id]'""", alice)
    if "command not found" not in jq.stderr:
        assert json.loads(jq.stdout) == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("line, unused", [
    ("status --redis-host redis.example.com --redis-port 6380",
     "--redis-host, --redis-port are not used any more: dibsd keeps the reservations"),
    ("--redis-db=3 queue", "--redis-db is not used any more: dibsd keeps the reservations"),
    ("status --memory-threshold 512", "--memory-threshold is not used any more: dibsd sees which process uses which GPU"),
])
def test_what_means_nothing_any_more_is_accepted_and_named_once(chg, alice, line, unused):
    assert chg(*line.split(), user=alice).stderr == f"canhazgpu: {unused}\n"


def test_table_is_that_of_the_original(chg, alice, bob):
    chg("reserve", "--gpu-ids", "1", "-d", "2h", "--note", "vLLM tests", user=alice)
    run = chg.popen("run", "-G", "2", "--", "sh", "-c", "echo up; exec sleep 1000 # --model a/b", user=bob)
    read_line(run.stdout), read_line(run.stdout)
    table = chg("status", user=alice).stdout.splitlines()
    assert [word.strip() for word in table[0].split("│")] == ["GPU", "STATUS", "USER", "DURATION", "TYPE", "DETAILS",
                                                              "VALIDATION", "MODEL", "NOTE"]
    assert re.fullmatch("─+(┼─+){8}", table[1]) and len({len(line) for line in table}) == 1
    cells = [[cell.strip() for cell in plain(line).split("│")] for line in table[3:5]]
    assert cells[0] == ["1", "● IN_USE", alice, "<D>", "MANUAL", "expires in <D>", "no usage detected", "-", "vLLM tests"]
    assert cells[1] == ["2", "● IN_USE", bob, "<D>", "RUN", "heartbeat <D> ago", "no usage detected", "a/b", "-"]
    lines = plain(chg("status", "--format", "readme", user=alice).stdout).splitlines()
    assert lines[:3] == [
        "GPU 0: AVAILABLE (never used) [validated: 0MB used]",
        f"GPU 1: IN USE by {alice} for <D> (manual, expires in <D>) [validated: no actual usage detected]",
        f"GPU 2: IN USE by {bob} for <D> (run, last heartbeat <D> ago) [validated: no actual usage detected]"]
    summary = chg("status", "-s", user=alice).stdout.split("\n")
    assert summary[0] == summary[4] == "" and [word.strip() for word in summary[3].split("│")] == [
        "localhost", "8", "A100-80G", "✓ 6", "2"]


def test_unreserved_use_is_shown_as_there(make_nvml, stubs, home, alice, bob):
    nvml, daemon = make_nvml(3)
    face = Face(daemon.start(), stubs, home)
    for _ in range(2):
        nvml.job(nvml.gpus[0], user=bob)
    daemon.wait_status(lambda s: s["gpus"][0]["state"] == "foreign" and len(s["gpus"][0]["processes"]) == 2)
    gpu = face.status(user=alice)[0]
    assert (gpu["status"], gpu["details"], gpu["unreserved_users"]) == ("UNRESERVED", "WITHOUT RESERVATION", [bob])
    assert re.fullmatch(r"\d+MB used by 2 processes", gpu["process_info"])
    assert re.match(rf"GPU 0: IN USE WITHOUT RESERVATION by user {bob} - \d+MB used by PID \d+ \(gpujob\), PID \d+ \(gpujob\)\n",
                    face("status", "--format", "readme", user=alice).stdout)
    assert "⚠ UNRESERVED" in face("status", user=alice).stdout
    done = face("reserve", "--gpu-ids", "0", "--nonblock", user=alice, code=1)
    assert done.stderr.startswith("Error: GPU 0 is in use without reservation (")
    done = face("run", "-g", "3", "--nonblock", "--", "true", user=alice, code=1)
    assert done.stderr.startswith("Error: not enough GPUs available. Requested: 3, Available: 2 (1 GPUs in use without "
                                  "reservation - run 'canhazgpu status' for details); ")
    assert face("reserve", "--gpu-ids", "0", "--force", "--short", user=alice).stdout == "0"
    # What the original does not show: who is on a reserved GPU without being its holder.
    assert f"{bob} without reservation" in face.status(user=alice)[0]["validation"]


# JSON

STATUS_KEYS = {"gpu_id": int, "status": str, "user": str, "duration": str, "type": str, "note": str, "details": str,
               "validation": str, "model": dict, "gpu_model": str, "last_released": str, "last_heartbeat": str,
               "expiry_time": str, "unreserved_users": list, "process_info": str, "error": str}
QUEUE_KEYS = {"id": str, "user": str, "actual_user": str, "requested_count": int, "allocated_gpus": list,
              "reservation_type": str, "note": str, "enqueue_time": str, "last_heartbeat": str}
REPORT_KEYS = {"users": list, "total_gpu_hours": float, "total_reservations": int, "unique_users": int, "start_date": str,
               "end_date": str, "days": int}
RAW_KEYS = {"GPUID", "Status", "User", "ReservationType", "Duration", "LastHeartbeat", "ExpiryTime", "LastReleased",
            "ValidationInfo", "UnreservedUsers", "ProcessInfo", "Error"}


def check_types(thing, keys):
    for key, value in thing.items():
        assert isinstance(value, keys[key]), (key, value)


def test_json_of_status_has_the_names_and_types_of_the_original(chg, alice, bob):
    chg("reserve", "-G", "0", "-n", "note", user=alice)
    chg("run", "-G", "1", "--", "true", user=alice)
    chg.daemon.wait_leases(1)
    run = chg.popen("run", "-G", "2", "-u", "Bobby", "--", "sh", "-c", "echo; exec sleep 1000", "vllm", "serve", "x/y", user=bob)
    read_line(run.stdout), read_line(run.stdout)
    chg.daemon.dibs("admin", "drain", "3", "--reason", "burnt")
    gpus = chg.status()
    for gpu in gpus:
        check_types(gpu, STATUS_KEYS)
    time_re = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([+-]\d\d:\d\d|Z)"
    assert set(gpus[0]) == {"gpu_id", "status", "user", "duration", "type", "note", "details", "validation", "expiry_time",
                            "gpu_model"}
    assert (gpus[0]["status"], gpus[0]["type"], gpus[0]["note"]) == ("IN_USE", "MANUAL", "note")
    assert re.fullmatch(time_re, gpus[0]["expiry_time"]) and re.fullmatch(r"\d+h \d+m \d+s", gpus[0]["duration"])
    assert plain(gpus[1]["details"]) == "free for <D>" and re.fullmatch(time_re, gpus[1]["last_released"])
    assert (gpus[2]["user"], gpus[2]["type"]) == (f"{bob} (Bobby)", "RUN") and re.fullmatch(time_re, gpus[2]["last_heartbeat"])
    assert gpus[2]["model"] == {"provider": "x", "model": "x/y"} and "note" not in gpus[2]
    assert (gpus[3]["status"], gpus[3]["error"]) == ("ERROR", "burnt")
    assert set(gpus[4]) == {"gpu_id", "status", "details", "validation", "gpu_model"}
    raw = json.loads(chg("status", "--all", "--json", user=alice).stdout)
    assert list(raw) == ["localhost"] and all(RAW_KEYS <= set(gpu) for gpu in raw["localhost"])
    assert raw["localhost"][4] == {
        "GPUID": 4, "Status": "AVAILABLE", "User": "", "ReservationType": "", "Duration": 0,
        "LastHeartbeat": "0001-01-01T00:00:00Z", "ExpiryTime": "0001-01-01T00:00:00Z",
        "LastReleased": "0001-01-01T00:00:00Z", "ValidationInfo": "[validated: 0MB used]", "UnreservedUsers": None,
        "ProcessInfo": "", "Error": "", "gpu_model": "A100-80G"}


def test_queue_as_text_and_json(chg, alice, bob):
    chg("reserve", "-g", "8", user=alice)
    run = chg.popen("run", "-g", "4", "-n", "big", "--", "true", user=bob)
    chg.wait_waiting(1)
    chg.popen("reserve", "-u", "Al", "-g", "2", user=alice)
    chg.wait_waiting(2)
    lines = plain(chg("queue", user=bob).stdout).splitlines()
    assert lines[:5] == ["GPU Reservation Queue", "=====================", "",
                         "Position   User            Requested       Allocated    Waiting",
                         "--------   ----            ---------       ---------    -------"]
    shown = bob if len(bob) <= 15 else bob[:12] + "..."
    assert re.fullmatch(rf"1          {shown:15} 4 GPUs          0/4          <D>", lines[5])
    assert lines[6].startswith("2          ") and lines[7:] == ["", "Total: 2 entries waiting for 6 GPUs (0 partially allocated)"]
    queue = json.loads(chg("queue", "--json", user=bob).stdout)
    assert {key: queue[key] for key in queue if key != "entries"} == {
        "total_waiting": 2, "total_gpus_requested": 6, "total_gpus_allocated": 0}
    first, second = queue["entries"]
    check_types(first, QUEUE_KEYS), check_types(second, QUEUE_KEYS)
    assert set(first) == set(QUEUE_KEYS) and set(second) == set(QUEUE_KEYS) - {"note"}
    assert (first["user"], first["reservation_type"], first["note"], first["allocated_gpus"]) == (bob, "run", "big", [])
    assert (second["user"], second["actual_user"], second["reservation_type"]) == ("Al", alice, "manual")
    assert run.poll() is None


def test_report_counts_what_runs_and_no_more_than_the_window(chg, alice, bob):
    run = chg.popen("run", "-g", "2", "--", "sh", "-c", "echo; exec sleep 1000", user=bob)
    read_line(run.stdout), read_line(run.stdout)
    chg("reserve", "-u", "Al", user=alice)
    chg("reserve", user=alice)
    chg("release", user=alice)
    report = json.loads(chg("report", "--json", "--days", "7", user=alice).stdout)
    check_types(report, REPORT_KEYS)
    assert set(report) == set(REPORT_KEYS) and report["days"] == 7
    rows = {row["name"]: row for row in report["users"]}
    assert set(rows) == {alice, bob, f"{alice} (Al)"} and report["unique_users"] == 3 and report["total_reservations"] == 3
    assert set(rows[bob]) == {"name", "gpu_hours", "percentage", "run_count", "manual_count"}
    assert (rows[bob]["run_count"], rows[bob]["manual_count"]) == (1, 0) and rows[bob]["gpu_hours"] > 0
    assert (rows[alice]["run_count"], rows[alice]["manual_count"]) == (0, 1)
    assert sum(row["gpu_hours"] for row in rows.values()) == pytest.approx(report["total_gpu_hours"])
    assert sum(row["percentage"] for row in rows.values()) == pytest.approx(100)
    lines = plain(chg("report", user=alice).stdout).splitlines()
    assert lines[1:3] == ["=== GPU Reservation Report ===", "Period: <DAY> to <DAY> (30 days)"]
    assert lines[4] == "User                       GPU Hours      Percentage        Run     Manual" and lines[5] == "-" * 75
    assert re.fullmatch(r"TOTAL +\d+\.\d\d +100\.0% +1 +2", lines[10])
    assert lines[12:14] == ["Total reservations: 3", "Unique users: 3"]
    run.kill()


# What the original gets wrong


@pytest.mark.parametrize("lie", ["{bob}", "root", "", None])
def test_identity_is_the_kernels(chg, alice, bob, lie):
    chg("reserve", "-G", "3", user=bob)
    name = None if lie is None else lie.format(bob=bob)
    env = {} if name is None else {"USER": name, "USERNAME": name, "LOGNAME": name}
    assert chg("release", user=alice, env=env).stdout == "No manually reserved GPUs found for current user\n"
    assert "No reservations found" in chg("release", "--gpu-ids", "3", user=alice, env=env).stdout
    assert chg.status()[3]["user"] == bob
    chg("reserve", "-G", "4", user=alice, env=env)
    assert chg.status()[4]["user"] == alice


IMPOSSIBLE = [
    (["-g", "9"], "9 GPUs asked for, but this machine has 8"),
    (["--gpu-ids", "99"], "GPU 99 does not exist"),
    (["--gpu-ids", "1,1"], "duplicate gpu id: 1"),
    (["-G", "1", "-G", "1"], "duplicate gpu id: 1"),
    (["--gpus=-1"], "gpu count must be positive, got -1"),
    (["--gpu-ids=-1"], "gpu id must be non-negative, got -1"),
    (["--gpu-ids", "a"], "'a' is not a number"),
    (["--gpus", "two"], 'invalid argument "two" for "-g, --gpus" flag'),
    (["--gpus", "99999999999"], 'invalid argument "99999999999" for "-g, --gpus" flag'),
    (["--gpus", "3", "--gpu-ids", "1,2"], "conflicting gpu count (3) and gpu ids (count: 2)"),
    (["--wait", "soon"], "invalid duration format: soon (use formats like 30s, 30m, 2h, 1d)"),
    (["--user", "a]b"], "--user takes a name"),
    (["--note", "x" * 600], "the note has 600 bytes"),
    (["--note", b"\xff"], "it is not valid UTF-8"),
    (["--frobnicate"], "unknown flag: --frobnicate"),
    (["-x"], "unknown shorthand flag: 'x' in -x"),
    (["--gpus"], "flag needs an argument: --gpus"),
]


def test_impossible_requests_are_refused_at_once_and_once(chg, alice, bob):
    chg("reserve", user=bob)
    for (flags, said), command in itertools.product(IMPOSSIBLE, ("reserve", "run")):
        words = [] if flags[-1] == "--gpus" or command == "reserve" else ["--", "true"]
        argv = [os.fsencode(str(chg.daemon.programs["canhazgpu"])), command.encode(),
                *[flag if isinstance(flag, bytes) else flag.encode() for flag in flags], *[word.encode() for word in words]]
        done = subprocess.run(argv, env=chg.daemon.client_environment(chg.environment()), preexec_fn=demote(alice), cwd="/",
                              capture_output=True, timeout=DEADLINE, text=True, stdin=subprocess.DEVNULL)
        assert (done.returncode, done.stdout) == (1, ""), flags
        assert done.stderr.startswith("Error: ") and said in done.stderr and done.stderr.count("\n") == 1, (flags, done)
    assert len(chg.daemon.leases()) == 1


def test_typing_errors(chg, alice):
    for line, said in [("frob", 'unknown command "frob" for "canhazgpu"'), ("release 1", 'unknown argument "1"'),
                       ("run python x.py", "missing '--' separator. You must use '--'"), ("run", "no command specified"),
                       ("run --", "no command specified"), ("status --format xml", "--format takes table or readme"),
                       ("reserve --duration 2hours", "invalid duration format: 2hours (use formats like"),
                       ("reserve --duration 0s", "0s is no time at all"), ("report -d 0", "--days takes a number"),
                       ("status --json=maybe", "it is true or false"), ("admin", 'required flag(s) "gpus" not set'),
                       ("admin -g 0", "GPU count must be greater than 0"), ("supervisor --gpus 0", "dibsd does"),
                       ("status --all --remote x", "cannot use --all and --remote together")]:
        done = chg(*line.split(), user=alice, code=1)
        assert done.stdout == "" and done.stderr.startswith("Error: ") and said in done.stderr, (line, done)
    assert chg.daemon.leases() == []


def test_typo_in_a_command_leaks_nothing(chg, alice):
    assert "command not found" in chg("run", "--", "no_such_cmd", user=alice, code=127).stderr
    assert set(chg.states()) == {"AVAILABLE"}
    assert chg("run", "--", "sh", "-c", "exit 42", user=alice, code=42).stderr == ""
    process = chg.popen("run", "--", "sh", "-c", "kill -TERM $$", user=alice)
    assert process.wait(DEADLINE) == -signal.SIGTERM


@needs_cgroup
def test_timeout_ends_all_processes(make_chg, alice):
    chg = make_chg(config="[lease]\nkill-grace = 1s\n")
    process = chg.popen("run", "--timeout", "1s", "--", "bash", "-c", "setsid sleep 1000 & echo $!; wait", user=alice)
    assert "(timeout: 0h 0m 1s)" in read_line(process.stdout)
    child = int(read_line(process.stdout))
    wait_exit(child)
    wait_exit(process)
    chg.daemon.wait_leases(0)


def test_waiting_is_said_as_there(chg, alice, bob, carol):
    chg("reserve", "-g", "8", user=alice)
    first = chg.popen("run", "-g", "8", "--", "true", user=bob)
    assert read_line(first.stdout) == "Waiting for GPUs... (queue position: 1)\n"
    second = chg.popen("reserve", "-g", "8", user=carol)
    assert read_line(second.stdout) == "Waiting for GPUs... (queue position: 2)\n"
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=DEADLINE)
    assert (out, err, first.returncode) == (b"", b"Error: interrupted while waiting in queue\n", 1)
    assert read_line(second.stdout) == "Queue position updated: 1\n"
    chg("release", user=alice)
    assert second.communicate(timeout=DEADLINE)[0].decode() == \
        "Reserved 8 GPU(s): [0 1 2 3 4 5 6 7] for 0h 30m 0s" + HINT.format("0,1,2,3,4,5,6,7")


def test_short_prints_the_numbers_alone_also_after_waiting(chg, alice, bob):
    chg("reserve", "-g", "8", user=alice)
    process = chg.popen("reserve", "--short", "--gpus", "2", user=bob)
    assert read_line(process.stderr) == "Waiting for GPUs... (queue position: 1)\n"
    chg("release", user=alice)
    assert process.communicate(timeout=DEADLINE)[0] == b"0,1"


def test_wait_and_nonblock_say_so_in_words_of_the_original(chg, alice, bob):
    chg("reserve", "-g", "4", user=alice)
    done = chg("reserve", "-g", "7", "--nonblock", user=bob, code=1)
    assert done.stderr.startswith("Error: not enough GPUs available. Requested: 7, Available: 4; ")
    done = chg("reserve", "-G", "0", "--nonblock", user=bob, code=1)
    assert done.stderr.startswith(f"Error: GPU 0 is already reserved by user '{alice}' (")
    done = chg("run", "-g", "7", "-w", "1s", "--", "true", user=bob, code=1)
    assert done.stderr.startswith("Error: wait timeout exceeded (")


def test_user_flag_is_shown_and_its_maker_can_release(chg, alice, bob):
    chg("reserve", "-G", "0", "--user", "Carla", "-n", "tuning", user=alice)
    chg("reserve", "-G", "1", "-n", "[wip] not a name", user=alice)
    gpus = chg.status()
    assert (gpus[0]["user"], gpus[0]["note"]) == (f"{alice} (Carla)", "tuning")
    assert (gpus[1]["user"], gpus[1]["note"]) == (alice, "[wip] not a name")
    assert [lease["note"] for lease in chg.daemon.leases()] == ["[Carla] tuning", "[] [wip] not a name"]
    assert "No manually reserved" in chg("release", user=bob, env={"USER": alice}).stdout
    assert chg("release", user=alice).stdout == "Released 2 GPU(s): [0 1]\n"


@needs_cgroup
def test_release_of_some_gpus(chg, alice):
    chg("reserve", "--gpu-ids", "0,1,2,3", "--duration", "2h", user=alice)
    assert chg("release", "--gpu-ids", "0,1", user=alice).stdout == "Released 2 GPU(s): [0 1]\n"
    assert chg.states()[:4] == ["AVAILABLE", "AVAILABLE", "IN_USE", "IN_USE"]
    run = chg.popen("run", "-G", "5", "--", "sh", "-c", "echo; exec sleep 1000", user=alice)
    read_line(run.stdout), read_line(run.stdout)
    assert chg("release", user=alice).stdout == "Released 2 GPU(s): [2 3]\n"  # not what runs
    done = chg("release", "--gpu-ids", "5,6", user=alice)
    assert done.stdout == "Released 1 GPU(s): [5]\n" and "were told to end" in done.stderr
    assert run.wait(DEADLINE) == -signal.SIGTERM
    chg.daemon.wait_leases(0)


def test_release_leaves_what_a_program_holds(daemon, chg, alice):
    """A lease of a Python program is a hold to dibs; to canhazgpu, something that runs."""
    holder = Holder(daemon, alice)
    chg("reserve", user=alice)
    assert chg("release", user=alice).stdout == "Released 1 GPU(s): [1]\n"
    assert [lease["id"] for lease in daemon.leases()] == [holder.lease["id"]]
    assert chg("release", "--gpu-ids", "0", user=alice).stdout == "Released 1 GPU(s): [0]\n"
    holder.close()


def test_release_leaves_what_waits(chg, alice, bob):
    chg("reserve", "-g", "8", user=bob)
    waiter = chg.popen("reserve", user=alice)
    chg.wait_waiting(1)
    assert chg("release", user=alice).stdout == "No manually reserved GPUs found for current user\n"
    assert waiter.poll() is None


def test_admin_tells_what_there_is_and_resets_for_administrators_alone(chg, alice, bob):
    assert chg("admin", "--gpus", "8", "--provider", "nvidia", user=alice).stdout == \
        "Using explicitly specified GPU provider: nvidia\nInitialized 8 GPUs (IDs 0 to 7)\n"
    assert "this machine has 8 GPUs, not 4" in chg("admin", "--gpus", "4", "--force", user=None, code=1).stderr
    for provider, said in (("amd", "provider 'amd' is not available on this system"),
                           ("voodoo", "invalid provider 'voodoo'. Valid providers are: nvidia, amd, fake")):
        assert said in chg("admin", "-g", "8", "-p", provider, user=alice, code=1).stderr
    assert "Using fake GPU provider" in chg("admin", "-g", "8", "-p", "fake", user=alice).stdout
    done = chg("admin", "-g", "8", "--force", user=alice, code=1)
    assert "Reinitialized" not in done.stdout and "administrator" in done.stderr
    chg("reserve", "-g", "3", user=bob)
    chg("admin", "-g", "8", "--force", user=alice, code=1)
    assert chg.states().count("IN_USE") == 3
    assert chg("admin", "-g", "8", "--force", user=None).stdout.splitlines()[1:] == [
        "Releasing all GPUs: admin force reset (clearing 8 existing GPUs)", "Reinitialized 8 GPUs (IDs 0 to 7)"]
    assert chg.states().count("IN_USE") == 0


def test_two_users_race_for_one_gpu(chg, alice, bob):
    chg("reserve", "-g", "7", user=alice)
    processes = [chg.popen("reserve", "--nonblock", "--short", user=user) for user in [alice, bob] * 6]
    outs = [process.communicate(timeout=DEADLINE)[0] for process in processes]
    assert sorted(out for out in outs if out) == [b"7"]
    assert sorted(process.returncode for process in processes) == [0] + [1] * 11


def test_without_a_daemon_each_says_so_at_once(chg, alice):
    chg.daemon.stop()
    for line in ("status", "status --json", "queue", "report", "release", "reserve", "run -- true", "admin -g 8"):
        done = chg(*line.split(), user=alice, code=1)
        assert done.stdout == "" and "dibsd does not run here" in done.stderr and done.stderr.count("\n") == 1


# Terminals, pipes, hostile input


def on_terminal(chg, *arguments, user, width=80, **env):
    """What it prints on a terminal of that width."""
    master, slave = pty.openpty()
    process = chg.popen(*arguments, user=user, env={"COLUMNS": str(width), **env}, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    out = b""
    with contextlib.suppress(OSError):
        while data := os.read(master, 65536):
            out += data
    process.wait(DEADLINE)
    os.close(master)
    return out.decode().replace("\r\n", "\n")


def test_colours_are_for_terminals_and_tables_fit(chg, alice):
    chg("reserve", "-g", "2", "-n", "a note that is much longer than a narrow terminal has room for, and then some",
        user=alice)
    assert "\033" not in chg("status", user=alice).stdout
    assert "\033[32;1m● AVAILABLE\033[0m" in on_terminal(chg, "status", user=alice)
    assert "\033" not in on_terminal(chg, "status", "--no-color", user=alice)
    assert "\033" not in on_terminal(chg, "status", user=alice, NO_COLOR="1")
    for width in (60, 80, 100, 120, 200):
        out = on_terminal(chg, "status", "--no-color", user=alice, width=width)
        assert max(len(line) for line in out.splitlines()) <= width, out
    assert "and then some" in on_terminal(chg, "status", "--no-color", user=alice, width=300)
    assert on_terminal(chg, "status", "--no-color", user=alice, LC_ALL="C").isascii()


def test_notes_cannot_act_on_a_terminal(chg, alice, bob):
    for note in ("a\x1b[31mb\x07\x9bc", "line\nbreak\ttab", "\u202egnol", "%s%n" * 50, "<script>alert(1)</script>", '"}],'):
        chg("reserve", "-G", "0", "-n", note, user=alice, code=None)
        for arguments in (["status"], ["status", "--format", "readme"], ["queue"], ["report"]):
            out = chg(*arguments, user=bob).stdout
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out), out
        json.loads(chg("status", "--json", user=bob).stdout)
        chg("release", user=alice)
    assert chg("reserve", "-u", "a\x1b[31m", user=alice, code=1).stderr.startswith("Error: --user takes a name")


def test_a_pipe_that_closes_early_and_a_full_disk(chg, alice):
    done = chg.shell("canhazgpu status --json | head -1; canhazgpu report | true; echo ${PIPESTATUS[0]}", alice)
    assert done.stdout.splitlines()[0] == "[" and done.stderr == ""
    done = chg.shell("canhazgpu status > /dev/full", alice)
    assert done.returncode == 1 and "cannot write to standard output" in done.stderr


def test_help_and_version_need_no_daemon(chg, alice):
    chg.daemon.stop()
    assert re.fullmatch(r"canhazgpu version v1\.1\.3 \(dibs [\d.]+\)\n", chg("--version", user=alice).stdout)
    overview = chg("--help", user=alice).stdout
    for command in ("admin", "queue", "release", "report", "reserve", "run", "status", "web"):
        assert f"\n  {command} " in overview
        text = chg(command, "--help", user=alice).stdout
        assert text == chg("help", command, user=alice).stdout and f"canhazgpu {command}" in text
    assert "supervisor" not in overview and chg(user=alice).stdout == overview


# Documents


def flags_of(chg, command, user):
    """Long names of its own flags, and their letters."""
    text = chg(command, "--help", user=user).stdout.split("Global Flags")[0]
    return set(re.findall(r"--([a-z-]+)", text.split("\nFlags:\n")[1])), set(re.findall(r"\n  -(\w), ", text))


COMMANDS = ["admin", "queue", "release", "report", "reserve", "run", "status", "web"]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_completions_know_all_flags(chg, alice, command):
    words = subprocess.run(["bash", "-c", f'. "$0"; _canhazgpu_flags {command}', ROOT / "data/completions/canhazgpu.bash"],
                           capture_output=True, text=True, check=True).stdout.split()
    common = {"config", "help", "redis-host", "redis-port", "redis-db", "memory-threshold", ""}
    assert {word.removeprefix("--") for word in words} - common == flags_of(chg, command, alice)[0]


@pytest.mark.parametrize("line, offered", [
    (["canhazgpu", ""], set(COMMANDS) | {"help"}), (["chg", "re"], {"release", "report", "reserve"}),
    (["canhazgpu", "run", "--no"], {"--nonblock", "--note"}), (["chg", "reserve", "--gpu-ids", ""], set("01234567")),
    (["canhazgpu", "status", "--format", "r"], {"readme"}), (["canhazgpu", "run", "--", "whoam"], {"whoami"}),
])
def test_completion(chg, alice, line, offered):
    script = f'. "{ROOT}/data/completions/canhazgpu.bash"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _canhazgpu; ' \
             'printf "%s\\n" "${COMPREPLY[@]}"'
    words = " ".join(shlex.quote(word) for word in ["bash", "-c", script, "x", *line])
    assert set(chg.shell(words, None).stdout.split()) == offered


def test_manual_has_all_flags(chg, alice):
    page = (ROOT / "man/canhazgpu.1.scd").read_text()
    for command in COMMANDS:
        names, letters = flags_of(chg, command, alice)
        missing = {name for name in names if f"--{name}*" not in page} - {"port", "host", "demo"}
        assert not missing, (command, missing)
        assert all(f"*-{letter}*" in page for letter in letters if command != "web")
