"""Precision that is promised for changed labels: thresholds learned on human grades, and what they achieved elsewhere.

`learn` finds the thresholds of the rule `at-precision` and writes `promise.json`, `kept` holds them against other human
grades and writes `promises.json`. Invariant: what is tested was not looked at before (`risk_control`).
"""
