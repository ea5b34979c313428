//! `elbokit._core`: the only crate that knows Python. Each file binds the core module of the same name and knows no mathematics;
//! [`enter`] releases the GIL and hears Ctrl-C, [`arrays`] takes arrays in and gives them out, [`errors`] makes exceptions.

mod arrays;
mod bound;
mod enter;
mod errors;
mod gaussian;
mod likelihood;
mod linear_gaussian;
mod mixture;
mod mvn;
mod proposal;
mod random;
mod rows;
mod threads;
mod vae;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::bound::{
        RunningTerms, Shares, bound_cubo, bound_elbo, bound_ess, bound_evidence, bound_iwae, bound_khat, bound_psis, bound_renyi,
    };
    #[pymodule_export]
    use super::gaussian::{
        gaussian_entropy, gaussian_entropy_grad, gaussian_kl, gaussian_kl_grad, gaussian_kl_per_dim, gaussian_log_prob,
        gaussian_log_prob_grad, gaussian_rsample, gaussian_rsample_and_log_prob, gaussian_rsample_grad,
    };
    #[pymodule_export]
    use super::likelihood::Likelihood;
    #[pymodule_export]
    use super::linear_gaussian::LinearGaussian;
    #[pymodule_export]
    use super::mixture::Mixture;
    #[pymodule_export]
    use super::mvn::{
        mvn_diagonal, mvn_entropy, mvn_kl, mvn_kl_grad, mvn_kl_of_diagonal, mvn_kl_to_diagonal, mvn_log_prob, mvn_rsample,
        mvn_rsample_and_log_prob,
    };
    #[pymodule_export]
    use super::proposal::Proposal;
    #[pymodule_export]
    use super::random::{key_fold_in, key_split, random_normal, random_raw, random_uniform};
    #[pymodule_export]
    use super::threads::{build_info, get_num_threads, set_num_threads};
    #[pymodule_export]
    use super::vae::Vae;
    #[pymodule_export]
    use super::vae::checkpoint::{checkpoint_from_bytes, checkpoint_to_bytes};
}
