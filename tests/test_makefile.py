"""What `make` does before there is an environment, with stand-ins for Python on the path."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("cat", "chmod", "expand", "git", "mkdir", "sed", "sh", "touch")

PYTHON = """#!/bin/sh
case "$1 $2" in
  "--version "*) echo Python 3.11.0;;
  "-m venv") mkdir -p .venv/bin; cat > .venv/bin/python <<'END'
#!/bin/sh
echo "$@" >> calls
exit {pip_status}
END
    chmod +x .venv/bin/python;;
esac
"""
OLD_PYTHON = "#!/bin/sh\nexit 1\n"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with the Makefile and the lock, and a path with no Python on it."""
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def install(bare: Path, name: str, text: str) -> None:
    (bare / "bin" / name).write_text(text)
    (bare / "bin" / name).chmod(0o755)


def make(bare: Path, target: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("make")
    assert program
    env = {"PATH": str(bare / "bin"), "HOME": os.environ["HOME"]}
    return subprocess.run(
        [program, target], cwd=bare, env=env, capture_output=True, text=True, check=False
    )


def test_help_lists_the_commands(bare: Path) -> None:
    shown = make(bare, "help").stdout
    for target in ("demo", "test", "test-slow", "check", "bench"):
        assert f"make {target} " in shown


def test_says_that_python_is_missing(bare: Path) -> None:
    install(bare, "python3", OLD_PYTHON)
    done = make(bare, "setup")
    assert done.returncode == 2
    assert "Python 3.11 or newer is missing" in done.stderr


def test_says_that_git_is_missing(bare: Path) -> None:
    (bare / "bin/git").unlink()
    assert "git is missing" in make(bare, "setup").stderr


def test_says_that_the_installation_failed_and_goes_on_next_time(bare: Path) -> None:
    install(bare, "python3.11", PYTHON.format(pip_status=1))
    done = make(bare, "setup")
    assert done.returncode == 2
    assert "The installation failed" in done.stderr
    assert "needs a package index" in done.stderr
    assert not (bare / ".venv/.installed").exists()


def test_installs_once_with_the_first_interpreter_that_is_new_enough(bare: Path) -> None:
    install(bare, "python3.11", OLD_PYTHON)
    install(bare, "python3.12", PYTHON.format(pip_status=0))
    assert make(bare, "setup").returncode == 0
    calls = (bare / "calls").read_text()
    assert calls.count("pip install") == 2
    assert "--constraint requirements.lock torch" in calls
    assert "--no-deps --requirement requirements.lock" in calls

    assert make(bare, "setup").returncode == 0
    assert (bare / "calls").read_text() == calls
