//! What the process counts as it goes: counters and histograms that stages add to and `/metrics` shows.
//!
//! They are statics because counting is like logging: it must not decide what a function is handed. What can be
//! read from the files (rows, lag, orders) is not counted here but asked for when it is shown, so that it survives
//! a restart and cannot differ from what readers see. Series are bounded: labels are names of objects, channels
//! and fixed words, never ids or keys.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Series of one metric; what comes above is counted under the label `other`.
const SERIES_MAX: usize = 200;

/// The values of a metric's labels.
type Labels<const N: usize> = [String; N];

/// What is counted under each set of labels, in the order of the labels: few, and looked up by every request, so
/// that looking up makes no copy of a label.
#[derive(Debug)]
struct Series<const N: usize, T>(Vec<(Labels<N>, T)>);

impl<const N: usize, T> Series<N, T> {
    const fn new() -> Self {
        Self(Vec::new())
    }

    fn place(&self, labels: [&str; N]) -> Result<usize, usize> {
        self.0
            .binary_search_by(|(known, _)| known.iter().map(String::as_str).cmp(labels))
    }

    /// The one under these labels, or under `other` where there are too many.
    fn entry(&mut self, labels: [&str; N], make: impl FnOnce() -> T) -> &mut T {
        let (labels, place) = match self.place(labels) {
            Err(_) if self.0.len() >= SERIES_MAX => (["other"; N], self.place(["other"; N])),
            place => (labels, place),
        };
        let at = place.unwrap_or_else(|at| {
            self.0.insert(at, (labels.map(str::to_owned), make()));
            at
        });
        &mut self.0[at].1
    }
}

/// Grows from the start of the process.
#[derive(Debug)]
pub struct Counter<const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    series: Mutex<Series<N, u64>>,
}

/// Counts by size, for quantiles.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    /// Upper bounds in seconds, growing.
    bounds: &'static [f64],
    series: Mutex<Series<N, Sizes>>,
}

#[derive(Debug)]
struct Sizes {
    /// One for each bound, and one for all above.
    counts: Vec<u64>,
    sum: f64,
}

/// From a millisecond to five minutes: what a person or an alert tells apart.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// Declares metrics, each by its kind, its static, its labels, its name and what it says, and a function that shows all of
/// them: one that is declared is shown.
macro_rules! metrics {
    ($($kind:ident $metric:ident [$($label:literal),*] $name:literal $help:literal;)*) => {
        $(
            pub static $metric: $kind<{ <[&str]>::len(&[$($label),*]) }> = $kind::new($name, $help, [$($label),*]);
        )*

        /// All of them, in the text format of Prometheus.
        pub fn render(out: &mut String) {
            $($metric.render(out);)*
        }
    };
}

metrics! {
    Counter EVENTS_RECEIVED ["change_type"]
        "storesync_events_received_total"
        "Change events applied, by what they say happened";
    Counter GAP_EVENTS ["object"]
        "storesync_gap_events_total"
        "Events that only say that something changed";
    Counter EVENTS_PARKED []
        "storesync_events_parked_total"
        "Events that could not be decoded";
    Counter APPLY_BATCHES []
        "storesync_apply_batches_total"
        "Transactions of the cache";
    Histogram APPLY_DURATION []
        "storesync_apply_duration_seconds"
        "Time to journal and commit a batch";
    Histogram APPLY_LAG []
        "storesync_apply_lag_seconds"
        "From a change's commit in the org until it is visible here";
    Counter SCHEMA_FETCHES []
        "storesync_schema_fetches_total"
        "Event schemas fetched from the org";
    Counter STREAM_ENDS ["topic", "reason"]
        "storesync_stream_reconnects_total"
        "Subscriptions that ended and were begun again";
    Counter API_REQUESTS ["api", "outcome"]
        "storesync_sf_api_requests_total"
        "Calls of the org's API";
    Counter ORDERS_PUSHED ["outcome", "error_class"]
        "storesync_orders_pushed_total"
        "Attempts to send an order, and the class of what went wrong";
    Histogram ORDER_PUSH_DURATION ["outcome"]
        "storesync_order_push_duration_seconds"
        "Time of one attempt to send an order";
    Counter ERASURE_LOOKUPS ["object"]
        "storesync_erasure_lookups_total"
        "Calls that ask whether records that storefronts made are in the org still";
    Counter HTTP_REQUESTS ["listener", "method", "route", "status"]
        "storesync_http_requests_total"
        "Requests answered";
    Histogram HTTP_DURATION ["listener"]
        "storesync_http_request_duration_seconds"
        "Time to answer a request";
    Counter CONNECTIONS_ENDED ["listener", "reason"]
        "storesync_connections_ended_total"
        "Connections that were ended or refused for a limit";
    Counter READS_REFUSED ["reason"]
        "storesync_reads_refused_total"
        "Reads that had no turn (full, late) or were given up for the time that they took (slow)";
    Counter STREAMS_REFUSED ["reason"]
        "storesync_streams_refused_total"
        "Streams of changes for which there was no place: in all, of one token or address (holder), on one connection";
    Counter AUDIT_FAILURES []
        "storesync_audit_failures_total"
        "Entries that could not be written to the audit: of deeds and exports, which were refused, and of what goes on without";
}

