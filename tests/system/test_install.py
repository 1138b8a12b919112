# SPDX-License-Identifier: MIT
"""What meson install puts where, whether it runs from there, and whether the documents agree with the programs."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from harness import Daemon

BUILD = Path(os.environ["DIBS_BUILD"]).resolve()
PAGES = {"canhazgpu.1": "man1", "dibs.1": "man1", "dibs.conf.5": "man5", "dibs-exec.8": "man8", "dibs-sensor.8": "man8",
         "dibsd.8": "man8", "mgpu_srun.1": "man1", "mgpu_scheduler_server.8": "man8", "org.dibs.7": "man7"}


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, **options)


def introspect(what):
    done = run("meson", "introspect", what, BUILD)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Tree:
    """An installation below a DESTDIR."""

    def __init__(self, root):
        self.root = root
        done = run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", root)
        assert done.returncode == 0, done.stdout + done.stderr
        options = {option["name"]: option["value"] for option in introspect("--buildoptions")}
        self.version = introspect("--projectinfo")["version"]
        self.prefix = Path(options["prefix"])
        self.places = {name: self.prefix / options[name] for name in ("bindir", "sbindir", "libexecdir", "mandir", "sysconfdir",
                                                                      "datadir")}

    def at(self, path):
        """Where an installed path is below DESTDIR."""
        return self.root / Path(path).relative_to("/")

    def place(self, name, *below):
        return self.at(self.places[name].joinpath(*below))

    def lib(self, *below):
        return self.at(self.prefix.joinpath("lib", *below))

    def inside(self, *command):
        """The words that run a command where the installation is in its final place."""
        script = 'mount --bind "$0" "$1" && shift && exec "$@"'
        return ["unshare", "--mount", "/bin/sh", "-c", script, self.at(self.prefix), self.prefix, *command]


@pytest.fixture(scope="module")
def tree(base_directory):
    root = Path(tempfile.mkdtemp(dir=base_directory))
    root.chmod(0o755)
    yield Tree(root)
    shutil.rmtree(root)


def test_everything_is_where_it_belongs(tree):
    programs = {tree.place("bindir", "dibs"), tree.place("sbindir", "dibsd"),
                tree.place("libexecdir", "dibs", "dibs-sensor"), tree.place("libexecdir", "dibs", "dibs-exec"),
                tree.place("libexecdir", "dibs", "dibs-import-canhazgpu"), tree.place("sbindir", "mgpu_scheduler_server")}
    links = {
        tree.place("bindir", "canhazgpu"): "dibs", tree.place("bindir", "chg"): "dibs",
        **{tree.place("bindir", name): "dibs" for name in ("mgpu_srun", "mgpu_queue", "mgpu_cancel")},
        tree.place("datadir", "bash-completion/completions/chg"): "canhazgpu",
    }
    others = {
        tree.lib("systemd/system/dibs-exec.socket"), tree.lib("systemd/system/dibs-exec.service"),
        tree.lib("systemd/system/dibs-mgpu.socket"), tree.lib("systemd/system/dibs-mgpu.service"),
        tree.place("sysconfdir", "pam.d/dibs"),
        tree.lib("systemd/system/dibsd.service"), tree.lib("sysusers.d/dibs.conf"), tree.lib("tmpfiles.d/dibs.conf"),
        tree.place("datadir", "doc/dibs/dibs.conf"),
        tree.place("datadir", "bash-completion/completions/dibs"),
        tree.place("datadir", "bash-completion/completions/canhazgpu"),
        tree.place("datadir", "zsh/site-functions/_dibs"),
        tree.place("datadir", "fish/vendor_completions.d/dibs.fish"),
        *(tree.place("mandir", section, page) for page, section in PAGES.items()),
        *(tree.at(path) for path in introspect("--installed").values() if "-packages/" in path),  # see test_python_package.py
    }
    installed = {path for path in tree.root.rglob("*") if not path.is_dir()}
    assert installed == programs | others | set(links)
    assert {path: os.readlink(path) for path in links} == links
    for path in programs | others:
        mode = path.lstat().st_mode
        assert oct(mode) == ("0o100755" if path in programs else "0o100644"), path


def test_the_programs_know_their_version(tree):
    for program in (tree.place("bindir", "dibs"), tree.place("sbindir", "dibsd"),
                    tree.place("libexecdir", "dibs", "dibs-sensor"), tree.place("libexecdir", "dibs", "dibs-exec"),
                    tree.place("libexecdir", "dibs", "dibs-import-canhazgpu"),
                    tree.place("sbindir", "mgpu_scheduler_server")):
        assert run(program, "--version").stdout == f"{program.name} {tree.version}\n"


@pytest.mark.parametrize("unit, program", [("dibsd", ("sbindir", "dibsd")),
                                           ("dibs-exec", ("libexecdir", "dibs", "dibs-exec")),
                                           ("dibs-mgpu", ("sbindir", "mgpu_scheduler_server"))])
def test_units_start_what_was_installed(tree, unit, program):
    text = tree.lib(f"systemd/system/{unit}.service").read_text()
    started = re.search(r"^ExecStart=(\S+)", text, re.M)[1]
    assert tree.at(started) == tree.place(*program) and os.access(tree.at(started), os.X_OK)
    assert "@" not in re.sub(r"@system-service", "", text)


@pytest.mark.parametrize("unit", ["dibsd.service", "dibs-exec.service", "dibs-exec.socket",
                                  "dibs-mgpu.service", "dibs-mgpu.socket"])
def test_systemd_finds_no_fault_with_units(tree, unit):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    path = tree.prefix / "lib/systemd/system" / unit
    done = run(*tree.inside("systemd-analyze", "verify", "--man=no", path))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_dibsd_finds_the_socket_of_its_unit(tree):
    """dibsd looks for dibs-exec beside its own socket, and its unit brings that of dibs-exec up."""
    socket = re.search(r"^ListenSequentialPacket=(\S+)$", tree.lib("systemd/system/dibs-exec.socket").read_text(), re.M)[1]
    example = tree.place("datadir", "doc/dibs/dibs.conf").read_text()
    assert Path(socket) == Path(settings(example, r"#([a-z-]+) =(.*)$")["daemon", "socket"]).with_name("exec")
    unit = tree.lib("systemd/system/dibsd.service").read_text()
    assert {"Wants=dibs-exec.socket", "After=dibs-exec.socket"} <= set(unit.splitlines())


def test_pam_lets_those_in_who_have_an_account(tree):
    """Nothing in the file asks a question, and what it includes is there."""
    lines = [line for line in tree.place("sysconfdir", "pam.d/dibs").read_text().splitlines() if not line.startswith("#")]
    assert lines == ["@include common-account", "@include common-session-noninteractive"]
    if Path("/etc/debian_version").exists():
        assert all(Path("/etc/pam.d", line.split()[1]).exists() for line in lines)


def test_user_and_directories_are_made(tree):
    if not shutil.which("systemd-sysusers") or not shutil.which("systemd-tmpfiles"):
        pytest.skip("no systemd-sysusers or systemd-tmpfiles")
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "etc").mkdir()
        for command in (["systemd-sysusers", f"--root={root}", tree.lib("sysusers.d/dibs.conf")],
                        ["systemd-tmpfiles", f"--root={root}", "--create", tree.lib("tmpfiles.d/dibs.conf")]):
            done = run(*command)
            assert done.returncode == 0, done.stderr
        user = next(line for line in (Path(root) / "etc/passwd").read_text().splitlines() if line.startswith("dibs:"))
        assert 0 < int(user.split(":")[2]) < 1000 and user.endswith("/nologin")
        assert oct((Path(root) / "run/dibs").stat().st_mode) == "0o40755"
        assert oct((Path(root) / "var/lib/dibs").stat().st_mode) == "0o40700"


def test_the_installed_programs_work_together(tree, base_directory, alice):
    """dibsd is started from its final place, so that it looks for its sensor where that was installed to."""
    directory = Path(tempfile.mkdtemp(dir=base_directory))
    directory.chmod(0o755)
    programs = {"dibsd": tree.places["sbindir"] / "dibsd", "dibs": tree.place("bindir", "dibs")}
    daemon = Daemon(programs, directory)
    try:
        daemon.start(wrapper=[str(word) for word in tree.inside()])
        pid = daemon.process.pid
        sensor = Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()
        program = Path(f"/proc/{sensor}/cmdline").read_bytes().split(b"\0")[0].decode()
        assert Path(program) == tree.places["libexecdir"] / "dibs/dibs-sensor"
        done = daemon.dibs("run", "-g", "2", "--", "/bin/sh", "-c", "echo $DIBS_GPUS; exit 7", user=alice, code=7)
        assert done.stdout == "0,1\n"
    finally:
        daemon.close()


def test_the_example_is_a_configuration(tree, make_daemon):
    """As it is, and with every line of it in force."""
    example = tree.place("datadir", "doc/dibs/dibs.conf").read_text()
    in_force = re.sub(r"^#([a-z-]+ =)", r"\1", example, flags=re.M)
    assert in_force.count("\n#") < example.count("\n#") - 10
    for text in (example, in_force):
        daemon = make_daemon(config=text).start()
        assert "conf" not in daemon.drain_log().replace(str(daemon.directory), "")
        daemon.stop()


# Documents


def plain(page):
    """The text of a manual page, without its typesetting."""
    text = re.sub(r"\\f[BIRP]|\\&", "", page.read_text())
    return text.replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\")


@pytest.mark.parametrize("page", PAGES)
def test_manual_pages_render(tree, page):
    if not shutil.which("groff"):
        pytest.skip("no groff")
    done = run("groff", "-man", "-ww", "-Tutf8", "-Kutf8", tree.place("mandir", PAGES[page], page))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) > 30


def test_pages_refer_to_pages_that_exist(tree):
    ours = {f"{page.rpartition('.')[0]}({page[-1]})" for page in PAGES}
    for page, section in PAGES.items():
        text = plain(tree.place("mandir", section, page))
        for name in re.findall(r"\b(?:org\.)?dibs[a-z.-]*\(\d\)", text):
            assert name in ours, f"{page} refers to {name}"
    for unit in tree.lib("systemd/system").iterdir():
        assert set(re.findall(r"man:(\S+)", unit.read_text())) <= ours


def verbs(tree, *words):
    """All verbs below words, as tuples, with the text of their help."""
    done = run(tree.place("bindir", "dibs"), *words, "--help")
    assert done.returncode == 0, done.stderr
    commands = re.search(r"^Commands:\n((?:  .*\n)+)", done.stdout, re.M)
    yield words, done.stdout
    for line in commands[1].splitlines() if commands else []:
        if not line.startswith("   "):
            word = line.split("  ")[1].split(" ")[len(words)]
            yield from verbs(tree, *words, word)


def options_of(text):
    """("-g", "--gpus") for each line of help about an option; the short one may be empty."""
    return re.findall(r"^ +(?:(-\w), )?(--[a-z-]+)\b", text, re.M)


def test_the_manual_page_and_help_say_the_same(tree):
    page = plain(tree.place("mandir", "man1", "dibs.1")).split(".SH EXAMPLES")[0]
    known = set()
    count = 0
    for words, text in verbs(tree):
        count += 1
        if words:
            assert re.search(rf"^{' '.join(words)}( |$)", page, re.M), words
        for short, option in options_of(text):
            known.add(option)
            spelled = f"{short}, {option}" if short else option
            assert re.search(rf"(^| ){spelled}( |$)", page, re.M), f"{words} {spelled}"
    assert count > 14
    page, of_slurm = re.subn(r"have a counterpart get it \([^()]*\)", "", page)
    assert of_slurm == 1
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page)) - known == set()


def test_bash_completes_the_options_of_help(tree):
    script = tree.place("datadir", "bash-completion/completions/dibs")
    for words, text in verbs(tree):
        if not words or words == ("admin",):
            continue
        done = run("bash", "-c", '. "$0"; _dibs_options "$1"', script, " ".join(words))
        assert done.returncode == 0, done.stderr
        assert set(done.stdout.split()) == {option for _, option in options_of(text)}, words


@pytest.mark.parametrize("shell, file", [("bash", "bash-completion/completions/dibs"),
                                         ("zsh", "zsh/site-functions/_dibs"),
                                         ("fish", "fish/vendor_completions.d/dibs.fish")])
def test_completions_are_understood_by_their_shells(tree, shell, file):
    if not shutil.which(shell):
        pytest.skip(f"no {shell}")
    done = run(shell, "-n", tree.place("datadir", file))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_of_the_daemon_and_its_help_say_the_same(tree):
    text = run(tree.place("sbindir", "dibsd"), "--help").stdout
    page = plain(tree.place("mandir", "man8", "dibsd.8"))
    options = [option for _, option in options_of(text)]
    assert len(options) > 5
    for option in options:
        assert re.search(rf"(^|, ){option}\b", page, re.M), option
    unknown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page)) - set(options)
    assert not unknown


def settings(text, line):
    """{(section, key): default} of a text in which sections are in brackets, or headings."""
    section, found = None, {}
    for row in text.splitlines():
        heading = re.match(r"\[([a-z]+)\]$|\.SH \"?\[([A-Z]+)\]\"?$", row)
        if heading:
            section = (heading[1] or heading[2]).lower()
        setting = re.match(line, row)
        if setting and section:
            found[section, setting[1]] = setting[2].strip()
    return found


def test_the_page_of_the_configuration_and_the_example_say_the_same(tree):
    page = plain(tree.place("mandir", "man5", "dibs.conf.5")).split(".SH EXAMPLE")[0]
    example = tree.place("datadir", "doc/dibs/dibs.conf").read_text()
    documented = settings(page, r"([a-z-]+) =(.*?)(?:\(start\))?$")
    assert len(documented) > 15
    assert documented == settings(example, r"#([a-z-]+) =(.*)$")
