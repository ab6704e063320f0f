//! Choices of a model that are not loom's: each is tried every way.
//!
//! loom explores schedules, not inputs. So a choice stays the same while all schedules are explored, and then they are explored again with the next
//! one: a depth-first search around loom's.

use std::cell::RefCell;

struct Choice {
    what: String,
    of: usize,
    value: usize,
}

std::thread_local! {
    /// In the order in which they were first asked for. A model runs on one thread of the system.
    static CHOICES: RefCell<Vec<Choice>> = const { RefCell::new(Vec::new()) };
}

/// A number below `of`; [`check`](super::check) runs the model with each of them, and with each combination of several choices.
///
/// `what` names the choice: asked again by the same name it is the same, in every schedule of a run. A model that fails says what was chosen.
///
/// ```
/// # #[cfg(unwedge_loom)]
/// # fn model() {
/// let clients = unwedge::model::choose("clients", 3);      // 0, 1 and 2
/// # }
/// ```
///
/// # Panics
/// If `of` is 0, or differs from what it was when it was asked before.
#[must_use]
pub fn choose(what: &str, of: usize) -> usize {
    assert!(of > 0, "{what}: there is nothing to choose from");
    CHOICES.with_borrow_mut(|choices| match choices.iter().find(|choice| choice.what == what) {
        Some(choice) => {
            assert_eq!(choice.of, of, "{what} was another choice before");
            choice.value
        }
        None => {
            choices.push(Choice { what: what.to_owned(), of, value: 0 });
            0
        }
    })
}

/// A model begins.
pub(super) fn begin() {
    CHOICES.with_borrow_mut(Vec::clear);
}

/// Goes on to the next combination. Whether there is one.
pub(super) fn next() -> bool {
    CHOICES.with_borrow_mut(|choices| {
        while let Some(last) = choices.last_mut() {
            last.value += 1;
            if last.value < last.of {
                return true;
            }
            choices.pop();
        }
        false
    })
}

/// Says what was chosen, if anything was.
pub(super) fn say() {
    CHOICES.with_borrow(|choices| {
        if !choices.is_empty() {
            let chosen: Vec<String> =
                choices.iter().map(|Choice { what, of, value }| format!("{what}: {value} of {of}")).collect();
            eprintln!("the model had chosen: {}", chosen.join(", "));
        }
    });
}
