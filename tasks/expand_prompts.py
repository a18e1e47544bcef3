"""Stage ``expand_prompts``: class names to prompts with the class words marked."""

from pathlib import Path

import cyclopts

from tasks import records
from tasks.entry import run_stage
from tasks.params import Params
from tasks.prompts import expand


def run(params: Params, root: Path = Path()) -> None:
    """Write ``data/prompts.parquet``."""
    rows = expand(params.expand_prompts)
    records.write_table(root / "data/prompts.parquet", rows, records.PROMPTS)


def main() -> None:
    """Expand the class names into prompts: data/prompts.parquet."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
