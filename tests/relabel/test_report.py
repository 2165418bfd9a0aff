"""The report page: built from a run folder that the real writers made, from parts of one, and from hostile text."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from relabel.agreement.agree import AgreeConfig, agree
from relabel.agreement.gate import GateConfig, gate_lines, pass_gate
from relabel.agreement.measure_judge import measure_judge
from relabel.agreement.measures import agreement
from relabel.calibration.fit import CalibrateConfig, calibrate
from relabel.calibration.human_pairs import read_human_pairs
from relabel.errors import InputError
from relabel.evidence.comparison import System, compare
from relabel.evidence.metrics import Pool, rank_pool
from relabel.judges import JudgeConfig, load_judge
from relabel.labels import AtPrecision, ChangeCounts, adjust_rows, load_rule
from relabel.planning.estimate import Work, estimate
from relabel.planning.rates import Rate
from relabel.planning.uncertain import Uncertain
from relabel.promises.kept import achieved
from relabel.promises.learn import learn
from relabel.records import JUDGEMENTS, PAIRS, QUARANTINE, Scale
from relabel.report.build import build_report
from relabel.robustness.movement import measure
from relabel.robustness.variants import variants
from relabel.storage import Folder
from relabel.tables import TableWriter, read_manifest, write_manifest
from relabel.words import interval, share

SCALE = Scale((0, 1, 2, 3), relevant_from=2)
BINARY = Scale((0, 1), relevant_from=1)
HOSTILE = "<script>alert('x')</script> & \"<img src=x onerror=alert(1)>\""
QUERIES, DEPTH = 40, 12
JUDGE = "0123456789abcdef"


def make_run(run: Folder, hostile: str = "", seed: int = 0) -> None:
    """A whole run folder: simulated relevance, everything after that by the project's own writers."""
    random = np.random.default_rng(seed)
    truth = random.choice(4, size=QUERIES * DEPTH, p=[0.5, 0.2, 0.2, 0.1])
    query_ids = [f"q{row // DEPTH}" for row in range(len(truth))]
    logits = random.normal(size=(len(truth), 4)) + 1.2 * np.eye(4)[truth]
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    bm25 = truth + random.normal(scale=2, size=len(truth)) + 10
    pairs = _pairs(query_ids, truth, bm25, hostile)
    _write(
        run / "pairs",
        "pairs",
        BINARY,
        pairs,
        {
            "format": "medquad",
            "dataset": "simulated/collection",
            "queries": QUERIES,
            "label_sources": {"top-hits": 440, "known-answer": 40},
        },
    )
    about = {"judge_id": JUDGE, "engine": "vllm", "model": "smollm2-135m-instruct", "prompt": "terse-0-3"}
    facts = {"tokens": 91_000, "busy_seconds": 61.5, "shards": 2, "truncated": 3}
    judgements = _judgements(pairs, probabilities)
    _write(run / "judgements" / JUDGE, "judgements", SCALE, judgements, about | facts)
    for name in ("keep", "replace", "blend"):
        rule = load_rule({"rule": name})
        labels = adjust_rows(pairs, judgements, BINARY, SCALE, rule, JUDGE)
        _write(run / "labels" / name, "labels", None, labels, {"rule": rule.to_json(), "judge_id": JUDGE})
        (run / "labels" / name).write_json("change.json", ChangeCounts.of(labels, BINARY, SCALE).to_json())
        (run / "rerankers" / name).write_json("training.json", _training(random, name))
    (run / "judge").write_json("training.json", _training(random, None))
    grades = probabilities.argmax(axis=1)
    others = {"BM25": bm25, "the zero-shot encoder": truth + random.normal(scale=1.2, size=len(truth))}
    found = agreement(truth, grades, probabilities, query_ids, SCALE, SCALE, others, {"assessor": len(truth)}, 200)
    (run / "evidence").write_json("agreement.json", found)
    pass_gate(GateConfig(on_failure="warn"), found, run / "evidence")
    _calibrate(run, pairs, truth, judgements, about)
    (run / "evidence").write_json("metrics.json", _metrics(truth, query_ids, bm25, random, hostile))
    (run / "robustness").write_json("robustness.json", _robustness(pairs.slice(0, 60)))
    run.write_json("run.json", _record())
    rates = {"judge": Rate(Uncertain.within(500, 1.1), "measured")}
    work = Work("judge", Uncertain.exactly(480), load=Uncertain.exactly(48_000), rate="judge")
    work = replace(work, tokens=work.load)
    run.write_json("estimate.json", estimate([work], rates, [], 0.4, 0) | {"made": "2026-01-01", "sample": 128})


