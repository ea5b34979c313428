//! Variational autoencoders: configuration, parameters, training, scores and files.
//!
//! The encoder maps a row's view to loc and log-variance of q(z | x), the decoder a draw z to the params of p(x | z), and p(z) is N(0, I) or a learned mixture. Rows are scaled on their way
//! in, and every value that comes out is of the row as given. A conditional model sees a condition c beside each row: q(z | x, c) and p(x | z, c).

mod checkpoint;
mod cholesky;
mod columns;
mod components;
mod condition;
mod config;
mod data_path;
mod encoder_gradient;
mod evidence;
mod file;
mod gradient_rows;
mod impute;
mod intake;
mod laplace;
mod latent;
mod members;
mod model;
mod objective;
mod params;
mod prior;
mod prior_path;
mod score;
mod scorer;
mod source;
mod terms;
mod tiles;
mod trainer;
mod weigh;

pub use checkpoint::{Numbers, checkpoint_from_bytes, checkpoint_to_bytes};
pub use columns::elbo_per_column;
pub use config::{Config, Scaling};
pub use data_path::Batch;
pub use evidence::{Evidence, Proposal, log_evidence};
pub use file::{AnyModel, from_bytes, to_bytes};
pub use impute::{impute, impute_draws};
pub use model::{Model, Named};
pub use objective::{Estimator, Objective};
pub use prior::{Prior, sample_prior};
pub use score::{ElboTerms, check, decode, decode_any, elbo, encode, mean};
pub use source::{Conditioned, Element, Matrix, Source, Subset};
pub use terms::{BatchTerms, EpochTerms};
pub use trainer::{Options, Trainer};
pub use weigh::{hashes, weigh};
