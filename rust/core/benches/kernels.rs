//! Kernels on one thread: `cargo bench -p elbokit-core --bench kernels -- kl` for those whose name has "kl" in it.
//!
//! Throughput is in elements; beside `words`, the generator's own rate, draws show what the transform adds.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use elbokit_core::Float;
use elbokit_core::gaussian;
use elbokit_core::likelihood::{Likelihood, Scale};
use elbokit_core::mvn;
use elbokit_core::random::{Draw, Key, fill_normals, fill_uniforms, raw};
use elbokit_core::threads::set_num_threads;

fn main() {
    set_num_threads(1).expect("a small number");
    divan::main();
}

/// Small, cache-sized, and beyond every cache.
const SHAPES: [(usize, usize); 3] = [(32, 16), (1024, 32), (262_144, 32)];
/// One image, a batch of them, and beyond every cache.
const IMAGES: [(usize, usize); 3] = [(1, 784), (128, 784), (8192, 784)];

fn normals<F: Float + Draw>(key: u64, n: usize) -> Vec<F> {
    let mut x = vec![F::ZERO; n];
    fill_normals(Key(key), 0, 0, 1, &mut x);
    x
}

fn per_element<'a, 'b>(bencher: Bencher<'a, 'b>, n: usize) -> Bencher<'a, 'b> {
    bencher.counter(ItemsCount::new(n))
}

#[divan::bench(args = [2048, 1 << 20])]
fn words(bencher: Bencher, n: usize) {
    let mut out = vec![0; n];
    bencher.counter(ItemsCount::new(n)).bench_local(|| raw(Key(1), 0, black_box(&mut out)));
}

#[divan::bench_group]
mod random {
    use super::{Bencher, Draw, Float, Key, SHAPES, fill_normals, fill_uniforms, per_element};

    #[divan::bench(types = [f32, f64], args = SHAPES)]
    fn normal<F: Float + Draw>(bencher: Bencher, (rows, width): (usize, usize)) {
        let mut out = vec![F::ZERO; rows * width];
        per_element(bencher, rows * width).bench_local(|| fill_normals(Key(1), 0, 0, width, &mut out));
    }

    #[divan::bench(types = [f32, f64], args = SHAPES)]
    fn uniform<F: Float + Draw>(bencher: Bencher, (rows, width): (usize, usize)) {
        let mut out = vec![F::ZERO; rows * width];
        per_element(bencher, rows * width).bench_local(|| fill_uniforms(Key(1), 0, 0, width, &mut out));
    }
}

#[divan::bench_group]
mod diagonal {
    use super::{Bencher, Draw, Float, Key, SHAPES, gaussian, normals, per_element};

    #[divan::bench(types = [f32, f64], args = SHAPES)]
    fn kl<F: Float + Draw>(bencher: Bencher, (rows, width): (usize, usize)) {
        let (loc, log_var) = (normals::<F>(1, rows * width), normals::<F>(2, rows * width));
        let mut out = vec![F::ZERO; rows];
        per_element(bencher, rows * width).bench_local(|| gaussian::kl(&loc, &log_var, None, width, &mut out));
    }

    #[divan::bench(types = [f32, f64], args = SHAPES)]
    fn kl_grad<F: Float + Draw>(bencher: Bencher, (rows, width): (usize, usize)) {
        let (loc, log_var) = (normals::<F>(1, rows * width), normals::<F>(2, rows * width));
        let (mut out, mut d_loc, mut d_log_var) = (vec![F::ZERO; rows], loc.clone(), loc.clone());
        per_element(bencher, rows * width)
            .bench_local(|| gaussian::kl_grad(&loc, &log_var, None, width, &mut out, &mut d_loc, &mut d_log_var, None));
    }

    #[divan::bench(types = [f32, f64], args = SHAPES)]
    fn log_prob<F: Float + Draw>(bencher: Bencher, (rows, width): (usize, usize)) {
        let [z, loc, log_var] = [1, 2, 3].map(|key| normals::<F>(key, rows * width));
        let mut out = vec![F::ZERO; rows];
        per_element(bencher, rows * width).bench_local(|| gaussian::log_prob(&z, &loc, &log_var, width, &mut out));
    }

