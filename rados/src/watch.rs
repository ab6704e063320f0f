//! Watching objects, and notifying who watches: how daemons on different hosts wake each other.
//!
//! librados cannot cancel the three operations of this: a watch and a notification are *linger operations*, which it sends again by itself and whose completions
//! have no number that `rados_aio_cancel` could look for; the end of a watch is a plain write, but its number is not kept either. So what is given up is let go
//! at once, and the shutdown gives it a short time to end by itself (see the head of `cluster.rs`).
//!
//! # Invariants
//!
//! - **Kept**: librados has the address of a [`Watching`] from the watch on; the cluster keeps it until its handle has been closed.
//! - **Short callbacks**: a notification is queued, and who waits for it is woken; it is acknowledged by who takes it.

use std::{
    collections::VecDeque,
    ffi::{CStr, CString, c_char, c_int, c_void},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use unwedge::{
    Completion, Object, Owed,
    io::{ExternalCompleter, ExternalCompletion},
};

use crate::{
    Pool, RadosError,
    cluster::check,
    encode::Decoder,
    error::Cause,
    ffi,
    flight::{Operation, Step, lock},
    omap::bytes,
};

/// A watch of an object: what [`Pool::notify`] says of it comes here.
///
/// ```no_run
/// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
/// let watch = pool.watch("mds0_lock", std::time::Duration::from_secs(30)).wait()??;
/// let told = watch.next().wait()??;                  // a stop ends this as any other wait
/// watch.acknowledge(&told, b"I hand over")?;
/// # Ok(())
/// # }
/// ```
///
/// Its drop ends it, which is not waited for. librados cannot cancel that either: if the OSD does not answer when the domain is stopped, the shutdown leaves the
/// cluster's handle. A watch that is still there at the stop is no hindrance: it ends with the handle.
pub struct Watch {
    pool: Pool,
    object: Box<str>,
    cookie: u64,
    watching: Arc<Watching>,
}

/// What the callback and the watch share. librados has its address.
pub(crate) struct Watching {
    state: Mutex<State>,
}

type Waits = ExternalCompleter<Notification, RadosError>;

#[derive(Default)]
struct State {
    queue: VecDeque<Notification>,
    /// Who waits, and the how manieth wait it is.
    waits: Option<(u64, Waits)>,
    /// Waits so far.
    count: u64,
    /// The error by which the watch was lost.
    lost: Option<i32>,
}

impl Watching {
    /// Who waits from now on; the one before comes back.
    fn wait_with(self: &Arc<Self>, completer: Waits) -> Option<Waits> {
        let watching = Arc::downgrade(self);
        let mut state = lock(&self.state);
        state.count += 1;
        let own = state.count;
        // When nobody waits any more it does not count as in flight. The hook runs on another thread, and finds the completer in its place.
        let hook = completer.on_cancel(move || {
            if let Some(watching) = watching.upgrade() {
                let unwanted = lock(&watching.state).waits.take_if(|(number, _)| *number == own);
                drop(unwanted);
            }
        });
        // Without a callback thread it could not be ended.
        let (kept, back) = if hook.is_ok() { (Some((own, completer)), None) } else { (None, Some(completer)) };
        let before = std::mem::replace(&mut state.waits, kept).map(|(_, before)| before);
        back.or(before)
    }

    /// Gives what has come to who waits. The completer is used without the lock.
    fn settle(&self, object: &str) {
        let (waits, result) = {
            let mut state = lock(&self.state);
            let Some((number, waits)) = state.waits.take() else { return };
            match (state.queue.pop_front(), state.lost) {
                (Some(notification), _) => (waits, Ok(notification)),
                (None, Some(error)) => (waits, Err(RadosError::new(NEXT, Some(object), Cause::Failed(error)))),
                (None, None) => {
                    state.waits = Some((number, waits));
                    return;
                }
            }
        };
        if let Err(Ok(unwanted)) = waits.finish(result) {
            lock(&self.state).queue.push_front(unwanted);
        }
    }
}

/// What a report calls a wait for a notification.
const NEXT: &str = "notification";

/// What somebody has said of a watched object, and is waiting to have acknowledged. See [`Watch::next`].
pub struct Notification {
    /// What was said.
    pub payload: Vec<u8>,
    /// Who said it: a client's number.
    pub notifier: u64,
    number: u64,
}

impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification").field("payload", &self.payload).field("notifier", &self.notifier).finish()
    }
}

/// What came of a notification. See [`Pool::notify`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notified {
    /// Who has acknowledged it, by the client's number, and with what.
    pub replies: Vec<(u64, Vec<u8>)>,
    /// Who has not within the time.
    pub silent: Vec<u64>,
}

