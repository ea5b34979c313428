//! How a row of params is put together: from columns of the decoder's output and from what the model learned for all rows, and from params of scaled rows to
//! those of rows as given.
//!
//! A scale that is "shared" or "per feature" stands in every row of params, though the decoder does not make it. Its gradient is the sum over rows.

use super::config::{Config, Scaling};
use super::members::{as_given, is_real, log_factor, members};
use crate::float::Float;
use crate::likelihood::{Likelihood, Scale};

/// The places of a likelihood's params.
#[derive(Clone, Debug)]
pub(super) struct Assembly {
    /// Columns of the decoder's output.
    pub(super) num_outputs: usize,
    /// Numbers that the model learns for all rows.
    pub(super) num_learned: usize,
    /// Numbers a row of params.
    pub(super) num_params: usize,
    /// Where params come from, in their order.
    runs: Vec<Run>,
    /// Each param of rows as given: the param of scaled rows that it is made of, and by which factor and summand; `None` where rows stay as they are.
    given: Option<Vec<(usize, Option<[f64; 2]>)>>,
}

/// Params that stand side by side, from one source.
#[derive(Clone, Debug)]
struct Run {
    learned: bool,
    from: usize,
    to: usize,
    len: usize,
}

impl Assembly {
    pub(super) fn new(config: &Config, scaling: &Scaling) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        let mut next = [0; 2];
        let mut place = |learned: bool, to: usize, len: usize| {
            let from = next[usize::from(learned)];
            next[usize::from(learned)] += len;
            match runs.last_mut() {
                Some(run) if run.learned == learned => run.len += len,
                _ => runs.push(Run { learned, from, to, len }),
            }
        };
        for member in members(&config.likelihood, config.num_features) {
            let (width, all) = (member.width(), member.likelihood.num_params(member.width()));
            match member.likelihood.scale() {
                Some(Scale::Shared | Scale::PerFeature) => {
                    place(false, member.params, width);
                    place(true, member.params + width, all - width);
                }
                _ => place(false, member.params, all),
            }
        }
        let num_params = config.likelihood.num_params(config.num_features);
        let given = (!scaling.is_identity()).then(|| given(&config.likelihood, scaling));
        Self { num_outputs: next[0], num_learned: next[1], num_params, runs, given }
    }

    /// Rows of params from as many rows of the decoder's output.
    pub(super) fn put_together<F: Float>(&self, outputs: &[F], learned: &[F], params: &mut [F]) {
        for (outputs, params) in outputs.chunks_exact(self.num_outputs).zip(params.chunks_exact_mut(self.num_params)) {
            for run in &self.runs {
                let from = if run.learned { learned } else { outputs };
                params[run.to..][..run.len].copy_from_slice(&from[run.from..][..run.len]);
            }
        }
    }

    /// Gradients with respect to params to those with respect to the decoder's output and, added up row after row, to what is learned.
    pub(super) fn take_apart<F: Float>(&self, d_params: &[F], d_outputs: &mut [F], d_learned: &mut [f64]) {
        d_learned.fill(0.0);
        for (d_params, d_outputs) in d_params.chunks_exact(self.num_params).zip(d_outputs.chunks_exact_mut(self.num_outputs)) {
            for run in &self.runs {
                let from = &d_params[run.to..][..run.len];
                if run.learned {
                    for (sum, d) in d_learned[run.from..].iter_mut().zip(from) {
                        *sum += d.to_f64();
                    }
                } else {
                    d_outputs[run.from..][..run.len].copy_from_slice(from);
                }
            }
        }
    }

    /// Numbers a row of params for rows as given.
    pub(super) fn num_given(&self) -> usize {
        self.given.as_ref().map_or(self.num_params, Vec::len)
    }

    /// Rows of params for rows as given, from those for scaled rows.
    pub(super) fn give_back<F: Float>(&self, params: &[F], out: &mut [F]) {
        let Some(given) = &self.given else { return out.copy_from_slice(params) };
        for (params, out) in params.chunks_exact(self.num_params).zip(out.chunks_exact_mut(given.len())) {
            for (out, (from, change)) in out.iter_mut().zip(given) {
                *out = match change {
                    Some([factor, summand]) => F::from_f64(params[*from].to_f64() * factor + summand),
                    None => params[*from],
                };
            }
        }
    }
}

/// What makes each param of rows as given.
fn given(likelihood: &Likelihood, scaling: &Scaling) -> Vec<(usize, Option<[f64; 2]>)> {
    let num_features = scaling.scale.len();
    let outside = as_given(likelihood, scaling);
    let mut given = Vec::with_capacity(outside.num_params(num_features));
    for (inside, outside) in members(likelihood, num_features).iter().zip(members(&outside, num_features)) {
        let (width, all) = (inside.width(), outside.likelihood.num_params(outside.width()));
        if !is_real(inside.likelihood) {
            given.extend((0..all).map(|param| (inside.params + param, None)));
            continue;
        }
        given.extend(
            inside
                .columns
                .iter()
                .enumerate()
                .map(|(place, &column)| (inside.params + place, Some([scaling.scale[column], scaling.shift[column]]))),
        );
        let shared = inside.likelihood.scale() == Some(&Scale::Shared);
        given.extend(inside.columns.iter().take(all - width).enumerate().map(|(place, &column)| {
            let from = inside.params + width + if shared { 0 } else { place };
            (from, Some([1.0, log_factor(inside.likelihood) * libm::log(scaling.scale[column])]))
        }));
    }
    given
}
