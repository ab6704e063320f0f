//! Guides: how to go about what the reference only lists.

#[doc = include_str!("model_check.md")]
pub mod model_check {}
