"""A judge without a model: BM25 of a pair, from the statistics of a named collection.

The collection is the distinct documents (title and text) of a pairs table, `collection`; how many documents have a
word, how many documents there are and how long they are on average come from it and from nowhere else, so that the
score of a pair depends neither on its shard nor on the rows beside it. Documents and queries that the collection lacks
are scored by the same statistics. As in `BM25Ranker`: variant `lucene`, tokenizer and stop words of bm25s.

The score is divided by the query's greatest possible one, Σ idf, which makes it a share in [0, 1) that can be compared
across queries; its log-odds are the judge's (see `bare_score`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from relabel.errors import ConfigError, InputError
from relabel.judges.bare_score import ScoreJudge, Scores, log_odds_of
from relabel.judges.config import JudgeConfig
from relabel.prepare.first_stage import FirstStageConfig
from relabel.prompts import prompt_named
from relabel.storage import Folder
from relabel.tables import read_parts


@dataclass(frozen=True)
class Collection:
    """What BM25 has to know of a collection.

    Attributes:
        documents: how many there are.
        words: words of all documents together.
        having: word → documents that have it.
    """

    documents: int
    words: int
    having: Mapping[str, int]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over all statistics."""
        facts = [self.documents, self.words, sorted(self.having.items())]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def idf(self, word: str) -> float:
        """ln(1 + (N − n + ½) / (n + ½)), Lucene's inverse document frequency; greatest for a word that nobody has."""
        having = self.having.get(word, 0)
        return math.log1p((self.documents - having + 0.5) / (having + 0.5))


class BM25:
    """BM25 by the statistics of a collection.

    Source: Kamphuis et al., "Which BM25 do you mean?", ECIR 2020, the variant `Lucene (accurate)` without its constant
    factor; a word that the query has twice counts twice.
    """

    def __init__(self, collection: Collection, k1: float, b: float):
        self._collection, self._k1, self._b = collection, k1, b

    def raw(self, query: list[str], document: list[str]) -> float:
        """The score of a tokenized document; at least 0 and less than `greatest(query)`."""
        length = len(document) * self._collection.documents / self._collection.words
        pull = self._k1 * (1 - self._b + self._b * length)
        count = Counter(document)
        return sum(self._collection.idf(word) * count[word] / (count[word] + pull) for word in query if count[word])

    def greatest(self, query: list[str]) -> float:
        return sum(map(self._collection.idf, query))

    def scores(self, queries: list[str], titles: list[str], texts: list[str]) -> Scores:
        """See `PairScorer`; a query of stop words alone scores 0."""
        words_of = {query: words([query])[0] for query in set(queries)}
        documents = words([f"{title}\n{text}" for title, text in zip(titles, texts, strict=True)])
        share = np.zeros(len(queries))
        for row, document in enumerate(documents):
            query = words_of[queries[row]]
            share[row] = self.raw(query, document) / self.greatest(query) if query else 0.0
        tokens = np.array([len(document) for document in documents], np.int32)
        return Scores(log_odds_of(share), tokens, np.zeros(len(queries), bool))


def words(texts: list[str]) -> list[list[str]]:
    """The words of each text by the tokenizer of bm25s: lower case, two characters or more, no English stop words."""
    import bm25s

    return bm25s.tokenize(texts, stopwords="en", return_ids=False, show_progress=False) if texts else []


def collection_of(address: str) -> Collection:
    """The statistics of the distinct documents of a pairs table; each document id counts once.

    Raises:
        ConfigError: where no table is named.
        InputError: where it is no pairs table, or has no words.
    """
    if not address:
        raise ConfigError("collection", "nothing", "a pairs table whose documents BM25 counts", "add --collection")
    return _counted(Folder(address).uri)


@lru_cache(maxsize=4)
def _counted(address: str) -> Collection:
    seen: set[str] = set()
    having: Counter[str] = Counter()
    total = 0
    for rows in read_parts(Folder(address), "pairs", ["doc_id", "title", "text"]):
        documents = {row["doc_id"]: f"{row['title']}\n{row['text']}" for row in rows.to_pylist()}
        fresh = {doc_id: text for doc_id, text in documents.items() if doc_id not in seen}
        seen |= fresh.keys()
        for document in words(list(fresh.values())):
            total += len(document)
            having.update(set(document))
    if not total:
        raise InputError(address, "no document with a word", "documents with text", "name another collection")
    return Collection(len(seen), total, dict(having))


def facts(config: JudgeConfig) -> dict:
    """What decides an answer besides the scale, for the judge id."""
    options = FirstStageConfig()
    return {"version": 1, "collection": collection_of(config.collection).fingerprint, "k1": options.k1, "b": options.b}


def build(config: JudgeConfig, judge_id: str) -> ScoreJudge:
    options = FirstStageConfig()
    scorer = BM25(collection_of(config.collection), options.k1, options.b)
    return ScoreJudge(judge_id, prompt_named(config.prompt).scale, scorer)
