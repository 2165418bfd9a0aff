"""Planning: what a recipe will take before it is run, and what a cluster would take for more than fits here.

    work (rows, tokens) × rates (a second, an actor) + start-up → seconds, actor hours, money; each with an interval

`relabel plan` wires it; `python -m relabel.planning.capacity` renders the capacity model of docs/scale.md.
"""
