//! Readers come first: the threads that write the cache yield to those that answer.

/// How much below the other threads a writer stands. Where all cores are taken it gets a tenth of one; where they are
/// not, all it wants.
const STEPS: i32 = 10;

/// Puts the calling thread below the others. For a thread that writes for as long as it lives.
pub fn yield_to_readers() {
    // On Linux this is of the thread, not of the process.
    if let Err(error) = rustix::process::nice(STEPS) {
        tracing::debug!("the priority of a writer cannot be lowered: {error}");
    }
}
