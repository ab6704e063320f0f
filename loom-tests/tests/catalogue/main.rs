//! The deadlock catalogue: deadlocks and races on record, each made with unwedge and made as it was. `README.md` has the table.
//!
//! `c01` to `c22` are Ceph's metadata server's (tracker and pull request numbers are Ceph's), `x1` to `x8` are other libraries' own. A file has a model, the same job
//! done with unwedge, which passes; and a twin, a reduction of the naive shape, which must fail, in the way and with the waits that it names. Where a
//! type makes the shape impossible its twin is beside it in `tests/compile_fail/`.
#![expect(clippy::unwrap_used, reason = "in a model a failure is a panic")]

extern crate unwedge_loom as unwedge;

#[path = "../models/common.rs"]
mod common;
mod compile_fail;
mod naive;
#[path = "../models/world.rs"]
mod world;

mod c01_replay_waits_for_readable;
mod c02_finisher_joined_under_the_lock;
mod c03_messenger_shut_down_under_the_lock;
mod c04_lock_released_twice;
mod c05_store_used_after_its_shutdown;
mod c06_lock_order;
mod c07_hook_unregistered_under_the_lock;
mod c08_acknowledgement_under_the_lock;
mod c09_sender_that_nobody_signals;
mod c10_join_of_what_never_started;
mod c11_check_then_register;
mod c12_completion_reenters_the_journaler;
mod c13_journaler_freed_while_it_is_used;
mod c14_callback_after_the_journaler_stopped;
mod c15_stop_taken_for_success;
mod c16_stop_reported_as_damage;
mod c17_thread_made_again_before_its_join;
mod c18_stop_from_a_callback;
mod c19_heartbeat_handle_freed;
mod c20_recovered_already;
mod c21_throttle_under_the_lock;
mod c22_io_that_no_stop_reaches;
mod x1_inner_and_outer_lock;
mod x2_past_deadline_still_unlocks;
mod x3_registration_and_sleep_are_one;
mod x4_nothing_was_registered;
mod x5_callback_that_is_not_marked;
mod x6_all_levels_of_a_reentrant_lock;
mod x7_task_registered_too_late;
mod x8_trigger_between_look_and_entry;
