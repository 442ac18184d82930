"""All benchmarks, one after the other, on a folder of photographs of 375 pixels or more.

python -m tests.benchmarks PHOTOGRAPHS
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from inceptcli.data.folders import find_images


def main() -> None:
    """Run each in a process of its own; exits with 1 when one failed."""
    photographs = Path(sys.argv[1])
    programs: list[tuple[str, ...]] = [
        ("start", str(find_images(photographs)[0]), str(photographs)),
        ("forward",),
        ("many_photographs", str(photographs)),
        ("fast_decode", str(photographs)),
        ("training_input", str(photographs)),
        ("training_step",),
        ("training_loop",),
        ("gpu",),
        ("activations",),
        ("batch_norm_memory",),
        ("checkpointing",),
        ("growth", "irv1", "irv2", "iv4", "--images", str(photographs)),
        ("listing", str(photographs)),
        ("prediction_scale",),
        ("pages", str(photographs)),
        ("measurements",),
    ]
    failed = []
    for name, *arguments in programs:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"tests.benchmarks.{name}", *arguments]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