impl Pool {
    /// Watches an object, which has to be there. A client that is gone for longer than `timeout` (whole seconds, rounded up) has lost its watch.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// let watch = pool.watch("mds0_lock", std::time::Duration::from_secs(30)).wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The object is not there ([`is_missing`](RadosError::is_missing)), or the cluster's error; see [`Pool`].
    ///
    /// # Cancel safety
    ///
    /// A watch that nobody waits for is undecided: it may have been made all the same, and ends then when librados says so, or with the cluster's handle. librados
    /// cannot cancel it: if the OSD does not answer, a stop ends the wait, and the shutdown leaves the handle, which its report counts as a thread.
    pub fn watch(&self, object: &str, timeout: Duration) -> ExternalCompletion<Watch, RadosError> {
        let watching = Arc::new(Watching { state: Mutex::default() });
        self.shared.live().keep(&watching);
        let timeout = whole_seconds(timeout);
        let watch = Watch { pool: self.clone(), object: object.into(), cookie: 0, watching };
        self.begin(object, Begin { timeout, cookie: 0, watch: Some(watch) })
    }

    /// Tells everybody who watches an object, and waits until all have acknowledged it or the time is up.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// let told = pool.notify("mds0_lock", *b"hand over", std::time::Duration::from_secs(5)).wait()??;
    /// for (client, reply) in told.replies {
    ///     println!("client.{client} says {}", String::from_utf8_lossy(&reply));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The time is one of whole seconds, rounded up.
    ///
    /// # Errors
    ///
    /// Somebody has not acknowledged it by then (`ETIMEDOUT`), or the object is not there ([`is_missing`](RadosError::is_missing)); see [`Pool`].
    ///
    /// # Cancel safety
    ///
    /// Who watches may have been told, or be told later: it is undecided. librados cannot cancel it: a stop ends the wait, and the shutdown leaves the cluster's
    /// handle, which its report counts as a thread, if the OSD or somebody who watches has not answered some milliseconds later.
    pub fn notify(
        &self,
        object: &str,
        payload: impl Into<Vec<u8>>,
        timeout: Duration,
    ) -> ExternalCompletion<Notified, RadosError> {
        let timeout = u64::from(whole_seconds(timeout)) * 1000;
        self.begin(object, Notify { payload: payload.into(), timeout, reply: Reply(std::ptr::null_mut(), 0) })
    }
}

impl Watch {
    /// The next notification. It is to be [acknowledged](Self::acknowledge): until then who sent it waits.
    ///
    /// One wait at a time: a second one takes the first one's place, which is abandoned.
    ///
    /// ```no_run
    /// # fn f(watch: &unwedge_rados::Watch) -> Result<(), Box<dyn std::error::Error>> {
    /// let told = watch.next().wait()??;
    /// println!("{} bytes from client.{}", told.payload.len(), told.notifier);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The watch was lost: librados's number, as `ENOTCONN`. [Abandoned](RadosError::is_abandoned): another wait took its place.
    ///
    /// # Cancel safety
    ///
    /// A notification that comes meanwhile is given to the next wait.
    pub fn next(&self) -> Completion<Notification, RadosError> {
        let object = Some(Object::from(&*self.object));
        let (completer, completion) = self.pool.io.external(Owed { operation: NEXT, object, offset: 0, length: 0 });
        if completer.is_wanted() {
            let before = self.watching.wait_with(completer);
            drop(before);
            self.watching.settle(&self.object);
        }
        completion.into_completion()
    }

    /// Tells who has sent a notification that it was taken, with a reply for them. It is sent, and not waited for.
    ///
    /// ```no_run
    /// # fn f(watch: &unwedge_rados::Watch) -> Result<(), Box<dyn std::error::Error>> {
    /// watch.acknowledge(&watch.next().wait()??, b"ready")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The cluster's handle has been closed, or librados refuses.
    pub fn acknowledge(&self, notification: &Notification, reply: &[u8]) -> Result<(), RadosError> {
        let fail = |cause| RadosError::new("acknowledge", Some(&self.object), cause);
        let live = self.pool.shared.live();
        live.handle().map_err(fail)?;
        let object = CString::new(&*self.object).map_err(|_| fail(Cause::ZeroByte))?;
        let (number, cookie) = (notification.number, self.cookie);
        let (from, len) = (reply.as_ptr().cast(), c_int::try_from(reply.len()).unwrap_or(c_int::MAX));
        // SAFETY: **A live handle**: `live` is held. Librados copies the reply and the name.
        let answer = unsafe { ffi::rados_notify_ack(self.pool.handle.0, object.as_ptr(), number, cookie, from, len) };
        check(answer).map(drop).map_err(fail)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("object", &self.object).finish_non_exhaustive()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.cookie != 0 {
            // Not waited for; if the domain was stopped, it ends with the handle.
            let end = self.pool.begin(&self.object, End(self.cookie));
            drop(end.into_completion());
        }
    }
}

struct Begin {
    timeout: u32,
    cookie: u64,
    watch: Option<Watch>,
}

impl Operation for Begin {
    type Output = Watch;
    const NAME: &'static str = "watch";
    // It may have been made.
    const WRITES: bool = true;
    const CANCELS: bool = false;

