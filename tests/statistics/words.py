"""The generator's raw words without end, on standard output: what an outside battery reads.

    .venv/bin/python tests/statistics/words.py [key] | RNG_test stdin32 -tlmax 64GB

Words are in the machine's byte order, from block 0 of the key (0 unless given) on.
"""

import os
import sys
from itertools import count

import elbokit as ek

_BLOCKS = 1 << 16


def main() -> None:
    """Writes until the reader has had enough."""
    key = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    out = sys.stdout.fileno()
    try:
        for chunk in count():
            left = memoryview(ek.random.raw(4 * _BLOCKS, key=key, counter=chunk * _BLOCKS)).cast("B")
            while left:
                left = left[os.write(out, left) :]
    except BrokenPipeError:
        pass


if __name__ == "__main__":
    main()
