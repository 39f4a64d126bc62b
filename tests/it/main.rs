//! One binary for all tests that go over sockets, so that the dependencies are linked once.

mod tidy;
