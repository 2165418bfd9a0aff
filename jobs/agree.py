"""`relabel agree` as a module, for `ray job submit`: judges against people's grades (`relabel.agreement.agree`).

python -m jobs.agree --human s3://bucket/test --judgements s3://bucket/judgements --out s3://bucket/evidence
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["agree", *sys.argv[1:]]))
