"""The exceptions: what each one is, what it carries, and that each says argument, expected, got and cure."""

import pickle
from functools import partial

import numpy as np
import pytest

import elbokit as ek

BASES = {
    ek.ElbokitError: (Exception,),
    ek.ArgumentError: (ek.ElbokitError, ValueError),
    ek.ShapeError: (ek.ElbokitError, ValueError),
    ek.NonFiniteError: (ek.ElbokitError, ValueError),
    ek.SupportError: (ek.ElbokitError, ValueError),
    ek.ModelFileError: (ek.ElbokitError, ValueError),
    ek.DtypeError: (ek.ElbokitError, TypeError),
    ek.NotFittedError: (ek.ElbokitError, ValueError, AttributeError),
}
BUILT_IN = (ValueError, TypeError, AttributeError, KeyError, OSError, RuntimeError)


@pytest.mark.parametrize("error", BASES, ids=lambda error: error.__name__)
def test_bases_are_those_of_the_design(error):
    for base in BASES[error]:
        assert issubclass(error, base)
    for base in BUILT_IN:
        assert issubclass(error, base) == (base in BASES[error])
    assert getattr(ek, error.__name__) is getattr(ek.errors, error.__name__) is error
    assert error.__name__ in ek.__all__
    assert error.__name__ in ek.errors.__all__


@pytest.mark.parametrize("error", BASES, ids=lambda error: error.__name__)
def test_every_error_carries_its_place(error):
    bare = error("something")
    assert str(bare) == "something"
    assert (bare.argument, bare.row, bare.column, bare.value) == (None, None, None, None)
    full = error("something", argument="x", row=1, column=2, value=3.0)
    assert (full.argument, full.row, full.column, full.value) == ("x", 1, 2, 3.0)
    copy = pickle.loads(pickle.dumps(full))
    assert type(copy) is error
    assert str(copy) == "something"
    assert (copy.argument, copy.row, copy.column, copy.value) == ("x", 1, 2, 3.0)


def rows(shape=(4, 3), dtype=np.float64, **cells):
    x = np.zeros(shape, dtype)
    for place, value in cells.items():
        x[tuple(int(i) for i in place[1:])] = value
    return x


