# SPDX-License-Identifier: MIT
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest
from canhazgpu_site import Face, install_stubs
from fake_nvml import FakeNvml
from harness import Daemon, install_programs, small_disk
from jobs import QUICK, Jobs
from lock_site import LockSite
from mgpu_site import MgpuSite, install_mgpu, tidy
from pyscript import Scripts, install_modules
from sessions import Sessions
from site_sensor import Device

# Runs that go on at the same time on one machine need users of their own.
PREFIX = "dibs-" + os.environ.get("DIBS_TEST_USERS", "t") + os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
USERS = [f"{PREFIX}-alice", f"{PREFIX}-bob", f"{PREFIX}-carol"]


def pytest_configure(config):
    assert os.geteuid() == 0, "system tests make users and cgroups: run them as root"
    assert "DIBS_BUILD" in os.environ, "DIBS_BUILD names the build directory to test"


@pytest.fixture(scope="session")
def base_directory():
    path = Path(tempfile.mkdtemp(prefix="dibs-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def programs(base_directory):
    return install_programs(Path(os.environ["DIBS_BUILD"]).resolve(), base_directory / "programs")


@pytest.fixture(scope="session")
def users():
    made = []
    for name in USERS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", name], check=True)
            made.append(name)
    yield USERS
    for name in made:
        subprocess.run(["userdel", "--remove", name], stderr=subprocess.DEVNULL)


@pytest.fixture
def alice(users):
    return users[0]


@pytest.fixture
def bob(users):
    return users[1]


@pytest.fixture
def carol(users):
    return users[2]


@pytest.fixture
def make_daemon(programs, base_directory):
    """make_daemon(sim=..., config=..., user=..., environment=...) gives a Daemon that is not started yet."""
    made = []

    def make(**options):
        directory = Path(tempfile.mkdtemp(dir=base_directory))
        directory.chmod(0o755)
        daemon = Daemon(programs, directory, **options)
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        daemon.close()


@pytest.fixture
def daemon(make_daemon):
    """A running dibsd with eight simulated GPUs."""
    return make_daemon().start()


@pytest.fixture
def new_jobs(make_daemon):
    """new_jobs(config) gives Jobs of a daemon with eight simulated GPUs that is not started yet."""
    made = []

    def make(config=QUICK, **options):
        jobs = Jobs(make_daemon(config=config, **options))
        made.append(jobs)
        return jobs

    yield make
    for jobs in made:
        jobs.close()


@pytest.fixture
def make_jobs(new_jobs):
    """The same, and the daemon runs."""
    def make(*config, **options):
        jobs = new_jobs(*config, **options)
        jobs.daemon.start()
        return jobs
    return make


@pytest.fixture
def jobs(make_jobs):
    return make_jobs()


@pytest.fixture(scope="session")
def modules(base_directory):
    """Where the modules of python/ are that every user can read."""
    return install_modules(Path(tempfile.mkdtemp(dir=base_directory)))


@pytest.fixture
def make_scripts(modules):
    """make_scripts(daemon, prologue) gives the Scripts of its users."""
    made = []

    def make(daemon, prologue):
        made.append(Scripts(modules, daemon, prologue))
        return made[-1]

    yield make
    for scripts in made:
        scripts.close()


@pytest.fixture
def sessions():
    """A cgroup with slices for users, to be guarded."""
    sessions = Sessions()
    yield sessions
    sessions.close()


@pytest.fixture
def disk_daemon(make_daemon):
    """A daemon, not started, whose state directory is a disk of 1 MiB."""
    if subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("mounting is not allowed here")
    daemon = make_daemon(config="[lease]\nkill-grace = 1s\n")
    with small_disk(daemon.state, 1 << 20):
        yield daemon
        if daemon.process and daemon.process.poll() is None:
            daemon.stop()


@pytest.fixture
def reboot(tmp_path):
    """A function that gives what a daemon is to be started with to find itself in a new boot."""
    if subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("mount namespaces are not allowed here")

    def wrapper():
        boot_id = tmp_path / "boot_id"
        boot_id.write_text(f"{uuid.uuid4()}\n")
        return ["unshare", "--mount", "sh", "-c",
                'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"', boot_id]

    return wrapper


@pytest.fixture
def devices():
    """Three that really open, and of this test alone: a daemon under test ends whoever has its GPUs open."""
    devices = [Device() for _ in range(3)]
    yield devices
    for device in devices:
        device.close()


@pytest.fixture
def make_nvml(base_directory):
    """make_nvml(gpus=..., variant=...) gives a FakeNvml, and a Daemon on its GPUs that is not started yet."""
    made = []

    def make(gpus=2, variant="current", **options):
        directory = Path(tempfile.mkdtemp(dir=base_directory))
        directory.chmod(0o755)
        (directory / "daemon").mkdir()
        nvml = FakeNvml(directory, variant, gpus)
        daemon = Daemon(nvml.programs, directory / "daemon", sim=None, **options)
        made.append((nvml, daemon))
        return nvml, daemon

    yield make
    for nvml, daemon in made:
        nvml.close()
        daemon.close()


@pytest.fixture
def two(make_nvml):
    """Two GPUs, and their running daemon."""
    nvml, daemon = make_nvml()
    return nvml, daemon.start()


@pytest.fixture
def make_lock_site(make_daemon, base_directory, tmp_path):
    """make_lock_site(...) gives a LockSite, whose daemon is not started yet."""
    made = []

    def make(**options):
        made.append(LockSite(make_daemon, base_directory / f"locks-{tmp_path.name}", **options))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def lock_site(make_lock_site):
    """The same, and it runs."""
    site = make_lock_site()
    site.daemon.start()
    return site


@pytest.fixture(scope="session")
def stubs(base_directory):
    """Programs that canhazgpu runs."""
    return install_stubs(base_directory / "stubs")


@pytest.fixture
def home(base_directory, alice):
    """An empty home of alice."""
    path = Path(tempfile.mkdtemp(dir=base_directory))
    path.chmod(0o755)
    subprocess.run(["chown", f"{alice}:", path], check=True)
    return path


@pytest.fixture
def make_chg(make_daemon, stubs, home):
    """make_chg(...) gives the canhazgpu of users of a running daemon."""
    return lambda **options: Face(make_daemon(**options).start(), stubs, home)


@pytest.fixture
def chg(daemon, stubs, home):
    return Face(daemon, stubs, home)


@pytest.fixture(scope="session")
def mgpu_programs(programs):
    return install_mgpu(Path(os.environ["DIBS_BUILD"]).resolve(), programs)


@pytest.fixture
def make_site(make_daemon, mgpu_programs, users):
    """make_site(config) gives an MgpuSite of a running daemon with eight simulated GPUs."""
    made = []

    def make(config=QUICK, **options):
        site = MgpuSite(make_daemon(config=config, **options).start(), mgpu_programs)
        made.append(site)
        return site

    for user in users:
        tidy(Path(pwd.getpwnam(user).pw_dir))
    yield make
    for site in made:
        site.close()
    for user in users:
        tidy(Path(pwd.getpwnam(user).pw_dir))


@pytest.fixture
def site(make_site):
    return make_site()
