"""`relabel agree`: judges side by side on common pairs, from tables and files; what is left out or refused is said."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from relabel.agreement.agree import AgreeConfig, agree
from relabel.agreement.grade_scales import scale_of
from relabel.errors import CircularEvidence, ConfigError, InputError
from relabel.formats.label_files import Grader
from relabel.lineage import query_fingerprint, write_queries_seen
from relabel.records import JUDGEMENTS, PAIRS, Scale
from relabel.storage import Folder
from relabel.tables import TableWriter

FOUR = Scale((0, 1, 2, 3), relevant_from=2)
GRADES = {"grades": [0, 1, 2, 3], "relevant_from": 2}
QUERIES, DOCS = 12, 10


def human_grades() -> dict[tuple[str, str], int]:
    random = np.random.default_rng(0)
    keys = [(f"q{query}", f"d{query}x{doc}") for query in range(QUERIES) for doc in range(DOCS)]
    return dict(zip(keys, random.choice(4, len(keys), p=[0.5, 0.2, 0.2, 0.1]).tolist(), strict=True))


HUMAN = human_grades()


def noisy(share: float, seed: int, top: int = 3) -> dict[tuple[str, str], int]:
    """The human grades, a share of them replaced by chance, on 0–top."""
    random = np.random.default_rng(seed)
    return {
        key: int(random.integers(0, top + 1)) if random.random() < share else round(grade * top / 3)
        for key, grade in HUMAN.items()
    }


def write_wide(path: Path, columns: dict[str, dict[tuple[str, str], int]]) -> str:
    rows = ["\t".join(["query-id", "corpus-id", *columns])]
    rows += ["\t".join([*key, *(str(column.get(key, "")) for column in columns.values())]) for key in HUMAN]
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def write_pairs(folder: Folder, source: str = "human", scale: Scale | None = FOUR) -> str:
    rows = [
        {"query_id": q, "doc_id": d, "query": f"words of {q}", "title": "", "text": f"text {d} of {q} " * (1 + grade),
         "label": float(grade), "label_source": source, "query_frequency": None, "first_stage_rank": None,
         "first_stage_score": None}
        for (q, d), grade in HUMAN.items()
    ]  # fmt: skip
    writer = TableWriter(folder, "pairs", scale)
    writer.write(pa.Table.from_pylist(rows, PAIRS))
    writer.finish()
    return folder.uri


def write_judgements(folder: Folder, about: dict | None = None) -> str:
    """A judge that puts 0.7 on the human grade and 0.1 on each other."""
    rows = [
        {"query_id": q, "doc_id": d, "grade": grade, "score": float(grade),
         "probabilities": [0.7 if place == grade else 0.1 for place in range(4)], "logprobs": [0.0] * 4,
         "off_label_mass": 0.0, "prompt_tokens": 5, "truncated": False, "judge_id": "abc"}
        for (q, d), grade in HUMAN.items()
    ]  # fmt: skip
    writer = TableWriter(folder, "judgements", FOUR)
    writer.write(pa.Table.from_pylist(rows, JUDGEMENTS))
    writer.finish({"judge_id": "abc"} | (about or {}))
    return folder.uri


def run(tmp_path: Path, **options) -> tuple[dict, list[str]]:
    lines: list[str] = []
    config = AgreeConfig.load({"resamples": 100, "permutations": 100} | options, "agree")
    return agree(config, Folder(tmp_path / "out"), lines.append), lines


def test_files_alone_are_enough(tmp_path):
    """A wide table with people and two judges: both measured, compared and printed; a dash where scales differ."""
    wide = write_wide(tmp_path / "labels.tsv", {"human": HUMAN, "good": noisy(0.2, 1), "yes-no": noisy(0.5, 2, 1)})
    found, lines = run(tmp_path, human=wide, label_files=[wide], scale=GRADES)
    assert [judge["name"] for judge in found["judges"]] == ["good", "yes-no"]
    assert (found["pairs"], found["queries"], found["reference"]) == (QUERIES * DOCS, QUERIES, "good")
    assert [judge["grade_by_grade"] for judge in found["judges"]] == [True, False]
    assert [(row["measure"], row["judge"]) for row in found["comparisons"]] == [
        ("AUC(≥2)", "yes-no"),
        ("κ, relevant or not", "yes-no"),
    ]
    assert found["comparisons"][1]["difference"]["high"] < 0
    text = "\n".join(lines)
    assert "the grades of yes-no are [0, 1], relevant from 1 (only 0 and 1 occur)" in text
    dashed = next(line for line in lines if line.startswith("  yes-no"))
    assert dashed.split()[2:6] == ["–"] * 4
    assert any(line.startswith("  always 0") for line in lines)
    assert "neither run files nor texts" in found["systems"]["notes"][0]
    assert Folder(tmp_path / "out").read_json("agree.json") == found


def test_a_judge_with_distributions_beside_files(tmp_path):
    """The judge of a judgements table leads, keeps its calibration, and texts give rankings and examples."""
    human, judged = write_pairs(Folder(tmp_path / "human")), write_judgements(Folder(tmp_path / "judged"))
    labels = write_wide(tmp_path / "labels.tsv", {"other": noisy(0.6, 3)})
    found, _ = run(tmp_path, human=human, judgements=judged, label_files=[labels])
    judge, other = found["judges"]
    assert (judge["name"], judge["about"]["judge_id"], found["reference"]) == ("the judge", "abc", "the judge")
    assert judge["agreement"]["kappa"]["unweighted"]["value"] == 1.0
    assert judge["agreement"]["alpha"]["value"] == pytest.approx(1.0)
    assert judge["agreement"]["calibration"]["bins"]
    assert "calibration" not in other["agreement"]
    assert {row["measure"] for row in found["comparisons"]} == {"AUC(≥2)", "quadratic κ", "κ, relevant or not"}
    assert all(row["difference"]["value"] < 0 for row in found["comparisons"])
    assert len(found["systems"]["systems"]) >= 8
    assert found["systems"]["judges"]["the judge"]["kendall"]["value"] == pytest.approx(1.0)
    assert found["systems"]["judges"]["the judge"]["rank_biased_overlap"]["value"] == pytest.approx(1.0)


def test_a_file_may_not_take_the_name_of_the_judge(tmp_path):
    """A column named like the judge of the judgements would hide it, and is refused."""
    human, judged = write_pairs(Folder(tmp_path / "human")), write_judgements(Folder(tmp_path / "judged"))
    labels = write_wide(tmp_path / "labels.tsv", {"the judge": noisy(0.6, 3)})
    with pytest.raises(ConfigError, match="a file's judge named 'the judge'"):
        run(tmp_path, human=human, judgements=judged, label_files=[labels])


def test_disagreements_are_listed_worst_first_with_texts(tmp_path):
    """The TSV has as many pairs as asked for, the largest distance first, one line each, with their texts."""
    human = write_pairs(Folder(tmp_path / "human"))
    off = dict(HUMAN) | {key: 3 - HUMAN[key] for key in list(HUMAN)[:4]}
    labels = write_wide(tmp_path / "labels.tsv", {"off": off})
    found, _ = run(tmp_path, human=human, label_files=[labels], disagreements=3)
    with Folder(tmp_path / "out").open("disagreements.tsv") as stream:
        rows = list(csv.DictReader(stream.read().decode().splitlines(), delimiter="\t"))
    distances = [float(row["distance"]) for row in rows]
    assert len(rows) == 3
    assert distances == sorted(distances, reverse=True)
    assert all(abs(int(row["human"]) - int(row["judge"])) == float(row["distance"]) for row in rows)
    assert all(row["text"].startswith(f"text {row['doc_id']} of {row['query_id']}") for row in rows)
    assert [entry["doc_id"] for entry in found["disagreements"]] == [row["doc_id"] for row in rows]


def test_all_judges_are_measured_on_the_pairs_that_all_graded(tmp_path):
    """Pairs that one judge left out enter for none; how many each left out, and graded beyond people, is counted."""
    keys = list(HUMAN)
    half = {key: HUMAN[key] for key in keys[:60]}
    qrels = tmp_path / "human.txt"
    qrels.write_text("".join(f"{q} 0 {d} {grade}\n" for (q, d), grade in list(HUMAN.items())[5:]))
    wide = write_wide(tmp_path / "labels.tsv", {"whole": noisy(0.1, 4), "half": half})
    found, lines = run(tmp_path, human=str(qrels), label_files=[wide], scale=GRADES)
    assert [judge["agreement"]["pairs"] for judge in found["judges"]] == [55, 55]
    assert found["left_out"]["human_pairs"] == 115
    assert found["left_out"]["without_a_grade_of"] == {"whole": 0, "half": 60}
    assert found["left_out"]["graded_by_no_person"] == {"whole": 5, "half": 5}
    assert "agree: half did not grade 60 of the human pairs" in lines
    chosen, _ = run(tmp_path, human=str(qrels), label_files=[wide], scale=GRADES, judges=["whole"])
    assert chosen["pairs"] == 115


def test_runs_are_ordered_under_both_and_few_of_them_mean_little(tmp_path):
    """Systems of run files are ordered; people's order is found by the same grades; three systems are called few."""
    qrels = write_wide(tmp_path / "labels.tsv", {"human": HUMAN, "same": HUMAN})
    random = np.random.default_rng(5)
    for name, noise in (("a", 0.1), ("b", 2.0), ("c", 9.0)):
        scores = {key: grade + noise * random.normal() for key, grade in HUMAN.items()}
        lines = [f"{q} Q0 {d} 1 {score} system-{name}" for (q, d), score in scores.items()]
        (tmp_path / f"{name}.run").write_text("\n".join(lines))
    runs = [str(tmp_path / f"{name}.run") for name in "abc"]
    systems = run(tmp_path, human=qrels, label_files=[qrels], scale=GRADES, runs=runs)[0]["systems"]
    assert systems["source"] == "run files"
    means = {system["name"]: system["ndcg"]["human"] for system in systems["systems"]}
    assert means["system-a"] > means["system-b"] > means["system-c"]
    assert systems["judges"]["same"]["kendall"]["value"] == 1.0
    assert systems["notes"] == ["3 systems are few: τ counts 3 pairs of systems and means little."]
    (tmp_path / "f.run").write_text("q0 Q0 d0x0 1 1.0 system-f\n")
    systems = run(tmp_path, human=qrels, label_files=[qrels], scale=GRADES, runs=[str(tmp_path / "f.run")])[0][
        "systems"
    ]
    assert "system-f ranks nothing for 11 of 12 queries: its nDCG there is 0." in systems["notes"]
    (tmp_path / "d.run").write_bytes((tmp_path / "a.run").read_bytes())
    with pytest.raises(ConfigError, match="two files of the system 'system-a'"):
        run(tmp_path, human=qrels, label_files=[qrels], scale=GRADES, runs=[*runs, str(tmp_path / "d.run")])
    (tmp_path / "e.run").write_text("unknown Q0 d 1 1.0 system-e\n")
    with pytest.raises(InputError, match=r"e.run: found no query of the graded pairs in the system 'system-e'"):
        run(tmp_path, human=qrels, label_files=[qrels], scale=GRADES, runs=[str(tmp_path / "e.run")])


