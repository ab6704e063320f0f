//! What a service manager is told, by systemd's protocol, if the daemon was started by one that listens (`NOTIFY_SOCKET`): ready, stopping, how long a stop
//! may still take while a phase gets on, and, as long as the server can be had, that it lives.
//!
//! A manager that does not listen is nobody's trouble: what cannot be told is not told.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use unwedge::Phase;

use crate::life::{Life, Store};

/// What is left to do after the last phase, generously.
const REST: Duration = Duration::from_secs(1);

/// The server's socket is there.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// The stop has begun.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

/// A phase of the stop gets on: it may take as long as it has left, and the stop a little longer.
pub fn extend(phase: &Phase) {
    let micros = (phase.time_left() + REST).as_micros();
    tell(NotifyState::ExtendTimeoutUsec(micros.try_into().unwrap_or(u32::MAX)));
}

/// Says twice in each interval of the manager's watchdog, if it has one, that the server lives. Until the stop only when the server's lock was had: one that
/// nobody gets is what a watchdog is for. During the stop, whose length is bounded, always.
pub fn watch<S: Store>(runtime: &Runtime, life: &Arc<Life<S>>) {
    let mut micros = 0;
    if !sd_notify::watchdog_enabled(false, &mut micros) {
        return;
    }
    let (life, half) = (life.clone(), Duration::from_micros(micros) / 2);
    runtime.spawn(async move {
        loop {
            // Its answer is the same to us with the lock and with the stop.
            let _ = life.mds().when_async(|_| Some(())).await;
            tell(NotifyState::Watchdog);
            tokio::time::sleep(half).await;
        }
    });
}

fn tell(state: NotifyState<'_>) {
    let _ = sd_notify::notify(false, &[state]);
}
