"""Where a dataset comes from: parameters, model and DVC revision, as an export records them.

They are those in ``dvc.lock`` that its samples were made with (`tasks.provenance`), provided that
the lock is of this very dataset, else what ``params.yaml`` and the records say now. No clock and no
host: an export of the same dataset at the same revision says the same.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.checksums import file_md5, folder_md5
from tasks.digests import files_below
from tasks.params import InputError, load_params
from tasks.provenance import STAGES, adapter_of, base_model
from tasks.records import read_json
from tasks.revisions import LOCK, PARAMS, WORKSPACE, Revision, recorded_at

DATASET = "data/dataset"
INPUTS = (
    f"{DATASET}/index.parquet",
    f"{DATASET}/classes.json",
    "data/inputs/model.json",
    "data/masks/index.parquet",
    "data/samples/index.parquet",
)


@dataclass(frozen=True)
class Origin:
    """What a dataset was made with.

    Attributes:
        dataset_md5: of ``data/dataset``, as DVC names it.
        parameters_digest: SHA-256 of the parameters as canonical JSON.
        parameters_from: ``dvc.lock``, or ``params.yaml`` where the lock is not of this dataset.
        revision: the first git commit whose ``dvc.lock`` holds the dataset and all that it was
            made from; None if none does.
        model: path or id of the base model.
        model_digest: its SHA-256; None where preflight has looked at another model since and
            nothing keeps the record of this one.
        adapter: digest and scale of the LoRA; None without one.
    """

    dataset_md5: str
    parameters_digest: str
    parameters_from: str
    revision: str | None
    model: str
    model_digest: str | None
    adapter: str | None

    def describe(self) -> dict[str, Any]:
        """All of it, for a manifest."""
        return asdict(self)


def read_origin(root: Path) -> Origin:
    """The origin of ``data/dataset``.

    Raises:
        InputError: there is no dataset, ``dvc.lock`` is damaged, or ``params.yaml`` is needed and
            bad.
    """
    missing = [path for path in INPUTS if not (root / path).is_file()]
    if missing:
        raise InputError(f"no dataset to export: {', '.join(missing)} missing; run `dvc repro`")
    folder = root / DATASET
    md5 = folder_md5(
        {path.relative_to(folder).as_posix(): file_md5(path) for path in files_below(folder)}
    )
    here = Revision(WORKSPACE, None, root)
    if here.locked_stages and DATASET in here.outs and here.outs[DATASET].md5 == md5:
        return _locked(here, md5)
    params = load_params(root / PARAMS, lists=root)
    record = root / "models/lora/adapter.json"
    digest = read_json(record)["digest"] if record.is_file() else None
    return Origin(
        dataset_md5=md5,
        parameters_digest=_digest(params.model_dump(mode="json")),
        parameters_from=PARAMS,
        revision=None,
        model=str(params.sample_images.model),
        model_digest=read_json(root / "data/inputs/model.json")["digest"],
        adapter=f"{digest} at {params.adapt_lora.scale}" if digest else None,
    )


def _locked(here: Revision, md5: str) -> Origin:
    """The origin of a dataset that ``dvc.lock`` is of, whatever ran since."""
    made = {stage: here.params(stage) for stage in STAGES if stage in here.locked_stages}
    model, adapter = base_model(here), adapter_of(here)
    commit = recorded_at(here, list(STAGES.values()))
    return Origin(
        dataset_md5=md5,
        parameters_digest=_digest(made),
        parameters_from=LOCK,
        revision=commit["commit"] if commit else None,
        model=str(model["path"]),
        model_digest=model["digest"],
        adapter=f"{adapter['digest']} at {adapter['scale']}" if adapter else None,
    )


def _digest(parameters: dict[str, Any]) -> str:
    """SHA-256 of parameters as canonical JSON."""
    text = json.dumps(parameters, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