def _calibrate(run: Folder, pairs: pa.Table, truth: np.ndarray, judgements: pa.Table, about: dict) -> None:
    place = pairs.schema.get_field_index("label")
    people = pairs.set_column(place, "label", pa.array(truth, pa.float32()))
    _write(run / "held_out", "pairs", SCALE, people, {})
    _write(run / "evidence" / "judgements", "judgements", SCALE, judgements, about)
    tables = {"judgements": (run / "evidence" / "judgements").uri, "human": (run / "held_out").uri}
    calibrate(CalibrateConfig(**tables, resamples=100), run / "calibration", lambda line: None)
    graded = read_human_pairs(run / "evidence" / "judgements", run / "held_out")
    _, promise = learn(AtPrecision(target=0.7, delta=0.3), graded, graded.manifest)
    promise["achieved"] = achieved(promise, graded, graded.manifest)
    (run / "evidence").write_json("promises.json", {"at-precision": promise})


def _pairs(query_ids: list[str], truth: np.ndarray, bm25: np.ndarray, hostile: str) -> pa.Table:
    first = [row % DEPTH == 0 for row in range(len(truth))]
    columns = {
        "query_id": query_ids,
        "doc_id": [f"d{row}" for row in range(len(truth))],
        "query": [f"how do I treat {query_id} at home? {hostile}" for query_id in query_ids],
        "title": [f"Treatment {row} {hostile}" for row in range(len(truth))],
        "text": [f"{hostile} It is treated with rest and water, see chapter {row}. " * 8 for row in range(len(truth))],
        "label": [float(known) for known in first],
        "label_source": ["known-answer" if known else "top-hits" for known in first],
        "query_frequency": [None] * len(truth),
        "first_stage_rank": [row % DEPTH + 1 for row in range(len(truth))],
        "first_stage_score": bm25.tolist(),
    }
    return pa.table(columns, schema=PAIRS)


def _judgements(pairs: pa.Table, probabilities: np.ndarray) -> pa.Table:
    rows = len(probabilities)
    columns = {
        "query_id": pairs["query_id"],
        "doc_id": pairs["doc_id"],
        "grade": pa.array(probabilities.argmax(axis=1), pa.int32()),
        "score": pa.array((probabilities @ np.arange(4)).astype(np.float32)),
        "probabilities": probabilities.tolist(),
        "logprobs": np.log(probabilities).tolist(),
        "off_label_mass": [0.01] * rows,
        "prompt_tokens": [180] * rows,
        "truncated": [False] * rows,
        "judge_id": [JUDGE] * rows,
    }
    return pa.table(columns, schema=JUDGEMENTS)


def _robustness(pairs: pa.Table) -> dict:
    names = ["query-repeated", "upper-case", "shuffled-sentences"]
    made = variants(pairs, names, "3", seed=0)
    judged = load_judge(JudgeConfig(engine="lexical")).judge(made, "part-00000.parquet:0")
    return measure(made, judged.judgements, BINARY, SCALE, names, resamples=200)


def _write(folder: Folder, kind: str, scale: Scale | None, rows: pa.Table, about: dict) -> None:
    writer = TableWriter(folder, kind, scale)
    writer.write(rows)
    writer.finish(about)


