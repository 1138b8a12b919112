# SPDX-License-Identifier: MIT
"""The module dibs where what answers is not dibsd, or a newer or older one, or nobody."""

import contextlib
import json
import signal
import socket
import tempfile
import threading
from pathlib import Path

import pytest
from harness import DEADLINE
from pyscript import DIBS, line


@pytest.fixture
def python(daemon, make_scripts):
    """Programs that have dibs imported, with a daemon of eight GPUs."""
    return make_scripts(daemon, DIBS)


@contextlib.contextmanager
def server(directory, *handlers):
    """Accepts a connection for each handler, which gets it, and a function that reads a call."""
    path = directory / "fake"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o666)
    listener.listen()
    listener.settimeout(DEADLINE)
    failures = []

    def serve():
        try:
            for handler in handlers:
                link, _ = listener.accept()
                link.settimeout(DEADLINE)
                with link, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    handler(link, lambda: read_call(link))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield {"DIBS_SOCKET": str(path)}
    finally:
        thread.join()
        listener.close()
    assert not failures, failures


def read_call(link):
    data = b""
    while not data.endswith(b"\0"):
        more = link.recv(65536)
        if not more:
            return None
        data += more
    return json.loads(data[:-1])


def answer(data):
    def handler(link, call):
        call()
        link.sendall(data)
    return handler


def flood(link, call):
    call()
    for _ in range(70):
        link.sendall(b'"' + b"x" * (1 << 20))


LEASE = {"id": 7, "kind": "hold", "state": "active", "uid": 0, "gpus": [0], "count": 1}
GRANT = {"lease": LEASE, "gpus": [], "blockers": [], "visible": "uuid", "unknown": {"to": ["us"]}}
MESSAGE = b'{"error":"org.dibs.Refused","parameters":{"id":"x.y","message":"%s"}}\0'


@pytest.mark.parametrize("data, kind", [
    (b"garbage\0", "Fault"), (b"\0", "Fault"), (b"[]\0", "Fault"), (b"null\0", "Fault"), (b'"x"\0', "Fault"),
    (b"{}\0", "Fault"), (b'{"parameters":[]}\0', "Fault"), (b'{"parameters":null}\0', "Fault"), (b'{"error":7}\0', "Fault"),
    (b'{"parameters":{"lease":{}}}\0', "Fault"), (b"\xff\xfe\0", "Fault"), (b"[" * 100000 + b"\0", "Fault"),
    (b'{"parameters":' + b'{"a":' * 50000 + b"1" + b"}" * 50000 + b"}\0", "Fault"), (b'{"parameters":{"id":NaN}}\0', "Fault"),
    (b'{"parameters":{"id":' + b"9" * 5000000 + b"}}\0", "Fault"), (b'{"error":"com.example.Odd"}\0', "Fault"),
    (b'{"error":"org.dibs.NotFree"}\0', "Fault"), (b'{"error":"org.dibs.NotFree","parameters":{"message":7}}\0', "Fault"),
    (MESSAGE % b"no", "Refused"), (b'{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"x"}}\0', "Fault"),
    (b"", "Unreachable"), (b'{"parameters":{}', "Unreachable"),
    (json.dumps({"parameters": {**GRANT, "lease": {**LEASE, "id": "7"}}}).encode() + b"\0", "Fault"),
    (json.dumps({"parameters": {**GRANT, "lease": {**LEASE, "id": True}}}).encode() + b"\0", "Fault"),
    (json.dumps({"parameters": {**GRANT, "lease": {**LEASE, "until": 10**19}}}).encode() + b"\0", "Fault"),
    (json.dumps({"parameters": {**GRANT, "gpus": {"0": 1}}}).encode() + b"\0", "Fault"),
], ids=range(26))
def test_odd_answers_are_clean_errors(python, base_directory, data, kind):
    with tempfile.TemporaryDirectory(dir=base_directory) as directory:
        # A request that failed oddly is withdrawn, should it have been granted: nobody answers that.
        calls = [answer(data), answer(data)]
        with server(Path(directory), *calls) as environment:
            code = "dibs.lease().acquire()"
            out = python.run(f"""
for call in (lambda: dibs.status(), lambda: {code}):
    try: call()
    except dibs.Error as error:
        say(type(error).__name__)
        assert error.message.isprintable() and len(error.message) < 500, error.message
# nothing is left to be accepted: the server ends
""", env=environment)
    assert out.split() == [kind, kind]


def test_no_text_reaches_a_terminal_that_it_obeys(python, base_directory):
    with tempfile.TemporaryDirectory(dir=base_directory) as directory:
        evil = MESSAGE % "\\u001b[2J\\u009b\\u202e\\u0000 gone".encode()
        with server(Path(directory), answer(evil)) as environment:
            out = python.run("""
try: dibs.status()
except dibs.Refused as error: say(ascii(str(error)))
""", env=environment)
    assert out == "'?[2J??? gone'\n"


