"""Written queries: a language model writes a query for each document, an encoder checks it, both become weak labels.

    pairs table (its documents) → documents/ → written/ (a query for each) → pairs: a query with its own document (1)
    and documents that are near but not its own (0)

`relabel generate-queries` runs it; `relabel train-judge` learns from the pairs before it learns from human grades.
"""

from relabel.generation.config import GenerateConfig

__all__ = ["GenerateConfig"]
