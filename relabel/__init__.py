"""relabel: re-judge ranking data with an LLM, turn judgements into better labels, and show what that was worth.

The library holds everything that needs no cluster: table schemas, formats, prompts, judges, rules, statistics,
report. Importing it loads neither Ray nor vLLM nor torch. Training lives in `train`, entry points in `jobs`.
"""

__version__ = "0.1.0"
