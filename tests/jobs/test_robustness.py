"""The robustness stage through Ray, with a judge that is known to be fooled by words."""

from __future__ import annotations

import pytest

from jobs.robustness import robustness
from relabel.errors import ConfigError, InputError, LedgerError
from relabel.judges import JudgeConfig
from relabel.records import Scale
from relabel.robustness import PERTURBATIONS
from relabel.robustness.config import RobustnessConfig
from relabel.storage import Folder
from relabel.tables import TableWriter, read_manifest, read_whole
from tests.jobs.stage_runs import write_pairs

ANSWERS = (
    "The tower is 330 metres tall. It stands in Paris, near the river.",
    "Bread rises because yeast makes gas. The dough rests in a warm place.",
    "Water boils at 100 degrees at sea level. On mountains it boils earlier.",
    "A tower is a narrow building. Bells may hang in it.",
)
QUERIES = ("how tall is the eiffel tower", "why does bread dough rise", "when does water boil", "narrow bell building")


@pytest.fixture
def pairs(make_pairs):
    """Each query with each answer, relevant where they belong together, and one document without text."""
    rows = [(f"q{i}", f"d{j}", q, a, float(i == j)) for i, q in enumerate(QUERIES) for j, a in enumerate(ANSWERS)]
    return make_pairs([*rows, ("q3", "empty", QUERIES[3], " ", 0.0)], source="human")


@pytest.mark.integration
@pytest.mark.usefixtures("ray_session")
def test_the_lexical_judge_is_fooled_by_words_and_by_nothing_else(tmp_path, pairs):
    """All perturbations go through the judge stage; repeating the query's words moves every grade up, case none; the
    same command again judges nothing twice, and another judge or choice of pairs in the folder is refused."""
    source, out = Folder(tmp_path / "pairs"), Folder(tmp_path / "out")
    write_pairs(source, pairs)
    config = RobustnessConfig(
        pairs=source.uri, judge=JudgeConfig(engine="lexical", shard_rows=100), max_pairs=17, resamples=200
    )
    found = robustness(config, out, log=(lines := []).append)
    entries = {entry["name"]: entry for entry in found["perturbations"]}
    assert list(entries) == list(PERTURBATIONS)
    assert found["pairs"] == 16, "the empty document cannot be judged"
    for name in ("query-repeated", "keyword-stuffing"):
        assert entries[name]["broken"]
        assert entries[name]["irrelevant"]["movement"]["low"] > 1
        assert entries[name]["all"]["success"]["value"] == 1
    for name in ("upper-case", "lower-case", "shuffled-sentences"):
        assert entries[name]["all"]["absolute_movement"]["value"] == 0
        assert not entries[name]["broken"]
    assert entries["first-half"]["all"]["movement"]["high"] <= 0
    assert entries["query-repeated"]["unjudged"] == 1, "the original of that variant could not be judged"
    assert out.read_json("robustness.json") == found
    judgements = read_manifest(out / "judgements", "judgements")
    assert judgements.rows_in == read_manifest(out / "pairs", "pairs").rows
    assert judgements.rows + judgements.quarantined == judgements.rows_in
    assert set(read_whole(out / "pairs", "pairs")["label_source"].to_pylist()) == {"human", "perturbed"}
    table = lines[-1]
    assert all(name in table for name in PERTURBATIONS)
    assert found["verdict"][-1] in table
    assert robustness(config, out, log=(again := []).append) == found
    assert any("are done already" in line for line in again)
    with pytest.raises(ConfigError, match=r"seed: found 0, and now 1; wanted what its variants were made of"):
        robustness(config.model_copy(update={"seed": 1}), out)
    other = JudgeConfig(engine="lexical", prompt="graded-1-4")
    with pytest.raises(ConfigError, match=r"answer: found '3', and now '4'"):
        robustness(config.model_copy(update={"judge": other}), out)
    with pytest.raises(LedgerError, match="choose another output folder"):
        robustness(config.model_copy(update={"judge": JudgeConfig(engine="transformers", prompt="terse-0-3")}), out)


def test_pairs_without_a_scale_are_refused(tmp_path, pairs):
    """Without a scale nothing is relevant or irrelevant; the error comes before anything starts."""
    writer = TableWriter(Folder(tmp_path / "pairs"), "pairs")
    writer.write(pairs)
    writer.finish()
    config = RobustnessConfig(pairs=str(tmp_path / "pairs"), judge=JudgeConfig(engine="lexical"))
    with pytest.raises(InputError, match="a pairs table without a scale"):
        robustness(config, Folder(tmp_path / "out"))


def test_a_table_of_another_kind_is_refused(tmp_path):
    """Labels are no pairs."""
    TableWriter(Folder(tmp_path / "labels"), "labels", Scale((0, 1), 1)).finish()
    config = RobustnessConfig(pairs=str(tmp_path / "labels"), judge=JudgeConfig(engine="lexical"))
    with pytest.raises(InputError, match="a table of labels; wanted a table of pairs"):
        robustness(config, Folder(tmp_path / "out"))
