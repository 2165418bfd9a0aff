"""`relabel fit-panel` as a module, for `ray job submit`: several judges become one (`relabel.panel.fit`).

python -m jobs.fit_panel --judgements s3://bucket/a s3://bucket/b --human s3://bucket/human --out s3://bucket/panel
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["fit-panel", *sys.argv[1:]]))
