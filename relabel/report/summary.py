"""Summary: what was done, what it brought, whether it can be trusted; plain sentences, warnings first-class."""

from __future__ import annotations

from relabel.report.blocks import Block, Bullets, Heading, Notice, Section, Text
from relabel.report.run_files import Run
from relabel.words import plural, share


def section(run: Run) -> Section:
    blocks: list[Block] = [Text(" ".join(_done(run))), Heading("The judge"), *_trust(run), Heading("The rankings")]
    if run.metrics:
        blocks += [Bullets(run.metrics.get("findings") or ["Systems were measured, none was compared."])]
        blocks += [Notice(line, "warn") for line in run.metrics.get("warnings") or []]
    else:
        blocks.append(Notice("Nothing was ranked on held-out grades: what relabelling brought is not known.", "warn"))
    return Section("summary", "What was done, and can it be trusted?", blocks)


def _done(run: Run) -> list[str]:
    sentences = []
    if run.pairs:
        about = run.pairs.about
        queries = f" of {plural(about['queries'], 'query', 'queries')}" if about.get("queries") else ""
        source = str(about.get("dataset") or about.get("format") or "a table").rstrip("/").rsplit("/", 1)[-1]
        labelled = f", labelled by {' and '.join(about['label_sources'])}" if about.get("label_sources") else ""
        pairs = plural(run.pairs.rows, "query–document pair", "query–document pairs")
        verb = "was" if run.pairs.rows == 1 else "were"
        sentences.append(f"{pairs}{queries} {verb} prepared from {source}{labelled}.")
    for manifest in run.judgements.values():
        about = manifest.about
        judge = about.get("model") or about.get("engine") or "a judge"
        sentences.append(
            f"{plural(manifest.rows, 'pair')} were judged by {judge} with the prompt {about.get('prompt')}."
        )
    for labels in (labels for labels in run.changed if labels.rule != "keep"):
        sentences.append(f"The rule {labels.rule} changed {share(labels.change.get('share_changed'))} of the labels.")
    if run.rerankers:
        names = ", ".join(run.rerankers)
        sentences.append(f"{plural(len(run.rerankers), 're-ranker was', 're-rankers were')} trained: {names}.")
    if run.metrics:
        sentences.append(
            f"Rankings were measured on {plural(run.metrics['queries'], 'query', 'queries')} with held-out grades."
        )
    return sentences or ["This run folder holds no finished stage yet."]


def _trust(run: Run) -> list[Block]:
    if not run.agreement:
        return [Notice("The judge was not compared with any grades: nothing is known about its labels.", "warn")]
    tone = "good" if run.agreement.get("trust") == "yes" else "warn"
    *facts, conclusion = run.agreement["verdict"]
    return [Bullets(facts), Notice(conclusion, tone)]
