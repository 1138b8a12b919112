# SPDX-License-Identifier: MIT
"""Sessions of users as systemd lays them out (a cgroup for all, in it a slice for each user), and
programs in them that open device nodes when they are told to."""

import os
import pwd
import subprocess

from harness import cgroup2_mount, demote, read_line, remove_cgroup

OPENER = r"""
import errno, os, signal, socket, sys, time
held = []
def command(line):
    word, _, rest = line.partition(" ")
    if word == "open":
        held.append(os.open(rest, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY))
    elif word == "close":
        os.close(held.pop())
    elif word == "read":
        os.read(held[-1], 1)
    elif word == "ignore":
        signal.signal(getattr(signal, rest), signal.SIG_IGN)
    elif word == "fork":      # a daemon: double fork, a session of its own
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            child = os.fork()
            if child:
                os.write(write, str(child).encode())
                os._exit(0)
            for fd in (0, 1, 2):
                os.close(fd)
            while True:
                signal.pause()
        os.wait()
        return os.read(read, 20).decode()
    elif word == "chain":     # a new process each half second, which the old one leaves all it has
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for _ in range(120):
                time.sleep(0.5)
                if os.fork():
                    break
            os._exit(0)
        os.close(held.pop())
    elif word == "send":
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(rest)
            socket.send_fds(s, [b"x"], [held[-1]])
    elif word == "receive":
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(rest)
            os.chmod(rest, 0o777)
            s.listen()
            print("listening", flush=True)
            peer = s.accept()[0]
            held.append(socket.recv_fds(peer, 1, 1)[1][0])
    elif word == "unshare":
        import ctypes
        if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):  # CLONE_NEWUSER
            raise OSError(ctypes.get_errno(), "unshare")
    return "0"
for line in sys.stdin:
    try:
        print(command(line.rstrip("\n")), flush=True)
    except OSError as e:
        print(errno.errorcode[e.errno], flush=True)
"""


class Opener:
    """A process of a user; ask("open /dev/x") gives "0" or the name of the error."""

    def __init__(self, user, cgroup=None, wrapper=(), env=None):
        become = demote(user)

        def enter():
            if cgroup:
                (cgroup / "cgroup.procs").write_text("0")
            if become:
                become()

        self.process = subprocess.Popen(
            [*map(str, wrapper), "/usr/bin/python3", "-c", OPENER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            bufsize=0, preexec_fn=enter, cwd="/", env=env)
        self.pid = self.process.pid

    def tell(self, line):
        self.process.stdin.write(line.encode() + b"\n")

    def hear(self):
        return read_line(self.process.stdout).rstrip("\n")

    def ask(self, line):
        self.tell(line)
        return self.hear()

    def may_open(self, node):
        """Granted? The nodes of simulated GPUs have no driver: ENXIO is what who may gets to hear."""
        answer = self.ask(f"open {node}")
        if answer == "0":
            self.ask("close")
        assert answer in ("0", "ENXIO", "EPERM", "EACCES"), answer
        return answer in ("0", "ENXIO")

    def alive(self):
        return self.process.poll() is None

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Sessions:
    count = 0

    def __init__(self):
        Sessions.count += 1
        self.path = cgroup2_mount() / f"dibs-test-sessions-{os.getpid()}-{Sessions.count}"
        self.path.mkdir()
        self.openers = []

    def slice(self, user):
        path = self.path / f"user-{pwd.getpwnam(user).pw_uid}.slice"
        path.mkdir(exist_ok=True)
        return path

    def opener(self, user, cgroup=None, **options):
        opener = Opener(user, cgroup or self.slice(user), **options)
        self.openers.append(opener)
        return opener

    def close(self):
        for opener in self.openers:
            opener.close()
        remove_cgroup(self.path)
