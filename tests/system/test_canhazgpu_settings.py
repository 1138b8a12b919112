# SPDX-License-Identifier: MIT
"""What canhazgpu, the face, reads besides its command line: configuration files, the environment, other hosts."""

import json
import os
import subprocess
import time

import pytest

# Configuration


def write_config(home, text, user, name=".canhazgpu.yaml", mode=0o644):
    path = home / name
    path.write_text(text)
    path.chmod(mode)
    subprocess.run(["chown", f"{user}:", path], check=True)
    return path


COMPLETE = """\
# Complete example configuration
redis:
  host: "localhost"
  port: 6379
  db: 0
memory:
  threshold: 1024
run:
  gpus: 2
  timeout: "2h"  # Kill commands after 2 hours
reserve:
  gpus: 1
  duration: "8h"
report:
  days: 7
web:
  port: 8080
  host: "0.0.0.0"
"""


def test_configuration_file_environment_and_command_line(chg, alice, home):
    path = write_config(home, COMPLETE, alice)
    done = chg("run", "--", "true", user=alice)
    assert done.stdout == "Reserved 2 GPU(s): [0 1] for command execution (timeout: 2h 0m 0s)\n"
    assert done.stderr == (
        f"canhazgpu: redis.host in {path}, redis.port in {path}, redis.db in {path} are not used any more: dibsd keeps the "
        f"reservations\ncanhazgpu: memory.threshold in {path} is not used any more: dibsd sees which process uses which GPU\n")
    env = {"CANHAZGPU_RUN_TIMEOUT": "1h", "CANHAZGPU_RUN_GPU_IDS": "3,4", "CANHAZGPU_MEMORY_THRESHOLD": "1"}
    done = chg("run", "--", "true", user=alice, env=env)
    assert done.stdout == "Reserved 2 GPU(s): [3 4] for command execution (timeout: 1h 0m 0s)\n"
    assert "CANHAZGPU_MEMORY_THRESHOLD is not used any more" in done.stderr
    assert chg("run", "-t", "30m", "-g", "1", "--", "true", user=alice, env=env).stdout.endswith("(timeout: 0h 30m 0s)\n")
    assert " for 8h 0m 0s" in chg("reserve", user=alice).stdout
    assert json.loads(chg("report", "--json", user=alice).stdout)["days"] == 7


@pytest.mark.parametrize("name, text", [
    ("config.json", '{"reserve": {"duration": "2h", "gpu-ids": [3, 4]}, "redis": {"host": "x", "port": 6379}}'),
    ("c.yaml", "reserve:\n    'duration': 2h   # two\n    gpu-ids: [3, 4]\n"),
    ("c.yaml", "reserve:\n  duration: 2h\n  gpu-ids:\n  - 3\n  - 4\nremote_hosts:\n- a\n"),
    ("c.yaml", "reserve: {duration: 2h, gpu-ids: '3,4'}\n"),
    ("c.yaml", "---\nreserve: &x\n  duration: 2h\n  gpu-ids: [3, 4]\n"),
])
def test_configuration_in_other_shapes(chg, alice, home, name, text):
    path = write_config(home, text, alice, name)
    assert " 2 GPU(s): [3 4] for 2h 0m 0s" in chg("--config", path, "reserve", user=alice).stdout


BAD_CONFIGURATIONS = [
    ("run:\n  gpus: many\n", ':2: run.gpus: "many": it is not a whole number'),
    ("run:\n  deep:\n    er: 1\n", ":3: a plain value or a list is expected here"),
    ("- run\n", ":1: settings with their names are expected"),
    ("run: [[1]]\n", ":1: a list here has plain values"),
    ("run:\n\tgpus: 1\n", ":2: "),
    ("{[a]: b}\n", ":1: a name is missing"),
    ("run:\n  note: \"a\\0b\"\n", ":2: a plain value or a list is expected here"),
    ("a: &a [*a]\n", ":1: "),
    ("run: *nowhere\n", ":1: "),
    ("\x00\x01", ":1: "),
    ("x" * 70000, "has more than 65536 bytes"),
]


