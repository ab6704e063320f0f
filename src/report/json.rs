//! The report as JSON. What programs read is laid down here, apart from the types of the library's own interface.
//!
//! # Version
//! `version` counts changes that a reader would notice: a field that goes away or means something else. New fields do not count.

use std::panic::Location;
use std::time::Duration;

use serde::Serialize;

use super::explain::{Cause, CauseKind, Step};
use super::parts::{
    HeldBy, LockReport, MemberReport, Notified, OperationReport, Outcome, OwedBy, Party, PhaseReport, WaitReport,
    WaitsFor,
};
use super::text::is_endless;
use super::{Inversion, Order, Report};

/// The version of the schema.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    domain: &'a str,
    reason: Option<&'a str>,
    clean: bool,
    elapsed_ms: Option<u64>,
    causes: Vec<JsonCause<'a>>,
    more_causes: usize,
    members: Vec<JsonMember<'a>>,
    locks: Vec<JsonLock<'a>>,
    operations: Vec<JsonOperation<'a>>,
    phases: Vec<JsonPhase<'a>>,
    inversions: Vec<JsonInversion<'a>>,
    panicked: &'a [String],
    leaked: Leaked,
    closing: usize,
}

#[derive(Serialize)]
struct Leaked {
    operations: usize,
    bytes: usize,
    threads: usize,
    callbacks: usize,
}

#[derive(Serialize)]
struct JsonInversion<'a> {
    text: String,
    now: JsonOrder<'a>,
    before: Vec<JsonOrder<'a>>,
}

#[derive(Serialize)]
struct JsonOrder<'a> {
    held: &'a str,
    held_at: JsonPlace,
    wanted: &'a str,
    wanted_at: JsonPlace,
}

#[derive(Serialize)]
struct JsonCause<'a> {
    kind: &'static str,
    text: String,
    blocked: usize,
    others: &'a [String],
    phase: Option<&'a str>,
    chain: Vec<JsonStep<'a>>,
}

#[derive(Serialize)]
struct JsonStep<'a> {
    member: JsonParty<'a>,
    wait: Option<JsonWait<'a>>,
}

#[derive(Serialize)]
struct JsonParty<'a> {
    id: u64,
    name: &'a str,
    kind: &'static str,
    tid: Option<u32>,
    ended: bool,
}

#[derive(Serialize)]
struct JsonMember<'a> {
    id: u64,
    name: &'a str,
    kind: &'static str,
    tid: Option<u32>,
    phase: Option<&'a str>,
    holds: &'a [String],
    waits: Vec<JsonWait<'a>>,
}

#[derive(Serialize)]
struct JsonWait<'a> {
    text: &'a str,
    #[serde(flatten)]
    on: JsonOn<'a>,
    age_ms: u64,
    location: Option<JsonPlace>,
    woken: bool,
    woken_ms: Option<u64>,
}

#[derive(Serialize)]
#[serde(tag = "for", rename_all = "snake_case")]
enum JsonOn<'a> {
    Lock {
        lock: &'a str,
        shared: bool,
        #[serde(flatten)]
        held: JsonHeld<'a>,
    },
    Condition {
        lock: Option<&'a str>,
        notified_by: Option<JsonParty<'a>>,
        notified_at: Option<JsonPlace>,
    },
    Change {
        lock: &'a str,
        notified_by: Option<JsonParty<'a>>,
        notified_at: Option<JsonPlace>,
    },
    Completion {
        operation: &'a str,
        object: Option<&'a str>,
        offset: u64,
        length: u64,
        owed_by: JsonDebtor<'a>,
    },
    Stop,
    End {
        domain: Option<&'a str>,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum JsonDebtor<'a> {
    Word(&'static str),
    Member(JsonParty<'a>),
}

#[derive(Serialize)]
struct JsonHeld<'a> {
    held_by: Option<JsonParty<'a>>,
    readers: u32,
}

#[derive(Serialize)]
struct JsonPlace {
    file: &'static str,
    line: u32,
    column: u32,
}

#[derive(Serialize)]
struct JsonLock<'a> {
    name: &'a str,
    #[serde(flatten)]
    held: JsonHeld<'a>,
    held_at_least_ms: Option<u64>,
    queue: usize,
}

#[derive(Serialize)]
struct JsonOperation<'a> {
    operation: &'a str,
    object: Option<&'a str>,
    offset: u64,
    length: u64,
    age_ms: u64,
    waiter: Option<JsonParty<'a>>,
}

#[derive(Serialize)]
struct JsonPhase<'a> {
    name: &'a str,
    domain: &'a str,
    outcome: &'static str,
    error: Option<&'a str>,
    elapsed_ms: u64,
    limit_ms: Option<u64>,
    left_ms: Option<u64>,
    on_late: &'static str,
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn kind(is_task: bool) -> &'static str {
    if is_task { "task" } else { "thread" }
}

fn tid(tid: u32) -> Option<u32> {
    (tid != 0).then_some(tid)
}

fn place_of(at: &'static Location<'static>) -> JsonPlace {
    JsonPlace { file: at.file(), line: at.line(), column: at.column() }
}