def test_labels_made_by_a_judge_are_refused_as_human(tmp_path):
    """A pairs table whose labels come from a judge is circular evidence."""
    human, judged = write_pairs(Folder(tmp_path / "human"), "judge:abc"), write_judgements(Folder(tmp_path / "judged"))
    with pytest.raises(CircularEvidence, match=r"120 labels made by a judge \(judge:abc\)"):
        run(tmp_path, human=human, judgements=judged)


def test_queries_that_the_judge_has_seen_are_left_out_also_with_qrels(tmp_path):
    """The judged pairs table tells the texts of a qrels file's queries; without texts it is refused, not guessed."""
    trained, pairs = Folder(tmp_path / "judge"), write_pairs(Folder(tmp_path / "pairs"))
    write_queries_seen(trained, [query_fingerprint("words of q0"), query_fingerprint("Words  of q1")])
    about = {"judge_folder": trained.uri, "pairs": pairs}
    judged = write_judgements(Folder(tmp_path / "judged"), about)
    qrels = write_wide(tmp_path / "labels.tsv", {"human": HUMAN})
    found, lines = run(tmp_path, human=qrels, judgements=judged, scale=GRADES)
    assert (found["pairs"], found["queries"]) == (100, 10)
    assert (found["left_out"]["queries_seen"], found["left_out"]["pairs_of_seen_queries"]) == (2, 20)
    assert any("20 pairs of 2 queries that the judge has seen in training" in line for line in lines)
    blind = write_judgements(Folder(tmp_path / "blind"), {"judge_folder": trained.uri})
    with pytest.raises(
        InputError, match=r"no texts, so queries that the judge has seen cannot be told.*add --pairs DIR"
    ):
        run(tmp_path, human=qrels, judgements=blind, scale=GRADES)
    write_queries_seen(trained, [query_fingerprint(f"words of q{number}") for number in range(QUERIES)])
    with pytest.raises(CircularEvidence, match=r"only queries that the judge was trained on \(12\)"):
        run(tmp_path, human=qrels, judgements=judged, scale=GRADES)


