# SPDX-License-Identifier: MIT
"""The module dibs: leases of programs of several users, with threads, forks, asyncio, and a dibsd that comes and goes."""

import json
import os
import signal

import pytest
from harness import DEADLINE
from pyscript import DIBS, NAMES, finish, line, tell
from test_nvml import wait_gpu


@pytest.fixture
def python(daemon, make_scripts):
    """Programs that have dibs imported, with a daemon of eight GPUs."""
    return make_scripts(daemon, DIBS)


# A block and its GPUs


def test_a_block_has_its_gpus(daemon, python, alice):
    program = python.start("""
with dibs.lease(gpus=2, note="mine") as l:
    say(json.dumps([l.id, l.indices, l.uuids, l.cuda_visible_devices, l.environment, seen(), l.note, str(l.until), l.held]))
    hear()
say(json.dumps([seen(), l.held, l.id]))
""", alice)
    number, indices, uuids, visible, environment, seen, note, until, held = json.loads(line(program))
    lease, = daemon.leases()
    assert (lease["id"], lease["user"], lease["kind"], lease["gpus"], lease["note"]) == (number, alice, "hold", indices, "mine")
    assert [gpu["uuid"] for gpu in daemon.status()["gpus"] if gpu["index"] in indices] == uuids and len(uuids) == 2
    assert visible == ",".join(uuids) and (note, until, held) == ("mine", "None", True)
    assert seen == environment == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": visible, "NVIDIA_VISIBLE_DEVICES": visible,
        "DIBS_LEASE": str(number), "DIBS_GPUS": ",".join(map(str, indices))}
    tell(program)
    assert json.loads(line(program)) == [{}, False, number]
    finish(program)
    assert daemon.leases() == []
    assert daemon.lease(number)["end"] == "released"


def test_it_sees_what_dibs_run_sets(make_daemon, make_scripts, alice):
    for config in ("", "[lease]\nvisible = index\n"):
        daemon = make_daemon(config=config).start()
        ran = daemon.dibs("run", "-g", "2", "--", "/usr/bin/env", user=alice).stdout
        run = dict(row.split("=", 1) for row in ran.splitlines() if row.startswith(NAMES))
        python = make_scripts(daemon, DIBS)
        seen = python.says("with dibs.lease(2): say(json.dumps(seen()))", alice)
        assert seen.pop("DIBS_LEASE") != run.pop("DIBS_LEASE")
        assert seen == run


def test_the_environment_is_as_it_was(python):
    before = {"CUDA_VISIBLE_DEVICES": "5,3", "CUDA_DEVICE_ORDER": "", "DIBS_LEASE": "none"}
    assert python.says("""
def inside(): return [os.environ["CUDA_VISIBLE_DEVICES"] == l.cuda_visible_devices for l in (a, b)]
a, b = dibs.lease(), dibs.lease()
steps = []
with a:
    with b: steps.append(inside())
    steps.append(inside())
steps.append(seen())
a.acquire(); b.acquire(); a.release(); steps.append(inside())
b.release(); steps.append(seen())
with dibs.lease(set_environment=False): steps.append(seen())
try:
    with dibs.lease():
        os.environ["CUDA_VISIBLE_DEVICES"] = "mine"
        raise KeyError
except KeyError: steps.append(seen())
say(json.dumps(steps))
""", env=before) == [[False, True], [True, False], before, [False, True], before, before, before]


def test_what_is_asked_for(daemon, python, alice):
    python.run("""
from datetime import timedelta, datetime, timezone
uuids = [gpu.uuid for gpu in dibs.status().gpus]
def got(**wish):
    with dibs.lease(**wish) as l: return l.indices
assert got(gpu=[0, 3]) == [0, 3]
assert got(gpu=5) == [5] and got(gpu="5,6") == [5, 6] and got(gpu=[uuids[2]]) == [2]
assert len(got(gpus=3, type="a100", min_memory="40G")) == 3 and len(got(type=["H100", "A100"], min_memory=81000)) == 1
for duration in ("1h30m", 5400, 5400.0, timedelta(minutes=90)):
    with dibs.lease(duration=duration) as l:
        assert abs((l.until - datetime.now(timezone.utc)).total_seconds() - 5400) < 60, l.until
        assert l.extend("1h").until == l.until and l.until > datetime.now(timezone.utc) + timedelta(hours=2)
with dibs.lease(4, gpu=[1, 2, 3, 4]) as l:
    l.shrink([2, uuids[3]])
    assert l.indices == [1, 4] and l.uuids == [uuids[1], uuids[4]] and os.environ["DIBS_GPUS"] == "1,4"
    assert l.refresh().gpus == (1, 4)
    try: l.acquire()
    except dibs.Invalid as error: assert error.id == "lease.held"
    else: assert False
assert repr(l).endswith("of GPU 1,4, released>") and repr(dibs.lease()) == "<Hold: not acquired>"
""", alice)
    assert daemon.leases() == []


