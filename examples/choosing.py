"""Which likelihood, prior, weight and size: the numbers of docs/choosing.md, section by section, and its picture.

python examples/choosing.py [FOLDER] [SECTION ...]

Every table compares models on rows that none of them was trained on, under two keys. Numbers are means over rows and
keys, in nats a row, ± half the distance of the two keys' means. "beside the first" is the difference in evidence to the
table's first line, taken row by row, ± its standard error over the rows. Seconds are the processor's, of all threads
together, a fit.
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

import elbokit as ek
from elbokit import likelihood as lik

INK, ACCENT, MUTED = "#1f6fb4", "#d1552c", "#8a8f98"


@dataclass
class Data:
    """Rows, how they are split under a key, and the model and fit that a choice departs from."""

    X: np.ndarray
    splits: Callable[[int], Iterable[tuple[np.ndarray, np.ndarray]]]
    model: dict
    fit: dict


@dataclass
class Scores:
    """Of one choice under one key: by held-out row, and of the fits."""

    elbo: np.ndarray
    kl: np.ndarray
    evidence: np.ndarray
    active: float
    used: float
    epochs: float
    seconds: float
    judged: float
    vae: ek.VAE | None


def digits() -> Data:
    """1,797 images of 64 cells, each a count from 0 to 16; one split, the one of the demo."""
    X = load_digits().data
    split = np.split(np.random.default_rng(0).permutation(len(X)), [1500])
    return Data(
        X,
        lambda _: [split],
        {"latent_dim": 16, "hidden": (256,), "likelihood": lik.Binomial(16)},
        {"epochs": 200, "validation": 0.0},
    )


def table(load: Callable) -> Data:
    """Measurements; five folds, so that every row is scored once by a model that did not see it."""
    X = load().data

    def folds(key: int) -> list:
        parts = np.array_split(np.random.default_rng(key).permutation(len(X)), 5)
        return [(np.concatenate(parts[:i] + parts[i + 1 :]), parts[i]) for i in range(5)]

    return Data(
        X,
        folds,
        {"latent_dim": 4, "hidden": (64,), "activation": "tanh"},
        {"epochs": 400, "batch_size": 32, "validation": 0.0},
    )


def tried(
    data: Data, bench: dict, view: Callable | None = None, judge: Callable | None = None, **options
) -> list[Scores]:
    """The scores of one choice, an entry a key.

    `options` are of `VAE` or of its `fit`, `view` changes the rows first, `judge` makes one number more of a model, its
    training rows and the held-out ones.
    """
    of_model = ek.VAE.__init__.__annotations__
    model = data.model | {name: value for name, value in options.items() if name in of_model}
    fit = data.fit | {name: value for name, value in options.items() if name not in of_model}
    fit["epochs"] = min(fit["epochs"], bench["epochs"])
    X = data.X if view is None else view(data.X)
    scores = []
    for key in bench["keys"]:
        rows, order, fits = [], [], []
        for train, held_out in data.splits(key):
            vae = ek.VAE(**model)
            began = time.process_time()
            history = vae.fit(X[train], **fit, progress=False, key=key)
            seconds = time.process_time() - began
            terms = vae.elbo(X[held_out])
            rows.append(
                [terms.elbo, terms.kl, vae.log_evidence(X[held_out], num_particles=bench["num_particles"]).estimate]
            )
            order.append(held_out)
            active = (vae.encode(X[train]).loc.var(axis=0) > 0.01).sum()
            used = (ek.gaussian.kl_per_dim(*vae.encode(X[held_out])).mean(axis=0) > 0.1).sum()
            judged = 0.0 if judge is None else judge(vae, X[train], X[held_out])
            fits.append([active, used, len(history.elbo), seconds, judged])
        rows = np.concatenate(rows, axis=1)[:, np.argsort(np.concatenate(order))]
        scores.append(Scores(*rows, *np.mean(fits, axis=0), vae))
    return scores


def over_keys(values) -> str:
    """Their mean and half their range."""
    values = np.array(values, dtype=float)
    return f"{values.mean():.2f} ± {np.ptp(values) / 2:.2f}".replace("-", "−")


def show(title: str, results: dict[str, list[Scores]], columns: list[str], judged: str = "") -> None:
    """Print a Markdown table with a line a choice; `judged` is the heading of the column "judged"."""
    print(f"\n| {title} | {' | '.join(columns).replace('judged', judged)} |\n|---|{'---|' * len(columns)}")
    first = None
    for name, scores in results.items():
        evidence = np.mean([s.evidence for s in scores], axis=0)
        if first is None:
            first = evidence
        less = evidence - first
        cells = {
            "ELBO": over_keys([s.elbo.mean() for s in scores]),
            "KL": over_keys([s.kl.mean() for s in scores]),
            "evidence": over_keys([s.evidence.mean() for s in scores]),
            "beside the first": "–"
            if evidence is first
            else f"{less.mean():+.2f} ± {less.std(ddof=1) / np.sqrt(len(less)):.2f}".replace("-", "−"),
            "active": f"{np.mean([s.active for s in scores]):.1f}".removesuffix(".0"),
            "KL > 0.1": f"{np.mean([s.used for s in scores]):.1f}".removesuffix(".0"),
            "epochs": f"{np.mean([s.epochs for s in scores]):.0f}",
            "judged": over_keys([s.judged for s in scores]),
            "seconds": f"{np.mean([s.seconds for s in scores]):.1f}",
        }
        print(f"| {name} | {' | '.join(cells[c] for c in columns)} |", flush=True)


def alike(vae: ek.VAE, _, held_out: np.ndarray, times: int = 10) -> float:
    """How often the nearest neighbour of a row, among real and drawn rows together, is of its own kind: ½ at best."""
    n, right = len(held_out), []
    for key in range(times):
        both = np.concatenate([held_out, vae.sample(n, key=key)])
        norms = (both**2).sum(axis=1)
        distance = norms[:, None] + norms - 2 * both @ both.T
        np.fill_diagonal(distance, np.inf)
        right.append(((distance.argmin(axis=1) < n) == (np.arange(2 * n) < n)).mean())
    return float(np.mean(right))


def counts(bench: dict) -> None:
    """Digits by likelihoods that are probabilities of the same rows, and by a density made comparable."""
    data = digits()
    noise = np.random.default_rng(1).random(data.X.shape)
    choices = {
        "`Binomial(16)`": {},
        "`Categorical(17)`": {"likelihood": lik.Categorical(17)},
        "`NegativeBinomial()`": {"likelihood": lik.NegativeBinomial()},
        "`ZeroInflatedNegativeBinomial()`": {"likelihood": lik.ZeroInflatedNegativeBinomial()},
        "`Poisson()`": {"likelihood": lik.Poisson()},
        '`Gaussian("shared")` of x + u': {"likelihood": lik.Gaussian("shared"), "view": noise.__add__},
        '`Gaussian("predicted")` of x + u': {"likelihood": lik.Gaussian("predicted"), "view": noise.__add__},
    }
    results = {name: tried(data, bench, **options) for name, options in choices.items()}
    show("digits, 64 counts a row", results, ["ELBO", "evidence", "beside the first", "seconds"])
    other = {
        '`Gaussian("predicted")` of x': {"likelihood": lik.Gaussian("predicted")},
        '`Gaussian("predicted")` of x / 16': {"likelihood": lik.Gaussian("predicted"), "view": lambda X: X / 16},
        "`ContinuousBernoulli()` of x / 16": {"likelihood": lik.ContinuousBernoulli(), "view": lambda X: X / 16},
        "`Bernoulli()` of x ≥ 8": {"likelihood": lik.Bernoulli(), "view": lambda X: X >= 8},
    }
    results = {name: tried(data, bench, **options) for name, options in other.items()}
    show("of other rows, or a density: not comparable", results, ["ELBO", "evidence"])


def simulated(kind: str, n: int, key: int):
    """Counts of 20 columns by two latents through a linear decoder, and their exact mean log evidence on a grid."""
    rng = np.random.default_rng(100)
    weight, offset = rng.normal(0, 0.6, (2, 20)), rng.uniform(0.5, 2.5, 20)
    law = {"Poisson": lik.Poisson(), "NB": lik.NegativeBinomial(), "ZINB": lik.ZeroInflatedNegativeBinomial()}[kind]

    def decoder(z):
        log_mean = z @ weight + offset
        blocks = {1: [log_mean], 2: [log_mean, np.full_like(log_mean, np.log(2.0))]}
        blocks[3] = [*blocks[2], np.full_like(log_mean, np.log(0.25 / 0.75))]
        return np.hstack(blocks[law.num_params(20) // 20])

    X = law.sample(decoder(ek.random.normal((n, 2), key=key, dtype=np.float64)), key=key + 1000)
    return X, law, decoder


def exact(X, law, decoder) -> np.ndarray:
    """ln ∫ p(x | z) p(z) dz of each row by the trapezoid rule.

    Half the step moves rows of the Poisson law, whose posteriors are the narrowest, by at most 0.014 nats and their
    mean by 0.0004; rows of the negative binomial by 3e-7 (60 rows of each).
    """
    axis = np.arange(-5.0, 5.01, 0.125)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    params = decoder(z)
    log_prior = -0.5 * (z**2).sum(axis=1) - np.log(2 * np.pi) + 2 * np.log(0.125)
    joint = (law.log_prob(np.broadcast_to(x, (len(z), len(x))), params) + log_prior for x in X)
    return np.array([np.logaddexp.reduce(values) for values in joint])


def overdispersed(bench: dict) -> None:
    """Simulated counts, whose evidence under the law that made them is known."""
    kinds = ("Poisson", "NB", "ZINB")
    cells = {}
    for kind in kinds:
        X, law, decoder = simulated(kind, 2500, key=1)
        truth = exact(X[2000:], law, decoder)
        data = Data(
            X,
            lambda _: [(np.arange(2000), np.arange(2000, 2500))],
            {"latent_dim": 2, "hidden": (32,)},
            {"epochs": 400, "validation": 0.15, "patience": 30},
        )
        for model in (lik.Poisson(), lik.NegativeBinomial(), lik.ZeroInflatedNegativeBinomial()):
            scores = tried(data, bench, likelihood=model)
            cells[f"`{model!r}`", kind] = over_keys([(s.evidence - truth).mean() for s in scores])
        print(f"truth {kind}: evidence {truth.mean():.2f}, variance over mean {X.var() / X.mean():.1f}")
    print(f"\n| evidence less the truth's | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for name in dict.fromkeys(name for name, _ in cells):
        print(f"| {name} | {' | '.join(cells[name, kind] for kind in kinds)} |")


def measurements(bench: dict) -> None:
    """Tables of real numbers: every likelihood is a density of the same rows."""
    choices = {
        '`Gaussian("per_feature")`': lik.Gaussian("per_feature"),
        '`Gaussian("shared")`': lik.Gaussian("shared"),
        '`Gaussian("predicted")`': lik.Gaussian("predicted"),
        '`StudentT(4.0, "per_feature")`': lik.StudentT(4.0, "per_feature"),
        '`StudentT(4.0, "predicted")`': lik.StudentT(4.0, "predicted"),
        '`Laplace("per_feature")`': lik.Laplace("per_feature"),
        '`Laplace("predicted")`': lik.Laplace("predicted"),
    }
    for load in (load_breast_cancer, load_wine):
        data, name = table(load), load.__name__.removeprefix("load_")
        results = {label: tried(data, bench, likelihood=model) for label, model in choices.items()}
        results["factor analysis, exact"] = [factor_analysis(data, key) for key in bench["keys"]]
        show(name, results, ["ELBO", "evidence", "beside the first", "seconds"])


def factor_analysis(data: Data, key: int) -> Scores:
    """The linear model with as many latents, whose posterior is known: no gap."""
    rows, folds = np.empty(len(data.X)), data.splits(key)
    began = time.process_time()
    for train, held_out in folds:
        with warnings.catch_warnings():
            # That one column follows from others is said once a fold; the held-out rows judge it anyway.
            warnings.simplefilter("ignore", UserWarning)
            fit = ek.LinearGaussian.fit(data.X[train], data.model["latent_dim"], noise="diagonal")
        rows[held_out] = fit.log_evidence(data.X[held_out])
    seconds = (time.process_time() - began) / len(folds)
    return Scores(rows, np.full(len(rows), np.nan), rows, 0, 0, 0, seconds, 0.0, None)


def scale(bench: dict) -> None:
    """A scale fixed beforehand, in standard deviations of the columns, beside one that is learned."""
    data = table(load_breast_cancer)
    choices = {'"shared"': "shared", **{str(fixed): fixed for fixed in (1.0, 0.5, 0.3, 0.1, 0.03)}}
    results = {f"`Gaussian({name})`": tried(data, bench, likelihood=lik.Gaussian(s)) for name, s in choices.items()}
    show("breast_cancer", results, ["ELBO", "KL", "evidence", "active"])
    learned = [s.vae.parameters()["decoder.log_var"] for s in next(iter(results.values()))]
    print(f"the shared scale that is learned: {over_keys(np.exp(0.5 * np.ravel(learned)))} standard deviations")


def mixed(bench: dict) -> None:
    """Wine with its class: the class as what it is, or as a number."""
    data, wine = table(load_wine), load_wine()
    data.X = np.column_stack([wine.data, wine.target])
    choices = {}
    for kind in ("per_feature", "predicted"):
        real = lik.Gaussian(kind)
        both = lik.Columns([(list(range(13)), real), (13, lik.Categorical(3))])
        choices |= {f'"{kind}", class `Categorical(3)`': both, f'"{kind}", class a real number': real}

    def told(vae: ek.VAE, _, held_out: np.ndarray) -> float:
        holes = np.column_stack([held_out[:, :13], np.full(len(held_out), np.nan)])
        return 100 * (np.rint(vae.impute(holes)[:, 13]) == held_out[:, 13]).mean()

    results = {name: tried(data, bench, judge=told, likelihood=model) for name, model in choices.items()}
    show("wine", results, ["ELBO", "evidence", "judged"], "class right when filled, %")


def prior(bench: dict) -> dict:
    """Digits by prior."""
    choices = {"standard": {}}
    for name, components in (("mixture", 20), ("mixture", 50), ("vamp", 20), ("vamp", 100)):
        choices[f"{name}, {components}"] = {"prior": name, "prior_components": components}
    results = {name: tried(digits(), bench, judge=alike, **options) for name, options in choices.items()}
    show("prior", results, ["ELBO", "KL", "evidence", "beside the first", "judged", "seconds"], "samples told apart")
    return results


def weight(bench: dict) -> dict:
    """Digits by the weight of the KL, its schedules and free bits."""
    choices = {"1": {}} | {f"{beta}": {"kl_weight": beta} for beta in (0.1, 0.25, 0.5, 2.0, 4.0)}
    choices |= {
        "Linear(0, 1, 50)": {"kl_weight": ek.training.Linear(0.0, 1.0, 50)},
        "Cyclical(4, 200)": {"kl_weight": ek.training.Cyclical(4, epochs=200)},
        "1, free_bits=0.1": {"free_bits": 0.1},
        "1, free_bits=0.5": {"free_bits": 0.5},
        "1, free_bits=2": {"free_bits": 2.0},
    }
    results = {name: tried(digits(), bench, judge=alike, **options) for name, options in choices.items()}
    show("kl_weight", results, ["ELBO", "KL", "evidence", "beside the first", "active", "judged"], "samples told apart")
    return results


def objective(bench: dict) -> None:
    """Digits by what is maximised and how its gradient is estimated."""
    choices = {
        '"elbo", 1': {},
        '"elbo", 1, "stl"': {"estimator": "stl"},
        '"elbo", 8': {"num_particles": 8},
        '"iwae", 8': {"objective": "iwae", "num_particles": 8},
        '"iwae", 8, "dreg"': {"objective": "iwae", "num_particles": 8, "estimator": "dreg"},
    }
    results = {name: tried(digits(), bench, **options) for name, options in choices.items()}
    show("objective, num_particles, estimator", results, ["ELBO", "evidence", "beside the first", "seconds"])


def size(bench: dict) -> dict:
    """Digits by latents, widths and activation."""
    wide = {d: tried(digits(), bench, judge=alike, latent_dim=d) for d in (1, 2, 4, 8, 16, 32, 64)}
    show(
        "latent_dim", wide, ["ELBO", "KL", "evidence", "active", "KL > 0.1", "judged", "seconds"], "samples told apart"
    )
    nets = {
        "(256,)": {},
        "()": {"hidden": ()},
        "(64,)": {"hidden": (64,)},
        "(1024,)": {"hidden": (1024,)},
        "(256, 128)": {"hidden": (256, 128)},
        "(256, 256), layer_norm and residual": {"hidden": (256, 256), "layer_norm": True, "residual": True},
        "(256,), tanh": {"activation": "tanh"},
        "(256,), silu": {"activation": "silu"},
        "(256,), softplus": {"activation": "softplus"},
        "(256,), gelu": {"activation": "gelu"},
    }
    nets = {name: tried(digits(), bench, **options) for name, options in nets.items()}
    show("hidden, activation", nets, ["ELBO", "evidence", "beside the first", "seconds"])
    return wide


def small(bench: dict) -> None:
    """Tables of few rows by latents, net and what keeps latents in use."""
    line = ek.training.Linear(0.0, 1.0, 50)
    choices = {
        "4 latents, (64,), tanh": {},
        "(16,)": {"hidden": (16,)},
        "relu": {"activation": "relu"},
        "gelu": {"activation": "gelu"},
        "8 latents": {"latent_dim": 8},
        "16 latents": {"latent_dim": 16},
        "16 latents, Linear(0, 1, 50)": {"latent_dim": 16, "kl_weight": line},
        "16 latents, free_bits=0.1": {"latent_dim": 16, "free_bits": 0.1},
    }
    for load in (load_breast_cancer, load_wine):
        results = {name: tried(table(load), bench, **options) for name, options in choices.items()}
        columns = ["ELBO", "KL", "evidence", "beside the first", "KL > 0.1"]
        show(f'{load.__name__.removeprefix("load_")}, `"predicted"`', results, columns)


def length(bench: dict) -> None:
    """Epochs with and without patience, and the rate, where rows are few and where they are more."""

    def trained(vae: ek.VAE, train: np.ndarray, _) -> float:
        return vae.elbo(train).elbo.mean()

    choices = {str(epochs): {"epochs": epochs} for epochs in (50, 200, 800)}
    choices["800, cosine from 3e-3"] = {"epochs": 800, "learning_rate": 3e-3, "schedule": "cosine"}
    watched = {"epochs": 2000, "validation": 0.1}
    choices["patience=10"] = watched | {"patience": 10}
    choices["patience=Stopping()"] = watched | {"patience": ek.training.Stopping()}
    results = {name: tried(digits(), bench, judge=trained, **options) for name, options in choices.items()}
    columns = ["judged", "ELBO", "evidence", "epochs"]
    show("digits, epochs", results, columns, "ELBO, training rows")
    for load in (load_breast_cancer, load_wine):
        data = table(load)
        choices = {str(epochs): {"epochs": epochs} for epochs in (50, 200, 400, 1600)}
        choices["400, batch_size=128"] = {"batch_size": 128}
        watched = {"epochs": 1600, "validation": 0.15}
        choices["patience=30"] = watched | {"patience": 30}
        choices["patience=100"] = watched | {"patience": 100}
        choices["patience=Stopping()"] = watched | {"patience": ek.training.Stopping()}
        results = {name: tried(data, bench, judge=trained, **options) for name, options in choices.items()}
        show(f"{load.__name__.removeprefix('load_')}, epochs", results, columns, "ELBO, training rows")


def picture(weights: dict, sizes: dict, priors: dict) -> Figure:
    """Bounds by weight and by latents; below, held-out digits and drawn ones."""
    figure = Figure(figsize=(12.0, 7.6), dpi=80, layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.1, 1.0])
    betas = sorted((float(name), scores) for name, scores in weights.items() if name.replace(".", "").isdigit())
    latents = [(latent_dim, scores) for latent_dim, scores in sizes.items() if latent_dim >= 4]
    for axes, points in zip(upper.subplots(1, 2), (betas, latents), strict=True):
        places = [place for place, _ in points]
        for bound, colour, label in (("evidence", INK, "log evidence"), ("elbo", ACCENT, "ELBO")):
            values = np.array([[getattr(s, bound).mean() for s in scores] for _, scores in points])
            axes.plot(places, values.mean(axis=1), color=colour, marker="o", label=label)
            axes.fill_between(places, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.2, linewidth=0)
        axes.set_xscale("log", base=2)
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.margins(y=0.15)
        for place, scores in points:
            kl = np.mean([s.kl.mean() for s in scores])
            axes.annotate(f"{kl:.0f}", (place, 0.02), xycoords=("data", "axes fraction"), ha="center", color=MUTED)
        axes.set_ylabel("held out, nats a row")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="center", bbox_to_anchor=(0.6, 0.25))
    left, right = upper.axes
    left.set(title="the weight of the KL (grey: KL, nats a row)", xlabel="kl_weight")
    right.set(title="the number of latents (grey: KL, nats a row)", xlabel="latent_dim")

    digits_ = digits()
    grids = {
        "real, held out": digits_.X[next(iter(digits_.splits(0)))[1][:24]],
        "kl_weight=0.1": weights["0.1"][0].vae.sample(24, key=1),
        "kl_weight=1": weights["1"][0].vae.sample(24, key=1),
        "kl_weight=4": weights["4.0"][0].vae.sample(24, key=1),
        "mixture prior of 50": priors["mixture, 50"][0].vae.sample(24, key=1),
        "vamp prior of 100": priors["vamp, 100"][0].vae.sample(24, key=1),
    }
    for axes, (name, images) in zip(lower.subplots(1, len(grids)), grids.items(), strict=True):
        tiles = np.pad(images.reshape(6, 4, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1))).transpose(0, 2, 1, 3)
        axes.imshow(tiles.reshape(60, 40), cmap="gray_r", vmin=0, vmax=16, interpolation="nearest")
        axes.set_title(name, fontsize=10)
        axes.axis("off")
    return figure


SECTIONS = {
    section.__name__: section
    for section in (counts, overdispersed, measurements, scale, mixed, prior, weight, objective, size, small, length)
}


def main(
    folder: Path,
    names: Iterable[str] = (),
    keys: Iterable[int] = (0, 1),
    epochs: int = 10**6,
    num_particles: int = 1000,
) -> None:
    """Print the sections' tables, and draw the picture where all its sections are run; no fit has more `epochs`."""
    bench = {"keys": tuple(keys), "epochs": epochs, "num_particles": num_particles}
    results = {name: SECTIONS[name](bench) for name in names or SECTIONS}
    if {"prior", "weight", "size"} <= set(results):
        picture(results["weight"], results["size"], results["prior"]).savefig(folder / "choosing.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."), sys.argv[2:])
