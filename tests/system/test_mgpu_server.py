# SPDX-License-Identifier: MIT
"""mgpu_scheduler_server, spoken to by a client of the protocol of Multi-GPU Scheduler."""

import json
import os
import pwd
import select
import socket
import stat
import subprocess
import time

import pytest
from harness import DEADLINE, demote, read_line, uid_of
from jobs import QUICK
from mgpu_site import ID, OldClient, ask, children, submit, wait_no_children


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


def test_bad_requests(served, alice):
    for request, words in BAD:
        with OldClient(served, alice) as client:
            client.send(request)
            client.socket.shutdown(socket.SHUT_WR)
            reply = client.receive_all()
        assert reply["status"] == "fail" and words in reply["msg"], (request, reply)
        assert not served.daemon.leases(), request


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


def test_what_holds_for_others_is_said(make_site, alice):
    site = make_site(QUICK.replace("[jobs]\n", "[jobs]\nmax-time = 2h\n"))
    assert "'2h'" in read_line(site.serve("--max-job-time", 999999).stderr)
    # Who says nothing must not be refused for what the server says.
    assert submit(site, alice, "true")["status"] == "ok"


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


def test_uids_without_a_user_hold_no_places(served):
    """Whoever has subordinate uids could be as many clients as there may be."""
    clients = []
    os.seteuid(1234567890)
    try:
        clients = [OldClient(served, None) for _ in range(5)]
    finally:
        os.seteuid(0)
    for client in clients:
        assert "uid 1234567890 is not known here" in client.receive_all()["msg"]
    end = time.monotonic() + 5  # less than there is for a request
    while children(served):
        assert time.monotonic() < end, "they are kept"
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