impl<const N: usize> Counter<N> {
    const fn new(name: &'static str, help: &'static str, labels: [&'static str; N]) -> Self {
        let series = Mutex::new(Series::new());
        Self {
            name,
            help,
            labels,
            series,
        }
    }

    pub fn add(&self, labels: [&str; N], count: u64) {
        *lock(&self.series).entry(labels, || 0) += count;
    }

    pub fn count(&self, labels: [&str; N]) {
        self.add(labels, 1);
    }

    fn render(&self, out: &mut String) {
        describe(out, self.name, self.help, "counter");
        let series = lock(&self.series);
        if N == 0 && series.0.is_empty() {
            sample(out, self.name, &[], 0.0);
        }
        for (values, count) in &series.0 {
            let labels: Vec<(&str, &str)> = pairs(&self.labels, values);
            sample(out, self.name, &labels, *count as f64);
        }
    }
}

impl<const N: usize> Histogram<N> {
    const fn new(name: &'static str, help: &'static str, labels: [&'static str; N]) -> Self {
        let series = Mutex::new(Series::new());
        Self {
            name,
            help,
            labels,
            bounds: SECONDS,
            series,
        }
    }

    pub fn observe(&self, labels: [&str; N], time: Duration) {
        let seconds = time.as_secs_f64();
        let mut series = lock(&self.series);
        let sizes = series.entry(labels, || Sizes {
            counts: vec![0; self.bounds.len() + 1],
            sum: 0.0,
        });
        let place = self.bounds.partition_point(|bound| *bound < seconds);
        sizes.counts[place] += 1;
        sizes.sum += seconds;
    }

    fn render(&self, out: &mut String) {
        describe(out, self.name, self.help, "histogram");
        let (bucket, sum, count) = (
            format!("{}_bucket", self.name),
            format!("{}_sum", self.name),
            format!("{}_count", self.name),
        );
        for (values, sizes) in &lock(&self.series).0 {
            let labels = pairs(&self.labels, values);
            let mut below = 0;
            for (place, counted) in sizes.counts.iter().enumerate() {
                below += counted;
                let bound = self.bounds.get(place).map_or("+Inf".to_owned(), f64::to_string);
                let mut labels = labels.clone();
                labels.push(("le", &bound));
                sample(out, &bucket, &labels, below as f64);
            }
            sample(out, &sum, &labels, sizes.sum);
            sample(out, &count, &labels, below as f64);
        }
    }
}

fn lock<T>(series: &Mutex<T>) -> MutexGuard<'_, T> {
    series.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pairs<'a, const N: usize>(names: &[&'a str; N], values: &'a Labels<N>) -> Vec<(&'a str, &'a str)> {
    names
        .iter()
        .copied()
        .zip(values.iter().map(String::as_str))
        .collect()
}

/// The lines that come before a metric's samples. `kind` is `counter`, `gauge`, `histogram` or `summary`.
pub fn describe(out: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// One sample.
pub fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    out.push_str(name);
    for (place, (label, text)) in labels.iter().enumerate() {
        out.push(if place == 0 { '{' } else { ',' });
        let text = text
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = write!(out, "{label}=\"{text}\"");
    }
    if !labels.is_empty() {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_shown_with_their_labels() {
        let counter: Counter<2> = Counter::new("a_total", "Of a", ["x", "y"]);
        counter.add(["1", "say \"hi\"\n"], 2);
        counter.count(["1", "say \"hi\"\n"]);
        let mut out = String::new();
        counter.render(&mut out);
        assert_eq!(
            out,
            "# HELP a_total Of a\n# TYPE a_total counter\na_total{x=\"1\",y=\"say \\\"hi\\\"\\n\"} 3\n"
        );
    }

    #[test]
    fn histograms_add_up() {
        let histogram: Histogram<0> = Histogram::new("b_seconds", "Of b", []);
        for millis in [1, 2, 400_000] {
            histogram.observe([], Duration::from_millis(millis));
        }
        let mut out = String::new();
        histogram.render(&mut out);
        for line in [
            "b_seconds_bucket{le=\"0.001\"} 1",
            "b_seconds_bucket{le=\"0.0025\"} 2",
            "b_seconds_bucket{le=\"300\"} 2",
            "b_seconds_bucket{le=\"+Inf\"} 3",
            "b_seconds_sum 400.003",
            "b_seconds_count 3",
        ] {
            assert!(out.lines().any(|shown| shown == line), "{line} in\n{out}");
        }
    }

    #[test]
    fn series_are_bounded() {
        let counter: Counter<1> = Counter::new("c_total", "Of c", ["x"]);
        for number in 0..2 * SERIES_MAX {
            counter.count([&number.to_string()]);
        }
        let series = lock(&counter.series);
        assert_eq!(series.0.len(), SERIES_MAX + 1);
        let other = series.place(["other"]).unwrap();
        assert_eq!(series.0[other].1, SERIES_MAX as u64);
    }
}
