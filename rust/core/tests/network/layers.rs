//! Networks with every kind of hidden layer against a slow restatement: forward, back, and along a direction.

use crate::reference::{Numbers, bits, same_at_every_level};
use elbokit_core::Float;
use elbokit_core::network::mlp::Extent;
use elbokit_core::network::tangents::Tangents;
use elbokit_core::network::{Activation, Hidden, Mlp, Parameters, Trace};

const KINDS: [Hidden; 4] = [
    Hidden { layer_norm: false, residual: false },
    Hidden { layer_norm: true, residual: false },
    Hidden { layer_norm: false, residual: true },
    Hidden { layer_norm: true, residual: true },
];
/// The second has a connection around its first layer too; the third is wider than a vector.
const WIDTHS: [&[usize]; 4] = [&[5, 7, 7, 7, 4], &[6, 6, 6, 3], &[3, 37, 37, 2], &[4, 2]];
const ROWS: usize = 9;

pub(crate) struct Case<F> {
    pub(crate) network: Mlp,
    pub(crate) parameters: Parameters<F>,
    back: Vec<F>,
    pub(crate) x: Vec<F>,
}

pub(crate) fn case<F: Float>(widths: &[usize], activation: Activation, hidden: Hidden) -> Case<F> {
    let mut extent = Extent::default();
    let network = Mlp::new::<F>(widths, activation, hidden, &mut extent);
    let mut parameters = Parameters::zeros(extent);
    let mut numbers = Numbers(3);
    parameters.parts_mut().0.copy_from_slice(&numbers.vec::<F>(extent.parameters, -0.8, 0.8));
    parameters.pack(&[&network]);
    let mut back = vec![F::ZERO; extent.back];
    network.pack_back(&parameters, true, &mut back);
    Case { network, parameters, back, x: numbers.vec(ROWS * widths[0], -2.0, 2.0) }
}

fn activated(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Softplus => x.exp().ln_1p(),
        Activation::Gelu => x * 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2),
    }
}

/// One row through the network, number by number.
pub(crate) fn slow(network: &Mlp, parameters: &[f64], x: &[f64]) -> Vec<f64> {
    let mut x = x.to_vec();
    let last = network.layers.len() - 1;
    for (l, layer) in network.layers.iter().enumerate() {
        let weights = parameters[layer.weight..layer.bias].chunks_exact(layer.inputs);
        let products = weights.map(|w| w.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>());
        let mut y: Vec<f64> = products.zip(&parameters[layer.bias..]).map(|(y, b)| y + b).collect();
        if let Some(at) = layer.norm {
            let n = layer.outputs as f64;
            let mean = y.iter().sum::<f64>() / n;
            let variance = y.iter().map(|y| (y - mean) * (y - mean)).sum::<f64>() / n;
            for (j, y) in y.iter_mut().enumerate() {
                *y = (*y - mean) / (variance + 1e-5).sqrt() * parameters[at + j] + parameters[at + layer.outputs + j];
            }
        }
        if l < last {
            for y in &mut y {
                *y = activated(network.activation, *y);
            }
        }
        if layer.residual {
            assert_eq!(layer.inputs, layer.outputs);
            y.iter_mut().zip(&x).for_each(|(y, x)| *y += x);
        }
        x = y;
    }
    x
}

pub(crate) fn wide<F: Float>(x: &[F]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}

fn every<F: Float>(check: impl Fn(&str, Case<F>)) {
    for hidden in KINDS {
        for widths in WIDTHS {
            for activation in Activation::ALL {
                check(&format!("{hidden:?} {widths:?} {activation:?} {}", F::NAME), case::<F>(widths, activation, hidden));
            }
        }
    }
}

/// |got − expected| ≤ bound · max(1, max |expected|).
fn assert_close(what: &str, got: &[f64], expected: &[f64], bound: f64) {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(1.0_f64, |a, x| a.max(x.abs()));
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() <= bound * largest, "{what}: {got:e} at {i}, expected {expected:e}");
    }
}

fn forward_is_the_slow_one<F: Float>(bound: f64) {
    every::<F>(|what, Case { network, parameters, x, .. }| {
        let mut trace = Trace::forward(&network, ROWS);
        network.forward(&parameters, &x, ROWS, &mut trace);
        let outputs = network.layers[network.layers.len() - 1].outputs;
        let (x, flat) = (wide(&x), wide(parameters.flat()));
        let rows = x.chunks_exact(network.layers[0].inputs);
        let expected: Vec<f64> = rows.flat_map(|x| slow(&network, &flat, x)).collect();
        assert_close(what, &wide(&trace.output()[..ROWS * outputs]), &expected, bound);
    });
}

#[test]
fn forward_is_that_of_the_slow_network() {
    forward_is_the_slow_one::<f32>(4e-6);
    forward_is_the_slow_one::<f64>(1e-14);
}

