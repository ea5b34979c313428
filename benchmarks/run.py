"""Time elbokit beside NumPy, Numba, JAX and PyTorch, in one run; `make bench` calls this.

    python benchmarks/run.py                   # everything: the table, and what results/ keeps
    python benchmarks/run.py --quick           # every row from a few calls, to see that it runs; writes nothing
    python benchmarks/run.py --only gaussian   # one file's rows

A ratio is a peer's time over ours. Ours is a call from Python that makes new arrays, except where the row says
``out=``. JAX's arrays are its own before the clock starts, its functions are compiled, and its results are waited for.
A library that is not installed is named and left out.
"""

import argparse
import datetime as dt
import importlib
import json
import os
import platform
import re
import sys
import time
from pathlib import Path

import peers as peer_libraries
from harness import COPIED, FULL, OURS, QUICK, RAW_WORDS, SGEMM, measure

import elbokit as ek

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def main():
    stems = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few calls of each row, nothing written")
    parser.add_argument("--only", metavar="NAME", choices=stems, action="append", help=", ".join(stems))
    options = parser.parse_args()

    peers = peer_libraries.Peers(compile_torch=not options.quick)
    started = time.perf_counter()
    meter = Meter()
    measured = {}
    for stem in options.only or stems:
        measured[stem] = []
        for case in importlib.import_module(f"bench_{stem}").cases(peers):
            row = measure(case, QUICK if options.quick else FULL)
            peers.forget()
            measured[stem].append(row)
            print(f"{time.perf_counter() - started:5.0f} s  {summary(row)}", file=sys.stderr)

    rows = [row for part in measured.values() for row in part]
    where = circumstances(peers) | {"others": round(meter.others(), 2)}
    text = f"{table(rows)}\n\n{described(where)}\n"
    print(text)
    for line in shortfalls(rows):
        print(line)
    if options.quick:
        return
    RESULTS.mkdir(exist_ok=True)
    for stem, part in measured.items():
        kept = where | {"rows": [record(row) for row in part]}
        (RESULTS / f"{stem}.json").write_text(json.dumps(kept, indent=1) + "\n")
    if not options.only:
        (RESULTS / "table.md").write_text(text)


# The table


def table(rows):
    """A Markdown table: our time and rate, the best peer, and for each library the ratio of its fastest way."""
    head = ["work", "size", "elbokit", "best peer", "ratio", *peer_libraries.LIBRARIES]
    lines = [head, ["---", "---", "---:", "---:", *["---:"] * (1 + len(peer_libraries.LIBRARIES))]]
    for row in rows:
        best = row.best()
        lines.append(
            [
                row.case.work,
                row.case.size,
                ", ".join(part for part in (duration(row.ours), rate(row)) if part),
                f"{best} {duration(row.seconds(best))}",
                f"**{row.ratio(best):.2f}**",
                *(_library(row, name) for name in peer_libraries.LIBRARIES),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _library(row, name):
    best = row.best(name)
    return "–" if best is None else f"{row.ratio(best):.2f}"


def duration(seconds):
    for unit, name in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{1e9 * seconds:.0f} ns"


def rate(row):
    """Operations or bytes a second, or time a number; nothing for a mere call, or where none are counted."""
    case, seconds = row.case, row.ours
    if case.overhead or not (case.flops or case.numbers or case.bytes):
        return ""
    if case.flops:
        return f"{case.flops / seconds / 1e9:.0f} GFLOP/s ({100 * share_of_sgemm(row):.0f} %)"
    if case.numbers:
        return f"{1e9 * seconds / case.numbers:.2f} ns a number{_percent(share_of_limit(row))}"
    return f"{case.bytes / seconds / 1e9:.1f} GB/s{_percent(share_of_limit(row))}"


def _percent(share):
    return "" if share is None else f" ({100 * share:.0f} %)"


def share_of_limit(row):
    """What share of a copy's bandwidth, or of one thread's generator, our time comes to; None where unmeasured."""
    case = row.case
    if "copy" in row.rounds:
        # A copy reads and writes.
        return case.bytes / row.ours / (8 * COPIED / row.seconds("copy"))
    if "raw words" in row.rounds:
        return row.seconds("raw words") / RAW_WORDS * case.numbers / row.ours
    return None


def share_of_sgemm(row):
    return row.case.flops / row.ours / (2 * SGEMM**3 / row.seconds("sgemm"))


def summary(row):
    best = row.best()
    return f"{row.case.work} {row.case.size}: {duration(row.ours)}, {row.ratio(best):.2f} of {best}" + "".join(
        f"; {name} failed ({why})" for name, why in row.failed.items()
    )


def shortfalls(rows):
    """The rows that miss a ratio or an overhead that the project asks for, a line each."""
    for row in rows:
        case = row.case
        for which, least in case.targets.items():
            best = row.best("" if which == "best" else which)
            if best is not None and row.ratio(best) < least:
                yield f"below target: {case.work} {case.size}: {row.ratio(best):.2f} of {best}, {least:g} asked"
        if case.overhead:
            over, asked = row.ours - row.seconds(next(iter(case.beside))), duration(case.overhead)
            if over > case.overhead:
                yield f"below target: {case.work} {case.size}: {duration(over)} over an empty call, {asked} asked"


# The circumstances


class Meter:
    """How many cores other processes kept busy since it was made; 0 where the system does not say."""

    def __init__(self):
        self.start = self._now()

    @staticmethod
    def _now():
        stat = Path("/proc/stat")
        ticks = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:]] if stat.exists() else [0] * 8
        # User, nice, system, interrupts and what a host took: all but idle and waiting for a disk.
        busy = (sum(ticks[:3]) + sum(ticks[5:8])) / os.sysconf("SC_CLK_TCK")
        return busy, time.process_time(), time.perf_counter()

    def others(self):
        busy, own, elapsed = (now - then for now, then in zip(self._now(), self.start, strict=True))
        return max(0.0, (busy - own) / elapsed)


