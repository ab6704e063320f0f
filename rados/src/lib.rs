//! Metadata on a live Ceph cluster as completions of [unwedge](https://docs.rs/unwedge): RADOS objects through librados, and every wait for them ends by a stop, whatever
//! OSDs and monitors do.
//!
//! ```no_run
//! use std::{sync::Mutex, time::Duration};
//! use unwedge::{Monitor, Plan, Stop};
//! use unwedge_rados::Cluster;
//!
//! let stop = Stop::new("mds.a");
//! let cluster = Cluster::connect(&stop, "/etc/ceph/ceph.conf").wait()??;
//! let meta = cluster.pool("cephfs_metadata").wait()??;
//! let mds = Monitor::new("mds_lock", Mutex::new(Vec::new()), &stop);
//!
//! // The lock is free while the OSD works; if it never answers, a stop ends the wait without the lock.
//! let (mut journal, read) = mds.lock()?.wait_for(&mut meta.read("200.00000000", 0, 4096))?;
//! *journal = read?;
//! drop(journal);
//! assert!(stop.shutdown(Plan::within(Duration::from_secs(1))).is_clean());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to | see |
//! |---|---|
//! | connect, open a pool, fence a client | [`Cluster`] |
//! | read, write, look at an object, list a pool | [`Pool`] |
//! | read an omap by pages or as a whole | [`Pool::omap_get_vals`], [`Pool::omap_get_keys`], [`Pool::omap_get_header`], [`Pool::omap`] |
//! | do several steps as one | [`WriteOp`], [`ReadOp`] |
//! | lock with a lease, hand over | [`Claim`], [`Pool::lock_exclusive`], [`Pool::break_lock`] |
//! | watch and notify | [`Watch`], [`Pool::notify`] |
//!
//! # What a stop does
//!
//! It ends every wait at once. Then each operation that librados has is cancelled, which librados answers in well under a millisecond, OSD or not; the
//! shutdown waits for those answers, and closes the handle in the order that librados needs: operations, pools, cluster. What does not answer by its
//! deadline (a thread in a call of librados that blocks: a connection, the opening of a pool that is not there, a list of objects) is left as it is,
//! with the whole handle, and the [report](unwedge::Stop::shutdown) counts it: closing it would end the process with an abort. A program that ends then should do so by
//! `_exit`, so that no destructor of librados runs below its threads.
//!
//! Three operations librados cannot cancel: [`Pool::watch`], [`Pool::notify`] and the end of a [`Watch`]. The shutdown gives them 20 ms (more where others have the processors) to end by themselves when
//! all else has ended, and leaves the handle if they have not.
//!
//! **A write that was cancelled may be done all the same**, when the OSD comes back: it is [undecided](RadosError::is_undecided), and
//! [`Cluster::undecided`] counts them.
//!
//! # In flight
//!
//! librados blocks who submits beyond 1,024 operations or 100 MiB, or what its configuration has in their place (`objecter_inflight_ops`,
//! `objecter_inflight_op_bytes`). This crate gives it [less](ClusterBuilder::operations); what comes beyond that is queued, and waits as a completion.

#[cfg(all(librados_missing, not(clippy), not(doc)))]
compile_error!(
    "unwedge-rados needs librados and its C++ headers (rados/librados.hpp), which were not found. On Debian 12: \
     apt-get install --no-install-recommends librados-dev libradospp-dev g++"
);

mod blocking;
mod cluster;
mod compound;
mod encode;
mod error;
mod ffi;
mod flight;
mod gate;
mod limits;
mod lock;
mod omap;
mod pool;
mod shim;
mod sys;
mod watch;

pub use cluster::{Cluster, ClusterBuilder};
pub use compound::{ReadAnswer, ReadOp, WriteOp};
pub use error::RadosError;
pub use lock::{Claim, Locker};
pub use omap::{Omap, OmapPage};
pub use pool::Pool;
pub use watch::{Notification, Notified, Watch};
