//! The hooks where the order is not watched: nothing, of no size.

use std::panic::Location;
use std::sync::Arc;

use super::Inversion;
use crate::registry::member::MemberRef;

/// Whether the order is watched.
pub(crate) const WATCHED: bool = false;

/// Where something was taken.
#[derive(Clone, Copy)]
pub(crate) struct Place;

#[inline(always)]
pub(crate) fn place(_: &'static Location<'static>) -> Place {
    Place
}

/// The class of a monitor.
pub(crate) struct Class;

impl Class {
    #[inline(always)]
    pub(crate) fn new(_: &'static str, _: Place) -> Self {
        Class
    }

    #[inline(always)]
    pub(crate) fn set_order(&mut self, _: u64) {}
}

/// The class of a completion.
#[derive(Clone, Copy)]
pub(crate) struct Debt;

impl Debt {
    #[inline(always)]
    pub(crate) fn new(_: Place) -> Self {
        Debt
    }
}

/// That a monitor is held.
pub(crate) struct Held;

impl Held {
    #[inline(always)]
    pub(crate) fn new(_: &Class, _: Place) -> Self {
        Held
    }
}

/// What a member holds and owes.
pub(crate) struct HeldList;

impl HeldList {
    pub(crate) const fn new() -> Self {
        HeldList
    }

    #[inline(always)]
    pub(crate) fn clear(&self) {}
}

#[inline(always)]
pub(crate) fn want(_: &Class, _: Place) {}

#[inline(always)]
pub(crate) fn wait_for(_: Debt, _: &str, _: &str, _: Place) {}

#[inline(always)]
pub(crate) fn owe(_: Debt, _: &str, _: usize, _: Place) {}

#[inline(always)]
pub(crate) fn owe_end(_: MemberRef, _: Debt, _: &str, _: usize) {}

#[inline(always)]
pub(crate) fn paid(_: MemberRef, _: usize) {}

pub(crate) fn found() -> Vec<Inversion> {
    Vec::new()
}

pub(crate) fn latest() -> impl Iterator<Item = &'static Inversion> {
    std::iter::empty()
}

pub(crate) fn set_hook(_: Arc<dyn Fn(&Inversion) + Send + Sync>) {}
