"""`inceptcli`, but parts get a file every fifth of a second."""

from __future__ import annotations

from inceptcli.__main__ import main
from inceptcli.prediction.shares import part

if __name__ == "__main__":
    part.SECONDS = 0.2
    main()
