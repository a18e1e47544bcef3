"""What a text encoder cannot read: unknown words, and prompts that are too long."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

from tasks import prompt_checks
from tasks.builtin_lexicon import BuiltinLexicon
from tasks.lexicon import look_up
from tasks.params import ExpandPrompts, Params, load_params
from tasks.prompt_checks import prompt_problems, unknown_words, word_problems
from tasks.prompt_sources import prepare

ROOT = Path(__file__).parents[2]
STORYBOOK = CLIPTokenizer.from_pretrained(ROOT / "models/storybook-sd/tokenizer")


@pytest.fixture
def section(make_params: Callable[..., Params]) -> Callable[..., ExpandPrompts]:
    def make(**changes: Any) -> ExpandPrompts:
        small = {"expand_prompts.images_per_class": 20}
        named = {f"expand_prompts.{key}": value for key, value in changes.items()}
        return make_params(small | named).expand_prompts

    return make


def test_every_storybook_word_is_known() -> None:
    preset = load_params(ROOT / "presets/storybook.yaml").expand_prompts
    texts = [
        word.text
        for item in preset.classes
        for word in look_up(item, BuiltinLexicon(), preset.hyponym_depth, ()).words
    ]
    assert len(texts) == 8 + 5 + 24
    assert [text for text in texts if unknown_words(STORYBOOK, text)] == []
    assert prompt_problems(prepare(preset), [STORYBOOK], 20) == []


@pytest.mark.parametrize("word", ["hatchback", "sunfish", "boathouse", "mouse", "zeppelin"])
def test_a_word_that_the_captions_never_used_is_unknown(word: str) -> None:
    """Among them words that fall into pieces which the vocabulary has: mo + use."""
    assert unknown_words(STORYBOOK, f"red {word}") == [word]


def test_an_unknown_token_is_unknown_in_any_vocabulary() -> None:
    vocabulary = {"[UNK]": 0, "dog": 1, **{f"word{number}": number + 2 for number in range(6000)}}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
    assert unknown_words(fast, "dog house") == ["house"]


def test_words_that_another_class_takes_are_not_asked_for(section: Any) -> None:
    classes = [{"name": "dog", "hyponyms": ["poodle", "cat"]}, {"name": "x", "phrases": ["cat"]}]
    (problem,) = prompt_problems(prepare(section(classes=classes)), [STORYBOOK], 20)
    assert "class 'x' has words" in problem


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ({"phrases": ["zeppelin"]}, "; give the class words that it knows, {name: x, phrases: []}"),
        (
            {"phrases": ["dog"], "synonyms": ["zeppelin"], "hyponyms": ["mouse"]},
            "; put them under expand_prompts.stop_words, or give the class words that it knows, "
            "{name: x, synonyms: [], hyponyms: []}",
        ),
        (
            {"phrases": ["zeppelin"], "hyponyms": ["mouse"]},
            "; put its hyponyms under expand_prompts.stop_words, and give the class words that it "
            "knows, {name: x, phrases: []}",
        ),
    ],
)
def test_the_remedy_is_one_for_the_word(section: Any, words: Any, remedy: str) -> None:
    """A plain phrase can be no stop word."""
    (problem,) = word_problems(STORYBOOK, prepare(section(classes=[{"name": "x"} | words])))
    assert problem.replace("[...]", "[]").endswith(remedy)


def test_prompts_that_are_too_long_are_counted_and_named(section: Any, tmp_path: Path) -> None:
    (tmp_path / "captions.json").write_text(json.dumps(["a car " + "on a road " * 8]))
    asked = section(
        classes=["tree", {"name": "car", "hyponyms": []}],
        captions="captions.json",
        sources={"templates": 0.5, "captions": 0.5, "classes_appended": 0.0},
        templates=["a {}", "a {}" + " under a blue sky" * 5],
        shares={"plain": 1.0, "synonym": 0.0, "hyponym": 0.0},
        several_share=0.0,
    )
    templates, captions = prompt_problems(prepare(asked, tmp_path), [STORYBOOK], 20)
    limit = "the text encoder reads 20 tokens, start and end included"
    assert captions.startswith(f"expand_prompts.captions: 10 of 40 prompts are too long: {limit}")
    assert 'phrases of "a car on a road on a road' in captions and "(28 tokens, " in captions
    assert templates.startswith("expand_prompts.templates: ")


def test_two_tokenizers_must_agree(section: Any) -> None:
    class Shifted:
        """A tokenizer that ends every first word one letter early."""

        def __call__(self, texts: Any, **options: Any) -> Any:
            found = STORYBOOK(texts, **options)
            if "offset_mapping" in found:
                found["offset_mapping"] = [[(0, 0), (0, 1)] for _ in texts]
            return found

        def __len__(self) -> int:
            return len(STORYBOOK)

        unk_token_id = STORYBOOK.unk_token_id

    (problem,) = prompt_problems(prepare(section()), [STORYBOOK, Shifted()], 20)
    assert problem.startswith("sample_images.model: its two tokenizers split 160 of 160 prompts")


def test_texts_are_counted_in_parts(section: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    offsets = prompt_checks._offsets
    monkeypatch.setattr(prompt_checks, "ROW_GROUP", 50)
    monkeypatch.setattr(
        prompt_checks, "_offsets", lambda t, texts: asked.append(len(texts)) or offsets(t, texts)
    )
    assert prompt_problems(prepare(section()), [STORYBOOK], 20) == []
    assert asked[0] == 1 and len(asked) == 1 + 4 and max(asked) <= 50
