"""The dataset described in Croissant 1.1: files with digests, record sets, and provenance.

Croissant is MLCommons' format for datasets, JSON-LD on schema.org's words; its version 1.1 asks for
W3C's PROV where it is told what a dataset was made from (docs.mlcommons.org/croissant, "Provenance
Representation"). No clock goes in: the same dataset gives the same file. Who reads it with
mlcroissant sets CROISSANT_CACHE to a new folder after a change: it keeps extracted shards by their
relative paths, whatever their digests. Imports no torch.
"""

import os
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pyarrow.compute as pc
from pyarrow import parquet

from tasks.croissant_records import FILES, Json, record_sets
from tasks.digests import CACHE_PATH, DigestCache
from tasks.progress import progress
from tasks.provenance import (
    DATASET,
    MASKS,
    PROMPTS,
    SAMPLES,
    STAGES,
    adapter_of,
    base_model,
    runs_of,
)
from tasks.records import read_json
from tasks.revisions import LOCK, WORKSPACE, Revision, recorded_at

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
CLASSES = "data/dataset/classes.json"
_CONTEXT: Json = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "annotation": "cr:annotation",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def describe(
    out: Path, root: Path = Path(), *, name: str = "maskloom", license: str | None = None
) -> Json:
    """The dataset in ``data/dataset`` and the shards that it names, as Croissant.

    Args:
        out: where the description will be written; files are named relative to its folder.
        root: the repository.
        name: of the dataset.
        license: URL of its licence.

    Raises:
        InputError: there is no dataset here.
    """
    here = Revision(WORKSPACE, None, root)
    index = here.file(DATASET)
    classes = read_json(here.file(CLASSES))
    kept = pc.sum(parquet.read_table(index, columns=["kept"])["kept"]).as_py() or 0
    rows = parquet.read_metadata(index).num_rows
    locked = (root / LOCK).exists()
    digest = here.outs["data/dataset"].md5 if locked and "data/dataset" in here.outs else None
    commit = recorded_at(here, list(STAGES.values())) if locked else None
    described: Json = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "description": (
            f"{rows} images of {len(classes)} labels ({', '.join(classes)}), {kept} of them kept: "
            "made by a text-to-image diffusion model, labelled by its own cross-attention."
        ),
        "conformsTo": CONFORMS_TO,
        "digitalSourceType": {"@id": "sc:TrainedAlgorithmicMediaDigitalSource"},
        "version": f"1.0.0+{digest.partition('.')[0][:12]}" if digest else "1.0.0",
        **({"license": license} if license else {}),
        **({"datePublished": commit["date"]} if commit else {}),
        **_provenance(here, locked),
        "distribution": list(_distribution(here, out)),
        "recordSet": list(record_sets(classes, parquet.read_schema(index).names)),
    }
    return described


def _provenance(here: Revision, locked: bool) -> Json:
    """PROV's three relations: derived from which entities, by which activities, by which agent."""
    model, adapter = base_model(here)["digest"], adapter_of(here)
    entities = [_entity(f"urn:sha256:{model}", "base model")] if model else []
    if adapter:
        entities.append(_entity(f"urn:sha256:{adapter['digest']}", "LoRA adapter"))
    if locked and PROMPTS in here.outs:
        entities.append(_entity(f"urn:md5:{here.outs[PROMPTS].md5}", PROMPTS))
    return {
        "prov:wasDerivedFrom": entities,
        "prov:wasGeneratedBy": list(_activities(here)) if locked else [],
        "prov:wasAttributedTo": {
            "@type": ["prov:Agent", "prov:SoftwareAgent"],
            "@id": f"urn:maskloom:{software_version()}",
            "prov:label": f"Maskloom {software_version()}",
        },
    }


def _activities(here: Revision) -> Iterator[Json]:
    """Each stage that a sample passes: what it used, and when, if the flow ran it."""
    runs = runs_of(here)
    for stage, output in STAGES.items():
        if stage not in here.stages:
            continue
        run = runs[stage]
        yield {
            "@type": "prov:Activity",
            "@id": f"urn:md5:{here.outs[output].md5}#{stage}",
            "prov:label": stage,
            "prov:used": [
                {"@id": f"urn:md5:{dep.md5}", "@type": "prov:Entity", "prov:label": dep.path}
                for dep in here.deps_of(stage)
                if here.owner(dep.path) is not None
            ],
            **({"prov:startedAtTime": run["started"]} if run else {}),
            **({"prov:endedAtTime": run["ended"]} if run else {}),
        }


def _entity(identity: str, label: str) -> Json:
    return {"@type": "prov:Entity", "@id": identity, "prov:label": label}


def _distribution(here: Revision, out: Path) -> Iterator[Json]:
    """Index, class names and shards as file objects; what lies in the shards as file sets."""
    cache = DigestCache(here.root / CACHE_PATH)
    shards = {path: _shards(here.file(path)) for path in (SAMPLES, MASKS)}
    known = {name: digest for digests in shards.values() for name, digest in digests.items()}
    kinds = {DATASET: "application/x-parquet", CLASSES: "application/json"}
    kinds |= {shard: "application/x-tar" for names in shards.values() for shard in names}
    with progress("digests", len(kinds), "files") as advance:
        for path, kind in kinds.items():
            file = here.file(path)
            yield {
                "@type": "cr:FileObject",
                "@id": path,
                "name": path,
                "contentUrl": Path(os.path.relpath(file, out.parent)).as_posix(),
                "contentSize": f"{file.stat().st_size} B",
                "encodingFormat": kind,
                "sha256": known.get(path) or cache.file(file),
            }
            advance(1)
    cache.save()
    for name, (index, pattern, meaning) in FILES.items():
        yield {
            "@type": "cr:FileSet",
            "@id": name,
            "name": name,
            "description": meaning,
            "containedIn": [{"@id": shard} for shard in shards[index]],
            "encodingFormat": "image/png",
            "includes": pattern,
        }


def _shards(index: Path) -> dict[str, str | None]:
    """Shard -> its SHA-256 as an index has it, by name; None in those of earlier versions."""
    names = parquet.read_schema(index).names
    columns = [name for name in ("shard", "shard_digest") if name in names]
    pairs = parquet.read_table(index, columns=columns).group_by(columns).aggregate([])
    rows = sorted(pairs.to_pylist(), key=lambda row: row["shard"])
    return {row["shard"]: row.get("shard_digest") for row in rows}


@cache
def software_version() -> str:
    """Maskloom's version, as ``pyproject.toml`` has it: the code runs from its own folder."""
    path = Path(__file__).parents[1] / "pyproject.toml"
    return str(tomllib.loads(path.read_text(encoding="utf-8"))["project"]["version"])
