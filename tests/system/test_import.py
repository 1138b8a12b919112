# SPDX-License-Identifier: MIT
"""What other tools left behind: the state of canhazgpu in a real Redis, and the settings of GPULocker."""

import contextlib
import datetime
import json
import os
import re
import select
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from harness import DEADLINE, uid_of

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures/canhazgpu"
HISTORY = "canhazgpu:usage_history_sorted"
SECOND = 1_000_000
READING = {"auth", "select", "get", "getrange", "scan", "zscan"}
FIRST_ENV = """\
SECRET_KEY=your_secret_key_here
GPU_CONFIG={'A100': [0, 1, 2, 3], 'V100': [4, 5, 6, 7]}
PRIVILEGED_USERS=admin1,admin2
USER_PENALTY=24
CHECK_FOR_IDLE_GPU=6
DISK_CACHE_TIMEOUT=600
HOST=0.0.0.0
PORT=5151
"""
PRESENT_ENV = """\
HOST=0.0.0.0
PORT=5151
GPU_CONFIG='{"4090": [1,2,3,4]}'
LOG_FILE=gpulocker.log
LOG_LEVEL=INFO
SECRET_KEY="your_secret_key_here"
PRIVILEGED_USERS="admin1,admin2"
USER_LOCKOUT_HOURS=2
DISK_CACHE_TIMEOUT_SECONDS=1800
CHECK_FOR_IDLE_GPU_HOURS=2
GPUs_STATUS_REFRESH_RATE_SECONDS=2
MIN_GPU_UTILIZATION_PERCENT=1
MIN_GPU_MEMORY_GB=0.1
FORCE_REVOKE=False
GPU_UTILIZATION_HISTORY_DAYS=7
GPU_ACTIVITY_CHECK_MINUTES=5
REVOKE_IDLE_GPU_AFTER_HOURS=8
REDIS_HOST=localhost
REDIS_PORT=6379
REDIS_DB=0
PROXY_URL="http://username:password@proxy.example.com:port"
TELEGRAM_BOT_TOKEN="your_telegram_bot_token"
TELEGRAM_CHAT_ID="your_telegram_chat_id"
USE_JALALI_DATES=True
MAX_RESERVERVATION_DAYS=3
MAX_EXTENSION_DAYS=2
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Redis:
    """A redis-server of this test alone, and what tells it commands."""

    def __init__(self, directory, *options):
        self.port = free_port()
        self.address = f"localhost:{self.port}"
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--dir", str(directory), *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.wait_ready()
        self.socket = socket.create_connection(("127.0.0.1", self.port), DEADLINE)
        self.file = self.socket.makefile("rb")

    def wait_ready(self):
        log, end = b"", time.monotonic() + DEADLINE
        while b"eady to accept connections" not in log:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert data, f"redis-server is not ready: {log!r}"
            log += data

    def reply(self):
        line = self.file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2] if int(rest) >= 0 else None
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        assert kind in b"+:", line
        return rest

    def command(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        return self.reply()

    def load(self, name, users):
        now = int(time.time())

        def value(match):
            form, offset = match[1], int(match[2])
            if form == "u":
                return str(now + offset)
            return datetime.datetime.fromtimestamp(now + offset, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")

        text = (FIXTURES / name).read_text()
        for who, user in zip(("alice", "bob", "carol"), users):
            text = text.replace(f"@{who}@", user)
        for line in re.sub(r"@([ur])([-+]\d+)@", value, text).splitlines():
            self.command(*json.loads(line))
        return now

    def statistics(self):
        """The commands that it was given until now."""
        info = self.command("INFO", "commandstats").decode()
        return set(re.findall(r"^cmdstat_([a-z]+)", info, re.M))

    def close(self):
        self.file.close()
        self.socket.close()
        self.process.kill()
        self.process.wait(DEADLINE)
        self.process.stdout.close()


@pytest.fixture
def make_redis(tmp_path):
    if not shutil.which("redis-server"):
        pytest.skip("there is no redis-server")
    made = []

    def make(*options):
        made.append(Redis(tmp_path, *options))
        return made[-1]

    yield make
    for redis in made:
        redis.close()


@pytest.fixture
def redis(make_redis):
    return make_redis()


@contextlib.contextmanager
def server(answer):
    """Something else that listens: answers whatever it is told with these bytes; None: hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    while answer is not None:
                        connection.sendall(answer)
                        if not connection.recv(65536):
                            break
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(DEADLINE)
    assert not thread.is_alive()


