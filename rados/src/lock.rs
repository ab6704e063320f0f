//! RADOS's own advisory locks on objects, with leases: what daemons on different hosts fence and hand over with.
//!
//! They are methods of the class `lock` of the OSD. librados's own calls for them block, so they are called here as any other operation: they
//! can be cancelled, and a lock whose taking was cancelled is undecided.

use std::{
    ffi::{CStr, c_char, c_int},
    time::{Duration, SystemTime},
};

use unwedge::io::ExternalCompletion;

use crate::{
    Pool, RadosError, WriteOp,
    compound::RawRead,
    encode::{Decoder, Encoder},
    error::Cause,
    ffi,
    flight::{Operation, Step},
    omap::bytes,
};

/// How a lock is wanted.
///
/// ```no_run
/// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use unwedge_rados::Claim;
///
/// let claim = Claim::new("rank 0", "life 1").lease(Duration::from_secs(15)).description("192.0.2.1:6800");
/// pool.lock_exclusive("mds0_lock", claim.clone()).wait()??;
/// pool.lock_exclusive("mds0_lock", claim.renew()).wait()??;       // every few seconds
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Claim {
    name: String,
    cookie: String,
    tag: String,
    description: String,
    lease: Option<Duration>,
    renew: bool,
}

impl Claim {
    /// The lock of this name; the cookie tells apart the claims of one client.
    pub fn new(name: impl Into<String>, cookie: impl Into<String>) -> Claim {
        let (tag, description) = (String::new(), String::new());
        Claim { name: name.into(), cookie: cookie.into(), tag, description, lease: None, renew: false }
    }

    /// The lock is over after this time, whatever becomes of its holder, unless it is renewed. It is counted by the OSD's clock. No time at all is a lease that
    /// has run out when it is given, and one that would end after 2106 ends then.
    pub fn lease(self, lease: Duration) -> Claim {
        // None at all is without end, to an OSD.
        Claim { lease: Some(lease.max(Duration::from_nanos(1))), ..self }
    }

    /// If this client has the lock already by the same cookie, its lease begins anew; without this, that is an error (`EEXIST`). If it does not have it (any more) it
    /// is taken. Who alone shares a lock has it exclusively so.
    pub fn renew(self) -> Claim {
        Claim { renew: true, ..self }
    }

    /// For who asks for the lockers: an address to be fenced, say.
    pub fn description(self, text: impl Into<String>) -> Claim {
        Claim { description: text.into(), ..self }
    }

    /// Those who share a lock have to have the same tag; another one is refused (`EBUSY`).
    pub fn tag(self, tag: impl Into<String>) -> Claim {
        Claim { tag: tag.into(), ..self }
    }
}

/// Who has a lock. See [`Pool::lockers`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Locker {
    /// The client's number: see [`Cluster::instance`](crate::Cluster::instance).
    pub client: u64,
    /// The claim's cookie.
    pub cookie: String,
    /// The claim's description.
    pub description: String,
    /// When its lease is over.
    pub expires: Option<SystemTime>,
}

const EXCLUSIVE: u8 = 1;
const SHARED: u8 = 2;
/// LOCK_FLAG_MAY_RENEW.
const MAY_RENEW: u8 = 1;
/// The type of a client, among Ceph's entities.
const CLIENT: u8 = 8;

impl Pool {
    /// Takes a lock on an object that nobody else has meanwhile; the object is made if it is not there. It does not wait for who has it.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// use unwedge_rados::Claim;
    ///
    /// match pool.lock_exclusive("mds0_lock", Claim::new("rank 0", "life 1")).wait()? {
    ///     Err(error) if error.raw_os_error() == Some(16) => {}      // EBUSY: another one serves
    ///     taken => taken?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Somebody has it (`EBUSY`), or this claim has it already and is not [to be renewed](Claim::renew) (`EEXIST`); see [`Pool`].
    ///
    /// # Cancel safety
    ///
    /// A drop cancels it; what had been sent by then is [undecided](RadosError::is_undecided).
    /// A claim with [`renew`](Claim::renew) takes it or finds itself in it.
    pub fn lock_exclusive(&self, object: &str, claim: Claim) -> ExternalCompletion<(), RadosError> {
        self.lock(object, claim, EXCLUSIVE)
    }

    /// Takes a lock that others may share, but nobody has exclusively.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// use unwedge_rados::Claim;
    ///
    /// pool.lock_shared("table", Claim::new("readers", "life 1").tag("version 1")).wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As those of [`lock_exclusive`](Self::lock_exclusive); those who share it have another [tag](Claim::tag) (`EBUSY`).
    ///
    /// # Cancel safety
    ///
    /// A drop cancels it; what had been sent by then is [undecided](RadosError::is_undecided).
    pub fn lock_shared(&self, object: &str, claim: Claim) -> ExternalCompletion<(), RadosError> {
        self.lock(object, claim, SHARED)
    }

    fn lock(&self, object: &str, claim: Claim, kind: u8) -> ExternalCompletion<(), RadosError> {
        let Claim { name, cookie, tag, description, lease, renew } = claim;
        let input = Encoder::default().str(&name).u8(kind).str(&cookie).str(&tag).str(&description);
        let input = input.duration(lease.unwrap_or_default()).u8(if renew { MAY_RENEW } else { 0 });
        self.operate(object, WriteOp::new().exec(c"lock", c"lock", input.envelope()))
    }

