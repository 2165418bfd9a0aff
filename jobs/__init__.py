"""Entry points: one file a stage, thin; each runs as `relabel <stage>` and as `python -m jobs.<stage>`."""
