"""Peak memory of training and scoring rows from an array, a memory map or batches, each in a process of its own.

python benchmarks/memory.py {array,map,batches} [--rows N]

The first number is the peak of the process's own memory (RssAnon, MiB, over what it had before the data), which pages
of a mapped file are no part of: the system takes those away when it needs them. Linux only.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import elbokit as ek

BLOCK = 1 << 14


def own_memory():
    """MiB of this process that are not pages of a file."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


class Peak:
    """The largest `own_memory` of a block, looked up every 2 ms."""

    def __enter__(self):
        self.before = self.most = own_memory()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._over.wait(0.002):
            self.most = max(self.most, own_memory())

    def __exit__(self, *raised):
        self._over.set()
        self._thread.join()

    @property
    def growth(self):
        return self.most - self.before


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("array", "map", "batches"))
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--double", action="store_true", help="rows of float64")
    parser.add_argument("--folder", help="where files are put")
    given = parser.parse_args()
    dtype = np.float64 if given.double else np.float32

    def blocks():
        for first in range(0, given.rows, BLOCK):
            rows = min(BLOCK, given.rows - first)
            yield ek.random.normal((rows, given.columns), key=0, first_row=first, dtype=dtype)

    vae = ek.VAE(16, hidden=(given.hidden,))
    # Pools and code are there before anything is counted.
    vae.fit(next(blocks()), epochs=1, progress=False)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        batches = ek.Batches(blocks, folder=given.folder)
        if given.kind == "map":
            path = Path(folder, "rows.npy")
            mapped = np.lib.format.open_memmap(path, "w+", dtype, (given.rows, given.columns))
            for block, rows in enumerate(blocks()):
                mapped[block * BLOCK : block * BLOCK + len(rows)] = rows
            del mapped
        with Peak() as peak:
            if given.kind == "array":
                X = np.vstack(list(blocks()))
            elif given.kind == "map":
                X = np.load(path, mmap_mode="r")
            else:
                X = batches
            started = time.perf_counter()
            history = vae.fit(X, epochs=given.epochs, validation=0.0, progress=False)
            trained = time.perf_counter()
            vae.elbo(X, num_particles=1)
            scored = time.perf_counter()
        total = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{peak.growth:.1f} MiB of its own for {given.rows * given.columns * dtype().itemsize / 2**20:.0f} MiB of rows "
        f"({given.kind}); {total:.0f} MiB in all with mapped pages; fit {trained - started:.1f} s, of which epochs "
        f"{sum(history.seconds):.1f} s ({np.mean(history.rows_per_second):,.0f} rows a second); "
        f"scored {given.rows / (scored - trained):,.0f} rows a second"
    )


if __name__ == "__main__":
    main()
