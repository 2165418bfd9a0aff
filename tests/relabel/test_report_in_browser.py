"""The report in a real headless browser: text of documents is shown as text, whatever is in it, and nothing of it runs.

Needs Chromium or Chrome (Debian: `apt-get install chromium-headless-shell`); skips, saying so, where there is none.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from relabel.report.build import build_report
from relabel.storage import Folder
from tests.relabel.test_report import Page, make_run

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
#: What a script does where it is let run: visible in the page that the browser gives back.
SCRIPT = "document.title='pwned';document.documentElement.setAttribute('data-pwned','1')"
RUNS = (
    f"<script>{SCRIPT}</script></script><script>{SCRIPT}</script>"
    f'"><img src="x:" onerror="{SCRIPT}">\'><svg onload="{SCRIPT}"><animate onbegin="{SCRIPT}"/></svg>'
    f'<a href="javascript:{SCRIPT}" id="link">click</a><iframe srcdoc="<script>parent.{SCRIPT}</script>"></iframe>'
    f'</style></title></textarea><body onload="{SCRIPT}">'
)
#: A dialog and another page would be seen as well: the browser would not come back, or with that page.
HOSTILE = (
    f"{RUNS}<script>alert(1)</script><meta http-equiv='refresh' content='0;url=data:text/html,x'>"
    '<style>@import "x:"; body{display:none}</style> &lt;script&gt; {{ 7*7 }} <!-- -->'
)


@pytest.fixture(scope="module")
def browser() -> str:
    """The command of a browser."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no browser: apt-get install chromium-headless-shell")
    return found


def opened(browser: str, html: str) -> str:
    """The document as it is after the browser opened the page and ran what it runs."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "page.html").write_text(html, encoding="utf-8")
        command = [browser, "--headless", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom",
                   f"--user-data-dir={folder}/profile", "--no-first-run", "--disable-extensions"]  # fmt: skip
        if os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium refuses to start as root with it
        done = subprocess.run(
            [*command, (Path(folder) / "page.html").as_uri()], capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def ran(document: str) -> bool:
    return "data-pwned" in re.search(r"<html[^>]*>", document)[0] or "<title>pwned</title>" in document


def test_the_browser_runs_these_scripts_where_nothing_stops_them(browser):
    """The check below can fail: the same text as markup runs."""
    page = f"<!doctype html><html><head><title>page</title></head><body>{RUNS}</body></html>"
    assert ran(opened(browser, page))


def test_the_pages_policy_alone_stops_them(browser, tmp_path):
    """With the report's Content-Security-Policy none of it runs even where escaping had failed."""
    policy = re.search(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", build_report(Folder(tmp_path)))[0]
    assert "default-src 'none'" in policy
    page = f"<!doctype html><html><head>{policy}<title>page</title></head><body>{RUNS}</body></html>"
    assert not ran(opened(browser, page))


@pytest.fixture(scope="module")
def report(browser, tmp_path_factory) -> str:
    """The report of a run whose queries, titles, texts, labels, rules and judge are hostile, as the browser has it."""
    run = Folder(tmp_path_factory.mktemp("run"))
    make_run(run, HOSTILE)
    record = run.read_json("run.json")
    run.write_json("run.json", record | {"name": HOSTILE, "stages": [{"name": HOSTILE, "seconds": 1.0}]})
    for table in [name for name in run.names(suffix="table.json", recursive=True) if "labels" not in name]:
        values = run.read_json(table)
        values["about"] |= {"model": HOSTILE, "prompt": HOSTILE, "dataset": HOSTILE, "judge_id": HOSTILE}
        if "label_sources" in values["about"]:
            values["about"]["label_sources"] = {HOSTILE: 480}
        run.write_json(table, values)
    return opened(browser, build_report(run))


def test_nothing_of_a_hostile_document_runs(report):
    """No script ran, no dialog stood in the way, and no element, handler or link of the documents is in the page."""
    assert not ran(report)
    page = Page(report)
    assert not {"script", "img", "iframe", "animate"} & set(page.tags)
    assert (
        page.tags.count("body") == page.tags.count("head") == page.tags.count("style") == page.tags.count("title") == 1
    )
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value for name, value in page.attributes if name in ("href", "src", "srcdoc", "xlink:href")]
    assert links
    assert all(link.startswith("#") for link in links)


def test_a_hostile_document_is_shown_as_it_is_written(report):
    """A reader sees the tags themselves: in queries, titles and texts of examples, and in names."""
    words = Page(report).words
    start = f"<script>{SCRIPT}</script>"
    assert words.count(start) > 10
    assert "{{ 7*7 }}" in words
    for place in ("Query how do I treat", "Document Treatment"):
        assert re.search(rf"{place}[^<]{{0,40}}<script>", words), place