def test_a_judge_without_a_list_of_training_queries_is_pointed_out(tmp_path):
    """Where the judge's folder does not say what it was trained on, a warning says that nothing was checked."""
    human = write_pairs(Folder(tmp_path / "human"), "assessor")
    judged = write_judgements(Folder(tmp_path / "judged"), {"judge_folder": str(tmp_path / "judge")})
    unchecked, source = run(tmp_path, human=human, judgements=judged)[0]["warnings"]
    assert unchecked.startswith("That the judge has not seen these queries could not be checked")
    assert source.startswith("120 human grades come from 'assessor', which does not mean people")


def test_people_of_a_label_file_that_say_something_else_are_pointed_out(tmp_path):
    """A column `human` that contradicts the human grades is counted in a warning."""
    other = dict(HUMAN) | {("q0", "d0x0"): (HUMAN["q0", "d0x0"] + 1) % 4}
    first = write_wide(tmp_path / "one.tsv", {"human": HUMAN})
    second = write_wide(tmp_path / "two.tsv", {"human": other, "gpt": noisy(0.2, 6)})
    (warning,) = run(tmp_path, human=first, label_files=[second], scale=GRADES)[0]["warnings"]
    assert warning.startswith("1 of 120 grades of ")
    assert "column 'human' differ from those of" in warning


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": GRADES}, "found no judge; wanted a judgements table or files of grades"),
        ({"label_files": ["LABELS"]}, "a file that does not say its scale; wanted the key `scale`"),
        ({"label_files": ["LABELS"], "scale": GRADES, "judges": ["gtp"]}, "judges: found 'gtp'; wanted one of gpt"),
        ({"label_files": ["LABELS"], "scale": GRADES, "reference": "x"}, "reference: found 'x'; wanted one of gpt"),
        ({"label_files": ["LABELS", "LABELS"], "scale": GRADES}, "two judges named 'gpt'"),
        ({"label_files": ["LABELS"], "scale": GRADES, "label_scales": {"a": GRADES}}, "label_scales: found 'a'"),
    ],
)
def test_options_that_cannot_be_are_named(tmp_path, options, words):
    """No judge, no scale, unknown and doubled names are refused with what there is."""
    labels = write_wide(tmp_path / "labels.tsv", {"human": HUMAN, "gpt": noisy(0.2, 7)})
    files = [labels for _ in options.get("label_files", [])]
    with pytest.raises(ConfigError, match=words):
        run(tmp_path, **(options | {"human": labels} | ({"label_files": files} if files else {})))


