"""What the project stands on: Python, packages, extras, compiler, device, git, DVC.

Each check returns rows for `tasks.doctor`. Nothing is changed, fetched or sent.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement

from tasks.params import Params

State = Literal["ok", "warn", "fail"]
CODE = Path(__file__).parents[1]
"""Where ``pyproject.toml`` and ``requirements.lock`` lie."""
SHADOWED = {
    "mmcv": "onedl-mmcv",
    "mmcv-full": "onedl-mmcv",
    "mmcv-lite": "onedl-mmcv",
    "mmengine": "onedl-mmengine",
    "mmsegmentation": "onedl-mmsegmentation",
}
"""Distribution -> ours, whose folder it owns too; it fails with this torch."""
LEAST_MEMORY = 6e9
"""Bytes that the demo may take at most (benchmarks/results/demo.json has what it took); no run
needs less of which a stage's memory is not known."""


@dataclass(frozen=True)
class Check:
    """A row of the doctor's table.

    Attributes:
        name: what was looked at.
        state: ``fail`` where a run cannot succeed.
        value: what was found.
        remedy: what to do about it; empty where there is nothing to do.
    """

    name: str
    state: State
    value: str
    remedy: str = ""


def python_version() -> Iterator[Check]:
    """Whether this Python is one that the project asks for."""
    project = tomllib.loads((CODE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = platform.python_version()
    wanted = Requirement(f"python{project['requires-python']}").specifier
    if not wanted.contains(found):
        remedy = f"install Python {project['requires-python']} and run `make setup`"
        yield Check("Python", "fail", found, remedy)
    elif sys.version_info[:2] != (3, 11):
        yield Check("Python", "warn", found, "tested with 3.11 only; `make setup` prefers it")
    else:
        yield Check("Python", "ok", found)


def warnings_of_the_lock(text: str) -> dict[str, str]:
    """Package, in small letters -> what the lock's comments say of it."""
    told: dict[str, str] = {}
    for entry in re.split(r"^# \* ", text, flags=re.M)[1:]:
        lines = entry.splitlines()
        block = [lines[0]]
        for line in lines[1:]:
            if not line.startswith("#   "):
                break
            block.append(line.lstrip("# "))
        names, _, said = " ".join(block).partition(": ")
        for name in re.findall(r"[\w-]+", names):
            told[name.lower()] = said or " ".join(block)
    return told


def packages() -> Iterator[Check]:
    """The packages against the project's ranges (else fail) and the lock's versions (else warn)."""
    lock = (CODE / "requirements.lock").read_text(encoding="utf-8")
    project = tomllib.loads((CODE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    told = warnings_of_the_lock(lock)
    ranges = {one.name.lower(): one for one in map(Requirement, project["dependencies"])}
    broken, other = [], []
    pins = [Requirement(line) for line in lock.splitlines() if line and not line.startswith("#")]
    for pin in pins:
        try:
            version = metadata.version(pin.name)
        except metadata.PackageNotFoundError:
            broken.append(f"{pin.name} is missing")
            continue
        asked = ranges.get(pin.name.lower())
        if asked and not asked.specifier.contains(version):
            why = told.get(pin.name.lower())
            broken.append(f"{pin.name} {version} is not {asked.specifier}" + _because(why))
        elif not pin.specifier.contains(version):
            other.append(f"{pin.name} {version}, tested {pin.specifier}")
    for name, ours in SHADOWED.items():
        if _installed(name):
            broken.append(f"{name} owns the folder of {ours}" + _because(told.get(ours)))
    if _installed("opencv-python"):
        why = _because(told.get("opencv-python-headless"))
        other.append(f"opencv-python, beside opencv-python-headless{why}")
    remedy = "make a new environment: remove .venv and run `make setup`"
    if broken:
        yield Check("packages", "fail", "; ".join(broken), remedy)
    if other:
        yield Check("packages", "warn", "; ".join(other), f"not tested together; {remedy}")
    if not broken and not other:
        yield Check("packages", "ok", f"{len(pins)}, as in requirements.lock")


def extras() -> Iterator[Check]:
    """What can be added: installed or not, and how it is."""
    project = tomllib.loads((CODE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name, requirements in project["optional-dependencies"].items():
        if name == "dev":
            continue
        missing = [one for one in map(Requirement, requirements) if not _installed(one.name)]
        found = "not installed" if missing else "installed"
        # What a run needs and lacks is among the checks of its parameters.
        yield Check(f"extra {name}", "ok", found, f"`make {name}` adds it" if missing else "")


def compiler() -> Iterator[Check]:
    """A C++ compiler, which only the dense CRF needs."""
    found = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if found:
        yield Check("C++ compiler", "ok", found)
    else:
        yield Check("C++ compiler", "ok", "none", "only `make crf` needs one")


def device() -> Iterator[Check]:
    """PyTorch's devices, and the number types that they compute in."""
    import torch

    name = f"PyTorch {torch.__version__}"
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, whole = torch.cuda.mem_get_info(number)
            types = "float32, float16" + (", bfloat16" if torch.cuda.is_bf16_supported() else "")
            told = f"{torch.cuda.get_device_name(number)}, {free / 1e9:.1f} of {whole / 1e9:.1f} GB"
            yield Check(f"device cuda:{number}", "ok", f"{told} free, {types}, {name}")
        return
    threads = torch.get_num_threads()
    fast = torch.backends.cpu.get_cpu_capability()
    told = f"{threads} threads of {os.cpu_count()} cores, {fast}, float32, bfloat16, {name}"
    yield Check("device cpu", "ok", told, "a base model of photographs needs a GPU")


def memory(needed: float) -> Iterator[Check]:
    """The machine's free memory.

    Args:
        needed: bytes.
    """
    free, whole = psutil.virtual_memory().available, psutil.virtual_memory().total
    told = f"{free / 1e9:.1f} of {whole / 1e9:.1f} GB free; the run needs {needed / 1e9:.1f} GB"
    if whole < needed:
        yield Check("memory", "fail", told, "lower the batch sizes, or take a larger machine")
    elif free < needed:
        yield Check("memory", "warn", told, "end other programs, or lower the batch sizes")
    else:
        yield Check("memory", "ok", told)


def disk(needed: int, root: Path) -> Iterator[Check]:
    """What is free for the run; whether that does is `tasks.machine`'s to say.

    Args:
        needed: bytes at most.
    """
    free = shutil.disk_usage(root).free
    told = f"{free / 1e9:.1f} GB free in {root.resolve()}; the run needs at most "
    state: State = "ok" if free >= needed else "warn"
    remedy = "finished shards need no room again; else see machine" if state == "warn" else ""
    yield Check("disk", state, f"{told}{needed / 1e9:.1f} GB", remedy)


def lexicon(params: Params, root: Path) -> Iterator[Check]:
    """Which lexicon is configured. Whether it can be read is said under prompts."""
    spec = params.expand_prompts.lexicon
    kind, _, name = spec.partition(":")
    if kind == "builtin":
        yield Check("lexicon", "ok", "builtin: tasks/lexicons/builtin.yaml")
    elif (root / name).is_file():
        size = (root / name).stat().st_size / 1e6
        yield Check("lexicon", "ok", f"WN-LMF file {name}, {size:.1f} MB")
    else:
        home = os.environ.get("WN_DATA_DIR") or Path.home() / ".wn_data"
        yield Check("lexicon", "ok", f"{name}, to be found by wn in {home}")


def git_state(root: Path) -> Iterator[Check]:
    """Branch, commit and what differs from it."""
    if shutil.which("git") is None:
        yield Check("git", "fail", "not installed", "install git")
        return
    branch = _said(["git", "rev-parse", "--abbrev-ref", "HEAD"], root)
    commit = _said(["git", "rev-parse", "--short", "HEAD"], root)
    if commit is None:
        remedy = "lineage names commits: `git init` and commit, or work in a clone"
        yield Check("git", "warn", f"no commit in {root.resolve()}", remedy)
        return
    changed = (_said(["git", "status", "--porcelain"], root) or "").splitlines()
    told = f"{branch} at {commit}"
    if changed:
        remedy = "commit what makes results, so that lineage can name it"
        yield Check("git", "warn", f"{told}, {len(changed)} files differ", remedy)
    else:
        yield Check("git", "ok", f"{told}, nothing differs")


def dvc_state(root: Path) -> Iterator[Check]:
    """Cache, link types and remotes, as ``dvc doctor`` tells them; no remote is contacted."""
    told = _said([sys.executable, "-m", "dvc", "doctor"], root)
    if told is None or "Cache types:" not in told:
        remedy = "run in a clone of the repository; `dvc doctor` says more"
        yield Check("DVC cache", "fail", "no DVC repository", remedy)
        return
    kinds = dict(line.split(": ", 1) for line in told.splitlines() if ": " in line)
    links = kinds["Cache types"]
    if "no-dvc-cache" in links:
        links = "hardlink or reflink not known: the first run makes the cache"
    free = re.search(r"reflink|hardlink", links)
    yield Check(
        "DVC cache",
        "ok" if free else "warn",
        links,
        ""
        if free
        else "only copies, three of all; put the cache on the same file system, see docs/dvc.md",
    )
    remotes = kinds.get("Remotes", "None")
    if remotes == "None":
        yield Check("DVC remote", "ok", "none", "`dvc remote add`, see docs/dvc.md, keeps a copy")
    else:
        yield Check("DVC remote", "ok", f"{remotes} (not contacted)")


def _said(command: list[str], root: Path) -> str | None:
    """What a command prints; None where it fails."""
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _because(why: str | None) -> str:
    return f" ({why.partition('. ')[0].rstrip('.')})" if why else ""
