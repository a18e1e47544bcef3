"""The cells of the measurement differ in their words alone."""

import pytest

from benchmarks import prompt_augmentation
from benchmarks.prompt_augmentation import SHARES, cell_changes, main


@pytest.mark.parametrize("quick", [False, True])
def test_cells_differ_in_their_words_alone(quick: bool) -> None:
    plain, augmented = (cell_changes(words, 2, quick) for words in SHARES)
    assert plain["expand_prompts"].pop("shares") != augmented["expand_prompts"].pop("shares")
    assert plain == augmented
    assert plain["expand_prompts"]["seed"] == plain["train_segmenter"]["seed"] == 2
    assert ("sample_images" in plain) == quick


def test_the_gain_is_of_the_means(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(*_: object, **__: object) -> list[dict]:
        reached = {"synonyms and hyponyms": (0.7, 0.8), "class names": (0.5, 0.6)}
        return [
            {"words": words, "seed": seed, "images": 16, "mIoU": miou}
            for words, values in reached.items()
            for seed, miou in enumerate(values)
        ]

    monkeypatch.setattr(prompt_augmentation, "run_cells", rows)
    main(quick=True)
    out = capsys.readouterr().out
    assert "0.2" in out[out.index("mean gain in mIoU") :]
    assert out.index("class names") < out.index("synonyms and")
