"""How well a judge agrees with people on queries it has not seen, beside BM25 and a zero-shot encoder.

In: a judgements table and the pairs table with human labels that it judged; out: `agreement.json` (see
`agreement`). Pairs are joined by key. Invariant: no label made by a judge, and no query seen by this one in
training, enters the comparison; what is left out is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.agreement.disagreements import EXAMPLES, examples, furthest_apart, with_texts
from relabel.agreement.measures import agreement
from relabel.errors import InputError
from relabel.evidence.circularity import queries_seen_by, refuse_judge_labels, unchecked_lineage
from relabel.prepare.first_stage import BM25Ranker, FirstStageConfig
from relabel.records import Scale
from relabel.scoring import encoder_scores
from relabel.storage import Folder
from relabel.tables import keys_of, read_manifest, read_whole, rows_by_key

AGREEMENT = "agreement.json"
#: Names of the free scorers in `comparisons`.
BM25, ENCODER = "BM25", "the zero-shot encoder"


def measure_judge(
    judgements: Folder,
    human: Folder,
    out: Folder,
    others: Mapping[str, Callable[[pa.Table], np.ndarray]] | None = None,
    judge_folder: Folder | None = None,
    resamples: int = 1000,
    seed: int = 0,
    log: Callable[[str], None] = print,
) -> dict:
    """Join judgements with human grades on queries that the judge has not seen, measure, write `agreement.json`.

    Args:
        judgements: a judgements table that covers (some of) the human pairs.
        human: a pairs table whose labels were given by people; pairs without a label are ignored.
        out: folder for `agreement.json`.
        others: name → function from the joined pairs table to scores; see `free_scorers`.
        judge_folder: the trained judge, whose `queries_seen.parquet` is honoured; default: the one that the judgements
            name, if any.

    Raises:
        CircularEvidence: where the labels were made by a judge, or every query was seen in training.
        InputError: where no human pair was judged.
    """
    pairs, judged = read_whole(human, "pairs"), read_whole(judgements, "judgements")
    human_scale, manifest = read_manifest(human, "pairs").scale, read_manifest(judgements, "judgements")
    if human_scale is None or manifest.scale is None:
        raise InputError((human if human_scale is None else judgements).uri, "a table without a scale", "a scale")
    pairs = refuse_judge_labels(pairs, human.uri).filter(pc.is_valid(pairs["label"]))
    trained = judge_folder.uri if judge_folder else manifest.about.get("judge_folder")
    seen_by = {**manifest.about, "judge_folder": trained}
    seen_texts = queries_seen_by(seen_by, pairs["query"].unique().to_pylist(), human.uri)
    fresh = pairs.filter(pc.invert(pc.is_in(pairs["query"], pa.array(sorted(seen_texts), pa.string()))))
    places = rows_by_key(fresh, judged)
    if not np.any(places >= 0):
        raise InputError(judgements.uri, f"no judgement of the {fresh.num_rows} human pairs", "judgements of them")
    joined, judged = fresh.filter(pa.array(places >= 0)), judged.take(pa.array(places[places >= 0]))
    scores = {}
    for name, scorer in (others or {}).items():
        log(f"agreement: scoring {joined.num_rows} pairs with {name}")
        scores[name] = scorer(joined)
    found = agreement(
        joined["label"].to_numpy(),
        judged["grade"].to_numpy(),
        np.array(judged["probabilities"].to_pylist(), float),
        joined["query_id"].to_pylist(),
        human_scale,
        manifest.scale,
        scores,
        Counter(joined["label_source"].to_pylist()),
        resamples,
        seed=seed,
    )
    about = {name: manifest.about.get(name) for name in ("judge_id", "engine", "model", "prompt")}
    found |= {
        "judge": about,
        "pairs_of_seen_queries": pairs.num_rows - fresh.num_rows,
        "queries_seen": len(seen_texts),
        "pairs_without_judgement": int(np.sum(places < 0)),
    }
    found["verdict"] += unchecked_lineage(trained)
    found["disagreements"] = _disagreements(joined, judged, human_scale, manifest.scale)
    out.write_json(AGREEMENT, found)
    for sentence in found["verdict"]:
        log(f"agreement: {sentence}")
    return found


def free_scorers(zero_shot: str | None) -> dict[str, Callable[[pa.Table], np.ndarray]]:
    """What the judge is compared with: scorers that cost next to nothing.

    Args:
        zero_shot: an untrained encoder (package model or folder); None leaves it out.
    """
    found: dict[str, Callable[[pa.Table], np.ndarray]] = {BM25: bm25_scores}
    if zero_shot:
        found[ENCODER] = lambda pairs: encoder_scores(zero_shot, pairs)
    return found


def bm25_scores(pairs: pa.Table) -> np.ndarray:
    """BM25 of each pair [rows]: the first stage's where every pair has one, else computed over the pairs' documents."""
    if not pairs["first_stage_score"].null_count:
        return pairs["first_stage_score"].to_numpy().astype(float)
    options = FirstStageConfig()
    titles_and_texts = zip(pairs["title"].to_pylist(), pairs["text"].to_pylist(), strict=True)
    documents = dict(zip(pairs["doc_id"].to_pylist(), map(" ".join, titles_and_texts), strict=True))
    ranker = BM25Ranker(list(documents), documents.values(), options.k1, options.b)
    place = {doc_id: number for number, doc_id in enumerate(documents)}
    by_query = {query: ranker.scores(query) for query in pairs["query"].unique().to_pylist()}
    rows = zip(pairs["query"].to_pylist(), pairs["doc_id"].to_pylist(), strict=True)
    return np.array([by_query[query][place[doc_id]] for query, doc_id in rows], float)


def _disagreements(joined: pa.Table, judged: pa.Table, human_scale: Scale, judge_scale: Scale) -> list[dict]:
    """The pairs that judge and people see most differently, as the report shows them."""
    human, probabilities = joined["label"].to_numpy(), np.array(judged["probabilities"].to_pylist(), float)
    expected = human_scale.grade(probabilities @ judge_scale.degree(np.array(judge_scale.grades, float)))
    keys = keys_of(joined)
    entries = furthest_apart(keys, human, judged["grade"].to_numpy(), expected, EXAMPLES)
    return examples(list(with_texts(entries, joined)))
