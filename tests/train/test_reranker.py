"""The re-ranker without the loop: batches, scores, export that sentence-transformers opens, splits, refusals."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from relabel.errors import ConfigError, InputError
from relabel.scoring import score_texts
from relabel.storage import Folder
from tests.train.encoders import tiny_encoder
from tests.train.tables import TOPICS, topic_pairs, write_labels, write_pairs
from train.config import TrainingConfig
from train.encoders import encoder_pooling
from train.judge_config import JudgeTrainingConfig
from train.loop import Ranks, learning_rate_share
from train.losses import LOSSES
from train.record import RECORD, STARTED, finished
from train.reranker import PADDED_SHARE, VALIDATION, RerankerConfig, RerankerTask, _human_validation, _split
from train.supervision import GROUPS

ALONE = Ranks(0, 1, "cpu")
architectures = pytest.mark.parametrize("architecture", ["cross-encoder", "bi-encoder"])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture
def task(encoder, tmp_path):
    """A task on the tiny encoder."""

    def build(architecture: str = "bi-encoder", model=encoder, **options) -> RerankerTask:
        config = RerankerConfig(labels="unused", model=str(model), architecture=architecture, max_length=32, **options)
        return RerankerTask(config, Folder(tmp_path / "supervision"))

    return build


def groups(*documents: list[str]) -> pa.Table:
    """One group a list; the first document of each is relevant."""
    rows = [
        {
            "query": f"{TOPICS[number]} number {number}",
            "documents": texts,
            "labels": [1.0] + [0.0] * (len(texts) - 1),
            "weights": [1.0] * len(texts),
        }
        for number, texts in enumerate(documents)
    ]
    return pa.Table.from_pylist(rows, schema=GROUPS)


@architectures
def test_scores_do_not_depend_on_the_batch(task, architecture):
    """A group's loss is the same alone and beside a longer, wider group: padding of tokens and groups is masked."""
    built = task(architecture)
    torch.manual_seed(0)
    model = built.build_model().eval()
    one, two = ["apple stone", "river"], ["river " * 20, "paper", "cloud stone", "music"]
    together = built.loss(model, built.collate(groups(one, two))).item()
    alone = [built.loss(model, built.collate(groups(one, two).slice(number, 1))).item() for number in (0, 1)]
    assert together == pytest.approx(np.mean(alone), abs=1e-5)


@architectures
@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss_trains_both_architectures(task, architecture, loss):
    """Each loss falls in a few steps and moves every trained parameter group."""
    built = task(architecture, loss=loss, learning_rate=3e-3)
    torch.manual_seed(0)
    model = built.build_model()
    parameters = built.parameter_groups(model)
    optimizer = torch.optim.AdamW(parameters)
    batch = built.collate(groups(["apple", "stone", "paper"], ["river", "cloud"], ["stone", "music", "tree", "snow"]))
    before = [group["params"][0].detach().clone() for group in parameters]
    losses = []
    for _ in range(12):
        loss_now = built.loss(model, batch)
        optimizer.zero_grad()
        loss_now.backward()
        optimizer.step()
        losses.append(loss_now.item())
    assert losses[-1] < losses[0]
    moved = [not torch.equal(old, group["params"][0]) for old, group in zip(before, parameters, strict=True)]
    offset_only = architecture == "bi-encoder" and not LOSSES[loss].pointwise
    assert all(moved) or offset_only