def _training(random: np.random.Generator, rule: str | None) -> dict:
    losses = 0.7 * np.exp(-np.arange(60) / 25) + random.normal(scale=0.02, size=60)
    return {
        "kind": "reranker" if rule else "judge",
        "base_model": "all-minilm-l6-v2" if rule else "smollm2-135m-instruct",
        "steps": 60,
        "losses": [{"step": step + 1, "loss": float(loss)} for step, loss in enumerate(losses)],
        "validations": [{"step": 20 * at, "nDCG@10": 0.5 + 0.05 * at} for at in (1, 2, 3)],
        "best_step": 60,
        "best_score": 0.65,
        "seconds": 75.2,
        "device": "cpu",
        "dtype": "bfloat16",
    } | ({"architecture": "bi-encoder", "loss": "listnet", "labels": {"rule": {"rule": rule}}} if rule else {})


def _metrics(truth, query_ids, bm25, random, hostile) -> dict:
    places = {query_id: place for place, query_id in enumerate(dict.fromkeys(query_ids))}
    query = np.array([places[query_id] for query_id in query_ids])
    docs = [f"d{row}" for row in range(len(truth))]
    pool = Pool(list(places), query, docs, truth.astype(float), np.ones(len(truth), bool), SCALE)
    noise = {"zero-shot encoder": 1.5, "keep": 1.9, "replace": 1.0, "blend": 1.3}
    systems = [(System("first stage (BM25)", "first stage"), bm25)]
    for name, scale in noise.items():
        kind = "zero-shot" if name == "zero-shot encoder" else "re-ranker"
        rule = name if kind == "re-ranker" else None
        systems.append((System(name, kind, rule), truth + random.normal(scale=scale, size=len(truth))))
    ranked = [(system, rank_pool(pool, scores, "linear")) for system, scores in systems]
    found = compare(pool, ranked, "linear", resamples=200, permutations=1000)
    found["per_query"]["queries"] = [f"how do I treat {query_id}? {hostile}" for query_id in places]
    checked = [{"folder": "rerankers/keep", "queries_seen": 240, "overlap": 0}]
    return found | {"lineage": {"checked": checked, "warnings": []}}


