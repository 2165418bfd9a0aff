"""What a judge and re-rankers are worth on human judgements: agreement, ranking measures, tests, plain words.

`measure_judge` and `evaluate` read tables and write `agreement.json` and `metrics.json`; the other modules are pure
functions of arrays. Invariant: labels made by a judge, and queries seen in training, are refused as evidence
(`circularity`), and every value comes with an interval over queries (`significance`).
"""