def test_grades_off_a_scale_are_named_by_file_row_and_column(tmp_path):
    """A human grade off the stated scale, and a judge's, name the row; no common pair is said with the counts."""
    labels = write_wide(tmp_path / "labels.tsv", {"human": HUMAN, "gpt": dict(HUMAN) | {("q0", "d0x1"): 4}})
    with pytest.raises(
        InputError, match=r"labels.tsv:3, column 'gpt': found the grade 4; wanted one of \[0, 1, 2, 3\]"
    ):
        run(tmp_path, human=labels, label_files=[labels], scale=GRADES, label_scales={"gpt": GRADES})
    with pytest.raises(InputError, match=r"labels.tsv:\d+: found the human grade [23]; wanted one of \[0, 1\]"):
        run(tmp_path, human=labels, label_files=[labels], scale={"grades": [0, 1], "relevant_from": 1})
    (tmp_path / "other.txt").write_text("x 0 y 1\n")
    with pytest.raises(InputError, match=r"no pair that all judges graded \(of the human pairs: other 0\)"):
        run(tmp_path, human=labels, label_files=[str(tmp_path / "other.txt")], scale=GRADES)


def grader(*grades: int) -> Grader:
    keys = [("q", f"d{number}") for number in range(len(grades))]
    rows = {key: f"labels.tsv:{number}" for number, key in enumerate(keys, 2)}
    return Grader("gpt", "labels.tsv, column 'gpt'", dict(zip(keys, grades, strict=True)), rows)