g, lik = ek.gaussian, ek.likelihood
CALLS = [
    # call, class, argument, row, column, value
    (lambda: g.kl(rows(_21=np.nan), rows()), ek.NonFiniteError, "loc", 2, 1, np.nan),
    (lambda: g.kl(rows(), rows(_02=np.inf)), ek.NonFiniteError, "log_var", 0, 2, np.inf),
    (lambda: g.kl(rows(), rows(), rows((3,)), rows(_30=-np.inf)), ek.NonFiniteError, "prior_log_var", 3, 0, -np.inf),
    (lambda: g.kl(rows(dtype="f4", _21=np.nan), rows(dtype="f4")), ek.NonFiniteError, "loc", 2, 1, np.nan),
    (lambda: g.log_prob(np.full((2, 4, 3), np.inf), rows(), rows()), ek.NonFiniteError, "z", 0, 0, np.inf),
    (lambda: g.rsample(rows(_32=np.nan), rows(), key=0), ek.NonFiniteError, "loc", 3, 2, np.nan),
    (lambda: g.kl(rows((3,)), rows((3,))), ek.ShapeError, "loc", None, None, None),
    (lambda: g.kl(1.0, 0.0), ek.ShapeError, "loc", None, None, None),
    (lambda: g.kl(rows((2, 1)), rows((2, 1)), 0.0, 0.0), ek.ShapeError, "prior_loc", None, None, None),
    (lambda: g.kl(rows(), rows((4, 2))), ek.ShapeError, "log_var", None, None, None),
    (lambda: g.kl(rows(), rows(), rows((2,)), rows((2,))), ek.ShapeError, "prior_loc", None, None, None),
    (lambda: g.log_prob(rows((5, 3)), rows(), rows()), ek.ShapeError, "z", None, None, None),
    (lambda: g.kl([[1.0], [2.0, 3.0]], rows()), ek.ShapeError, "loc", 1, None, None),
    (lambda: g.kl(rows(), rows(), out=rows((5,))), ek.ShapeError, "out", None, None, None),
    (lambda: g.kl(rows(), rows(dtype="f4")), ek.DtypeError, "log_var", None, None, None),
    (lambda: g.kl(rows(dtype="f2"), rows()), ek.DtypeError, "loc", None, None, None),
    (lambda: g.kl(rows(), rows(), out=rows((4,), "f4")), ek.DtypeError, "out", None, None, None),
    (lambda: ek.random.normal(3, key=0, dtype=int), ek.DtypeError, "dtype", None, None, None),
    (lambda: lik.Bernoulli().log_prob(rows(_21=7), rows()), ek.SupportError, "x", 2, 1, 7.0),
    (lambda: lik.Binomial(4).log_prob(rows(_10=0.25), rows(dtype="f4")), ek.SupportError, "x", 1, 0, 0.25),
    (lambda: lik.Gaussian().log_prob(rows(_12=1e300), rows(dtype="f4")), ek.NonFiniteError, "x", 1, 2, 1e300),
    (lambda: lik.Gaussian().log_prob(rows(_11=-np.inf), rows()), ek.NonFiniteError, "x", 1, 1, -np.inf),
    (lambda: lik.Gaussian().log_prob(rows(), rows(_11=np.nan)), ek.NonFiniteError, "params", 1, 1, np.nan),
    (lambda: lik.Gaussian().log_prob(rows(), rows((3, 3))), ek.ShapeError, "params", None, None, None),
    (lambda: lik.Gaussian("predicted").mean(rows()), ek.ShapeError, "params", None, None, None),
    (lambda: lik.Gaussian().log_prob(rows((3,)), rows()), ek.ShapeError, "x", None, None, None),
    (lambda: lik.Gaussian([1.0, 2.0]).mean(rows()), ek.ShapeError, "scale", None, None, None),
    (lambda: lik.Gaussian().log_prob(rows(), rows(), rows((3,), bool)), ek.ShapeError, "mask", None, None, None),
    (lambda: lik.Gaussian().log_prob(rows(), rows(), rows()), ek.DtypeError, "mask", None, None, None),
    (lambda: ek.bounds.iwae(rows(_12=np.nan)), ek.NonFiniteError, "log_weights", 1, 2, np.nan),
    (lambda: ek.bounds.elbo(rows((3,))), ek.ShapeError, "log_weights", None, None, None),
]


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_real_errors_say_argument_expected_got_and_cure(number):
    call, error, argument, row, column, value = CALLS[number]
    with pytest.raises(ek.ElbokitError, match=rf"^{argument}: expected [^;]+, got .+; .+") as caught:
        call()
    got = caught.value
    assert type(got) is error
    assert (got.argument, got.row, got.column) == (argument, row, column)
    np.testing.assert_equal(got.value, value)
    assert "\n" not in str(got)
    if row is not None:
        assert f"row {row}" in str(got)
    if column is not None:
        assert f"at row {row}, column {column}" in str(got)
        assert type(got.row) is type(got.column) is int
        assert type(got.value) is float


PAIR = (rows(), rows())


def elbo(post=PAIR, **options):
    return ek.elbo(rows(), post, lambda z: z, lik.Gaussian(), key=0, **options)


def elbo_grad(post=PAIR, **options):
    return ek.elbo_grad(rows(), post, lambda z: (z, lambda d: d), lik.Gaussian(), key=0, **options)


def linear_gaussian(post):
    return ek.LinearGaussian(np.eye(3), np.zeros(3), 1.0).elbo(rows(), post)


