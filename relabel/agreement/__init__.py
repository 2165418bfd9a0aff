"""A judge against people: agreement with intervals, other judges beside it, disagreements to read, the gate.

`measure_judge` (in a run) and `agree` (a command, any qrels) read tables and files and write `agreement.json` and
`agree.json`; `gate` decides by the former; the other modules are functions of arrays. Invariant: labels made by a
judge, and queries that it has seen, never enter (`relabel.evidence.circularity`).
"""