fn place(location: Option<&'static Location<'static>>) -> Option<JsonPlace> {
    location.map(place_of)
}

fn order(order: &Order) -> JsonOrder<'_> {
    let Order { held, held_at, wanted, wanted_at } = order;
    JsonOrder { held, held_at: place_of(held_at), wanted, wanted_at: place_of(wanted_at) }
}

fn inversion(inversion: &Inversion) -> JsonInversion<'_> {
    JsonInversion {
        text: inversion.to_string(),
        now: order(&inversion.now),
        before: inversion.before.iter().map(order).collect(),
    }
}

fn party(party: &Party) -> JsonParty<'_> {
    let Party { id, name, is_task, tid: thread, has_ended } = party;
    JsonParty { id: *id, name, kind: kind(*is_task), tid: tid(*thread), ended: *has_ended }
}

fn held(held_by: &HeldBy) -> JsonHeld<'_> {
    match held_by {
        HeldBy::Nobody => JsonHeld { held_by: None, readers: 0 },
        HeldBy::Readers(readers) => JsonHeld { held_by: None, readers: *readers },
        HeldBy::Member(holder) => JsonHeld { held_by: Some(party(holder)), readers: 0 },
    }
}

fn on(on: &WaitsFor) -> JsonOn<'_> {
    let who = |notified: &'_ Option<Notified>| notified.as_ref().and_then(|it| place(it.location));
    match on {
        WaitsFor::Lock { name, shared, held_by } => JsonOn::Lock { lock: name, shared: *shared, held: held(held_by) },
        WaitsFor::Condition { monitor, notified_by } => JsonOn::Condition {
            lock: monitor.as_deref(),
            notified_by: notified_by.as_ref().map(|it| party(&it.by)),
            notified_at: who(notified_by),
        },
        WaitsFor::Change { monitor, changed_by } => JsonOn::Change {
            lock: monitor,
            notified_by: changed_by.as_ref().map(|it| party(&it.by)),
            notified_at: who(changed_by),
        },
        WaitsFor::Completion { operation, object, offset, length, owed_by } => JsonOn::Completion {
            operation,
            object: object.as_deref(),
            offset: *offset,
            length: *length,
            owed_by: match owed_by {
                OwedBy::Unknown => JsonDebtor::Word("unknown"),
                OwedBy::Storage => JsonDebtor::Word("storage"),
                OwedBy::Member(member) => JsonDebtor::Member(party(member)),
            },
        },
        WaitsFor::Stop => JsonOn::Stop,
        WaitsFor::End { of } => JsonOn::End { domain: of.as_deref() },
    }
}

fn wait(wait: &WaitReport) -> JsonWait<'_> {
    JsonWait {
        text: &wait.what,
        on: on(&wait.on),
        age_ms: ms(wait.age),
        location: place(wait.location),
        woken: wait.woken,
        woken_ms: wait.woken_for.map(ms),
    }
}

fn member(member: &MemberReport) -> JsonMember<'_> {
    JsonMember {
        id: member.id,
        name: &member.name,
        kind: kind(member.is_task),
        tid: tid(member.tid),
        phase: member.phase.as_deref(),
        holds: &member.holds,
        waits: member.waits.iter().map(wait).collect(),
    }
}

fn cause(cause: &Cause) -> JsonCause<'_> {
    JsonCause {
        kind: match cause.kind {
            CauseKind::Deadlock => "deadlock",
            CauseKind::Gone => "gone",
            CauseKind::Storage => "storage",
            CauseKind::Unpolled => "unpolled",
            CauseKind::Outside => "outside",
            CauseKind::Unknown => "unknown",
            CauseKind::Several => "several",
            CauseKind::Idle => "idle",
        },
        text: cause.to_string(),
        blocked: cause.blocked,
        others: &cause.others,
        phase: cause.phase.as_deref(),
        chain: cause.chain.iter().map(step).collect(),
    }
}

fn step(step: &Step) -> JsonStep<'_> {
    JsonStep { member: party(&step.member), wait: step.wait.as_ref().map(wait) }
}

fn lock(lock: &LockReport) -> JsonLock<'_> {
    JsonLock { name: &lock.name, held: held(&lock.held_by), held_at_least_ms: lock.held_for.map(ms), queue: lock.queue }
}

fn operation(operation: &OperationReport) -> JsonOperation<'_> {
    JsonOperation {
        operation: &operation.operation,
        object: operation.object.as_deref(),
        offset: operation.offset,
        length: operation.length,
        age_ms: ms(operation.age),
        waiter: operation.waiter.as_ref().map(party),
    }
}

fn phase(phase: &PhaseReport) -> JsonPhase<'_> {
    let (outcome, error) = match &phase.outcome {
        Outcome::Planned => ("planned", None),
        Outcome::Running => ("running", None),
        Outcome::Late => ("late", None),
        Outcome::Done => ("done", None),
        Outcome::Stopped => ("stopped", None),
        Outcome::Failed(why) => ("failed", Some(why.as_str())),
        Outcome::Left => ("left", None),
        Outcome::Skipped => ("skipped", None),
    };
    let is_endless = is_endless(phase.limit);
    JsonPhase {
        name: &phase.name,
        domain: &phase.domain,
        outcome,
        error,
        elapsed_ms: ms(phase.elapsed),
        limit_ms: (!is_endless).then(|| ms(phase.limit)),
        left_ms: phase.left.filter(|_| !is_endless).map(ms),
        on_late: if phase.or_abort { "abort" } else { "stop" },
    }
}

