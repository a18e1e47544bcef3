"""Grids: settings times seeds, what each run of them is, and which stages the runs share.

A grid is a file of ``presets/compare``: a preset, and for each setting the keys that differ from
it. Two runs share a stage where its command, its parameters and all that it reads are the same;
that follows from ``dvc.yaml`` alone, before anything runs.
"""

import copy
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flows.shared_stages import Tree, refuse_unmeasured, stage_keys
from tasks.params import InputError, read_raw
from tasks.presets import preset_path

FOLDER = Path("presets/compare")

OWN_COLUMNS = frozenset(
    {
        "setting", "seed", "value", "minutes",
        "mean", "deviation", "gain", "its deviation", "by seed",
    }
)  # fmt: skip
"""Names of columns that the tables have in any case."""


class Setting(BaseModel):
    """What a setting changes, section by section; a mapping is merged, all else is replaced."""

    model_config = ConfigDict(extra="allow")

    preset: str | None = None
    measure: str | None = None

    @property
    def changes(self) -> Tree:
        """The sections."""
        return dict(self.model_extra or {})


class Claim(BaseModel):
    """What the grid is to show: one setting above another, or a share of it."""

    model_config = ConfigDict(extra="forbid")

    setting: str
    above: str | None = None
    by: float | Literal["deviation", "-deviation"] = 0.0
    of: str | None = None
    share: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_kind(self) -> "Claim":
        if (self.above is None) == (self.of is None) or (self.of is None) != (self.share is None):
            raise ValueError("give `above` (and `by`), or `of` and `share`")
        return self


class Grid(BaseModel):
    """A file of ``presets/compare``.

    Attributes:
        title: one sentence: what is asked.
        preset: the file of ``presets`` that all settings start from, unless they name their own.
        seeds: each setting runs once with each.
        seeded: the keys that take the seed.
        stage: the last stage that is run.
        measure: file of ``metrics`` and key: "evaluation.miou".
        also: further columns of the table, by name: "filter.train".
        axis: what the settings' names are numbers of, where they are; the plot's x axis.
        common: changes that all settings share.
        settings: name -> changes.
        baseline: the setting that gains are told against; the first one where nothing is said.
        claims: what is to be shown; the command ends with status 1 where one does not hold.
    """

    model_config = ConfigDict(extra="forbid")

    title: str
    preset: str = "storybook"
    seeds: list[int] = Field(min_length=1)
    seeded: list[str] = ["expand_prompts.seed", "train_segmenter.seed"]
    stage: str = "evaluate_segmenter"
    measure: str = "evaluation.miou"
    also: dict[str, str] = {}
    axis: str | None = None
    common: Setting = Setting()
    settings: dict[str, Setting] = Field(min_length=1)
    baseline: str = ""
    claims: list[Claim] = []

    @model_validator(mode="after")
    def _names(self) -> "Grid":
        self.baseline = self.baseline or next(iter(self.settings))
        named = [self.baseline]
        for claim in self.claims:
            named += [name for name in (claim.setting, claim.above, claim.of) if name is not None]
        for name in named:
            if name not in self.settings:
                near = difflib.get_close_matches(name, self.settings, 1) or list(self.settings)
                raise ValueError(f"{name!r} is no setting; there are: {', '.join(near)}")
        if self.axis is not None:
            for name in self.settings:
                float(name)
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"`seeds`: {self.seeds} names one twice; a run is told by its seed")
        for claim in self.claims:
            if isinstance(claim.by, str) and len(self.seeds) < 2:
                raise ValueError(f"by: {claim.by} needs two `seeds` or more; or give a number")
        if taken := sorted(OWN_COLUMNS & set(self.also)):
            raise ValueError(f"`also`: {taken[0]!r} is a column of each table; choose another name")
        return self


@dataclass(frozen=True)
class Cell:
    """One run: a setting with a seed.

    Attributes:
        params: all of its ``params.yaml``.
        keys: stage -> digest of all that makes its outputs but code and files from outside.
    """

    setting: str
    seed: int
    measure: str
    params: Tree
    keys: Mapping[str, str]

    @property
    def name(self) -> str:
        """For logs: "co_training, seed 0"."""
        return f"{self.setting}, seed {self.seed}"