MODELS = (elbo, elbo_grad, linear_gaussian, lambda post: ek.elbo_joint(lambda z: z[:, 0], post, key=0))
TUPLES = ((), (rows(),), (rows(), rows(), rows()))
BOUNDS = (ek.bounds.elbo, ek.bounds.iwae, partial(ek.bounds.renyi, alpha=0.5), ek.bounds.cubo, ek.bounds.ess)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: ek.Key(-1), "seed"),
        (lambda: ek.random.normal(-1, key=0), "shape"),
        (lambda: ek.random.normal(1, key="a"), "key"),
        (lambda: ek.random.normal(1, key=0, first_row=-1), "first_row"),
        (lambda: ek.random.raw(1, key=0, counter=-1), "counter"),
        (lambda: g.rsample(rows(), rows(), key=0, num_particles=0), "num_particles"),
        (lambda: g.rsample(rows(), rows(), key=0, first_row=2**64), "first_row"),
        (lambda: lik.Gaussian(0.0), "scale"),
        (lambda: lik.Binomial(0), "total_count"),
        (lambda: lik.Gaussian().num_params(-1), "num_features"),
        (lambda: lik.Bernoulli().sample(rows(), key=0, first_row=-1), "first_row"),
        (lambda: ek.set_num_threads(0), "n"),
        (lambda: ek.set_num_threads(1025), "n"),
        (lambda: ek.set_num_threads(2**70), "n"),
        (lambda: ek.set_num_threads(1.5), "n"),
        *((lambda call=call, post=post: call(post=post), "post") for call in MODELS for post in TUPLES),
        *((lambda prior=prior: elbo(prior=prior), "prior") for prior in TUPLES),
        *((lambda kl=kl: elbo(kl=kl), "kl") for kl in (["analytic"], np.array(["analytic", "x"]), None)),
        *((lambda of=of: elbo_grad(estimator=of), "estimator") for of in (np.array(["stl", "score"]), ["stl"], None)),
        *((lambda of=of: elbo_grad(objective=of), "objective") for of in (np.array(["elbo", "x"]), ["elbo"], None)),
        *((lambda b=b, e=e: b(rows(), return_error=e), "return_error") for b in BOUNDS for e in ("yes", 1, None)),
    ],
)
def test_options_outside_their_range_are_errors_of_the_same_form(call, argument):
    with pytest.raises(ek.ArgumentError, match=rf"^{argument}: expected [^;]+, got .+; .+") as caught:
        call()
    assert caught.value.argument == argument


def test_the_first_bad_cell_in_the_order_of_rows_is_named():
    loc = rows((100, 40))
    loc[70, 3] = loc[70, 2] = loc[99, 0] = np.nan
    with pytest.raises(ek.NonFiniteError) as caught:
        g.kl(loc, rows((100, 40)))
    assert (caught.value.row, caught.value.column) == (70, 2)


# Nothing panics across the border.


@pytest.mark.parametrize(
    "call",
    [
        lambda: ek.random.normal((1 << 60,), key=0),
        lambda: ek.random.uniform((1 << 62, 8), key=0),
        lambda: ek.random.normal((1 << 63,), key=0),
        lambda: ek.random.normal((1,) * 70, key=0),
        lambda: ek.random.raw(1 << 62, key=0),
        lambda: g.rsample(rows(), rows(), key=0, num_particles=1 << 60),
    ],
)
def test_what_does_not_fit_into_memory_is_an_ordinary_exception(call):
    with pytest.raises((MemoryError, ValueError)):
        call()


def test_a_sample_of_no_features():
    assert lik.Gaussian("predicted").sample(np.zeros((3, 0)), key=0).shape == (3, 0)


@pytest.mark.parametrize("likelihood", [lik.Gaussian(), lik.Gaussian("predicted"), lik.Bernoulli()], ids=repr)
def test_rows_of_no_features_have_log_probability_zero(likelihood):
    value, d_params = likelihood.log_prob_grad(np.zeros((3, 0)), np.zeros((3, 0)))
    np.testing.assert_array_equal(value, np.zeros(3))
    assert d_params.shape == (3, 0)


def test_a_size_that_overflows_beside_an_empty_axis_is_an_exception():
    with pytest.raises((ValueError, MemoryError)):
        ek.random.normal((0, 1 << 40, 1 << 40), key=0)
