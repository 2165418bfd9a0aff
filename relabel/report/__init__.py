"""One HTML page about a run, from the run folder's files alone: one file a section, opens offline.

A section turns the run's facts into blocks (`blocks.py`); `page.html.j2` renders blocks with autoescape, so text from
documents and queries can never become markup. A part of the run that is missing is shown as not run.

Run: `relabel report RUN`
"""
