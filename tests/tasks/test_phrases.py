"""Token positions of class phrases, by the tokenizer's own offsets."""

import gzip
from pathlib import Path

import pytest
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from tasks.params import InputError
from tasks.phrases import _other_occurrences, phrase_columns

MERGES = Path(__file__).parents[3] / "shared/data/lists/bpe_simple_vocab_16e6.txt.gz"


@pytest.fixture(scope="module")
def tokenizer(toy_folders: dict[str, Path]) -> CLIPTokenizer:
    """Knows "a", "an", "and", "dog" and "oak" as one token; other words have one per letter."""
    return CLIPTokenizer.from_pretrained(toy_folders["1.x"] / "tokenizer")


@pytest.fixture(scope="module")
def clip_tokenizer() -> CLIPTokenizer:
    """The tokenizer of Stable Diffusion's text encoders, from CLIP's own list of merges."""
    if not MERGES.exists():
        pytest.skip(f"CLIP's merges are not there: {MERGES}")
    lines = gzip.decompress(MERGES.read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    # CLIP numbers the bytes that print first, then the others.
    alphabet = sorted(ByteLevel.alphabet())
    symbols = [*alphabet, *(f"{symbol}</w>" for symbol in alphabet), *map("".join, merges)]
    symbols += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {symbol: number for number, symbol in enumerate(symbols)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def spans(text: str, *phrases: str) -> list[tuple[int, int]]:
    """The first occurrence of each phrase."""
    return [(text.index(phrase), text.index(phrase) + len(phrase)) for phrase in phrases]


def test_columns_follow_the_span_not_the_word(tokenizer: CLIPTokenizer) -> None:
    # start, a, dog, and, an, oak, end
    assert phrase_columns(tokenizer, "a dog and an oak", [(2, 5), (13, 16)]) == [[2], [5]]
    # "an" also stands inside "and": only the marked characters count
    assert phrase_columns(tokenizer, "a dog and an oak", [(10, 12)]) == [[4]]


def test_columns_come_in_the_order_of_the_spans(tokenizer: CLIPTokenizer) -> None:
    assert phrase_columns(tokenizer, "a dog and an oak", [(13, 16), (2, 5)]) == [[5], [2]]
    assert phrase_columns(tokenizer, "a dog and an oak", []) == []


def test_a_phrase_has_all_its_tokens(tokenizer: CLIPTokenizer) -> None:
    # A word that the tokenizer does not know: z, e, b, r, a
    assert phrase_columns(tokenizer, "a zebra and", [(2, 7)]) == [[2, 3, 4, 5, 6]]
    assert phrase_columns(tokenizer, "an oak dog and a dog", [(3, 10)]) == [[2, 3]]


@pytest.mark.parametrize(
    ("text", "marked", "columns"),
    [
        ("a dog and a dog", [(2, 5)], [[2, 5]]),
        ("a dog and a Dog, dog", [(2, 5)], [[2, 5, 7]]),
        ("a dog and dogs", [(2, 5)], [[2]]),  # not as part of another word
        ("a dogoak and dog", [(2, 5)], [[2, 3, 6]]),  # marked in a word: "do", "g", "oak"
        ("a dog and an oak dog", [(2, 5), (13, 20)], [[2], [5, 6]]),  # not in another phrase
        ("an oak dog and a dog", [(3, 10), (17, 20)], [[2, 3], [6]]),
    ],
)
def test_a_phrase_that_stands_again_counts_again(
    tokenizer: CLIPTokenizer, text: str, marked: list[tuple[int, int]], columns: list[list[int]]
) -> None:
    assert phrase_columns(tokenizer, text, marked) == columns


def test_the_same_word_marked_twice_is_two_phrases(tokenizer: CLIPTokenizer) -> None:
    assert phrase_columns(tokenizer, "a dog and a dog", [(2, 5), (12, 15)]) == [[2], [5]]


def test_spaces_and_letters_of_several_bytes(tokenizer: CLIPTokenizer) -> None:
    text = "a  dog   and\tan oak"
    assert phrase_columns(tokenizer, text, spans(text, "dog", "oak")) == [[2], [5]]
    # é has two bytes, as one letter or as e with a combining accent: c, a, f, 2 tokens
    for word in ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"):
        text = f"a {word} and a dog"
        assert phrase_columns(tokenizer, text, spans(text, word, "dog")) == [[2, 3, 4, 5, 6], [9]]


def test_a_phrase_that_is_cut_off_is_an_error(tokenizer: CLIPTokenizer) -> None:
    text = "a " * 74 + "dog oak"
    assert phrase_columns(tokenizer, text, spans(text, "dog")) == [[75]]  # the last before the end
    expected = "the phrase 'oak' lies past the text encoder's 77 tokens; shorten the template"
    with pytest.raises(InputError, match=expected):
        phrase_columns(tokenizer, text, spans(text, "oak"))
    with pytest.raises(InputError, match="the phrase 'dog oak' lies past"):  # cut in two
        phrase_columns(tokenizer, text, spans(text, "dog oak"))
    # Between the two bytes of one letter
    with pytest.raises(InputError, match="the phrase 'é' lies past"):
        phrase_columns(tokenizer, "a " * 74 + "é", [(148, 149)])
    # Where it stands again
    with pytest.raises(InputError, match="the phrase 'dog' lies past"):
        phrase_columns(tokenizer, "dog " + "a " * 74 + "dog", [(0, 3)])


@pytest.mark.parametrize(
    ("text", "marked", "columns"),
    [
        ("a photo of a cat", ["cat"], [[5]]),
        # din-ing-table, and two words of one token each
        ("a diningtable and a potted plant", ["diningtable", "potted plant"], [[2, 3, 4], [7, 8]]),
        ("A  Potted   plant", ["Potted   plant"], [[2, 3]]),
        ("a dog, dogs, a hotdog and a DOG", ["dog"], [[2, 10]]),
        ("a tv/monitor on a table", ["tv/monitor"], [[2, 3, 4]]),
        ("a naïve dog in a café", ["naïve", "café"], [[2, 3, 4], [8]]),
        ("日本 dog", ["日本", "dog"], [[1, 2, 3], [4]]),
    ],
)
def test_sentences_by_the_real_tokenizer(
    clip_tokenizer: CLIPTokenizer, text: str, marked: list[str], columns: list[list[int]]
) -> None:
    assert phrase_columns(clip_tokenizer, text, spans(text, *marked)) == columns


def test_the_real_tokenizer_numbers_tokens_as_clip_does(clip_tokenizer: CLIPTokenizer) -> None:
    ids = [49406, 320, 1125, 539, 320, 2368, 49407]
    assert clip_tokenizer("a photo of a cat").input_ids == ids


def test_a_part_of_a_longer_marked_phrase_does_not_count_again() -> None:
    """The second "hot dog" is no dog, though it is not marked."""
    text = "a dog and a hot dog and a hot dog"
    dog, hot_dog = (2, 5), (12, 19)
    assert _other_occurrences(text, [dog, hot_dog]) == [[], [(26, 33)]]
    assert _other_occurrences(text, [dog]) == [[(16, 19), (30, 33)]]
    assert _other_occurrences("a dog and a dog and a dog", [(2, 5), (12, 15)]) == [[(22, 25)]] * 2
