"""The command: what it prints and writes, and that every mistake ends in one line and exit code 2."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest

import elbokit as ek
from elbokit import cli, tables

_SCORES = [*ek.ElboTerms._fields, "lower", "estimate", "upper", "estimate_error", "khat", "ess", "num_observed"]
_SMALL = ["--epochs", "2", "--latent-dim", "2", "--hidden", "8", "--num-particles", "20"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Path of a .npy file of 60 rows of 5 real columns."""
    path = tmp_path_factory.mktemp("data") / "rows.npy"
    np.save(path, np.random.default_rng(0).normal(size=(60, 5)))
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory, rows):
    """Path of a model of these rows."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    assert cli.main(["fit", rows, "--out", str(path), "--quiet", *_SMALL]) == 0
    return str(path)


def _refused(capsys, arguments):
    """The one line on standard error of a call that must be refused."""
    try:
        code = cli.main(arguments)
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2, err
    assert err.startswith("elbokit: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err, out


def _command(*arguments, **options):
    return subprocess.Popen([sys.executable, "-m", "elbokit.cli", *arguments], text=True, **options)


def test_fit_says_what_it_read_and_prints_the_bounds(tmp_path, capsys, rows):
    out = tmp_path / "model.safetensors"
    assert cli.main(["fit", rows, "--out", str(out), *_SMALL]) == 0
    text = capsys.readouterr().out
    assert "60 rows, 5 columns, float64, 0 missing cells" in text
    assert "54 rows to train, 6 held out" in text
    for label in ("ELBO", "reconstruction", "KL", "lower (20 particles)", "estimate (20 particles)"):
        line = next(line for line in text.splitlines() if label in line)
        assert line.count("(") == 2 + ("particles" in label), "a mean and its standard error for train and held out"
    # Of 20 particles no tail can be told.
    assert next(line for line in text.splitlines() if "upper bound" in line).split()[-2:] == ["0.0%", "0.0%"]
    assert "trained 2 epochs in" in text
    assert "rows a second" in text
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert ek.VAE.load(out).num_features == 5


def test_the_table_holds_the_library_s_numbers(tmp_path, capsys, rows):
    out = tmp_path / "model.safetensors"
    assert cli.main(["fit", rows, "--out", str(out), "--quiet", "--key", "3", *_SMALL]) == 0
    text = capsys.readouterr().out
    vae, X = ek.VAE.load(out), np.load(rows)
    order = np.random.default_rng(3).permutation(60)
    elbo = [float(np.mean(vae.elbo(X[part], key=3).elbo)) for part in (order[6:], order[:6])]
    line = next(line for line in text.splitlines() if line.startswith("ELBO"))
    np.testing.assert_allclose([float(word) for word in line.split()[1::2]], elbo, atol=0.006)


def test_the_same_key_writes_the_same_model(tmp_path, rows):
    for name in ("a", "b"):
        assert cli.main(["fit", rows, "--out", str(tmp_path / name), "--quiet", *_SMALL]) == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_digits_are_the_default_with_their_own_split_and_likelihood(tmp_path, capsys):
    picture = tmp_path / "digits.png"
    arguments = ["fit", "--out", str(tmp_path / "m"), "--plot", str(picture), *_SMALL]
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out
    assert "digits: 1797 rows, 64 columns" in text
    assert "Binomial" in text
    assert "1500 rows to train, 297 held out" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.png", "m"]


@pytest.mark.parametrize(
    ("name", "X"),
    [
        ("gaussian", "real"),
        ("gaussian(0.5)", "real"),
        ("Gaussian( predicted )", "real"),
        ("bernoulli", "binary"),
        ("binomial(3)", "counts"),
        ("laplace(shared)", "real"),
        ("student_t(4, per_feature)", "real"),
        ("continuous_bernoulli", "binary"),
        ("categorical(4)", "counts"),
        ("poisson", "counts"),
        ("negative_binomial", "counts"),
    ],
)
def test_each_likelihood(tmp_path, capsys, name, X):
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 4, (20, 4))
    np.save(tmp_path / "x.npy", {"real": rng.normal(size=(20, 4)), "binary": counts > 1, "counts": counts}[X])
    arguments = ["fit", str(tmp_path / "x.npy"), "--out", str(tmp_path / "m"), "--likelihood", name, *_SMALL]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[1].lower().startswith(name[:6].lower())


@pytest.mark.parametrize(("n", "share"), [(1, "0"), (2, "0.5"), (7, "0"), (129, "0.1")])
def test_few_rows_and_one_past_a_batch(tmp_path, capsys, n, share):
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(n, 3)))
    arguments = ["fit", str(tmp_path / "x.npy"), "--out", str(tmp_path / "m"), "--validation", share, *_SMALL]
    assert cli.main(arguments) == 0
    assert ("held out" in capsys.readouterr().out.split("\n\n")[1]) == (share != "0")


def test_missing_cells_are_counted_and_scored(tmp_path, capsys):
    (tmp_path / "x.csv").write_text("a,b\n" + "1.5,2\n,3\n2.5,\n,\n" * 10)
    arguments = ["fit", str(tmp_path / "x.csv"), "--out", str(tmp_path / "m"), *_SMALL]
    assert cli.main(arguments) == 0
    assert "40 rows, 2 columns, float64, 40 missing cells" in capsys.readouterr().out
    assert cli.main(["score", str(tmp_path / "m"), str(tmp_path / "x.csv"), "--out", str(tmp_path / "s.npy")]) == 0
    assert all(np.isfinite(np.load(tmp_path / "s.npy")[name]).all() for name in _SCORES)


def test_score_writes_the_same_numbers_in_every_format(tmp_path, capsys, model, rows):
    vae, X = ek.VAE.load(model), np.load(rows)
    terms, evidence = vae.elbo(X, key=5), vae.log_evidence(X, key=5, num_particles=30)
    expected = {
        name: getattr(terms if hasattr(terms, name) else evidence, name) for name in _SCORES if name != "estimate_error"
    }
    expected["estimate_error"] = evidence.standard_error
    options = ["--key", "5", "--num-particles", "30"]
    for name in ("s.csv", "s.npy", "s.parquet"):
        assert cli.main(["score", model, rows, "--out", str(tmp_path / name), *options]) == 0
        assert f"60 rows: ELBO {np.mean(terms.elbo):.2f}" in capsys.readouterr().out
    assert cli.main(["score", model, rows, *options]) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "s.csv").read_text()
    array, frame = np.load(tmp_path / "s.npy"), pl.read_parquet(tmp_path / "s.parquet")
    text = np.genfromtxt(printed.splitlines(), delimiter=",", names=True, dtype=terms.elbo.dtype)
    assert list(array.dtype.names) == frame.columns == list(text.dtype.names) == _SCORES
    for name, values in expected.items():
        for written in (array[name], frame[name].to_numpy(), text[name].astype(values.dtype)):
            assert written.dtype == values.dtype
            np.testing.assert_array_equal(written, values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.csv", "s.npy", "s.parquet"]


def test_score_of_no_rows_has_the_header_alone(tmp_path, capsys, model):
    np.save(tmp_path / "x.npy", np.zeros((0, 5)))
    assert cli.main(["score", model, str(tmp_path / "x.npy")]) == 0
    assert capsys.readouterr().out == ",".join(_SCORES) + "\n"
    assert cli.main(["score", model, str(tmp_path / "x.npy"), "--out", str(tmp_path / "s.csv")]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--likelihood", "poisson?"], "--likelihood poisson?: expected gaussian"),
        (["--likelihood", "binomial"], "binomial(16)"),
        (["--likelihood", "binomial(many)"], "binomial(16)"),
        (["--likelihood", "binomial(0)"], "--likelihood binomial(0)"),
        (["--likelihood", "gaussian(-1)"], "--likelihood gaussian(-1)"),
        (["--likelihood", "bernoulli(2)"], "expected gaussian"),
        (["--likelihood", "bernoulli"], "Gaussian"),
        (["--activation", "abs"], "activation"),
        (["--epochs", "few"], "--epochs"),
        (["--epochs", "-1"], "epochs"),
        (["--batch-size", "0"], "batch_size"),
        (["--learning-rate", "nan"], "learning_rate"),
        (["--latent-dim", "0"], "latent_dim"),
        (["--hidden", "8,,8"], "--hidden"),
        (["--hidden", "0"], "hidden"),
        (["--validation", "1"], "--validation"),
        (["--validation", "nan"], "--validation"),
        (["--key", "-1"], "key"),
        (["--key", str(2**64)], "key"),
        (["--num-threads", "0"], ""),
        (["--plot", "no-folder/x.png"], "no folder"),
        (["--plot", "x.docx"], ".png"),
        (["--plot", "model"], "same file"),
        (["--speed", "fast"], "--speed"),
    ],
)
def test_fit_refuses_in_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, rows, options, message):
    monkeypatch.chdir(tmp_path)
    err, _ = _refused(capsys, ["fit", rows, "--out", "model", *_SMALL, *options])
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.csv", None, "missing.csv: No such file or directory"),
        ("text.csv", b"a,b\n1,red\n", "'red'"),
        ("broken.npy", b"\x93NUMPY", "broken.npy"),
        ("broken.parquet", b"PAR1", "broken.parquet"),
        ("empty.csv", b"a,b\n", "no rows"),
        ("infinite.csv", b"a,b\n" + b"1,inf\n" * 20, "inf"),
        ("rows.txt", b"1 2", "rows.txt"),
    ],
)
def test_both_commands_refuse_data_that_is_none(tmp_path, capsys, model, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    out = tmp_path / "out.csv"
    assert message in _refused(capsys, ["fit", str(path), "--out", str(out), *_SMALL])[0]
    if name != "empty.csv":
        err, printed = _refused(capsys, ["score", model, str(path)])
        assert name in err or "column" in err
        assert printed == ""
    assert not out.exists()


def test_report_prints_and_writes_what_the_library_says(tmp_path, capsys, model, rows):
    out = tmp_path / "report.html"
    arguments = ["report", model, rows, "--key", "3", "--num-particles", "40"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = str(ek.VAE.load(model).report(np.load(rows), key=3, num_particles=40))
    assert cli.main(arguments) == 0
    # The columns have the file's names.
    table = tables.read(rows)
    for number, name in enumerate(table.columns):
        expected = expected.replace(f"column {number} (", f"{name} (")
    assert capsys.readouterr().out.split() == (expected + "\n").split()
    assert cli.main([*arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith(f"\nwrote {out}\n")
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_report_says_a_collapse_in_one_line_of_warning(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(200, 4)))
    path = tmp_path / "x.npy"
    options = ["--likelihood", "gaussian(3)", "--latent-dim", "2", "--hidden", "8", "--epochs", "60", "--quiet"]
    fit = ["fit", str(path), "--out", str(tmp_path / "m"), "--learning-rate", "0.01", "--num-particles", "2", *options]
    assert cli.main(fit) == 0
    capsys.readouterr()
    assert cli.main(["report", str(tmp_path / "m"), str(path), "--num-particles", "30"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("elbokit: warning: report: posterior collapse")
    assert err.count("\n") == 1
    assert "Posterior collapse" in out


def test_report_of_no_rows_and_what_it_refuses(tmp_path, capsys, model, rows):
    np.save(tmp_path / "none.npy", np.empty((0, 5)))
    assert cli.main(["report", model, str(tmp_path / "none.npy")]) == 0
    assert "There are no rows" in capsys.readouterr().out
    np.save(tmp_path / "wide.npy", np.ones((4, 6)))
    assert "expected 5 columns" in _refused(capsys, ["report", model, str(tmp_path / "wide.npy")])[0]
    assert "same file" in _refused(capsys, ["report", model, rows, "--out", rows])[0]
    assert ".html" in _refused(capsys, ["report", model, rows, "--out", str(tmp_path / "report.pdf")])[0]
    assert "no folder" in _refused(capsys, ["report", model, rows, "--out", str(tmp_path / "no" / "r.html")])[0]
    assert "num_particles" in _refused(capsys, ["report", model, rows, "--num-particles", "0"])[0]
    (tmp_path / "model").write_bytes(b"no model")
    assert "model" in _refused(capsys, ["report", str(tmp_path / "model"), rows])[0]
    assert "nowhere" in _refused(capsys, ["report", str(tmp_path / "nowhere"), rows])[0]


def test_report_prints_where_the_terminal_knows_only_ascii(model, rows):
    with _command("report", model, rows, "--num-particles", "30", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                  env=os.environ | {"PYTHONIOENCODING": "ascii"}) as command:  # fmt: skip
        out, _ = command.communicate(timeout=60)
    assert command.returncode == 0
    assert "a gap of 0".upper() in out.upper()


@pytest.mark.parametrize("content", [None, b"", b"no model", b"\xff" * 8, b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_score_refuses_what_is_no_model(tmp_path, capsys, rows, content):
    path = tmp_path / "broken.safetensors"
    if content is not None:
        path.write_bytes(content)
    err, printed = _refused(capsys, ["score", str(path), rows, "--out", str(tmp_path / "s.csv")])
    assert "broken.safetensors" in err
    assert printed == ""
    assert not (tmp_path / "s.csv").exists()


def test_score_refuses_rows_of_another_width(tmp_path, capsys, model):
    np.save(tmp_path / "x.npy", np.zeros((3, 4)))
    err, _ = _refused(capsys, ["score", model, str(tmp_path / "x.npy")])
    assert "5" in err
    assert "4" in err


def test_outputs_that_would_be_lost_are_refused(tmp_path, capsys, model, rows):
    assert "same file" in _refused(capsys, ["score", model, rows, "--out", rows])[0]
    assert ".csv, .npy, .parquet" in _refused(capsys, ["score", model, rows, "--out", str(tmp_path / "s.xlsx")])[0]
    (tmp_path / "folder.csv").mkdir()
    assert "other than a file" in _refused(capsys, ["score", model, rows, "--out", str(tmp_path / "folder.csv")])[0]
    assert "other than a file" in _refused(capsys, ["fit", rows, "--out", os.devnull, *_SMALL])[0]


def test_an_old_file_survives_a_failed_write(tmp_path, capsys, monkeypatch, model, rows):
    out = tmp_path / "s.npy"
    out.write_bytes(b"old")

    def fail(file, _):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    assert "No space left" in _refused(capsys, ["score", model, rows, "--out", str(out)])[0]
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


def test_a_missing_extra_is_named_with_its_cure(tmp_path, capsys, monkeypatch, model, rows):
    monkeypatch.setitem(sys.modules, "polars", None)
    err, _ = _refused(capsys, ["score", model, rows, "--out", str(tmp_path / "s.parquet")])
    assert 'pip install "elbokit[cli]"' in err
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    err, _ = _refused(capsys, ["fit", rows, "--out", str(tmp_path / "m"), "--plot", str(tmp_path / "x.png")])
    assert "matplotlib" in err


def test_help_version_and_no_command(capsys):
    for arguments in (["--help"], ["fit", "--help"], ["score", "--help"], ["report", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 0
    text = capsys.readouterr().out
    for word in ("--likelihood", "--num-particles", "MODEL", "elbokit 0."):
        assert word in text
    assert "fit | score | report" in _refused(capsys, [])[0]


def test_the_command_imports_nothing_heavy_before_it_is_asked():
    code = "import sys, elbokit.cli; print({'sklearn', 'polars', 'matplotlib', 'tqdm'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"


def test_an_interrupt_ends_in_one_line_and_no_file(tmp_path, rows):
    arguments = ["fit", rows, "--out", "model", "--epochs", "1000000", "--validation", "0"]
    # Not --quiet: the first lines tell that training is about to start.
    with _command(*arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for _ in range(2):
            process.stdout.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "elbokit: interrupted"
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_is_no_error(tmp_path, model):
    path = tmp_path / "x.npy"
    # More text than a pipe holds.
    np.save(path, np.zeros((4000, 5)))
    arguments = ["score", model, str(path), "--num-particles", "2"]
    with _command(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 141
    assert err == ""


def test_the_example_does_what_the_command_does(tmp_path, capsys):
    """With fewer epochs; the whole example is the demo."""
    source = (Path(__file__).parent.parent / "examples" / "digits.py").read_text(encoding="utf-8")
    assert "epochs=200" in source
    namespace = {"__name__": "example"}
    exec(source.replace("epochs=200", "epochs=2"), namespace)
    namespace["main"](tmp_path)
    assert "nats a row" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.png", "digits.safetensors", "history.png"]
    for name, inked in (("digits.png", 0.05), ("history.png", 0.01)):
        image = plt.imread(tmp_path / name)[..., :3]
        assert min(image.shape[:2]) >= 300
        # Rows of images and panels, and no blank page: many pixels are not the background's colour.
        assert (np.abs(image - image[0, 0]).max(axis=-1) > 0.1).mean() > inked
    assert tables.read("digits").rows.shape[1] == ek.VAE.load(tmp_path / "digits.safetensors").num_features


@pytest.mark.parametrize("key", ["0", "1", "2"])
def test_a_bad_cell_is_named_by_its_place_in_the_file(tmp_path, capsys, key):
    lines = [f"{i / 40},{i / 50}" for i in range(40)]
    lines[33] = "0.3,inf"
    data = tmp_path / "rows.csv"
    data.write_text("a,b\n" + "\n".join(lines) + "\n")
    code = cli.main(["fit", str(data), "--out", str(tmp_path / "m"), "--epochs", "1", "--quiet", "--key", key])
    error = capsys.readouterr().err
    assert code == 2
    assert "row 33" in error
    assert "'b'" in error
    assert not (tmp_path / "m").exists()


def test_training_that_leaves_the_range_writes_nothing(tmp_path, capsys):
    data = tmp_path / "rows.npy"
    np.save(data, np.random.default_rng(0).normal(size=(300, 5)))
    out = tmp_path / "m"
    code = cli.main(["fit", str(data), "--out", str(out), "--epochs", "2", "--learning-rate", "1e30", "--quiet"])
    error = capsys.readouterr().err
    assert code == 2
    assert "--learning-rate" in error
    assert "Traceback" not in error
    assert not out.exists()
