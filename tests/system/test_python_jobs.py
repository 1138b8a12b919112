# SPDX-License-Identifier: MIT
"""The module dibs: batch jobs, and looking at what there is."""

import json
import os

import pytest
from harness import uid_of
from jobs import QUICK
from pyscript import DIBS, finish, line


@pytest.fixture
def python(daemon, make_scripts):
    """Programs that have dibs imported, with a daemon of eight GPUs."""
    return make_scripts(daemon, DIBS)


# Jobs


@pytest.fixture
def work(make_daemon, make_scripts, alice):
    """Programs in a directory of alice's, and a daemon that runs jobs at once."""
    daemon = make_daemon(config=QUICK).start()
    home = daemon.directory / "work"
    home.mkdir()
    os.chown(home, uid_of(alice), -1)
    scripts = make_scripts(daemon, f"{DIBS}\nos.chdir({str(home)!r}); os.umask(0o027)\n")
    scripts.home = home
    return scripts


def test_a_job_runs_as_one_would(work, alice):
    out = work.run("""
job = dibs.submit(["sh", "-c", "echo $GREETING $DIBS_GPUS; pwd; umask; id -un; ulimit -n; exit 3"], gpus=2, env={"GREETING": "hi"},
                  venv=False, name="first", time="1h", note="n")
assert isinstance(job.id, int) and job.wait() == 3 and job.wait(1) == 3
lease = job.show().lease
assert (lease.state, lease.exit_code, lease.job.name, lease.note, lease.kind) == ("ended", 3, "first", "n", "job")
assert lease.command.startswith("sh -c 'echo") and [e.kind for e in job.show().events][-1] == "ended"
sys.stdout.write(open(job.log).read())
assert dibs.Job(job.id).wait() == 3 and repr(job) == f"<Job {job.id}>"
""", alice)
    greeting, where, mask, who, files = out.splitlines()
    assert greeting == "hi 0,1" and where == str(work.home) and mask == "0027" and who == alice and files.isdigit()


def test_its_environment_is_what_one_has(work, alice):
    out = work.run("""
os.environ.update(KEPT="1", CUDA_VISIBLE_DEVICES="7", XDG_SESSION_ID="3", BIG="x" * 70000, ODD=os.fsdecode(b"\\xff"))
with dibs.lease():
    job = dibs.submit(["env"], venv=False)
job.wait()
clean = dibs.submit(["/usr/bin/env"], inherit_env=False, env={"ONLY": "2"}, venv=False)
clean.wait()
say(json.dumps([open(j.log).read() for j in (job, clean)]))
""", alice)
    first, second = ({row.partition("=")[0]: row.partition("=")[2] for row in text.splitlines()} for text in json.loads(out))
    assert first["KEPT"] == "1" and first["CUDA_VISIBLE_DEVICES"].startswith("GPU-") and first["PWD"] == str(work.home)
    assert not {"XDG_SESSION_ID", "BIG", "ODD"} & set(first) and first["DIBS_JOB"] == first["DIBS_LEASE"]
    assert second["ONLY"] == "2" and "KEPT" not in second


def test_scripts_run_with_their_arguments(work, alice):
    (work.home / "job.sh").write_text("#!/bin/sh\n# a comment\necho $0 $1 $#\nexit 4\n")
    (work.home / "told.sh").write_text("#!/bin/sh\n#DIBS -g 2\necho $DIBS_GPUS\n")
    (work.home / "empty").write_text("")
    (work.home / "binary").write_bytes(b"\x7fELF\0")
    (work.home / "latin").write_bytes(b"#!/bin/sh\necho \xff\n")
    out = work.run("""
job = dibs.submit("job.sh", ["a b", "c"], venv=False)
os.unlink("job.sh") if job.wait() == 4 else None
sys.stdout.write(open(job.log).read())
def refused(*words, **more):
    try: dibs.submit(*words, **more)
    except dibs.Invalid as error: say(error.id)
refused("told.sh")
for name in ("empty", "binary", "latin", "none", ".", "/dev/null"): refused(name)
job = dibs.submit("told.sh", ignore_directives=True, venv=False)
assert job.wait() == 0
sys.stdout.write(open(job.log).read())
""", alice)
    lines = out.splitlines()
    assert lines[0].endswith("a b 2") and lines[1:] == ["script.directives", *["script.file"] * 6, "0"]


