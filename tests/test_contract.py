"""The house rules: one name a stage, declared dependencies, imports one way, silence, comments."""

import ast
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from tasks.params import Params, load_params
from tests.toys.imports import PACKAGES, import_closure, imported_files, module_files

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PRESETS = sorted((ROOT / "presets").glob("*.yaml"))


def own_modules(package: str) -> list[str]:
    files = sorted((ROOT / package).rglob("*.py"))
    return [path.relative_to(ROOT).as_posix() for path in files]


def declared_code(deps: list[str]) -> set[str]:
    """The modules among ``deps``, with those in folders of code."""
    folders = [dep for dep in deps if dep.partition("/")[0] in PACKAGES]
    return {dep for dep in deps if dep.endswith(".py")}.union(*map(own_modules, folders))


def stage_modules() -> set[str]:
    return {f"tasks/{stage}.py" for stage in STAGES}


def test_a_stage_is_a_module_a_section_and_a_row_of_the_readme() -> None:
    commands = {stage: entry["cmd"] for stage, entry in STAGES.items()}
    assert commands == {stage: f"python -m tasks.{stage}" for stage in STAGES}
    assert all((ROOT / module).is_file() for module in stage_modules())
    assert [stage for stage in STAGES if stage != "preflight"] == list(Params.model_fields)
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert rows == list(STAGES)


def test_modules_that_run_as_a_stage_are_stages() -> None:
    running = {
        path for path in own_modules("tasks") if "run_stage(run)" in (ROOT / path).read_text()
    }
    assert running == stage_modules()


@pytest.mark.parametrize("stage", STAGES)
def test_declared_code_is_the_import_closure(stage: str) -> None:
    """A changed module runs the stages that import it again, and no other.

    A stage that depends on ``mmseg_configs`` loads modules from there by name.
    """
    deps = STAGES[stage]["deps"]
    configs = set(own_modules("mmseg_configs")) if "mmseg_configs" in deps else set()
    assert declared_code(deps) == import_closure(module_files(f"tasks.{stage}") | configs)


def test_declared_code_of_the_base_model() -> None:
    entry = yaml.safe_load((ROOT / "storybook/dvc.yaml").read_text())["stages"]["train_base_model"]
    assert entry["frozen"] is True
    declared = declared_code(entry["deps"])
    assert declared == import_closure(module_files("storybook.base_model.train"))


def test_dvc_knows_the_bytes_of_all_that_it_keeps() -> None:
    """One output without makes `dvc pull` and `dvc checkout` of everything fail."""
    kept = [out for out in Repo(ROOT).index.outs if out.use_cache]
    assert len(kept) > 5
    assert [str(out) for out in kept if not out.hash_info] == []


@pytest.mark.parametrize("stage", STAGES)
def test_declared_params_are_those_read(stage: str) -> None:
    sections = set(Params.model_fields)
    tree = ast.parse((ROOT / f"tasks/{stage}.py").read_text())
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "params"
        and node.attr in sections
    }
    if "params.model_dump" in ast.unparse(tree):
        read = sections
    declared = {key.split(".")[0] for key in STAGES[stage].get("params", [])}
    assert read <= declared
    assert stage in declared or stage == "preflight"
    if stage == "preflight":
        assert declared == sections


def test_who_depends_on_the_classes_depends_on_their_label_values() -> None:
    """Classes and background make them together, `ExpandPrompts.label_names`."""
    declared = [set(entry.get("params", [])) for entry in STAGES.values()]
    classes, background = (
        [f"expand_prompts.{key}" in params for params in declared]
        for key in ("classes", "background")
    )
    assert classes == background and sum(classes) == 6


def test_stages_stand_in_running_order() -> None:
    made: list[Path] = []
    for stage, entry in STAGES.items():
        for dep in map(Path, entry["deps"]):
            if dep.parts[0] in ("data", "metrics", "models", "plots"):
                inside = [out for out in made if dep == out or out in dep.parents]
                assert inside, f"{stage} needs {dep}, which no stage before it makes"
        made += [Path(path) for path in outputs(stage)]


def test_every_stage_comes_after_preflight() -> None:
    behind = {"preflight"}
    owner = {path: stage for stage in STAGES for path in outputs(stage)}
    for stage, entry in STAGES.items():
        if any(owner.get(dep) in behind for dep in entry["deps"]):
            behind.add(stage)
    assert behind == set(STAGES)


def outputs(stage: str) -> list[str]:
    entries = [item for key in ("outs", "metrics", "plots") for item in STAGES[stage].get(key, [])]
    return [item if isinstance(item, str) else next(iter(item)) for item in entries]


def test_a_failed_preflight_touches_no_output() -> None:
    assert STAGES["preflight"]["always_changed"] is True
    for out in STAGES["preflight"]["outs"]:
        ((_, options),) = out.items()
        assert options == {"cache": False, "persist": True}


def test_imports_run_one_way() -> None:
    for path in own_modules("tasks"):
        imports = imported_files(path)
        assert not imports & (stage_modules() - {path}), f"{path} imports a stage"
        assert not {file for file in imports if file.startswith(("flows/", "benchmarks/"))}, path
    for path in [*own_modules("storybook"), *own_modules("mmseg_configs")]:
        imports = imported_files(path)
        assert not imports & stage_modules(), f"{path} imports a stage"
        assert not {file for file in imports if file.startswith(("flows/", "benchmarks/"))}, path
    for path in own_modules("flows"):
        assert not imported_files(path) & stage_modules(), f"{path} imports a stage"


@pytest.mark.parametrize(
    "module",
    [
        "flows.synthesize",
        "tasks.params",
        "tasks.records",
        "tasks.entry",
        "tasks.predict",
        "tasks.preflight",
    ],
)
def test_starts_without_torch(module: str) -> None:
    code = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *PRESETS], ids=lambda path: path.name)
def test_presets_are_valid_and_comment_every_key(path: Path) -> None:
    load_params(path, lists=None)
    lines = path.read_text().splitlines()
    assert path.name == "params.yaml" or lines[0].startswith(f"# {path.stem}: ")
    uncommented = [
        line
        for above, line in pairwise(lines)
        if re.match(r"\s*\w+:", line) and "#" not in line and not above.lstrip().startswith("#")
    ]
    assert not uncommented


def test_the_default_is_the_storybook_preset() -> None:
    assert (ROOT / "params.yaml").read_text() == (ROOT / "presets/storybook.yaml").read_text()


def test_dvc_says_nothing_to_anybody() -> None:
    config = (ROOT / ".dvc/config").read_text()
    assert "analytics = false" in config
    assert "check_update = false" in config


@pytest.mark.parametrize("package", ["tasks", "flows"])
def test_libraries_stay_silent_and_offline(package: str) -> None:
    code = f"""
import {package}
from prefect.settings import get_current_settings
from prefect.analytics import is_telemetry_enabled
from huggingface_hub import constants
settings = get_current_settings()
assert not settings.server.analytics_enabled
assert not settings.cloud.enable_orchestration_telemetry
assert not is_telemetry_enabled()
assert constants.HF_HUB_OFFLINE and constants.HF_HUB_DISABLE_TELEMETRY
"""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)


def test_the_lock_holds_what_the_project_asks_for() -> None:
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {canonicalize_name(pin.name): next(iter(pin.specifier)) for pin in pins}
    assert all(version.operator == "==" for version in versions.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, asked):
        assert versions[canonicalize_name(requirement.name)].version in requirement.specifier
