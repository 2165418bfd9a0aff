"""Summary: what was done, what it brought, whether it can be trusted; plain sentences, warnings first-class."""

from __future__ import annotations

from relabel.report.blocks import Block, Bullets, Heading, Notice, Section, Text
from relabel.report.run_files import Run
from relabel.report.words import plural, share


def section(run: Run) -> Section:
    blocks: list[Block] = [Text(" ".join(_done(run))), Heading("The judge"), *_trust(run), Heading("The rankings")]
    if run.metrics:
        blocks += [Bullets(run.metrics.get("findings") or ["Systems were measured, none was compared."])]
        blocks += [Notice(line, "warn") for line in run.metrics.get("warnings") or []]
    else:
        blocks.append(Notice("No ranking was measured on human grades: what relabelling brought is not known.", "warn"))
    return Section("summary", "What was done, and can it be trusted?", blocks)


def _done(run: Run) -> list[str]:
    sentences = []
    if run.pairs:
        source = run.pairs.about.get("source") or run.pairs.about.get("format")
        sentences.append(
            f"{plural(run.pairs.rows, 'query–document pair')} were prepared" + (f" from {source}." if source else ".")
        )
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
            f"Rankings were measured on {plural(run.metrics['queries'], 'query', 'queries')} with human grades."
        )
    return sentences or ["This run folder holds no finished stage yet."]


def _trust(run: Run) -> list[Block]:
    if not run.agreement:
        return [Notice("The judge was not compared with people: nothing is known about its labels.", "warn")]
    tone = "good" if run.agreement.get("trust") == "yes" else "warn"
    *facts, conclusion = run.agreement["verdict"]
    return [Bullets(facts), Notice(conclusion, tone)]
