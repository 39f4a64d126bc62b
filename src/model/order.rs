//! An order: as a storefront posts it, and the states it goes through.