IMPOSSIBLE = [
    "gpus=0", "gpus=-1", "gpus='2'", "gpus=True", "gpus=1.5", "gpu=[]", "gpu=['']", "gpu='1,,2'", "gpu=1.5", "type=''",
    "min_memory='40'", "min_memory='G'", "min_memory=0", "min_memory=1.5", "min_memory=True", "duration=''", "duration='4'",
    "duration='1m1h'", "duration='4H'", "duration=0", "duration=-1", "duration=float('nan')", "duration=float('inf')",
    "duration='521w1000d'", "duration=True", "duration=b'4h'", "timeout=-1", "timeout='x'", "wait=False, timeout=1",
    "note='\\ud800'", "note='x' * 400000", "adopt=[0]", "adopt=['1']", "gpu=[99]", "gpus=9", "type='H100'", "gpu=[1, 1]",
    "min_memory='100T'", "note='x' * 501",
]


def test_what_cannot_be_is_invalid(python):
    """With a sentence, and without a trace."""
    python.run(f"""
from dibs import _lease
_lease.LAST_WORDS = 1000  # there is nothing to withdraw
for wish in {IMPOSSIBLE}:
    try: eval(f"dibs.lease({{wish}}).acquire()")
    except dibs.Invalid as error:
        assert error.message == str(error) and len(error.message) > 15 and "." in error.id, (wish, error)
    else: assert False, wish
    assert dibs.status().leases == () and seen() == {{}}, wish
""")


def test_who_is_not_allowed_is_refused(make_daemon, make_scripts, alice, bob):
    daemon = make_daemon(config="[limits]\nrequests-per-user = 1\n").start()
    python = make_scripts(daemon, DIBS)
    hold = daemon.reserve(user=bob)["id"]
    python.run(f"""
import pickle
def refused(call, kind, id):
    try: call()
    except kind as error:
        assert isinstance(error, dibs.Error) and error.id == id, error.id
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.id, again.message) == (type(error), error.id, error.message)
    else: assert False
with dibs.lease(): refused(dibs.lease().acquire, dibs.Refused, "limit.requests-per-user")
refused(lambda: dibs.release({hold}), dibs.Refused, "lease.not-yours")
refused(lambda: dibs.extend({hold}, "1h"), dibs.Refused, "lease.not-yours")
refused(lambda: dibs.shrink({hold}, 0), dibs.Refused, "lease.not-yours")
refused(lambda: dibs.release(99), dibs.Invalid, "lease.unknown")
refused(lambda: dibs.show(99), dibs.Invalid, "lease.unknown")
refused(lambda: dibs.release(), dibs.Invalid, "usage.value")
refused(dibs.adopt, dibs.Refused, "adopt.no-gpu")
""", alice)


# Waiting


def test_it_waits_its_turn(daemon, python, alice, bob):
    hold = daemon.reserve("-g", "8", user=alice)
    program = python.start("""
import logging
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
with dibs.lease(gpus=8) as l: say(l.id, len(l.indices))
""", bob)
    waiting, = daemon.wait_leases(1, state="waiting")
    assert line(program).startswith("INFO:dibs:") and waiting["kind"] == "hold"
    daemon.dibs("release", hold["id"], user=alice)
    assert line(program) == f"{waiting['id']} 8"
    finish(program)


def test_it_does_not_wait_longer_than_it_should(daemon, python, alice, bob):
    daemon.reserve("-g", "8", user=alice)
    python.run("""
for wish in (dict(wait=False), dict(timeout=0), dict(timeout=0.3), dict(timeout=0.3, gpu=2)):
    started = time.monotonic()
    try: dibs.lease(**wish).acquire()
    except dibs.NotFree as error: assert error.message and error.id
    else: assert False
    assert time.monotonic() - started >= wish.get("timeout", 0)
assert dibs.queue() == [] and seen() == {}
""", bob)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_whoever_is_interrupted_leaves_the_queue(daemon, python, alice, bob, number):
    hold = daemon.reserve("-g", "8", user=alice)
    program = python.start("""
try: dibs.lease(gpus=8).acquire()
except KeyboardInterrupt: say(json.dumps(seen()))
hear()
""", bob)
    daemon.wait_leases(1, state="waiting")
    program.send_signal(number)
    daemon.wait_leases(0, state="waiting")
    if number == signal.SIGINT:
        assert line(program) == "{}"
    daemon.dibs("release", hold["id"], user=alice)
    assert daemon.leases() == []