def test_scales_are_told_from_grades_with_a_reason():
    """Binary, the human scale, a longer scale; a stated one is taken; negative grades and no grades are refused."""
    assert scale_of(grader(0, 1, 1), None, FOUR) == (Scale((0, 1), 1), "only 0 and 1 occur")
    assert scale_of(grader(0, 3), None, FOUR) == (FOUR, "all grades that occur are on the human scale")
    scale, reason = scale_of(grader(0, 5), None, FOUR)
    assert scale == Scale((0, 1, 2, 3, 4, 5), 4)
    assert "0 to the highest grade that occurs; relevant from 4" in reason
    assert scale_of(grader(0, 1), FOUR, FOUR) == (FOUR, "as stated")
    with pytest.raises(InputError, match=r"labels.tsv:3, column 'gpt': found the grade -2.*label_scales.gpt="):
        scale_of(grader(5, -2), None, FOUR)
    with pytest.raises(InputError, match="column 'gpt': found no grade"):
        scale_of(grader(), None, FOUR)


PUBLISHED = {
    "19": {"umbrela_gpt4o": (0.363, 0.524), "umbrela_gpt4": (0.338, 0.512), "fourprompts_llama3_70b": (0.167, 0.388),
           "fourprompts_flant5_large": (0.227, 0.322)},
    "20": {"umbrela_gpt4o": (0.341, 0.450), "umbrela_gpt4": (0.325, 0.427), "fourprompts_llama3_70b": (0.163, 0.303),
           "fourprompts_flant5_large": (0.188, 0.243)},
}  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize("year", PUBLISHED)
def test_documented_kappas_of_published_judges(shared_data, tmp_path, year):
    """κ of four judges against NIST, over grades and relevant or not, are the documented ones, from files alone."""
    labels = str(shared_data / f"trec_dl{year}" / "llm_labels.tsv")
    qrels = str(shared_data / f"trec_dl{year}" / "qrels" / "test.tsv")
    found, _ = run(tmp_path, human=qrels, label_files=[labels], judges=list(PUBLISHED[year]), scale=GRADES)
    measured = {judge["name"]: judge["agreement"] for judge in found["judges"]}
    for name, (graded, binary) in PUBLISHED[year].items():
        assert measured[name]["kappa"]["unweighted"]["value"] == pytest.approx(graded, abs=6e-4), name
        assert measured[name]["binary"]["kappa"]["value"] == pytest.approx(binary, abs=6e-4), name
    assert found["warnings"] == []
    assert found["left_out"]["human_pairs"] == found["pairs"]


@pytest.mark.data
@pytest.mark.parametrize(("year", "bm25", "splade"), [("19", 0.5058, 0.7308), ("20", 0.4796, 0.7197)])
def test_run_files_have_their_documented_ndcg(shared_data, tmp_path, year, bm25, splade):
    """nDCG@10 of the BM25 and SPLADE++ runs under NIST's grades is the documented one; two systems are called few."""
    folder, runs = shared_data / f"trec_dl{year}", []
    for name in ("bm25", "splade"):
        with open(folder / f"candidates_{name}_top100.jsonl", encoding="utf-8") as stream:
            hits = [(row["qid"], hit) for row in map(json.loads, stream) for hit in row["hits"]]
        text = "".join(f"{qid} Q0 {hit['docid']} {hit['rank']} {hit['score']} {name}\n" for qid, hit in hits)
        (tmp_path / f"{name}.run").write_text(text)
        runs.append(str(tmp_path / f"{name}.run"))
    labels, qrels = str(folder / "llm_labels.tsv"), str(folder / "qrels" / "test.tsv")
    options = {"label_files": [labels], "judges": ["umbrela_gpt4o"], "scale": GRADES, "runs": runs}
    systems = run(tmp_path, human=qrels, **options)[0]["systems"]
    measured = {system["name"]: system["ndcg"]["human"] for system in systems["systems"]}
    assert measured == {"bm25": pytest.approx(bm25, abs=1e-3), "splade": pytest.approx(splade, abs=1e-3)}
    assert systems["judges"]["umbrela_gpt4o"]["kendall"]["value"] == 1.0
    assert systems["notes"][0].startswith("2 systems are few")
