# SPDX-License-Identifier: MIT
"""Every command line that documents of the replaced tools print, and ours about them, in a shell of an ordinary user."""

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import DEADLINE, demote
from printed_lines import CANHAZGPU, MGPU, NOT_RUN, OURS

STAND_INS = {
    **dict.fromkeys(["python", "vllm", "codex", "horovodrun", "mpirun", "jupyter", "dask-worker", "torchrun", "CMD", "COMMAND"],
                    '[ "$1" != nonexistent.py ] || exit 1\necho ran "${0##*/}" "$@" on $DIBS_GPUS'),
    "nvidia-smi": "for i in 0 1 2 3 4 5 6 7; do echo GPU $i; done",
    "amd-smi": "echo '[1, 2, 3, 4, 5, 6, 7, 8]'",
    "watch": 'shift 2; exec "$@"',
}

TIMES = [(r"(?m)^[A-Z]\w\w [A-Z]\w\w [ \d]\d \d\d:\d\d:\d\d UTC \d{4}", "DATE"), (r"\d+m\d\.\d{3}s", "TIME"),
         (r"\d{4}-\d\d-\d\d", "<DAY>"), (r"<DAY>[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?", "<TIME>"), (r"\b\d\d:\d\d(:\d\d)?\b", "<TIME>"),
         (r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) <TIME>", "<TIME>"), (r"GPU-[0-9a-f-]{36}", "<UUID>"), (r"ALICE  +", "ALICE  ")]


def same(said, expected):
    return said.startswith(expected[:-1]) if expected.endswith("…") else said == expected


class Desk:
    """Where alice types: a directory of her own with links to the faces in dist/, and programs in her PATH."""

    def __init__(self, site, user, other):
        self.site, self.user, self.other, self.path = site, user, other, site.daemon.directory / "work"
        (self.path / "dist").mkdir(parents=True)
        for name in ("mgpu_srun", "mgpu_queue", "mgpu_cancel"):
            (self.path / "dist" / name).symlink_to(site.programs["bin"] / name)
        for name, text in STAND_INS.items():
            site.script(site.tools / name, text)
        entry = pwd.getpwnam(user)
        os.chown(self.path, entry.pw_uid, entry.pw_gid)
        self.home = Path(entry.pw_dir)

    def type(self, script, root=False):
        env = self.site.environment(self.user, {"LC_ALL": "C.UTF-8", "TZ": "UTC"})
        return subprocess.run(["bash", "-c", script], env=env, cwd=self.path, preexec_fn=demote(None if root else self.user),
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE, text=True)

    def normal(self, text):
        """Without what differs each time."""
        text = text.replace(str(self.home), "HOME").replace(str(self.site.programs["bin"]), "BIN").replace(str(self.path), "WORK")
        text = text.replace(self.user, "ALICE").replace(self.other, "BOB").replace(os.uname().nodename, "HOST")
        for pattern, name in TIMES:
            text = re.sub(pattern, name, text)
        return text


@pytest.fixture
def desk(site, alice, bob):
    desk = Desk(site, alice, bob)
    yield desk
    (desk.home / ".canhazgpu.yaml").unlink(missing_ok=True)
    shutil.rmtree(desk.home / "project", ignore_errors=True)


@pytest.mark.parametrize("line", CANHAZGPU + MGPU + OURS, ids=lambda line: line.printed)
def test_line(desk, line):
    if line.before:
        done = desk.type(line.before)
        assert done.returncode == 0, done
    typed = line.printed.replace(*line.swap).replace("BOB", desk.other) if line.swap else line.printed
    done = desk.type(f"{typed}\n{line.after}", line.root)
    out, err = desk.normal(done.stdout), desk.normal(done.stderr)
    assert same(out, line.out) and same(err, line.err) and done.returncode == line.code, (out, err, done.returncode)


def test_the_line_that_starts_the_server(site):
    """sudo ./dist/mgpu_scheduler_server --max-job-time 3600, at a socket of this test."""
    server = site.serve("--max-job-time", 3600)
    server.terminate()
    assert server.wait(DEADLINE) == 0


ROOT = Path(__file__).parents[2]
COMMANDS = re.compile(r"(canhazgpu|chg|mgpu_\w+|dibs|nohup|sudo|systemctl|setfacl|journalctl|pip|ssh|USER=\w+)( |$)|\$\(")
PAGES = [*sorted(ROOT.glob("docs/coming-from/*.md")), ROOT / "python/README.md"]
MANUALS = [ROOT / "man/canhazgpu.1.scd", ROOT / "man/mgpu_srun.1.scd", ROOT / "man/mgpu_scheduler_server.8.scd"]


def printed_in(page):
    """Whatever there looks like a command line: in blocks, and between backquotes or, in manual pages, asterisks."""
    text = page.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S) + re.findall(r"(?:^    .+\n)+", text, re.M)
    lines = [re.sub(r"(  +[#(].*)", "", line).strip() for block in blocks for line in block.splitlines()]
    rest = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    spans = re.findall(r"`([^`\n]+)`", rest) if page.suffix == ".md" else re.findall(r"\*([^*\n]+ [^*\n]+)\*", rest)
    return {line for line in lines + spans if COMMANDS.match(line) and not line.endswith(("_", ".py"))}


@pytest.mark.parametrize("page", PAGES + MANUALS, ids=lambda page: page.name)
def test_each_line_that_we_print_is_run(page):
    known = {line.printed for line in CANHAZGPU + MGPU + OURS} | {line for lines in NOT_RUN.values() for line in lines}
    assert printed_in(page) - known == set()


def test_the_program_of_the_readme_runs(make_daemon, make_scripts, alice):
    [program] = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    out = make_scripts(make_daemon().start(), "").run(program, alice)
    assert re.fullmatch(r"\[0, 1\] (GPU-[0-9a-f-]{36},?){2}\n", out)


def test_the_list_has_each_line_once():
    lines = [line.printed for line in CANHAZGPU + MGPU + OURS] + [line for lines in NOT_RUN.values() for line in lines]
    assert len(lines) == len(set(lines))