def canhazgpu(daemon, address, *options, **kwargs):
    return daemon.dibs("admin", "import", "canhazgpu", "--redis", address, *options, **kwargs)


def test_what_would_be_imported(daemon, redis, users, alice, bob):
    redis.load("present.jsonl", users)
    redis.command("CONFIG", "RESETSTAT")
    shown = canhazgpu(daemon, redis.address, "--dry-run").stdout
    assert redis.statistics() - {"config", "info"} <= READING
    lines = shown.splitlines()
    assert re.fullmatch(rf'hold of {alice}: GPU 0,1 until .*: notebook "A"', lines[0])
    assert lines[1] == "not taken over:"
    assert re.fullmatch(rf"  GPU 2: a run of {bob} since .*, which goes on; {bob} can keep it with: "
                        r"dibs reserve --adopt PID", lines[2])
    assert lines[3:6] == [
        f"  GPU 4 was kept for {bob}, who waits for more",
        f"  {bob} waits for 2 GPUs; to ask again: dibs run -g 2 -- COMMAND",
        "1 hold and 3 records would be imported, 4 skipped:",
    ]
    assert lines[6].startswith("  canhazgpu:gpu:6: is not JSON: ")
    assert sorted(lines[7:]) == [
        "  a record of the history: its start_time is no time",
        "  there is no user 'Alice S' on this machine",
        "  there is no user 'dibs-nobody-here' on this machine",
    ]
    assert not daemon.leases()


def test_the_state_of_its_present_version(daemon, redis, users, alice, bob, carol):
    now = redis.load("present.jsonl", users)
    said = canhazgpu(daemon, redis.address).stdout
    assert "1 hold and 3 records imported, 0 known already, 4 skipped:" in said
    [hold] = daemon.leases()
    assert (hold["user"], hold["kind"], hold["gpus"], hold["note"]) == (alice, "hold", [0, 1], 'notebook "A"')
    raw = daemon.wait_status(lambda s: s["leases"])["leases"][0]
    assert abs(raw["until"] - (now + 7200) * SECOND) < SECOND
    over = json.loads(daemon.dibs("history", "--all", "--since", "2d", "--json").stdout)
    assert sorted((l["user"], l["kind"], l["gpus"]) for l in over) == sorted(
        [(alice, "run", [0]), (alice, "hold", [0, 1]), (bob, "hold", [1]), (carol, "hold", [3])])
    report = json.loads(daemon.dibs("report", "--days", "3", "--by", "user", "--json").stdout)
    held = {row["name"]: row["held_us"] for row in report["rows"]}
    assert abs(held[alice] - (6400 + 2 * 600) * SECOND) < 20 * SECOND
    assert (held[bob], held[carol]) == (3600 * SECOND, (7200 - 60) * SECOND)

    # Again: nothing is there twice, also when the hold has been given back.
    again = canhazgpu(daemon, redis.address).stdout
    assert "0 holds and 0 records imported, 4 known already, 4 skipped:" in again
    daemon.dibs("release", user=alice)
    daemon.restart()
    assert "0 holds and 0 records imported, 4 known already" in canhazgpu(daemon, redis.address).stdout
    assert not daemon.leases()


def test_a_hold_of_somebody_else_stays(daemon, redis, users, alice, bob):
    redis.load("first.jsonl", users)
    daemon.reserve("--gpu", "0", user=bob)
    said = canhazgpu(daemon, redis.address).stdout
    assert "0 holds and 3 records imported, 0 known already, 1 skipped:" in said
    assert re.search(rf"^  the hold of {alice}, GPU 0: GPU 0 is leased already \(hold #\d+, {bob}\)$", said, re.M)
    assert [l["user"] for l in daemon.leases()] == [bob]


def test_the_state_of_its_first_versions(daemon, redis, users, alice, bob):
    redis.load("first.jsonl", users)
    shown = canhazgpu(daemon, redis.address, "--dry-run").stdout
    assert f"hold of {alice}: GPU 0 until " in shown
    assert f"  GPU 1: a run of {bob} since " in shown
    assert "1 hold and 3 records would be imported, 0 skipped\n" in shown
    assert "1 hold and 3 records imported, 0 known already, 0 skipped\n" in canhazgpu(daemon, redis.address).stdout


def test_gpus_that_are_not_here(make_daemon, redis, users, alice):
    daemon = make_daemon(sim="1xA100-80G").start()
    redis.load("first.jsonl", users)
    redis.command("SET", "canhazgpu:gpu:0", "{}")
    said = canhazgpu(daemon, redis.address).stdout
    assert "0 holds and 1 record imported, 0 known already, 2 skipped:" in said
    assert "  a record of the history: there is no GPU 2\n" in said
    assert "canhazgpu gpu" not in said


