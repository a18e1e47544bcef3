from pathlib import Path

import pytest
from pydantic import TypeAdapter

from flows.graph import (
    StageName,
    check_inputs,
    named_files,
    output_digests,
    select_stages,
    stage_names,
    stage_outputs,
)
from tasks.params import InputError

STAGES = ["preflight", "sample_images", "write_report"]


def test_stages_are_those_of_dvc_yaml_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages:\n  zebra: {cmd: a}\n  ant: {cmd: b}\n")
    assert stage_names(tmp_path) == ["zebra", "ant"]


def test_a_folder_without_a_pipeline_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run from the repository root"):
        stage_names(tmp_path)


def test_a_form_offers_the_stages_of_this_repository() -> None:
    root = Path(__file__).parents[2]
    assert TypeAdapter(StageName).json_schema()["enum"] == stage_names(root)


def test_selects_from_one_stage_on() -> None:
    assert select_stages(STAGES, start="sample_images") == STAGES[1:]
    assert select_stages(STAGES, start="sample_images", upto="sample_images") == STAGES[1:2]
    with pytest.raises(InputError, match="'write_report' comes after 'preflight'"):
        select_stages(STAGES, start="write_report", upto="preflight")
    with pytest.raises(InputError, match="--only and --start exclude"):
        select_stages(STAGES, only="preflight", start="preflight")


def test_selects_all_one_or_a_beginning() -> None:
    assert select_stages(STAGES) == STAGES
    assert select_stages(STAGES, only="sample_images") == ["sample_images"]
    assert select_stages(STAGES, upto="sample_images") == ["preflight", "sample_images"]


def test_names_the_nearest_stage() -> None:
    with pytest.raises(
        InputError, match=r"'sample_image' is no stage.*did you mean 'sample_images'"
    ):
        select_stages(STAGES, only="sample_image")
    with pytest.raises(InputError, match="exclude each other"):
        select_stages(STAGES, only="preflight", upto="preflight")


def test_a_stage_whose_inputs_no_stage_has_made_yet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        "  draw: {cmd: a, deps: [code.py], outs: [data/images: {persist: true}]}\n"
        "  count: {cmd: b, deps: [data/images], metrics: [counts.json]}\n"
    )
    check_inputs(["draw", "count"], tmp_path)
    with pytest.raises(InputError) as caught:
        check_inputs(["count"], tmp_path)
    assert str(caught.value) == (
        "count reads data/images, which draw makes and which is not there; give --start draw, or "
        "neither --only nor --start"
    )
    (tmp_path / "data/images").mkdir(parents=True)
    check_inputs(["count"], tmp_path)


def test_an_input_that_lies_in_an_output_is_asked_for_too(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        "  adapt: {cmd: a, outs: [models/lora]}\n"
        "  sample: {cmd: b, deps: [models/lora/adapter.json], outs: [data/samples]}\n"
    )
    with pytest.raises(InputError, match=r"reads models/lora/adapter\.json, which adapt makes"):
        check_inputs(["sample"], tmp_path)


def test_digests_of_the_lock_by_path(tmp_path: Path) -> None:
    assert output_digests(tmp_path) == {}
    (tmp_path / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  b: {cmd: b, outs: [{path: z, md5: '1'}, {path: c, md5: '2'}]}\n"
        "  a: {cmd: a, outs: [{path: d, md5: 3.dir}]}\n  none: {cmd: c}\n"
    )
    assert list(output_digests(tmp_path).items()) == [("c", "2"), ("d", "3.dir"), ("z", "1")]


def test_a_stages_outputs_come_data_first(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(
        "stages: {a: {outs: [{path: metrics/a.json, md5: '1'}, {path: models/a, md5: 2.dir}]}}\n"
    )
    assert list(stage_outputs("a", tmp_path).items()) == [
        ("models/a", "2.dir"),
        ("metrics/a.json", "1"),
    ]
    assert stage_outputs("b", tmp_path) == {}


def test_names_what_of_the_graph_belongs_into_git(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  a: {cmd: a, deps: [code.py], outs: [data/a]}\n"
        "  b: {cmd: b, deps: [data/a, code], metrics: [{metrics/b.json: {cache: false}}]}\n"
    )
    sources, results = named_files(tmp_path)
    assert sources == ["code", "code.py"]
    assert results == ["dvc.yaml", "dvc.lock", "params.yaml", "metrics/b.json"]
