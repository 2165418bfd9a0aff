"""Perturbations: seeded, never empty, and each keeps of the pair what it must keep."""

from __future__ import annotations

from collections import Counter

import pytest

from relabel.errors import ConfigError
from relabel.robustness import PERTURBATIONS, Expectation, Pair, Setting, chance, perturbation_named
from relabel.robustness.planted_instruction import WORDINGS
from relabel.robustness.text_parts import halves, sentences

PLAIN = Pair(
    "how do I split a path?",
    "Paths",
    "A path names a file. Use split to cut it in two! Does the tail hold the name? The head holds the folder.",
)
CASES = {
    "plain": PLAIN,
    "no title": PLAIN._replace(title=""),
    "no text": PLAIN._replace(text=""),
    "one word": Pair("path", "", "path"),
    "one letter": Pair("x", "", "y"),
    "no sentence": Pair("numbers", "", "17 42 1999 3"),
    "blank text": Pair("path", "Paths", " \n "),
    "no spaces": Pair("路径是什么", "", "路径是文件的名字。它由目录和文件名组成。"),
    "unicode": Pair(
        "naïve Straße ?", "Größe", "Die Straße… heißt «naïve»; café? 👩‍👩‍👧 ok.\n\nZweiter Absatz, e\u0301."
    ),
    "query of signs": Pair("?!", "", "Text that stays. More text."),
}
OTHER = "Bread rises because yeast makes gas. The dough rests in a warm place for an hour."


def perturbed(name: str, pair: Pair, seed: int = 0, answer: str = "3", other: str = OTHER) -> Pair:
    return PERTURBATIONS[name].apply(pair, Setting(chance(seed, name), answer, other))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_perturbation_is_a_function_of_pair_and_seed(name, case):
    """The same seed gives the same pair; the query stays; a document that had characters keeps some."""
    pair = CASES[case]
    after = perturbed(name, pair)
    assert after == perturbed(name, pair)
    assert after.query == pair.query
    assert bool(after.title) == bool(pair.title)
    assert after.text.strip() or not pair.text.strip()


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_every_perturbation_changes_a_plain_document(name):
    """None is without effect on a document of four sentences, and names can be told from document ids."""
    assert perturbed(name, PLAIN) != PLAIN
    assert "#" not in name


@pytest.mark.parametrize(
    "name",
    [
        "planted-start",
        "planted-end",
        "query-repeated",
        "keyword-stuffing",
        "relevance-words",
        "foreign-relevance-words",
        "foreign-sentence",
        "padded",
    ],
)
@pytest.mark.parametrize("case", CASES)
def test_what_is_added_leaves_the_document_whole(name, case):
    """The original text stands unchanged inside the perturbed one."""
    assert CASES[case].text in perturbed(name, CASES[case]).text


def test_seeds_choose_other_wordings():
    """Over some seeds every wording of an instruction occurs, with the scale's highest answer in it."""
    texts = [perturbed("planted-end", PLAIN, seed, answer="Yes").text for seed in range(100)]
    planted = {text.removeprefix(PLAIN.text).strip() for text in texts}
    assert planted == {wording.format(answer="Yes") for wording in WORDINGS}


def test_instructions_stand_where_they_are_called():
    """At the start, between the halves, and at the end; the document's words are all there."""
    start, middle, end = (perturbed(f"planted-{where}", PLAIN).text for where in ("start", "middle", "end"))
    assert start.endswith(PLAIN.text)
    assert end.startswith(PLAIN.text)
    first, second = halves(PLAIN.text)
    assert middle.startswith(first)
    assert middle.endswith(second)
    assert len(middle) > len(PLAIN.text) + 10


def test_query_and_keywords_are_repeated():
    """The query comes twice as it is; each of its words four times before and four times after the document."""
    assert perturbed("query-repeated", PLAIN).text.count(PLAIN.query) == 2
    before, _, after = perturbed("keyword-stuffing", PLAIN).text.partition(f"\n{PLAIN.text}\n")
    wanted = dict.fromkeys(("how", "do", "I", "split", "a", "path"), 4)
    assert Counter(before.split()) == Counter(after.split()) == wanted


