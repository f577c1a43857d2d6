//! Buffers that are used again: looking a row up must not cost an allocation for each operator on the way.

use std::cell::RefCell;

pub(super) struct Pool<T>(RefCell<Vec<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T: Default> Pool<T> {
    /// One that was given back, with whatever is in it.
    pub(super) fn take(&self) -> T {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn give(&self, buffer: T) {
        self.0.borrow_mut().push(buffer);
    }
}