    #[divan::bench(types = [f32, f64], args = SHAPES)]
    fn rsample<F: Float + Draw>(bencher: Bencher, (rows, width): (usize, usize)) {
        let (loc, log_var) = (normals::<F>(1, rows * width), normals::<F>(2, rows * width));
        let mut z = loc.clone();
        per_element(bencher, rows * width).bench_local(|| gaussian::rsample(&loc, &log_var, Key(3), 0, width, &mut z));
    }

    #[divan::bench(types = [f32, f64], args = SHAPES)]
    fn rsample_and_log_prob<F: Float + Draw>(bencher: Bencher, (rows, width): (usize, usize)) {
        let (loc, log_var) = (normals::<F>(1, rows * width), normals::<F>(2, rows * width));
        let (mut z, mut out) = (loc.clone(), vec![F::ZERO; rows]);
        per_element(bencher, rows * width)
            .bench_local(|| gaussian::rsample_and_log_prob(&loc, &log_var, Key(3), 0, 0, width, &mut z, &mut out));
    }
}

#[divan::bench_group]
mod full {
    use super::{Bencher, Draw, Float, ItemsCount, mvn, normals};

    #[divan::bench(types = [f32, f64], args = [(32, 8), (256, 32), (8192, 32)])]
    fn mvn_kl<F: Float + Draw>(bencher: Bencher, (rows, width): (usize, usize)) {
        let loc = normals::<F>(1, rows * width);
        let factor = |(i, x): (usize, F)| {
            let (row, column) = (i / width % width, i % width);
            F::from_f64(if row == column { x.to_f64().exp() } else { 0.3 * x.to_f64() } * f64::from(u8::from(row >= column)))
        };
        let tril: Vec<F> = normals::<F>(2, rows * width * width).into_iter().enumerate().map(factor).collect();
        let mut out = vec![F::ZERO; rows];
        bencher.counter(ItemsCount::new(rows)).bench_local(|| mvn::kl(&loc, mvn::Tril::ByRow(&tril), None, width, &mut out));
    }
}

/// A likelihood at rows that it gives a probability.
fn likelihood_with_gradient<F: Float + Draw>(bencher: Bencher, likelihood: &Likelihood, (rows, width): (usize, usize)) {
    let prepared = likelihood.prepare::<F>(width).expect("a sound likelihood");
    let cell = |x: &F| {
        let (x, whole) = (x.to_f64(), (4.0 * x.to_f64()).abs().floor());
        F::from_f64(match likelihood {
            Likelihood::Bernoulli => whole.min(1.0),
            Likelihood::Binomial(total) => whole.min(f64::from(*total)),
            Likelihood::Categorical(classes) => whole % f64::from(*classes),
            Likelihood::ContinuousBernoulli => x.abs().fract(),
            Likelihood::Poisson | Likelihood::NegativeBinomial | Likelihood::ZeroInflatedNegativeBinomial => whole,
            _ => x,
        })
    };
    let x: Vec<F> = normals(1, rows * width).iter().map(cell).collect();
    let params: Vec<F> = normals(2, rows * prepared.num_params());
    let (mut out, mut d_params) = (vec![F::ZERO; rows], params.clone());
    per_element(bencher, rows * width).bench_local(|| prepared.log_prob_grad(&x, &params, &mut out, &mut d_params));
}

macro_rules! likelihoods {
    ($($name:ident: $likelihood:expr;)*) => {
        /// Value and gradient.
        #[divan::bench_group]
        mod likelihood {
            use super::{Bencher, Draw, Float, IMAGES, Likelihood, Scale};

            $(#[divan::bench(types = [f32, f64], args = IMAGES)]
            fn $name<F: Float + Draw>(bencher: Bencher, shape: (usize, usize)) {
                super::likelihood_with_gradient::<F>(bencher, &$likelihood, shape);
            })*
        }
    };
}

likelihoods! {
    gaussian: Likelihood::Gaussian(Scale::Fixed(1.0));
    gaussian_predicted: Likelihood::Gaussian(Scale::Predicted);
    laplace: Likelihood::Laplace(Scale::Fixed(1.0));
    student_t: Likelihood::StudentT(5.0, Scale::Fixed(1.0));
    bernoulli: Likelihood::Bernoulli;
    continuous_bernoulli: Likelihood::ContinuousBernoulli;
    binomial: Likelihood::Binomial(16);
    categorical: Likelihood::Categorical(5);
    poisson: Likelihood::Poisson;
    negative_binomial: Likelihood::NegativeBinomial;
    zero_inflated_negative_binomial: Likelihood::ZeroInflatedNegativeBinomial;
}