@architectures
def test_export_opens_in_sentence_transformers(task, tmp_path, architecture):
    """The exported folder opens in sentence-transformers with the length limit, and scores as in training."""
    from sentence_transformers import CrossEncoder, SentenceTransformer

    built = task(architecture)
    torch.manual_seed(3)
    model = built.build_model().eval()
    queries = [f"{topic} number 1" for topic in TOPICS[:6]]
    documents = [" ".join(TOPICS[number:] * (1 + number)) + "." for number in range(6)]
    with torch.inference_mode():
        trained = np.array(built._scores(model, ALONE, queries, documents))
    built.export(model, tmp_path, "float32")
    folder = tmp_path / "model"
    if architecture == "cross-encoder":
        opened = CrossEncoder(str(folder), device="cpu")
        scores = opened.predict(list(zip(queries, documents, strict=True)))
        assert isinstance(opened.activation_fn, torch.nn.Identity)
    else:
        opened = SentenceTransformer(str(folder), device="cpu")
        scores = (opened.encode(queries) * opened.encode(documents)).sum(1)
        trained = (trained - model.offset.item()) / model.scale.item()
    assert opened.max_seq_length == 32
    np.testing.assert_allclose(scores, trained, atol=1e-4)
    np.testing.assert_allclose(score_texts(folder, queries, documents, dtype="float32"), trained, atol=1e-4)
    np.testing.assert_allclose(score_texts(folder, queries, documents, dtype="bfloat16"), trained, atol=0.05)


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_untrained_bi_encoder_scores_as_its_source(tmp_path, task, pooling):
    """Before training the bi-encoder gives the cosine of the folder it starts from, mean or cls pooling."""
    source = tiny_encoder(tmp_path / "source", pooling)
    built = task(model=source)
    model = built.build_model().eval()
    queries, documents = ["apple number 1", "river"], ["apple stone.", "music tree snow"]
    with torch.inference_mode():
        scores = np.array(built._scores(model, ALONE, queries, documents))
    cosine = (scores - model.offset.item()) / model.scale.item()
    np.testing.assert_allclose(cosine, score_texts(source, queries, documents, dtype="float32"), atol=1e-5)


def test_other_pooling_is_refused(tmp_path):
    """An encoder that pools in a way we do not train is refused, not trained as something else."""
    with pytest.raises(InputError, match="another pooling than mean or cls"):
        encoder_pooling(tiny_encoder(tmp_path / "max", "max_tokens"))


def test_validation_is_the_same_for_any_number_of_workers(task):
    """Each worker scores its share, all call the model equally often, and together they score every pair once."""
    built = task(batch=1, group=2)
    model = built.build_model().eval()
    queries, documents = [f"{topic}" for topic in TOPICS[:9]], [f"{topic} stone" for topic in TOPICS[3:12]]
    with torch.inference_mode():
        alone = built._scores(model, ALONE, queries, documents)

    class Pair(Ranks):
        def gathered(self, values):
            shares.append(values)
            return [value for share in shares for value in share]

    shares, calls = [], []
    counted = torch.nn.Module()
    counted.forward = lambda inputs: (calls.append(1), model(inputs))[1]
    with torch.inference_mode():
        for rank in (0, 1):
            together = built._scores(counted, Pair(rank, 2, "cpu"), queries, documents)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert len(calls) == 4
    assert sum(map(len, shares)) == 9


@architectures
def test_lengths_are_the_tokens_of_a_batch(task, architecture, monkeypatch):
    """A group's length is the tokens that its batch has, cut to the limit, and a share of those with padding."""
    monkeypatch.setattr("train.reranker.MEASURED_AT_ONCE", 2)
    built = task(architecture)
    rows = groups(["apple stone", "river"], ["river " * 40, "paper", "cloud stone"], ["tree"])
    expected = []
    for number in range(rows.num_rows):
        sides = built.collate(rows.slice(number, 1))["inputs"]
        tokens = {name: side["attention_mask"].sum(1) for name, side in sides.items() if name != "places"}
        own = int(tokens["queries"].sum()) if "queries" in tokens else 0
        documents = tokens["documents" if "queries" in tokens else "pairs"]
        padded = own + int(documents.max()) * len(documents)
        expected.append(int(own + int(documents.sum()) + PADDED_SHARE * padded))
    assert built.row_lengths(rows) == expected
    assert expected[1] > 2 * expected[0]


def test_held_out_queries(tmp_path):
    """Queries held out of the labels are not trained on; their labelled rows are what validation reads."""
    rows = topic_pairs(queries=12, documents=4)
    labels = Folder(tmp_path / "labels")
    write_labels(labels, rows)
    split, held = _split(RerankerConfig(labels=labels.uri, validation_fraction=0.4), labels, None)
    assert 0 < len(split.validation) < 12
    assert held.num_rows == 4 * len(split.validation)
    assert held.schema == VALIDATION


