"""What `elbokit.tables` reads, and what it refuses."""

import zipfile
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from elbokit import ElbokitError, tables


@pytest.fixture
def write(tmp_path):
    """Writes text or bytes into a file of that name; its path."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def _npz(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def test_digits_are_counts_with_labels():
    table = tables.read("digits")
    assert table.rows.shape == (1797, 64)
    assert len(table.columns) == 64
    assert table.labels.shape == (1797,)
    assert table.image_shape == (8, 8)
    assert set(np.unique(table.rows)) == set(range(17))


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32, np.float64])
def test_numpy_files_keep_their_dtype(tmp_path, dtype):
    X = np.arange(6).reshape(3, 2).astype(dtype)
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", X=X, y=np.zeros(3))
    np.savez_compressed(tmp_path / "only.npz", anything=X)
    for name in ("x.npy", "x.npz", "only.npz"):
        table = tables.read(str(tmp_path / name))
        assert table.rows.dtype == dtype
        np.testing.assert_array_equal(table.rows, X)
        assert table.columns == ("column_0", "column_1")


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("a,b\n1,2\n3,4\n", ("a", "b"), [[1, 2], [3, 4]]),
        ("1,2\n3,4.5\n", ("column_0", "column_1"), [[1, 2], [3, 4.5]]),
        ("0,1,2\n3,4,5\n", ("0", "1", "2"), [[3, 4, 5]]),
        ("0,1,3\n3,4,5\n", ("column_0", "column_1", "column_2"), [[0, 1, 3], [3, 4, 5]]),
        ("a,b\n1,\nNA,2\nNaN,inf\n", ("a", "b"), [[1, np.nan], [np.nan, 2], [np.nan, np.inf]]),
        ("a, b\n1, 2\n3, nan\n5, NA\n", ("a", "b"), [[1, 2], [3, np.nan], [5, np.nan]]),
        ("\ufeffa,b\r\n1,true\r\n2,false\r\n", ("a", "b"), [[1, 1], [2, 0]]),
        ('"a, b",c\n1,2\n', ("a, b", "c"), [[1, 2]]),
        ("a,b\n1,\n2,\n", ("a", "b"), [[1, np.nan], [2, np.nan]]),
        ("a,b\n" + "1,2\n" * 5000 + "1,0.5\n", ("a", "b"), [[1, 2]] * 5000 + [[1, 0.5]]),
        ("a,b\n", ("a", "b"), np.zeros((0, 2))),
        # Of one column an empty line is an empty cell.
        ("a\n1\n\n2\n", ("a",), [[1], [np.nan], [2]]),
    ],
)
def test_csv(write, text, columns, rows):
    table = tables.read(write("x.csv", text))
    assert table.columns == columns
    np.testing.assert_array_equal(table.rows, rows)


def test_a_table_says_whether_its_columns_have_names(write, tmp_path):
    for text, named in (("a,b\n1,2\n", True), ("1,2\n3,4\n", False), ("0,1\n3,4\n", False)):
        assert tables.read(write("x.csv", text)).named == named
    np.save(tmp_path / "x.npy", np.zeros((2, 3)))
    assert not tables.read(str(tmp_path / "x.npy")).named
    for columns, named in (("ab", True), ("01", False)):
        pl.DataFrame({name: [1.0] for name in columns}).write_parquet(tmp_path / "x.parquet")
        assert tables.read(str(tmp_path / "x.parquet")).named == named


def test_csv_of_integers_stays_integers(write):
    assert tables.read(write("x.csv", "a,b\n1,2\n")).rows.dtype == np.int64


def test_parquet(tmp_path):
    frame = pl.DataFrame({"a": [1, None], "b": [True, False], "c": [Decimal("1.5"), None]})
    frame.write_parquet(tmp_path / "x.parquet")
    table = tables.read(str(tmp_path / "x.parquet"))
    assert table.columns == ("a", "b", "c")
    np.testing.assert_array_equal(table.rows, [[1, 1, 1.5], [np.nan, 0, np.nan]])


def test_whole_numbers_that_rows_round_stand_beside_them(tmp_path):
    big = 2**60 + 1
    frame = pl.DataFrame({"a": [big, None], "b": [2**60, 3], "c": [0.5, 1.5], "d": [Decimal(big), None]})
    frame.write_parquet(tmp_path / "x.parquet")
    table = tables.read(str(tmp_path / "x.parquet"))
    assert table.rows.dtype == np.float64
    assert {j: [None if x is None else int(x) for x in whole] for j, whole in table.wholes.items()} == {
        0: [big, None], 3: [big, None]
    }  # fmt: skip
    # Where the rows hold them all nothing is kept twice.
    frame.select("b", a=pl.lit(big)).write_parquet(tmp_path / "x.parquet")
    assert not tables.read(str(tmp_path / "x.parquet")).wholes


def test_whole_numbers_past_64_bits(write):
    table = tables.read(write("x.csv", f"a,b\n{2**65 + 1},1\n3,4\n"))
    np.testing.assert_array_equal(table.rows, [[2.0**65, 1], [3, 4]])
    assert table.wholes[0].to_list() == [2**65 + 1, 3]


def test_parquet_keeps_float32(tmp_path):
    pl.DataFrame({"a": [1.0], "b": [2.0]}).cast(pl.Float32).write_parquet(tmp_path / "x.parquet")
    assert tables.read(str(tmp_path / "x.parquet")).rows.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "a,b\n1,2\n3,red\n", r"column 'b', row 1 \(from 0\): expected a number, got 'red'"),
        ("x.csv", "a;b\n1;2\n", "column 'a;b'"),
        ("x.csv", "a,b\n1,2,3\n", "not a readable .csv file"),
        ("x.csv", b"a,b\n1,\xff\n", "not a readable .csv file"),
        ("x.csv", "a,b\n1,2\n3\n4,5\n", "x.csv, line 3: expected 2 cells, as there are columns, got 1; write"),
        ("x.csv", "1,2\n3\n", "line 2: expected 2 cells"),
        ("x.csv", "a,b\r\n1,2\r\n\r\n3,4\r\n", "line 3: expected 2 cells, as there are columns, got 0"),
        ("x.csv", "a,b,c\n1,2,\n1,2\n", "line 3: expected 3 cells"),
        ("x.csv", 'a,b\n"1\n",\n3\n', "line 4: expected 2 cells"),
        ("x.csv", "", "empty line"),
        ("x.csv", "\n1,2\n", "empty line"),
        ("x.npy", "no array", "not a readable .npy file"),
        ("x.npy", "", "not a readable .npy file"),
        ("x.npz", "no archive", "no zip archive"),
        ("x.parquet", "no table", "not a readable .parquet file"),
        ("x.parquet", "", "not a readable .parquet file"),
        ("x.xlsx", "sheet", "expected digits, or a .npy"),
        ("digitz", "", "expected digits, or a .npy"),
    ],
)
def test_refuses_what_is_no_table(write, name, content, message):
    with pytest.raises(tables.TableError, match=message) as caught:
        tables.read(write(name, content))
    assert name in str(caught.value)
    assert isinstance(caught.value, ElbokitError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("ending", ["npy", "npz", "parquet"])
def test_refuses_half_a_file(tmp_path, ending):
    X = np.random.default_rng(0).random((50, 3))
    path = tmp_path / f"x.{ending}"
    if ending == "npy":
        np.save(path, X)
    elif ending == "npz":
        np.savez(path, X=X)
    else:
        pl.DataFrame(X).write_parquet(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(tables.TableError, match="not a readable"):
        tables.read(str(path))


def test_refuses_a_damaged_member_of_an_archive(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", b"\x93NUMPY\x01\x00\xff\xff")
    with pytest.raises(tables.TableError, match="not a readable"):
        tables.read(str(path))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(3), r"expected \(rows, columns\), got shape \(3,\)"),
        (np.zeros((2, 3, 4)), r"got shape \(2, 3, 4\)"),
        (np.zeros((2, 2), complex), "got dtype complex128"),
        (np.array([["a"]]), "got dtype <U1"),
    ],
)
def test_refuses_arrays_that_are_no_table(tmp_path, X, message):
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(tables.TableError, match=message):
        tables.read(str(tmp_path / "x.npy"))


def test_refuses_objects_and_does_not_unpickle(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[object()]]), allow_pickle=True)
    with pytest.raises(tables.TableError, match="allow_pickle"):
        tables.read(str(tmp_path / "x.npy"))


def test_archive_needs_one_array_or_one_named_x(tmp_path):
    path = _npz(tmp_path / "x.npz", train=np.zeros((2, 2)), test=np.zeros((2, 2)))
    with pytest.raises(tables.TableError, match="it holds train, test"):
        tables.read(path)


@pytest.mark.parametrize("ending", ["npy", "npz", "csv", "parquet"])
def test_missing_file_is_an_os_error(tmp_path, ending):
    with pytest.raises(FileNotFoundError):
        tables.read(str(tmp_path / f"x.{ending}"))
    (tmp_path / f"x.{ending}").mkdir()
    with pytest.raises(OSError, match="directory"):
        tables.read(str(tmp_path / f"x.{ending}"))


def test_a_library_that_is_not_installed_is_named_with_its_cure(write, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    with pytest.raises(ImportError, match=r'needs polars .*pip install "elbokit\[cli\]"'):
        tables.read(write("x.csv", "a\n1\n"))
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'scikit-learn .*pip install "elbokit\[cli\]"'):
        tables.read("digits")


def test_each_column_keeps_its_own_dtype_beside_that_of_all(tmp_path):
    frame = pl.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": [True, False], "d": [3, None], "e": [True, None]})
    frame.write_parquet(tmp_path / "x.parquet")
    frame.write_csv(tmp_path / "x.csv")
    for name in ("x.parquet", "x.csv"):
        table = tables.read(str(tmp_path / name))
        assert table.rows.dtype == np.float64
        assert table.dtypes == tuple(map(np.dtype, ("int64", "float64", "bool", "float64", "float64")))
    np.save(tmp_path / "x.npy", np.eye(2))
    assert tables.read(str(tmp_path / "x.npy")).dtypes is None


def test_names_lose_their_spaces_where_they_stay_different(write):
    assert tables.read(write("x.csv", " a,b \n1,2\n")).columns == ("a", "b")
    assert tables.read(write("y.csv", "a, a\n1,2\n")).columns == ("a", " a")