def test_an_endless_frame_ends(python, base_directory):
    with tempfile.TemporaryDirectory(dir=base_directory) as directory, server(Path(directory), flood) as environment:
        assert "more than 67108864 bytes" in python.run("""
try: dibs.status()
except dibs.Fault as error: say(error)
""", env=environment)


def test_newer_and_older_answers_are_understood(python, base_directory):
    older = {"parameters": {**GRANT, "lease": LEASE}}
    with tempfile.TemporaryDirectory(dir=base_directory) as directory:
        release = answer(b'{"parameters":{"leases":[]}}\0')
        with server(Path(directory), answer(json.dumps(older).encode() + b"\0"), release) as environment:
            assert python.says("""
with dibs.lease() as l: say(json.dumps([l.id, l.lease.note, l.lease.since, l.uuids, l.cuda_visible_devices]))
""", env=environment) == [7, None, None, [], ""]


def test_what_was_granted_to_somebody_who_had_left_is_given_back(python, base_directory):
    """The interrupt comes after the request, and before its answer."""
    asked, released = threading.Event(), []

    def grant_late(link, call):
        assert call()["method"] == "org.dibs.Request"
        asked.set()
        assert interrupted.wait(DEADLINE)
        link.sendall(json.dumps({"parameters": GRANT}).encode() + b"\0")

    def see_release(link, call):
        released.append(call())
        link.sendall(b'{"parameters":{"leases":[]}}\0')

    interrupted = threading.Event()
    with tempfile.TemporaryDirectory(dir=base_directory) as directory:
        with server(Path(directory), grant_late, see_release) as environment:
            program = python.start("""
def stop(*_):
    say("stopped")
    raise KeyboardInterrupt
signal.signal(signal.SIGINT, stop)
try: dibs.lease().acquire()
except KeyboardInterrupt: say("left")
""", env=environment)
            assert asked.wait(DEADLINE)
            program.send_signal(signal.SIGINT)
            assert line(program) == "stopped"
            interrupted.set()
            assert line(program) == "left"
    assert (released[0]["method"], released[0]["parameters"]) == ("org.dibs.Release", {"ids": [7]})


def test_a_fault_of_dibsd_is_told_at_once(python, base_directory):
    """It is the last word: there is nothing to withdraw, and the link stays open."""
    told = threading.Event()

    def fault(link, call):
        call()
        link.sendall(b'{"error":"org.dibs.Fault","parameters":{"id":"store.full","message":"no room"}}\0')
        assert link.recv(1000) == b""
        told.set()

    with tempfile.TemporaryDirectory(dir=base_directory) as directory, server(Path(directory), fault) as environment:
        assert python.says("""
from dibs import _lease
_lease.LAST_WORDS = 1000
try: dibs.lease().acquire()
except dibs.Fault as error: say(json.dumps([error.id, error.message]))
""", env=environment) == ["store.full", "no room"]
    assert told.is_set()


def test_a_dibsd_that_does_not_answer(python, base_directory):
    """Not at all, and not to a request that should be over."""
    release = threading.Event()

    def silent(link, call):
        call()
        release.wait(DEADLINE)

    with tempfile.TemporaryDirectory(dir=base_directory) as directory:
        with server(Path(directory), silent, silent) as environment:
            out = python.start("""
from dibs import _lease, _varlink
_lease.PATIENCE = _lease.LAST_WORDS = 0.1
for call in (lambda: _varlink.call("GetStatus", seconds=0.1), dibs.lease(timeout=0.2).acquire):
    try: call()
    except dibs.Unreachable as error: say(error.id)
""", env=environment)
            assert [line(out), line(out)] == ["client.timeout"] * 2
            release.set()


def test_a_dibsd_that_is_not_there(python, daemon, alice):
    missing, closed = daemon.directory / "none", daemon.directory / "closed"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(closed))
    closed.chmod(0o777)
    private = daemon.directory / "private"
    private.mkdir(mode=0o700)
    python.run(f"""
def why(path):
    for call in (dibs.status, dibs.lease(socket=path).acquire, dibs.lease(socket=path, wait=False).acquire):
        try: call(**({{"socket": path}} if call is dibs.status else {{}}))
        except dibs.Unreachable as error: reason = error
        else: assert False
    return reason.id + ": " + str(reason)
assert why("{missing}").startswith("client.no-daemon: dibsd does not run here (no socket {missing}); start it")
assert "nobody listens" in why("{closed}")
assert why("{private}/socket").startswith("client.permission: you may not use")
for odd in ("x" * 200, "a\\0b", "/"): why(odd)
import pathlib
assert dibs.status(socket=pathlib.Path(os.environ.pop("DIBS_SOCKET"))).gpus
""", alice)
    dead.close()
