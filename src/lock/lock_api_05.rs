//! The adapters of any `lock_api` 0.5 lock: parking_lot 0.13. See `lock_api_impls.rs`.

super::lock_api_impls::lock_api_adapters!(::lock_api_05);