def test_bad_configuration_is_an_error_with_its_place(chg, alice, home):
    for text, said in BAD_CONFIGURATIONS:
        path = write_config(home, text, alice)
        done = chg("reserve", user=alice, code=1)
        assert done.stdout == "" and done.stderr.startswith("Error: ") and said in done.stderr and str(path) in done.stderr, done
    assert chg.daemon.leases() == []


def test_unknown_settings_are_named(chg, alice, home):
    path = write_config(home, "reserve:\n  durration: 2h\n", alice)
    assert chg("reserve", user=alice).stderr == f"canhazgpu: {path}:2: there is no setting 'reserve.durration'\n"


def test_files_of_others_are_not_read(chg, alice, bob, home):
    text = "reserve:\n  duration: 9h\n"
    path = write_config(home, text, bob)
    done = chg("reserve", "--short", user=alice)
    assert done.stderr == f"canhazgpu: {path} belongs to somebody else; it is not read\n" and done.stdout == "0"
    assert "belongs to somebody else" in chg("--config", path, "reserve", user=alice, code=1).stderr
    write_config(home, text, alice, mode=0o646)
    assert "others can write" in chg("reserve", user=alice).stderr
    path.unlink()
    os.mkfifo(path)
    assert "is not a regular file" in chg("reserve", user=alice, code=1).stderr
    path.unlink()
    path.symlink_to(write_config(home, text, alice, "dotfiles.yaml"))
    assert " for 9h 0m 0s" in chg("reserve", user=alice).stdout
    path.unlink()
    assert "cannot read" in chg("--config", path, "status", user=alice, code=1).stderr
    path.symlink_to("/etc/shadow")
    assert chg("reserve", user=alice).stderr == ""  # may not be read: as if it were not there
    toml = write_config(home, "[run]\n", alice, "c.toml")
    assert "TOML is not read any more" in chg("--config", toml, "status", user=alice, code=1).stderr


def test_a_file_in_the_current_directory_is_not_read(chg, alice, home):
    directory = home / "elsewhere"
    directory.mkdir()
    write_config(directory, "reserve:\n  duration: 9h\n", alice)
    assert " for 0h 30m 0s" in chg("reserve", user=alice, cwd=directory).stdout


# Other hosts

SSH = """#!/bin/bash
printf '%s\\n' "$*" >> "$SSH_LOG"
while [[ $1 != -- ]]; do shift; done
case $2 in
good) exec canhazgpu status --json ;;
old) echo '[{"gpu_id":0,"status":"IN_USE","user":"eve\\u001b[31m","duration":"1h 2m 3s","type":"RUN","extra":{"a":1}}]' ;;
html) echo '<html>' ;;
object) echo '{"gpu_id": 0}' ;;
none) echo '[{"gpu_id":"x"}]' ;;
flood) head -c 5000000 /dev/zero ;;
slow) read -r -t 2 <> <(:); exec canhazgpu status --json ;;
noisy) echo "Warning: added" >&2; echo "bash: canhazgpu: command not found" >&2; exit 127 ;;
*) echo "ssh: Could not resolve hostname $2" >&2; exit 255 ;;
esac
"""


@pytest.fixture
def ssh(chg, home):
    """A stand-in for ssh, and what it was called with."""
    path = home / "bin"
    path.mkdir()
    (path / "ssh").write_text(SSH)
    (path / "ssh").chmod(0o755)
    log = home / "ssh.log"
    log.touch()
    log.chmod(0o666)
    env = {"PATH": f"{path}:{chg.daemon.programs['dibs'].parent}:{os.environ['PATH']}", "SSH_LOG": str(log)}

    def call(*arguments, user, hosts=None, **options):
        more = {"CANHAZGPU_REMOTE_HOSTS": hosts} if hosts else {}
        return chg(*arguments, user=user, env={**env, **more}, **options)

    call.log = log
    return call