def test_an_exception_of_a_signal_handler_leaves_the_queue(daemon, python, alice, bob):
    daemon.reserve("-g", "8", user=alice)
    program = python.start("""
class Enough(Exception): pass
def enough(*_): raise Enough
signal.signal(signal.SIGUSR1, enough)
try: dibs.lease().acquire()
except Enough: say("enough")
with dibs.lease(): pass
""", bob)
    daemon.wait_leases(1, state="waiting")
    program.send_signal(signal.SIGUSR1)
    assert line(program) == "enough"
    daemon.wait_leases(1, state="waiting")  # the second one


# The end, in all ways


def test_a_process_that_is_killed_leaves_nothing(daemon, python, alice):
    program = python.start("""
l = dibs.lease(gpus=3, duration="4h").acquire()
dibs.lease(gpus=2).acquire()
say("has")
hear()
""", alice)
    assert line(program) == "has"
    assert len(daemon.leases()) == 2
    program.kill()
    program.wait()
    daemon.wait_leases(0)


def test_a_process_that_forgets_leaves_nothing(daemon, python, alice):
    python.run("dibs.lease(gpus=3).acquire()", alice)
    daemon.wait_leases(0)


def test_an_exception_gives_back(daemon, python, alice):
    python.run("with dibs.lease(): raise KeyError", alice, status=1)
    assert daemon.leases() == []


def test_what_was_taken_away_meanwhile_is_no_error(daemon, python, alice, bob):
    program = python.start("""
with dibs.lease() as a, dibs.lease() as b:
    say(a.id, b.id)
    hear()
    say(a.refresh().state)
""", alice)
    first, second = line(program).split()
    daemon.dibs("admin", "release", first, "--reason", "repair")
    daemon.dibs("release", second, user=alice)
    tell(program)
    assert line(program) == "ended"
    assert finish(program) == ""


def test_children_that_are_forked_do_not_give_back(daemon, python, alice):
    program = python.start("""
import multiprocessing
def child(): return l.indices
with dibs.lease(gpus=2) as l:
    if os.fork() == 0:
        sys.exit()   # through the end of the block
    os.wait()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.apply(child) == l.indices
        pool.apply(l.release)
    l.refresh()
    assert l.lease.state == "active" and l.held
    if os.fork() == 0:
        with dibs.lease() as own: os._exit(own.id == l.id)
    assert os.wait()[1] == 0
    say("there")
    hear()
say("gone")
""", alice)
    assert line(program) == "there"
    daemon.wait_leases(1)
    tell(program)
    assert line(program) == "gone"
    assert daemon.leases() == []
    finish(program)


def test_a_child_does_not_keep_the_place_of_its_parent(daemon, python, alice, bob):
    """It has a copy of the connection over which its parent waits."""
    daemon.reserve("-g", "8", user=alice)
    program = python.start("""
def wait():
    try: dibs.lease().acquire()
    except BaseException as error: say(type(error).__name__)
signal.signal(signal.SIGUSR1, lambda *_: say("child", os.fork() or time.sleep(1000)))
def enough(*_): raise KeyError
signal.signal(signal.SIGUSR2, enough)
wait()
hear()
""", bob)
    daemon.wait_leases(1, state="waiting")
    program.send_signal(signal.SIGUSR1)
    child = int(line(program).split()[1])
    try:
        program.send_signal(signal.SIGUSR2)
        assert line(program) == "KeyError"
        daemon.wait_leases(0, state="waiting")
    finally:
        os.kill(child, signal.SIGKILL)


def test_threads_have_leases_of_their_own(daemon, python, alice):
    assert python.says("""
found, gate = [], threading.Barrier(4)
def work():
    with dibs.lease(gpus=2, set_environment=False) as l:
        gate.wait()
        found.extend(l.indices)
threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
say(json.dumps([sorted(found), seen()]))
""", alice) == [list(range(8)), {}]
    assert daemon.leases() == []


