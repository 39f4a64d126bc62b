//! A set of leaves that is reused from event to event.

/// Numbers of leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// Empties the set and makes room for numbers below `count`.
    pub(super) fn reset(&mut self, count: usize) {
        self.words.clear();
        self.words.resize(count.div_ceil(64), 0);
    }

    #[inline]
    pub(super) fn insert(&mut self, number: usize) {
        self.words[number / 64] |= 1 << (number % 64);
    }

    pub(super) fn insert_below(&mut self, count: usize) {
        for (index, word) in self.words.iter_mut().enumerate() {
            let left = count.saturating_sub(index * 64);
            *word = if left >= 64 { u64::MAX } else { (1 << left) - 1 };
        }
    }

    pub(super) fn unite(&mut self, other: &Self) {
        self.words
            .iter_mut()
            .zip(&other.words)
            .for_each(|(word, other)| *word |= other);
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        self.words
            .iter_mut()
            .zip(&other.words)
            .for_each(|(word, other)| *word &= !other);
    }

    #[inline]
    pub fn contains(&self, number: usize) -> bool {
        self.words
            .get(number / 64)
            .is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The numbers in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest.checked_sub(1)?;
                Some(index * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_numbers() {
        let mut bits = Bits::default();
        bits.reset(130);
        assert!(bits.is_empty());
        [0, 63, 64, 129]
            .into_iter()
            .for_each(|number| bits.insert(number));
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert!(bits.contains(64) && !bits.contains(65) && !bits.contains(9_999));
        let mut others = bits.clone();
        others.reset(130);
        others.insert_below(65);
        assert_eq!(others.iter().count(), 65);
        others.subtract(&bits);
        assert_eq!(others.iter().count(), 62);
        others.unite(&bits);
        assert_eq!(others.iter().count(), 66);
    }
}