def test_a_query_without_words_cannot_be_stuffed():
    """Where the query has no word the pair stays as it is."""
    assert perturbed("keyword-stuffing", CASES["query of signs"]) == CASES["query of signs"]


@pytest.mark.parametrize("case", CASES)
def test_shuffling_keeps_every_sentence(case):
    """The same sentences in another order; a text of one sentence stays as it is."""
    pair = CASES[case]
    for seed in range(5):
        after = perturbed("shuffled-sentences", pair, seed)
        assert sorted(sentences(after.text)) == sorted(sentences(pair.text))
        assert (after != pair) == (len(sentences(pair.text)) > 1)


def test_half_of_a_document():
    """The first half of the words is left, one more of an odd number; a text without spaces is cut by characters."""
    assert perturbed("first-half", Pair("q", "t", "one two three four five")).text == "one two three"
    assert perturbed("first-half", Pair("q", "t", "one\n\ntwo  three four")).text == "one\n\ntwo"
    assert perturbed("first-half", Pair("q", "t", "路径是文件的")).text == "路径是"
    assert perturbed("first-half", CASES["one letter"]) == CASES["one letter"]


def test_padding_is_of_another_document_and_no_longer_than_this_one():
    """As many words as the document has at most, half before it and half after; nothing where there is no other."""
    short = Pair("q", "", "four words of text")
    assert perturbed("padded", short).text == "Bread rises\nfour words of text\nbecause yeast"
    assert perturbed("padded", PLAIN, other="") == PLAIN


def test_case_changes_letters_alone():
    """Title and text in capitals or small letters; the words compare equal without regard to case."""
    upper, lower = perturbed("upper-case", PLAIN), perturbed("lower-case", PLAIN)
    assert (upper.title, lower.title) == ("PATHS", "paths")
    assert upper.text == PLAIN.text.upper()
    assert upper.text.lower() == lower.text


@pytest.mark.parametrize("seed", range(10))
def test_typos_swap_letters_inside_words(seed):
    """One long word of ten has two inner letters changed round; letters, word ends, short words and numbers stay."""
    pair = Pair("q", "", " ".join(["1999 the path", "leads through fourteen green gardens"] * 5))
    before, after = pair.text.split(), perturbed("typos", pair, seed).text.split()
    changed = [(was, now) for was, now in zip(before, after, strict=True) if was != now]
    assert len(changed) == 3  # of 30 long words
    for was, now in changed:
        assert sorted(was) == sorted(now)
        assert (was[0], was[-1]) == (now[0], now[-1])
        assert len(was) >= 4


def test_what_is_expected_of_a_good_judge():
    """Whatever adds praise, commands or keywords is an attack that must not raise a grade; the rest is no attack."""
    attacks = {name for name, perturbation in PERTURBATIONS.items() if perturbation.attack}
    assert attacks == {
        "planted-start", "planted-middle", "planted-end", "query-repeated", "keyword-stuffing", "relevance-words",
        "foreign-relevance-words",
    }  # fmt: skip
    assert {PERTURBATIONS[name].expectation for name in attacks} == {Expectation.NOT_HIGHER}
    assert PERTURBATIONS["first-half"].expectation is Expectation.NOT_HIGHER
    assert PERTURBATIONS["upper-case"].expectation is Expectation.UNCHANGED


def test_an_unknown_perturbation_is_refused():
    """The nearest known name is offered."""
    with pytest.raises(ConfigError, match=r"found 'planted-strat'; wanted one of planted-start.*write 'planted-start'"):
        perturbation_named("planted-strat")


def test_sentences():
    """Ends are full stops with space behind, ideographic ones without, and line breaks; numbers are not cut."""
    assert sentences("It is 3.5 m. Really?  Yes!\n\nNew line\nlast") == [
        "It is 3.5 m.",
        "Really?",
        "Yes!",
        "New line",
        "last",
    ]
    assert sentences("他来了。她走了！") == ["他来了。", "她走了！"]
    assert sentences("  ") == []
