//! Networks as seen from a centre, against the slow restatement of the whole.

use crate::layers::{Case, case, slow, wide};
use crate::reference::{Numbers, bits, same_at_every_level};
use elbokit_core::Float;
use elbokit_core::network::{Activation, Around, Hidden, Trace};

const PLAIN: Hidden = Hidden { layer_norm: false, residual: false };
/// One hidden layer or several; widths of whole vectors or not, shallow or deeper than a cut of the product.
const WIDTHS: [&[usize]; 6] = [&[1, 4, 1], &[2, 37, 5], &[3, 16, 24, 7], &[4, 64, 70], &[16, 256, 30, 64], &[5, 300, 19]];
/// Several groups of rows, the last one not of whole tiles.
const ROWS: usize = 101;

/// A network of these widths whose sums are as large as what goes in.
fn even<F: Float>(widths: &[usize]) -> Case<F> {
    let mut case = case::<F>(widths, Activation::Relu, PLAIN);
    for layer in case.network.layers.clone() {
        for w in &mut case.parameters.parts_mut().0[layer.weight..layer.bias] {
            *w = F::from_f64(2.0 * w.to_f64() / (layer.inputs as f64).sqrt());
        }
    }
    case.parameters.pack(&[&case.network]);
    case
}

/// Rows about a centre, the later the further off.
fn rows_about<F: Float>(centre: &[F]) -> Vec<F> {
    let mut x = Numbers(11).vec::<F>(ROWS * centre.len(), -1.0, 1.0);
    for (i, row) in x.chunks_exact_mut(centre.len()).enumerate() {
        for (x, centre) in row.iter_mut().zip(centre) {
            *x = F::from_f64(centre.to_f64() + x.to_f64() * 10.0_f64.powf(i as f64 / 40.0 - 2.0));
        }
    }
    x
}

fn seen<F: Float>(Case { network, parameters, .. }: &Case<F>, centre: &[F], x: &[F]) -> Vec<F> {
    let mut around = Around::new(network, parameters).expect("a network that can be seen from a centre");
    let rounding = around.set_centre(network, parameters, centre, &vec![F::ONE; centre.len()]);
    assert!(rounding < 1e-3, "{rounding}");
    let (rows, outputs) = (x.len() / centre.len(), network.layers[network.layers.len() - 1].outputs);
    let mut trace = Trace::output_of_alike(network, rows);
    network.forward_around(parameters, &mut around, x, rows, &mut trace);
    trace.output()[..rows * outputs].to_vec()
}

/// What rounding may change: every layer's numbers by as many halves of ε as its sums have terms, of the sums of magnitudes, twice over.
fn allowed<F: Float>(case: &Case<F>, x: &[f64]) -> f64 {
    let flat = wide(case.parameters.flat());
    let mut magnitudes: Vec<f64> = x.iter().map(|x| x.abs()).collect();
    let mut terms = 0;
    for layer in &case.network.layers {
        let weights = flat[layer.weight..layer.bias].chunks_exact(layer.inputs).zip(&flat[layer.bias..]);
        magnitudes = weights.map(|(w, b)| w.iter().zip(&magnitudes).map(|(w, x)| w.abs() * x).sum::<f64>() + b.abs()).collect();
        terms += layer.inputs + 1;
    }
    terms as f64 * F::EPSILON.to_f64() * magnitudes.iter().fold(0.0, |a: f64, x| a.max(*x))
}

fn is_the_slow_network<F: Float>() {
    for widths in WIDTHS {
        let case = even::<F>(widths);
        let (flat, outputs) = (wide(case.parameters.flat()), widths[widths.len() - 1]);
        // One of them is as far from the other as the rows go.
        for centre in case.x.chunks_exact(widths[0]).take(2) {
            let x = rows_about(centre);
            let what = format!("{widths:?} {}", F::NAME);
            same_at_every_level(&what, || seen(&case, centre, &x));
            let got = seen(&case, centre, &x);
            for (x, got) in x.chunks_exact(widths[0]).zip(got.chunks_exact(outputs)) {
                let x = wide(x);
                let bound = allowed(&case, &x);
                for (got, expected) in wide(got).iter().zip(slow(&case.network, &flat, &x)) {
                    assert!((got - expected).abs() <= bound, "{what}: {got:e}, expected {expected:e} within {bound:e}");
                }
            }
            let alone: Vec<F> = x.chunks_exact(widths[0]).flat_map(|x| seen(&case, centre, x)).collect();
            assert_eq!(bits(&alone), bits(&got), "{what}");
        }
    }
}

#[test]
fn from_a_centre_the_network_is_the_slow_one() {
    is_the_slow_network::<f32>();
    is_the_slow_network::<f64>();
}