def _record() -> dict:
    return {
        "name": "a simulated run",
        "started": "2026-01-01T10:00:00Z",
        "finished": "2026-01-01T10:20:00Z",
        "seed": 7,
        "recipe": {"prepare": {"format": "medquad"}, "rules": ["keep", {"rule": "blend", "alpha": 0.5}]},
        "versions": {"python": "3.11.7", "ray": "2.60.0"},
        "hardware": {"cpus": 2, "memory_gib": 16},
        "stages": [
            {"name": "prepare", "seconds": 3.2},
            {"name": "judge", "seconds": 120.0, "finished": "2026-01-01T10:19:00Z", "detail": {"tokens": 48_960}},
        ],
        "prices": {"actor_hour": 0.4, "currency": "EUR"},
    }


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on tags that are not closed in order."""

    VOID = frozenset({"meta", "path", "polyline", "rect", "br", "img"})

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.text = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]

    @property
    def attributes(self) -> list[tuple[str, str | None]]:
        return [attribute for _, attributes in self.elements for attribute in attributes.items()]

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Folder:
    run = Folder(tmp_path_factory.mktemp("report") / "run")
    make_run(run, HOSTILE)
    return run


@pytest.fixture(scope="module")
def page(whole_run) -> Page:
    return Page(build_report(whole_run))


def test_every_section_is_there_and_ran(page):
    """A whole run shows all sections, none of them as not run, in well-formed HTML."""
    assert page.tags.count("section") == 15
    assert page.tags.count("h2") == 15
    assert not page.open
    assert "Not run" not in page.words


def test_text_of_documents_never_becomes_markup(page):
    """Script and image tags in queries, titles and texts are shown as text."""
    assert not {"script", "img", "iframe", "link"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert('x')</script>" in page.words


def test_the_page_needs_nothing_from_elsewhere(page, whole_run):
    """No attribute and no style points to another file or host."""
    links = [value for name, value in page.attributes if name in ("href", "src", "srcset", "action", "xlink:href")]
    assert links
    assert all(link.startswith("#") for link in links)
    style = re.findall(r"<style>(.*?)</style>", build_report(whole_run), re.DOTALL)[0]
    assert "url(" not in style
    assert "@import" not in style


def test_numbers_of_the_run_are_on_the_page(page, whole_run):
    """The verdict of the judge, the findings and warnings, and the counts stand there word for word."""
    evidence = whole_run / "evidence"
    sentences = evidence.read_json("agreement.json")["verdict"]
    sentences += (whole_run / "robustness").read_json("robustness.json")["verdict"]
    metrics = evidence.read_json("metrics.json")
    for sentence in [*sentences, *metrics["findings"], *metrics["warnings"]]:
        assert sentence.replace("\N{NO-BREAK SPACE}", " ") in page.words
    prepared = f"{QUERIES * DEPTH} query–document pairs of {QUERIES} queries were prepared from collection"
    assert f"{prepared}, labelled by top-hits and known-answer." in page.words
    assert "nDCG@10 (linear gain)" in page.words
    assert "The grades that it is compared with come from assessor, not from people." in page.words
    assert "0.01 EUR" in page.words


def test_robustness_is_on_the_page(page, whole_run):
    """Each perturbation that changed pairs has its movement with the interval, attacks their success; others none."""
    found = (whole_run / "robustness").read_json("robustness.json")["perturbations"]
    repeated, upper = found[0]["all"], found[1]["all"]
    assert found[0]["broken"]
    expected = [
        f"query-repeated not higher 60 {share(repeated['other_grade']['value'])} ",
        f"query-repeated {interval(repeated['movement'], 2, sign=True)}",
        f"query-repeated {interval(repeated['raised'], 2)}",
        f"upper-case unchanged {upper['pairs']} 0 % 0.00",
    ]
    assert [words for words in expected if words.replace("\N{NO-BREAK SPACE}", " ") not in page.words] == []


def test_the_gate_stands_at_the_top_of_the_judge_and_calibration_after_it(page, whole_run):
    """Each line of the gate's verdict comes before the agreement's sentences; the calibration names its method."""
    evidence = whole_run / "evidence"
    first = evidence.read_json("agreement.json")["verdict"][0].replace("\N{NO-BREAK SPACE}", " ")
    for line in gate_lines(evidence.read_json("gate.json")):
        assert page.words.index(line) < page.words.rindex(first)
    chosen = (whole_run / "calibration").read_json("calibration.json")["method"]
    assert f"Chosen by cross-fitted log-loss: {chosen}, on 480 pairs of 40 queries." in page.words


def test_promised_stands_against_achieved(page, whole_run):
    """What was promised on which queries, and what the test's grades say, is on the page for each direction."""
    promise = (whole_run / "evidence").read_json("promises.json")["at-precision"]
    assert promise["achieved"]
    for sentence in promise["sentences"]:
        assert sentence.replace("\N{NO-BREAK SPACE}", " ") in page.words
    assert "20 queries chose the order of thresholds, 20 others tested them." in page.words
    assert page.words.count(" holds") + page.words.count(" broken") >= len(promise["achieved"])


def test_tables_and_charts_are_accessible(page):
    """Every table is named by a caption, every drawing has a label, and the page a language and a viewport."""
    captions = {attributes["id"] for tag, attributes in page.elements if tag == "figcaption" and "id" in attributes}
    tables = [attributes["aria-labelledby"] for tag, attributes in page.elements if tag == "table"]
    assert len(tables) == len(set(tables)) > 8
    assert set(tables) == captions
    drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(drawings) > 4
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in drawings)
    assert ("html", {"lang": "en"}) in page.elements
    assert any(attributes.get("name") == "viewport" for _, attributes in page.elements)


