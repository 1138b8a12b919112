# SPDX-License-Identifier: MIT
"""The files of python/: what they say is true, pip installs them, and they agree with the rest of the tree."""

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from harness import demote, uid_of
from jobs import QUICK
from pyscript import PYTHON, SOURCES

ROOT = SOURCES.parent


def test_the_readme_is_true(make_daemon, make_scripts, alice):
    """Every block of it runs as it stands."""
    blocks = re.findall(r"^```python\n(.*?)^```", (SOURCES / "README.md").read_text(), re.M | re.S)
    daemon = make_daemon(config=QUICK).start()
    home = daemon.directory / "work"
    home.mkdir()
    os.chown(home, uid_of(alice), -1)
    scripts = make_scripts(daemon, f"import os\nos.chdir({str(home)!r})\n")
    for block in blocks:
        scripts.run(block, alice)
    assert len(blocks) == 7 and daemon.leases() == []


def test_pip_installs_it(base_directory, daemon, alice):
    """Without a network: into a virtual environment, from the tree."""
    place = Path(tempfile.mkdtemp(dir=base_directory))
    place.chmod(0o755)
    shutil.copytree(SOURCES, place / "python", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))

    def run(*words, **options):
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120, cwd=place, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(PYTHON, "-m", "venv", "--system-site-packages", place / "venv")
    run(place / "venv/bin/python", "-m", "pip", "install", "--no-build-isolation", "--no-index", "--no-deps",
        "--disable-pip-version-check", place / "python")
    out = run(place / "venv/bin/python", "-c", "import dibs, gpu_lock\nwith dibs.lease() as l: print(dibs.__file__, l.indices)",
              env={**daemon.client_environment(), "HOME": str(place)}, preexec_fn=demote(alice))
    assert out.startswith(str(place / "venv/lib")) and out.endswith("[0]\n")
    files = {path.name for path in (place / "venv").rglob("site-packages/dibs/*")}
    assert {"py.typed", "aio.py", "__init__.py"} <= files
    assert "dibs " in run(place / "venv/bin/python", "-m", "pip", "list", "--disable-pip-version-check")


def test_versions_and_lists_agree():
    version = re.search(r"version: '(\S+)'", (ROOT / "meson.build").read_text())[1]
    assert f'version = "{version}"' in (SOURCES / "pyproject.toml").read_text()
    assert f'__version__ = "{version}"' in (SOURCES / "dibs/__init__.py").read_text()
    listed = set(re.findall(r"'((?:dibs|gpu_lock)/\S+)'", (SOURCES / "meson.build").read_text()))
    there = {str(path.relative_to(SOURCES)) for name in ("dibs", "gpu_lock") for path in (SOURCES / name).iterdir()
             if path.suffix in (".py", ".typed")}
    assert listed == there


def sources():
    return [path for name in ("dibs", "gpu_lock") for path in sorted((SOURCES / name).glob("*.py"))]


@pytest.mark.parametrize("path", sources(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_sources_are_of_python_3_9(path):
    """And import nothing but the standard library and themselves; and every function says its types."""
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                own = isinstance(node, ast.ImportFrom) and node.level > 0
                assert own or name.split(".")[0] in sys.stdlib_module_names or path.parent.name == "gpu_lock" and name == "dibs"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            untyped = [a.arg for a in arguments if a and not a.annotation and a.arg != "self"]
            assert not untyped and node.returns, f"{path.name}:{node.lineno} {node.name}"
        assert not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"), f"{path.name}:{node.lineno}"


def test_everything_public_is_documented(monkeypatch):
    monkeypatch.syspath_prepend(str(SOURCES))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import dibs
    import dibs.aio
    for name in dibs.__all__:
        thing = getattr(dibs, name)
        assert inspect.getdoc(thing), name
    assert dibs.alease is dibs.aio.lease
    assert inspect.signature(dibs.lease).parameters == inspect.signature(dibs.alease).parameters
    with pytest.raises(AttributeError):
        dibs.nothing


def test_it_is_imported_quickly(daemon, make_scripts):
    """asyncio is not, unless it is wanted; and no thread is started."""
    make_scripts(daemon, "").run("""
import sys, dibs, threading
assert "asyncio" not in sys.modules and "dibs.aio" not in sys.modules
with dibs.lease(): assert threading.active_count() == 1
dibs.alease
assert "dibs.aio" in sys.modules
""")


def test_what_jobs_leave_out_is_what_the_command_leaves_out():
    source = (ROOT / "src/cli/submit_environment.c").read_text()
    patterns = set(re.findall(r'"([^"]+)"', re.search(r"left_out\[\] = \{(.*?)\};", re.sub(r"/\*.*?\*/", "", source), re.S)[1]))
    ours = ast.parse((SOURCES / "dibs/_jobs.py").read_text())
    found = next(node for node in ours.body if isinstance(node, ast.Assign) and node.targets[0].id == "_LEFT_OUT")
    assert set(ast.literal_eval(found.value)) == patterns


def test_records_are_those_of_the_interface():
    """Each type of org.dibs that we have has all its members, and is null where they may be."""
    text = re.sub(r"#.*", "", (ROOT / "src/proto/org.dibs.varlink").read_text())
    tree = ast.parse((SOURCES / "dibs/_records.py").read_text())
    classes = {node.name: {field.target.id: ast.unparse(field.annotation) for field in node.body if isinstance(field, ast.AnnAssign)}
               for node in tree.body if isinstance(node, ast.ClassDef)}
    for ours, theirs in (("Process", "Process"), ("Gpu", "Gpu"), ("JobState", "Job"), ("Lease", "Lease"), ("Event", "Event")):
        body = re.search(rf"type {theirs} \((.*?)\n\)", text, re.S)[1]
        members = dict(re.findall(r"^\s+(\w+): (\??)", body, re.M))
        if theirs == "Gpu":
            members.pop("nodes")  # how the kernel calls it
        assert list(classes[ours]) == list(members)
        for name, nullable in members.items():
            assert not nullable or classes[ours][name].startswith("Optional["), f"{ours}.{name}"