def test_runs_are_named_with_their_processes(make_nvml, make_redis, users, bob):
    nvml, daemon = make_nvml(gpus=4)
    redis = make_redis()
    redis.load("first.jsonl", users)
    daemon.start()
    job = nvml.job(nvml.gpus[1], user=bob)
    daemon.wait_status(lambda s: any(gpu["processes"] for gpu in s["gpus"]))
    assert f"dibs reserve --adopt {job.gpu_pid}\n" in canhazgpu(daemon, redis.address, "--dry-run").stdout


def test_only_administrators_import(daemon, redis, users, alice):
    redis.load("first.jsonl", users)
    refused = canhazgpu(daemon, redis.address, user=alice, code=3)
    assert "administrator" in refused.stderr
    assert not daemon.leases()


def test_a_long_history(daemon, redis, users, alice):
    redis.load("first.jsonl", users)
    now = int(time.time())
    for i in range(1234):
        start = now - 90_000 - i * 60
        redis.command("ZADD", HISTORY, start + 30, json.dumps(
            {"user": alice, "gpu_id": i % 8, "start_time": start, "end_time": start + 30, "duration_seconds": 30,
             "reservation_type": "run"}))
    assert "1 hold and 1237 records imported, 0 known" in canhazgpu(daemon, redis.address, timeout=60).stdout
    assert "0 holds and 0 records imported, 1238 known" in canhazgpu(daemon, redis.address, timeout=60).stdout


def test_passwords(daemon, make_redis, users):
    redis = make_redis("--requirepass", "hush")
    redis.command("AUTH", "hush")
    redis.load("first.jsonl", users)
    missing = canhazgpu(daemon, redis.address, "--dry-run", code=1).stderr
    assert "wants a password: put it into the environment as REDISCLI_AUTH" in missing
    wrong = canhazgpu(daemon, redis.address, "--dry-run", code=1, env={"REDISCLI_AUTH": "no"}).stderr
    assert "the password in REDISCLI_AUTH: " in wrong and "WRONGPASS" in wrong
    right = canhazgpu(daemon, redis.address, "--dry-run", env={"REDISCLI_AUTH": "hush"})
    assert "1 hold and 3 records would be imported" in right.stdout


def test_where_there_is_nothing(daemon, redis):
    assert "there is nothing of canhazgpu in this database" in canhazgpu(daemon, redis.address, code=1).stderr
    redis.command("SET", "canhazgpu:gpu_count", "0")
    assert "nothing of canhazgpu" in canhazgpu(daemon, redis.address, "--db", "3", code=1).stderr
    assert "DB index is out of range" in canhazgpu(daemon, redis.address, "--db", "9999", code=1).stderr
    assert "0 holds and 0 records" in canhazgpu(daemon, redis.address, "--dry-run").stdout


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":6379", "localhost:0", "localhost:65536", "[]:1", "", "a:b:c"])
def test_addresses(daemon, address):
    canhazgpu(daemon, address, code=1)


def test_words(daemon):
    assert "--redis localhost:6379" in daemon.dibs("admin", "import", "canhazgpu", code=2).stderr
    assert "too much" in canhazgpu(daemon, "localhost:1", "file", code=2).stderr
    assert "neither" in daemon.dibs("admin", "import", "slurm", code=2).stderr
    assert "number of a database" in canhazgpu(daemon, "localhost:1", "--db", "x", code=2).stderr


def test_keys_of_other_types(daemon, redis, users):
    redis.load("first.jsonl", users)
    redis.command("DEL", "canhazgpu:gpu:0", "canhazgpu:gpu:1")
    redis.command("LPUSH", "canhazgpu:gpu:0", "x")
    redis.command("SET", "canhazgpu:gpu:1", "x" * 100_000)
    redis.command("SET", HISTORY, "x")
    redis.command("HSET", "canhazgpu:usage_history:1", "x", "y")
    redis.command("SET", b"canhazgpu:usage_history:\0\x1b[2J\xff", "{}")
    redis.command("LPUSH", "canhazgpu:queue", "x")
    shown = canhazgpu(daemon, redis.address, "--dry-run").stdout
    for key in ("canhazgpu:gpu:0", HISTORY, "canhazgpu:usage_history:1", "canhazgpu:queue"):
        assert f"  {key}: it is of another type than canhazgpu's\n" in shown
    assert "  canhazgpu:gpu:1: it is longer than a record\n" in shown
    assert "  a record of the history: it has no user\n" in shown
    assert "\x1b" not in shown
    assert "0 holds and 3 records would be imported, 6 skipped:" in shown
    redis.command("SET", "canhazgpu:gpu_count", "1000000000")
    assert "no number of GPUs" in canhazgpu(daemon, redis.address, code=1).stderr


