//! The adapters of any `lock_api` 0.4 lock: parking_lot 0.12, spin and others. See `lock_api_impls.rs`.

super::lock_api_impls::lock_api_adapters!(::lock_api);