def test_human_validation_queries_are_not_trained_on(tmp_path):
    """With a table of human labels, its queries leave the training set, recognised by their text."""
    rows = topic_pairs(queries=6, documents=4)
    labels, people = Folder(tmp_path / "labels"), Folder(tmp_path / "people")
    write_labels(labels, rows)
    write_pairs(people, [row | {"query_id": f"other-{row['query_id']}"} for row in rows[:8]])
    split, held = _split(RerankerConfig(labels=labels.uri), labels, _human_validation(people.uri))
    assert (len(split.train), len(split.validation)) == (4, 2)
    assert held["label"].to_pylist()[:4] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_another_configuration_in_the_same_folder(tmp_path):
    """A folder that holds another training is refused by the name of the field; what changes no result may differ."""
    out, log = Folder(tmp_path), []
    config = RerankerConfig(labels="labels")
    assert finished(out, config, {"labels": 10}, log.append) is None
    assert finished(out, config.model_copy(update={"threads": 3, "workers": 2}), {"labels": 10}, log.append) is None
    with pytest.raises(ConfigError, match="loss: found a training begun with 'listnet', now 'bce'"):
        finished(out, config.model_copy(update={"loss": "bce"}), {"labels": 10}, log.append)
    with pytest.raises(ConfigError, match="labels: found a training begun with 10, now 11"):
        finished(out, config, {"labels": 11}, log.append)


def test_restart_clears_the_folder(tmp_path):
    """With `restart` another configuration starts anew, and nothing of the old training stays."""
    out = Folder(tmp_path)
    finished(out, RerankerConfig(labels="labels"), {}, print)
    out.write_bytes("checkpoints/step-00000005/state.json", b"{}")
    out.write_json(RECORD, {})
    restarted = RerankerConfig(labels="labels", loss="bce", restart=True)
    assert finished(out, restarted, {}, print) is None
    assert out.names(recursive=True) == [STARTED]


def test_finished_training_returns_at_once(tmp_path):
    """A folder with a record of the same configuration is done."""
    out, log = Folder(tmp_path), []
    config = RerankerConfig(labels="labels")
    finished(out, config, {}, log.append)
    out.write_json(RECORD, {"steps": 7})
    assert finished(out, config, {}, log.append) == {"steps": 7}
    assert log == [f"{out.uri}: finished before, nothing to do"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss": "softmax"}, "loss: found 'softmax'; wanted one of bce, mse, ranknet, listnet, lce"),
        ({"batch": 8, "workers": 3}, "a batch that the 3 workers can share evenly, not 8"),
        ({"batch": 8, "micro_batch": 3}, "a micro_batch that divides each worker's share 8, not 3"),
        ({"grup": 4}, "unknown key 'grup'"),
        ({"architecture": "colbert"}, "'cross-encoder' or 'bi-encoder'"),
    ],
)
def test_refused_configurations(values, message):
    """A field that cannot be is refused with what was found and what is wanted."""
    with pytest.raises(ConfigError, match=message):
        RerankerConfig.load({"labels": "labels"} | values, "recipe.yaml")


def test_learning_rate():
    """The rate rises linearly to its peak, then falls linearly to almost nothing; it never exceeds the peak."""
    shares = [learning_rate_share(step, 100, 0.1) for step in range(100)]
    assert shares[0] == pytest.approx(0.1)
    assert shares[9] == shares[10] == max(shares) == 1.0
    assert shares[-1] == pytest.approx(1 / 90)
    assert all(np.diff(shares[10:]) <= 0)
    assert learning_rate_share(0, 5, 0.0) == 1.0


def test_shared_fields_have_one_meaning():
    """Rows at once are an even part of the worker's share that is not too many pairs, unless a micro-batch is given."""
    assert TrainingConfig(batch=16, workers=2).rows_at_once == 8
    assert TrainingConfig(batch=16, workers=2, micro_batch=4).rows_at_once == 4
    assert RerankerConfig(labels="", batch=24, group=8).rows_at_once == 8
    assert RerankerConfig(labels="", batch=3, group=100).rows_at_once == 1
    assert JudgeTrainingConfig(pairs="", batch=20).rows_at_once == 5
    assert JudgeTrainingConfig(pairs="", max_document_tokens=96, max_query_tokens=32).rows_at_once == 16
    several = {"pairs": "", "batch": 8, "max_document_tokens": 100, "max_query_tokens": 30, "other_queries": 5}
    assert JudgeTrainingConfig(**several, prompt="terse-0-3").rows_at_once == 8
    assert JudgeTrainingConfig(**several, prompt="graded-0-3").rows_at_once == 2  # the document follows each query
