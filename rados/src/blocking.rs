//! What librados only has as a call that blocks: a thread of its own for each.

use unwedge::{Completion, Object, Owed, io::Io};

use crate::{RadosError, error::Cause};

/// Does what only blocks, on a thread of its own. A stop ends the wait for it; the thread stays until librados comes back, and keeps the cluster's handle
/// from being closed.
pub(crate) fn on_thread<T: Send + 'static>(
    io: &Io,
    name: &'static str,
    object: &str,
    job: impl FnOnce(&dyn Fn() -> bool) -> Result<T, Cause> + Send + 'static,
) -> Completion<T, RadosError> {
    let owed = Owed { operation: name, object: Some(Object::from(object)), offset: 0, length: 0 };
    let (completer, completion) = io.external::<T, RadosError>(owed);
    if completer.is_wanted() {
        let object: Box<str> = object.into();
        let thread = std::thread::Builder::new().name(format!("uw-{name}"));
        // Without a thread the completer is dropped: abandoned.
        drop(thread.spawn(move || {
            let result = job(&|| completer.is_wanted());
            drop(completer.finish(result.map_err(|cause| RadosError::new(name, Some(&object), cause))));
        }));
    }
    completion.into_completion()
}
