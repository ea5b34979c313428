//! Model files: the same model gives the same bytes and comes back whole, and nothing else comes in.

use elbokit_core::Error;
use elbokit_core::likelihood::{Likelihood, Scale};
use elbokit_core::network::Activation;
use elbokit_core::random::Key;
use elbokit_core::vae::{AnyModel, Config, Model, Prior, Scaling, from_bytes, to_bytes};

fn config(likelihood: Likelihood) -> Config {
    Config {
        num_features: 3,
        latent_dim: 2,
        hidden: vec![5, 4],
        likelihood,
        activation: Activation::Silu,
        layer_norm: false,
        residual: false,
        condition_width: 0,
        prior: Prior::Standard,
    }
}

fn table() -> Likelihood {
    Likelihood::Columns(vec![
        (vec![2], Likelihood::Categorical(3)),
        (vec![1], Likelihood::StudentT(4.0, Scale::Shared)),
        (vec![0], Likelihood::Gaussian(Scale::PerFeature)),
    ])
}

fn bytes() -> Vec<u8> {
    bytes_of(Likelihood::Binomial(16))
}

fn bytes_of(likelihood: Likelihood) -> Vec<u8> {
    to_bytes(&Model::<f32>::new(config(likelihood), Scaling::identity(3), Key(0)).unwrap()).unwrap()
}

#[test]
fn every_likelihood_comes_back_and_the_same_model_gives_the_same_bytes() {
    let scaling = Scaling { shift: vec![0.1, -2.0, 0.0], scale: vec![1.0 / 3.0, 1e-7, 1.0] };
    for likelihood in [
        Likelihood::Gaussian(Scale::Fixed(0.1 + 0.2)),
        Likelihood::Gaussian(Scale::ByFeature(vec![1.0, 1.0 / 3.0, 7e300])),
        Likelihood::Gaussian(Scale::Predicted),
        Likelihood::Gaussian(Scale::Shared),
        Likelihood::Laplace(Scale::PerFeature),
        Likelihood::StudentT(0.1 + 0.2, Scale::Predicted),
        Likelihood::Bernoulli,
        Likelihood::ContinuousBernoulli,
        Likelihood::Binomial(u32::MAX),
        Likelihood::Categorical(7),
        Likelihood::Poisson,
        Likelihood::NegativeBinomial,
        Likelihood::ZeroInflatedNegativeBinomial,
        table(),
    ] {
        let real = likelihood.scale().is_some();
        let scaling = if real { scaling.clone() } else { Scaling::identity(3) };
        let model = Model::<f64>::new(config(likelihood), scaling, Key(9)).unwrap();
        let bytes = to_bytes(&model).unwrap();
        assert_eq!(bytes, to_bytes(&model.clone()).unwrap());
        let AnyModel::F64(again) = from_bytes(&bytes).unwrap() else { panic!("another dtype") };
        assert_eq!((again.config(), again.scaling()), (model.config(), model.scaling()));
        assert_eq!(again.parameters(), model.parameters());
        assert_eq!(again.named(), model.named());
        assert_eq!(bytes, to_bytes(&again).unwrap());
    }
}