def test_arrays_and_what_comes_after(work, alice):
    work.run("""
from datetime import datetime, timedelta, timezone
array = dibs.submit(["sh", "-c", "exit $DIBS_ARRAY_INDEX"], array=range(2), parallel=1, output="part-%a", venv=False)
assert array.wait() == 1
assert dibs.Job(f"{array.id}.0").wait() == 0 and dibs.Job(f"#{array.id}.1").wait() == 1
good = dibs.submit(["true"], array="0-3%2", venv=False)
assert good.wait() == 0
def after(*needs): return dibs.submit(["true"], after=list(needs), venv=False)
assert after(good, f"{array.id}:fail").wait() == 0
assert dibs.submit(["true"], after=good.id, venv=False).wait() == 0
try: after(array)
except dibs.Refused as error: assert error.id == "job.broken-need"
else: assert False
late = dibs.submit(["true"], begin="1h", held=True, nice=5, retries=2, on_limit="requeue", time="1h", signal="USR1@5m", grace=3,
                   memory=None, setup="true", error="err", venv=False)
job = late.lease.job
assert 3500 < (job.begin - datetime.now(timezone.utc)).total_seconds() <= 3600
assert (job.held, job.nice, job.retries, job.on_limit) == (True, 5, 2, "requeue") and late.lease.exit_code is None
for seconds in (0, 0.2):
    try: late.wait(timeout=seconds)
    except TimeoutError: pass
    else: assert False
try: dibs.Job(1, socket="/nowhere").wait(0)
except dibs.Unreachable: pass
else: assert False
late.hold()
late.cancel()
assert late.wait() == 125 and late.log is None
dibs.submit(["true"], begin=datetime.now() + timedelta(hours=1), signal=(signal.SIGUSR1, "10s"), time=60, venv=False).cancel()
""", alice)


ODD = [
    "[]", "['x'], array='0-'", "['x'], array='0-3%x'", "['x'], parallel=2", "['x'], after='x'", "['x'], signal='NO@5m', time='1h'",
    "['x'], signal='USR1@5m'", "['x'], on_limit='x'", "['x'], retries=-1", "['x'], nice=1000", "['x\\ud800']", "['x\\0']",
    "['x'], name=''", "['x'], env={'': 'x'}", "['x'], env={'BIG': 'x' * 300000}", "['x'], begin='x'", "['x'], memory='x'",
    "['x'], gpu=99", "['x'], output=''", "['x'], grace=-1",
]


def test_odd_jobs_are_invalid(work, alice):
    work.run(f"""
for wish in {ODD}:
    try: eval(f"dibs.submit({{wish}})")
    except dibs.Invalid as error: assert error.message, wish
    else: assert False, wish
    assert dibs.status().leases == (), wish
""", alice)


def test_what_is_no_job(python):
    python.run("""
for number in "0", "-1", "x", "1.", "1.x", "''", "1.5.5", "":
    try: dibs.Job(number)
    except dibs.Invalid as error: assert error.id == "usage.id", number
    else: assert False, number
""")


def test_jobs_are_told_what_to_do(work, alice):
    (work.home / "trap.sh").write_text("#!/bin/sh\ntrap 'echo told; exit 9' USR1\necho ready\nwhile :; do sleep 0.05; done\n")
    program = work.start("""
job = dibs.submit("trap.sh", venv=False)
while not job.log or "ready" not in open(job.log).read(): time.sleep(0.02)
job.signal("USR1")
say(job.wait())
job = dibs.submit(["sleep", "1000"], venv=False)
while job.lease.state != "active": time.sleep(0.02)
job.requeue()
while not any(e.kind == "requeued" for e in job.show().events): time.sleep(0.02)
job.cancel()
say(job.wait())
try: job.cancel()
except dibs.Error: say("ended")
job = dibs.submit(["true"], held=True, venv=False)
job.resume()
say(job.wait())
""", alice)
    assert [line(program) for _ in range(4)] == ["9", "143", "ended", "0"]
    finish(program)


