"""The command: what it prints and writes, and that every mistake ends in one line and exit code 2."""

import os
import pickle
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
from fits import put

import elbokit as ek
from elbokit import _metadata, cli, tables
from elbokit.cli import options as cli_options

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
    for name in ("s.csv", "s.npy", "s.npz", "s.parquet"):
        assert cli.main(["score", model, rows, "--out", str(tmp_path / name), *options]) == 0
        assert f"60 rows: ELBO {np.mean(terms.elbo):.2f}" in capsys.readouterr().out
    assert cli.main(["score", model, rows, *options]) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "s.csv").read_text()
    array, frame = np.load(tmp_path / "s.npy"), pl.read_parquet(tmp_path / "s.parquet")
    text = np.genfromtxt(printed.splitlines(), delimiter=",", names=True, dtype=terms.elbo.dtype)
    apart = np.load(tmp_path / "s.npz")
    assert list(array.dtype.names) == apart.files == frame.columns == list(text.dtype.names) == _SCORES
    for name, values in expected.items():
        for written in (array[name], apart[name], frame[name].to_numpy(), text[name].astype(values.dtype)):
            assert written.dtype == values.dtype
            np.testing.assert_array_equal(written, values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.csv", "s.npy", "s.npz", "s.parquet"]


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
        (["--activation", "abs"], "error: --activation: expected"),
        (["--epochs", "few"], "--epochs"),
        (["--epochs", "-1"], "error: --epochs: expected"),
        (["--batch-size", "0"], "error: --batch-size: expected"),
        (["--learning-rate", "nan"], "error: --learning-rate: expected"),
        (["--latent-dim", "0"], "error: --latent-dim: expected"),
        (["--hidden", "8,,8"], "--hidden"),
        (["--hidden", "0"], "error: --hidden: expected"),
        (["--validation", "1"], "--validation"),
        (["--validation", "nan"], "--validation"),
        (["--key", "-1"], "key"),
        (["--key", str(2**64)], "error: --key: expected 0 <= --key < 2**64"),
        (["--num-threads", "0"], "error: --num-threads: expected"),
        (["--plot", "no-folder/x.png"], "no folder"),
        (["--plot", "x.docx"], ".png"),
        (["--plot", "model"], "same file"),
        (["--speed", "fast"], "--speed"),
        (["--prior", "gaussian"], "error: --prior: expected one of"),
        (["--prior", "mixture", "--prior-components", "0"], "error: --prior-components: expected"),
        (["--prior", "vamp", "--prior-components", "55"], "at most the 54 training rows"),
        (["--estimator", "reinforce"], "estimator"),
        (["--estimator", "score"], "error: --train-particles: expected at least 2 with --estimator score,"),
        (["--estimator", "score"], "give more particles, or --estimator pathwise"),
        (["--estimator", "stl", "--objective", "iwae"], "with --objective iwae"),
        (["--estimator", "stl", "--objective", "iwae"], "give --estimator dreg"),
        (["--train-particles", "0"], "error: --train-particles: expected at least 1"),
        (["--num-particles", "0"], "error: --num-particles: expected at least 1"),
        (["--patience", "2", "--validation", "0"], "error: --patience: expected held-out rows"),
        (["--patience", "2", "--validation", "0"], "give --validation 0.1"),
        (["--objective", "vae"], "objective"),
        (["--condition", "5"], "by place from 0 to 4, got '5'"),
        (["--condition", "-6"], "by place from 0 to 4, got '-6'"),
        (["--condition", "age"], "column_0, column_1, column_2, column_3, column_4"),
        (["--condition", ""], "--condition : expected different columns"),
        (["--condition", "1,column_1"], "different columns"),
        (["--condition", "0,1,2,3,4"], "fewer than the 5"),
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


@pytest.mark.parametrize(("command", "rows"), [("impute", 7), ("score", 20)])
def test_rows_without_a_mode_are_told_of_in_one_line(tmp_path, capsys, command, rows):
    x = np.random.default_rng(0).poisson(2.0, (20, 4)).astype(float)
    vae = ek.VAE(2, hidden=(8,), likelihood=ek.likelihood.Poisson())
    vae.fit(x, epochs=1, validation=0.0, progress=False)
    weights = {name: values * 1e30 for name, values in vae.parameters().items() if name.startswith("decoder")}
    put(vae, weights)
    model, data, out = (str(tmp_path / name) for name in ("m.safetensors", "x.npy", "out.npy"))
    vae.save(model)
    x[:7, 2] = np.nan
    np.save(data, x)
    assert cli.main([command, model, data, "--out", out]) == 0
    err = capsys.readouterr().err
    assert f": no mode was found for {rows} of {rows} rows" in err
    assert err.startswith("elbokit: warning: ")
    assert err.count("\n") == 1


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
    assert "error: --num-particles: " in _refused(capsys, ["report", model, rows, "--num-particles", "0"])[0]
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
    verbs = ("fit", "score", "encode", "sample", "impute", "report")
    for arguments in (["--help"], *([verb, "--help"] for verb in verbs), ["--version"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 0
    text = capsys.readouterr().out
    for word in ("--likelihood", "--num-particles", "MODEL", "elbokit 0."):
        assert word in text
    assert "fit | score | encode | sample | impute | report" in _refused(capsys, [])[0]


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


# Priors, estimators, conditions


def test_prior_objective_and_estimator_are_those_of_the_library(tmp_path, capsys, rows):
    X = np.load(rows)
    options = ["--prior", "vamp", "--prior-components", "5", "--objective", "iwae", "--train-particles", "3",
               "--estimator", "dreg", "--validation", "0", "--key", "2"]  # fmt: skip
    picture = tmp_path / "x.png"
    arguments = ["fit", rows, "--out", str(tmp_path / "m"), "--plot", str(picture), "--quiet", *_SMALL, *options]
    assert cli.main(arguments) == 0
    capsys.readouterr()
    vae = ek.VAE(2, hidden=(8,), prior="vamp", prior_components=5)
    vae.fit(
        X[np.random.default_rng(2).permutation(60)], epochs=2, objective="iwae", num_particles=3, estimator="dreg",
        validation=0.0, progress=False, key=2,
    )  # fmt: skip
    vae.save(tmp_path / "expected")
    assert (tmp_path / "m").read_bytes() == (tmp_path / "expected").read_bytes()
    assert picture.exists()
    # Rows that are drawn come from the learned prior.
    assert cli.main(["sample", str(tmp_path / "m"), "--n", "7", "--key", "4", "--out", str(tmp_path / "x.npy")]) == 0
    assert np.array_equal(np.load(tmp_path / "x.npy"), vae.sample(7, key=4))


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """Path of a .csv file of 80 rows; all columns but "dose" and "kind" hang on these two."""
    rng = np.random.default_rng(5)
    dose, kind = rng.normal(size=80).round(3), rng.integers(2, size=80)
    frame = pl.DataFrame(
        {
            "weight": (70 + 5 * dose + rng.normal(size=80)).round(3),
            "dose": dose,
            "visits": rng.poisson(3 + 4 * kind),
            "kind": kind.astype(bool),
            "pulse": (60 + 10 * kind + rng.normal(size=80)).round(3),
        }
    )
    path = tmp_path_factory.mktemp("beside") / "rows.csv"
    frame.write_csv(path)
    return str(path)


@pytest.fixture(scope="module")
def conditional(tmp_path_factory, beside):
    """Path of a model of these rows, beside kind and dose."""
    path = tmp_path_factory.mktemp("conditional") / "model.safetensors"
    assert cli.main(["fit", beside, "--out", str(path), "--condition", "kind,dose", "--quiet", *_SMALL]) == 0
    return str(path)


def _apart(beside):
    """The rows that are modelled, and their condition."""
    X = tables.read(beside).rows
    return X[:, [0, 2, 4]], X[:, [3, 1]]


def test_a_condition_is_taken_out_of_the_rows_by_name_or_place(tmp_path, capsys, beside, conditional):
    assert ek.VAE.load(conditional).condition_width == 2
    for number, columns in enumerate(("3,1", "kind, 1", "-2,-4")):
        out = tmp_path / f"{number}"
        arguments = ["fit", beside, "--out", str(out), f"--condition={columns}", *_SMALL]
        assert cli.main(arguments) == 0
        assert "80 rows, 3 columns, beside a condition of 2, float64" in capsys.readouterr().out
        assert out.read_bytes() == Path(conditional).read_bytes()
    X, condition = _apart(beside)
    order = np.random.default_rng(0).permutation(80)
    train, held_out = order[8:], order[:8]
    vae = ek.VAE(2, hidden=(8,), likelihood=ek.likelihood.Gaussian("predicted"))
    vae.fit(
        X[train], condition=condition[train], validation=(X[held_out], condition[held_out]), epochs=2, progress=False,
        key=0,
    )  # fmt: skip
    vae.save(tmp_path / "expected")
    # The command's file has the columns' names besides.
    assert (tmp_path / "expected").read_bytes() == ek.VAE.load(conditional).core.to_bytes()


def test_every_command_asks_for_the_condition_and_uses_it(tmp_path, capsys, beside, conditional):
    vae, (X, condition) = ek.VAE.load(conditional), _apart(beside)
    given = [conditional, beside, "--condition", "kind,dose"]
    assert cli.main(["score", *given, "--num-particles", "30", "--out", str(tmp_path / "s.npy")]) == 0
    scores = np.load(tmp_path / "s.npy")
    assert np.array_equal(scores["elbo"], vae.elbo(X, condition=condition).elbo)
    evidence = vae.log_evidence(X, condition=condition, num_particles=30)
    assert np.array_equal(scores["estimate"], evidence.estimate)
    assert cli.main(["encode", *given, "--out", str(tmp_path / "z.npz")]) == 0
    assert np.array_equal(np.load(tmp_path / "z.npz")["loc"], vae.encode(X, condition=condition).loc)
    capsys.readouterr()
    assert cli.main(["report", *given, "--num-particles", "30"]) == 0
    text = capsys.readouterr().out
    assert any(name in text for name in ("weight (", "visits (", "pulse ("))
    assert not any(name in text for name in ("dose (", "kind (", "column 0"))
    assert cli.main(["impute", *given, "--num-particles", "30"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "weight,dose,visits,kind,pulse"
    for verb in ("score", "encode", "impute", "report"):
        for options, message in {
            (): f"{conditional} was fitted beside a condition of 2 columns: name the columns of {beside}",
            ("--condition", "kind"): "--condition kind: expected 2 columns, as",
            ("--condition", "kind,age"): "(weight, dose, visits, kind, pulse) or by place from 0 to 4, got 'age'",
        }.items():
            assert message in _refused(capsys, [verb, conditional, beside, *options])[0]


def test_a_condition_of_a_model_without_one_is_refused(capsys, model, rows):
    for verb in ("score", "encode", "impute", "report"):
        err, _ = _refused(capsys, [verb, model, rows, "--condition", "0"])
        assert "was fitted without a condition; leave it out" in err
    assert "was fitted without a condition" in _refused(capsys, ["sample", model, "--given", "1"])[0]


def test_a_condition_has_no_missing_cell(tmp_path, capsys):
    (tmp_path / "x.csv").write_text("a,b,c\n" + "1,2,3\n" * 20 + "1,2,\n")
    arguments = ["fit", str(tmp_path / "x.csv"), "--out", str(tmp_path / "m"), *_SMALL]
    assert "column 'c', row 20 (from 0): expected a finite" in _refused(capsys, [*arguments, "--condition", "a,c"])[0]
    assert not (tmp_path / "m").exists()
    assert cli.main([*arguments, "--condition", "a,b"]) == 0


def test_digits_beside_some_of_their_cells_are_drawn(tmp_path, capsys):
    arguments = ["fit", "digits", "--out", str(tmp_path / "m"), "--plot", str(tmp_path / "x.png"), *_SMALL]
    assert cli.main([*arguments, "--condition", "20,pixel_3_3", "--prior", "mixture"]) == 0
    assert "62 columns, beside a condition of 2" in capsys.readouterr().out
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_codes_are_drawn_as_codes(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 3, (40, 4)))
    arguments = ["fit", str(tmp_path / "x.npy"), "--out", str(tmp_path / "m"), "--likelihood", "categorical(3)"]
    assert cli.main([*arguments, "--plot", str(tmp_path / "x.png"), *_SMALL]) == 0
    assert "drew" in capsys.readouterr().out


# What a model knows of rows, and rows that it makes


def test_encode_writes_loc_and_log_var_in_every_format(tmp_path, capsys, model, rows):
    posterior = ek.VAE.load(model).encode(np.load(rows))
    names = ["loc_0", "loc_1", "log_var_0", "log_var_1"]
    expected = np.concatenate(posterior, axis=1)
    for ending in ("csv", "npy", "npz", "parquet"):
        out = tmp_path / f"z.{ending}"
        assert cli.main(["encode", model, rows, "--out", str(out)]) == 0
        assert capsys.readouterr().out == f"{rows}, 60 rows: 2 latents each; wrote {out}\n"
    assert cli.main(["encode", model, rows]) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "z.csv").read_text()
    table = tables.read(str(tmp_path / "z.csv"))
    assert list(table.columns) == names
    assert np.array_equal(table.rows.astype(np.float32), expected)
    array, frame = np.load(tmp_path / "z.npy"), pl.read_parquet(tmp_path / "z.parquet")
    assert list(array.dtype.names) == frame.columns == names
    assert np.array_equal(np.stack([array[name] for name in names], axis=1), expected)
    assert np.array_equal(frame.to_numpy(), expected)
    arrays = np.load(tmp_path / "z.npz")
    assert arrays.files == ["loc", "log_var"]
    assert np.array_equal(arrays["log_var"], posterior.log_var)


def test_sample_writes_rows_that_are_read_again_in_every_format(tmp_path, capsys, model):
    expected = ek.VAE.load(model).sample(12, key=3)
    for ending in ("csv", "npy", "npz", "parquet"):
        out = str(tmp_path / f"x.{ending}")
        assert cli.main(["sample", model, "--n", "12", "--key", "3", "--out", out]) == 0
        assert capsys.readouterr().out == f"{model}: drew 12 rows of 5 columns; wrote {out}\n"
        table = tables.read(out)
        assert table.columns == tuple(f"column_{j}" for j in range(5))
        assert np.array_equal(table.rows.astype(np.float32), expected)
        assert cli.main(["score", model, out, "--num-particles", "2"]) == 0
        capsys.readouterr()
    assert cli.main(["sample", model, "--n", "12", "--key", "3"]) == 0
    assert capsys.readouterr().out == (tmp_path / "x.csv").read_text()
    assert cli.main(["sample", model]) == 0
    assert capsys.readouterr().out.count("\n") == 101
    assert cli.main(["sample", model, "--n", "0"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    for options, message in {
        ("--n", "-1"): "n: expected at least 0",
        ("--n", "few"): "--n",
        ("--key", "-1"): "key",
        ("--out", str(tmp_path / "x.xlsx")): ".csv",
        ("--out", model): "same file",
    }.items():
        assert message in _refused(capsys, ["sample", model, *options])[0]


def test_sample_beside_a_condition(tmp_path, capsys, conditional):
    vae, out = ek.VAE.load(conditional), tmp_path / "x.npy"
    assert cli.main(["sample", conditional, "--n", "9", "--given", "1,-0.5", "--out", str(out)]) == 0
    drawn = np.load(out)
    assert np.array_equal(drawn[:, :3], vae.sample(9, condition=[[1.0, -0.5]], key=0))
    assert (drawn[:, 3:] == [1.0, -0.5]).all()
    # What is drawn has its condition behind it, by which it is scored.
    assert cli.main(["sample", conditional, "--n", "9", "--given", "1,-0.5", "--out", str(tmp_path / "x.csv")]) == 0
    score = ["score", conditional, str(tmp_path / "x.csv"), "--condition", "kind,dose"]
    assert cli.main([*score, "--num-particles", "2"]) == 0
    each = np.random.default_rng(0).normal(size=(4, 2))
    np.save(tmp_path / "c.npy", each)
    capsys.readouterr()
    assert cli.main(["sample", conditional, "--given", str(tmp_path / "c.npy"), "--out", str(out)]) == 0
    assert "drew 4 rows of 5 columns" in capsys.readouterr().out
    assert np.array_equal(np.load(out)[:, :3], vae.sample(4, condition=each, key=0).astype(np.float64))
    for options, message in {
        (): "was fitted beside a condition of 2 columns: give it, such as --given 0,0",
        ("--given", "1"): "--given 1: expected 2 columns",
        ("--given", str(tmp_path / "c.npy"), "--n", "5"): "expected 5 rows, or one for all, got 4",
        ("--given", "no.csv"): "no.csv: No such file",
        ("--given", "1,nan"): "error: --given 1,nan: expected finite numbers",
        ("--given", "1,1", "--n", "-1"): "error: --n: expected",
    }.items():
        assert message in _refused(capsys, ["sample", conditional, *options])[0]


def _named(path, columns, order=None):
    frame = pl.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), schema=list(columns))
    frame.select(list(order or columns)).write_csv(path)
    return str(path)


def test_a_model_knows_the_names_of_its_columns(tmp_path, capsys):
    data, model = _named(tmp_path / "abc.csv", "abc"), str(tmp_path / "m")
    assert cli.main(["fit", data, "--out", model, "--quiet", *_SMALL]) == 0
    capsys.readouterr()
    turned = _named(tmp_path / "cba.csv", "abc", "cba")
    for verb in ("score", "encode", "impute", "report"):
        text, out = _refused(capsys, [verb, model, turned])
        assert (
            f"{turned}: expected the columns of {model}, a, b, c, got c, b, a: 'a' where 'c' stands; put them in"
            in text
        )
        assert out == ""
    assert cli.main(["score", model, data]) == 0
    expected, err = capsys.readouterr()
    assert err == ""
    # Other names are warned of, and rows without any are what they were.
    for name, columns, warned in (("xbz.csv", "xbz", True), ("012.csv", "012", False)):
        assert cli.main(["score", model, _named(tmp_path / name, columns)]) == 0
        got, err = capsys.readouterr()
        assert got == expected
        assert err.startswith("elbokit: warning: ") == warned
        assert ("got x, b, z; they are taken by their places" in err) == warned
    assert "expected 3 columns, got 2" in _refused(capsys, ["score", model, _named(tmp_path / "x.csv", "abc", "ba")])[0]
    assert cli.main(["sample", model, "--n", "4"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "a,b,c"
    # They are of the file, and go with the model until it is fitted again.
    vae = ek.VAE.load(model)
    for other in (vae, pickle.loads(pickle.dumps(vae))):
        other.save(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == Path(model).read_bytes()
    vae.fit(np.zeros((20, 3)), epochs=1, validation=0.0, progress=False)
    vae.save(tmp_path / "again")
    assert b"elbokit.columns" not in (tmp_path / "again").read_bytes()


def test_a_model_knows_the_names_of_its_condition(tmp_path, capsys):
    data, model = _named(tmp_path / "abc.csv", "abc"), str(tmp_path / "m")
    assert cli.main(["fit", data, "--condition", "c,a", "--out", model, "--quiet", *_SMALL]) == 0
    capsys.readouterr()
    text, _ = _refused(capsys, ["score", model, data, "--condition", "a,c"])
    assert (
        f"{data}: expected the columns of {model}, b beside c, a, got b beside a, c: 'c' where 'a' stands; put them in"
        in text
    )
    text, _ = _refused(capsys, ["score", model, data, "--condition", "c,b"])
    assert "b beside c, a, got a beside c, b: 'b' where 'a' stands; put them in" in text
    given = _named(tmp_path / "ac.csv", "abc", "ac")
    assert (
        "b beside c, a, got b beside a, c: 'c' where 'a' stands; put"
        in _refused(capsys, ["sample", model, "--given", given])[0]
    )
    assert cli.main(["sample", model, "--given", _named(tmp_path / "ca.csv", "abc", "ca"), "--n", "40"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "b,c,a"


def test_a_file_without_names_gives_the_bytes_that_a_model_has_without_the_command(model):
    data = Path(model).read_bytes()
    assert b"elbokit.columns" not in data
    vae = ek.VAE.load(model)
    assert vae.core.to_bytes() == data


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"columns": ["a", "b", "c"]}',
        '{"columns": ["a", "b"], "condition": []}',
        '{"columns": ["a", "b", 3], "condition": []}',
        '{"columns": ["a", "b", "c"], "condition": ["d"]}',
    ],
)
def test_broken_names_are_a_model_file_error(tmp_path, text):
    vae = ek.VAE(1, hidden=(4,))
    vae.fit(np.random.default_rng(0).normal(size=(20, 3)), epochs=1, progress=False)
    (tmp_path / "m").write_bytes(_metadata.added(vae.core.to_bytes(), {"elbokit.columns": text}))
    with pytest.raises(ek.ModelFileError, match=r"elbokit\.columns"):
        ek.VAE.load(tmp_path / "m")


def test_a_line_without_all_cells_is_an_error_of_its_line(tmp_path, capsys):
    (tmp_path / "x.csv").write_text("a,b\n" + "1,2\n" * 30 + "3\n")
    err, _ = _refused(capsys, ["fit", str(tmp_path / "x.csv"), "--out", str(tmp_path / "m"), *_SMALL])
    assert "x.csv, line 32: expected 2 cells, as there are columns, got 1;" in err
    assert not (tmp_path / "m").exists()


def test_impute_fills_the_missing_cells_alone(tmp_path, capsys, model, rows):
    X = np.load(rows)
    holes = np.where(np.random.default_rng(1).random(X.shape) < 0.2, np.nan, X)
    np.save(tmp_path / "holes.npy", holes)
    count = int(np.isnan(holes).sum())
    expected = ek.VAE.load(model).impute(holes, key=3, num_particles=40)
    arguments = ["impute", model, str(tmp_path / "holes.npy"), "--key", "3", "--num-particles", "40"]
    for ending in ("csv", "npy", "npz", "parquet"):
        out = str(tmp_path / f"x.{ending}")
        assert cli.main([*arguments, "--out", out]) == 0
        assert capsys.readouterr().out == f"{tmp_path / 'holes.npy'}, 60 rows: {count} cells filled; wrote {out}\n"
        assert np.array_equal(tables.read(out).rows, expected)
    assert np.array_equal(expected[~np.isnan(holes)], X[~np.isnan(holes)])
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == (tmp_path / "x.csv").read_text()
    assert "error: --num-particles: " in _refused(capsys, [*arguments, "--num-particles", "0"])[0]
    assert "same file" in _refused(capsys, [*arguments, "--out", str(tmp_path / "holes.npy")])[0]


def test_impute_keeps_observed_cells_and_the_dtypes_of_columns_without_a_hole(tmp_path, capsys, beside, conditional):
    frame = pl.read_csv(beside)
    holes = frame.with_columns(pl.when(pl.int_range(80) % 3 == 0).then(None).otherwise("pulse").alias("pulse"))
    given = ["--condition", "kind,dose", "--num-particles", "20"]
    vae, (X, condition) = ek.VAE.load(conditional), _apart(beside)
    X[::3, 2] = np.nan
    pulse = vae.impute(X, condition=condition, num_particles=20)[:, 2]
    for ending, write, read in (
        ("csv", pl.DataFrame.write_csv, pl.read_csv),
        ("parquet", pl.DataFrame.write_parquet, pl.read_parquet),
    ):
        data, out = tmp_path / f"holes.{ending}", tmp_path / f"filled.{ending}"
        write(holes, data)
        assert cli.main(["impute", conditional, str(data), "--out", str(out), *given]) == 0
        filled = read(out)
        assert filled.schema == frame.schema
        assert filled.drop("pulse").equals(frame.drop("pulse"))
        assert np.array_equal(filled["pulse"].to_numpy(), pulse)
        capsys.readouterr()


def test_a_warning_names_options(tmp_path, capsys, rows):
    cli.main(["fit", rows, "--out", str(tmp_path / "m"), *_SMALL, "--learning-rate", "1e30"])
    warning = next(line for line in capsys.readouterr().err.splitlines() if "were not taken" in line)
    assert warning.endswith("; lower --learning-rate, or look for extreme values in X")


def test_no_cure_is_named_that_the_command_does_not_have(tmp_path, capsys):
    far = tmp_path / "far.csv"
    far.write_text("a,b\n" + "1,2\n3,5\n4,1e300\n" * 9)
    told = _refused(capsys, ["fit", str(far), "--out", str(tmp_path / "m"), *_SMALL])[0]
    assert "got 1e+300 at row" in told
    assert told.endswith("; scale the column\n")
    quoted = "X: column 'learning_rate' of learning_rate/x.csv; lower learning_rate"
    assert cli_options.in_options(quoted) == "X: column 'learning_rate' of learning_rate/x.csv; lower --learning-rate"


def test_an_error_of_data_stays_as_it_is():
    text = "key.csv: column 3 ('prior=\"a\"'), row 0: expected learning_rate=1"
    with pytest.raises(ek.ShapeError) as caught, cli_options.named():
        raise ek.ShapeError(text, argument="key.csv")
    assert str(caught.value) == text


def _numbered(id_type, hole):
    """Ids past 2**53 beside numbers of another column, with a hole there or among the ids."""
    ids = [2**60 + 1 + i for i in range(60)] if id_type != pl.UInt64 else [2**63 + 2**60 + 1 + i for i in range(60)]
    x = np.random.default_rng(0).normal(size=60).tolist()
    (x if hole == "x" else ids)[4] = None
    if id_type == pl.Decimal:
        return pl.DataFrame({"id": ids, "x": x}, schema={"id": pl.Decimal(38, 0), "x": pl.Float64})
    return pl.DataFrame({"id": ids, "x": x}, schema={"id": id_type, "x": pl.Float64})


@pytest.mark.parametrize("hole", ["x", "id"])
@pytest.mark.parametrize("id_type", [pl.Int64, pl.UInt64, pl.Decimal])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_impute_keeps_whole_numbers_that_no_float_holds(tmp_path, capsys, ending, id_type, hole):
    frame = _numbered(id_type, hole)
    data, out = tmp_path / f"x.{ending}", tmp_path / f"filled.{ending}"
    frame.write_csv(data) if ending == "csv" else frame.write_parquet(data)
    assert cli.main(["fit", str(data), "--out", str(tmp_path / "m"), "--quiet", *_SMALL]) == 0
    assert cli.main(["impute", str(tmp_path / "m"), str(data), "--out", str(out), "--num-particles", "9"]) == 0
    capsys.readouterr()
    filled = pl.read_csv(out) if ending == "csv" else pl.read_parquet(out)
    assert filled.null_count().sum_horizontal().item() == 0
    for name in frame.columns:
        there = frame[name].is_not_null()
        of = float if name == "x" else int
        assert list(map(of, filled[name].filter(there))) == list(map(of, frame[name].filter(there)))
    if ending == "parquet":
        assert filled.schema == frame.schema


def test_impute_keeps_whole_numbers_with_spaces_and_without_end(tmp_path, capsys):
    data, out = tmp_path / "x.csv", tmp_path / "filled.csv"
    data.write_text("id,long,x\n" + "".join(f" {2**60 + 1 + i}, {i},{2**65 + 1 + i}\n" for i in range(40)) + " 7, ,3\n")
    assert cli.main(["fit", str(data), "--out", str(tmp_path / "m"), "--quiet", *_SMALL]) == 0
    assert cli.main(["impute", str(tmp_path / "m"), str(data), "--out", str(out), "--num-particles", "9"]) == 0
    capsys.readouterr()
    cells = [line.split(",") for line in out.read_text().splitlines()[1:]]
    assert [(int(a), int(c)) for a, _, c in cells[:-1]] == [(2**60 + 1 + i, 2**65 + 1 + i) for i in range(40)]
    assert (cells[-1][0], cells[-1][2]) == ("7", "3")
    # One array has one dtype, which is said.
    array = str(tmp_path / "filled.npy")
    assert cli.main(["impute", str(tmp_path / "m"), str(data), "--out", array, "--num-particles", "9"]) == 0
    assert "filled.npy: an array of floats rounds 'id', 'x'; write .csv or .parquet" in capsys.readouterr().err