def test_an_untrusted_judge_is_named_at_the_top(tmp_path):
    """A judge at chance is called that in the summary, before any ranking number."""
    run = Folder(tmp_path)
    random = np.random.default_rng(1)
    human = random.integers(0, 4, 200)
    probabilities = random.dirichlet(np.ones(4), 200)
    query_ids = [f"q{row // 5}" for row in range(200)]
    others = {"BM25": human + random.normal(size=200)}
    grades = probabilities.argmax(axis=1)
    found = agreement(human, grades, probabilities, query_ids, SCALE, SCALE, others, resamples=100)
    (run / "evidence").write_json("agreement.json", found)
    words = Page(build_report(run)).words
    assert "Caution. The judge should not be trusted to relabel." in words
    assert words.index("should not be trusted") < words.index("Not run: the run folder holds nothing of evaluate")


def test_judges_side_by_side_and_the_worst_disagreements_are_shown(tmp_path):
    """What `agree` and the agreement leave in evidence/ is on the page: tables, notes and examples, all as text."""
    run, evidence = Folder(tmp_path / "run"), Folder(tmp_path / "run" / "evidence")
    truth = np.random.default_rng(2).choice(4, size=QUERIES * DEPTH, p=[0.5, 0.2, 0.2, 0.1])
    query_ids = [f"q{row // DEPTH}" for row in range(len(truth))]
    pairs = _pairs(query_ids, truth, truth.astype(float), HOSTILE)
    human = pairs.set_column(5, PAIRS.field("label"), pa.array(truth, pa.float32()))
    human = human.set_column(6, PAIRS.field("label_source"), pa.array(["human"] * len(truth)))
    _write(run / "test", "pairs", SCALE, human, {})
    probabilities = np.random.default_rng(3).dirichlet(np.ones(4), len(truth)).astype(np.float32)
    judgements = _judgements(pairs, probabilities)
    _write(evidence / "judgements", "judgements", SCALE, judgements, {"judge_id": JUDGE})
    measure_judge(evidence / "judgements", run / "test", evidence, resamples=20, log=lambda line: None)
    name = "<b>gpt</b>"
    labels = tmp_path / "labels.tsv"
    rows = [f"{query_id}\td{row}\t{truth[row]}" for row, query_id in enumerate(query_ids)]
    labels.write_text("\n".join([f"query-id\tcorpus-id\t{name}", *rows]))
    config = AgreeConfig(
        human=(run / "test").uri,
        judgements=(evidence / "judgements").uri,
        label_files=[str(labels)],
        resamples=100,
        permutations=100,
    )
    agree(config, evidence, lambda line: None)
    page = Page(build_report(run))
    assert not page.open
    assert not {"script", "img", "b"} & set(page.tags)
    assert "Where the judge and the reference grades are furthest apart: the first 10" in page.words
    assert "Krippendorff's α, ordinal" in page.words
    assert "Judges side by side" in page.words
    assert f"{name} 480 1.00" in page.words
    assert "lie far apart: real competitors are harder to put in order" in page.words


def test_an_empty_folder_gives_a_page_of_parts_not_run(tmp_path):
    """Nothing but missing parts: the page says so for each and warns that nothing is known."""
    words = Page(build_report(Folder(tmp_path / "nothing"))).words
    assert words.count("Not run: the run folder holds nothing of") == 12
    assert "Nothing was ranked on held-out grades" in words
    assert "nothing is known about its labels" in words


