//! Fills a new org from a seed.
