"""The generator's published answers, the documented way from its words to numbers, and keys."""

import copy
import pickle

import numpy as np
import pytest
import reference

import elbokit as ek

DTYPES = (np.float32, np.float64)


def words(key, block=0, particle=0, purpose=0):
    """The four words of a block, through the public door."""
    return [int(w) for w in ek.random.raw(4, key=key, counter=reference.counter(block, particle, purpose))]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        (0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (2**128 - 1, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            0x03707344_13198A2E_85A308D3_243F6A88,
            0x299F31D0_A4093822,
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_published_answers_of_fixture_four(counter, key, expected):
    got = ek.random.raw(4, key=key, counter=counter)
    assert got.dtype == np.uint32
    assert " ".join(f"{w:08x}" for w in got) == expected
    assert (ek.random.raw(4, key=ek.Key(key), counter=counter) == got).all()


def test_raw_counts_over_all_128_bits():
    for start in (0, 2**32 - 1, 2**64 - 1, 2**96 - 1, 2**128 - 1):
        got = ek.random.raw(10, key=9, counter=start)
        blocks = [ek.random.raw(4, key=9, counter=(start + i) % 2**128) for i in range(3)]
        assert (got == np.concatenate(blocks)[:10]).all()
    assert ek.random.raw(0, key=0).shape == (0,)


def test_raw_writes_where_it_is_told_to():
    words = np.zeros(10, np.uint32)
    assert ek.random.raw(10, key=9, counter=3, out=words) is words
    assert (words == ek.random.raw(10, key=9, counter=3)).all()
    for wrong, error in ((np.zeros(9, np.uint32), ek.ShapeError), (np.zeros(10, np.int32), ek.DtypeError)):
        with pytest.raises(error, match=r"^out:"):
            ek.random.raw(10, key=9, out=wrong)
    with pytest.raises(ek.ElbokitError, match=r"^out:"):
        ek.random.raw(5, key=9, out=words[::2])


# Drawn values are a contract: a change of any of these is announced in the changelog under its own heading.


def test_normals_keep_their_values():
    got = ek.random.normal((2, 3), key=7)
    expected = np.array([[-0.5584829, -0.45172486, 0.52898437], [-0.8281562, -1.2124832, 0.81356126]], dtype=np.float32)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(
        ek.random.normal((2, 3), key=7, dtype=np.float64),
        [
            [0.07574460257255909, 0.5068528129575977, -0.5096342202944352],
            [-0.222556075643694, 1.2086562730111883, 1.2509623972531991],
        ],
    )


def test_uniforms_keep_their_values():
    got = ek.random.uniform((2, 3), key=7)
    assert got.dtype == np.float32
    expected = [[0.2121591, 0.035828948, 0.34535557], [0.09533507, 0.56555974, 0.19578886]]
    np.testing.assert_array_equal(got, np.array(expected, dtype=np.float32))
    np.testing.assert_array_equal(
        ek.random.uniform((2, 3), key=7, dtype=np.float64),
        [
            [0.21215915279143305, 0.03582896284590409, 0.34535559575869235],
            [0.09533509849526223, 0.5655597600335123, 0.1957888978086203],
        ],
    )


def test_particles_keep_their_values():
    zero = np.zeros((1, 3))
    np.testing.assert_array_equal(
        ek.gaussian.rsample(zero, zero, key=7, num_particles=3),
        [
            [[0.07574460257255909, 0.5068528129575977, -0.5096342202944352]],
            [[-1.1220726939107115, 0.2312191943677591, -0.4236655270681927]],
            [[0.7697618101809918, 1.7033591044738479, 1.1336536307959681]],
        ],
    )


def test_derived_keys_keep_their_values():
    assert ek.Key(7).fold_in(0) == ek.Key(8357515712388088008)
    assert ek.Key(7).fold_in(3) == ek.Key(13956521050551322966)
    assert ek.Key(2**64 - 1).fold_in(2**64 - 1) == ek.Key(8054226949967909192)
    assert ek.Key(7).split(3) == [ek.Key(s) for s in (14493765838278805552, 7761687857824256439, 4906145003702173164)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_normals_are_box_and_mullers_of_the_documented_words(dtype):
    # Relative to the number or 1/4: near its zeros cos 2πu has the absolute error of its argument's last bit.
    # Measured maxima: 2.4e-7 and 4.8e-16.
    bound = reference.BOUND[np.dtype(dtype)]
    zero = np.zeros((6, 25), dtype)
    drawn = ek.gaussian.rsample(zero, zero, key=3, num_particles=2, first_row=1000)
    assert drawn[0].tobytes() == ek.random.normal((6, 25), key=3, dtype=dtype, first_row=1000).tobytes()
    for particle in (0, 1):
        for i, got in enumerate(drawn[particle].ravel()):
            block, number = reference.place(1000 * 25 + i, dtype)
            expected = reference.normal(words(3, block, particle, reference.NORMALS), number, dtype)
            assert abs(float(got) - expected) <= bound * max(abs(expected), 0.25)


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniforms_are_the_top_bits_of_the_documented_words(dtype):
    drawn = ek.random.uniform((6, 25), key=3, dtype=dtype, first_row=1000)
    for i, got in enumerate(drawn.ravel()):
        block, number = reference.place(1000 * 25 + i, dtype)
        assert float(got) == reference.uniform(words(3, block, 0, reference.UNIFORMS), number, dtype)


@pytest.mark.parametrize("data", [0, 1, 2**32 - 1, 2**32, 2**64 - 1])
def test_derived_keys_are_words_of_the_documented_blocks(data):
    low, high, *_ = words(77, data, purpose=reference.FOLD_IN)
    assert ek.Key(77).fold_in(data).seed == high << 32 | low
    if data < 10:
        low, high, *_ = words(77, data, purpose=reference.SPLIT)
        assert ek.Key(77).split(data + 1)[data].seed == high << 32 | low


@pytest.mark.parametrize("draw", [ek.random.normal, ek.random.uniform])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_addressed_by_their_number(draw, dtype):
    whole = draw((50, 7), key=4, dtype=dtype)
    for first, last in ((0, 1), (1, 20), (20, 50), (49, 50), (30, 30)):
        part = draw((last - first, 7), key=4, dtype=dtype, first_row=first)
        assert part.tobytes() == whole[first:last].tobytes()
    assert len(np.unique(whole)) == whole.size
    assert not (draw((50, 7), key=5, dtype=dtype) == whole).any()


@pytest.mark.parametrize("draw", [ek.random.normal, ek.random.uniform])
def test_a_shape_is_rows_of_any_rank(draw):
    flat = draw((4, 6), key=1)
    assert draw((4, 2, 3), key=1).tobytes() == flat.tobytes()
    assert draw([np.int64(4), 6], key=1).tobytes() == flat.tobytes()
    assert draw(5, key=1).tobytes() == draw((5,), key=1).tobytes() == draw((5, 1), key=1).tobytes()
    assert draw((), key=1).shape == ()
    for empty in (0, (0, 3), (3, 0)):
        assert draw(empty, key=1).size == 0
    for wrong in (-1, (2, -1), 1.5, (2, "a"), None):
        with pytest.raises(ValueError, match=r"^shape: expected .+, got .+; "):
            draw(wrong, key=1)


@pytest.mark.parametrize("draw", [ek.random.normal, ek.random.uniform])
def test_draws_go_where_out_says(draw):
    out = np.full((3, 4), 9, np.float64)
    assert draw((3, 4), key=2, dtype=np.float64, out=out) is out
    assert out.tobytes() == draw((3, 4), key=2, dtype=np.float64).tobytes()
    with pytest.raises(ek.ShapeError, match=r"^out: "):
        draw((4, 3), key=2, dtype=np.float64, out=out)
    with pytest.raises(ek.DtypeError, match=r"^out: "):
        draw((3, 4), key=2, out=out)
    for wrong in (np.float16, np.int32, complex):
        with pytest.raises(ek.DtypeError, match=r"^dtype: "):
            draw((3, 4), key=2, dtype=wrong)


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments(dtype):
    # 5 standard errors of each moment of 2^20 numbers.
    n = 1 << 20
    x = ek.random.normal((n, 1), key=12, dtype=dtype).astype(np.float64)
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((x**power).mean() - mean) <= 5 * np.sqrt(variance / n)
    assert abs((x[1:] * x[:-1]).mean()) <= 5 / np.sqrt(n)
    u = ek.random.uniform(n, key=12, dtype=dtype).astype(np.float64)
    assert 0 <= u.min() < u.max() < 1
    assert abs(u.mean() - 0.5) <= 5 * np.sqrt(1 / 12 / n)
    assert abs((u**2).mean() - 1 / 3) <= 5 * np.sqrt(4 / 45 / n)


def test_float32_normals_have_tails():
    # Beyond 5: 5.7e-7 of them, so 19.2 of 2^25 are expected; a 24-bit uniform would leave none beyond 5.77.
    x = ek.random.normal((1 << 19, 64), key=1)
    assert 5 <= (np.abs(x) > 5).sum() <= 40
    assert np.isfinite(x).all()


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1, np.int64(5), np.uint64(2**64 - 1), np.uint8(3)])
def test_a_key_is_its_seed(seed):
    key = ek.Key(seed)
    assert type(key.seed) is int
    assert key.seed == int(seed)
    assert key == ek.Key(int(seed))
    assert hash(key) == hash(ek.Key(int(seed)))
    assert key != int(seed)
    assert repr(key) == f"Key({int(seed)})"
    assert eval(repr(key), {"Key": ek.Key}) == key
    for other in (pickle.loads(pickle.dumps(key)), copy.copy(key), copy.deepcopy(key)):
        assert other == key
    assert (ek.random.normal(3, key=key) == ek.random.normal(3, key=seed)).all()
    assert len({key, ek.Key(int(seed)), ek.Key(6)}) == 2


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "1", None, np.int64(-1), [1]])
def test_a_seed_is_a_whole_number_of_64_bits(seed):
    with pytest.raises(ValueError, match=r"^seed: expected .+, got .+; "):
        ek.Key(seed)
    with pytest.raises(ValueError, match=r"^key: expected .+, got .+; "):
        ek.random.normal(3, key=seed)
    with pytest.raises(ValueError, match=r"^data: expected .+, got .+; "):
        ek.Key(0).fold_in(seed)
    with pytest.raises(ValueError, match=r"^first_row: expected .+, got .+; "):
        ek.random.normal(3, key=0, first_row=seed)


def test_a_counter_is_a_whole_number_of_128_bits():
    for wrong in (-1, 2**128, 1.5, None):
        with pytest.raises(ValueError, match=r"^counter: expected .+, got .+; "):
            ek.random.raw(1, key=0, counter=wrong)
    for wrong in (-1, 1.5, None):
        with pytest.raises(ValueError, match=r"^n: expected .+, got .+; "):
            ek.random.raw(wrong, key=0)


def test_a_key_does_not_change():
    key = ek.Key(3)
    with pytest.raises(AttributeError):
        key.seed = 4
    with pytest.raises(AttributeError):
        del key.seed
    with pytest.raises(AttributeError):
        key.other = 1
    assert key.seed == 3


def test_split_keys_do_not_depend_on_their_number_and_differ():
    key = ek.Key(5)
    keys = key.split(100)
    assert keys[:3] == key.split(3)
    assert key.split(0) == []
    derived = {key, *keys, *(key.fold_in(i) for i in range(100)), *(keys[0].fold_in(i) for i in range(100))}
    assert len(derived) == 301
    for wrong in (-1, 1.5):
        with pytest.raises(ValueError, match=r"^n: expected"):
            key.split(wrong)
