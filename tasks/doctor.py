"""Is everything there for the configured run, and what will it take?

    python -m tasks.doctor
    python -m tasks.doctor --params presets/voc12.yaml --gpu A100
    python -m tasks.doctor --measure
    python -m tasks.doctor --json > doctor.json

Looks at the environment, the machine, the parameters with all that they name (as `tasks.preflight`
does), and the services that are configured; then tells time, memory and disk of each stage. Every
check runs, whatever the others find; the exit status is 1 if one fails. No output of a stage is
touched. Nothing is fetched, and only addresses that are set are asked.
"""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter
from rich.console import Console

from tasks import environment_checks as environment
from tasks import service_checks as services
from tasks.base_models import model_files
from tasks.diagnosis import NOT_KNOWN, Diagnosis, as_json, show, size_text, time_text
from tasks.digests import CACHE_PATH, DigestCache, combine, file_digests
from tasks.entry import run_tool
from tasks.environment_checks import Check
from tasks.input_checks import SUBJECTS, Inputs, check_base, find_inputs, look_closer
from tasks.machine import run_bytes
from tasks.params import InputError, Params, load_params
from tasks.run_estimate import Run, device_names, estimate, total
from tasks.throughput import SD1_STEPS, is_storybook, known_gpu
from tasks.version import project_version

log = logging.getLogger(__name__)

PARAMS = Path("params.yaml")

app = cyclopts.App(name="python -m tasks.doctor", version=project_version)


def diagnose(
    path: Path = PARAMS,
    root: Path = Path(),
    gpu: str | None = None,
    ray: str | None = None,
    measure: bool = False,
) -> Diagnosis:
    """Run every check, then reckon what the run takes.

    Args:
        path: the parameters.
        root: the repository root.
        gpu: what to reckon with in place of the device that is here.
        ray: address of a Ray cluster.
        measure: sample a few images first.
    """
    found = Diagnosis()
    for name, check in (
        ("Python", environment.python_version),
        ("packages", environment.packages),
        ("C++ compiler", environment.compiler),
        ("extras", environment.extras),
        ("device", environment.device),
    ):
        found.run(name, check)
    params, whole = read_params(found, path, root)
    inputs = None
    if params and whole:
        found.run("lexicon", environment.lexicon, params, root)
        inputs = look_at_inputs(found, params, root)
        if measure:
            found.run("sampling trial", trial, params, root)
        found.run("estimate", reckon, found, inputs, gpu)
        found.run("memory", environment.memory, _host_memory(found, params))
        found.run("disk", environment.disk, run_bytes(params), root)
    elif params:
        found.run("inputs", partial_inputs, params, root)
    for name, other, args in (
        ("Prefect", services.prefect_server, ()),
        ("Ray", services.ray_cluster, (services.ray_address(ray),)),
        ("other runs", services.other_run, (root,)),
        ("git", environment.git_state, (root,)),
        ("DVC", environment.dvc_state, (root,)),
    ):
        found.run(name, other, *args)
    return found


def read_params(found: Diagnosis, path: Path, root: Path) -> tuple[Params | None, bool]:
    """The parameters, if they can be read, and whether with the class list that they name."""
    try:
        params = load_params(path, lists=root)
    except InputError as error:
        found.checks += [refused("parameters", line) for line in str(error).splitlines()]
    else:
        found.checks.append(Check("parameters", "ok", str(path)))
        return params, True
    try:
        return load_params(path, lists=None), False
    except InputError:
        return None, False


def look_at_inputs(found: Diagnosis, params: Params, root: Path) -> Inputs:
    """A row for each subject of `tasks.input_checks`, in which nothing or something is wrong."""
    logging.getLogger("tasks.input_checks").setLevel(logging.WARNING)
    inputs = find_inputs(params, root, errors=(Exception,))
    reference = inputs.reference
    if inputs.model and reference and reference.adapter:
        cache = DigestCache(root / CACHE_PATH)
        files = file_digests(inputs.model.folder, model_files(inputs.model), cache)
        check_base(inputs, combine(files))
    look_closer(inputs)
    for subject in SUBJECTS:
        messages = [message for about, message in inputs.problems if about == subject]
        found.checks += [refused(subject, message) for message in messages]
        if not messages:
            found.checks.append(Check(subject, "ok", _shown(subject, inputs)))
    return inputs


def partial_inputs(params: Params, root: Path) -> Iterator[Check]:
    """What can be said of the inputs without the class list: the others come when it is there."""
    inputs = find_inputs(params, root, errors=(Exception,))
    for about, message in inputs.problems:
        if about not in ("prompts", "labelled sets"):
            yield refused(about, message)
    yield Check("estimate", "warn", "needs the classes", "see parameters")


