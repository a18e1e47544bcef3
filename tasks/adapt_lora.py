"""Stage ``adapt_lora``: LoRA of the base model on the user's images; off by default.

When it is off the stage writes a record that says so: sampling then uses the base model as it is.
"""

from pathlib import Path

import cyclopts

from tasks import records
from tasks.entry import run_stage
from tasks.params import Params


def run(params: Params, root: Path = Path()) -> None:
    """Write ``models/lora/adapter.json``; ``digest`` is null where there is no adapter."""
    record = {"enabled": params.adapt_lora.enabled, "digest": None}
    records.write_json(root / "models/lora/adapter.json", record)


def main() -> None:
    """Adapt the base model to a domain, or record that it is used as it is: models/lora."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