/// The gradient of Σ cᵢⱼ yᵢⱼ in all parameters, and in x.
fn gradients<F: Float>(case: &Case<F>, c: &[F]) -> [Vec<f64>; 2] {
    let Case { network, parameters, back, x } = case;
    let mut trace = Trace::both_ways(network, ROWS);
    network.forward(parameters, x, ROWS, &mut trace);
    trace.output_and_gradient().1.copy_from_slice(c);
    let mut dx = vec![F::ZERO; x.len()];
    network.backward(parameters, back, ROWS, &mut trace, Some(&mut dx));
    let mut gradient = vec![0.0; parameters.flat().len()];
    for (l, layer) in network.layers.iter().enumerate() {
        let input = if l == 0 { x.as_slice() } else { trace.activated(l - 1) };
        for (dy, x) in trace.gradient(l).chunks_exact(layer.outputs).zip(input.chunks_exact(layer.inputs)).take(ROWS) {
            for (j, dy) in dy.iter().enumerate() {
                gradient[layer.bias + j] += dy.to_f64();
                for (i, x) in x.iter().enumerate() {
                    gradient[layer.weight + j * layer.inputs + i] += dy.to_f64() * x.to_f64();
                }
            }
        }
        if let Some(at) = layer.norm {
            let (dy, unit) = trace.norm_gradient(l);
            for (i, (dy, unit)) in dy.iter().zip(unit).enumerate() {
                gradient[at + i % layer.outputs] += dy.to_f64() * unit.to_f64();
                gradient[at + layer.outputs + i % layer.outputs] += dy.to_f64();
            }
        }
    }
    [gradient, wide(&dx)]
}

/// Against differences of the slow network, which for relu may straddle its bend: none of these arguments does.
fn gradients_are_differences<F: Float>(bound: f64) {
    const H: f64 = 1e-6;
    every::<F>(|what, case| {
        let outputs = case.network.layers[case.network.layers.len() - 1].outputs;
        let c = Numbers(4).vec::<F>(ROWS * outputs, -1.0, 1.0);
        let got = gradients(&case, &c);
        let (mut flat, mut x, c) = (wide(case.parameters.flat()), wide(&case.x), wide(&c));
        let loss = |flat: &[f64], x: &[f64]| {
            let rows = x.chunks_exact(case.network.layers[0].inputs).zip(c.chunks_exact(outputs));
            rows.map(|(x, c)| slow(&case.network, flat, x).iter().zip(c).map(|(y, c)| y * c).sum::<f64>()).sum::<f64>()
        };
        let mut expected = [vec![0.0; flat.len()], vec![0.0; x.len()]];
        for i in (0..flat.len()).step_by(if flat.len() > 500 { 17 } else { 1 }) {
            let centre = flat[i];
            let mut at = |value| {
                flat[i] = value;
                loss(&flat, &x)
            };
            expected[0][i] = (at(centre + H) - at(centre - H)) / (2.0 * H);
            flat[i] = centre;
        }
        for i in 0..x.len() {
            let centre = x[i];
            let mut at = |value| {
                x[i] = value;
                loss(&flat, &x)
            };
            expected[1][i] = (at(centre + H) - at(centre - H)) / (2.0 * H);
            x[i] = centre;
        }
        let seen: Vec<f64> =
            got[0].iter().enumerate().map(|(i, g)| if flat.len() > 500 && i % 17 != 0 { 0.0 } else { *g }).collect();
        assert_close(&format!("{what}, parameters"), &seen, &expected[0], bound);
        assert_close(&format!("{what}, x"), &got[1], &expected[1], bound);
    });
}

#[test]
fn gradients_are_those_of_differences() {
    gradients_are_differences::<f32>(2e-5);
    gradients_are_differences::<f64>(2e-8);
}

/// ⟨c, J v⟩ = ⟨Jᵀ c, v⟩, row by row.
fn jacobian_is_the_transpose<F: Float>(bound: f64) {
    every::<F>(|what, case| {
        let Case { network, parameters, x, .. } = &case;
        let outputs = network.layers[network.layers.len() - 1].outputs;
        let c = Numbers(4).vec::<F>(ROWS * outputs, -1.0, 1.0);
        let v = Numbers(5).vec::<F>(x.len(), -1.0, 1.0);
        let [_, dx] = gradients(&case, &c);
        let (mut trace, mut tangents) =
            (Trace::both_ways(network, ROWS), Tangents::new(network, parameters, ROWS, network.layers[0].inputs));
        network.forward(parameters, x, ROWS, &mut trace);
        let rows: Vec<usize> = (0..ROWS).collect();
        let jacobians = wide(network.jacobians(parameters, &trace, &rows, &mut tangents));
        let v = wide(&v);
        let inputs = network.layers[0].inputs;
        let mut along = vec![0.0; ROWS * outputs];
        for (along, (jacobian, v)) in along.chunks_mut(outputs).zip(jacobians.chunks(inputs * outputs).zip(v.chunks(inputs))) {
            for (line, v) in jacobian.chunks(outputs).zip(v) {
                along.iter_mut().zip(line).for_each(|(sum, slope)| *sum += v * slope);
            }
        }
        let dot = |a: &[f64], b: &[f64], width: usize| -> Vec<f64> {
            let rows = a.chunks_exact(width).zip(b.chunks_exact(width));
            rows.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum()).collect()
        };
        assert_close(what, &dot(&wide(&c), &along, outputs), &dot(&dx, &v, inputs), bound);
    });
}

