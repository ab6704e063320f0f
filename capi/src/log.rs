//! Events of the library, and what panicked in it, for a daemon's own log.

use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt::{self, Write};
use std::panic;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::sync::{Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::border::{Arg, BAD_ARGUMENT, CancellationHeld, border};

/// Nothing is logged.
pub const UNWEDGE_LOG_OFF: c_int = 0;
/// What should not have happened.
pub const UNWEDGE_LOG_ERROR: c_int = 1;
/// What a daemon's operator should know: no io_uring, what a shutdown left.
pub const UNWEDGE_LOG_WARN: c_int = 2;
/// What happens rarely.
pub const UNWEDGE_LOG_INFO: c_int = 3;
/// What happens often.
pub const UNWEDGE_LOG_DEBUG: c_int = 4;
/// All.
pub const UNWEDGE_LOG_TRACE: c_int = 5;

type Callback = unsafe extern "C" fn(arg: *mut c_void, level: c_int, message: *const c_char);

/// Who is told. Copied out, so that no lock is held while it is called.
static SINK: Mutex<Option<(Callback, Arg)>> = Mutex::new(None);

/// Up to which level. A word of its own, so that what is not logged costs one load.
static LEVEL: AtomicI32 = AtomicI32::new(UNWEDGE_LOG_OFF);

/// Has what happens in the library, up to `level` (UNWEDGE_LOG_ERROR to UNWEDGE_LOG_TRACE), told by `callback(arg, level, message)`: one line without its end,
/// lent for the call. From any thread, also one that holds locks: it should write and return. UNWEDGE_LOG_OFF, with or without a callback, ends it.
///
/// Of the whole process: the last call counts. An event that is just being told may still reach the callback before.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_set_log(
    level: c_int,
    callback: Option<unsafe extern "C" fn(arg: *mut c_void, level: c_int, message: *const c_char)>,
    arg: *mut c_void,
) -> c_int {
    border(|| {
        if !(UNWEDGE_LOG_OFF..=UNWEDGE_LOG_TRACE).contains(&level) || (level != UNWEDGE_LOG_OFF && callback.is_none()) {
            return Err(BAD_ARGUMENT);
        }
        *SINK.lock().unwrap_or_else(PoisonError::into_inner) = callback.map(|callback| (callback, Arg(arg)));
        // Ordering: Relaxed; who sees the level early finds the sink by its lock.
        LEVEL.store(level, Relaxed);
        static ONCE: Once = Once::new();
        ONCE.call_once(begin);
        Ok(0)
    })
}

/// From the first call on: events and panics come here.
fn begin() {
    // This library's own copy of the facade: nobody else can have set one.
    let _ = tracing::subscriber::set_global_default(Listener);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if LEVEL.load(Relaxed) >= UNWEDGE_LOG_ERROR {
            tell(UNWEDGE_LOG_ERROR, &info.to_string());
        } else {
            before(info);
        }
    }));
}

fn tell(level: c_int, message: &str) {
    let sink = *SINK.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((callback, arg)) = sink else { return };
    let line = message.replace(['\n', '\0'], " ");
    let line = CString::new(line).unwrap_or_default();
    let _held = CancellationHeld::new();
    // SAFETY: the caller's callback with its own argument (`Callback`); the line is lent for the call.
    unsafe { callback(arg.get(), level, line.as_ptr()) };
}

fn number(level: &Level) -> c_int {
    match *level {
        Level::ERROR => UNWEDGE_LOG_ERROR,
        Level::WARN => UNWEDGE_LOG_WARN,
        Level::INFO => UNWEDGE_LOG_INFO,
        Level::DEBUG => UNWEDGE_LOG_DEBUG,
        Level::TRACE => UNWEDGE_LOG_TRACE,
    }
}

/// Makes a line of each event. Spans are not followed: the library has none.
struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number(metadata.level()) <= LEVEL.load(Relaxed)
    }

    /// The level may change later.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        tell(number(event.metadata().level()), &format!("{}{}", line.message, line.fields));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