def test_a_redis_that_is_not_there(daemon):
    refused = canhazgpu(daemon, f"127.0.0.1:{free_port()}", code=1).stderr
    assert re.fullmatch(r"dibs: cannot reach the Redis at 127.0.0.1:\d+: Connection refused\n", refused)
    canhazgpu(daemon, "no-such-host.invalid:6379", code=1)


@pytest.mark.parametrize("answer, sentence", [
    (None, "hung up"),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no Redis"),
    (b"+OK\r\n" * 2, "is of another form|no number of GPUs"),
    (b"*-1\r\n", "nothing of canhazgpu"),
    (b"*3000000000\r\n", "is no Redis|hung up|in time|out of memory"),
    (b"-ERR \x1b[2Jgo away\r\n", r"refuses: ERR \?\[2Jgo away"),
    (b"$100000000\r\n" + b"x" * (9 << 20), "more than 8 MiB"),
    (b"*2\r\n$1\r\n0\r\n*1\r\n:1\r\n" * 3, "no number of GPUs"),
    (b"", "does not answer in time"),
], ids=["hangs-up", "http", "ok", "nil", "long-array", "error", "long-string", "array", "silent"])
def test_a_redis_that_is_none(daemon, answer, sentence):
    with server(answer) as address:
        said = canhazgpu(daemon, address, code=1, timeout=40)
    assert re.search(sentence, said.stderr), said.stderr
    assert "\x1b" not in said.stderr and "Sanitizer" not in said.stderr


# GPULocker


def gpulocker(daemon, directory, content, **options):
    path = directory / ".env"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return daemon.dibs("admin", "import", "gpulocker", path, **options)


@pytest.mark.parametrize("env, idle, max_hold", [(FIRST_ENV, "never", "7d"), (PRESENT_ENV, "8h", "3d")],
                         ids=["first", "present"])
def test_dibsd_takes_what_was_written(make_daemon, alice, tmp_path, env, idle, max_hold):
    daemon = make_daemon(user=alice)
    done = gpulocker(daemon, tmp_path, env)
    assert f"hold-after = {idle}\n" in done.stdout and f"max-hold = {max_hold}\n" in done.stdout
    for secret in ("your_secret_key_here", "your_telegram_bot_token", "your_telegram_chat_id", "username:password"):
        assert secret not in done.stdout + done.stderr
    for line in env.splitlines():
        assert line.split("=")[0] in done.stdout
    assert " 0 unknown; " in done.stderr
    daemon.write_config(done.stdout)
    os.chown(daemon.config, uid_of(alice), -1)
    daemon.start()
    too_long = daemon.dibs("reserve", "-d", "8d", user=alice, code=3).stderr
    assert f"at most {max_hold.replace('7d', '1w')} is allowed" in too_long


def test_settings_that_are_none(daemon, tmp_path, alice):
    touched = tmp_path / "touched"
    evil = gpulocker(daemon, tmp_path, f"A=1\nGPU_CONFIG=__import__('os').system('touch {touched}')\n", code=2)
    assert evil.stdout == "" and re.search(r"\.env:2: GPU_CONFIG: column 1: ", evil.stderr)
    assert not touched.exists()
    assert "is binary" in gpulocker(daemon, tmp_path, b"A=1\0\n", code=2).stderr
    assert "more than 64 KiB" in gpulocker(daemon, tmp_path, "A=" + "x" * 70_000, code=2).stderr
    assert ":2: 'a b' is not" in gpulocker(daemon, tmp_path, "A=1\r\na b=1\r\n", code=2).stderr
    (tmp_path / ".env").chmod(0o600)
    tmp_path.chmod(0o755)
    refused = daemon.dibs("admin", "import", "gpulocker", tmp_path / ".env", user=alice, code=2)
    assert "Permission denied" in refused.stderr
    os.mkfifo(tmp_path / "fifo")
    assert "not a regular file" in daemon.dibs("admin", "import", "gpulocker", tmp_path / "fifo", code=2).stderr
    assert "which file?" in daemon.dibs("admin", "import", "gpulocker", code=2).stderr
    assert "is for canhazgpu" in daemon.dibs("admin", "import", "gpulocker", tmp_path / ".env", "--dry-run", code=2).stderr
