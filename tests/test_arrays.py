"""The rules for arrays: types that agree, layouts that do not matter, out= written or refused, ranks named."""

import numpy as np
import pytest

import elbokit as ek

DTYPES = (np.float32, np.float64)
BATCH, WIDTH = 4, 6

g, lik = ek.gaussian, ek.likelihood

# Every function of floats: its arguments by name, and the call.
FUNCTIONS = {
    "kl": (("loc", "log_var"), g.kl),
    "kl with a prior": (("loc", "log_var", "prior_loc", "prior_log_var"), g.kl),
    "kl_per_dim": (("loc", "log_var"), g.kl_per_dim),
    "kl_per_dim with a prior": (("loc", "log_var", "prior_loc", "prior_log_var"), g.kl_per_dim),
    "kl_grad": (("loc", "log_var"), g.kl_grad),
    "kl_grad with a prior": (("loc", "log_var", "prior_loc", "prior_log_var"), g.kl_grad),
    "log_prob": (("z", "loc", "log_var"), g.log_prob),
    "entropy": (("log_var",), g.entropy),
    "rsample": (("loc", "log_var"), lambda *a, **k: g.rsample(*a, key=1, **k)),
    "rsample of particles": (("loc", "log_var"), lambda *a, **k: g.rsample(*a, key=1, num_particles=3, **k)),
    "rsample_and_log_prob": (("loc", "log_var"), lambda *a: g.rsample_and_log_prob(*a, key=1)),
    "mean": (("params",), lik.Binomial(3).mean),
    "sample": (("params",), lambda p, **k: lik.Bernoulli().sample(p, key=1, **k)),
    "bounds.elbo": (("log_weights",), ek.bounds.elbo),
    "bounds.iwae": (("log_weights",), ek.bounds.iwae),
    "bounds.renyi": (("log_weights",), lambda w, **k: ek.bounds.renyi(w, 0.5, **k)),
    "bounds.cubo": (("log_weights",), ek.bounds.cubo),
    "bounds.ess": (("log_weights",), ek.bounds.ess),
    "Gaussian.log_prob": (("params",), lambda p, **k: lik.Gaussian().log_prob(OBSERVED, p, **k)),
    "Bernoulli.log_prob_grad": (("params",), lambda p: lik.Bernoulli().log_prob_grad(OBSERVED, p)),
}
WITH_OUT = [name for name in FUNCTIONS if "grad" not in name and "and_log_prob" not in name]
OBSERVED = np.random.default_rng(9).integers(0, 2, (BATCH, WIDTH))


def arguments(name, dtype=np.float64):
    rng = np.random.default_rng(0)
    return [rng.standard_normal((BATCH, WIDTH)).astype(dtype) for _ in FUNCTIONS[name][0]]


def bits(result):
    parts = result if isinstance(result, tuple) else (result,)
    return [(part.dtype, part.shape, part.tobytes()) for part in parts]


def unaligned(x):
    held = np.zeros(x.nbytes + 1, np.uint8)
    held[1:] = x.view(np.uint8).ravel() if x.flags.c_contiguous else np.ascontiguousarray(x).view(np.uint8).ravel()
    return held[1:].view(x.dtype).reshape(x.shape)