def trial(params: Params, root: Path) -> Iterator[Check]:
    """Sample a few images; see `tasks.sampling_trial`."""
    from tasks.sampling_trial import measure  # brings torch and diffusers along

    busy, cores = os.getloadavg()[0], os.cpu_count() or 1
    told = measure(params, root)
    steps = params.sample_images.num_inference_steps
    seconds = told.seconds_per_image + steps * told.seconds_per_step
    value = f"{seconds:.3g} s an image on {told.device}, peak {told.memory / 1e9:.1f} GB"
    if busy > cores / 2:
        remedy = "measure again when they have ended"
        value = f"{value}, beside other programs (load {busy:.1f} on {cores} cores)"
        yield Check("sampling trial", "warn", value, remedy)
    else:
        yield Check("sampling trial", "ok", value)


def reckon(found: Diagnosis, inputs: Inputs, gpu: str | None) -> Iterator[Check]:
    """Fill in the costs; a row for the whole."""
    found.device, found.trainer = device_names(inputs.params, gpu)
    costs = estimate(Run(inputs.params, inputs, found.device, found.trainer))
    found.costs = [*costs, total(costs)]
    unknown = [cost.stage for cost in costs if cost.seconds is None]
    told = (
        f"{time_text(found.costs[-1].seconds)}, {size_text(found.costs[-1].disk)} of disk at most"
    )
    yield Check(
        "estimate",
        "warn" if unknown else "ok",
        told + (f", without {', '.join(unknown)}" if unknown else ""),
        NOT_KNOWN if "sample_images" in unknown else "",
    )


def _host_memory(found: Diagnosis, params: Params) -> float:
    """What the stages that compute on the CPU take at most.

    The demo's peak is known. Of other runs some stages' is not, so it is `LEAST_MEMORY` or more.
    """
    on_gpu = {
        "sample_images": found.device != "cpu",
        "adapt_lora": found.device != "cpu",
        "train_segmenter": found.trainer != "cpu",
        "train_reference": found.trainer != "cpu",
        "together": True,
    }
    here = (cost for cost in found.costs if not on_gpu.get(cost.stage))
    known = max((cost.memory for cost in here if cost.memory), default=0.0)
    whole = known and is_storybook(params.sample_images)
    return known if whole else max(known, environment.LEAST_MEMORY)


def refused(subject: str, message: str) -> Check:
    """A row of a message; its remedy stands behind its first semicolon."""
    value, _, remedy = message.partition("; ")
    return Check(subject, "fail", value, remedy)


def _shown(subject: str, inputs: Inputs) -> str:
    """What a subject in which nothing is wrong says."""
    params = inputs.params
    section = params.expand_prompts
    count = section.images_per_class * len(section.classes)
    sets = (params.train_reference.labelled_set, params.evaluate_segmenter.test_set)
    return {
        "prompts": f"{len(section.classes)} classes, {count:,} images",
        "base model": params.sample_images.model,
        "labelled sets": f"train {sets[0]}, test {sets[1]}",
        "adapter": params.adapt_lora.adapter,
        "initial weights": params.train_segmenter.init_from,
        "similarity model": params.score_masks.similarity.model,
        "network": params.train_segmenter.config,
        "masks": f"{params.extract_masks.method}, {params.extract_masks.refine}",
        "machine": f"{params.sample_images.device} can be had, folders can be written",
    }[subject]


@app.default
def main(
    *,
    params: Annotated[Path, Parameter(help="parameters to look at, such as a preset")] = PARAMS,
    gpu: Annotated[
        str | None, Parameter(help=f"reckon with this GPU: {', '.join(SD1_STEPS)}")
    ] = None,
    ray: Annotated[str | None, Parameter(help="a Ray cluster's address; else RAY_ADDRESS")] = None,
    measure: Annotated[
        bool, Parameter(help="sample a handful of images and reckon with that", negative="")
    ] = False,
    as_json_: Annotated[bool, Parameter(name="--json", help="for machines", negative="")] = False,
) -> None:
    """Check that everything is there, and reckon what the run takes; status 1 if a check fails."""
    if gpu is not None and known_gpu(gpu) is None:
        known = ", ".join(SD1_STEPS)
        raise InputError(f"--gpu: nothing is known of {gpu!r} to reckon with; there are: {known}")
    found = diagnose(params, Path(), gpu, ray, measure)
    if as_json_:
        print(json.dumps(as_json(found), indent=1, ensure_ascii=False))
    else:
        show(found, Console())
    raise SystemExit(int(found.failed))


if __name__ == "__main__":
    run_tool(app)
