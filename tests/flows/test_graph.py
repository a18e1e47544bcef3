from pathlib import Path

import pytest

from flows.graph import output_digests, select_stages, stage_names
from tasks.params import InputError

STAGES = ["preflight", "sample_images", "write_report"]


def test_stages_are_those_of_dvc_yaml_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages:\n  zebra: {cmd: a}\n  ant: {cmd: b}\n")
    assert stage_names(tmp_path) == ["zebra", "ant"]


def test_a_folder_without_a_pipeline_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run from the repository root"):
        stage_names(tmp_path)


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


def test_digests_of_the_lock_by_path(tmp_path: Path) -> None:
    assert output_digests(tmp_path) == {}
    (tmp_path / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  b: {cmd: b, outs: [{path: z, md5: '1'}, {path: c, md5: '2'}]}\n"
        "  a: {cmd: a, outs: [{path: d, md5: 3.dir}]}\n  none: {cmd: c}\n"
    )
    assert list(output_digests(tmp_path).items()) == [("c", "2"), ("d", "3.dir"), ("z", "1")]
