"""The first stage: BM25 candidates for queries, and semi-automatic labels from them.

BM25 is bm25s (Lù 2024, arXiv:2407.03618), variant `lucene` with its tokenizer: lower case, words of two or more
characters, its English stop words left out. A document is its title and its text. The index lies in memory (about 8
bytes a token while it is built), so a collection of some million passages fits a laptop. Ties are broken by document
id, ascending, so that the same collection always gives the same candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from relabel.config import Config
from relabel.errors import InputError
from relabel.lineage import query_fingerprint

#: Ways to make labels of the first stage's own.
MADE_LABELS = ("known-answer", "top-hits")


class FirstStageConfig(Config):
    """Which candidates a query gets, and what labels.

    Attributes:
        candidates: `corpus`: the best hits of the whole collection; `judged`: the query's labelled documents.
        depth: hits a query (candidates: corpus).
        labels: `known-answer`: the query's relevant documents are 1, its other hits 0; a hit with the same text as a
            relevant document is left out. `top-hits`: the first `positives` hits are 1, the others 0. `keep`: the
            dataset's labels. `none`: no labels.
        positives: hits that count as positive (labels: top-hits).
        random: documents a query, drawn from the collection beside the hits, with label 0 (labels: known-answer or
            top-hits): a judge learns from these easy negatives before it can learn from hits.
        unjudged: `keep` candidates without a label, or `drop` them (labels: keep).
        k1, b: BM25's term saturation and length normalisation; the defaults are those customary for MS MARCO passages.
    """

    candidates: Literal["corpus", "judged"] = "corpus"
    depth: int = Field(default=20, ge=1, le=10_000)
    labels: Literal["known-answer", "top-hits", "keep", "none"] = "keep"
    positives: int = Field(default=1, ge=1)
    random: int = Field(default=0, ge=0)
    unjudged: Literal["keep", "drop"] = "keep"
    k1: float = Field(default=0.9, ge=0)
    b: float = Field(default=0.4, ge=0, le=1)

    @model_validator(mode="after")
    def _random_documents_get_a_label(self) -> FirstStageConfig:
        if self.random and (self.candidates != "corpus" or self.labels not in MADE_LABELS):
            raise ValueError(f"random documents with candidates: corpus and labels: {' or '.join(MADE_LABELS)} alone")
        return self


class Hit(NamedTuple):
    """A document in a ranking: its position in the index, its rank from 1, its score."""

    document: int
    rank: int
    score: float


class BM25Ranker:
    """A BM25 index over a collection.

    Args:
        doc_ids: the documents' ids, which break ties; complete once `texts` has been read.
        texts: their texts in the same order; read once.
        k1, b: see `FirstStageConfig`.

    Raises:
        InputError: where no document has a word to index.
    """

    def __init__(self, doc_ids: list[str], texts: Iterable[str], k1: float, b: float):
        import bm25s  # takes a second, and only this class needs it

        self._tokenizer = bm25s.tokenization.Tokenizer(stopwords="en")
        tokens = list(self._tokenizer.streaming_tokenize(texts))
        vocabulary = self._tokenizer.get_vocab_dict()
        if len(tokens) != len(doc_ids):
            raise ValueError(f"{len(doc_ids)} ids for {len(tokens)} documents")
        if not vocabulary.keys() - {""}:
            raise InputError("first_stage", "no document with a word to index", "documents with text")
        self._index = bm25s.BM25(k1=k1, b=b, method="lucene")
        self._index.index((tokens, vocabulary), show_progress=False)
        self._tie_break = np.empty(len(doc_ids), dtype=np.int64)
        self._tie_break[np.array(sorted(range(len(doc_ids)), key=doc_ids.__getitem__), dtype=np.int64)] = np.arange(
            len(doc_ids)
        )

    def scores(self, query: str) -> np.ndarray:
        """BM25 score of every document, [documents] float32; 0 where no word is shared."""
        ids = next(iter(self._tokenizer.streaming_tokenize([query], update_vocab="never", allow_empty=False)))
        return self._index.get_scores_from_ids(ids)

    def top(self, scores: np.ndarray, depth: int) -> list[Hit]:
        """The `depth` best documents with a score above 0."""
        found = np.flatnonzero(scores > 0)
        if len(found) > depth:
            least = np.partition(scores[found], len(found) - depth)[len(found) - depth]
            found = found[scores[found] >= least]
        return [
            Hit(int(document), rank, float(scores[document])) for rank, document in self._ranked(scores, found, depth)
        ]

    def order(self, scores: np.ndarray, documents: list[int]) -> list[Hit]:
        """These documents ranked among themselves, those with score 0 last."""
        found = np.array(documents, dtype=np.int64)
        return [
            Hit(document, rank, float(scores[document])) for rank, document in self._ranked(scores, found, len(found))
        ]

    def rank_of(self, scores: np.ndarray, document: int) -> Hit:
        """Where a document stands in the ranking of the whole collection."""
        better = int(np.count_nonzero(scores > scores[document]))
        tied = self._tie_break[scores == scores[document]] < self._tie_break[document]
        return Hit(document, 1 + better + int(np.count_nonzero(tied)), float(scores[document]))

    def _ranked(self, scores: np.ndarray, documents: np.ndarray, depth: int) -> Iterator[tuple[int, int]]:
        order = np.lexsort((self._tie_break[documents], -scores[documents]))[:depth]
        return enumerate((int(document) for document in documents[order]), start=1)


class Candidate(NamedTuple):
    """A candidate of a query with its label (null: nobody labelled it) and where the label comes from."""

    document: int
    label: float | None
    source: str
    rank: int
    score: float


class FirstStage:
    """Candidates and labels for the queries of one collection.

    Args:
        config: see `FirstStageConfig`.
        documents: (id, title, text) of every document; read once.
        relevant_from: the least label that makes a document a known answer.
        label_source: the source of the dataset's labels where they name none.
    """

    def __init__(
        self,
        config: FirstStageConfig,
        documents: Iterable[tuple[str, str, str]],
        relevant_from: float,
        label_source: str,
    ):
        self.config, self.relevant_from, self.label_source = config, relevant_from, label_source
        self.counts: Counter[str] = Counter()
        ids: list[str] = []
        text_keys: list[int] = []
        self._ranker = BM25Ranker(ids, _indexed_texts(documents, ids, text_keys), config.k1, config.b)
        self._text_keys = np.array(text_keys, dtype=np.uint64)
        self.documents = len(ids)

    def candidates(self, query: str, judged: dict[int, tuple[float | None, str | None]]) -> list[Candidate]:
        """The candidates of a query, best first.

        Args:
            query: its text.
            judged: (label, source) by position of the document.
        """
        scores = self._ranker.scores(query)
        answers = [at for at, (value, _) in judged.items() if value is not None and value >= self.relevant_from]
        if self.config.candidates == "judged":
            hits = self._ranker.order(scores, sorted(judged))
        elif self.config.labels == "known-answer":
            hits = self._hits_and_answers(scores, answers)
        else:
            hits = self._ranker.top(scores, self.config.depth)
            self.counts["labels_not_retrieved"] += len(judged.keys() - {hit.document for hit in hits})
        if self.config.random:
            hits += self._random(query, scores, {hit.document for hit in hits}, answers)
        self.counts["queries_without_hits"] += not hits
        return list(self._labelled(hits, judged, set(answers)))

    def _hits_and_answers(self, scores: np.ndarray, answers: list[int]) -> list[Hit]:
        """The best hits without copies of the known answers, and the answers wherever they rank."""
        copies = np.isin(self._text_keys, self._text_keys[answers])
        copies[answers] = False
        left = np.where(copies, np.float32(0), scores)
        hits = self._ranker.top(left, self.config.depth)
        least = hits[-1].score if hits else 0.0
        self.counts["copies_of_known_answers"] += int(np.count_nonzero(copies & (scores >= least) & (scores > 0)))
        found = {hit.document for hit in hits}
        hits += [self._ranker.rank_of(left, answer) for answer in answers if answer not in found]
        return sorted(hits, key=lambda hit: hit.rank)

    def _random(self, query: str, scores: np.ndarray, taken: set[int], answers: list[int]) -> list[Hit]:
        """Documents drawn by a hash of the query, neither hits nor copies of a known answer, in the order of rank."""
        copies = set(np.flatnonzero(np.isin(self._text_keys, self._text_keys[answers])).tolist())
        drawn = np.random.default_rng(int(query_fingerprint(query), 16)).permutation(self.documents)
        chosen = [int(document) for document in drawn if int(document) not in taken | copies][: self.config.random]
        return sorted((self._ranker.rank_of(scores, document) for document in chosen), key=lambda hit: hit.rank)

    def _labelled(
        self, hits: list[Hit], judged: dict[int, tuple[float | None, str | None]], answers: set[int]
    ) -> Iterator[Candidate]:
        mode = self.config.labels
        for at, hit in enumerate(hits):
            if mode == "known-answer":
                label, source = float(hit.document in answers), mode
            elif mode == "top-hits":
                label, source = float(at < self.config.positives), mode
            else:
                label, source = judged.get(hit.document, (None, None)) if mode == "keep" else (None, None)
                source = "unlabelled" if label is None else source or self.label_source
            if mode == "keep" and label is None and self.config.unjudged == "drop":
                self.counts["unjudged_dropped"] += 1
                continue
            yield Candidate(hit.document, label, source, hit.rank, hit.score)


def _indexed_texts(documents: Iterable[tuple[str, str, str]], ids: list[str], text_keys: list[int]) -> Iterator[str]:
    """Title and text of each document; its id and a key of its text are added to the lists on the way."""
    for doc_id, title, text in documents:
        ids.append(doc_id)
        text_keys.append(int(query_fingerprint(text or title), 16))
        yield f"{title}\n{text}"
