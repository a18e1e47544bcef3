import pytest

from benchmarks import mask_quality
from benchmarks.recipes import METHODS, REFINEMENTS


def test_it_runs_from_images_to_bars(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    pytest.importorskip("pydensecrf", reason="the dense CRF is not installed: make crf")
    with pytest.raises(SystemExit) as ended:
        mask_quality.main(quick=True)
        raise SystemExit(0)
    assert ended.value.code in (0, 1)  # nothing is learnt at this size: the bar may fail
    printed = capsys.readouterr().out
    for word in (*METHODS, *REFINEMENTS, "the preset storybook"):
        assert word in printed
