"""Rows that come in batches: the bits of the same rows in an array, what is refused, and memory that does not grow."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_condition import data

import elbokit as ek

QUICK = {"epochs": 3, "batch_size": 64, "progress": False}
CUTS = [1, 120, 121, 250]


def parts(rows, cuts=CUTS):
    return np.split(rows, cuts)


def same(first, second):
    a, b = first.parameters(), second.parameters()
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_training_and_scores_are_those_of_the_array(dtype):
    x, _ = data()
    x = (x * 10).astype(dtype)
    batches = ek.Batches(lambda: iter(parts(x)))
    one, other = ek.VAE(2, hidden=(8,)), ek.VAE(2, hidden=(8,))
    history = one.fit(x, **QUICK)
    assert other.fit(batches, **QUICK).elbo == history.elbo
    assert same(one, other)
    for method in ("encode", "elbo", "log_evidence"):
        options = {} if method == "encode" else {"num_particles": 30}
        whole = getattr(one, method)(x, **options)
        streamed = getattr(one, method)(batches, **options)
        assert type(streamed) is type(whole)
        for a, b in zip(whole, streamed, strict=True):
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)
    one.calibrate(batches)
    other.calibrate(x)
    assert np.array_equal(one.p_value(batches), other.p_value(x))
    # What returns as much as it is given takes them as well.
    assert np.array_equal(one.reconstruct(batches), one.reconstruct(x))
    assert np.array_equal(one.elbo_per_column(batches), one.elbo_per_column(x))


def test_held_out_rows_and_conditions_come_in_batches():
    x, c = data()
    other_x, other_c = data(90, key=5)
    one, two = ek.VAE(2, hidden=(8,)), ek.VAE(2, hidden=(8,))
    one.fit(x, condition=c, validation=(other_x, other_c), **QUICK)
    held_out = ek.Batches(parts(other_x, [40])), ek.Batches(parts(other_c, [70]))
    two.fit(ek.Batches(parts(x)), condition=ek.Batches(parts(c, [5, 6])), validation=held_out, **QUICK)
    assert same(one, two)
    expected = one.elbo(x, condition=c)
    for condition in (c, ek.Batches(parts(c))):
        for a, b in zip(expected, one.elbo(ek.Batches(parts(x)), condition=condition), strict=True):
            assert np.array_equal(a, b)
    plain, streamed = ek.VAE(2, hidden=(8,)), ek.VAE(2, hidden=(8,))
    assert plain.fit(x, validation=other_x, **QUICK).held_out_elbo == (
        streamed.fit(x, validation=ek.Batches(parts(other_x, [40])), **QUICK).held_out_elbo
    )


def test_conditions_of_other_rows_are_refused():
    x, c = data()
    vae = ek.VAE(2, hidden=(8,))
    vae.fit(x, condition=c, **QUICK)
    rows = ek.Batches(parts(x))
    with pytest.raises(ek.ShapeError, match="row 250: condition: expected 50 rows like X, got 49"):
        vae.elbo(rows, condition=c[:-1])
    with pytest.raises(ek.ShapeError, match="expected 300 rows like X, got more"):
        vae.elbo(rows, condition=np.vstack([c, c[:1]]))
    with pytest.raises(ek.ShapeError, match="expected 300 rows like X, got more"):
        vae.elbo(rows, condition=ek.Batches([*parts(c), c[:1]]))
    with pytest.raises(ek.ShapeError, match="give one for each row"):
        vae.elbo(rows, condition=ek.Batches(parts(c, [2])))
    with pytest.raises(ek.ShapeError, match=r"row 250: condition: expected an array \(rows, 3\), got none"):
        vae.elbo(rows, condition=ek.Batches(parts(c)[:-1]))
    with pytest.raises(ek.ShapeError, match=r"condition\[:, None\]"):
        vae.elbo(rows, condition=c[:, 0])


def test_what_is_no_batch_is_refused():
    rows = np.zeros((4, 3))
    with pytest.raises(ek.ShapeError, match="batch 1: expected 3 columns like batch 0, got 2; give batches"):
        list(ek.Batches([rows, rows[:, :2]]))
    with pytest.raises(ek.DtypeError, match="batch 1: expected float64 like batch 0, got float32; give dtype="):
        list(ek.Batches([rows, rows.astype(np.float32)]))
    assert [b.dtype for b in ek.Batches([rows, rows.astype(np.int8)], dtype="float32")] == [np.float32] * 2
    with pytest.raises(ek.ShapeError, match=r"batch 0: expected an array \(rows, features\), got shape \(3,\)"):
        list(ek.Batches(rows))
    with pytest.raises(ek.DtypeError, match="batch 0: expected booleans, integers, float32 or float64, got complex"):
        list(ek.Batches([rows * 1j]))
    with pytest.raises(ek.ShapeError, match="at least one batch, got none; an iterator is spent"):
        ek.VAE(2).fit(ek.Batches([]))
    with pytest.raises(ek.ShapeError, match="at least one row"):
        ek.VAE(2).fit(ek.Batches([rows[:0]]))
    with pytest.raises(ek.DtypeError, match="source: expected an iterable of batches"):
        ek.Batches(3)
    with pytest.raises(ek.DtypeError, match="dtype: expected float32 or float64, got int8"):
        ek.Batches([rows], dtype="int8")
    with pytest.raises(
        ek.DtypeError, match=r"X: expected an array \(rows, features\), got an iterator; give ek.Batches"
    ):
        ek.VAE(2).fit(iter([rows]))


def test_a_dtype_that_is_none_is_named():
    for dtype, got in (("x", "'x'"), ("float16", "float16")):
        with pytest.raises(ek.DtypeError, match=f"^dtype: expected float32 or float64, got {got}; use one of them"):
            ek.Batches([np.zeros((2, 3))], dtype=dtype)


COLUMNS = {"a": [1.0, 2.0], "b": [3.0, 4.0]}


def test_columns_that_a_frame_has_and_does_not_give_are_told_by_its_library():
    wide = pl.DataFrame({"a": [300.0]})
    with pytest.raises(ek.ArgumentError, match=r"^columns: expected columns that batch 0 gives, .*conversion"):
        list(ek.Batches([wide], columns=[pl.col("a").cast(pl.Int8)]))


@pytest.mark.parametrize("made", [pl.DataFrame, pd.DataFrame, pa.table, pa.RecordBatch.from_pydict])
def test_columns_that_a_frame_lacks_are_named(made):
    rows = ek.Batches([made(COLUMNS)], columns=["b", "zz"])
    with pytest.raises(
        ek.ArgumentError, match=r"^columns: expected columns of batch 0, got 'zz'; use some of 'a', 'b'$"
    ) as caught:
        list(rows)
    assert caught.value.argument == "columns"


@pytest.mark.parametrize("columns", [[9], [-4], ["a"], [0.5], [[0], [1, 2]]])
def test_columns_that_an_array_lacks_are_named(columns):
    with pytest.raises(ek.ArgumentError, match=r"^columns: expected numbers of the 3 columns of batch 0, .* count"):
        list(ek.Batches([np.zeros((4, 3))], columns=columns))
    # From the end, as everywhere.
    assert next(iter(ek.Batches([np.eye(3)], columns=[-1, 0]))).tolist() == [[0, 1], [0, 0], [1, 0]]


def test_columns_that_are_no_sequence_are_refused():
    with pytest.raises(ek.ArgumentError, match=r"^columns: expected a sequence of names or numbers, got 1; give \[1\]"):
        ek.Batches([np.zeros((4, 3))], columns=1)


def test_a_function_that_returns_no_batches_is_refused():
    with pytest.raises(ek.DtypeError, match=r"^source: expected a function that returns an iterable .* got None") as e:
        list(ek.Batches(lambda: None))
    assert e.value.argument == "source"


def test_every_bad_batch_is_the_source_s():
    rows = np.zeros((4, 3))
    frame = pl.DataFrame({"a": ["x"]})
    for batches in ([rows, rows[:, :2]], [rows, rows.astype(np.float32)], rows, [rows * 1j], [frame], [None]):
        with pytest.raises(ek.ElbokitError, match=r"^batch ") as caught:
            list(ek.Batches(batches))
        assert caught.value.argument == "source"


def test_what_is_no_parquet_file_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    pl.DataFrame(COLUMNS).write_parquet(path)
    with pytest.raises(
        ek.ArgumentError, match=r"^columns: expected columns of .*x.parquet, got 'q'; use some of 'a', 'b'"
    ):
        list(ek.Batches.parquet(path, columns=["q"]))
    with (
        pq.ParquetFile(path) as file,
        pytest.raises(ek.ArgumentError, match=r"^columns: expected columns of batch 0, got 'q'"),
    ):
        list(ek.Batches.parquet(file, columns=["a", "q"]))
    np.save(tmp_path / "x.npy", np.zeros((4, 3)))
    path.write_bytes(path.read_bytes()[:-9])
    for name in ("x.npy", "x.parquet"):
        with pytest.raises(
            ek.ArgumentError, match=f"^path: expected a readable Parquet file, got .*{name}.*;"
        ) as caught:
            list(ek.Batches.parquet(tmp_path / name))
        assert caught.value.argument == "path"
    with pytest.raises(ek.DtypeError, match=r"^path: expected a path or an open Parquet file, got 3; give one"):
        ek.Batches.parquet(3)


def test_an_iterator_serves_one_pass():
    x, _ = data()
    spent = ek.Batches(iter(parts(x)))
    one, two = ek.VAE(2, hidden=(8,)), ek.VAE(2, hidden=(8,))
    one.fit(spent, **QUICK)
    two.fit(x, **QUICK)
    assert same(one, two)
    with pytest.raises(ek.ShapeError, match="an iterator is spent after one pass"):
        one.elbo(spent)


def test_a_bad_cell_is_named_by_its_row():
    x, _ = data()
    vae = ek.VAE(2, hidden=(8,))
    vae.fit(x, **QUICK)
    x[200, 1] = np.inf
    with pytest.raises(ek.NonFiniteError) as caught:
        vae.fit(ek.Batches(parts(x)), **QUICK)
    assert caught.value.row == 200
    with pytest.raises(ek.NonFiniteError, match=r"in the batch that begins with row 121: .*row 79") as caught:
        vae.elbo(ek.Batches(parts(x)))
    assert (caught.value.row, caught.value.column) == (200, 1)


FRAMES = {
    "polars": pl.DataFrame,
    "pandas": lambda columns: pd.DataFrame(columns).convert_dtypes(),
    "pyarrow": pa.table,
    "record batch": pa.RecordBatch.from_pydict,
}


@pytest.mark.parametrize("made", FRAMES.values(), ids=FRAMES)
def test_frames_become_floats_with_nan_for_an_empty_cell(made):
    first = {"a": [1, None, 3], "b": [True, False, None], "c": [0.5, 1.5, None], "d": ["x", "y", "z"]}
    second = {"a": [4, 5], "b": [True, True], "c": [2.0, 3.0], "d": ["x", "y"]}
    frames = [made(first), made(second)]
    one, two = ek.Batches(frames, columns=["c", "a", "b"])
    expected = [[0.5, 1, 1], [1.5, np.nan, 0], [np.nan, 3, np.nan]]
    assert one.dtype == two.dtype == np.float64
    assert one.flags.c_contiguous
    assert np.array_equal(one, expected, equal_nan=True)
    assert np.array_equal(two, [[2.0, 4, 1], [3.0, 5, 1]])
    assert [rows.dtype for rows in ek.Batches(frames, columns=["b"])] == [np.float32] * 2
    assert next(iter(ek.Batches(frames, columns=["c", "a"], dtype="float32"))).dtype == np.float32
    with pytest.raises(
        ek.DtypeError, match=r"batch 0: column 'd': expected numbers, got .*; leave it out with columns="
    ):
        list(ek.Batches(frames))


def test_numbers_that_float64_rounds_are_rounded():
    columns = {"a": [2**53 + 1, 0]}
    for made in FRAMES.values():
        (rows,) = ek.Batches([made(columns)])
        assert rows[0, 0] == 2.0**53


def test_row_groups_of_a_parquet_file(tmp_path):
    x, c = data()
    path = tmp_path / "rows.parquet"
    names = [f"x{j}" for j in range(4)] + [f"c{j}" for j in range(3)]
    frame = pl.DataFrame(np.hstack([x, c]), schema=names)
    frame.write_parquet(path, row_group_size=70)
    one, two, three = (ek.VAE(2, hidden=(8,)) for _ in range(3))
    one.fit(x, condition=c, **QUICK)
    rows = ek.Batches.parquet(path, columns=names[:4], batch_rows=100)
    beside = ek.Batches.parquet(str(path), columns=names[4:], batch_rows=100)
    assert [len(batch) for batch in rows] == [100, 100, 100]
    two.fit(rows, condition=beside, **QUICK)
    assert same(one, two)
    assert np.array_equal(one.elbo(x, condition=c).elbo, one.elbo(rows, condition=beside).elbo)
    with pq.ParquetFile(path) as file:
        opened = ek.Batches.parquet(file, columns=names[:4], batch_rows=90)
        assert np.array_equal(np.vstack(list(opened)), x)
        three.fit(opened, condition=c, **QUICK)
    assert same(one, three)
    assert np.array_equal(np.vstack(list(ek.Batches.parquet(path))), frame.to_numpy())
    with pytest.raises(FileNotFoundError):
        list(ek.Batches.parquet(tmp_path / "none.parquet"))


def test_the_file_is_where_it_shall_be_and_gone_afterwards(tmp_path, monkeypatch):
    x, _ = data()
    made = []
    monkeypatch.setattr(
        tempfile,
        "TemporaryFile",
        lambda real=tempfile.TemporaryFile, **given: made.append(given["dir"]) or real(**given),
    )
    rows = ek.Batches(parts(x), folder=tmp_path)
    spooled = rows.spool()
    assert made == [tmp_path]
    assert np.array_equal(spooled, x)
    assert not spooled.flags.writeable
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        ek.Batches(parts(x), folder=tmp_path / "none").spool()


def test_a_checkpoint_of_an_array_goes_on_with_its_batches(tmp_path):
    x, _ = data()
    path = tmp_path / "checkpoint"
    ek.VAE(2, hidden=(8,)).fit(x, checkpoint=path, **QUICK)
    resumed, whole = ek.VAE(2, hidden=(8,)), ek.VAE(2, hidden=(8,))
    resumed.fit(ek.Batches(parts(x)), checkpoint=path, **QUICK | {"epochs": 5})
    whole.fit(x, **QUICK | {"epochs": 5})
    assert same(resumed, whole)


def test_importing_a_frame_library_is_left_to_the_frames():
    code = """
import sys, numpy as np, elbokit as ek
rows = ek.Batches(lambda: (np.random.default_rng(i).normal(size=(50, 3)) for i in range(4)))
vae = ek.VAE(1, hidden=(4,))
vae.fit(rows, epochs=1, progress=False)
vae.elbo(rows)
assert not {"polars", "pandas", "pyarrow"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's own memory in /proc")
def test_memory_does_not_grow_with_the_rows():
    """Rows of 512 bytes: the larger stream has 205 MiB, and 16 MiB are allowed for the rows' order and scores."""
    script = Path(__file__).parent.parent / "benchmarks" / "memory.py"
    command = [sys.executable, str(script), "batches", "--columns", "64", "--double", "--hidden", "16", "--rows"]
    small, large = (
        float(subprocess.run([*command, n], capture_output=True, text=True, check=True, timeout=300).stdout.split()[0])
        for n in ("20000", "420000")
    )
    assert large - small < 16
