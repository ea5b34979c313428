"""A table of tumours: odd rows with p-values, missing cells filled, synthetic rows with their diagnosis.

python examples/table.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer

import elbokit as ek

BENIGN, MALIGNANT = "#1f6fb4", "#d1552c"


def main(folder: Path, epochs: int = 600) -> None:
    """Train two models, print what they find, draw it into the folder."""
    data = load_breast_cancer()  # 569 tumours, 30 measurements each
    diagnosis = data.target_names[data.target]
    order = np.random.default_rng(0).permutation(len(data.data))
    table = pl.DataFrame(data.data, schema=list(data.feature_names)).with_columns(diagnosis=pl.Series(diagnosis))[order]

    figure = Figure(figsize=(12.0, 9.0), dpi=80, layout="constrained")
    (upper_left, upper_right), (lower_left, lower_right) = figure.subplots(2, 2)
    anomalies(table, epochs, upper_left, upper_right)
    model = ek.VAE.for_table(table, latent_dim=8, hidden=(64,))
    model.fit(table[:400], epochs=epochs, validation=0.15, patience=30, progress=False)
    imputation(model, table[400:], lower_left)
    synthesis(model, table, lower_right)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "table.png")
    model.save(folder / "table.safetensors")


def anomalies(table, epochs, scores, blame) -> None:
    """Train on benign tumours alone, calibrate on others of them, and judge the rest."""
    measured = table.drop("diagnosis")
    benign, malignant = (measured.filter(table["diagnosis"] == name) for name in ("benign", "malignant"))
    train, reference, fresh = benign[:180], benign[180:270], benign[270:]
    # Measurements have heavy tails: Student's t scores fresh benign rows higher than the Gaussian that is proposed.
    model = ek.VAE.for_table(train, dict.fromkeys(train.columns, "student_t"), latent_dim=12, hidden=(64,))
    model.fit(train, epochs=epochs, learning_rate=2e-3, validation=0.15, patience=30, progress=False)
    model.calibrate(reference)
    for name, rows in (("fresh benign", fresh), ("malignant", malignant)):
        print(f"alerts at p ≤ 0.05: {(model.p_value(rows) <= 0.05).mean():.0%} of {len(rows)} {name} tumours")

    threshold = np.quantile(model.elbo(reference).elbo, 0.05)
    edges = np.linspace(threshold - 150, model.elbo(fresh).elbo.max(), 60)
    for name, rows, colour in (("benign, not trained on", fresh, BENIGN), ("malignant", malignant, MALIGNANT)):
        # What lies further to the left counts in the first bin.
        scores.hist(model.elbo(rows).elbo.clip(edges[0]), edges, color=colour, alpha=0.6, label=name, density=True)
    scores.axvline(threshold, color="black", linewidth=0.8, linestyle=":", label="p = 0.05")
    scores.set(title="odd rows: trained on benign tumours alone", xlabel="ELBO, nats a row", yticks=[])
    scores.legend(frameon=False, loc="upper left")

    oddest = int(np.argmin(model.elbo(malignant).elbo))
    usual = model.elbo_per_column(reference).mean()
    lost = (model.elbo_per_column(malignant[oddest]) - usual).transpose(include_header=True).sort("column_0")[:8]
    print(f"the oddest tumour is so by its {lost['column'][0]}")
    blame.barh(lost["column"].to_list()[::-1], -lost["column_0"].to_numpy()[::-1], color=MALIGNANT)
    blame.set(title="which columns made the oddest row odd", xlabel="nats below the usual")


def imputation(model, rows, axes) -> None:
    """Take a fifth of the cells away from rows that the model was not trained on, and put them back."""
    names = [name for name in rows.columns if name != "diagnosis"]
    truth = rows.select(names).to_numpy()
    gone = np.random.default_rng(1).random(truth.shape) < 0.2
    holes = rows.with_columns(
        [pl.Series(name, np.where(gone[:, j], np.nan, truth[:, j])) for j, name in enumerate(names)]
    )
    filled = model.impute(holes).select(names).to_numpy()
    mean, spread = truth.mean(axis=0), truth.std(axis=0)
    true, guess = ((x - mean) / spread for x in (truth, filled))
    error, by_mean = np.abs(guess - true)[gone].mean(), np.abs(true)[gone].mean()
    print(
        f"missing cells are filled to {error:.2f} standard deviations on average, by the column's mean to {by_mean:.2f}"
    )
    axes.scatter(true[gone], guess[gone], s=6, color=BENIGN, alpha=0.5, linewidths=0)
    axes.axline((0, 0), slope=1, color="black", linewidth=0.8, linestyle=":")
    axes.set(
        title=f"a fifth of the cells filled: off by {error:.2f} σ (mean: {by_mean:.2f})", xlabel="true", ylabel="filled"
    )


def synthesis(model, table, axes) -> None:
    """Draw rows, measurements and diagnosis together."""
    drawn = model.sample(len(table), key=2)
    x, y = "mean radius", "mean concave points"
    for name, colour in (("benign", BENIGN), ("malignant", MALIGNANT)):
        for rows, marker, kind in ((table, "o", "measured"), (drawn, "+", "drawn")):
            shown = rows.filter(rows["diagnosis"] == name)
            axes.scatter(shown[x], shown[y], s=22, marker=marker, color=colour, alpha=0.55, label=f"{name}, {kind}")
    drawn_share, share = ((rows["diagnosis"] == "malignant").mean() for rows in (drawn, table))
    print(f"of the drawn rows {drawn_share:.0%} are malignant, of the measured {share:.0%}")
    axes.set(title="synthetic rows, with their diagnosis", xlabel=x, ylabel=y)
    axes.legend(frameon=False)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
