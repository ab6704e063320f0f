//! Guides: how to go about what the reference only lists.

#[expect(clippy::test_attr_in_doctest, reason = "a model is a test, and the guide shows one")]
#[doc = include_str!("model_check.md")]
pub mod model_check {}

#[doc = include_str!("memory_model.md")]
pub mod memory_model {}

#[doc = include_str!("why_not_stopped.md")]
pub mod why_not_stopped {}
