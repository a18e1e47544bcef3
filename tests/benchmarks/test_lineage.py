import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_runs_and_the_answers_are_right(tmp_path: Path) -> None:
    """A bar of time may fail on a busy machine, a wrong answer may not."""
    command = [sys.executable, "-m", "benchmarks.lineage", "--quick"]
    env = {**os.environ, "COLUMNS": "120"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    wrong = next(line for line in done.stdout.splitlines() if "wrong answers" in line)
    assert wrong.split("│")[2].strip() == "0", done.stdout + done.stderr