def test_users_race_and_nobody_shares(daemon, python, alice, bob, carol):
    """Each GPU has a file while somebody has it."""
    directory = daemon.directory / "taken"
    directory.mkdir()
    directory.chmod(0o777)
    racers = [python.start(f"""
import random
random.seed({number})
for round in range(20):
    with dibs.lease(gpus=random.randint(1, 3), **random.choice([{{}}, dict(duration="1h"), dict(timeout=60)])) as l:
        files = [f"{directory}/{{i}}" for i in l.indices]
        for file in files: os.close(os.open(file, os.O_CREAT | os.O_EXCL))
        for file in files: os.unlink(file)
""", user) for number, user in enumerate([alice, bob, carol, None] * 2)]
    for racer in racers:
        assert racer.wait(timeout=3 * DEADLINE) == 0, racer.stderr.read()
    assert daemon.leases() == [] and list(directory.iterdir()) == []


# A dibsd that comes and goes


def test_what_is_held_outlives_dibsd(daemon, python, alice):
    program = python.start("""
with dibs.lease(gpus=2, duration="1h") as l:
    say(l.id)
    while hear() == "again": say(l.extend("1h").state)
say("left")
""", alice)
    number = int(line(program))
    for restart in (daemon.crash_and_restart, daemon.restart):
        restart()
        tell(program, "again")
        assert line(program) == "active"
    assert [lease["id"] for lease in daemon.leases()] == [number]
    tell(program)
    assert line(program) == "left"
    assert daemon.leases() == []


def test_a_process_that_ends_while_dibsd_is_gone_leaves_nothing(daemon, python, alice):
    program = python.start("dibs.lease(gpus=2).acquire(); say('has'); hear()", alice)
    assert line(program) == "has"
    daemon.kill()
    program.kill()
    program.wait()
    daemon.start()
    daemon.wait_leases(0)


@pytest.mark.parametrize("how", ["with", "async with"])
def test_who_waits_keeps_the_place(daemon, python, alice, bob, how):
    hold = daemon.reserve("-g", "8", user=alice)
    code = {"with": "with dibs.lease(gpus=8) as l: say(l.id)", "async with": """
async def main():
    async with dibs.alease(gpus=8) as l: say(l.id)
asyncio.run(main())"""}[how]
    program = python.start(code, bob)
    waiting, = daemon.wait_leases(1, state="waiting")
    for restart in (daemon.crash_and_restart, daemon.restart):
        restart()
        again, = daemon.wait_leases(1, state="waiting")
        assert again["id"] == waiting["id"]
    daemon.dibs("release", hold["id"], user=alice)
    assert line(program) == str(waiting["id"])
    finish(program)


def test_nobody_waits_for_a_dibsd_longer_than_for_gpus(daemon, python, alice, bob):
    daemon.reserve("-g", "8", user=alice)
    program = python.start("""
try: dibs.lease(timeout=2).acquire()
except dibs.NotFree as error: say(error)
""", bob)
    daemon.wait_leases(1, state="waiting")
    daemon.kill()
    assert "dibsd is not back" in line(program)
    finish(program)
    daemon.start()


def test_a_block_ends_while_dibsd_is_restarted(daemon, python, alice):
    program = python.start("""
with dibs.lease():
    say("in")
    hear()
say("out")
""", alice)
    assert line(program) == "in"
    daemon.kill()
    tell(program)
    daemon.start()
    assert line(program) == "out"
    daemon.wait_leases(0)


@pytest.mark.parametrize("how", ["with", "async with"])
def test_a_block_ends_without_dibsd(daemon, python, alice, how):
    """As it would have ended: what it did is not to be lost for this. Whoever wants to see the warning does."""
    block = {"with": "with dibs.lease(): pause()", "async with": """
async def main():
    async with dibs.alease(): pause()
asyncio.run(main())"""}[how]
    program = python.start(f"""
import warnings
from dibs import _lease
_lease.AT_EXIT = 0.2
def pause(): say("in"); hear()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    {block.replace(chr(10), chr(10) + "    ")}
assert [w.category for w in caught] == [ResourceWarning] and "ends with this process" in str(caught[0].message), caught
l = dibs.lease()
say("out")
hear()
l.acquire()
say("in again")
hear()
try: l.release()
except dibs.Unreachable: say(seen())
""", alice)
    assert line(program) == "in"
    daemon.kill()
    tell(program)
    assert line(program) == "out"
    daemon.start()
    tell(program)
    assert line(program) == "in again"
    daemon.kill()
    tell(program)
    assert line(program) == "{}"
    finish(program)
    daemon.start()
    daemon.wait_leases(0)


# asyncio