def circumstances(peers):
    info = ek.build_info()
    return {
        "processor": processor(),
        "simd": info["simd"],
        "threads": ek.get_num_threads(),
        "date": dt.datetime.now(tz=dt.timezone.utc).date().isoformat(),
        "versions": peers.versions,
        "absent": peers.absent,
    }


def described(where):
    """The circumstances in two lines."""
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    absent = f"; not installed: {', '.join(where['absent'])}" if where["absent"] else ""
    # A figure measured beside other work is not one to keep, so it says so itself.
    disturbed = f" Other processes kept {where['others']:.1f} cores busy meanwhile." if where["others"] > 0.1 else ""
    return (
        f"{where['processor']} ({where['simd']}), {where['threads']} threads, {where['date']}; {versions}{absent}.\n"
        "Medians over rounds in which all take turns; a ratio is a peer's time over ours, by the fastest way of each "
        "library. Percentages are of a copy's bandwidth on all threads, of the generator's words a second on one, "
        "or for a training step of NumPy's float32 matrix product of 1024³, each in the same rounds."
        f"{disturbed}"
    )


def processor():
    """The processor's name, and how many of its cores this process may use."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    name = found[1].strip() if found else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def record(row):
    """A row as it is kept: median and least seconds of everyone, and the middle half of the rounds over the median."""
    case = row.case
    kept = {"work": case.work, "size": case.size, "seconds": {}, "least": {}, "spread": {}, "ratio": {}}
    for name, times in row.rounds.items():
        ordered = sorted(times)
        quarter = len(ordered) // 4
        kept["seconds"][name] = float(f"{row.seconds(name):.4g}")
        kept["least"][name] = float(f"{ordered[0]:.4g}")
        kept["spread"][name] = float(f"{(ordered[-1 - quarter] - ordered[quarter]) / row.seconds(name):.2g}")
        if name != OURS and name in case.peers:
            kept["ratio"][name] = float(f"{row.ratio(name):.4g}")
    kept |= {name: value for name in ("numbers", "bytes", "flops") if (value := getattr(case, name))}
    if case.targets:
        kept["targets"] = dict(case.targets)
    if row.failed:
        kept["failed"] = dict(row.failed)
    return kept


if __name__ == "__main__":
    main()
