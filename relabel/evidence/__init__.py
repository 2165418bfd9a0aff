"""What re-rankers are worth on human judgements: ranking measures, comparisons, tests, plain words.

`evaluate` reads tables and writes `metrics.json`; the other modules are pure functions of arrays. Invariant: labels
made by a judge, and queries seen in training, are refused as evidence (`circularity`), and every value comes with an
interval over queries (`significance`). Judges against people: `relabel.agreement`.
"""
