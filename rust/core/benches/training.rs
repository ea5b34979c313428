//! Training steps: milliseconds and GFLOP/s of the shapes in the design's budget, or of those whose name begins as the first argument says (`-- 784-[400]`).

use std::time::Instant;

use elbokit_core::likelihood::Likelihood;
use elbokit_core::network::Activation;
use elbokit_core::random::Key;
use elbokit_core::threads::{Interrupt, num_threads, set_num_threads, watched};
use elbokit_core::vae::{Config, Matrix, Model, Options, Prior, Scaling, Trainer};

fn main() {
    let most = num_threads();
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    for (features, hidden, latent_dim, batch_size) in
        [(64, vec![256], 16, 128), (784, vec![400], 20, 128), (784, vec![512, 256], 32, 512), (30, vec![64], 8, 64)]
    {
        let name = format!("{features}-{hidden:?}-{latent_dim} B{batch_size}");
        if !name.starts_with(&wanted) {
            continue;
        }
        for threads in [1, most] {
            set_num_threads(threads).expect("a small number");
            let n = batch_size * 10;
            let x: Vec<u8> = (0..n * features).map(|i| ((i * 7919) % 104_729 % 17) as u8).collect();
            let config = Config {
                num_features: features,
                latent_dim,
                hidden: hidden.clone(),
                likelihood: Likelihood::Binomial(16),
                activation: Activation::Relu,
                layer_norm: false,
                residual: false,
                condition_width: 0,
                prior: Prior::Standard,
            };
            let mut model = Model::<f32>::new(config, Scaling::identity(features), Key(0)).expect("a sound model");
            let mut trainer = Trainer::new(&model, n, batch_size, 1).expect("a sound batch");
            let options = Options::default();
            let source = Matrix::new(&x, features);
            let weights: usize = model.named().iter().filter(|p| p.shape.len() == 2).map(|p| p.values.len()).sum();
            // The first layer hands no gradient on.
            let flops = 2 * batch_size * (3 * weights - features * hidden[0]);
            let mut seconds = watched(
                || {
                    (0..60)
                        .map(|epoch| {
                            let start = Instant::now();
                            trainer
                                .epoch(&mut model, &source, None, epoch, Key(1), options, &Interrupt::default())
                                .expect("good rows");
                            start.elapsed().as_secs_f64() / 10.0
                        })
                        .collect::<Vec<f64>>()
                },
                || {},
            );
            seconds.sort_by(f64::total_cmp);
            let median = seconds[seconds.len() / 2];
            println!("{name}, {threads} threads: {:.4} ms a step, {:.1} GFLOP/s", 1e3 * median, 1e-9 * flops as f64 / median);
        }
    }
}
