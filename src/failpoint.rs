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

    pub fn reach(name: &str) {
        let Some(wanted) = wanted().filter(|wanted| wanted.name == name) else {
            return;
        };
        if wanted.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            eprintln!("the failpoint {name} is reached");
            loop {
                std::thread::park();
            }
        }
    }
}

/// Stops here where a test asks for it.
#[inline]
pub fn reach(name: &str) {
    #[cfg(debug_assertions)]
    stop::reach(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}
