//! Named vectors and a text as bytes: the container of training's checkpoints, a safetensors file.
//!
//! The metadata holds one key, `elbokit.checkpoint`, and under it the caller's text. On the way in, lengths are those of the tensors, which must lie in the
//! file; a tensor of another rank or element type is an [`Error::ModelFile`].
//!
//! ```
//! use elbokit_core::vae::{Numbers, checkpoint_from_bytes, checkpoint_to_bytes};
//!
//! let vectors = [("m".to_owned(), Numbers::F32(vec![0.5, -1.0]))];
//! let bytes = checkpoint_to_bytes("{}", &vectors)?;
//! assert_eq!(checkpoint_from_bytes(&bytes)?, ("{}".to_owned(), vectors.to_vec()));
//! # Ok::<(), elbokit_core::Error>(())
//! ```

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};

const KEY: &str = "elbokit.checkpoint";
const CURE: &str = "give a checkpoint that elbokit wrote, or remove it to start anew";

/// A vector of either element type.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Of float32.
    F32(Vec<f32>),
    /// Of float64.
    F64(Vec<f64>),
}

/// The text and the vectors as the bytes of a safetensors file; the same ones give the same bytes.
///
/// # Errors
/// [`Error::ModelFile`] where two vectors have one name.
pub fn checkpoint_to_bytes(text: &str, vectors: &[(String, Numbers)]) -> Result<Vec<u8>> {
    let refused = |error: safetensors::SafeTensorError| Error::model_file("a checkpoint that can be written", error, "report this");
    let raw: Vec<(Dtype, usize, Vec<u8>)> = vectors
        .iter()
        .map(|(_, numbers)| match numbers {
            Numbers::F32(x) => (Dtype::F32, x.len(), x.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Numbers::F64(x) => (Dtype::F64, x.len(), x.iter().flat_map(|x| x.to_le_bytes()).collect()),
        })
        .collect();
    let views = vectors.iter().zip(&raw).map(|((name, _), (dtype, len, bytes))| {
        let view = TensorView::new(*dtype, vec![*len], bytes).map_err(refused)?;
        Ok((name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, Some(HashMap::from([(KEY.to_owned(), text.to_owned())]))).map_err(refused)
}

/// The text and the vectors, by name, that [`checkpoint_to_bytes`] put there.
///
/// # Errors
/// [`Error::ModelFile`] for anything else.
pub fn checkpoint_from_bytes(bytes: &[u8]) -> Result<(String, Vec<(String, Numbers)>)> {
    let broken = |error| Error::model_file("a whole checkpoint", error, CURE);
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
    let Some(text) = metadata.metadata().as_ref().and_then(|m| m.get(KEY)) else {
        return Err(Error::model_file(format!("metadata under {KEY:?}"), "none", CURE));
    };
    let mut vectors = Vec::new();
    for (name, tensor) in tensors.tensors() {
        let data = tensor.data();
        let numbers = match (tensor.dtype(), tensor.shape()) {
            (Dtype::F32, [_]) => Numbers::F32(data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            (Dtype::F64, [_]) => Numbers::F64(data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect()),
            (dtype, shape) => {
                return Err(Error::model_file(format!("a vector {name:?} of floats"), format!("{dtype:?} {shape:?}"), CURE));
            }
        };
        vectors.push((name, numbers));
    }
    vectors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok((text.clone(), vectors))
}