LAYOUTS = {
    "fortran order": np.asfortranarray,
    "every other column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "backwards": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "transposed": lambda x: x.T.copy().T,
    "the other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "unaligned": unaligned,
    "a field of records": lambda x: np.rec.fromarrays([x, np.zeros(x.shape, "i1")], names="a,b")["a"],
    "a subclass": lambda x: x.view(np.recarray),
    "an object with __array__": lambda x: type("A", (), {"__array__": lambda _, dtype=None, copy=None: x})(),  # noqa: ARG005
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_do_not_change_a_bit(name, layout, dtype):
    given, (_, function) = arguments(name, dtype), FUNCTIONS[name]
    before = [x.copy() for x in given]
    assert bits(function(*map(LAYOUTS[layout], given))) == bits(function(*given))
    assert all((x == y).all() for x, y in zip(given, before, strict=True))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_lists_become_float64_and_arrays_keep_their_type(name):
    given, (_, function) = arguments(name), FUNCTIONS[name]
    assert bits(function(*(x.tolist() for x in given))) == bits(function(*given))
    whole = [np.rint(x).astype(int) for x in given]
    assert bits(function(*(x.tolist() for x in whole))) == bits(function(*(x.astype(np.float64) for x in whole)))
    for dtype in DTYPES:
        assert {part[0] for part in bits(function(*arguments(name, dtype)))} == {np.dtype(dtype)}


@pytest.mark.parametrize("wrong", [np.float16, np.longdouble, np.complex64, object, int, bool, "U5"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_other_types_are_refused_by_name(name, wrong):
    names, function = FUNCTIONS[name]
    for i, argument in enumerate(names):
        given = arguments(name)
        given[i] = np.zeros((BATCH, WIDTH)).astype(wrong)
        with pytest.raises(
            ek.DtypeError, match=rf"^{argument}: expected float32 or float64, got .+; convert"
        ) as caught:
            function(*given)
        assert caught.value.argument == argument


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if len(FUNCTIONS[name][0]) > 1])
def test_types_that_disagree_are_refused_by_name(name):
    names, function = FUNCTIONS[name]
    for i, argument in enumerate(names):
        given = arguments(name)
        given[i] = given[i].astype(np.float32)
        with pytest.raises(ek.DtypeError, match=r"expected float(32|64) like .+, got float(32|64); ") as caught:
            function(*given)
        # Of two types either may be the wrong one; the message has both names.
        assert argument in str(caught.value)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_wrong_rank_or_shape_is_refused_by_name(name):
    names, function = FUNCTIONS[name]
    for i, argument in enumerate(names):
        for wrong in (
            np.zeros(()),
            np.zeros(3),
            np.zeros((BATCH, WIDTH + 1)),
            np.zeros((BATCH + 1, WIDTH)),
            np.zeros((1, 2, 3, 4)),
        ):
            if wrong.ndim == 2 and (name in {"entropy", "mean", "sample"} or name.startswith("bounds")):
                continue  # any matrix will do
            given = arguments(name)
            given[i] = wrong
            with pytest.raises(ek.ShapeError, match=r"^\w+: expected .+, got (shape )?.+; .+") as caught:
                function(*given)
            # loc sets the shape that the others are held to.
            assert argument in {caught.value.argument, "loc"}
        given[i] = [[1.0, 2.0], [3.0]]
        with pytest.raises(ek.ShapeError, match=f"^{argument}: expected rows of one length"):
            function(*given)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not name.startswith("bounds")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_number_that_is_not_finite_is_named_with_its_place(name, bad, dtype):
    names, function = FUNCTIONS[name]
    for i, argument in enumerate(names):
        given = arguments(name, dtype)
        given[i][2, 5] = given[i][3, 0] = bad
        with pytest.raises(ek.NonFiniteError, match=rf"^{argument}: .+ at row 2, column 5; ") as caught:
            function(*given)
        error = caught.value
        assert (error.argument, error.row, error.column) == (argument, 2, 5)
        np.testing.assert_equal(error.value, bad)


@pytest.mark.parametrize("likelihood", [lik.Gaussian(), lik.Gaussian("predicted")], ids=repr)
def test_a_sample_of_bad_params_names_params(likelihood):
    for column in range(likelihood.num_params(3)):
        params = np.zeros((4, likelihood.num_params(3)))
        params[2, column] = np.inf
        with pytest.raises(ek.NonFiniteError) as caught:
            likelihood.sample(params, key=0)
        assert (caught.value.argument, caught.value.row, caught.value.column) == ("params", 2, column)


@pytest.mark.parametrize("name", WITH_OUT)
@pytest.mark.parametrize("dtype", DTYPES)
def test_out_is_written_and_returned(name, dtype):
    given, (_, function) = arguments(name, dtype), FUNCTIONS[name]
    expected = function(*given)
    out = np.full_like(expected, 7)
    assert function(*given, out=out) is out
    assert bits(out) == bits(expected)
    inside = np.full((3, *expected.shape), 7, dtype)
    function(*given, out=inside[1])
    assert inside[1].tobytes() == expected.tobytes()
    assert (inside[[0, 2]] == 7).all()


@pytest.mark.parametrize("name", WITH_OUT)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_out_that_does_not_fit_is_refused_and_left_alone(name, dtype):
    given, (_, function) = arguments(name, dtype), FUNCTIONS[name]
    shape = function(*given).shape
    other = np.float64 if dtype is np.float32 else np.float32
    read_only = np.full(shape, 7, dtype)
    read_only.flags.writeable = False
    for wrong, error in (
        (np.full((*shape, 1), 7, dtype), ek.ShapeError),
        (np.full((shape[0] + 1, *shape[1:]), 7, dtype), ek.ShapeError),
        (np.full(0, 7, dtype), ek.ShapeError),
        (np.full(shape, 7, other), ek.DtypeError),
        (np.full(shape, 7, np.dtype(dtype).newbyteorder()), ek.DtypeError),
        (np.full(shape, 7, int), ek.DtypeError),
        ([0.0] * shape[0], ek.DtypeError),
        (np.full((2 * shape[0], *shape[1:]), 7, dtype)[::2], ValueError),
        (unaligned(np.full(shape, 7, dtype)), ValueError),
        (read_only, ValueError),
    ):
        with pytest.raises(error, match=r"^out: .+; "):
            function(*given, out=wrong)
        if isinstance(wrong, np.ndarray):
            assert (wrong == 7).all()


@pytest.mark.parametrize("name", WITH_OUT)
def test_an_out_that_overlaps_an_input_is_refused(name):
    names, function = FUNCTIONS[name]
    shape = function(*arguments(name)).shape
    size = int(np.prod(shape))
    for i in range(len(names)):
        given = arguments(name)
        held = np.zeros(BATCH * WIDTH + size)
        held[: BATCH * WIDTH] = given[i].ravel()
        given[i] = held[: BATCH * WIDTH].reshape(BATCH, WIDTH)
        before = given[i].copy()
        for first in (0, BATCH * WIDTH - 1):
            with pytest.raises(ValueError, match=r"^out: shares memory with another argument"):
                function(*given, out=held[first : first + size].reshape(shape))
            assert (given[i] == before).all()
        # Beside it, in the same allocation, is another matter.
        beside = held[BATCH * WIDTH :].reshape(shape)
        assert function(*given, out=beside) is beside


def test_one_array_may_be_several_inputs():
    x = np.random.default_rng(0).standard_normal((3, 4))
    assert g.kl(x, x, x, x).tobytes() == g.kl(x, x.copy(), x.copy(), x.copy()).tobytes()
    assert (g.kl_per_dim(x, x, x, x) == 0).all()
    assert lik.Gaussian().log_prob(x, x).tobytes() == lik.Gaussian().log_prob(x, x.copy()).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mask_may_be_of_any_layout(dtype):
    x, params = OBSERVED.astype(dtype), arguments("mean", dtype)[0]
    mask = np.random.default_rng(1).random(x.shape) < 0.5
    expected = lik.Bernoulli().log_prob(x, params, mask)
    for given in (np.asfortranarray(mask), mask.tolist(), np.repeat(mask, 2, axis=1)[:, ::2], mask.view(np.recarray)):
        assert lik.Bernoulli().log_prob(x, params, mask=given).tobytes() == expected.tobytes()
    for wrong in (mask.astype(int), mask.astype(float), mask.astype(object)):
        with pytest.raises(ek.DtypeError, match=r"^mask: expected booleans .+, got .+; "):
            lik.Bernoulli().log_prob(x, params, mask=wrong)
    for wrong in (mask[0], mask[:, :1], mask[:1], True, mask[None]):
        with pytest.raises(ek.ShapeError, match=r"^mask: expected shape .+ like x, got shape .+; "):
            lik.Bernoulli().log_prob(x, params, mask=wrong)


@pytest.mark.parametrize(
    ("ragged", "got", "row"),
    [
        ([[1, 2], [3]], "2 numbers in row 0 and 1 in row 1", 1),
        (([1.0], [2.0], []), "1 numbers in row 0 and 0 in row 2", 2),
        ([[1, 2], 3], r"list \(.+\)", None),
        ([[[1], [2, 3]]], r"list \(.+\)", None),
    ],
)
def test_rows_of_several_lengths_are_told_with_a_cure(ragged, got, row):
    vae = ek.VAE(1, hidden=())
    for argument, call in (
        ("X", lambda: vae.fit(ragged)),
        ("validation", lambda: vae.fit(np.zeros((9, 2)), validation=ragged)),
        ("log_var", lambda: g.entropy(ragged)),
        ("x", lambda: lik.Gaussian().log_prob(ragged, np.zeros((2, 2)))),
    ):
        text = f"^{argument}: expected rows of one length, got {got}; give every row as many numbers$"
        with pytest.raises(ek.ShapeError, match=text) as caught:
            call()
        assert (caught.value.argument, caught.value.row) == (argument, row)


def test_a_float64_observation_beyond_float32_is_named_without_a_warning():
    with pytest.raises(ek.NonFiniteError, match=r"^x: .+ at row 0, column 1"):
        lik.Gaussian().log_prob([[0.0, 1e300]], np.zeros((1, 2), np.float32))


@pytest.mark.parametrize(
    "call",
    [
        lambda out: ek.random.normal((3, 4), key=0, dtype=np.float64, out=out),
        lambda out: ek.gaussian.rsample(np.zeros((3, 4)), np.zeros((3, 4)), key=0, out=out),
        lambda out: ek.gaussian.kl_per_dim(np.ones((3, 4)), np.zeros((3, 4)), out=out),
        lambda out: ek.likelihood.Gaussian().mean(np.arange(12.0).reshape(3, 4), out=out),
    ],
)
def test_a_fortran_ordered_output_is_refused_rather_than_transposed(call):
    with pytest.raises(ValueError, match="C-contiguous"):
        call(np.empty((3, 4), order="F"))
