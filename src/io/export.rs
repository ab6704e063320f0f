//! What goes to the `tracing` and `metrics` facades, where those features are on.
//!
//! A subscriber or a recorder is foreign code, and may block. So none is called on a thread that serves operations, nor on one that shuts down: what a shutdown
//! left is told by a thread of its own, which is left if it is late; that there is no ring is told by who builds; and the figures are handed over when the daemon
//! asks for it.

use std::time::Instant;

use crate::stop::Leaked;
#[cfg(feature = "tracing")]
use crate::{
    io::backend::guarded,
    sys::{join_all_by, spawn_service},
};

/// The kernel refused io_uring.
pub(super) fn fell_back(domain: &str, reason: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!(domain, reason, "I/O on a pool of threads: io_uring is not to be had");
    #[cfg(not(feature = "tracing"))]
    let _ = (domain, reason);
}

/// The service was shut down. How many threads (one at most) have not come back from telling that by the deadline, which may come nearer meanwhile.
#[cfg(feature = "tracing")]
pub(super) fn closed(domain: &str, leaked: Leaked, deadline: impl Fn() -> Instant) -> usize {
    use tracing::{Level, dispatcher, level_filters::LevelFilter};

    let level = if leaked == Leaked::default() { Level::DEBUG } else { Level::WARN };
    if level > LevelFilter::current() {
        return 0;
    }
    // That of this thread, which may be another one than the process's.
    let (subscriber, domain) = (dispatcher::get_default(Clone::clone), domain.to_owned());
    let tell = move || guarded(|| dispatcher::with_default(&subscriber, || tell_closed(&domain, leaked)));
    join_all_by(spawn_service("uw-tell", tell).ok(), deadline)
}

#[cfg(not(feature = "tracing"))]
pub(super) fn closed(_: &str, _: Leaked, _: impl Fn() -> Instant) -> usize {
    0
}

#[cfg(feature = "tracing")]
fn tell_closed(domain: &str, leaked: Leaked) {
    if leaked == Leaked::default() {
        tracing::debug!(domain, "I/O shut down: nothing is left in the kernel");
    } else {
        let Leaked { operations, bytes, threads } = leaked;
        tracing::warn!(
            domain,
            operations,
            bytes,
            threads,
            "I/O shut down: storage has not answered, what it holds is left to it"
        );
    }
}

#[cfg(feature = "metrics")]
mod facade {
    use std::time::Duration;

    use crate::io::{Metrics, Operation};

    impl Metrics {
        /// Hands the figures to the recorder of the `metrics` crate: counters as absolute values, what is in flight as gauges.
        ///
        /// To be called when the daemon's figures are collected. They are not recorded while operations run, because a recorder is foreign code, and
        /// may block.
        ///
        /// | name | labels | what it is |
        /// |---|---|---|
        /// | `unwedge_io_operations_total` | `operation` | ended, with success or not |
        /// | `unwedge_io_failed_total` | `operation` | ended with an error |
        /// | `unwedge_io_prompt_total` | `operation` | done at once on the caller's thread |
        /// | `unwedge_io_in_flight` | `operation` | begun and not ended |
        /// | `unwedge_io_latency_nanoseconds_total` | `operation` | the time that they took together |
        /// | `unwedge_io_latency_bucket` | `operation`, `le` in seconds | how many took no longer |
        /// | `unwedge_io_too_late_total`, `unwedge_io_timed_out_total` | | see [`too_late`](Self::too_late), [`timed_out`](Self::timed_out) |
        /// | `unwedge_io_leaked_operations`, `_bytes`, `_threads` | | what a shutdown left |
        /// | `unwedge_io_pool_threads` | | threads of the pool |
        ///
        /// Each has the label `backend`.
        pub fn record(&self) {
            for kind in Operation::ALL {
                self.record_operation(kind);
            }
            let backend = self.backend();
            metrics::counter!("unwedge_io_too_late_total", "backend" => backend).absolute(self.too_late());
            metrics::counter!("unwedge_io_timed_out_total", "backend" => backend).absolute(self.timed_out());
            let gauges = [
                ("unwedge_io_leaked_operations", self.leaked_operations()),
                ("unwedge_io_leaked_bytes", self.leaked_bytes()),
                ("unwedge_io_leaked_threads", self.leaked_threads()),
                ("unwedge_io_pool_threads", self.pool_threads()),
            ];
            for (name, value) in gauges {
                metrics::gauge!(name, "backend" => backend).set(value as f64);
            }
        }

        fn record_operation(&self, kind: Operation) {
            let counts = self.operation(kind);
            let labels = [("backend", self.backend()), ("operation", kind.name())];
            metrics::counter!("unwedge_io_operations_total", &labels).absolute(counts.done());
            metrics::counter!("unwedge_io_failed_total", &labels).absolute(counts.failed());
            metrics::counter!("unwedge_io_prompt_total", &labels).absolute(counts.prompt());
            metrics::gauge!("unwedge_io_in_flight", &labels).set(counts.in_flight() as f64);
            let nanos = u64::try_from(counts.total().as_nanos()).unwrap_or(u64::MAX);
            metrics::counter!("unwedge_io_latency_nanoseconds_total", &labels).absolute(nanos);
            let mut below = 0;
            for (bound, count) in counts.histogram() {
                below += count;
                let le =
                    bound.as_ref().map(Duration::as_secs_f64).map_or("+Inf".to_owned(), |seconds| seconds.to_string());
                let [backend, operation] = labels;
                let labels = [(backend.0, backend.1.to_owned()), (operation.0, operation.1.to_owned()), ("le", le)];
                metrics::counter!("unwedge_io_latency_bucket", &labels).absolute(below);
            }
        }
    }
}
