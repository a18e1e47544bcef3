"""Articles by sound, plurals by rule and by exception, and which texts say the same."""

import pytest

from tasks.english import article, normalise, plural, with_article, words


@pytest.mark.parametrize(
    "expected",
    [
        "a car",
        "an oak",
        "an hour",
        "an honest man",
        "a house",
        "a unicorn",
        "a unicycle",
        "a university",
        "a European",
        "a one-way street",
        "a ewe",
        "an umbrella",
        "an X-ray",
        "an SUV",
        "a UFO",
        "a CD player",
        "an FM radio",
        "an F-16",
        "an 8-ball",
        "a 10-speed",
        "sky",
        "a blue sky",
        "grass",
        "red wine",
        "sunglasses",
        "blue jeans",
    ],
)
def test_the_article_goes_by_sound(expected: str) -> None:
    first, _, rest = expected.partition(" ")
    if first not in ("a", "an", "the"):
        first, rest = "", expected
    assert article(rest) == first
    assert with_article(rest) == expected


@pytest.mark.parametrize(
    ("one", "several"),
    [
        ("car", "cars"),
        ("bus", "buses"),
        ("wolf", "wolves"),
        ("sheep", "sheep"),
        ("person", "people"),
        ("woman", "women"),
        ("mouse", "mice"),
        ("SUV", "SUVs"),
        ("potted plant", "potted plants"),
        ("fighter aircraft", "fighter aircraft"),
        ("grass", "grass"),
        ("swimming trunks", "swimming trunks"),
        ("sky", "sky"),
        ("coat-of-mail shell", "coat-of-mail shells"),
        ("hen-of-the-woods", "hens-of-the-woods"),
        ("lily-of-the-valley tree", "lily-of-the-valley trees"),
        ("chest of drawers", "chests of drawers"),
        ("old chest of drawers", "old chests of drawers"),
        ("mother-in-law", "mothers-in-law"),
        ("school bus", "school buses"),
        ("police woman", "police women"),
        ("Pullman", "Pullmans"),
        ("knee-hi", "knee-highs"),
        ("phyllo", "phyllo"),
        ("contrafagotto", "contrafagotti"),
        ("coho", "cohos"),
        ("banded gecko", "banded geckos"),
        ("merry-go-round", "merry-go-rounds"),
        ("pickup truck", "pickup trucks"),
    ],
)
def test_plurals(one: str, several: str) -> None:
    assert plural(one) == several


def test_words_are_whole_and_know_their_place() -> None:
    assert words("A cat's X-ray, please.") == [
        ("a", 0, 1),
        ("cat", 2, 5),
        ("x-ray", 8, 13),
        ("please", 15, 21),
    ]
    assert [word for word, _, _ in words("The horse\u2019s cat's-eye; o'clock, Jess' ROD'S")] == [
        *("the", "horse", "cat's-eye", "o'clock", "jess", "rod")
    ]


@pytest.mark.parametrize(
    "other",
    ["A Photo of the dogs, by a car!", "photo of dog by car", "a photo of a dog by cars."],
)
def test_near_duplicates_have_one_normal_form(other: str) -> None:
    assert normalise(other) == normalise("a photo of a dog by a car")


def test_other_texts_have_other_normal_forms() -> None:
    forms = {normalise(text) for text in ("a dog", "two dogs", "a dog and a dog", "a hot dog")}
    assert len(forms) == 4
    assert normalise("hot-rod") == normalise("hot rods")