    fn submit(&mut self, io: ffi::IoCtx, object: &CStr, aio: ffi::Aio) -> c_int {
        let Some(watch) = &self.watch else { return -EINVAL };
        let address = Arc::as_ptr(&watch.watching).cast_mut().cast::<c_void>();
        let (cookie, object) = (&raw mut self.cookie, object.as_ptr());
        // SAFETY: **A live handle**; **Owned**: the cookie lies in the flight; **Kept**: what the callbacks get.
        unsafe { ffi::rados_aio_watch2(io, object, aio, cookie, notified, lost, self.timeout, address) }
    }

    fn finish(&mut self, answer: Result<usize, i32>) -> Step<Watch> {
        let watch = self.watch.take().ok_or(Cause::Garbled);
        let cookie = self.cookie;
        Step::Done(answer.map_err(Cause::Failed).and_then(|_| {
            watch.map(|mut watch| {
                watch.cookie = cookie;
                watch
            })
        }))
    }
}

/// Ceph counts these times in whole seconds, and takes none for its default, which is much longer: so they are rounded up.
pub(crate) fn whole_seconds(time: Duration) -> u32 {
    let rounded = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
}

/// An argument that cannot be.
const EINVAL: c_int = 22;

struct End(u64);

impl Operation for End {
    type Output = ();
    const NAME: &'static str = "unwatch";
    const WRITES: bool = true;
    const CANCELS: bool = false;

    fn submit(&mut self, io: ffi::IoCtx, _: &CStr, aio: ffi::Aio) -> c_int {
        // SAFETY: **A live handle**.
        unsafe { ffi::rados_aio_unwatch(io, self.0, aio) }
    }

    fn finish(&mut self, answer: Result<usize, i32>) -> Step<()> {
        Step::Done(answer.map(drop).map_err(Cause::Failed))
    }
}

/// Librados's callback for a notification.
///
/// # Safety
///
/// `watching` is the address of a [`Watching`] that is kept; `len` bytes lie at `data`.
unsafe extern "C" fn notified(
    watching: *mut c_void,
    number: u64,
    _: u64,
    notifier: u64,
    data: *mut c_void,
    len: usize,
) {
    // SAFETY: As the caller says: **Kept**.
    let watching = unsafe { &*watching.cast_const().cast::<Watching>() };
    // SAFETY: As the caller says.
    let payload = unsafe { bytes(data.cast_const().cast(), len) };
    lock(&watching.state).queue.push_back(Notification { payload, notifier, number });
    watching.settle("");
}

/// Librados's callback for a watch that was lost.
///
/// # Safety
///
/// `watching` is the address of a [`Watching`] that is kept.
unsafe extern "C" fn lost(watching: *mut c_void, _: u64, error: c_int) {
    // SAFETY: As the caller says: **Kept**.
    let watching = unsafe { &*watching.cast_const().cast::<Watching>() };
    lock(&watching.state).lost = Some(error.saturating_abs());
    watching.settle("");
}

/// What librados has answered: its memory.
struct Reply(*mut c_char, usize);

// SAFETY: It is memory of librados's, used by one thread at a time.
unsafe impl Send for Reply {}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: It is owned, and freed once.
            unsafe { ffi::rados_buffer_free(self.0) };
        }
    }
}

struct Notify {
    payload: Vec<u8>,
    timeout: u64,
    reply: Reply,
}

impl Operation for Notify {
    type Output = Notified;
    const NAME: &'static str = "notify";
    // Who watches may have been told.
    const WRITES: bool = true;
    const CANCELS: bool = false;

    fn submit(&mut self, io: ffi::IoCtx, object: &CStr, aio: ffi::Aio) -> c_int {
        let (from, len) = (self.payload.as_ptr().cast(), c_int::try_from(self.payload.len()).unwrap_or(c_int::MAX));
        let (reply, reply_len) = (&raw mut self.reply.0, &raw mut self.reply.1);
        // SAFETY: **A live handle**; **Owned**: payload and reply lie in the flight.
        unsafe { ffi::rados_aio_notify(io, object.as_ptr(), aio, from, len, self.timeout, reply, reply_len) }
    }

    fn finish(&mut self, answer: Result<usize, i32>) -> Step<Notified> {
        let decode = |_| {
            // SAFETY: librados has an answer of that length there.
            let reply = unsafe { bytes(self.reply.0, self.reply.1) };
            acknowledged(&reply)
        };
        Step::Done(answer.map_err(Cause::Failed).and_then(decode))
    }
}

fn acknowledged(reply: &[u8]) -> Result<Notified, Cause> {
    let mut reply = Decoder(reply);
    let mut notified = Notified::default();
    for _ in 0..reply.u32()? {
        let (client, _cookie) = (reply.u64()?, reply.u64()?);
        notified.replies.push((client, reply.blob()?.to_vec()));
    }
    for _ in 0..reply.u32()? {
        let (client, _cookie) = (reply.u64()?, reply.u64()?);
        notified.silent.push(client);
    }
    Ok(notified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_rounded_down() {
        let rounded = [0, 1, 999, 1000, 1001, 30_000].map(|ms| whole_seconds(Duration::from_millis(ms)));
        assert_eq!(rounded, [1, 1, 1, 1, 2, 30]);
        assert_eq!(whole_seconds(Duration::MAX), u32::MAX);
    }
}