fn refused(bytes: &[u8]) -> String {
    match from_bytes(bytes) {
        Err(error @ Error::ModelFile { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn any_cut_and_any_changed_byte_of_the_header_is_refused_or_read_but_never_worse() {
    for likelihood in [Likelihood::Binomial(16), table()] {
        cut_and_changed(&bytes_of(likelihood));
    }
}

fn cut_and_changed(good: &[u8]) {
    for len in (0..good.len()).step_by(7) {
        refused(&good[..len]);
    }
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    for at in 0..header {
        for flip in [1, 0x20, 0x80] {
            let mut bad = good.to_vec();
            bad[at] ^= flip;
            // Most are refused; a changed digit may be another sound model.
            if let Err(error) = from_bytes(&bad) {
                assert!(matches!(error, Error::ModelFile { .. }), "{error}");
            }
        }
    }
}

/// The file with a piece of its header replaced by one of the same length, or with its length put right.
fn replaced(from: &str, to: &str) -> Vec<u8> {
    replaced_in(&bytes(), from, to)
}

fn replaced_in(good: &[u8], from: &str, to: &str) -> Vec<u8> {
    let len = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&good[8..8 + len]).unwrap();
    assert!(header.contains(from), "{header}");
    let header = header.replacen(from, to, 1);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&good[8 + len..]);
    file
}

#[test]
fn what_is_unknown_or_does_not_fit_is_named() {
    for (from, to, says) in [
        (r#"\"format\":1"#, r#"\"format\":2"#, "format 2"),
        (r#"\"dtype\":\"float32\""#, r#"\"dtype\":\"float16\""#, "float16"),
        (r#"\"dtype\":\"float32\""#, r#"\"dtype\":\"float64\""#, "float64"),
        (r#"\"prior\":\"standard\""#, r#"\"prior\":\"vamp\""#, "vamp"),
        (r#"\"prior\":\"standard\""#, r#"\"prior\":\"standard\",\"beta\":1"#, "beta"),
        (r#"\"name\":\"Binomial\""#, r#"\"name\":\"Cauchy\""#, "Cauchy"),
        (r#"\"activation\":\"silu\""#, r#"\"activation\":\"sine\""#, "sine"),
        (r#"\"hidden\":[5,4]"#, r#"\"hidden\":[5,5]"#, "encoder.1.weight"),
        (r#"\"hidden\":[5,4]"#, r#"\"hidden\":[5,4000000000]"#, "2³¹"),
        (r#"\"hidden\":[5,4]"#, r#"\"hidden\":[0]"#, "hidden"),
        (r#"\"num_features\":3"#, r#"\"num_features\":18446744073709551615"#, "2³¹"),
        (r#"\"num_features\":3"#, r#"\"num_features\":-3"#, "-3"),
        (r#""encoder.0.bias""#, r#""encoder.9.bias""#, "encoder.9.bias"),
        (r#""elbokit""#, r#""elbokat""#, "elbokit"),
    ] {
        let message = refused(&replaced(from, to));
        assert!(message.contains(says), "{says}: {message}");
    }
    let table = bytes_of(table());
    for (from, to, says) in [
        (r#"\"columns\":[2]"#, r#"\"columns\":[1]"#, "column 1 twice"),
        (r#"\"columns\":[2]"#, r#"\"columns\":[9]"#, "column 9"),
        (r#"\"columns\":[2]"#, r#"\"columns\":[2,3]"#, "4 for rows of 3"),
        (r#"\"columns\":[2]"#, r#"\"columns\":[-2]"#, "-2"),
        (r#"\"columns\":[2]"#, r#"\"columns\":[]"#, "2 for rows of 3"),
        (r#"\"num_features\":3"#, r#"\"num_features\":500000000"#, "3 for rows of 500000000"),
        (r#"\"num_classes\":3"#, r#"\"num_classes\":4000000000"#, "2³¹"),
        (r#"\"num_classes\":3"#, r#"\"num_classes\":0"#, "encoder.0.weight"),
        (r#"\"num_classes\":3"#, r#"\"num_classes\":3,\"base\":1"#, "base"),
        (r#"\"df\":4.0"#, r#"\"df\":-4.0"#, "df"),
        (r#"\"scale\":\"shared\""#, r#"\"scale\":\"global\""#, "global"),
        (r#"\"name\":\"Categorical\""#, r#"\"name\":\"Columns\""#, "members"),
        (r#""decoder.members.1.log_scale""#, r#""decoder.members.3.log_scale""#, "decoder.members.3.log_scale"),
        (
            r#""decoder.members.2.log_var":{"dtype":"F32""#,
            r#""decoder.members.2.log_var":{"dtype":"I32""#,
            "decoder.members.2.log_var",
        ),
    ] {
        let message = refused(&replaced_in(&table, from, to));
        assert!(message.contains(says), "{says}: {message}");
    }
    let mut file = bytes();
    let len = file.len();
    file[len - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(refused(&file).contains("finite"));
    assert!(refused(b"not a model").contains("safetensors"));
}