#[test]
fn the_jacobian_is_the_way_back_transposed() {
    jacobian_is_the_transpose::<f32>(1e-5);
    jacobian_is_the_transpose::<f64>(2e-14);
}

fn rows_do_not_depend_on_each_other<F: Float>() {
    every::<F>(|what, case| {
        let (inputs, outputs) = (case.network.layers[0].inputs, case.network.layers[case.network.layers.len() - 1].outputs);
        let run = |x: &[F], mut trace: Trace<F>| {
            let rows = x.len() / inputs;
            case.network.forward(&case.parameters, x, rows, &mut trace);
            trace.output()[..rows * outputs].to_vec()
        };
        let all = run(&case.x, Trace::both_ways(&case.network, ROWS));
        let alone = case.x.chunks_exact(inputs).flat_map(|x| run(x, Trace::forward(&case.network, 1)));
        assert_eq!(bits(&alone.collect::<Vec<_>>()), bits(&all), "{what}");
        let c = vec![F::ONE; ROWS * outputs];
        same_at_every_level(what, || {
            let [parameters, x] = gradients(&case, &c);
            [all.clone(), parameters.into_iter().chain(x).map(F::from_f64).collect()].concat()
        });
        same_at_every_level(what, || run(&case.x, Trace::forward(&case.network, ROWS)));
    });
}

#[test]
fn rows_are_the_same_bits_alone_and_at_every_level() {
    rows_do_not_depend_on_each_other::<f32>();
    rows_do_not_depend_on_each_other::<f64>();
}

fn the_output_alone_is_the_same<F: Float>() {
    every::<F>(|what, case| {
        let Case { network, parameters, x, .. } = &case;
        // Of rows close together, more than go through the layers at a time.
        let (rows, inputs) = (101, network.layers[0].inputs);
        let outputs = network.layers[network.layers.len() - 1].outputs;
        let mut near = Numbers(11).vec::<F>(rows * inputs, -0.05, 0.05);
        near.iter_mut().enumerate().for_each(|(i, near)| *near += x[i / (40 * inputs) * inputs + i % inputs]);
        let run = |mut trace: Trace<F>| {
            network.forward(parameters, &near, rows, &mut trace);
            trace.output()[..rows * outputs].to_vec()
        };
        let expected = run(Trace::forward(network, rows));
        same_at_every_level(what, || {
            let alone = run(Trace::output_of_alike(network, rows));
            assert_eq!(bits(&alone), bits(&expected), "{what}");
            alone
        });
    });
}

#[test]
fn the_output_alone_is_that_of_the_whole_trace() {
    the_output_alone_is_the_same::<f32>();
    the_output_alone_is_the_same::<f64>();
}

/// A row without variance is its shifts, and one of huge numbers is normalised like any other.
fn the_ends_of_the_range<F: Float>(huge: f64) {
    let mut case = case::<F>(&[2, 8, 8], Activation::Relu, KINDS[1]);
    let layer = case.network.layers[0];
    let Some(at) = layer.norm else { panic!("no norm") };
    let (flat, _) = case.parameters.parts_mut();
    flat[layer.bias..][..8].fill(F::from_f64(0.3));
    flat[at..][..8].fill(F::ONE);
    flat[at + 8..][..8].fill(F::from_f64(2.0));
    case.parameters.pack(&[&case.network]);
    let mut trace = Trace::both_ways(&case.network, 3);
    let x = [0.0, 0.0, huge, -huge, 1.0, -1.0].map(F::from_f64);
    case.network.forward(&case.parameters, &x, 3, &mut trace);
    assert_eq!(trace.activated(0)[..8], [F::from_f64(2.0); 8]);
    let outputs = wide(&trace.activated(0)[..24]);
    // Beside the bias and ε, whose part is small at 1 and none at 10²⁵.
    assert_close(F::NAME, &outputs[8..16], &slow_first(&case, &[huge, -huge]), 1e-5);
    trace.output_and_gradient().1.fill(F::ONE);
    case.network.backward(&case.parameters, &case.back, 3, &mut trace, None);
    assert!(trace.gradient(0).iter().all(|g| g.finite()));
}

fn slow_first<F: Float>(case: &Case<F>, x: &[f64]) -> Vec<f64> {
    let first = Mlp { layers: vec![case.network.layers[0]], activation: case.network.activation };
    slow(&first, &wide(case.parameters.flat()), x).into_iter().map(|y| y.max(0.0)).collect()
}

#[test]
fn constant_and_huge_rows_are_normalised() {
    the_ends_of_the_range::<f32>(1e30);
    the_ends_of_the_range::<f64>(1e100);
}