def test_who_waits_for_a_job_waits_for_dibsd(work, alice):
    os.mkfifo(work.home / "go")
    (work.home / "go").chmod(0o666)
    program = work.start("""
job = dibs.submit(["sh", "-c", "read x <go; exit 6"], venv=False)
say(job.id)
say(job.wait())
""", alice)
    number = int(line(program))
    work.daemon.wait_leases(1, id=number, state="active")
    work.daemon.crash_and_restart()
    work.daemon.wait_leases(1, id=number, state="active")
    with open(work.home / "go", "w") as go:
        go.write("\n")
    assert line(program) == "6"
    finish(program)


# Looking


def test_status_has_everything(daemon, python, alice, bob):
    hold = daemon.reserve("-g", "7", "-d", "1h", "--note", "n", user=alice)
    wide = daemon.popen("reserve", "-g", "8", user=bob)
    daemon.wait_leases(1, state="waiting")
    narrow = daemon.popen("reserve", "-g", "8", user=alice)
    waiting = daemon.wait_leases(2, state="waiting")
    raw, status, leases, queue = python.says("""
import dataclasses
from dibs import _records, _varlink
def plain(x):
    if dataclasses.is_dataclass(x): return {f.name: plain(getattr(x, f.name)) for f in dataclasses.fields(x)}
    if isinstance(x, tuple): return [plain(m) for m in x]
    return round(x.timestamp() * 1e6) if hasattr(x, "timestamp") else x
raw = _varlink.call("GetStatus")
shown = plain(_records.record(dibs.Status, raw))
assert type(dibs.status()) is dibs.Status and dibs.status().host == shown["host"]
say(json.dumps([raw, shown, [l.id for l in dibs.leases()], [l.id for l in dibs.queue()]]))
""")
    for gpu in raw["gpus"]:
        assert gpu.pop("nodes")
    assert status == raw and len(raw["leases"]) == 3
    assert leases == [hold["id"]] and queue == sorted(lease["id"] for lease in waiting)
    for process in (wide, narrow):
        process.kill()


def test_leases_are_handled_by_their_numbers(daemon, python, alice):
    hold = daemon.reserve("--gpu", "1,2,3", "-d", "1h", user=alice)["id"]
    python.run(f"""
before = dibs.show({hold}).lease.until
assert (dibs.extend({hold}, 3600).until - before).total_seconds() == 3600
assert dibs.shrink({hold}, [1]).gpus == (2, 3)
assert [l.id for l in dibs.release({hold})] == [{hold}]
shown = dibs.show({hold})
assert shown.lease.state == "ended" and [e.kind for e in shown.events] == ["queued", "granted", "extended", "shrunk", "ended"][1 - len(shown.events) % 2:]
assert shown.events[-1].lease == {hold} and shown.events[-1].uid == os.getuid()
""", alice)


def test_events_follow(daemon, python, alice):
    first = daemon.reserve(user=alice)["id"]
    program = python.start(f"""
for event in dibs.events(after=0, lease={first}, follow=False): say(event.kind)
say("so far")
seen = 0
for event in dibs.events(after=0):
    assert event.id > seen
    seen = event.id
    if event.lease not in (None, {first}): say(event.lease, event.kind, event.uid)
    if event.kind == "extended": break
say("done")
""", alice)
    kinds = [event["kind"] for event in daemon.lease(first)["events"]]
    assert [line(program) for _ in kinds] == kinds and line(program) == "so far"
    second = daemon.reserve(user=alice)["id"]
    expected = [event["kind"] for event in daemon.lease(second)["events"]]
    assert [line(program) for _ in expected] == [f"{second} {kind} {uid_of(alice)}" for kind in expected]
    daemon.crash_and_restart()
    daemon.dibs("release", second, user=alice)
    assert line(program) == f"{second} ended {uid_of(alice)}"
    daemon.dibs("extend", first, "1h", user=alice)
    assert line(program) == "done"
    finish(program)
