//! How many calls are under way, so that a host that stops can wait for the last of them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// The calls that are under way.
#[derive(Debug, Default)]
pub(crate) struct Underway {
    calls: AtomicUsize,
    none: Notify,
}

impl Underway {
    /// One more, until what is given is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> OneCall {
        self.calls.fetch_add(1, Ordering::Relaxed);
        OneCall(self.clone())
    }

    /// How many there are now.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Acquire)
    }

    /// Returns once there is none.
    pub(crate) async fn none(&self) {
        loop {
            let mut none = std::pin::pin!(self.none.notified());
            // Before it is looked, so that the last one's end is not missed.
            none.as_mut().enable();
            if self.calls() == 0 {
                return;
            }
            none.await;
        }
    }
}

/// One call that is under way.
#[derive(Debug)]
pub(crate) struct OneCall(Arc<Underway>);

impl Drop for OneCall {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_goes_on_when_the_last_one_has_ended() {
        let underway = Arc::new(Underway::default());
        underway.none().await;
        let (first, second) = (underway.begin(), underway.begin());
        let waiting = tokio::time::timeout(Duration::from_millis(5), underway.none());
        drop(first);
        assert!(waiting.await.is_err());
        let waiting = tokio::spawn({
            let underway = underway.clone();
            async move { underway.none().await }
        });
        drop(second);
        waiting.await.unwrap();
    }
}