def grid_names(root: Path = Path()) -> list[str]:
    """The names of all grids, sorted."""
    return sorted(path.stem for path in (root / FOLDER).glob("*.yaml"))


def read_grid(name: str, root: Path = Path()) -> Grid:
    """A grid by its name.

    Raises:
        InputError: there is none of that name, or it breaks a rule; all violations are listed.
    """
    path = root / FOLDER / f"{name}.yaml"
    if name not in grid_names(root):
        near = difflib.get_close_matches(name, grid_names(root), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {grid_names(root)}"
        raise InputError(f"no grid {name!r} in {FOLDER}; {hint}")
    try:
        return Grid.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        said = [
            f"  {'.'.join(map(str, found['loc']))}: {found['msg']}".replace("  : ", "  ")
            for found in error.errors()
        ]
        raise InputError("\n".join([f"{path}:", *said])) from None
    except (yaml.YAMLError, ValueError) as error:  # an impossible date, or no UTF-8
        raise InputError(f"{path}: not valid YAML: {error}") from None


def cells(grid: Grid, root: Path = Path()) -> list[Cell]:
    """All runs of a grid, those that share most of their stages next to each other.

    Raises:
        InputError: a setting names a preset, a section or a key that is not there, or a run would
            not compute what is measured.
    """
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    if grid.stage not in stages:
        raise InputError(f"stage: {grid.stage!r} is no stage of dvc.yaml")
    if stages[grid.stage].get("always_changed"):
        raise InputError(f"stage: {grid.stage!r} only checks inputs; name one that computes")
    found = []
    for seed in grid.seeds:
        for name, setting in grid.settings.items():
            path = preset_path(setting.preset or grid.preset, root)
            params = read_raw(path)
            changes = merged(grid.common.changes, setting.changes)
            for key in grid.seeded:
                section, _, rest = key.partition(".")
                changes = merged({section: {rest: seed}}, changes)
            refuse_unknown(params, changes, f"setting {name!r}")
            params = merged(params, changes)
            keys = stage_keys(stages, params, grid.stage)
            measure = setting.measure or grid.measure
            for key in (measure, *grid.also.values()):
                refuse_unmeasured(key, stages, keys)
            found.append(Cell(name, seed, measure, params, keys))
    ranks: dict[tuple[str, str], int] = {}
    for cell in found:
        for item in cell.keys.items():
            ranks.setdefault(item, len(ranks))
    return sorted(found, key=lambda cell: [ranks[item] for item in cell.keys.items()])


def merged(tree: Tree, changes: Tree) -> Tree:
    """``tree`` with ``changes``: mappings key by key, all else replaced; neither is altered."""
    result = copy.deepcopy(tree)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


def refuse_unknown(params: Tree, changes: Tree, where: str) -> None:
    """Look for sections and keys of sections that the preset does not have.

    Raises:
        InputError: there is one, and the message names the nearest, or a section is no mapping.
    """
    for section, keys in changes.items():
        unknown = [section] if section not in params else []
        known = list(params)
        if not unknown and not isinstance(keys, dict):
            raise InputError(
                f"{where}: {section}: {keys!r} is no mapping; give the keys that differ, or {{}}"
            )
        if not unknown:
            known = list(params[section])
            unknown = [key for key in keys if key not in params[section]]
        for key in unknown:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known)}"
            raise InputError(f"{where}: {key!r} is no key of {section}{hint}")


def waits(order: list[Cell]) -> list[set[int]]:
    """For each run, the positions of the earlier ones that make what it shares.

    Runs at a time would compute a shared stage twice; the first in the order makes it. Stages that
    take seconds are not waited for.
    """
    makers: dict[tuple[str, str], int] = {}
    found = []
    for position, cell in enumerate(order):
        needed = {
            makers.setdefault(item, position)
            for item in cell.keys.items()
            if _costly(item[0], cell.params)
        }
        found.append(needed - {position})
    return found


def _costly(stage: str, params: Tree) -> bool:
    if stage == "adapt_lora":
        return bool(params[stage]["adapter"] == "train")
    if stage == "train_reference":
        return bool(params[stage]["labelled_set"] != "none")
    return stage not in ("render_storybook", "expand_prompts")
