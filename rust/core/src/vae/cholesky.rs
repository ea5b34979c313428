//! A small positive definite matrix in float64: its factor, what is solved with it, and the factor's inverse. One order of operations, no lanes.

/// The lower triangle of Cholesky's factor in place of `a` (width × width, of which the lower triangle is read), whether it is positive definite and finite.
pub(super) fn factor(a: &mut [f64], width: usize) -> bool {
    for i in 0..width {
        for j in 0..=i {
            let (above, row) = a.split_at(i * width);
            let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
            if i == j {
                let rest = row[i] - dot(&row[..i], &row[..i]);
                if !(rest > 0.0 && rest.is_finite()) {
                    return false;
                }
                a[i * width + i] = rest.sqrt();
            } else {
                let other = &above[j * width..];
                let x = (row[j] - dot(&row[..j], &other[..j])) / other[j];
                a[i * width + j] = x;
            }
        }
    }
    true
}

/// Solves L Lᵀ x = b in place.
pub(super) fn solve(l: &[f64], width: usize, x: &mut [f64]) {
    for i in 0..width {
        let known: f64 = (0..i).map(|k| l[i * width + k] * x[k]).sum();
        x[i] = (x[i] - known) / l[i * width + i];
    }
    for i in (0..width).rev() {
        let known: f64 = (i + 1..width).map(|k| l[k * width + i] * x[k]).sum();
        x[i] = (x[i] - known) / l[i * width + i];
    }
}

/// L⁻¹, 0 above the diagonal.
pub(super) fn inverse(l: &[f64], width: usize) -> Vec<f64> {
    let mut out = vec![0.0; width * width];
    for j in 0..width {
        out[j * width + j] = 1.0 / l[j * width + j];
        for i in j + 1..width {
            let known: f64 = (j..i).map(|k| l[i * width + k] * out[k * width + j]).sum();
            out[i * width + j] = -known / l[i * width + i];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factor_solution_and_inverse_are_of_the_matrix() {
        let width = 7;
        let b: Vec<f64> = (0..width * width).map(|i| (i as f64 * 1.7).sin()).collect();
        let dot = |i: usize, j: usize| (0..width).map(|k| b[i * width + k] * b[j * width + k]).sum::<f64>();
        let a: Vec<f64> =
            (0..width * width).map(|at| dot(at / width, at % width) + f64::from(u8::from(at / width == at % width))).collect();
        let mut l = a.clone();
        assert!(factor(&mut l, width));
        let known: Vec<f64> = (0..width).map(|i| 1.0 + i as f64).collect();
        let mut x: Vec<f64> = (0..width).map(|i| (0..width).map(|k| a[i * width + k] * known[k]).sum()).collect();
        solve(&l, width, &mut x);
        assert!(x.iter().zip(&known).all(|(x, known)| (x - known).abs() < 1e-12), "{x:?}");
        let inverse = inverse(&l, width);
        for (i, j) in (0..width).flat_map(|i| (0..width).map(move |j| (i, j))) {
            let product: f64 = (j..=i.max(j)).map(|k| if k <= i { l[i * width + k] * inverse[k * width + j] } else { 0.0 }).sum();
            assert!((product - f64::from(u8::from(i == j))).abs() < 1e-14, "{i} {j}: {product}");
        }
        assert!(!factor(&mut [1.0, 0.0, 2.0, 1.0], 2) && !factor(&mut [f64::NAN], 1) && !factor(&mut [f64::INFINITY], 1));
    }
}
