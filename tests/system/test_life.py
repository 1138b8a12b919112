# SPDX-License-Identifier: MIT
"""How dibsd starts, stops, reads its configuration again, and refuses to."""

import os
import pwd
import shutil
import signal
import socket
import subprocess

import pytest
from harness import DEADLINE, cgroup2_mount, read_line


def run_to_end(daemon, *options):
    """Runs it with these options instead of its own; (status, what it said)."""
    result = subprocess.run([daemon.programs["dibsd"], *map(str, options)], capture_output=True, timeout=DEADLINE,
                            stdin=subprocess.DEVNULL, env=daemon.environment)
    return result.returncode, (result.stdout + result.stderr).decode()


def refuses_to_start(daemon):
    status, said = run_to_end(daemon, *daemon.arguments()[1:])
    assert status == 1, said
    assert said.count("\n") == 1, said
    return said


def test_a_second_daemon_on_the_same_state_is_refused(make_daemon):
    first, second = make_daemon().start(), make_daemon()
    first.reserve("-g", "1")
    second.state = first.state
    said = refuses_to_start(second)
    assert f"another dibsd uses {first.state}" in said, said
    assert not second.socket.exists()
    assert len(first.leases(state="active")) == 1


def test_a_second_daemon_on_the_same_socket_is_refused(make_daemon):
    first, second = make_daemon().start(), make_daemon()
    second.socket = first.socket
    said = refuses_to_start(second)
    assert f"another daemon serves {first.socket}" in said, said
    assert first.reserve("-g", "1")["state"] == "active"


def test_a_stale_socket_is_replaced(make_daemon):
    daemon = make_daemon()
    daemon.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(daemon.socket))
    daemon.start()
    assert daemon.status()["leases"] == []


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_not_replaced(make_daemon, kind):
    daemon = make_daemon()
    daemon.socket.parent.mkdir()
    precious = daemon.directory / "precious"
    precious.write_text("precious")
    if kind == "file":
        daemon.socket.write_text("precious")
    elif kind == "directory":
        daemon.socket.mkdir()
    else:
        daemon.socket.symlink_to(precious)
    assert str(daemon.socket) in refuses_to_start(daemon)
    assert daemon.socket.exists() and precious.read_text() == "precious"
    assert kind != "file" or daemon.socket.read_text() == "precious"


def test_stopping_leaves_leases_in_place(make_daemon, alice, bob):
    daemon = make_daemon().start()
    hold = daemon.reserve("-g", "2", user=alice)
    run = daemon.popen("run", "-g", "6", "--", "sh", "-c", "echo; read line; echo $line", user=bob, stdin=-1)
    read_line(run.stdout)
    waiting = daemon.popen("reserve", "-g", "2", "--short", user=bob)
    daemon.wait_leases(1, state="waiting")
    before = daemon.status()["leases"]
    daemon.stop()
    assert not daemon.socket.exists()
    assert run.poll() is None and waiting.poll() is None
    daemon.start()
    after = daemon.status()["leases"]
    assert [(l["id"], l["state"], l["gpus"]) for l in after] == [(l["id"], l["state"], l["gpus"]) for l in before]
    run.stdin.write(b"alive\n")
    assert read_line(run.stdout) == "alive\n"
    daemon.dibs("release", hold["id"], user=alice)
    assert waiting.wait(DEADLINE) == 0


def hold_seconds(daemon):
    with daemon.varlink() as link:
        lease = link.call("org.dibs.Request", {"kind": "hold"})["parameters"]["lease"]
    return round((lease["until"] - lease["since"]) / 1_000_000)