@pytest.mark.parametrize(
    "missing",
    ["run.json", "pairs/table.json", f"judgements/{JUDGE}/table.json", "labels/replace/change.json",
     "labels/keep/change.json", "rerankers/keep/training.json", "judge/training.json", "evidence/agreement.json",
     "evidence/metrics.json", "evidence/gate.json", "calibration/calibration.json", "evidence/promises.json",
     "robustness/robustness.json", "estimate.json"],
)  # fmt: skip
def test_any_single_part_may_be_missing(tmp_path, missing):
    """A run without one of its files still gives a page, well-formed."""
    run = Folder(tmp_path / "run")
    make_run(run)
    run.remove(missing)
    assert not Page(build_report(run)).open


def test_planned_and_actual_stand_side_by_side(page):
    """96 s were planned and 120 taken, outside the interval; of 48,000 tokens 2 % more came."""
    planned = page.words.partition("Stages that were planned and have finished")[2].partition("in all")[0]
    assert "judge 1 min 36 s" in planned
    assert "2 min 00 s 1.25 48,000 48,960 1.02" in planned


@pytest.mark.parametrize("value", [[], 7, "text", {"stages": 7}, {"stages": [[]], "recipe": "x"}], ids=repr)
@pytest.mark.parametrize(
    "name", ["run.json", "evidence/agreement.json", "evidence/metrics.json", "labels/replace/change.json"]
)
def test_records_that_no_run_wrote_are_an_error_of_ours(tmp_path, whole_run, name, value):
    """Whoever can write into a run folder gets an error that names it, or a page that is whole, never a crash."""
    run = Folder(tmp_path / "run")
    shutil.copytree(whole_run.uri, run.uri)
    run.write_json(name, value)
    try:
        page = build_report(run)
    except InputError as error:
        said = str(error)
    else:
        said = ""
        assert not Page(page).open
    assert said == "" or (run.uri in said and "not as a run writes them" in said)


def test_quarantined_rows_are_counted_by_reason(tmp_path):
    """Rows that were quarantined while preparing appear with their reason."""
    folder = Folder(tmp_path) / "pairs"
    bad = {"stage": "prepare", "source": "docs.jsonl:3", "query_id": None, "doc_id": "d", "reason": "empty-text",
           "detail": "", "row": "{}"}  # fmt: skip
    writer = TableWriter(folder, "pairs", BINARY)
    writer.write(PAIRS.empty_table())
    writer.quarantine(pa.Table.from_pylist([bad, bad], schema=None).cast(QUARANTINE))
    writer.finish({"format": "beir"})
    words = Page(build_report(Folder(tmp_path))).words
    assert "empty-text 2" in words


def test_judge_quarantine_is_counted_from_the_manifest(tmp_path):
    """Rows in = rows + quarantined: the funnel shows both numbers of a judge."""
    run = Folder(tmp_path / "run")
    make_run(run)
    folder = run / "judgements" / JUDGE
    manifest = read_manifest(folder)
    about = manifest.about | {"quarantined_by_reason": {"prompt-too-long": 4}}
    fields = manifest.__dict__ | {"about": about, "quarantined": 4, "rows_in": manifest.rows + 4}
    write_manifest(folder, type(manifest)(**fields))
    assert "prompt-too-long 4" in Page(build_report(run)).words


def test_weak_labels_are_shown_before_the_judge(tmp_path):
    """A judge that learned written queries first: how many were written and kept, and its training beside the other."""
    run = Folder(tmp_path / "run")
    make_run(run)
    funnel = {"written": 2000, "in_leave_out": 3, "too_far": 1100, "kept": 897}
    _write(run / "weak", "pairs", BINARY, PAIRS.empty_table(), {"label_source": "generated", "funnel": funnel,
           "queries": 880, "model": "smollm2-135m-instruct"})  # fmt: skip
    (run / "judge_weak").write_json("training.json", _training(np.random.default_rng(0), None))
    words = Page(build_report(run)).words
    assert "queries written 2,000 by smollm2-135m-instruct" in words
    assert "kept 897; 3 in the test or held-out; 1,100 too far from their document" in words
    assert "judge, on weak labels smollm2-135m-instruct grade token 60" in words