def test_others_run_while_a_task_waits(daemon, python, alice, bob):
    hold = daemon.reserve("-g", "7", user=alice)
    program = python.start("""
async def wish(gpus):
    async with dibs.alease(gpus=gpus, set_environment=False, duration="1h") as l:
        await l.extend("1h")
        if gpus == 1:
            say("one", l.held, len(l.indices))
            await asyncio.get_running_loop().run_in_executor(None, hear)
        else: await l.shrink(l.indices[:1]); await l.refresh(); say("eight", len(l.indices))
async def main():
    await asyncio.gather(wish(8), wish(1))
    say(json.dumps(seen()))
asyncio.run(main())
""", bob)
    assert line(program) == "one True 1"
    daemon.wait_leases(1, state="waiting")
    daemon.dibs("release", hold["id"], user=alice)
    tell(program)
    assert line(program) == "eight 7"
    assert line(program) == "{}"
    finish(program)
    assert daemon.leases() == []


def test_a_task_that_is_cancelled_leaves_the_queue(daemon, python, alice, bob):
    daemon.reserve("-g", "8", user=alice)
    program = python.start("""
async def main():
    try: await asyncio.wait_for(dibs.alease(gpus=8).acquire(), 0.5)
    except asyncio.TimeoutError: say("time is over", dibs.queue(), seen())
    task = asyncio.ensure_future(dibs.aio.lease(gpus=8).acquire())
    while not dibs.queue(): await asyncio.sleep(0.01)
    task.cancel()
    try: await task
    except asyncio.CancelledError: say("cancelled", dibs.queue())
    try: await dibs.alease(timeout=0.1).acquire()
    except dibs.NotFree: say("not free")
    task = asyncio.ensure_future(dibs.alease(gpus=8).acquire())
    while not dibs.queue(): await asyncio.sleep(0.01)
    say("ends")
try: asyncio.run(main())
finally: say(dibs.queue())
""", bob)
    assert [line(program) for _ in range(5)] == ["time is over [] {}", "cancelled []", "not free", "ends", "[]"]
    finish(program)


def test_tasks_that_are_cancelled_at_any_moment_keep_nothing(daemon, python, alice):
    python.run("""
async def one(i):
    task = asyncio.ensure_future(dibs.alease(set_environment=False).acquire())
    for _ in range(i): await asyncio.sleep(0)
    task.cancel()
    try: await (await task).release()
    except asyncio.CancelledError: pass
async def main():
    for i in range(40): await one(i)
    await asyncio.gather(*(one(i) for i in range(40)))
    while dibs.status().leases: await asyncio.sleep(0.01)   # what was cancelled unheard is gone, or will be
asyncio.run(main())
""", alice)


# Adopting


def test_what_runs_already_is_adopted(make_nvml, make_scripts, alice):
    nvml, daemon = make_nvml()
    daemon.start()
    python = make_scripts(daemon, DIBS)
    job = nvml.job(nvml.gpus[1], user=alice)
    wait_gpu(daemon, nvml.gpus[1], "foreign")
    program = python.start(f"""
os.umask(0)
os.makedirs(f"{{os.environ['FAKE_NVML_STATE']}}.processes", 0o1777, exist_ok=True)
ticks = open("/proc/self/stat").read().rsplit(")")[1].split()[19]
with open(f"{{os.environ['FAKE_NVML_STATE']}}.processes/{{os.getpid()}}.0", "w") as file:
    file.write(f"{nvml.gpus[0].uuid} {{os.getpid()}} {{ticks}} 512 compute\\n")
hear()
own = dibs.adopt(note="mine")
say(own.id, own.indices, own.note, seen())
other = dibs.adopt({job.gpu_pid})
say(other.id, other.indices)
hear()
with own: pass
assert dibs.adopt([os.getpid()]).lease.with_process == os.getpid()
say("adopted again")
hear()
""", alice, env=nvml.environment)
    wait_gpu(daemon, nvml.gpus[0], "foreign")
    tell(program)
    own, other = line(program).split(maxsplit=1), line(program).split(maxsplit=1)
    assert (own[1], other[1]) == ("[0] mine {}", "[1]")
    assert {str(lease["id"]) for lease in daemon.wait_leases(2, kind="hold")} == {own[0], other[0]}
    tell(program)
    assert line(program) == "adopted again"
    assert len(daemon.leases()) == 2
    tell(program)
    finish(program)
    kept, = daemon.wait_leases(1)  # another's is of nobody's process
    assert (str(kept["id"]), kept["with_process"]) == (other[0], None) and kept["until"]
