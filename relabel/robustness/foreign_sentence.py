"""A sentence in another language that has nothing to do with anything stands after the document.

What the document says is all still there: a good judge gives the same grade. This is no test of documents in other
languages, which would need translations that keep the relevance; it only shows whether a foreign sentence unsettles
the judge.
"""

from __future__ import annotations

from relabel.robustness.perturbation import Expectation, Pair, Perturbation, Setting
from relabel.robustness.text_parts import joined

SENTENCES = (
    "Am Nachmittag ging sie langsam am Fluss entlang nach Hause.",  # German
    "Le facteur a laissé son vélo rouge devant la vieille porte.",  # French
    "El sábado pintaron la valla del jardín de color azul.",  # Spanish
    "Il gatto dorme volentieri sulla sedia vicino alla finestra.",  # Italian
    "O trem da noite parou dez minutos na pequena estação.",  # Portuguese
    "Na stole stała szklanka wody i leżały trzy jabłka.",  # Polish
    "Утром дети долго играли во дворе с мячом.",  # Russian
    "昨天下午他们在公园里慢慢地散步。",  # Chinese
    "窓のそばに小さな白い花が置いてある。",  # Japanese
)


def append_sentence(pair: Pair, setting: Setting) -> Pair:
    return pair._replace(text=joined(pair.text, setting.random.choice(SENTENCES)))


FOREIGN_SENTENCE = Perturbation("foreign-sentence", Expectation.UNCHANGED, append_sentence)
