//! Both sides of a ratio, measured in turns, so that a busy machine slows both.

use std::time::Instant;

/// Runs every side once per round and gives the median rate of each, in `count` per second.
pub fn medians(rounds: usize, count: usize, sides: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let mut rates = vec![Vec::with_capacity(rounds); sides.len()];
    for _ in 0..rounds {
        for (side, rates) in sides.iter_mut().zip(&mut rates) {
            let start = Instant::now();
            side();
            rates.push(count as f64 / start.elapsed().as_secs_f64());
        }
    }
    rates.into_iter().map(median).collect()
}

pub fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

pub fn line(what: &str, rate: f64, against: f64) {
    println!("{what:<58} {rate:>12.0}/s {:>8.2}x", rate / against);
}
