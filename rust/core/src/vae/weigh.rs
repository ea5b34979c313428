//! What a check of the model asks beside its bounds: the log weights of latents that are given, and the rows' own hashes.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::evidence::Proposal;
use super::laplace;
use super::model::Model;
use super::scorer::{over_rows, work};
use super::source::Source;
use crate::error::Result;
use crate::float::Float;
use crate::random::Draw;
use crate::rows::{check_finite, check_len};
use crate::threads::{Interrupt, RowsMut};

/// log p(x, z) − log q(z) at one given z a row, x as given and q the density that [`log_evidence`](super::log_evidence) draws from; −∞ where the model gives z no density.
/// Returns for how many rows no mode was found, which have the encoder's q.
///
/// # Errors
/// As [`check`](super::check), and for a z of the wrong size or not finite.
pub fn weigh<F: Float + Draw>(
    model: &Model<F>,
    source: &dyn Source<F>,
    z: &[F],
    proposal: Proposal,
    interrupt: &Interrupt,
    out: &mut [F],
) -> Result<usize> {
    let width = model.config().latent_dim;
    check_len("z", z, source.rows(), width)?;
    check_len("out", out, source.rows(), 1)?;
    check_finite("z", z, width)?;
    let of_decoder = work(&model.decoder);
    let mut work = work(&model.encoder) + of_decoder;
    if proposal == Proposal::Laplace {
        work = work.saturating_add(laplace::work(&model.decoder, of_decoder));
    }
    let without = AtomicUsize::new(0);
    over_rows(model, source, work, interrupt, RowsMut::new(out, 1), |scorer, out| {
        scorer.encode();
        if proposal == Proposal::Laplace {
            without.fetch_add(scorer.find_modes(|_| true, interrupt)?, Ordering::Relaxed);
        }
        scorer.weigh(z, out.data)
    })?;
    Ok(without.into_inner())
}

/// Each row's hash, which is all that its noise takes from it.
///
/// # Errors
/// As [`check`](super::check).
pub fn hashes<F: Float + Draw>(model: &Model<F>, source: &dyn Source<F>, interrupt: &Interrupt, out: &mut [u64]) -> Result<()> {
    check_len("out", out, source.rows(), 1)?;
    over_rows(model, source, 0, interrupt, RowsMut::new(out, 1), |scorer, out| {
        out.data.copy_from_slice(scorer.hashes());
        Ok(())
    })
}
