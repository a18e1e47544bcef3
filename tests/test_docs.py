"""README.md and docs/: every parameter and link is there, every page is told of."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.readme import with_results
from flows.grids import Grid, cells, grid_names
from tasks.params import Params
from tests.toys.pages import PAGES, ROOT, blocks, read, spans, without_fences
from tests.toys.parameters import check_params, nested

LINKING = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "mmseg_configs/README.md"]


def check_key(span: str, known: Params) -> None:
    """A ``section.key`` or ``section.key: value`` is one of the parameters; all else passes."""
    key, colon, value = span.partition(": ")
    section, *rest = key.split(".")
    if section not in Params.model_fields or not re.fullmatch(r"[\w.]+", key):
        return
    if colon:
        check_params(nested(key, yaml.safe_load(value)))
    here: Any = known.model_dump()[section]
    for part in rest:
        assert isinstance(here, dict) and (part in here or not here), span
        here = here.get(part)


@pytest.fixture(scope="module")
def storybook() -> Params:
    return Params.model_validate(yaml.safe_load(read(ROOT / "presets/storybook.yaml")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_parameters_are_there(page: Path, storybook: Params) -> None:
    """``section.key`` and ``section.key: value`` in the text, and blocks of YAML."""
    for span, _ in spans(read(page)):
        check_key(span, storybook)
    for kind, text in blocks(read(page)):
        if kind == "yaml" and "settings" in (told := yaml.safe_load(text)):
            for cell in cells(Grid.model_validate(told), ROOT):
                Params.model_validate(cell.params)
        elif kind == "yaml":
            check_params(told)


@pytest.mark.parametrize(
    "span",
    [
        "train_segmenter.iteration",
        "train_segmenter.iterations.first",
        "train_segmenter.iterations: many",
        "extract_masks.attn2mask.betta",
    ],
)
def test_a_parameter_that_is_not_there_is_found(span: str, storybook: Params) -> None:
    with pytest.raises(AssertionError):
        check_key(span, storybook)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_fences(read(page)), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.parent.name + "/" + page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_fences(read(page))):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_and_every_grid_is_told_of() -> None:
    linked = set(re.findall(r"\]\((docs/\w+\.md)", read(ROOT / "README.md")))
    assert linked == {f"docs/{page.name}" for page in PAGES[1:]}
    told = re.findall(r"^\| (`.*?`) \|", read(ROOT / "docs/compare.md"), re.M)
    assert sorted(", ".join(told).replace("`", "").split(", ")) == grid_names(ROOT)


def test_the_readme_is_one_that_is_read() -> None:
    """Short, but for what is measured: those lines come and go with the records."""
    page = with_results(read(ROOT / "README.md"), "")
    assert len(page.splitlines()) <= 190