def test_hangup_reads_the_configuration_again(make_daemon):
    daemon = make_daemon(config="[lease]\ndefault-hold = 1h\n").start()
    assert hold_seconds(daemon) == 3600
    daemon.write_config("[lease]\ndefault-hold = 2h\n[daemon]\nsocket-mode = 0600\n")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log("read again")
    assert hold_seconds(daemon) == 7200
    assert "socket-mode takes effect at the next start" in daemon.drain_log()
    assert daemon.socket.stat().st_mode & 0o777 == 0o666
    daemon.restart()
    assert daemon.socket.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("bad, line, said", [
    ("[lease]\ndefault-hold = 2h\nmax-hold = soon\n", 3, "duration"),
    ("[lease]\ndefault-hold = 2h\nmaxhold = 1d\n", 3, "maxhold"),
    ("[lease]\ndefault-hold = 2h\n[leases]\nmax-hold = 1d\n", 4, "leases"),
    ("[lease]\ndefault-hold = 2h\ndefault-hold = 3h\n", 3, "second time"),
    ("[lease]\ndefault-hold = 2h\n[limits]\nrequests = -1\n", 4, "number"),
    ("[daemon]\nadmin-group = no-such-group\n[lease]\ndefault-hold = 2h\n", 2, "/etc/group"),
])
def test_a_bad_configuration_is_refused_whole(make_daemon, bad, line, said):
    daemon = make_daemon(config="[lease]\ndefault-hold = 1h\n").start()
    daemon.write_config(bad)
    daemon.process.send_signal(signal.SIGHUP)
    logged = daemon.wait_log("stays as it was")
    assert f"{daemon.config}:{line}: " in logged and said in logged, logged
    assert hold_seconds(daemon) == 3600
    daemon.stop()
    refused = refuses_to_start(daemon)
    assert f"{daemon.config}:{line}: " in refused and said in refused, refused


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_configuration_that_others_can_write_is_refused(make_daemon, mode):
    daemon = make_daemon()
    daemon.config.chmod(mode)
    said = refuses_to_start(daemon)
    assert str(daemon.config) in said and "chmod go-w" in said, said


def test_a_configuration_of_another_user_is_refused(make_daemon, alice):
    daemon = make_daemon()
    os.chown(daemon.config, pwd.getpwnam(alice).pw_uid, -1)
    assert str(daemon.config) in refuses_to_start(daemon)


def test_drop_ins_are_read_and_must_be_as_trustworthy(make_daemon):
    daemon = make_daemon(config="[lease]\ndefault-hold = 1h\n")
    drop_ins = daemon.directory / "dibs.conf.d"
    drop_ins.mkdir()
    drop_in = drop_ins / "50-site.conf"
    drop_in.write_text("[lease]\ndefault-hold = 3h\n")
    drop_in.chmod(0o644)
    daemon.start()
    assert hold_seconds(daemon) == 3 * 3600
    daemon.stop()
    drop_in.chmod(0o666)
    assert str(drop_in) in refuses_to_start(daemon)
    drop_in.chmod(0o644)
    drop_ins.chmod(0o777)
    assert str(drop_ins) in refuses_to_start(daemon)


def test_a_configuration_that_is_named_must_exist(make_daemon):
    daemon = make_daemon()
    daemon.config.unlink()
    assert str(daemon.config) in refuses_to_start(daemon)


@pytest.mark.parametrize("options, said", [
    (["--sim", "nonsense"], "nonsense"),
    (["--sim", "0xA100-80G"], "0xA100-80G"),
    (["--sim", "1000000xA100-80G"], "1000000xA100-80G"),
    (["--sim", ""], ""),
    (["--no-such-option"], "no-such-option"),
    (["--socket"], "socket"),
    (["surplus"], "surplus"),
])
def test_wrong_usage_is_told_with_status_2(make_daemon, options, said):
    status, output = run_to_end(make_daemon(), *options)
    assert status == 2 and said in output, (status, output)


def test_help_and_version_go_to_standard_output(make_daemon):
    daemon = make_daemon()
    for option, text in (("--help", "--cgroup-root"), ("--version", "dibsd ")):
        result = subprocess.run([daemon.programs["dibsd"], option], capture_output=True, text=True, timeout=DEADLINE)
        assert result.returncode == 0 and text in result.stdout and not result.stderr


def test_a_socket_whose_path_is_too_long_is_refused(make_daemon):
    daemon = make_daemon()
    daemon.socket = daemon.directory / ("x" * 120)
    assert "longer than" in refuses_to_start(daemon)


def test_an_emptied_state_directory_gives_no_old_process_to_a_new_lease(daemon):
    run = daemon.popen("run", "--", "sh", "-c", "echo started; exec sleep 1000")
    assert "started" in read_line(run.stdout)
    daemon.kill()
    shutil.rmtree(daemon.state)
    daemon.start()
    assert daemon.reserve()["id"] == 2
    daemon.dibs("run", "--", "true")
    assert run.poll() is None


def test_doctor_finds_cgroups_where_they_are_mounted_and_names_the_group_of_the_socket(make_daemon, alice):
    group = 64321  # has no name
    daemon = make_daemon(config=f"[daemon]\nsocket-mode = 0660\nsocket-group = {group}\n").start()
    assert f"cgroup v2 at {cgroup2_mount()}\n" in daemon.dibs("doctor", code=None).stdout
    assert f"usermod -aG {group} $USER" in daemon.dibs("doctor", user=alice, code=1).stdout