def test_remote_is_asked_as_the_original_asks(chg, ssh, alice):
    chg("reserve", user=alice)
    done = ssh("status", "--remote", "good", user=alice)
    assert done.stdout.startswith("Status for good:\n GPU │ STATUS") and "expires in" in done.stdout
    assert ssh.log.read_text() == ("-o BatchMode=yes -o ConnectTimeout=10 -o StrictHostKeyChecking=accept-new -- good "
                                   "canhazgpu status --json\n")
    remote = json.loads(ssh("status", "-r", "good", "--json", user=alice).stdout)
    assert [set(gpu) for gpu in remote] == [set(gpu) for gpu in chg.status()]
    assert "│ good" not in ssh("status", "-r", "good", "-s", user=alice).stdout
    assert ssh("status", "-r", "good", "-s", user=alice).stdout.split("\n")[3].startswith(" good")
    out = ssh("status", "-r", "old", "--json", user=alice).stdout
    assert json.loads(out) == [{"gpu_id": 0, "status": "IN_USE", "user": "eve?[31m", "duration": "1h 2m 3s", "type": "RUN"}]


@pytest.mark.parametrize("host, said", [
    ("-oProxyCommand=touch /tmp/owned", "this is not the name of a host"), ("a b", "this is not the name of a host"),
    ("u@-x", "this is not the name of a host"), ("$(id)", "this is not the name of a host"),
    ("h" * 300, "this is not the name of a host"), ("nowhere", "exit status 255: ssh: Could not resolve hostname nowhere"),
    ("noisy", "exit status 127: bash: canhazgpu: command not found"), ("html", "failed to parse JSON output"),
    ("object", "failed to parse JSON output"), ("none", "failed to parse JSON output"),
    ("flood", "failed to parse JSON output"),
])
def test_hosts_that_fail_or_lie(chg, ssh, alice, host, said):
    done = ssh("status", f"--remote={host}", user=alice, code=1)
    assert done.stdout == "" and done.stderr.startswith(f"Error: failed to get status from {host}: {said}")
    if "name of a host" in said:
        assert ssh.log.read_text() == ""


def test_all_hosts_at_once_and_one_that_fails_spoils_nothing(chg, ssh, alice, home):
    write_config(home, "remote_hosts:\n  - good\n  - nowhere\n  - -oX=y\n", alice)
    out = ssh("status", "--all", user=alice).stdout
    assert [line for line in out.splitlines() if line.startswith("┌")] == [
        "┌─ localhost ─┐", "┌─ good ─┐", "┌─ nowhere ─┐", "┌─ -oX=y ─┐"]
    assert "│ ERROR: exit status 255: ssh: Could not resolve hostname nowhere\n└────────────┘\n" in out
    done = json.loads(ssh("status", "--all", "--json", user=alice).stdout)
    assert list(done) == ["localhost", "good", "nowhere", "-oX=y"] and len(done["good"]) == 8
    assert done["nowhere"] == {"error": "exit status 255: ssh: Could not resolve hostname nowhere"}
    rows = ssh("status", "--all", "-s", user=alice).stdout.splitlines()
    assert [row.split("│")[1].strip() for row in rows[3:7]] == ["8", "8", "ERR", "ERR"]
    began = time.monotonic()
    ssh("status", "--all", user=alice, hosts="slow slow slow slow,slow")
    assert time.monotonic() - began < 8  # not one behind the other


def test_all_hosts_without_a_daemon_here(chg, ssh, alice):
    chg.daemon.stop()
    done = ssh("status", "--all", "--json", user=alice, hosts="old")
    assert list(json.loads(done.stdout)) == ["old"] and done.stderr.startswith("Warning: dibsd not available locally")
    raw = json.loads(done.stdout)["old"][0]
    assert (raw["Duration"], raw["ReservationType"]) == (3723 * 10**9, "run")
    done = ssh("status", "--all", user=alice, code=1)
    assert "and no remote hosts configured" in done.stderr and done.stdout == ""