#[test]
fn a_row_at_the_centre_takes_the_straight_way_alone() {
    const HUGE: f32 = (1u128 << 100) as f32;
    // The second layer's weights of units that are dead at the centre, and beside the straight way of all, would show in the result.
    let mut case = case::<f32>(&[1, 16, 1], Activation::Relu, PLAIN);
    let [first, second] = [case.network.layers[0], case.network.layers[1]];
    let (flat, _) = case.parameters.parts_mut();
    for unit in 0..16 {
        flat[first.weight + unit] = 1.0;
        flat[first.bias + unit] = if unit % 2 == 0 { 1.0 } else { -1.0 };
        flat[second.weight + unit] = if unit % 2 == 0 { 0.5 } else { HUGE };
    }
    flat[second.bias] = 0.25;
    case.parameters.pack(&[&case.network]);
    // Eight units of ½ (x + 1), and past 1 eight of 2¹⁰⁰ (x − 1), whose rounding is the whole network's too.
    let got = seen(&case, &[0.0], &[0.0, 0.5, -0.5, -1.5, 1.5]);
    assert_eq!(got, [4.25, 6.25, 2.25, 0.25, 4.0 * HUGE]);
}

#[test]
fn networks_that_are_not_straight_cannot_be_seen() {
    let is_seen = |widths: &[usize], activation, hidden| {
        let Case { network, parameters, .. } = case::<f32>(widths, activation, hidden);
        Around::new(&network, &parameters).is_some()
    };
    assert!(is_seen(&[4, 16, 4], Activation::Relu, PLAIN));
    assert!(is_seen(&[4, 16, 24, 4], Activation::Relu, Hidden { residual: true, ..PLAIN }));
    for activation in Activation::ALL {
        assert_eq!(is_seen(&[4, 16, 4], activation, PLAIN), activation == Activation::Relu);
    }
    assert!(!is_seen(&[4, 16, 4], Activation::Relu, Hidden { layer_norm: true, ..PLAIN }));
    assert!(!is_seen(&[4, 16, 16, 4], Activation::Relu, Hidden { residual: true, ..PLAIN }));
    assert!(!is_seen(&[4, 4], Activation::Relu, PLAIN));
    assert!(!is_seen(&[5, 16, 4], Activation::Relu, PLAIN), "an input too wide to pay");
}

/// What rounding may do in a network whose layers' weights are multiplied, seen from a centre with this spread.
fn rounding<F: Float>(widths: &[usize], factors: &[f64], centre: f64, spread: f64) -> f64 {
    let mut case = case::<F>(widths, Activation::Relu, PLAIN);
    for (layer, factor) in case.network.layers.clone().iter().zip(factors) {
        for w in &mut case.parameters.parts_mut().0[layer.weight..layer.bias] {
            *w = F::from_f64(w.to_f64() * factor);
        }
    }
    case.parameters.pack(&[&case.network]);
    let mut around = Around::new(&case.network, &case.parameters).expect("a network that can be seen from a centre");
    let [centre, spread] = [centre, spread].map(|x| vec![F::from_f64(x); widths[0]]);
    around.set_centre(&case.network, &case.parameters, &centre, &spread)
}

#[test]
fn rounding_is_told_of_every_number_that_it_grows_with() {
    let (shallow, deep): (&[usize], &[usize]) = (&[2, 16, 3], &[2, 16, 8, 3]);
    let plain = [shallow, deep].map(|widths| rounding::<f32>(widths, &[1.0; 3], 1.0, 1.0));
    assert!(plain.iter().all(|rounding| (1e-7..1e-4).contains(rounding)), "{plain:?}");
    let grows = |what: &str, widths: &[usize], factors: &[f64], centre, spread| {
        let ratio = rounding::<f32>(widths, factors, centre, spread) / plain[usize::from(widths.len() > 3)];
        assert!((1e3..3e6).contains(&ratio), "{what}: {ratio}");
    };
    grows("the first layer's weights", shallow, &[1e6, 1.0], 1.0, 1.0);
    grows("the second layer's weights", shallow, &[1.0, 1e6], 1.0, 1.0);
    grows("a later layer's weights", deep, &[1.0, 1.0, 1e6], 1.0, 1.0);
    grows("a hidden layer's sums", deep, &[1.0, 1e6, 1e-6], 1.0, 1.0);
    grows("the centre", shallow, &[1.0, 1.0], 1e6, 1.0);
    grows("the spread", shallow, &[1.0, 1.0], 1.0, 1e6);
    let double = rounding::<f64>(shallow, &[1.0; 2], 1.0, 1.0);
    assert!((double / plain[0] * (f64::from(f32::EPSILON) / f64::EPSILON) - 1.0).abs() < 1e-3, "{double}");
}

#[test]
fn out_of_range_nothing_is_seen() {
    let is_seen = |factors: &[f64], centre, spread| rounding::<f32>(&[2, 16, 3], factors, centre, spread).is_finite();
    assert!(is_seen(&[1.0, 1.0], 1.0, 0.0));
    for bad in [f64::NAN, f64::INFINITY, 3e38] {
        assert!(!is_seen(&[1.0, 1.0], bad, 1.0), "{bad}");
        assert!(!is_seen(&[1.0, 1.0], 1.0, bad), "{bad}");
        assert!(!is_seen(&[1.0, bad], 1.0, 1.0), "{bad}");
        assert!(!is_seen(&[bad, 1.0], 1.0, 1.0), "{bad}");
    }
    // The product of two layers overflows, though what it is multiplied by is small.
    assert!(!is_seen(&[1e30, 1e30], 1e-30, 0.0));
}
