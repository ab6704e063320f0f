//! To and from tokio-util's `CancellationToken`.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::sys::Mutex;

use super::Stop;

impl Stop {
    /// A token that is cancelled when this domain's stop is requested. Cancelling the token does not stop the domain.
    ///
    /// The token is cancelled on the domain's callback thread, shortly after the request.
    ///
    /// # Errors
    /// The system's, if the callback thread cannot be started.
    pub fn token(&self) -> std::io::Result<CancellationToken> {
        let token = CancellationToken::new();
        if self.is_requested() {
            token.cancel();
            return Ok(token);
        }
        let cancelled = token.clone();
        let domain = self.domain;
        self.run_callback(async move {
            super::over(domain).await;
            cancelled.cancel();
        })?;
        Ok(token)
    }

    /// A domain whose stop is requested when the token is cancelled. No runtime is needed.
    #[must_use]
    pub fn from_token(name: &str, token: &CancellationToken) -> Stop {
        let stop = Stop::new(name);
        let bridge = Arc::new(Bridge {
            domain: Arc::downgrade(&stop.inner),
            state: Mutex::new(State { future: Some(Box::pin(token.clone().cancelled_owned())), woken: false }),
        });
        *stop.inner.bridge.lock() = Some(bridge.clone());
        bridge.look();
        stop
    }
}

/// Waits for a token's cancellation; its waker is the request. The domain owns it, so that it goes with the domain.
pub(super) struct Bridge {
    domain: Weak<super::Inner>,
    state: Mutex<State>,
}

struct State {
    /// Taken out while it is polled: no lock over foreign code.
    future: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// It was woken since the last poll began.
    woken: bool,
}

impl Bridge {
    fn look(self: &Arc<Self>) {
        loop {
            let future = {
                let mut state = self.state.lock();
                state.woken = true;
                let future = state.future.take();
                if future.is_some() {
                    state.woken = false;
                }
                future
            };
            // Whoever polls now looks again.
            let Some(mut future) = future else { return };
            let waker = Waker::from(Arc::new(Look(Arc::downgrade(self))));
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Pending => {
                    let mut state = self.state.lock();
                    state.future = Some(future);
                    if !state.woken {
                        return;
                    }
                }
                Poll::Ready(()) => {
                    if let Some(inner) = self.domain.upgrade() {
                        Stop::of(inner).request("the cancellation token was cancelled");
                    }
                    return;
                }
            }
        }
    }
}

/// The waker: weak, so that the future in the bridge does not keep the bridge.
struct Look(Weak<Bridge>);

impl Wake for Look {
    fn wake(self: Arc<Self>) {
        if let Some(bridge) = self.0.upgrade() {
            bridge.look();
        }
    }
}
