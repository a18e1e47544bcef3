import pytest

from storybook.vocabulary import PAGE_CLASSES
from tasks.lexicon import BUILTIN, Entry, look_up, look_up_all
from tasks.params import ClassPhrases, InputError


def test_builtin_covers_storybook_with_the_words_it_draws() -> None:
    for thing in PAGE_CLASSES:
        assert BUILTIN[thing.name] == Entry(
            thing.name, (thing.name,), thing.synonyms, thing.hyponyms
        )


def test_given_words_replace_known_ones() -> None:
    entry = look_up(ClassPhrases(name="car", hyponyms=("taxi",)))
    assert entry == Entry("car", ("car",), ("auto", "automobile"), ("taxi",))


def test_an_unknown_class_with_phrases_is_fine() -> None:
    assert look_up(ClassPhrases(name="zeppelin", phrases=("airship",))).phrases == ("airship",)


def test_all_problems_are_listed() -> None:
    with pytest.raises(InputError) as caught:
        look_up_all((ClassPhrases(name="yeti"), ClassPhrases(name="kraken")))
    assert "'yeti'" in str(caught.value) and "'kraken'" in str(caught.value)
