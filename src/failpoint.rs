//! Places where a test may stop the process, to kill it there.
//!
//! `STORESYNC_FAILPOINT=NAME` or `NAME:3` (the third time it is reached) says so on standard error and stands still
//! for ever, so that a test can end the process with SIGKILL between any two steps. Release builds contain none of
//! it: there a failpoint is an empty function.

#[cfg(debug_assertions)]
mod stop {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Wanted {
        name: String,
        left: AtomicU32,
    }

    fn wanted() -> Option<&'static Wanted> {
        static WANTED: OnceLock<Option<Wanted>> = OnceLock::new();
        let read = || {
            let text = std::env::var("STORESYNC_FAILPOINT").ok()?;
            let (name, left) = text.split_once(':').unwrap_or((&text, "1"));
            Some(Wanted {
                name: name.to_owned(),
                left: AtomicU32::new(left.parse().ok()?),
            })
        };
        WANTED.get_or_init(read).as_ref()
    }

    /// Whether this is the place and the time.
    pub fn is_here(name: &str) -> bool {
        let wanted = wanted().filter(|wanted| wanted.name == name);
        let here = wanted.is_some_and(|wanted| wanted.left.fetch_sub(1, Ordering::Relaxed) == 1);
        if here {
            eprintln!("the failpoint {name} is reached");
        }
        here
    }
}

/// How long the process is patient with itself; without end but in a test that says `STORESYNC_HURRY`.
pub fn patience() -> std::time::Duration {
    #[cfg(debug_assertions)]
    if std::env::var_os("STORESYNC_HURRY").is_some() {
        return std::time::Duration::from_secs(5);
    }
    std::time::Duration::MAX
}

/// How long a request whose answer never came is awaited: `usual`, but in a test that sets `STORESYNC_HOLD_MS`.
pub fn hold(usual: std::time::Duration) -> std::time::Duration {
    #[cfg(debug_assertions)]
    if let Some(millis) = std::env::var("STORESYNC_HOLD_MS")
        .ok()
        .and_then(|text| text.parse().ok())
    {
        return std::time::Duration::from_millis(millis);
    }
    usual
}

/// A bound: `usual`, but in a test that moves it with `STORESYNC_BOUND_NAME`, so that few are too many there.
pub fn bound(name: &str, usual: u64) -> u64 {
    #[cfg(debug_assertions)]
    if let Ok(text) = std::env::var(format!("STORESYNC_BOUND_{name}")) {
        return text.parse().unwrap_or(usual);
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
    usual
}

/// How far the clock of the process is ahead of the system's, in a test that sets `STORESYNC_CLOCK_AHEAD_SECONDS`.
pub fn clock_ahead_millis() -> Option<i64> {
    #[cfg(debug_assertions)]
    if let Ok(text) = std::env::var("STORESYNC_CLOCK_AHEAD_SECONDS") {
        return text.parse::<i64>().ok().map(|seconds| seconds * 1_000);
    }
    None
}

/// Stops here where a test asks for it.
#[inline]
pub fn reach(name: &str) {
    #[cfg(debug_assertions)]
    if stop::is_here(name) {
        loop {
            std::thread::park();
        }
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}

/// As [`reach`], in a stage that waits for others: it alone stands still.
#[inline]
pub async fn stand(name: &str) {
    #[cfg(debug_assertions)]
    if stop::is_here(name) {
        std::future::pending::<()>().await;
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}