    /// Lets a lock of this client's go.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.unlock("mds0_lock", "rank 0", "life 1").wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// This client does not have it by that cookie, or its lease was over ([`is_missing`](RadosError::is_missing)); see [`Pool`].
    ///
    /// # Cancel safety
    ///
    /// A drop cancels it; what had been sent by then is [undecided](RadosError::is_undecided).
    pub fn unlock(&self, object: &str, name: &str, cookie: &str) -> ExternalCompletion<(), RadosError> {
        let input = Encoder::default().str(name).str(cookie).envelope();
        self.operate(object, WriteOp::new().exec(c"lock", c"unlock", input))
    }

    /// Takes a lock away from another client, which is not told: [fence](crate::Cluster::blocklist_add) it first.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// for locker in pool.lockers("mds0_lock", "rank 0").wait()?? {
    ///     pool.break_lock("mds0_lock", "rank 0", &locker).wait()??;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// It does not have the lock any more ([`is_missing`](RadosError::is_missing)); see [`Pool`].
    ///
    /// # Cancel safety
    ///
    /// A drop cancels it; what had been sent by then is [undecided](RadosError::is_undecided).
    pub fn break_lock(&self, object: &str, name: &str, locker: &Locker) -> ExternalCompletion<(), RadosError> {
        let input = Encoder::default().str(name).u8(CLIENT).u64(locker.client).str(&locker.cookie).envelope();
        self.operate(object, WriteOp::new().exec(c"lock", c"break_lock", input))
    }

    /// Who has a lock: nobody, one, or all that share it. Who let its lease run out is not among them.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// let holders = pool.lockers("mds0_lock", "rank 0").wait()??;
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
    /// A drop cancels it, without effect.
    pub fn lockers(&self, object: &str, name: &str) -> ExternalCompletion<Vec<Locker>, RadosError> {
        let input = Encoder::default().str(name).envelope();
        let (output, raw) = (Output(std::ptr::null_mut(), 0), RawRead::new());
        self.begin(object, Lockers { input, raw, output, result: 0 })
    }
}

/// What a class has answered: librados's memory.
struct Output(*mut c_char, usize);

// SAFETY: It is memory of librados's, used by one thread at a time.
unsafe impl Send for Output {}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: It is owned, and freed once.
            unsafe { ffi::rados_buffer_free(self.0) };
        }
    }
}

struct Lockers {
    input: Vec<u8>,
    raw: RawRead,
    output: Output,
    result: c_int,
}

impl Operation for Lockers {
    type Output = Vec<Locker>;
    const NAME: &'static str = "lockers";

    fn submit(&mut self, io: ffi::IoCtx, object: &CStr, aio: ffi::Aio) -> c_int {
        let (class, method) = (c"lock".as_ptr(), c"get_info".as_ptr());
        let (input, len) = (self.input.as_ptr().cast(), self.input.len());
        let (output, output_len) = (&raw mut self.output.0, &raw mut self.output.1);
        let (op, result) = (self.raw.0, &raw mut self.result);
        // SAFETY: **Owned**: where librados reads and writes lies in the flight, as the operation does.
        unsafe { ffi::rados_read_op_exec(op, class, method, input, len, output, output_len, result) };
        // SAFETY: **A live handle**; **Owned**.
        unsafe { ffi::rados_aio_read_op_operate(op, io, aio, object.as_ptr(), 0) }
    }

    fn finish(&mut self, answer: Result<usize, i32>) -> Step<Vec<Locker>> {
        let decode = |_| {
            // SAFETY: librados has an answer of that length there.
            let reply = unsafe { bytes(self.output.0, self.output.1) };
            lockers(&reply)
        };
        Step::Done(answer.map_err(Cause::Failed).and_then(decode))
    }
}

fn lockers(reply: &[u8]) -> Result<Vec<Locker>, Cause> {
    let mut reply = Decoder(reply).envelope()?;
    let mut lockers = Vec::new();
    for _ in 0..reply.u32()? {
        let mut id = reply.envelope()?;
        let (_kind, client) = (id.u8()?, id.u64()?);
        let cookie = id.string()?;
        let mut info = reply.envelope()?;
        let expires = Duration::new(info.u32()?.into(), 0) + Duration::from_nanos(info.u32()?.into());
        skip_address(&mut info)?;
        let description = info.string()?;
        let expires = (!expires.is_zero()).then(|| SystemTime::UNIX_EPOCH + expires);
        lockers.push(Locker { client, cookie, description, expires });
    }
    Ok(lockers)
}

/// An address: in an envelope, or in the older form: its type's three more bytes, a nonce, and a sockaddr_storage.
fn skip_address(info: &mut Decoder<'_>) -> Result<(), Cause> {
    match info.u8()? {
        1 => info.envelope().map(drop),
        0 => info.bytes(3 + 4 + 128).map(drop),
        _ => Err(Cause::Garbled),
    }
}
