"""Several judges as one: their outputs are combined by an ordinal model that was fitted on human grades.

`fit` is the stage, `record` the file that it writes, `ordinal` the model, `cross_fit` its honest predictions,
`contributions` what each member is worth. The judge itself is `relabel.judges.panel`.
"""