impl Report {
    /// The report as JSON, for programs. (With the feature `json`.)
    ///
    /// | field | what it is |
    /// |---|---|
    /// | `version` | of this schema: 1. New fields may come without a new version |
    /// | `domain`, `reason`, `clean`, `elapsed_ms` | as of the report; `reason` and `elapsed_ms` may be null |
    /// | `causes` | `kind` (`deadlock`, `gone`, `storage`, `unpolled`, `outside`, `unknown`, `several`, `idle`), `text`, `blocked`, `others` (names), `phase` (whose step is at the chain's begin) or null, `chain`: each step a `member` and its `wait` or null |
    /// | `more_causes` | how many there are that are not in `causes` |
    /// | `members` | `id`, `name`, `kind` (`thread` or `task`), `tid` or null, `phase` (whose step it runs) or null, `holds` (names of locks), `waits` |
    /// | a wait | `text`, `age_ms`, `location` (`file`, `line`, `column`) or null, `woken`, `woken_ms` or null, and `for`: |
    /// | – `lock` | `lock`, `shared`, `held_by` (a party or null), `readers` |
    /// | – `condition` | `lock` or null, `notified_by` (a party or null: nobody has yet), `notified_at` or null |
    /// | – `change` | `lock`, `notified_by` and `notified_at` as above |
    /// | – `completion` | `operation`, `object` or null, `offset`, `length`, `owed_by` (`"unknown"`, `"storage"` or a party) |
    /// | – `stop`, `end` | nothing; `domain` or null |
    /// | a party | `id`, `name`, `kind`, `tid` or null, `ended` |
    /// | `locks` | `name`, `held_by`, `readers`, `held_at_least_ms` or null, `queue` |
    /// | `operations` | `operation`, `object`, `offset`, `length`, `age_ms`, `waiter` (a party, or null: nobody waits for it) |
    /// | `phases` | `name`, `domain`, `outcome` (`planned`, `running`, `late`; `done`, `stopped`, `failed`, `left`, `skipped`), `error` or null, `elapsed_ms`, `limit_ms` (null: none), `left_ms` while it runs or null, `on_late` (`stop`, `abort`) |
    /// | `inversions` | `text`, `now` and `before` (one or several): `held`, `held_at`, `wanted`, `wanted_at`, with places as a wait's `location` |
    /// | `panicked`, `leaked` | names; `operations`, `bytes`, `threads`, `callbacks` |
    /// | `closing` | how many domains another shutdown was still closing |
    ///
    /// ```
    /// use unwedge::{Completion, Owed, Plan, Stop};
    ///
    /// let stop = Stop::new("mds.a");
    /// let owed = Owed { operation: "read", object: Some("200.00000001".into()), offset: 1 << 20, length: 4096 };
    /// let (_never, mut read) = Completion::<u8>::new(owed, &stop);
    /// stop.spawn("replay", move || read.wait())?;
    /// while stop.report().members().iter().all(|member| member.waits.is_empty()) {
    ///     std::thread::yield_now();
    /// }
    /// let json: serde_json::Value = serde_json::from_str(&stop.report().to_json())?;
    /// assert_eq!(json["version"], 1);
    /// assert_eq!(json["domain"], "mds.a");
    /// let wait = &json["members"][0]["waits"][0];
    /// assert_eq!(wait["for"], "completion");
    /// assert_eq!((&wait["object"], &wait["offset"]), (&"200.00000001".into(), &(1 << 20).into()));
    /// assert_eq!(wait["owed_by"], "unknown");
    /// # stop.shutdown(Plan::within(std::time::Duration::from_secs(10)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        let document = Document {
            version: VERSION,
            domain: &self.domain,
            reason: self.reason.as_deref(),
            clean: self.is_clean(),
            elapsed_ms: self.elapsed.map(ms),
            causes: self.causes.iter().map(cause).collect(),
            more_causes: self.more_causes,
            members: self.members().iter().map(member).collect(),
            locks: self.locks.iter().map(lock).collect(),
            operations: self.operations().iter().map(operation).collect(),
            phases: self.phases.iter().map(phase).collect(),
            inversions: self.inversions.iter().map(inversion).collect(),
            panicked: &self.panicked,
            leaked: Leaked {
                operations: self.leaked_operations(),
                bytes: self.leaked_bytes(),
                threads: self.leaked_threads(),
                callbacks: self.rest.late_callbacks,
            },
            closing: self.closing(),
        };
        // It has no map with keys that are not texts, and writing to memory does not fail.
        serde_json::to_string(&document)
            .unwrap_or_else(|error| format!("{{\"version\":{VERSION},\"error\":\"{error}\"}}"))
    }
}
