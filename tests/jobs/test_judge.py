"""The judge stage through Ray: on disk and on S3, with vLLM and its reference; judges of every architecture family."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.adjust import adjust
from jobs.judge import SHARD_ROWS, judge, shard_rows
from relabel.errors import InputError, LedgerError
from relabel.judges import JudgeConfig, load_judge
from relabel.labels import AdjustConfig
from relabel.storage import Folder
from relabel.tables import read_parts, read_whole
from tests.jobs.stage_runs import write_pairs
from tests.relabel.language_models import FAMILIES, tiny_model

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

PASSAGES = (
    "The Eiffel Tower is 330 metres tall and stands in Paris.",
    "Bread rises because yeast makes gas while the dough rests in a warm place.",
    "A tower is a tall, narrow building.",
    "Water boils at 100 degrees Celsius at sea level; on high mountains it boils earlier.",
)
QUERIES = ("how tall is the eiffel tower", "why does bread rise", "boiling point of water", "what is a tower")


@pytest.fixture
def some_pairs(make_pairs):
    """Sixteen real sentences, four queries each, one empty document, one very long one."""
    rows = [(f"q{i}", f"d{j}", q, p, float(i == j)) for i, q in enumerate(QUERIES) for j, p in enumerate(PASSAGES)]
    rows += [("q3", "empty", QUERIES[3], " ", 0.0), ("q3", "long", QUERIES[3], "a tall tower " * 2000, 0.0)]
    return make_pairs(rows)


def test_judge_and_adjust_on_disk_and_on_s3(tmp_path, s3, some_pairs):
    """The same calls on either storage: books balance, the empty document is quarantined, labels keep their history;
    judgements and labels are the same rows on both."""
    places = [Folder(tmp_path), Folder(s3)]
    for base in places:
        write_pairs(base / "pairs", some_pairs)
        config = JudgeConfig(pairs=(base / "pairs").uri, engine="lexical", shard_rows=5)
        manifest = judge(config, base / "judgements")
        assert (manifest.rows_in, manifest.rows, manifest.quarantined) == (18, 17, 1)
        assert manifest.about["quarantined_by_reason"] == {"empty-text": 1}
        quarantined = (base / "judgements").read_table("quarantine/part-00003.parquet").to_pylist()
        assert [(row["doc_id"], row["reason"], row["source"]) for row in quarantined] == [
            ("empty", "empty-text", "part-00000.parquet:16")
        ]
        again = judge(config, base / "judgements", log=(lines := []).append)
        assert again == manifest
        assert any("are done already" in line for line in lines)
        adjusted = AdjustConfig(
            pairs=(base / "pairs").uri, judgements=(base / "judgements").uri, rule="blend", parameters={"alpha": 0.5}
        )
        labels = adjust(adjusted, base / "labels")
        assert labels.rows == 18
        rows = read_whole(base / "labels", "labels")
        assert rows["original_label"].to_pylist() == some_pairs["label"].to_pylist()
        assert rows["action"].to_pylist()[16] == "unjudged"
        assert (base / "labels").exists("change.json")
    for kind in ("judgements", "labels"):
        disk, cloud = (read_whole(base / kind, kind) for base in places)
        assert disk.equals(cloud), kind


def test_judgements_made_over_other_parts_are_joined_by_key(tmp_path, some_pairs):
    """Adjusting joins judgements of the same pairs though the table was cut into other parts."""
    base = Folder(tmp_path)
    write_pairs(base / "pairs", some_pairs)
    write_pairs(base / "other", some_pairs.take(list(range(17, -1, -1))), part_rows=4)
    judge(JudgeConfig(pairs=(base / "other").uri, engine="lexical", shard_rows=5), base / "judgements")
    labels = adjust(AdjustConfig(pairs=(base / "pairs").uri, judgements=(base / "judgements").uri), base / "labels")
    assert labels.about["actions"] == {"replaced": 17, "unjudged": 1}
    assert next(read_parts(base / "labels", "labels"))["doc_id"].to_pylist() == some_pairs["doc_id"].to_pylist()


def test_labels_are_of_one_table_of_judgements(tmp_path, some_pairs):
    """The same judge asked again may have judged what it could not before: its labels go into a folder of their own."""
    base = Folder(tmp_path)
    write_pairs(base / "pairs", some_pairs)
    for name in ("first", "second"):
        judge(JudgeConfig(pairs=(base / "pairs").uri, engine="lexical"), base / name)
    configs = [AdjustConfig(pairs=(base / "pairs").uri, judgements=(base / name).uri) for name in ("first", "second")]
    labels = adjust(configs[0], base / "labels")
    assert adjust(configs[0], base / "labels") == labels
    with pytest.raises(LedgerError, match="choose another output folder"):
        adjust(configs[1], base / "labels")


@pytest.mark.timeout(600)
def test_vllm_equals_its_reference(tmp_path, s3, some_pairs):
    """Real weights in float32: vLLM through the whole pipeline on S3 and transformers agree within 0.02 everywhere,
    and graded prompts put their mass where the grades are."""
    write_pairs(Folder(s3) / "pairs", some_pairs)
    judged = {}
    for engine in ("vllm", "transformers"):
        config = JudgeConfig(
            pairs=f"{s3}/pairs", engine=engine, dtype="float32", kv_cache_gib=1, max_document_tokens=200, shard_rows=9
        )
        judge(config, Folder(f"{s3}/{engine}"))
        judged[engine] = read_whole(Folder(f"{s3}/{engine}"), "judgements")
    vllm, reference = (np.array(judged[engine]["probabilities"].to_pylist()) for engine in judged)
    assert np.abs(vllm - reference).max() <= 0.02
    assert vllm.std(axis=0).max() > 0.01, "a judge that says the same of everything proves nothing"
    for name in ("prompt_tokens", "truncated"):
        assert judged["vllm"][name].to_pylist() == judged["transformers"][name].to_pylist()
    assert judged["vllm"]["truncated"].to_pylist() == [False] * 16 + [True]
    masses = np.abs(np.array(judged["vllm"]["off_label_mass"]) - np.array(judged["transformers"]["off_label_mass"]))
    assert masses.max() <= 0.02


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_judged(family, tmp_path, some_pairs):
    """A model of each architecture with its own chat template gives distributions for all pairs."""
    config = JudgeConfig(
        engine="transformers", model=str(tiny_model(family, tmp_path)), prompt="graded-1-4", dtype="float32",
        max_document_tokens=24, num_gpus=0,
    )  # fmt: skip
    judged = load_judge(config).judge(some_pairs, "part-00000.parquet:0")
    assert (judged.judgements.num_rows, judged.quarantined.num_rows) == (17, 1)
    probabilities = np.array(judged.judgements["probabilities"].to_pylist())
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert judged.judgements["score"].to_pylist()[0] == pytest.approx(probabilities[0] @ [1, 2, 3, 4], abs=1e-4)


def test_the_judge_id_follows_what_is_judged_with(tmp_path):
    """Another model, prompt, example, dtype or budget is another judge; another shard size is the same."""
    from relabel.judges.identity import judge_id

    one, two = tiny_model("llama", tmp_path / "one"), tiny_model("qwen", tmp_path / "two")
    shown = tmp_path / "examples.jsonl"
    shown.write_text('{"query": "a", "document": "b", "grade": 1}')
    base = JudgeConfig(engine="transformers", model=str(one), prompt="binary")
    changed = [
        {"model": str(two)},
        {"prompt": "terse-0-3"},
        {"max_document_tokens": 99},
        {"examples": str(shown)},
        {"engine": "vllm"},
    ]
    ids = [judge_id(base, "float32"), judge_id(base, "bfloat16")]
    ids += [judge_id(base.model_copy(update=update), "float32") for update in changed]
    assert len(set(ids)) == len(ids)
    assert judge_id(base.model_copy(update={"shard_rows": 3, "actors": 2}), "float32") == ids[0]


@pytest.mark.parametrize(
    ("flags", "dtype", "kind"),
    [
        ({"avx2"}, "auto", "cpu"),
        ({"avx512_bf16"}, "auto", "cpu with bfloat16"),
        ({"avx512_bf16"}, "float32", "cpu"),
        ({"avx2"}, "bfloat16", "cpu"),
    ],
)
def test_a_cpu_that_is_faster_in_bfloat16_gets_more_rows_a_shard(monkeypatch, flags, dtype, kind):
    """A shard is half a minute of work: what the CPU multiplies in counts where the judge computes in it."""
    monkeypatch.setattr("relabel.hardware.cpu_flags", lambda: flags)
    rows, reason = shard_rows(JudgeConfig(engine="vllm", model="m", prompt="binary", num_gpus=0, dtype=dtype))
    assert (rows, "bfloat16" in reason) == (SHARD_ROWS[kind], "bfloat16" in kind)


@pytest.mark.parametrize("damage", ["no config", "broken config", "pickled weights", "no tokenizer", "missing"])
def test_a_model_folder_that_cannot_be_used_is_refused(damage, tmp_path, some_pairs):
    """Each broken model folder gives one error before any actor starts."""
    model = tiny_model("llama", tmp_path / "model")
    write_pairs(Folder(tmp_path / "pairs"), some_pairs)
    messages = {
        "no config": "no config.json",
        "broken config": "found no JSON",
        "pickled weights": "pickled weights are refused",
        "no tokenizer": "no usable tokenizer",
        "missing": "no such folder",
    }
    if damage == "no config":
        (model / "config.json").unlink()
    elif damage == "broken config":
        (model / "config.json").write_text("{")
    elif damage == "pickled weights":
        (model / "model.safetensors").rename(model / "pytorch_model.bin")
    elif damage == "no tokenizer":
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (model / name).unlink()
    else:
        model = tmp_path / "nowhere"
    config = JudgeConfig(pairs=str(tmp_path / "pairs"), engine="transformers", model=str(model), prompt="binary")
    with pytest.raises(InputError, match=messages[damage]):
        judge(config, Folder(tmp_path / "out"))
    assert not Folder(tmp_path / "out").exists()


def test_another_judge_in_the_same_folder_is_refused(tmp_path, some_pairs):
    """Judgements of two judges never share a folder."""
    write_pairs(Folder(tmp_path / "pairs"), some_pairs)
    config = JudgeConfig(pairs=str(tmp_path / "pairs"), engine="lexical", prompt="graded-0-3")
    judge(config, Folder(tmp_path / "out"))
    with pytest.raises(LedgerError, match="choose another output folder"):
        judge(config.model_copy(update={"prompt": "binary"}), Folder(tmp_path / "out"))
