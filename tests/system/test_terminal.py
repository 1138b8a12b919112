# SPDX-License-Identifier: MIT
"""dibs in a terminal: everything is as if dibs were not there. An interactive bash with job control runs on a pty."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import pytest
from harness import DEADLINE, demote, wait_exit

CTRL_C, CTRL_D, CTRL_Z = "\x03", "\x04", "\x1a"
ENTER_SCREEN, LEAVE_SCREEN = "\x1b[?1049h", "\x1b[?1049l"


class Terminal:
    """A terminal with a shell in it; what is expected is searched behind what was found before."""

    def __init__(self, daemon, user, env=None):
        self.master, slave = pty.openpty()
        self.resize(24, 80)
        become = demote(user)

        def own_terminal():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            become()

        path = f"{daemon.programs['dibs'].parent}:{os.environ['PATH']}"
        os.fchmod(slave, 0o666)
        self.shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "--noediting", "-i"], stdin=slave, stdout=slave, stderr=slave, cwd="/",
            start_new_session=True, preexec_fn=own_terminal,
            env=daemon.client_environment({"PATH": path, "PS1": "ready> ", "TERM": "xterm", "LC_ALL": "C.UTF-8",
                                           **(env or {})}))
        os.close(slave)
        self.seen = ""
        self.expect("ready> ")

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self.master, text.encode())

    def expect(self, text):
        """Reads until text was seen; returns what came before it."""
        end = time.monotonic() + DEADLINE
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            assert ready, f"no {text!r} within {DEADLINE} s, but {self.seen!r}"
            self.seen += os.read(self.master, 65536).decode(errors="replace")
        before, self.seen = self.seen.split(text, 1)
        return before

    def start(self, line):
        """Types a line and waits for its echo."""
        self.send(line + "\n")
        self.expect(line.splitlines()[-1] + "\r\n")

    def run(self, line):
        """Runs a line to its end; returns its output."""
        self.start(line)
        return self.expect("ready> ").replace("\r\n", "\n")

    def status(self):
        return int(self.run("echo $?"))

    def hang_up(self):
        if self.master >= 0:
            os.close(self.master)
        self.master = -1

    def close(self):
        self.hang_up()
        self.shell.kill()
        self.shell.wait()


@pytest.fixture
def terminal(daemon, bob):
    made = Terminal(daemon, bob)
    yield made
    made.close()


def wait_for_turn(daemon, alice, terminal):
    """All GPUs taken, and a run in the terminal that waits; returns the hold."""
    hold = daemon.reserve("-g", "8", user=alice)["id"]
    terminal.start("dibs run -- sh -c 'echo started; exec cat'")
    daemon.wait_leases(1, state="waiting")
    terminal.expect("dibs: waiting for 1 GPU")
    return hold


def test_ctrl_c_ends_the_command(daemon, terminal):
    terminal.start("dibs run -- sleep 1000")
    daemon.wait_leases(1, state="active")
    terminal.send(CTRL_C)
    terminal.expect("ready> ")
    assert terminal.status() == 130
    daemon.wait_leases(0)


def test_command_may_handle_ctrl_c_itself(daemon, terminal):
    terminal.start("dibs run -- bash -c 'trap \"echo caught; exit 9\" INT; echo up; read'")
    terminal.expect("up\r\n")
    terminal.send(CTRL_C)
    terminal.expect("caught\r\n")
    terminal.expect("ready> ")
    assert terminal.status() == 9


def test_ctrl_c_while_waiting_leaves_the_queue(daemon, alice, terminal):
    wait_for_turn(daemon, alice, terminal)
    terminal.send(CTRL_C)
    terminal.expect("ready> ")
    assert terminal.status() == 130
    daemon.wait_leases(0, state="waiting")


def test_ctrl_z_and_fg(daemon, terminal):
    terminal.start("dibs run -- sh -c 'echo started; exec cat'")
    terminal.expect("started\r\n")
    terminal.send(CTRL_Z)
    terminal.expect("Stopped")
    terminal.expect("ready> ")
    assert [lease["state"] for lease in daemon.leases()] == ["active"]
    terminal.start("fg")
    terminal.expect("exec cat'\r\n")
    terminal.send("hello\n")
    terminal.expect("hello\r\nhello\r\n")
    terminal.send(CTRL_D)
    terminal.expect("ready> ")
    assert terminal.status() == 0
    daemon.wait_leases(0)


def test_ctrl_z_and_bg(daemon, terminal):
    terminal.start("dibs run -- sh -c 'echo started; exec sleep 1000'")
    terminal.expect("started\r\n")
    terminal.send(CTRL_Z)
    terminal.expect("Stopped")
    terminal.expect("ready> ")
    terminal.run("bg")
    assert "Running" in terminal.run("jobs")
    terminal.run("kill %1; wait %1")
    daemon.wait_leases(0)


def test_command_in_the_background_stops_when_it_reads(daemon, terminal):
    terminal.run("dibs run -- cat &")
    daemon.wait_leases(1, state="active")
    terminal.run("until jobs -s | grep -q cat; do :; done")
    terminal.run("kill -KILL %1; wait %1")
    daemon.wait_leases(0)


def test_waiting_run_can_be_stopped_and_continued(daemon, alice, terminal):
    hold = wait_for_turn(daemon, alice, terminal)
    terminal.send(CTRL_Z)
    terminal.expect("Stopped")
    daemon.dibs("release", hold, user=alice)
    daemon.wait_leases(1, state="active")
    terminal.send("fg\n")
    terminal.expect("has its turn\r\n")
    terminal.expect("started\r\n")
    terminal.send(CTRL_D)
    terminal.expect("ready> ")
    assert terminal.status() == 0


def test_waiting_line_is_rewritten_in_place(daemon, alice, terminal):
    hold = daemon.reserve("-g", "8", user=alice)["id"]
    ahead = daemon.popen("reserve", user=alice)
    daemon.wait_leases(1, state="waiting")
    terminal.start("dibs run -- echo started")
    terminal.expect(f"dibs: waiting for 1 GPU (#{hold + 2}, position 2)")
    ahead.kill()
    before = terminal.expect(f"\r\x1b[Kdibs: waiting for 1 GPU (#{hold + 2}, position 1)")
    assert "\n" not in before and len(before) < 80
    daemon.dibs("release", hold, user=alice)
    assert re.fullmatch(r"[^\n]*\r\n", terminal.expect(f"dibs: #{hold + 2} has its turn\r\n"))
    terminal.expect("started\r\n")


def test_resize_reaches_the_command(terminal):
    script = "trap \"stty size < /dev/tty\" WINCH; stty size; while :; do read -t 0.01 <> <(:); done"
    terminal.start(f"dibs run -- bash -c '{script}'")
    terminal.expect("24 80\r\n")
    terminal.resize(50, 132)
    terminal.expect("50 132\r\n")
    terminal.send(CTRL_C)


def test_hang_up_ends_the_command(daemon, terminal):
    terminal.start("dibs run -- sh -c 'echo started; exec sleep 1000'")
    terminal.expect("started\r\n")
    terminal.hang_up()
    daemon.wait_leases(0)


def test_hang_up_while_waiting_leaves_the_queue(daemon, alice, terminal):
    wait_for_turn(daemon, alice, terminal)
    terminal.hang_up()
    daemon.wait_leases(0, state="waiting")


def test_command_that_survives_the_hang_up_keeps_its_lease(daemon, terminal):
    terminal.start("dibs run -- sh -c 'trap \"\" HUP; echo started; exec sleep 1000'")
    terminal.expect("started\r\n")
    terminal.hang_up()
    wait_exit(terminal.shell)
    [lease] = daemon.leases(state="active")
    daemon.dibs("admin", "release", lease["id"], "--reason", "test")
    daemon.wait_leases(0)


def test_full_screen_program_works_and_leaves_the_terminal_as_it_was(daemon, terminal):
    text = daemon.directory / "text"
    text.write_text("".join(f"line {i}\n" for i in range(1000)))
    before = terminal.run("stty -a")
    terminal.start(f"dibs run -- env LESS= less {text}")
    terminal.expect("line 5")
    terminal.send("/line 777\n")
    terminal.expect("778")
    terminal.send("q")
    terminal.expect("ready> ")
    assert terminal.status() == 0
    assert terminal.run("stty -a") == before


def test_terminal_is_the_same(terminal):
    script = 'tty; test -t 0 && test -t 1 && test -t 2 && ps -o tty=,sid= -p $$; ps -o pgid= -p $$; ps -o tpgid= -p $$'
    plain = terminal.run(f"sh -c '{script}'").split()
    under = terminal.run(f"dibs run -- sh -c '{script}'").split()
    assert len(under) == 5 and under[:3] == plain[:3]
    assert under[3] == under[4], "not in the foreground"


def test_color_follows_terminal_and_no_color(daemon, terminal):
    assert "\x1b[" in terminal.run("dibs status")
    for line in ("NO_COLOR=1 dibs", "dibs --color never", "TERM=dumb dibs", "dibs | cat"):
        assert "\x1b[" not in terminal.run(line), line
    assert "\x1b[" in terminal.run("NO_COLOR= dibs")


def test_tables_fit_the_terminal(daemon, alice, terminal):
    daemon.reserve("-g", "3", "--note", "ä long note " * 20, user=alice)
    terminal.resize(24, 80)
    for line in ("dibs status", "dibs list --all"):
        plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.run(line))
        assert max(len(row) for row in plain.splitlines()) <= 80, plain


def test_watch_uses_the_alternate_screen_and_redraws(daemon, alice, terminal):
    terminal.start("dibs status --watch")
    terminal.expect(ENTER_SCREEN)
    terminal.expect("8 free")
    daemon.reserve("-g", "3", user=alice)
    terminal.expect("5 free, 3 leased")
    terminal.resize(5, 60)
    terminal.expect("\x1b[J")
    terminal.send(CTRL_C)
    terminal.expect(LEAVE_SCREEN)
    terminal.expect("ready> ")
    assert terminal.status() in (0, 130)


def test_watch_ends_with_its_terminal(daemon, bob):
    terminal = Terminal(daemon, bob)
    terminal.start("exec dibs --watch")
    terminal.expect("8 free")
    terminal.hang_up()
    wait_exit(terminal.shell)
