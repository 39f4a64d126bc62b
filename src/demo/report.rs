//! What the tour found, and whether it is what it should be.

use std::fmt;

/// The tour's findings. Every expectation is checked here, and nowhere else.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub rows_loaded: u64,
    pub objects_loaded: u64,
    /// Milliseconds from the org's answer until a storefront read the new price, in the order measured.
    pub visible_millis: Vec<f64>,
    pub visible_millis_max: u64,
    pub changes_unseen: u64,
    pub orders_placed: u64,
    pub orders_in_org: u64,
    /// Orders of the org beyond one for each that was placed.
    pub duplicates: u64,
    /// Orders whose items in the org are not exactly those that were placed.
    pub orders_altered: u64,
    pub orders_confirmed: u64,
    /// Rows that differ between org and cache.
    pub drift: u64,
    pub rows_compared: u64,
}

impl Report {
    /// One sentence for each expectation that did not hold.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut expect = |held: bool, sentence: String| {
            if !held {
                broken.push(sentence);
            }
        };
        let slowest = self.percentile(1.0);
        expect(self.rows_loaded > 0, "no row was loaded".to_owned());
        expect(
            self.changes_unseen == 0,
            format!("{} changes were never seen by a storefront", self.changes_unseen),
        );
        expect(
            slowest <= self.visible_millis_max as f64,
            format!(
                "a change took {slowest:.1} ms to be seen; {} ms is the limit",
                self.visible_millis_max
            ),
        );
        expect(
            self.orders_in_org == self.orders_placed,
            format!(
                "{} orders were placed and {} are in the org",
                self.orders_placed, self.orders_in_org
            ),
        );
        expect(
            self.duplicates == 0,
            format!("{} orders are in the org more than once", self.duplicates),
        );
        expect(
            self.orders_altered == 0,
            format!("{} orders have other items in the org", self.orders_altered),
        );
        expect(
            self.orders_confirmed == self.orders_placed,
            format!(
                "{} of {} orders were confirmed",
                self.orders_confirmed, self.orders_placed
            ),
        );
        expect(self.rows_compared > 0, "no row was compared".to_owned());
        expect(
            self.drift == 0,
            format!("{} rows differ between org and cache", self.drift),
        );
        broken
    }

    /// The value that `share` of the measurements do not exceed; 0 where there are none.
    fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.visible_millis.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "rows loaded             {} of {} objects",
            self.rows_loaded, self.objects_loaded
        )?;
        writeln!(
            f,
            "change to visible       median {:.1} ms, p99 {:.1} ms, slowest {:.1} ms over {} changes",
            self.percentile(0.5),
            self.percentile(0.99),
            self.percentile(1.0),
            self.visible_millis.len()
        )?;
        writeln!(
            f,
            "orders pushed           {} of {}",
            self.orders_in_org, self.orders_placed
        )?;
        writeln!(
            f,
            "orders confirmed        {} of {}",
            self.orders_confirmed, self.orders_placed
        )?;
        writeln!(f, "duplicates              {}", self.duplicates)?;
        write!(
            f,
            "drift                   {} of {} rows",
            self.drift, self.rows_compared
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Report {
        Report {
            rows_loaded: 100,
            objects_loaded: 5,
            visible_millis: vec![3.0, 5.0, 9.0],
            visible_millis_max: 1_000,
            orders_placed: 4,
            orders_in_org: 4,
            orders_confirmed: 4,
            rows_compared: 100,
            ..Report::default()
        }
    }

    #[test]
    fn a_good_tour_breaks_nothing() {
        assert_eq!(good().broken(), Vec::<String>::new());
    }

    #[test]
    fn each_expectation_breaks_alone() {
        type Break = fn(&mut Report);
        let breaks: [Break; 9] = [
            |report| report.rows_loaded = 0,
            |report| report.changes_unseen = 1,
            |report| report.visible_millis.push(1_000.1),
            |report| report.orders_in_org = 3,
            |report| report.duplicates = 1,
            |report| report.orders_altered = 1,
            |report| report.orders_confirmed = 3,
            |report| report.rows_compared = 0,
            |report| report.drift = 1,
        ];
        for (number, change) in breaks.iter().enumerate() {
            let mut report = good();
            change(&mut report);
            assert_eq!(report.broken().len(), 1, "break {number}");
        }
    }
}
