"""What a class can be called: its phrases, its synonyms and its hyponyms.

The built-in lexicon is a small curated table; senses are those of WordNet 3.0, whose synset ids
stand beside the classes.
"""

from dataclasses import dataclass

from tasks.params import ClassPhrases, InputError


@dataclass(frozen=True)
class Entry:
    """The words of one class.

    Attributes:
        phrases: what the class is plainly called, at least one.
        synonyms: other words for the very same thing.
        hyponyms: words for kinds of it.
    """

    name: str
    phrases: tuple[str, ...]
    synonyms: tuple[str, ...]
    hyponyms: tuple[str, ...]


BUILTIN: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("car", ("car",), ("auto", "automobile"), ("sedan", "minivan", "convertible")),
        Entry("boat", ("boat",), (), ("sailboat", "steamboat", "canoe")),
        Entry("tree", ("tree",), (), ("oak", "pine", "palm")),
        Entry("house", ("house",), (), ("cottage", "mansion", "chalet")),
        Entry("bird", ("bird",), (), ("duck", "owl", "penguin")),
        Entry("fish", ("fish",), (), ("goldfish", "shark", "puffer")),
        Entry("dog", ("dog",), ("domestic dog",), ("dachshund", "poodle", "dalmatian")),
        Entry("flower", ("flower",), ("bloom", "blossom"), ("daisy", "sunflower", "poppy")),
    )
}
"""Class name -> its words."""


def look_up(item: ClassPhrases) -> Entry:
    """The words of a class: what the parameters give, else what the built-in lexicon knows.

    Raises:
        InputError: neither gives a phrase.
    """
    known = BUILTIN.get(item.name)
    if known is None and item.phrases is None:
        raise InputError(
            f"expand_prompts.classes: class {item.name!r} has no phrase: the built-in lexicon does "
            f"not know it (it knows {', '.join(BUILTIN)}); write "
            f"{{name: {item.name}, phrases: [...]}}"
        )
    base = known or Entry(item.name, (), (), ())
    return Entry(
        name=item.name,
        phrases=base.phrases if item.phrases is None else item.phrases,
        synonyms=base.synonyms if item.synonyms is None else item.synonyms,
        hyponyms=base.hyponyms if item.hyponyms is None else item.hyponyms,
    )


def look_up_all(items: tuple[ClassPhrases, ...]) -> list[Entry]:
    """All classes' words.

    Raises:
        InputError: a class has no phrase, or one word names two classes; all are listed.
    """
    entries, problems = [], []
    for item in items:
        try:
            entries.append(look_up(item))
        except InputError as error:
            problems.append(str(error))
    owner: dict[str, str] = {}
    for entry in entries:
        for word in dict.fromkeys(entry.phrases + entry.synonyms + entry.hyponyms):
            if owner.setdefault(word, entry.name) != entry.name:
                problems.append(
                    f"expand_prompts.classes: {word!r} names both {owner[word]!r} and "
                    f"{entry.name!r}; its masks would be labelled wrongly: drop it from one, by "
                    "giving that class's synonyms or hyponyms in full"
                )
    if problems:
        raise InputError("\n".join(problems))
    return entries
